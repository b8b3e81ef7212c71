"""Where settings come from, and what happens to those that cannot work."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.http import Compression

from gilscope.errors import GilscopeError, SettingsError
from gilscope.spans.settings import ExportArguments, ExportSettings, batch_settings, export_settings, overridden

if TYPE_CHECKING:
    from pathlib import Path

GRPC_PATH = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def resolve(**arguments: Any) -> ExportSettings:
    """Return the settings for these arguments and the environment."""
    return export_settings(ExportArguments(**arguments))


def test_nothing_set_gives_the_specifications_defaults() -> None:
    """http/protobuf to the local collector, ten seconds, not compressed."""
    settings = resolve()
    assert (settings.protocol, settings.url) == ("http/protobuf", "http://localhost:4318/v1/traces")
    assert (settings.timeout_seconds, settings.compression, settings.ca_file) == (10.0, "none", None)
    assert [name for name, _ in settings.headers] == ["user-agent"]


@pytest.mark.parametrize(
    ("suffix", "general", "traces", "argument", "read"),
    [
        ("ENDPOINT", "http://g:1", "http://t:2/x", "http://a:3/y", lambda s: s.url),
        ("TIMEOUT", "1", "2", 3, lambda s: s.timeout_seconds),
        ("COMPRESSION", "gzip", "deflate", "none", lambda s: s.compression),
        ("HEADERS", "k=1", "k=2", {"k": "3"}, lambda s: dict(s.headers)["k"]),
        ("PROTOCOL", "grpc", "http/protobuf", "grpc", lambda s: s.protocol),
    ],
)
def test_setting_given_in_all_places_takes_the_strongest(
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    general: str,
    traces: str,
    argument: object,
    read: Any,
) -> None:
    """Constructor before OTEL_EXPORTER_OTLP_TRACES_* before OTEL_EXPORTER_OTLP_*."""
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{suffix}", general)
    from_general = read(resolve())
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_TRACES_{suffix}", traces)
    from_traces = read(resolve())
    from_argument = read(resolve(**{suffix.lower(): argument}))
    expected = {
        "ENDPOINT": ("http://g:1/v1/traces", "http://t:2/x", "http://a:3/y"),
        "TIMEOUT": (1.0, 2.0, 3.0),
        "COMPRESSION": ("gzip", "deflate", "none"),
        "HEADERS": ("1", "2", "3"),
        "PROTOCOL": ("grpc", "http/protobuf", "grpc"),
    }
    assert (from_general, from_traces, from_argument) == expected[suffix]


def test_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the specification says of every variable."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", " ")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://g:1/base/")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "")
    assert (resolve().url, resolve().timeout_seconds) == ("http://g:1/base/v1/traces", 10.0)


@pytest.mark.parametrize(
    ("variable", "value", "read", "default", "expected"),
    [
        ("TIMEOUT", "ten", lambda s: s.timeout_seconds, 10.0, "timeout .* must be a number, got 'ten'"),
        ("TIMEOUT", "-1", lambda s: s.timeout_seconds, 10.0, "must be > 0 seconds, got -1"),
        ("TIMEOUT", "nan", lambda s: s.timeout_seconds, 10.0, "must be a number, got 'nan'"),
        ("COMPRESSION", "zstd", lambda s: s.compression, "none", "must be none, gzip or deflate"),
        ("PROTOCOL", "http/json", lambda s: s.protocol, "http/protobuf", "must be http/protobuf or grpc"),
        (
            "TRACES_ENDPOINT",
            "h:4318",
            lambda s: s.url,
            "http://localhost:4318/v1/traces",
            "must be an http:// or https://",
        ),
        ("ENDPOINT", "ftp://h", lambda s: s.url, "http://localhost:4318/v1/traces", "must be an http:// or https://"),
    ],
)
def test_bad_variable_is_logged_and_the_default_used(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variable: str,
    value: str,
    read: Any,
    default: object,
    expected: str,
) -> None:
    """The environment never raises into the program; the log says what, and from where."""
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{variable}", value)
    with caplog.at_level(logging.WARNING):
        assert read(resolve()) == default
    assert re.search(expected, caplog.text)
    assert f"OTEL_EXPORTER_OTLP_{variable}" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"timeout": 0}, "timeout must be > 0 seconds, got 0"),
        ({"timeout": "x"}, "timeout must be a number"),
        ({"compression": "zstd"}, "compression must be none, gzip or deflate"),
        ({"compression": "deflate", "protocol": "grpc"}, "compression must be none or gzip for grpc"),
        ({"protocol": "http/json"}, "protocol must be http/protobuf or grpc, got 'http/json'"),
        ({"endpoint": "localhost:4318"}, "endpoint must be an http:// or https:// URL"),
        ({"endpoint": "xds:///x", "protocol": "grpc"}, "endpoint must be host:port"),
        ({"headers": {"a": "x\r\nb: y"}}, "must not contain CR, LF or NUL"),
        ({"headers": {"a b": "x"}}, "header's name must be a token"),
    ],
)
def test_bad_argument_raises_value_error(arguments: dict[str, Any], expected: str) -> None:
    """A bad argument is the programmer's to fix, and both names of the error catch it."""
    with pytest.raises(SettingsError, match=expected) as caught:
        resolve(**arguments)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, GilscopeError)


