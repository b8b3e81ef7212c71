"""How a request travels: which certificates are trusted, through which proxy, and as which user of a .netrc file.

Upstream's exporters leave this to requests and to gRPC, so these are their rules; the modules that know them are
imported only where a rule can apply, because they cost more to import than everything else here.
"""

from __future__ import annotations

import base64
import sys
from importlib.util import find_spec
from os import environ
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gilscope.spans.environment import read


def http_ca_file() -> str | None:
    """Return the bundle that requests would trust; None when there is none to be found: libcurl's default applies."""
    return read("REQUESTS_CA_BUNDLE") or read("CURL_CA_BUNDLE") or _certifi_file() or _system_file()


def grpc_ca_file() -> str | None:
    """Return the bundle that gRPC would trust."""
    return read("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH") or _grpc_file() or _certifi_file() or _system_file()


def _certifi_file() -> str | None:
    if find_spec("certifi") is None:
        return None
    import certifi

    path = certifi.where()
    return path if Path(path).is_file() else None


def _grpc_file() -> str | None:
    spec = find_spec("grpc")  # not imported: 40 ms
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "_cython" / "_credentials" / "roots.pem"
    return str(path) if path.is_file() else None


def _system_file() -> str | None:
    import ssl

    return ssl.get_default_verify_paths().cafile


def http_proxy(url: str) -> str | None:
    """Return the proxy that requests would use for this URL."""
    if not _proxies_possible():
        return None
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    host = parts.hostname or ""
    if _listed_in_no_proxy(host, parts.port) or proxy_bypass(host):
        return None
    proxies = getproxies()
    for key in (f"{parts.scheme}://{host}", parts.scheme, f"all://{host}", "all"):
        if proxies.get(key):
            return _with_scheme(proxies[key])
    return None


def grpc_proxy(url: str) -> str | None:
    """Return the proxy that gRPC would use, always by CONNECT.

    Source: gRPC core, http_proxy_mapper.cc: grpc_proxy, https_proxy, http_proxy; no_grpc_proxy, no_proxy; lower case.
    """
    proxy = next(filter(None, map(read, ("grpc_proxy", "https_proxy", "http_proxy"))), None)
    if proxy is None:
        return None
    host = urlsplit(url).hostname or ""
    exceptions = read("no_grpc_proxy") or read("no_proxy") or ""
    if any(entry and host.endswith(entry) for entry in map(str.strip, exceptions.split(","))):
        return None
    return _with_scheme(proxy)


def _proxies_possible() -> bool:
    # urllib.request takes 15 ms to import. On other systems it asks the desktop's settings as well.
    return sys.platform in {"darwin", "win32"} or any(name.lower().endswith("_proxy") for name in environ)


def _with_scheme(proxy: str) -> str:
    return proxy if "://" in proxy else f"http://{proxy}"


def _listed_in_no_proxy(host: str, port: int | None) -> bool:
    """Return whether requests' reading of NO_PROXY, which knows networks, lists the host."""
    entries = [entry for entry in (read("no_proxy") or read("NO_PROXY") or "").replace(" ", "").split(",") if entry]
    if not entries:
        return False
    from ipaddress import ip_address, ip_network

    try:
        address = ip_address(host)
    except ValueError:
        with_port = f"{host}:{port}"
        return any(host.endswith(entry) or with_port.endswith(entry) for entry in entries)

    def lists(entry: str) -> bool:
        try:
            return address in ip_network(entry, strict=False)
        except ValueError:
            return False

    return any(map(lists, entries))


def authorization(user: str | None, host: str | None) -> str | None:
    """Return the `authorization` header for the URL's user, or else for its host's .netrc entry; None without one."""
    if user is not None:
        name, _, password = user.partition(":")
        return _basic(unquote(name), unquote(password))
    found = next(filter(Path.exists, _netrc_candidates()), None)
    if found is None or host is None:
        return None
    from netrc import NetrcParseError, netrc

    try:
        entry = netrc(found).authenticators(host)
    except (NetrcParseError, OSError):
        return None
    if entry is None:
        return None
    login, account, secret = entry
    return _basic(login or account or "", secret or "")


def _netrc_candidates() -> list[Path]:
    named = read("NETRC")
    try:
        return [Path(path).expanduser() for path in ([named] if named else ["~/.netrc", "~/_netrc"])]
    except RuntimeError:  # no home
        return []


def _basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode("ascii")
