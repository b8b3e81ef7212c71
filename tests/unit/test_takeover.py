"""Which exporters are taken over, and what is taken."""

from __future__ import annotations

import functools
import inspect
import logging
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import requests
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace.export import ConsoleSpanExporter

from gilscope.spans.settings import ExportArguments, ExportSettings, export_settings
from gilscope.spans.takeover import Refusal, say_once, take_over

if TYPE_CHECKING:
    from pathlib import Path

# Versions that keep what their channel was made of.
GRPC_TELLS = hasattr(GrpcExporter(insecure=True), "_insecure")
needs_telling_grpc = pytest.mark.skipif(not GRPC_TELLS, reason="this gRPC exporter does not keep its settings")


def settings_of(exporter: object) -> ExportSettings:
    """Return what was taken over."""
    taken = take_over(exporter)
    assert isinstance(taken, ExportSettings), taken
    return taken


def reason_for(exporter: object) -> str:
    """Return why nothing was."""
    refused = take_over(exporter)
    assert isinstance(refused, Refusal), refused
    return refused.reason


def test_plain_http_exporter_gives_what_the_environment_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter and our own resolution read the same variables."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/base")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "tenant=a%20b,authorization=Bearer%20x")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "7")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    taken = settings_of(HttpExporter())
    resolved = export_settings(ExportArguments())
    assert dict(taken.headers) == dict(resolved.headers)
    assert (taken.url, taken.timeout_seconds, taken.compression) == (resolved.url, 7.0, "gzip")
    assert taken.protocol == "http/protobuf"


@pytest.mark.skipif(
    "client_key_file" not in inspect.signature(HttpExporter.__init__).parameters,
    reason="no client certificates in 1.25",
)
def test_http_exporters_arguments_are_taken(tmp_path: Path) -> None:
    """Each of them, as it was given."""
    ca, cert, key = (tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem"))
    exporter = HttpExporter(
        endpoint="https://h:1/x",
        certificate_file=str(ca),
        client_key_file=str(key),
        client_certificate_file=str(cert),
        headers={"Tenant": "t"},
        timeout=3,
        compression=Compression.Deflate,
    )
    taken = settings_of(exporter)
    assert (taken.url, taken.ca_file) == ("https://h:1/x", str(ca))
    assert (taken.client_certificate_file, taken.client_key_file) == (str(cert), str(key))
    assert (taken.timeout_seconds, taken.compression, dict(taken.headers)["tenant"]) == (3.0, "deflate", "t")


def test_headers_put_on_the_default_session_are_taken() -> None:
    """A known idiom for adding a header to an exporter that exists."""
    exporter: Any = HttpExporter()
    session_of(exporter).headers["X-Late"] = "1"
    headers = dict(settings_of(exporter).headers)
    assert headers["x-late"] == "1"
    assert headers.keys() == {"user-agent", "x-late"}


def session_of(exporter: Any) -> requests.Session:
    """Return the exporter's session, wherever its version keeps it."""
    session = getattr(exporter, "_session", None)
    found = exporter._client._transport._session if session is None else session
    assert isinstance(found, requests.Session)
    return found


def test_default_made_session_given_by_the_user_is_taken() -> None:
    """It differs from the exporter's own in nothing."""
    assert settings_of(HttpExporter(session=requests.Session())).url == "http://localhost:4318/v1/traces"


class OwnSession(requests.Session):
    """Made by a user, for a reason."""


def with_auth(session: requests.Session) -> None:
    """Add credentials."""
    session.auth = ("me", "secret")


def with_proxy(session: requests.Session) -> None:
    """Set a proxy."""
    session.proxies["http"] = "http://p:1"


def with_adapter(session: requests.Session) -> None:
    """Mount an adapter."""
    session.mount("http://", requests.adapters.HTTPAdapter(max_retries=3))


def with_hook(session: requests.Session) -> None:
    """Add a hook."""
    session.hooks["response"].append(print)


def with_untrusted_environment(session: requests.Session) -> None:
    """Turn the environment off."""
    session.trust_env = False


def with_cookie(session: requests.Session) -> None:
    """Set a cookie."""
    session.cookies.set("a", "b")


def with_send(session: requests.Session) -> None:
    """Replace a method."""
    session.send = functools.partial(requests.Session.send, session)  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "change", [with_auth, with_proxy, with_adapter, with_hook, with_untrusted_environment, with_cookie, with_send]
)
def test_changed_session_is_refused(change: Any) -> None:
    """Libcurl would not do what was done to it."""
    exporter = HttpExporter()
    change(session_of(exporter))
    assert "session" in reason_for(exporter)


def test_session_of_another_class_is_refused() -> None:
    """Whatever it overrides."""
    assert reason_for(HttpExporter(session=OwnSession())) == "it has a session of its own"


def test_unverified_exporter_is_refused() -> None:
    """There is no switch for that on the native side."""
    exporter: Any = HttpExporter()
    session_of(exporter).verify = False
    exporter._certificate_file = False
    assert reason_for(exporter) in {"it does not verify certificates", "its session's verify was set"}


