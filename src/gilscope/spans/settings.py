"""What a native span processor was asked to do: argument, OTEL_EXPORTER_OTLP_TRACES_*, OTEL_EXPORTER_OTLP_*, default.

The protocol's default is http/protobuf, as the OpenTelemetry specification recommends. Upstream's `otlp` exporter name
means gRPC, and under opentelemetry-instrument it still does: there the exporter is taken over as it was configured.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from gilscope.errors import SettingsError
from gilscope.spans import endpoint as endpoints
from gilscope.spans import headers as header_rules
from gilscope.spans import route
from gilscope.spans.environment import boolean, choose, first_set, integer, number, read

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

logger = logging.getLogger(__name__)

Protocol = Literal["http/protobuf", "grpc"]
Compression = Literal["none", "gzip", "deflate"]
Headers = tuple[tuple[str, str], ...]

TIMEOUT_SECONDS = 10.0
# No collector is waited for this long on purpose; the specification's unit is the millisecond, Python's the second.
LOOKS_LIKE_MILLISECONDS = 1000

SPAN_COUNT_MAX = 2**31 - 1
QUEUE_BYTES = 32 * 2**20
QUEUE_BYTES_MIN = 64 * 2**10
QUEUE_BYTES_MAX = 32 * 2**30
REQUEST_BYTES = 4 * 2**20
REQUEST_BYTES_MIN = 2**10
REQUEST_BYTES_MAX = 2**31 - 1
EXIT_TIMEOUT_MILLIS = 5000.0
MILLIS_MAX = 10.0**9

_PREFIXES = ("OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_")


@dataclass(frozen=True)
class ExportSettings:
    """How a request reaches the collector. Headers may hold secrets, so that `repr` leaves them out."""

    protocol: Protocol
    url: str
    headers: Headers = field(repr=False)
    unix_socket: str | None = None
    timeout_seconds: float = TIMEOUT_SECONDS
    compression: Compression = "none"
    ca_file: str | None = None
    client_certificate_file: str | None = None
    client_key_file: str | None = None
    proxy: str | None = field(default=None, repr=False)
    max_request_bytes: int | None = None


@dataclass(frozen=True)
class BatchSettings:
    """When a batch is made, and how much may wait."""

    max_queue_size: int
    schedule_delay_millis: float
    max_export_batch_size: int
    export_timeout_millis: float
    max_queue_bytes: int = QUEUE_BYTES
    max_request_bytes: int = REQUEST_BYTES
    exit_timeout_millis: float = EXIT_TIMEOUT_MILLIS


@dataclass(frozen=True)
class ExportArguments:
    """What a constructor was given; None means not given."""

    protocol: str | None = None
    endpoint: str | None = None
    insecure: bool | None = None
    headers: Mapping[str, str] | Sequence[tuple[str, str]] | str | None = field(default=None, repr=False)
    timeout: float | None = None
    compression: object = None
    certificate_file: str | None = None
    client_key_file: str | None = None
    client_certificate_file: str | None = None

    def given(self) -> list[str]:
        """Return the names of the arguments that were given."""
        return [name for name, value in vars(self).items() if value is not None]


def variables(suffix: str) -> tuple[str, str]:
    """Return the names of a setting's variables, the strongest first."""
    return _PREFIXES[0] + suffix, _PREFIXES[1] + suffix


def export_settings(arguments: ExportArguments) -> ExportSettings:
    """Return how to export, by the arguments and the environment.

    Raises:
        SettingsError: an argument that cannot work.
    """
    default: Protocol = "http/protobuf"
    protocol = choose(arguments.protocol, "protocol", variables("PROTOCOL"), _protocol, default)
    place = _grpc_place(arguments) if protocol == "grpc" else _http_place(arguments)
    settings = ExportSettings(
        protocol=protocol,
        url=place.url,
        unix_socket=place.unix_socket,
        headers=_headers(arguments, protocol, place),
        timeout_seconds=choose(arguments.timeout, "timeout", variables("TIMEOUT"), seconds, TIMEOUT_SECONDS),
        compression=choose(
            arguments.compression,
            "compression",
            variables("COMPRESSION"),
            partial(compression, protocol=protocol),
            "none",
        ),
        client_certificate_file=_file(
            arguments.client_certificate_file, "client_certificate_file", variables("CLIENT_CERTIFICATE")
        ),
        client_key_file=_file(arguments.client_key_file, "client_key_file", variables("CLIENT_KEY")),
        ca_file=_file(arguments.certificate_file, "certificate_file", variables("CERTIFICATE")),
    )
    return routed(settings)


