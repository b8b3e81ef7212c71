"""The sink as a process: its command line, its ports, its end, TLS, and the control interface that steers it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import requests
import trustme
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from gilscope.bench.sink import Sink, SinkError, SinkTimeoutError, faults
from tests.integration.sink_client import HOST, TIMEOUT_S, batch, connected, post, post_once, read_until_closed

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


def start(*arguments: str) -> subprocess.Popen[str]:
    """Starts a sink as a user would."""
    return subprocess.Popen(
        [sys.executable, "-m", "gilscope.bench.sink", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ask(sink: Sink, method: str, path: str, body: str | None = None) -> tuple[int, Any]:
    """Asks the control interface in plain HTTP, as curl would."""
    connection = http.client.HTTPConnection(HOST, sink.control_port, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.fixture(name="shared", scope="module")
def _shared() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink
        assert sink.errors() == ""


@pytest.fixture(name="sink")
def _sink(shared: Sink) -> Sink:
    shared.reset()
    return shared


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_process_cleanly(number: signal.Signals) -> None:
    """One line of JSON when it is ready, then silence, and exit code 0."""
    with start() as process:
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())
        assert ports["pid"] == process.pid
        assert ports["tls"] is False
        for name in ("http_port", "grpc_port", "control_port"):
            socket.create_connection((HOST, ports[name]), timeout=TIMEOUT_S).close()
        process.send_signal(number)
        output, errors = process.communicate(timeout=TIMEOUT_S)
        assert (process.returncode, output, errors) == (0, "", "")


def test_process_ends_while_requests_hang() -> None:
    """An open request does not keep the process alive."""
    with Sink() as sink:
        sink.set_faults(faults.Hang())
        with connected(sink) as connection:
            connection.request("POST", "/v1/traces", batch(1), {"Content-Type": "application/x-protobuf"})
            sink.wait_for("spans_received", 1)
            assert sink.stop() == 0
            assert sink.errors() == ""


def test_process_ends_with_its_parent() -> None:
    """The end of standard input is the end of the parent, however that came about."""
    with start("--exit-with-parent") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdin.close()
        assert process.wait(TIMEOUT_S) == 0


def test_exit_with_parent_needs_a_pipe() -> None:
    """With /dev/null there would be nothing to wait for."""
    done = subprocess.run(
        [sys.executable, "-m", "gilscope.bench.sink", "--exit-with-parent"],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "sink: --exit-with-parent needs a pipe as standard input\n"


@pytest.mark.parametrize("option", ["--http-port", "--grpc-port", "--control-port"])
def test_busy_port_is_a_clear_error(option: str) -> None:
    """Exit code 1, one line that names the port, and no line of JSON."""
    with socket.create_server((HOST, 0)) as busy:
        port = busy.getsockname()[1]
        with start(option, str(port)) as process:
            output, errors = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, output) == (1, "")
    assert f"sink: cannot listen on {HOST}:{port}" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--http-port", "70000"], "a port must be within 0..65535, got 70000"),
        (["--keep-bodies", "-1"], "must be >= 0, got -1"),
        (["--tls-cert", "x"], "--tls-cert and --tls-key must be given together"),
        (["--client-ca", "x"], "--client-ca needs --tls-cert and --tls-key"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], message: str) -> None:
    """With a message that says what was expected."""
    with start(*arguments) as process:
        _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 2
    assert message in errors


def test_unreadable_certificate_is_a_clear_error() -> None:
    """The client passes on what the process said."""
    with pytest.raises(SinkError, match=r"cannot use /.*missing.pem.*: .*No such file"):
        Sink(tls_cert="missing.pem", tls_key="missing.pem")


def test_help_teaches_the_control_interface() -> None:
    """Every route of the control interface is in it."""
    with start("--help") as process:
        output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    for route in ("/stats", "/requests", "/bodies", "/faults", "/wait", "/connections", "/reset"):
        assert f" {route} " in output


def test_exporters_deliver_over_tls_with_client_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstream's exporters, over both protocols, with a certificate of the demanded authority and not without."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # requests prefers these to what it is told
        monkeypatch.delenv(name, raising=False)
    authority = trustme.CA()
    for name, certificate in (("server", authority.issue_cert(HOST)), ("client", authority.issue_cert("client"))):
        certificate.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        certificate.private_key_pem.write_to_path(tmp_path / f"{name}.key")
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    with Sink(tls_cert=tmp_path / "server.pem", tls_key=tmp_path / "server.key", client_ca=ca) as sink:
        credentials = grpc.ssl_channel_credentials(
            ca.read_bytes(), (tmp_path / "client.key").read_bytes(), (tmp_path / "client.pem").read_bytes()
        )
        http_exporter = HttpExporter(
            endpoint=sink.http_endpoint,
            certificate_file=str(ca),
            client_certificate_file=str(tmp_path / "client.pem"),
            client_key_file=str(tmp_path / "client.key"),
        )
        for exporter in (http_exporter, GrpcExporter(endpoint=sink.grpc_endpoint, credentials=credentials)):
            provider = TracerProvider()
            provider.add_span_processor(SimpleSpanProcessor(exporter))
            provider.get_tracer("test").start_span("operation").end()
            provider.shutdown()
        stats = sink.stats()
        assert (stats.http_requests, stats.grpc_requests, stats.spans_accepted) == (1, 1, 2)
        with pytest.raises(requests.ConnectionError):
            requests.post(sink.http_endpoint, data=b"", verify=str(ca), timeout=TIMEOUT_S)
        assert sink.stats().requests == 2
        assert sink.errors() == ""


def test_wait_returns_when_the_count_is_reached(sink: Sink) -> None:
    """The sink answers by itself, without being asked again."""
    reached = []
    waiting = threading.Thread(target=lambda: reached.append(sink.wait_for_spans(3, TIMEOUT_S).spans_accepted))
    waiting.start()
    for _ in range(3):
        assert post_once(sink, batch(1)).status == 200
    waiting.join(TIMEOUT_S)
    assert reached == [3]


def test_wait_says_what_there_was_when_time_is_up(sink: Sink) -> None:
    """The counts are in the message."""
    post_once(sink, batch(2))
    with pytest.raises(SinkTimeoutError, match=r"expected spans_accepted >= 3 within 0.05 s, got .*spans_accepted=2"):
        sink.wait_for_spans(3, 0.05)


def test_reset_starts_anew(sink: Sink) -> None:
    """Counts, records and faults are gone, connections are reset, and a request under way counts no more."""
    sink.set_faults(faults.Hang())
    with connected(sink) as connection:
        connection.request("POST", "/v1/traces", batch(1), {"Content-Type": "application/x-protobuf"})
        sink.wait_for("spans_received", 1)
        sink.reset()
        with pytest.raises(ConnectionResetError):
            read_until_closed(connection.sock)
    stats = sink.stats()
    assert (stats.requests, stats.spans_received, stats.spans_unanswered, stats.faults) == (0, 0, 0, {})
    assert sink.requests() == []
    assert post_once(sink, batch(1)).status == 200


def test_control_interface_speaks_plain_json(sink: Sink) -> None:
    """What `--help` shows works with any HTTP client."""
    fault = {"kind": "status", "status": 429, "times": 2}
    assert ask(sink, "POST", "/faults", json.dumps({"faults": [fault]})) == (200, {"faults": [fault]})
    assert ask(sink, "GET", "/faults") == (200, {"faults": [fault]})
    assert post_once(sink, batch(1)).status == 429
    status, answer = ask(sink, "POST", "/wait", '{"spans_rejected": 1, "timeout_ms": 5000}')
    assert (status, answer["reached"], answer["stats"]["answers"]) == (200, True, {"429": 1})
    assert ask(sink, "POST", "/wait", '{"spans": 1, "timeout_ms": 0}')[1]["reached"] is False
    assert ask(sink, "GET", "/stats")[1]["requests"] == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("GET", "/", None, 404, "expected one of GET /stats"),
        ("POST", "/faults", "{", 400, "Expecting"),
        ("POST", "/faults", "[]", 400, "must be a JSON object"),
        ("POST", "/faults", '{"fault": []}', 400, "expected faults, seed; got fault"),
        ("POST", "/faults", '{"faults": 1}', 400, "faults must be a list"),
        ("POST", "/faults", '{"faults": [{"kind": "delay"}]}', 400, "kind must be one of normal"),
        ("POST", "/wait", "{}", 400, "expected one of spans"),
        ("POST", "/wait", '{"spans": -1}', 400, "spans must be an integer >= 0, got -1"),
        ("POST", "/connections", '{"how": "gently"}', 400, "how must be close or reset"),
    ],
)
def test_wrong_request_to_the_control_interface_is_told_so(
    sink: Sink, method: str, path: str, body: str | None, status: int, message: str
) -> None:
    """With what was expected."""
    got_status, answer = ask(sink, method, path, body)
    assert got_status == status
    assert message in answer["error"]


def test_stopped_sink_is_a_clear_error() -> None:
    """Asking it says so; stopping it again is fine."""
    sink = Sink()
    assert sink.stop() == 0
    assert sink.stop() == 0
    with pytest.raises(SinkError, match="does not answer GET /stats"):
        sink.stats()


def test_forked_child_may_ask(sink: Sink) -> None:
    """The client keeps no connection that a fork would share."""
    with connected(sink) as connection:
        post(connection, batch(3))
    child = os.fork()
    if child == 0:
        os._exit(sink.stats().spans_accepted)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert sink.stats().spans_accepted == 3
