"""Each fault of OTLP/HTTP does what it says, as seen by clients that know nothing of it."""

from __future__ import annotations

import email.utils
import http.client
import itertools
import socket
import ssl
import time
from typing import TYPE_CHECKING

import pytest
import trustme
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # has stubs, but no py.typed
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from gilscope.bench.sink import Sink, faults
from tests.integration.sink_client import (
    HOST,
    TIMEOUT_S,
    batch,
    connected,
    post,
    post_once,
    raw_connection,
    read_answer,
    read_head,
    read_until_closed,
    request_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOON_S = 0.2
"""How long a test watches that nothing happens: this bounds what it can find, never whether it passes by luck."""


@pytest.fixture(name="shared", scope="module")
def _shared() -> Iterator[Sink]:
    with Sink(keep_bodies=100, track_ids=True) as sink:
        yield sink
        assert sink.errors() == ""


@pytest.fixture(name="sink")
def _sink(shared: Sink) -> Sink:
    shared.reset()
    return shared


def assert_silent(connection: socket.socket) -> None:
    """Nothing comes, and the connection stays open."""
    connection.settimeout(SOON_S)
    with pytest.raises(TimeoutError):
        connection.recv(1)


def send_until_full(connection: socket.socket, data: memoryview) -> int:
    """Returns how many bytes could be sent before the peer's window closed."""
    sent = 0
    while sent < len(data):
        try:
            sent += connection.send(data[sent:])
        except TimeoutError:
            break
    return sent


def test_delay_holds_the_answer_back(sink: Sink) -> None:
    """The answer is a success, not before its time."""
    sink.set_faults(faults.Normal(delay_ms=150))
    start_s = time.monotonic()
    assert post_once(sink, batch(1)).status == 200
    assert time.monotonic() - start_s >= 0.15
    assert sink.stats().spans_accepted == 1


def test_status_is_answered_for_the_next_two_requests_only(sink: Sink) -> None:
    """`times` counts down, and the spans of refused requests are rejected."""
    sink.set_faults(faults.Status(status=503, headers={"X-Why": "test"}, body="later", times=2))
    answers = [post_once(sink, batch(5)) for _ in range(3)]
    assert [answer.status for answer in answers] == [503, 503, 200]
    assert (answers[0].headers["X-Why"], answers[0].body) == ("test", b"later")
    stats = sink.stats()
    assert (stats.spans_received, stats.spans_rejected, stats.spans_accepted) == (15, 10, 5)
    assert stats.answers == {"503": 2, "200": 1}
    assert stats.faults == {"status": 2}
    assert [record.fault for record in sink.requests()] == ["status", "status", ""]


def test_status_says_retry_after_in_seconds(sink: Sink) -> None:
    """Whole seconds, as the header wants them."""
    sink.set_faults(faults.Status(status=429, retry_after_s=1.5))
    assert post_once(sink, batch(1)).headers["Retry-After"] == "2"


def test_status_says_retry_after_as_date(sink: Sink) -> None:
    """The HTTP date is that long from now."""
    sink.set_faults(faults.Status(status=503, retry_after_s=30, retry_after_as="date"))
    before_s = time.time()
    date = post_once(sink, batch(1)).headers["Retry-After"]
    assert date.endswith(" GMT")
    at_s = email.utils.parsedate_to_datetime(date).timestamp()
    assert before_s + 30 <= at_s <= time.time() + 31


def test_status_carries_rpc_status_with_retry_info(sink: Sink) -> None:
    """The body is the protobuf that OTLP prescribes for failures."""
    sink.set_faults(faults.Status(status=503, rpc_code=14, rpc_message="busy", retry_delay_ms=1250))
    answer = post_once(sink, batch(1))
    assert answer.headers["Content-Type"] == "application/x-protobuf"
    status = Status.FromString(answer.body)
    assert (status.code, status.message) == (14, "busy")
    retry_info = RetryInfo()
    assert status.details[0].Unpack(retry_info)
    assert retry_info.retry_delay.ToMilliseconds() == 1250


@pytest.mark.parametrize(("rejected", "expected"), [(3, 3), (100, 10), (0, 0)])
def test_partial_success_rejects_some_spans(sink: Sink, rejected: int, expected: int) -> None:
    """The rest is accepted; no more can be rejected than were sent."""
    sink.set_faults(faults.PartialSuccess(rejected_spans=rejected, message="too old"))
    answer = post_once(sink, batch(10))
    assert answer.status == 200
    partial = ExportTraceServiceResponse.FromString(answer.body).partial_success
    assert (partial.rejected_spans, partial.error_message) == (expected, "too old")
    stats = sink.stats()
    assert (stats.spans_accepted, stats.spans_rejected) == (10 - expected, expected)
    assert stats.distinct_spans_accepted == 10 - expected


def test_redirect_points_at_its_location(sink: Sink) -> None:
    """It is an answer that does not accept the spans."""
    sink.set_faults(faults.Redirect(status=308, location="http://example.invalid/"))
    answer = post_once(sink, batch(2))
    assert (answer.status, answer.headers["Location"]) == (308, "http://example.invalid/")
    assert sink.stats().spans_rejected == 2


@pytest.mark.parametrize("measured", ["wire", "decoded"])
def test_only_bodies_above_the_limit_are_too_large(sink: Sink, measured: str) -> None:
    """Smaller ones pass, and do not use the fault up."""
    small, large = batch(5), batch(50)
    limit = faults.TooLarge(limit_bytes=len(small), measured="wire" if measured == "wire" else "decoded", times=1)
    sink.set_faults(limit)
    statuses = [post_once(sink, body).status for body in (small, large, large)]
    assert statuses == [200, 413, 200]
    assert sink.stats().spans_rejected == 50


def test_reset_on_accept_ends_a_new_connection(sink: Sink) -> None:
    """RST before a byte was read; the next connection is fine."""
    sink.set_faults(faults.Reset(when="accept", times=1))
    # It may come while the client is still connecting.
    with pytest.raises(ConnectionResetError), raw_connection(sink.http_port) as connection:
        read_until_closed(connection)
    assert post_once(sink, batch(1)).status == 200
    assert sink.stats().requests == 1


def test_reset_at_headers_receives_no_span(sink: Sink) -> None:
    """The body was not wanted."""
    sink.set_faults(faults.Reset(when="headers"))
    with pytest.raises(ConnectionResetError):
        post_once(sink, batch(1, name="x" * (20 << 20)))
    stats = sink.stats()
    assert (stats.requests, stats.spans_received, stats.answers) == (1, 0, {})
    assert sink.requests()[0].outcome == "unanswered"


@pytest.mark.parametrize("when", ["body", "answer"])
def test_reset_after_the_body_leaves_its_spans_unanswered(sink: Sink, when: str) -> None:
    """The spans were received, so that a client that sends them again makes duplicates."""
    body = batch(10)
    sink.set_faults(faults.Reset(when="body" if when == "body" else "answer", times=1))
    with raw_connection(sink.http_port) as connection:
        connection.sendall(request_bytes(body))
        if when == "answer":
            assert read_head(connection).startswith(b"HTTP/1.1 200 ")
        with pytest.raises(ConnectionResetError):
            read_until_closed(connection)
    assert post_once(sink, body).status == 200
    stats = sink.stats()
    assert (stats.spans_received, stats.spans_unanswered, stats.spans_accepted) == (20, 10, 10)
    assert (stats.duplicate_spans_received, stats.duplicate_spans_accepted) == (10, 0)


def test_hang_reads_and_never_answers(sink: Sink) -> None:
    """The spans are pending until the client gives up, and unanswered then."""
    sink.set_faults(faults.Hang())
    with raw_connection(sink.http_port) as connection:
        connection.sendall(request_bytes(batch(4)))
        assert sink.wait_for("spans_received", 4).spans_pending == 4
        assert_silent(connection)
    stats = sink.wait_for("spans_unanswered", 4)
    assert (stats.spans_pending, stats.connections_open) == (0, 0)


@pytest.mark.parametrize("when", ["accept", "headers"])
def test_window_closes_when_nothing_is_read(sink: Sink, when: str) -> None:
    """A client can send no more than the kernels buffer; once the fault is cleared, all of it arrives."""
    sink.set_faults(faults.NotReading(when="accept" if when == "accept" else "headers"))
    request = memoryview(request_bytes(batch(1, name="x" * (20 << 20))))
    with raw_connection(sink.http_port) as connection:
        connection.settimeout(SOON_S)
        sent = send_until_full(connection, request)
        assert sent < len(request)
        assert sink.stats().spans_received == 0
        sink.set_faults()
        connection.settimeout(TIMEOUT_S)
        connection.sendall(request[sent:])
        assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
    assert sink.stats().spans_accepted == 1


@pytest.mark.parametrize("announce", [True, False])
def test_connection_is_closed_after_the_answer(sink: Sink, announce: bool) -> None:
    """With or without a word of warning."""
    sink.set_faults(faults.CloseAfterAnswer(announce=announce))
    with raw_connection(sink.http_port) as connection:
        connection.sendall(request_bytes(batch(1)))
        answer = read_until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert (b"connection: close" in answer) == announce
    assert sink.stats().spans_accepted == 1


def test_idle_connection_is_closed_unannounced(sink: Sink) -> None:
    """The connection that a client keeps alive goes stale, not earlier than said."""
    sink.set_faults(faults.IdleClose(idle_ms=100))
    with raw_connection(sink.http_port) as connection:
        for _ in range(2):
            connection.sendall(request_bytes(batch(1)))
            assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
        start_s = time.monotonic()
        assert read_until_closed(connection) == b""
        assert time.monotonic() - start_s >= 0.09  # the sink's timer began a little before our clock
    assert sink.stats().spans_accepted == 2


@pytest.mark.parametrize("how", ["close", "reset"])
def test_open_connections_end_on_request(sink: Sink, how: str) -> None:
    """A test can make a kept-alive connection stale at the moment it chooses."""
    with connected(sink) as connection:
        assert post(connection, batch(1)).status == 200
        assert sink.close_connections("close" if how == "close" else "reset") == 1
        if how == "close":
            assert read_until_closed(connection.sock) == b""
        else:
            with pytest.raises(ConnectionResetError):
                read_until_closed(connection.sock)


@pytest.mark.parametrize("within", ["headers", "body"])
def test_answer_is_truncated(sink: Sink, within: str) -> None:
    """It ends early, in its headers or in its body, and the spans count as unanswered."""
    sink.set_faults(faults.TruncatedAnswer(within="headers" if within == "headers" else "body"))
    with connected(sink) as connection:
        if within == "headers":
            with raw_connection(sink.http_port) as raw:
                raw.sendall(request_bytes(batch(1)))
                answer = read_until_closed(raw)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"\r\n\r\n" not in answer
        else:
            with pytest.raises(http.client.IncompleteRead):
                post(connection, batch(1))
    assert sink.wait_for("spans_unanswered", 1).spans_accepted == 0


def test_garbage_instead_of_http(sink: Sink) -> None:
    """What comes cannot be parsed."""
    sink.set_faults(faults.GarbageAnswer(what="http"))
    with pytest.raises(http.client.BadStatusLine):
        post_once(sink, batch(1))
    assert sink.wait_for("spans_unanswered", 1).spans_accepted == 0


def test_garbage_instead_of_protobuf(sink: Sink) -> None:
    """Status 200 accepts the spans, whatever the body is."""
    sink.set_faults(faults.GarbageAnswer(what="body"))
    answer = post_once(sink, batch(1))
    assert answer.status == 200
    with pytest.raises(DecodeError):
        ExportTraceServiceResponse.FromString(answer.body)
    assert sink.stats().spans_accepted == 1


def test_huge_body_is_a_valid_answer(sink: Sink) -> None:
    """Ten MiB of warning; who reads it all has been told that all is well."""
    sink.set_faults(faults.HugeAnswer(where="body", size_bytes=10 << 20))
    answer = post_once(sink, batch(1))
    assert answer.status == 200
    assert len(ExportTraceServiceResponse.FromString(answer.body).partial_success.error_message) == 10 << 20
    assert sink.stats().spans_accepted == 1


def test_huge_headers_are_sent(sink: Sink) -> None:
    """More than any client takes: read raw they are all there."""
    sink.set_faults(faults.HugeAnswer(where="headers", size_bytes=2 << 20, status=503))
    with pytest.raises(http.client.HTTPException, match="headers"):
        post_once(sink, batch(1))
    with raw_connection(sink.http_port) as connection:
        request = request_bytes(batch(1)).replace(b"host: sink", b"connection: close")
        connection.sendall(request)
        answer = read_until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert 2 << 20 < len(answer) < 3 << 20


def test_answer_drips(sink: Sink) -> None:
    """Chunk by chunk, with a pause between any two."""
    sink.set_faults(faults.DripAnswer(chunk_bytes=20, interval_ms=10))
    start_s = time.monotonic()
    answer = post_once(sink, batch(1))
    chunks = len(answer.body) // 20  # its headers make it more
    assert time.monotonic() - start_s >= chunks * 0.010
    assert answer.status == 200
    assert sink.stats().spans_accepted == 1


def test_connections_are_refused_until_cleared(sink: Sink) -> None:
    """The port stays the same, and open connections are reset, as when a collector dies and comes back."""
    port = sink.http_port
    with connected(sink) as connection:
        assert post(connection, batch(1)).status == 200
        sink.set_faults(faults.Refuse())
        with pytest.raises(ConnectionResetError):
            read_until_closed(connection.sock)
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, port), timeout=TIMEOUT_S)
    sink.set_faults()
    assert post_once(sink, batch(1)).status == 200
    assert sink.stats().spans_accepted == 2