def test_replaced_method_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the instance and on the class: somebody wants to see the spans."""
    exporter: Any = HttpExporter()
    exporter.export = lambda spans: None
    assert reason_for(exporter) == "its export was replaced"
    original = HttpExporter.export

    @functools.wraps(original)
    def seen(*args: Any) -> Any:
        return original(*args)

    monkeypatch.setattr(HttpExporter, "export", seen)
    assert reason_for(HttpExporter()) == "its class's export was replaced"


class OwnExporter(HttpExporter):
    """A subclass."""


def test_other_types_are_refused_by_name() -> None:
    """Exact types only."""
    for exporter in (OwnExporter(), ConsoleSpanExporter(), object()):
        assert type(exporter).__qualname__ in reason_for(exporter)


def test_shut_down_exporter_is_refused() -> None:
    """It would have exported nothing."""
    exporter: Any = HttpExporter()
    exporter.shutdown()
    assert reason_for(exporter) == "it is shut down"


def test_exporter_with_unknown_insides_is_refused() -> None:
    """The next version may keep its settings elsewhere; no exception gets out."""
    exporter: Any = HttpExporter()
    vars(exporter).clear()
    assert "is not built as expected" in reason_for(exporter)


def test_exporter_with_unusable_endpoint_is_refused() -> None:
    """Upstream fails at each export then, and goes on doing so."""
    assert "must be an http:// or https:// URL" in reason_for(HttpExporter(endpoint="collector:4318"))


@needs_telling_grpc
def test_plain_grpc_exporter_gives_what_the_environment_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same variables, read by both."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "tenant=a%20b")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "7")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    assert settings_of(GrpcExporter()) == export_settings(ExportArguments())


@needs_telling_grpc
@pytest.mark.parametrize(
    ("endpoint", "insecure", "url"),
    [
        ("localhost:4317", True, "http://localhost:4317"),
        ("localhost:4317", None, "https://localhost:4317"),
        ("https://h:1", True, "https://h:1"),
        ("http://h", None, "http://h:443"),
    ],
)
def test_grpc_exporters_endpoint_is_taken(endpoint: str, insecure: bool | None, url: str) -> None:
    """With its decision about TLS."""
    assert settings_of(GrpcExporter(endpoint=endpoint, insecure=insecure)).url.startswith(url + "/opentelemetry.proto.")


@needs_telling_grpc
def test_grpc_certificates_of_the_environment_are_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The credentials are opaque, but hold the bytes of the files."""
    for name in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"):
        (tmp_path / name).write_bytes(name.encode())
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", str(tmp_path / name))
    taken = settings_of(GrpcExporter(endpoint="https://h:1"))
    assert taken.ca_file == str(tmp_path / "CERTIFICATE")
    assert taken.client_certificate_file == str(tmp_path / "CLIENT_CERTIFICATE")
    assert taken.client_key_file == str(tmp_path / "CLIENT_KEY")


@needs_telling_grpc
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"credentials": grpc.ssl_channel_credentials(b"bytes")}, "it has credentials of its own"),
        (
            {
                "credentials": grpc.composite_channel_credentials(
                    grpc.ssl_channel_credentials(), grpc.access_token_call_credentials("t")
                )
            },
            "it has credentials of its own",
        ),
        ({"channel_options": (("grpc.max_send_message_length", 1),)}, "it has channel options of its own"),
        ({"compression": grpc.Compression.Deflate}, "compression must be none or gzip for grpc, got 'deflate'"),
    ],
)
def test_grpc_exporter_with_something_of_its_own_is_refused(arguments: dict[str, Any], reason: str) -> None:
    """What libcurl cannot reproduce."""
    assert reason_for(GrpcExporter(endpoint="h:1", **arguments)) == reason


@needs_telling_grpc
def test_grpc_exporter_with_plain_tls_credentials_is_taken() -> None:
    """Given or not, they mean gRPC's own roots."""
    taken = settings_of(GrpcExporter(endpoint="h:1", credentials=grpc.ssl_channel_credentials()))
    assert taken.client_certificate_file is None
    assert taken.ca_file is not None


@pytest.mark.skipif(GRPC_TELLS, reason="this gRPC exporter keeps its settings")
def test_old_grpc_exporter_is_refused_with_the_way_out() -> None:
    """It does not keep whether it is secure."""
    assert "give NativeSpanProcessor the settings instead" in reason_for(GrpcExporter(insecure=True))


def test_refusal_is_said_once_for_each_kind(caplog: pytest.LogCaptureFixture) -> None:
    """Processors are made by the dozen in tests and workers."""
    for _ in range(3):
        say_once(logging.WARNING, ConsoleSpanExporter(), Refusal("r"), ["endpoint", "headers"])
    assert [record.getMessage() for record in caplog.records] == [
        "ConsoleSpanExporter keeps upstream's BatchSpanProcessor, because r; ignored: endpoint, headers"
    ]
