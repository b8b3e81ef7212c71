"""The fault proxy between a client and the sink does what it says, for any protocol."""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING

import grpc
import pytest
import trustme

from gilscope.bench.child import ChildError
from gilscope.bench.sink import Sink, faults
from loadtests.fault_proxy import Conditions, FaultProxy
from tests.integration.sink_client import (
    HOST,
    TIMEOUT_S,
    batch,
    raw_connection,
    read_answer,
    read_until_closed,
    request_bytes,
)
from tests.integration.test_sink_grpc import METHOD, export, export_error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from loadtests.fault_proxy import Direction

SOON_S = 0.2
"""How long a test watches that nothing happens: this bounds what it can find, never whether it passes by luck."""


@pytest.fixture(name="shared_sink", scope="module")
def _shared_sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink
        assert sink.errors() == ""


@pytest.fixture(name="sink")
def _sink(shared_sink: Sink) -> Sink:
    shared_sink.reset()
    return shared_sink


@pytest.fixture(name="shared_proxy", scope="module")
def _shared_proxy(shared_sink: Sink) -> Iterator[FaultProxy]:
    with FaultProxy(shared_sink.http_port) as proxy:
        yield proxy
        assert proxy.errors() == ""


@pytest.fixture(name="proxy")
def _proxy(sink: Sink, shared_proxy: FaultProxy) -> FaultProxy:
    shared_proxy.set(Conditions())
    shared_proxy.reset_connections()
    return shared_proxy