def test_connections_are_refused_for_a_while(sink: Sink) -> None:
    """The port opens again by itself, and connections that were open may be spared."""
    with connected(sink) as spared:
        assert post(spared, batch(1)).status == 200
        sink.set_faults(faults.Refuse(duration_ms=200, reset_open=False))
        start_s = time.monotonic()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, sink.http_port), timeout=TIMEOUT_S)
        assert post(spared, batch(1)).status == 200
        while time.monotonic() < start_s + TIMEOUT_S:
            try:
                assert post_once(sink, batch(1)).status == 200
            except ConnectionRefusedError:
                continue
            break
    assert time.monotonic() - start_s >= 0.15
    assert sink.stats().spans_accepted == 3


def test_plain_connection_without_handshake_stays_silent(sink: Sink) -> None:
    """What is sent is read and ignored."""
    sink.set_faults(faults.NoHandshake(times=1))
    with raw_connection(sink.http_port) as connection:
        connection.sendall(request_bytes(batch(1)) * 1000)
        assert_silent(connection)
        assert sink.stats().requests == 0
        sink.set_faults()
        connection.settimeout(TIMEOUT_S)
        assert read_until_closed(connection) == b""


def test_tls_handshake_is_never_answered(tmp_path: Path) -> None:
    """TCP connects, TLS does not; the next connection is fine."""
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST)
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with Sink(tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem") as sink:
        sink.set_faults(faults.NoHandshake(times=1))
        with socket.create_connection((HOST, sink.http_port), timeout=SOON_S) as plain, pytest.raises(TimeoutError):
            context.wrap_socket(plain, server_hostname=HOST)
        with raw_connection(sink.http_port, context) as connection:
            connection.sendall(request_bytes(batch(1)))
            assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
        assert sink.errors() == ""


def test_fault_strikes_the_requests_with_its_numbers(sink: Sink) -> None:
    """Counted from when the faults were set."""
    post_once(sink, batch(1))
    sink.set_faults(faults.Status(status=500, at=(2, 4)))
    assert [post_once(sink, batch(1)).status for _ in range(5)] == [200, 500, 200, 500, 200]


def test_faults_follow_one_another(sink: Sink) -> None:
    """The first that is not used up is taken."""
    sink.set_faults(
        faults.Status(status=503, times=2), faults.PartialSuccess(rejected_spans=1, times=1), faults.Status(status=400)
    )
    assert [post_once(sink, batch(1)).status for _ in range(5)] == [503, 503, 200, 400, 400]


@pytest.mark.parametrize(
    "chosen",
    [
        (faults.Status(status=500, probability=0.5),),
        (faults.Status(status=500, weight=1), faults.Normal(weight=2), faults.Status(status=429, weight=1)),
    ],
    ids=["probability", "weight"],
)
def test_random_faults_follow_from_their_seed(sink: Sink, chosen: tuple[faults.Fault, ...]) -> None:
    """The same seed gives the same run, another seed another one, and everything possible happens."""

    def run(seed: int) -> list[int]:
        sink.set_faults(*chosen, seed=seed)
        with connected(sink) as connection:
            return [post(connection, batch(1)).status for _ in range(60)]

    first = run(1)
    assert run(1) == first
    assert run(2) != first
    possible = {200, *(fault.status for fault in chosen if isinstance(fault, faults.Status))}
    assert set(first) == possible


def test_books_balance_under_random_faults(sink: Sink) -> None:
    """Whatever happens to a request, each of its spans ends in exactly one count, and those agree with the client."""
    sink.set_faults(
        faults.Normal(weight=4),
        faults.Status(weight=1),
        faults.PartialSuccess(rejected_spans=2, weight=1),
        faults.Reset(when="headers", weight=1),
        faults.Reset(when="body", weight=1),
        faults.Reset(when="answer", weight=1),
        faults.TruncatedAnswer(weight=1),
        faults.GarbageAnswer(weight=1),
        faults.CloseAfterAnswer(announce=True, weight=1),
        seed=7,
    )
    accepted = rejected = sent = 0
    for spans in itertools.islice(itertools.cycle(range(2, 12)), 150):
        sent += spans
        try:
            answer = post_once(sink, batch(spans))
        except (OSError, http.client.HTTPException):
            continue
        told = ExportTraceServiceResponse.FromString(answer.body).partial_success.rejected_spans if answer.body else 0
        accepted += spans - told if answer.status == 200 else 0
        rejected += told if answer.status == 200 else spans
    stats = sink.stats()
    assert (stats.spans_accepted, stats.spans_rejected, stats.spans_pending) == (accepted, rejected, 0)
    assert stats.spans_received == accepted + rejected + stats.spans_unanswered < sent
    assert stats.requests == 150
    assert len(stats.faults) == 7


def test_every_fault_survives_its_json_form() -> None:
    """What the client sends is what the sink understands."""
    needed = {"partial_success": {"rejected_spans": 1}, "too_large": {"limit_bytes": 1}, "idle_close": {"idle_ms": 1}}
    for kind, fault_class in faults.KINDS.items():
        fault = fault_class(**needed.get(kind, {}), times=3, at=(1, 2), delay_ms=1.5)
        assert faults.from_json(faults.to_json(fault)) == fault


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "must be a JSON object"),
        ({}, "kind must be one of normal, partial_success"),
        ({"kind": "status", "colour": 1}, "status has no field 'colour', only times, at"),
        ({"kind": "status", "status": "503"}, "status.status must be"),
        ({"kind": "status", "status": 600}, "status must be within 200..599, got 600"),
        ({"kind": "status", "times": 0}, "times must be within 1..inf, got 0"),
        ({"kind": "status", "headers": {"a": 1}}, "status.headers must be"),
        ({"kind": "reset", "when": "never"}, "reset.when must be"),
        ({"kind": "too_large"}, "limit_bytes"),
        ({"kind": "grpc_status", "code": "FINE"}, "code must be one of CANCELLED"),
    ],
)
def test_bad_fault_is_refused_with_its_reason(document: object, message: str) -> None:
    """The message says what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        faults.from_json(document)
