"""Certificates, proxies and .netrc, as requests and gRPC have them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import certifi
import pytest
import requests.utils

from gilscope.spans import route

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def no_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away bundles that this machine may have set."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"):
        monkeypatch.delenv(name, raising=False)


def test_ca_file_is_the_one_that_requests_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """REQUESTS_CA_BUNDLE before CURL_CA_BUNDLE before certifi."""
    assert route.http_ca_file() == certifi.where()
    monkeypatch.setenv("CURL_CA_BUNDLE", "/curl.pem")
    assert route.http_ca_file() == "/curl.pem"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/requests.pem")
    assert route.http_ca_file() == "/requests.pem"


def test_grpc_ca_file_is_the_one_that_grpc_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """GRPC brings its own roots."""
    found = route.grpc_ca_file()
    assert found is not None
    assert found.endswith("grpc/_cython/_credentials/roots.pem")
    monkeypatch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "/roots.pem")
    assert route.grpc_ca_file() == "/roots.pem"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"http_proxy": "10.0.0.9:3128"},
        {"HTTP_PROXY": "http://proxy:3128"},
        {"ALL_PROXY": "http://all:1"},
        {"all_proxy": "http://all:1", "http_proxy": "http://p:2"},
        {"http_proxy": "http://p:2", "no_proxy": "collector"},
        {"http_proxy": "http://p:2", "no_proxy": "other, .example.com,10.0.0.0/8"},
        {"http_proxy": "http://p:2", "NO_PROXY": "*"},
        {"https_proxy": "http://p:2", "no_proxy": "example.com:4318"},
    ],
)
@pytest.mark.parametrize(
    "url", ["http://collector:4318/v1", "https://a.example.com:4318/v1", "http://10.1.2.3:4318/v1", "http://[::1]:1/v1"]
)
def test_http_proxy_is_the_one_that_requests_uses(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str
) -> None:
    """Compared with requests itself."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    chosen = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    expected = requests.utils.prepend_scheme_if_needed(chosen, "http") if chosen else None  # type: ignore[no-untyped-call]
    assert route.http_proxy(url) == expected


def test_grpc_proxy_has_variables_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """grpc_proxy before https_proxy before http_proxy, whatever the scheme; no_grpc_proxy before no_proxy."""
    url = "http://collector.local:4317/x"
    assert route.grpc_proxy(url) is None
    monkeypatch.setenv("http_proxy", "one:1")
    assert route.grpc_proxy(url) == "http://one:1"
    monkeypatch.setenv("https_proxy", "http://two:2")
    assert route.grpc_proxy(url) == "http://two:2"
    monkeypatch.setenv("grpc_proxy", "http://three:3")
    assert route.grpc_proxy(url) == "http://three:3"
    monkeypatch.setenv("no_proxy", "local")
    assert route.grpc_proxy(url) is None
    monkeypatch.setenv("no_grpc_proxy", "elsewhere")
    assert route.grpc_proxy(url) == "http://three:3"


def test_user_of_url_becomes_basic_authorization() -> None:
    """As requests does, URL-decoded."""
    header = route.authorization("me%40x:p%3Aw", "h")
    assert header is not None
    assert base64.b64decode(header.removeprefix("Basic ")) == b"me@x:p:w"


def test_netrc_entry_becomes_basic_authorization(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Requests reads it, so it has to work here too; a broken file is no error."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine collector login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    header = route.authorization(None, "collector")
    assert header is not None
    assert base64.b64decode(header.removeprefix("Basic ")) == b"me:secret"
    assert route.authorization(None, "other") is None
    netrc.write_text("machine")
    assert route.authorization(None, "collector") is None