def overridden(taken: ExportSettings, arguments: ExportArguments) -> ExportSettings:
    """Return an exporter's settings with what was given beside the exporter in their place.

    Raises:
        SettingsError: an argument that cannot work, or `protocol`, which is the exporter's.
    """
    given = arguments.given()
    if not given:
        return taken
    if "protocol" in given and arguments.protocol != taken.protocol:
        raise SettingsError(f"protocol must be that of the span_exporter, {taken.protocol}, got {arguments.protocol!r}")
    asked = export_settings(replace(arguments, protocol=taken.protocol))
    changes: dict[str, object] = {}
    if "endpoint" in given or "insecure" in given:
        if "endpoint" not in given:
            raise SettingsError("insecure must come with an endpoint when a span_exporter is given")
        changes |= {"url": asked.url, "unix_socket": asked.unix_socket, "proxy": asked.proxy}
    if "headers" in given:
        own = dict(_given_headers(arguments.headers, grpc=taken.protocol == "grpc"))
        changes["headers"] = tuple({**dict(taken.headers), **own}.items())
    for argument, setting in (
        ("timeout", "timeout_seconds"),
        ("compression", "compression"),
        ("certificate_file", "ca_file"),
        ("client_key_file", "client_key_file"),
        ("client_certificate_file", "client_certificate_file"),
    ):
        if argument in given:
            changes[setting] = getattr(asked, setting)
    return routed(replace(taken, **changes))  # type: ignore[arg-type]


def routed(settings: ExportSettings) -> ExportSettings:
    """Return the settings with the trusted certificates and the proxy that the environment implies.

    Certificates are for TLS only; without it their files are not looked at.
    """
    grpc = settings.protocol == "grpc"
    proxy = settings.proxy
    if proxy is None and settings.unix_socket is None:
        proxy = route.grpc_proxy(settings.url) if grpc else route.http_proxy(settings.url)
    if not settings.url.startswith("https:"):
        return replace(settings, proxy=proxy, ca_file=None, client_certificate_file=None, client_key_file=None)
    ca_file = settings.ca_file or (route.grpc_ca_file() if grpc else route.http_ca_file())
    # A key without its certificate means nothing; requests drops it too.
    key = settings.client_key_file if settings.client_certificate_file else None
    return replace(settings, proxy=proxy, ca_file=ca_file, client_key_file=key)


def batch_settings(
    max_queue_size: int | None = None,
    schedule_delay_millis: float | None = None,
    max_export_batch_size: int | None = None,
    export_timeout_millis: float | None = None,
    *,
    max_queue_bytes: int | None = None,
    max_request_bytes: int | None = None,
    exit_timeout_millis: float | None = None,
) -> BatchSettings:
    """Return how to batch, by the arguments and the environment.

    Raises:
        SettingsError: for the arguments upstream refuses too, and for gilscope's own.
    """
    spans = partial(integer, at_least=1, at_most=SPAN_COUNT_MAX)
    queue_size = choose(max_queue_size, "max_queue_size", ["OTEL_BSP_MAX_QUEUE_SIZE"], spans, 2048)
    batch_size = choose(max_export_batch_size, "max_export_batch_size", ["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"], spans, 512)
    if batch_size > queue_size:
        problem = f"max_export_batch_size must be <= max_queue_size, got {batch_size} and {queue_size}"
        if max_queue_size is not None or max_export_batch_size is not None:
            raise SettingsError(problem)
        logger.warning("%s (OTEL_BSP_MAX_EXPORT_BATCH_SIZE, OTEL_BSP_MAX_QUEUE_SIZE); using %d", problem, queue_size)
        batch_size = queue_size
    return BatchSettings(
        max_queue_size=queue_size,
        max_export_batch_size=batch_size,
        schedule_delay_millis=choose(
            schedule_delay_millis, "schedule_delay_millis", ["OTEL_BSP_SCHEDULE_DELAY"], positive_millis, 5000.0
        ),
        export_timeout_millis=choose(
            export_timeout_millis, "export_timeout_millis", ["OTEL_BSP_EXPORT_TIMEOUT"], _export_timeout, 30000.0
        ),
        max_queue_bytes=choose(
            max_queue_bytes,
            "max_queue_bytes",
            ["GILSCOPE_MAX_QUEUE_BYTES"],
            partial(integer, at_least=QUEUE_BYTES_MIN, at_most=QUEUE_BYTES_MAX),
            QUEUE_BYTES,
        ),
        max_request_bytes=choose(
            max_request_bytes,
            "max_request_bytes",
            ["GILSCOPE_MAX_REQUEST_BYTES"],
            partial(integer, at_least=REQUEST_BYTES_MIN, at_most=REQUEST_BYTES_MAX),
            REQUEST_BYTES,
        ),
        exit_timeout_millis=choose(
            exit_timeout_millis,
            "exit_timeout_millis",
            ["GILSCOPE_EXIT_TIMEOUT_MILLIS"],
            positive_millis,
            EXIT_TIMEOUT_MILLIS,
        ),
    )