def test_timeout_above_thousand_warns_once_of_its_unit(caplog: pytest.LogCaptureFixture) -> None:
    """10000 is what a user of another language writes."""
    for _ in range(2):
        assert resolve(timeout=10000).timeout_seconds == 10000.0
    assert caplog.text.count("looks like milliseconds") == 1


@pytest.mark.parametrize(
    ("given", "protocol", "expected"),
    [
        (Compression.Gzip, "http/protobuf", "gzip"),
        (Compression.NoCompression, "http/protobuf", "none"),
        (Compression.Deflate, "http/protobuf", "deflate"),
        (grpc.Compression.Gzip, "grpc", "gzip"),
        (grpc.Compression.NoCompression, "grpc", "none"),
        (" GZIP ", "grpc", "gzip"),
    ],
)
def test_compression_of_any_enum_is_understood(given: object, protocol: str, expected: str) -> None:
    """HTTP's and gRPC's enums, and names."""
    assert resolve(compression=given, protocol=protocol).compression == expected


def test_grpc_settings_from_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoint, metadata and TLS as upstream's gRPC exporter reads them."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Tenant=a%20b,trace-bin=xyz")
    assert resolve().url == f"https://collector:4317{GRPC_PATH}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_INSECURE", "true")
    settings = resolve()
    assert settings.url == f"http://collector:4317{GRPC_PATH}"
    assert dict(settings.headers)["tenant"] == "a b"
    assert dict(settings.headers)["trace-bin"] == "eHl6"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "false")
    assert resolve().url.startswith("https:")
    assert resolve(insecure=True).url.startswith("http:")


def test_headers_argument_over_http_is_added_and_over_grpc_replaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the two exporters of upstream differ."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=2")
    http = dict(resolve(headers={"B": "3"}).headers)
    assert (http["a"], http["b"]) == ("1", "3")
    metadata = dict(resolve(headers=[("B", "3")], protocol="grpc").headers)
    assert "a" not in metadata
    assert metadata["b"] == "3"


def test_secret_is_in_no_repr_and_no_log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Headers and users of URLs are credentials more often than not."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer hunter2,bad hunter2,x=hunter2%0D%0Ay:z")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:hunter2@h:1")
    with caplog.at_level(logging.DEBUG):
        settings = resolve(headers={"k": "hunter2"})
    with pytest.raises(SettingsError) as caught:
        resolve(headers={"k": "hunter2\n"}, endpoint="http://me:hunter2@h:x")
    assert dict(settings.headers)["authorization"] == "Bearer hunter2"
    assert "hunter2" not in f"{settings!r} {caplog.text} {caught.value} {settings.url}"
    assert len(caplog.records) == 2


def test_users_agent_is_kept_and_upstreams_is_extended() -> None:
    """Ours says whose place it takes."""
    assert dict(resolve().headers)["user-agent"].startswith("OTel-OTLP-Exporter-Python/")
    assert " gilscope/" in dict(resolve().headers)["user-agent"]
    assert dict(resolve(headers={"User-Agent": "mine"}).headers)["user-agent"] == "mine"


def test_certificates_apply_to_tls_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces' variables before the general ones; a key alone means nothing."""
    files = {name: str(tmp_path / name) for name in ("ca", "ca2", "cert", "key")}
    for path in files.values():
        (tmp_path / path).write_text("x")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", files["ca"])
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", files["ca2"])
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", files["key"])
    settings = resolve(endpoint="https://h/x")
    assert (settings.ca_file, settings.client_key_file) == (files["ca2"], None)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", files["cert"])
    settings = resolve(endpoint="https://h/x", certificate_file=files["ca"])
    assert settings.ca_file == files["ca"]
    assert (settings.client_certificate_file, settings.client_key_file) == (files["cert"], files["key"])
    assert resolve(endpoint="http://h/x").client_certificate_file is None


