"""Headers of an export request: parsed from the environment, checked, and never shown.

A header's value is a secret more often than not. No message of this module contains one, which is why it parses by
itself: `opentelemetry.util.re.parse_env_headers` logs what it cannot parse, value and all.
"""

from __future__ import annotations

import base64
import logging
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from gilscope._version import __version__
from gilscope.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

logger = logging.getLogger(__name__)

# The token of RFC 9110, 5.6.2, but for the apostrophe and so on that parse_env_headers allows in keys as well.
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# What a URL-encoded value may consist of; anything else is taken as it stands, as upstream's liberal mode does.
_ENCODED_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
_LIBERAL_VALUE = re.compile(r"[\x20\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*")
_FORBIDDEN = re.compile(r"[\r\n\0]")

# Written by the transport, which knows them; whatever the environment says of them would be wrong.
_TRANSPORT_OWNS = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "te", "transfer-encoding"}
)
_UPSTREAM_AGENT = "OTel-OTLP-Exporter-Python/"


def parse_variable(text: str, variable: str) -> dict[str, str]:
    """Return the headers that OTEL_EXPORTER_OTLP_HEADERS or its like holds; what is malformed is logged by its place.

    Source: OpenTelemetry specification, protocol/exporter.md, "Specifying headers via environment variables".
    """
    headers: dict[str, str] = {}
    for place, piece in enumerate(re.split(r"[ \t]*,[ \t]*", text), start=1):
        pair = piece.strip()
        if not pair:
            continue
        name, equals, value = pair.partition("=")
        name, value = name.strip(), value.strip()
        if equals and _NAME.fullmatch(name) and _ENCODED_VALUE.fullmatch(value):
            headers[unquote(name).strip().lower()] = unquote(value).strip()
        elif equals and _NAME.fullmatch(name) and _LIBERAL_VALUE.fullmatch(value):
            headers[name.lower()] = value
        else:
            logger.warning(
                "Header %d of %s is not of the form name=value, URL-encoded; it is left out", place, variable
            )
    return headers


def checked(name: object, value: object, *, grpc: bool) -> tuple[str, str]:
    """Return the header as it is sent; gRPC's binary metadata (`-bin`) in base64.

    Raises:
        SettingsError: a name that is not a token, or a value that would end the header. The value is not shown.
    """
    key = name.decode("latin-1") if isinstance(name, bytes) else str(name)
    if not _NAME.fullmatch(key):
        raise SettingsError(f"a header's name must be a token (RFC 9110), got {key!r}")
    if grpc and key.lower().endswith("-bin"):
        content = value if isinstance(value, bytes) else str(value).encode()
        return key.lower(), base64.b64encode(content).decode("ascii").rstrip("=")
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
    if _FORBIDDEN.search(text):
        raise SettingsError(f"a header's value must not contain CR, LF or NUL (header {key!r}; its value is not shown)")
    return key.lower(), text.strip()


def without_bad_ones(headers: Mapping[str, str], variable: str, *, grpc: bool) -> dict[str, str]:
    """Return the headers that can be sent; the others are logged by name."""
    good: dict[str, str] = {}
    for name, value in headers.items():
        try:
            key, text = checked(name, value, grpc=grpc)
        except SettingsError as error:
            logger.warning("%s; it is left out (%s)", error, variable)
        else:
            good[key] = text
    return good


def user_agent(upstream: str | None = None) -> str:
    """Return the user agent of an exporter that stands in for upstream's, version and all."""
    if upstream is None:
        from opentelemetry.sdk.version import __version__ as sdk_version  # released in step with the exporters

        upstream = _UPSTREAM_AGENT + sdk_version
    return f"{upstream} gilscope/{__version__}"


def for_request(headers: Iterable[tuple[str, str]], *, grpc: bool) -> tuple[tuple[str, str], ...]:
    """Return the headers of a request: the transport's own left out, a user agent added."""
    chosen: list[tuple[str, str]] = []
    agent: str | None = None
    for name, value in headers:
        if name in _TRANSPORT_OWNS or (grpc and name.startswith("grpc-")):
            continue
        if name == "user-agent":
            agent = user_agent(value) if value.startswith(_UPSTREAM_AGENT) else value
        else:
            chosen.append((name, value))
    return (("user-agent", agent or user_agent()), *chosen)
