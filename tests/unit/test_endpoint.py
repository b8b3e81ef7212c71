"""Endpoint rules."""

from __future__ import annotations

import pytest

from gilscope.errors import SettingsError
from gilscope.spans.endpoint import GRPC_PATH, grpc_endpoint, grpc_insecure, http_endpoint, http_endpoint_of_base


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://h:4318", "http://h:4318/v1/traces"),
        ("http://h:4318/", "http://h:4318/v1/traces"),
        ("https://h/otlp/", "https://h/otlp/v1/traces"),
        ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
    ],
)
def test_base_gets_the_signals_path(base: str, url: str) -> None:
    """OTEL_EXPORTER_OTLP_ENDPOINT is a base."""
    assert http_endpoint_of_base(base, "e").url == url


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://h:4318", "http://h:4318/"),
        ("http://h:4318/v1/traces", "http://h:4318/v1/traces"),
        ("https://h/x?key=1#part", "https://h/x?key=1"),
    ],
)
def test_signals_endpoint_is_used_as_it_is(endpoint: str, url: str) -> None:
    """OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is complete."""
    assert http_endpoint(endpoint, "e").url == url


def test_user_of_url_is_taken_out() -> None:
    """So that the URL can be logged."""
    assert http_endpoint("http://me:secret@h:1/x", "e") == ("http://h:1/x", None, "me:secret")


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("localhost:4317", "localhost:4317"),
        ("http://h:4317", "h:4317"),
        ("http://h:4317/ignored/path", "h:4317"),
        ("https://user@h:1", "h:1"),
        ("collector", "collector:443"),
        ("http://collector", "collector:443"),
        ("[::1]:4317", "[::1]:4317"),
        ("dns:h:4317", "h:4317"),
        ("dns:///h:4317", "h:4317"),
        ("ipv4:127.0.0.1:4317,10.0.0.1:4317", "127.0.0.1:4317"),
        ("ipv6:[::1]:4317", "[::1]:4317"),
    ],
)
def test_grpc_endpoint_forms_reach_their_host(endpoint: str, host: str) -> None:
    """Every name form that libcurl can connect to; the default port is gRPC's own."""
    assert grpc_endpoint(endpoint, "e", insecure=True).url == f"http://{host}{GRPC_PATH}"
    assert grpc_endpoint(endpoint, "e", insecure=False).url == f"https://{host}{GRPC_PATH}"


@pytest.mark.parametrize(("endpoint", "path"), [("unix:///run/otel.sock", "/run/otel.sock"), ("unix:/a", "/a")])
def test_grpc_unix_endpoint_gives_a_socket(endpoint: str, path: str) -> None:
    """The URL's host is then only a name."""
    assert grpc_endpoint(endpoint, "e", insecure=True) == (f"http://localhost{GRPC_PATH}", path, None)


@pytest.mark.parametrize("endpoint", ["xds:///x", "unix-abstract:x", "unix:", "h:port", "", "a b:1", "http://"])
def test_unusable_grpc_endpoint_raises(endpoint: str) -> None:
    """With the setting's name in the message."""
    with pytest.raises(SettingsError, match=r"^e must"):
        grpc_endpoint(endpoint, "e", insecure=True)


@pytest.mark.parametrize(
    ("endpoint", "asked", "variable", "insecure"),
    [
        ("http://h", None, None, True),
        ("h:1", None, None, False),
        ("https://h", True, True, False),
        ("http://h", False, True, False),
        ("http://h", None, False, False),
        ("h:1", None, True, True),
        ("h:1", True, False, True),
    ],
)
def test_grpc_tls_is_decided_as_upstream_does(
    endpoint: str, asked: bool | None, variable: bool | None, insecure: bool
) -> None:
    """Https wins over all; then the argument, the variable, the scheme."""
    assert grpc_insecure(endpoint, asked=asked, variable=variable) is insecure