def ssl_context(authority: trustme.CA) -> ssl.SSLContext:
    """Returns a client's context that trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def exchange(connection: socket.socket, body: bytes) -> bytes:
    """Sends a request, and returns its answer."""
    connection.sendall(request_bytes(body))
    return read_answer(connection)


def test_clean_line_passes_everything_on(sink: Sink, proxy: FaultProxy) -> None:
    """Many MiB in, the answer out, and the end of the connection too."""
    before = proxy.stats()
    request = request_bytes(batch(1, name="x" * (20 << 20)))
    with raw_connection(proxy.port) as connection:
        connection.sendall(request)
        answer = read_answer(connection)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert sink.close_connections() == 1
        assert read_until_closed(connection) == b""
    assert sink.stats().spans_accepted == 1
    after = proxy.stats()
    assert after.connections_opened - before.connections_opened == 1
    assert after.to_server_bytes - before.to_server_bytes == len(request)
    assert after.to_client_bytes - before.to_client_bytes == len(answer)


def test_blackhole_loses_nothing_once_it_is_lifted(sink: Sink, proxy: FaultProxy) -> None:
    """Nothing passes meanwhile, on old and new connections; then all of it does."""
    with raw_connection(proxy.port) as old:
        assert exchange(old, batch(1)).startswith(b"HTTP/1.1 200 ")
        proxy.set(Conditions(blackhole=True))
        with raw_connection(proxy.port) as new:
            for connection in (old, new):
                connection.sendall(request_bytes(batch(1)))
                connection.settimeout(SOON_S)
                with pytest.raises(TimeoutError):
                    connection.recv(1)
            assert sink.stats().spans_received == 1
            proxy.set(Conditions())
            for connection in (old, new):
                connection.settimeout(TIMEOUT_S)
                assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
    assert sink.stats().spans_accepted == 3


def test_blackhole_towards_the_client_only_swallows_answers(sink: Sink, proxy: FaultProxy) -> None:
    """The worst case of an export: the spans have arrived, and nobody knows."""
    proxy.set(Conditions(blackhole=True, direction="to_client"))
    with raw_connection(proxy.port) as connection:
        connection.sendall(request_bytes(batch(2)))
        assert sink.wait_for_spans(2).spans_accepted == 2
        connection.settimeout(SOON_S)
        with pytest.raises(TimeoutError):
            connection.recv(1)


@pytest.mark.parametrize("how", ["reset", "close"])
def test_open_connections_end_on_request(sink: Sink, proxy: FaultProxy, how: str) -> None:
    """On both sides; the next connection is fine."""
    with raw_connection(proxy.port) as connection:
        assert exchange(connection, batch(1)).startswith(b"HTTP/1.1 200 ")
        if how == "reset":
            assert proxy.reset_connections() == 1
            with pytest.raises(ConnectionResetError):
                read_until_closed(connection)
        else:
            assert proxy.close_connections() == 1
            assert read_until_closed(connection) == b""
    with raw_connection(proxy.port) as connection:
        assert exchange(connection, batch(1)).startswith(b"HTTP/1.1 200 ")
    assert sink.stats().spans_accepted == 2


@pytest.mark.parametrize(("direction", "times"), [(None, 2), ("to_server", 1), ("to_client", 1)])
def test_delay_adds_to_each_direction(proxy: FaultProxy, direction: Direction | None, times: int) -> None:
    """A request and its answer take it once each; large ones not more often."""
    proxy.set(Conditions(delay_ms=80, direction=direction))
    with raw_connection(proxy.port) as connection:
        start_s = time.monotonic()
        assert exchange(connection, batch(1, name="x" * (2 << 20))).startswith(b"HTTP/1.1 200 ")
        took_s = time.monotonic() - start_s
    assert 0.08 * times <= took_s < 0.08 * 32  # the request alone is 32 chunks: one delay each would be that


def test_throttle_bounds_the_throughput(proxy: FaultProxy) -> None:
    """So many bytes take at least so long."""
    proxy.set(Conditions(bytes_per_s=400_000, direction="to_server"))
    with raw_connection(proxy.port) as connection:
        start_s = time.monotonic()
        assert exchange(connection, bytes(100_000)).startswith(b"HTTP/1.1 400 ")
        assert time.monotonic() - start_s >= 0.2


@pytest.mark.parametrize("how", ["reset", "close"])
def test_answer_is_cut_after_so_many_bytes(proxy: FaultProxy, how: str) -> None:
    """The client gets exactly these, and then the end."""
    proxy.set(Conditions(cut_after_bytes=20, cut_how="reset" if how == "reset" else "close", direction="to_client"))
    with raw_connection(proxy.port) as connection:
        connection.sendall(request_bytes(batch(1)))
        received = b""
        while len(received) < 20:
            received += connection.recv(20)
        assert received == b"HTTP/1.1 200 OK\r\ncon"
        if how == "reset":
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        else:
            assert connection.recv(1) == b""


def test_request_is_cut_after_so_many_bytes(sink: Sink, proxy: FaultProxy) -> None:
    """The sink gets a part of the body, and so no spans."""
    proxy.set(Conditions(cut_after_bytes=1000, direction="to_server"))
    with raw_connection(proxy.port) as connection:
        connection.sendall(request_bytes(batch(100)))
        with pytest.raises(ConnectionResetError):
            read_until_closed(connection)
    stats = sink.wait_for("requests", 1)
    assert (stats.spans_received, stats.answers) == (0, {})


def test_connections_are_refused_and_then_not(proxy: FaultProxy) -> None:
    """The port stays the same."""
    proxy.set(Conditions(refuse=True))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, proxy.port), timeout=TIMEOUT_S)
    proxy.set(Conditions())
    with raw_connection(proxy.port) as connection:
        assert exchange(connection, batch(1)).startswith(b"HTTP/1.1 200 ")


def test_server_that_refuses_is_a_reset_for_the_client() -> None:
    """A proxy without a server cannot refuse by itself."""
    with socket.create_server((HOST, 0)) as server:
        free_port = server.getsockname()[1]
    with FaultProxy(free_port) as proxy:
        with pytest.raises(ConnectionResetError), raw_connection(proxy.port) as connection:
            read_until_closed(connection)
        assert proxy.errors() == ""


def test_grpc_call_meets_its_deadline_in_a_blackhole(sink: Sink) -> None:
    """And succeeds on the same channel once that is lifted."""
    with FaultProxy(sink.grpc_port) as proxy, grpc.insecure_channel(f"{HOST}:{proxy.port}") as channel:
        export(channel, batch(1))
        proxy.set(Conditions(blackhole=True))
        assert export_error(channel, batch(1), timeout_s=SOON_S).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        proxy.set(Conditions())
        export(channel, batch(1))


def test_reset_ends_a_grpc_call_under_way(sink: Sink) -> None:
    """The call fails at once; the next one finds a new connection."""
    sink.set_faults(faults.Hang(times=1))
    with FaultProxy(sink.grpc_port) as proxy, grpc.insecure_channel(f"{HOST}:{proxy.port}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        under_way = call.future(batch(1), timeout=TIMEOUT_S)
        sink.wait_for("spans_received", 1)
        assert proxy.reset_connections() == 1
        error = under_way.exception(TIMEOUT_S)
        assert isinstance(error, grpc.RpcError)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        until_s = time.monotonic() + TIMEOUT_S
        while time.monotonic() < until_s:
            try:
                call(batch(1), timeout=TIMEOUT_S, wait_for_ready=True)
            except grpc.RpcError:  # grpcio ends the call before it forgets the connection, and may use it once more
                continue
            break
    stats = sink.wait_for("spans_unanswered", 1)
    assert (stats.spans_accepted, stats.connections_opened) == (1, 2)


def test_tls_passes_through(tmp_path: Path) -> None:
    """The proxy sees bytes only; a delayed handshake is a slow one."""
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST)
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    context = ssl_context(authority)
    with (
        Sink(tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem") as sink,
        FaultProxy(sink.http_port) as proxy,
    ):
        proxy.set(Conditions(delay_ms=30))
        start_s = time.monotonic()
        with raw_connection(proxy.port, context) as connection:
            assert exchange(connection, batch(1)).startswith(b"HTTP/1.1 200 ")
        assert time.monotonic() - start_s >= 4 * 0.03
        assert sink.stats().spans_accepted == 1


def test_proxy_that_cannot_start_says_why(proxy: FaultProxy) -> None:
    """Its port is taken."""
    with pytest.raises(ChildError, match=r"cannot listen on 127\.0\.0\.1"):
        FaultProxy(1, port=proxy.port)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [({"delay_ms": -1}, "delay_ms"), ({"bytes_per_s": 0}, "bytes_per_s"), ({"cut_after_bytes": -1}, "cut_after_bytes")],
)
def test_impossible_condition_is_refused(conditions: dict[str, float], message: str) -> None:
    """Before it reaches the proxy."""
    with pytest.raises(ValueError, match=message):
        Conditions(**conditions)  # type: ignore[arg-type]
