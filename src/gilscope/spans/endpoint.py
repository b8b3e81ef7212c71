"""Where spans go: the endpoint rules of OTLP over HTTP and over gRPC, as upstream's exporters apply them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from gilscope.errors import SettingsError

HTTP_DEFAULT_BASE = "http://localhost:4318"
HTTP_PATH = "v1/traces"
GRPC_DEFAULT = "http://localhost:4317"
GRPC_PATH = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

# Of gRPC's name resolvers, those that libcurl has no counterpart for.
_UNREACHABLE_SCHEMES = frozenset({"google-c2p", "unix-abstract", "vsock", "xds"})


class Endpoint(NamedTuple):
    """Where to send, and as whom.

    Attributes:
        url: complete, with its path, and without a user.
        unix_socket: path of the socket to use in place of the URL's host.
        user: `user:password` of the URL, URL-encoded.
    """

    url: str
    unix_socket: str | None = None
    user: str | None = None


def http_endpoint(given: object, where: str) -> Endpoint:
    """Return the endpoint for a complete URL, which is used as it stands.

    Raises:
        SettingsError: not an http or https URL with a host.
    """
    url = str(given)
    parts = _split(url, where)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError(f"{where} must be an http:// or https:// URL, got {_shown(url)!r}")
    user, at, host = parts.netloc.rpartition("@")
    path = parts.path or "/"
    return Endpoint(parts._replace(netloc=host, path=path, fragment="").geturl(), user=user if at else None)


def http_endpoint_of_base(given: object, where: str) -> Endpoint:
    """Return the endpoint below OTEL_EXPORTER_OTLP_ENDPOINT."""
    return http_endpoint(f"{str(given).removesuffix('/')}/{HTTP_PATH}", where)


def grpc_insecure(endpoint: str, *, asked: bool | None, variable: bool | None) -> bool:
    """Return whether to connect without TLS: https never, otherwise the argument, the variable, the scheme."""
    scheme = endpoint.partition("://")[0].lower() if "://" in endpoint else ""
    if scheme == "https":
        return False
    if asked is not None:
        return asked
    if variable is not None:
        return variable
    return scheme == "http"


def grpc_endpoint(endpoint: str, where: str, *, insecure: bool) -> Endpoint:
    """Return the endpoint for `host:port`, a URL, or one of gRPC's name forms (dns:, ipv4:, ipv6:, unix:).

    Raises:
        SettingsError: a form that cannot be reached, or no host.
    """
    scheme, colon, rest = endpoint.partition(":")
    scheme = scheme.lower()
    transport = "http" if insecure else "https"
    if colon and scheme in _UNREACHABLE_SCHEMES:
        raise SettingsError(
            f"{where} must be host:port, a URL, or dns:, ipv4:, ipv6: or unix:, got {_shown(endpoint)!r}"
        )
    if colon and scheme == "unix":
        path = rest.removeprefix("//")
        if not path:
            raise SettingsError(f"{where} must name a socket after unix:, got {endpoint!r}")
        return Endpoint(f"{transport}://localhost{GRPC_PATH}", unix_socket=str(Path(path).absolute()))
    if colon and scheme == "dns":
        target = rest.rpartition("/")[2]
    elif colon and scheme in {"ipv4", "ipv6"}:
        target = rest.partition(",")[0]
    elif "://" in endpoint:
        target = urlsplit(endpoint).netloc.rpartition("@")[2]
    else:
        target = endpoint.partition("/")[0]
    parts = _split(f"//{target}", where)
    if not parts.hostname:
        raise SettingsError(f"{where} must be host:port or a URL, got {_shown(endpoint)!r}")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    # gRPC's own default, for plain text as well.
    port = 443 if parts.port is None else parts.port
    return Endpoint(f"{transport}://{host}:{port}{GRPC_PATH}")


def _split(url: str, where: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise SettingsError(f"{where} must be a URL, got {_shown(url)!r} ({error})") from None
    if any(character.isspace() or not character.isprintable() for character in url):
        raise SettingsError(f"{where} must be a URL without blanks, got {_shown(url)!r}")
    return parts


def _shown(url: str) -> str:
    """Return the URL without the user that it may hold."""
    before, at, after = url.rpartition("@")
    return f"{before.partition('//')[0]}//...@{after}" if at else url