def test_missing_certificate_file_warns(caplog: pytest.LogCaptureFixture) -> None:
    """It may be mounted later, so it is no error yet."""
    assert resolve(endpoint="https://h/x", certificate_file="/none/ca.pem").ca_file == "/none/ca.pem"
    assert "certificate_file must be a file, got '/none/ca.pem'" in caplog.text


def test_batch_settings_from_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_BSP_* and gilscope's own."""
    for name, value in {
        "OTEL_BSP_MAX_QUEUE_SIZE": "100",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10",
        "OTEL_BSP_SCHEDULE_DELAY": "250",
        "OTEL_BSP_EXPORT_TIMEOUT": "900",
        "GILSCOPE_MAX_QUEUE_BYTES": "1048576",
        "GILSCOPE_MAX_REQUEST_BYTES": "65536",
        "GILSCOPE_EXIT_TIMEOUT_MILLIS": "1500",
    }.items():
        monkeypatch.setenv(name, value)
    batch = batch_settings()
    assert (batch.max_queue_size, batch.max_export_batch_size, batch.schedule_delay_millis) == (100, 10, 250.0)
    assert (batch.export_timeout_millis, batch.max_queue_bytes, batch.max_request_bytes) == (900.0, 2**20, 65536)
    assert batch.exit_timeout_millis == 1500.0
    assert batch_settings(20, 1.5).max_queue_size == 20


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "99999999999"])
def test_bad_queue_size_variable_uses_the_default(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, value: str
) -> None:
    """Upstream raises for some of these; a variable is not worth a crash."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", value)
    assert batch_settings().max_queue_size == 2048
    assert "max_queue_size (OTEL_BSP_MAX_QUEUE_SIZE) must be" in caplog.text


def test_small_queue_variable_makes_batches_small(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """OTEL_BSP_MAX_QUEUE_SIZE=100 alone makes upstream raise, for its default batch is 512."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    assert batch_settings().max_export_batch_size == 100
    assert "max_export_batch_size must be <= max_queue_size, got 512 and 100" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"max_queue_size": 0}, "max_queue_size must be >= 1, got 0"),
        ({"max_export_batch_size": 0}, "max_export_batch_size must be >= 1, got 0"),
        ({"schedule_delay_millis": 0}, "schedule_delay_millis must be > 0"),
        ({"max_queue_size": 100}, "max_export_batch_size must be <= max_queue_size, got 512 and 100"),
        ({"max_queue_bytes": 1}, "max_queue_bytes must be >= 65536, got 1"),
        ({"max_request_bytes": 1}, "max_request_bytes must be >= 1024, got 1"),
        ({"exit_timeout_millis": -1}, "exit_timeout_millis must be > 0"),
    ],
)
def test_bad_batch_argument_raises(arguments: dict[str, Any], expected: str) -> None:
    """The arguments that upstream refuses, and gilscope's own."""
    with pytest.raises(SettingsError, match=expected):
        batch_settings(**arguments)


def test_export_timeout_of_zero_sets_no_limit() -> None:
    """Upstream ignores this argument, so that any value of it must be taken."""
    assert batch_settings(export_timeout_millis=0).export_timeout_millis == 10.0**9


def test_argument_beside_a_taken_exporter_wins() -> None:
    """What was given explicitly is what was wanted; the rest stays the exporter's."""
    taken = ExportSettings("http/protobuf", "http://h:1/x", (("user-agent", "u"), ("k", "1")), timeout_seconds=3)
    changed = overridden(taken, ExportArguments(headers={"k": "2"}, compression="gzip"))
    assert dict(changed.headers) == {"user-agent": "u", "k": "2"}
    assert (changed.compression, changed.url, changed.timeout_seconds) == ("gzip", "http://h:1/x", 3)
    assert overridden(taken, ExportArguments(endpoint="http://n:2/y")).url == "http://n:2/y"
    with pytest.raises(SettingsError, match="protocol must be that of the span_exporter"):
        overridden(taken, ExportArguments(protocol="grpc"))