def seconds(given: object, where: str) -> float:
    """Return a timeout; above a thousand seconds a warning says what the unit is."""
    value = number(given, where)
    if value <= 0:
        raise SettingsError(f"{where} must be > 0 seconds, got {value:g}")
    if value > LOOKS_LIKE_MILLISECONDS:
        warn_of_milliseconds(where, value)
    return value


_warned_of_milliseconds: set[tuple[str, float]] = set()


def warn_of_milliseconds(where: str, value: float) -> None:
    """Log, once for each place and value, that a timeout looks like milliseconds."""
    if (where, value) not in _warned_of_milliseconds:
        _warned_of_milliseconds.add((where, value))
        logger.warning("%s is in seconds, as in Python's OTLP exporters; %g looks like milliseconds", where, value)


def positive_millis(given: object, where: str) -> float:
    """Return a time in milliseconds, above zero."""
    value = number(given, where)
    if value <= 0 or value > MILLIS_MAX:
        raise SettingsError(f"{where} must be > 0 and <= {MILLIS_MAX:g} milliseconds, got {value:g}")
    return value


def compression(given: object, where: str, *, protocol: Protocol) -> Compression:
    """Return the compression that a name, or a member of one of upstream's three enums, means."""
    name = str(getattr(given, "name", given)).strip().lower()
    if name in {"none", "nocompression"}:
        return "none"
    if name == "gzip":
        return "gzip"
    if name == "deflate" and protocol != "grpc":
        return "deflate"
    expected = "none or gzip" if protocol == "grpc" else "none, gzip or deflate"
    raise SettingsError(f"{where} must be {expected} for {protocol}, got {name!r}")


def _protocol(given: object, where: str) -> Protocol:
    if given == "grpc":
        return "grpc"
    if given == "http/protobuf":
        return "http/protobuf"
    raise SettingsError(f"{where} must be http/protobuf or grpc, got {given!r}")


def _export_timeout(given: object, where: str) -> float:
    """Return the limit of an export; none of its own, as 0 says in other languages, leaves the exporter's."""
    value = number(given, where)
    return min(value, MILLIS_MAX) if value > 0 else MILLIS_MAX


def _file(argument: str | None, name: str, names: Sequence[str]) -> str | None:
    found = (name, str(argument)) if argument else first_set(names)
    if found is None:
        return None
    where, path = found
    if not Path(path).is_file():
        logger.warning("%s must be a file, got %r, which is none as yet (%s)", name, path, where)
    return path


def _http_place(arguments: ExportArguments) -> endpoints.Endpoint:
    if arguments.endpoint:
        return endpoints.http_endpoint(arguments.endpoint, "endpoint")
    full_url, base_url = variables("ENDPOINT")
    default = endpoints.http_endpoint_of_base(endpoints.HTTP_DEFAULT_BASE, "endpoint")
    full = read(full_url)
    if full is not None:
        return choose(None, "endpoint", [full_url], endpoints.http_endpoint, default)
    return choose(None, "endpoint", [base_url], endpoints.http_endpoint_of_base, default)


def _grpc_place(arguments: ExportArguments) -> endpoints.Endpoint:
    names = variables("ENDPOINT")
    variable = choose(None, "insecure", variables("INSECURE"), boolean, None)

    def parse(given: object, where: str) -> endpoints.Endpoint:
        text = str(given)
        insecure = endpoints.grpc_insecure(text, asked=arguments.insecure, variable=variable)
        return endpoints.grpc_endpoint(text, where, insecure=insecure)

    return choose(arguments.endpoint or None, "endpoint", names, parse, parse(endpoints.GRPC_DEFAULT, "endpoint"))


def _headers(arguments: ExportArguments, protocol: Protocol, place: endpoints.Endpoint) -> Headers:
    chosen: dict[str, str] = {}
    grpc = protocol == "grpc"
    found = first_set(variables("HEADERS"))
    # As upstream: over HTTP arguments are added to the variable's headers, over gRPC they replace them.
    if found is not None and not (grpc and arguments.headers):
        variable, text = found
        chosen |= header_rules.without_bad_ones(header_rules.parse_variable(text, variable), variable, grpc=grpc)
    chosen |= dict(_given_headers(arguments.headers, grpc=grpc))
    if not grpc and "authorization" not in chosen:
        credentials = route.authorization(place.user, urlsplit(place.url).hostname)
        if credentials is not None:
            chosen["authorization"] = credentials
    return header_rules.for_request(chosen.items(), grpc=grpc)


def _given_headers(headers: Mapping[str, str] | Sequence[tuple[str, str]] | str | None, *, grpc: bool) -> Headers:
    if not headers:
        return ()
    if isinstance(headers, str):
        pairs = header_rules.parse_variable(headers, "headers").items()
        return tuple(header_rules.checked(*pair, grpc=grpc) for pair in pairs)
    given = headers.items() if hasattr(headers, "items") else headers
    return tuple(header_rules.checked(name, value, grpc=grpc) for name, value in given)
