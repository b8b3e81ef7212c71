"""The settings of an OTLPSpanExporter that exists already, or the reason why it must keep its own path.

Only what can be reproduced exactly is taken over: exact types, nothing replaced on the instance or on the class, no
session, transport or credentials of the user's. The exporters' packages are never imported here: an instance can only
exist when they are.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gilscope.errors import SettingsError
from gilscope.spans import endpoint as endpoints
from gilscope.spans import headers as header_rules
from gilscope.spans import route
from gilscope.spans.environment import read
from gilscope.spans.settings import (
    LOOKS_LIKE_MILLISECONDS,
    ExportSettings,
    compression,
    routed,
    variables,
    warn_of_milliseconds,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

logger = logging.getLogger(__name__)

HTTP_MODULE = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
GRPC_MODULE = "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"

_METHODS = ("export", "shutdown", "force_flush", "_export")


@dataclass(frozen=True)
class Refusal:
    """Why an exporter keeps upstream's path, in words that continue `it keeps upstream's path because ...`."""

    reason: str


class _RefusedError(Exception):
    """Carries a refusal's reason out of the checks below."""


def take_over(exporter: object) -> ExportSettings | Refusal:
    """Return the settings of an exporter that a native pipeline can stand in for, or why it cannot. Never raises."""
    try:
        if _is_exactly(exporter, HTTP_MODULE):
            return _http_settings(exporter)
        if _is_exactly(exporter, GRPC_MODULE):
            return _grpc_settings(exporter)
    except (_RefusedError, SettingsError) as error:
        return Refusal(str(error))
    except Exception as error:  # noqa: BLE001 - private attributes of another project: anything may have moved
        return Refusal(f"{_name(exporter)} is not built as expected ({type(error).__name__}: {error})")
    return Refusal(f"{_name(exporter)} is not one of OpenTelemetry's two OTLPSpanExporter classes")


_said: set[tuple[type, str]] = set()


def say_once(level: int, exporter: object, refusal: Refusal, ignored: Iterable[str] = ()) -> None:
    """Log, once for each kind of exporter and reason, that it keeps upstream's path.

    Args:
        level: of logging.
        exporter: which is refused.
        refusal: why.
        ignored: names of arguments that have no effect there.
    """
    if (type(exporter), refusal.reason) not in _said:
        _said.add((type(exporter), refusal.reason))
        names = ", ".join(ignored)
        logger.log(
            level,
            "%s keeps upstream's BatchSpanProcessor, because %s%s",
            type(exporter).__qualname__,
            refusal.reason,
            f"; ignored: {names}" if names else "",
        )


def _name(exporter: object) -> str:
    return f"{type(exporter).__module__}.{type(exporter).__qualname__}"


def _is_exactly(exporter: object, module_name: str) -> bool:
    module = sys.modules.get(module_name)
    return module is not None and type(exporter) is getattr(module, "OTLPSpanExporter", None)


def _require(condition: object, reason: str) -> None:
    if not condition:
        raise _RefusedError(reason)


def _require_untouched(exporter: object) -> None:
    """Refuse an exporter whose methods were replaced, on the instance or on the class: they are there to be called."""
    for method in _METHODS:
        _require(method not in vars(exporter), f"its {method} was replaced")
        found = getattr(type(exporter), method, None)
        if found is not None:
            home = getattr(found, "__module__", "")
            original = home.startswith("opentelemetry.") and not hasattr(found, "__wrapped__")
            _require(original, f"its class's {method} was replaced")
    _require(not getattr(exporter, "_shutdown", False), "it is shut down")


def _http_settings(exporter: Any) -> ExportSettings:  # noqa: ANN401 - reads private attributes of several versions
    _require_untouched(exporter)
    client = getattr(exporter, "_client", None)
    if client is None:
        session, source = exporter._session, exporter
        verify = exporter._certificate_file
        # 1.25 had no client certificates.
        certificate = getattr(exporter, "_client_cert", None)
        headers = dict(session.headers)
    else:
        transport = client._transport
        transports = sys.modules.get("opentelemetry.exporter.http.transport._requests")
        usual = transports is not None and type(transport) is transports.RequestsHTTPTransport
        _require(usual, "it has a transport of its own")
        session, source = transport._session, client
        verify, certificate = session.verify, session.cert
        # requests merges a session's own headers into those of the call.
        headers = {**session.headers, **client._headers}
    _require_default_session(session, with_tls=client is not None)
    _require(verify is True or isinstance(verify, str), "it does not verify certificates")
    chain, key = certificate if isinstance(certificate, tuple) else (certificate, None)
    place = endpoints.http_endpoint(source._endpoint, "endpoint")
    chosen = _without_session_defaults(headers)
    credentials = route.authorization(place.user, urlsplit(place.url).hostname)
    if credentials is not None:
        chosen.setdefault("authorization", credentials)
    return routed(
        ExportSettings(
            protocol="http/protobuf",
            url=place.url,
            headers=header_rules.for_request(chosen.items(), grpc=False),
            timeout_seconds=_seconds(source._timeout),
            compression=compression(source._compression, "compression", protocol="http/protobuf"),
            ca_file=verify if isinstance(verify, str) else None,
            client_certificate_file=chain,
            client_key_file=key,
            max_request_bytes=_request_limit(exporter),
        )
    )


def _request_limit(exporter: object) -> int | None:
    limit = getattr(exporter, "_max_request_size", None)
    return limit if isinstance(limit, int) and limit > 0 else None


def _seconds(timeout: object) -> float:
    _require(isinstance(timeout, int | float) and timeout > 0, f"its timeout must be > 0 seconds, got {timeout!r}")
    value = float(timeout)  # type: ignore[arg-type]
    if value > LOOKS_LIKE_MILLISECONDS:
        warn_of_milliseconds("the exporter's timeout", value)
    return value


def _require_default_session(session: Any, *, with_tls: bool) -> None:  # noqa: ANN401 - requests.Session
    """Refuse a session that differs from a new one in anything but its headers, which are taken over.

    Args:
        session: a requests.Session, or whatever the exporter was given.
        with_tls: the exporter keeps its own certificates there.
    """
    import requests  # the session's own module: imported long since

    fresh = requests.Session()
    _require(type(session) is requests.Session, "it has a session of its own")
    ignored = {"headers", "adapters", "cookies"} | ({"verify", "cert"} if with_tls else set())
    for name, value in vars(fresh).items():
        if name not in ignored:
            _require(getattr(session, name, None) == value, f"its session's {name} was set")
    _require(vars(session).keys() == vars(fresh).keys(), "something was added to its session")
    _require(not len(session.cookies), "its session has cookies")
    _require(list(session.adapters) == list(fresh.adapters), "adapters were mounted on its session")
    for prefix, adapter in session.adapters.items():
        expected = fresh.adapters[prefix]
        same = type(adapter) is type(expected) and _adapter_state(adapter) == _adapter_state(expected)
        _require(same, "adapters were mounted on its session")


def _adapter_state(adapter: Any) -> list[object]:  # noqa: ANN401 - requests.adapters.HTTPAdapter
    states = [getattr(adapter, name) for name in adapter.__attrs__]
    return [vars(state) if hasattr(state, "__dict__") else state for state in states]


def _without_session_defaults(headers: dict[str, Any]) -> dict[str, str]:
    """Return the headers that are the exporter's or the user's, not those that requests gives every session."""
    import requests

    defaults = {name.lower(): value for name, value in requests.Session().headers.items()}
    chosen: dict[str, str] = {}
    for name, value in headers.items():
        key, text = header_rules.checked(name, value, grpc=False)
        if defaults.get(key) != text:
            chosen[key] = text
    return chosen


def _grpc_settings(exporter: Any) -> ExportSettings:  # noqa: ANN401 - reads private attributes of several versions
    _require_untouched(exporter)
    module = sys.modules["opentelemetry.exporter.otlp.proto.grpc.exporter"]
    for attribute in ("_insecure", "_credentials", "_compression", "_channel_options"):
        told = hasattr(exporter, attribute)
        _require(
            told, f"this version of it does not keep {attribute[1:]}; give NativeSpanProcessor the settings instead"
        )
    usual = tuple(exporter._channel_options) == tuple(module._OTLP_GRPC_CHANNEL_OPTIONS)
    _require(usual, "it has channel options of its own")
    codes = getattr(exporter, "_retryable_error_codes", None)
    usual = codes is None or codes == getattr(module, "_RETRYABLE_ERROR_CODES", None)
    _require(usual, "it has retryable error codes of its own")
    insecure = bool(exporter._insecure)
    ca_file, chain, key = (None, None, None) if insecure else _grpc_certificates(exporter._credentials)
    place = endpoints.grpc_endpoint(exporter._endpoint, "endpoint", insecure=insecure)
    headers = [header_rules.checked(name, value, grpc=True) for name, value in exporter._headers or ()]
    return routed(
        ExportSettings(
            protocol="grpc",
            url=place.url,
            unix_socket=place.unix_socket,
            headers=header_rules.for_request(headers, grpc=True),
            timeout_seconds=_seconds(exporter._timeout),
            compression=compression(exporter._compression, "compression", protocol="grpc"),
            ca_file=ca_file,
            client_certificate_file=chain,
            client_key_file=key,
        )
    )


def _grpc_certificates(credentials: object) -> tuple[str | None, str | None, str | None]:
    """Return the files (trusted, certificate, key) that these credentials were read from.

    gRPC keeps the bytes and not the names: the files of the environment are compared with them. Credentials made of
    other bytes, or of more than TLS, came from the user.
    """
    own = "it has credentials of its own"
    inner: Any = getattr(credentials, "_credentials", None)
    _require(type(inner).__name__ == "SSLChannelCredentials", own)
    _require(getattr(inner, "_private_key_signer", None) is None, own)
    wanted = (inner._pem_root_certificates, inner._certificate_chain, inner._private_key)
    if wanted == (None, None, None):
        return None, None, None
    traces, general = (
        tuple(read(name) for name in names)
        for names in zip(
            variables("CERTIFICATE"), variables("CLIENT_CERTIFICATE"), variables("CLIENT_KEY"), strict=True
        )
    )
    for files in (traces, general):
        if tuple(_content(path) for path in files) == wanted:
            return files[0], files[1], files[2]
    raise _RefusedError(own)


def _content(path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib would be imported for this alone
            return file.read()
    except OSError:
        return None
