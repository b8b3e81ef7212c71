"""TLS and mutual TLS."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

from gilscope.bench.sink import Sink
from tests.conformance.sides import GRPC, Service, names_received

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Files:
    """Certificates in PEM."""

    ca: str
    server: str
    server_key: str
    client: str
    client_key: str
    stranger_ca: str


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A certification authority, a server, a client, and another authority."""
    folder: Path = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1", "localhost")
    client = authority.issue_cert("client@example.com")

    def write(name: str, blob: trustme.Blob) -> str:
        blob.write_to_path(folder / name)
        return str(folder / name)

    return Files(
        write("ca.pem", authority.cert_pem),
        write("server.pem", server.cert_chain_pems[0]),
        write("server.key", server.private_key_pem),
        write("client.pem", client.cert_chain_pems[0]),
        write("client.key", client.private_key_pem),
        write("stranger.pem", trustme.CA().cert_pem),
    )


@pytest.fixture(scope="module")
def tls_sink(files: Files) -> Iterator[Sink]:
    """A receiver with TLS."""
    with Sink(keep_bodies=10, tls_cert=files.server, tls_key=files.server_key) as sink:
        yield sink


@pytest.fixture(scope="module")
def mtls_sink(files: Files) -> Iterator[Sink]:
    """A receiver that wants to know its clients."""
    with Sink(keep_bodies=10, tls_cert=files.server, tls_key=files.server_key, client_ca=files.ca) as sink:
        yield sink


def tls_exporter(protocol: str, sink: Sink) -> Any:
    """Return an exporter whose certificates are those of the environment."""
    if protocol == GRPC:
        return GrpcExporter(endpoint=sink.grpc_endpoint, timeout=2)
    return HttpExporter(endpoint=sink.http_endpoint, timeout=2)


def test_trusted_server_gets_spans(
    monkeypatch: pytest.MonkeyPatch, tls_sink: Sink, files: Files, protocol: str, start: Callable[..., Service]
) -> None:
    """OTEL_EXPORTER_OTLP_CERTIFICATE."""
    tls_sink.reset()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", files.ca)
    service = start(tls_exporter(protocol, tls_sink))
    service.end_spans("trusted")
    service.processor.force_flush()
    assert names_received(tls_sink) == ["trusted"]


@pytest.mark.parametrize("trusted", ["stranger_ca", None])
def test_untrusted_server_gets_nothing(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tls_sink: Sink,
    files: Files,
    protocol: str,
    start: Callable[..., Service],
    trusted: str | None,
) -> None:
    """And the log says why."""
    tls_sink.reset()
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    if trusted is not None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", getattr(files, trusted))
    service = start(tls_exporter(protocol, tls_sink))
    service.end_spans("secret")
    with caplog.at_level(logging.WARNING):
        service.processor.force_flush(10_000)
    assert tls_sink.stats().requests == 0
    assert any(record.levelno == logging.ERROR for record in caplog.records)


@pytest.mark.parametrize("known", [True, False])
def test_mutual_tls_wants_the_clients_certificate(
    monkeypatch: pytest.MonkeyPatch,
    mtls_sink: Sink,
    files: Files,
    protocol: str,
    start: Callable[..., Service],
    known: bool,
) -> None:
    """OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and _KEY."""
    mtls_sink.reset()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", files.ca)
    if known:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", files.client)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CLIENT_KEY", files.client_key)
    service = start(tls_exporter(protocol, mtls_sink))
    service.end_spans("known")
    service.processor.force_flush(10_000)
    assert names_received(mtls_sink) == (["known"] if known else [])
