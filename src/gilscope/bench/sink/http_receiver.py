"""OTLP/HTTP: receives `ExportTraceServiceRequest`s on asyncio and answers them, well or as a fault demands."""

from __future__ import annotations

import asyncio
import collections
import functools
from typing import TYPE_CHECKING, Literal

from gilscope.bench.sink import answers, faults, otlp
from gilscope.bench.sink.http_protocol import HttpConnection, Request, Response
from gilscope.bench.sink.listener import Listener

if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine

    from gilscope.bench.sink.counts import Exchange
    from gilscope.bench.sink.state import State

CloseHow = Literal["close", "reset"]


class HttpReceiver:
    """The OTLP/HTTP port.

    Threading: the event loop's thread only.
    """

    def __init__(
        self,
        state: State,
        host: str,
        port: int,
        *,
        paths: frozenset[str],
        tls: ssl.SSLContext | None,
        max_connections: int,
    ) -> None:
        """Starts listening on the port (0 for any); `paths` are the request targets that exist.

        Raises:
            OSError: The port is in use or not allowed.
        """
        self.state = state
        self.paths = paths
        self.connections: set[_OtlpConnection] = set()
        self.listener = Listener(
            host,
            port,
            serve=functools.partial(_OtlpConnection, self),
            tls=tls,
            schedule=state.schedule,
            max_connections=max_connections,
            on_opened=self._count_opened,
            on_overflow=self._count_overflow,
        )

    def apply_faults(self) -> None:
        """Brings the listener in line with the faults now in force."""
        refuse = self.state.schedule.refuse
        self.listener.apply(refuse)
        if refuse is not None and refuse.reset_open:
            self.close_connections("reset")

    def close_connections(self, how: CloseHow) -> int:
        """Closes or resets every connection that is open now, and returns how many these were."""
        connections = tuple(self.connections)
        for connection in connections:
            if how == "reset":
                connection.reset()
            else:
                connection.close()
        return len(connections)

    def close(self) -> None:
        """Stops listening and ends all connections."""
        self.listener.close()
        self.close_connections("reset")

    def _count_opened(self) -> int:
        self.state.counts.connections_opened += 1
        return self.state.counts.connections_opened

    def _count_overflow(self) -> None:
        self.state.counts.connections_refused += 1


class _OtlpConnection(HttpConnection):
    """One connection to the OTLP/HTTP port."""

    def __init__(self, receiver: HttpReceiver, number: int) -> None:
        super().__init__(max_body_bytes=receiver.state.max_body_bytes)
        self._receiver = receiver
        self._state = receiver.state
        self._number = number
        # The requests whose headers have come and that are not answered yet, in their order.
        self._under_way: collections.deque[tuple[Exchange, faults.Fault | None]] = collections.deque()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._pausing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """For asyncio."""
        super().connection_made(transport)
        self._receiver.connections.add(self)

    def connection_ended(self) -> None:
        """Counts what will never be answered."""
        self._receiver.connections.discard(self)
        self._receiver.listener.connection_ended()
        self._stop_idle_timer()
        if self._pausing is not None:
            self._pausing.cancel()
        for exchange, _ in self._under_way:
            exchange.unanswered()

    def data_received(self, data: bytes) -> None:
        """For asyncio."""
        self._stop_idle_timer()
        self._state.counts.received_bytes += len(data)
        super().data_received(data)

    def malformed(self, message: str) -> None:
        """Answers 400, unless earlier requests are still to be answered: then it only closes."""
        if not self.reading_body:  # not even its headers came whole
            self._under_way.append((self._state.counts.begin("http", self._number), None))
        if len(self._under_way) > 1:
            self.close()
            return
        super().malformed(message)
        self._under_way.popleft()[0].answered("400", success=False)

    def headers_received(self, request: Request) -> None:
        """Counts the request, and decides what it will meet."""
        exchange = self._state.counts.begin("http", self._number)
        exchange.method = request.method
        exchange.target = request.target
        exchange.headers = request.headers
        if request.refusal is None:
            request.refusal = self._otlp_refusal(request)
        fault = self._state.schedule.for_request("http") if request.refusal is None else None
        if fault is not None:
            exchange.fault = faults.kind_of(fault)
        self._under_way.append((exchange, fault))
        match fault:
            case faults.Reset(when="headers"):
                self.reset()
            case faults.NotReading():
                self.transport.pause_reading()
                self._pausing = asyncio.get_running_loop().create_task(self._read_again())

    def refusal(self, status: int, message: str) -> Response:
        """Returns an answer with a `google.rpc.Status`."""
        return answers.refusal(status, message)

    def respond(self, request: Request) -> Coroutine[None, None, None] | None:
        """Answers at once, without a task, if nothing stands in the way."""
        exchange, fault = self._under_way[0]
        if request.refusal is None:
            request.refusal, fault = self._receive(request, exchange, fault)
        if request.refusal is not None or fault is None:
            response = request.refusal or answers.SUCCESS
            self.send(response, request)
            if not self.all_written:
                return self._finish_when_written(response, request)
            self._count_answer(response)
            self.close_if_last(response, request)
            return None
        return self._meet(fault, request, exchange)

    def _otlp_refusal(self, request: Request) -> Response | None:
        """Returns the answer to a request that is no OTLP/HTTP protobuf export, as far as its headers tell."""
        if request.target.partition("?")[0] not in self._receiver.paths:
            return self.refusal(404, f"the path must be one of {', '.join(sorted(self._receiver.paths))}")
        if request.method != "POST":
            return self.refusal(405, f"the method must be POST, got {request.method}")
        content_type = (request.header("content-type") or "").partition(";")[0].strip().lower()
        if content_type != answers.PROTOBUF:
            return self.refusal(415, f"the content type must be {answers.PROTOBUF}, got {content_type!r}")
        encoding = _encoding(request)
        if encoding not in otlp.ENCODINGS:
            return self.refusal(415, f"the content encoding must be one of {otlp.ENCODINGS}, got {encoding!r}")
        return None

    def _receive(
        self, request: Request, exchange: Exchange, fault: faults.Fault | None
    ) -> tuple[Response | None, faults.Fault | None]:
        """Decodes and counts the body; returns the refusal of a bad one, and the fault that the request meets."""
        try:
            body = self._state.decoder.decode(request.body, _encoding(request))
        except otlp.BadBodyError as error:
            return self.refusal(400, str(error)), None
        except otlp.BodyTooLargeError as error:
            return self.refusal(413, str(error)), None
        exchange.received(body)
        if fault is None:
            fault = self._state.schedule.for_body("http", body.wire_bytes, len(body.protobuf))
            exchange.fault = faults.kind_of(fault) if fault is not None else ""
        return None, fault

    def _count_answer(self, response: Response, *, spans_rejected: int = 0) -> None:
        """Counts a whole answer that was written."""
        exchange, _ = self._under_way.popleft()
        success = 200 <= response.status < 300  # noqa: PLR2004  # what HTTP calls successful
        exchange.answered(str(response.status), success=success, spans_rejected=spans_rejected)

    async def _finish_when_written(self, response: Response, request: Request) -> None:
        await self.written()
        self._count_answer(response)
        self.close_if_last(response, request)

    async def _meet(self, fault: faults.Fault, request: Request, exchange: Exchange) -> None:
        """Lets a received request meet its fault."""
        if isinstance(fault, faults.Hang):
            await asyncio.Event().wait()  # until the connection ends and cancels this
        if self._pausing is not None:
            await self._pausing
        await asyncio.sleep(fault.delay_ms / 1000.0)
        answer = answers.answer_to(fault, spans=exchange.spans, target=request.target)
        data = _bytes_to_send(answer, request)
        chunk_bytes = answer.chunk_bytes or max(len(data), 1)
        for start in range(0, len(data), chunk_bytes):
            if start:
                await asyncio.sleep(answer.interval_s)
            self.transport.write(data[start : start + chunk_bytes])
            await self.written()
        if answer.response is not None and answer.sent == "whole":
            self._count_answer(answer.response, spans_rejected=answer.spans_rejected)
        if answer.then == "reset":
            self.reset()
        elif answer.then == "close" or not request.keep_alive:
            self.close()
        elif answer.then == "idle_close":
            self._idle_timer = asyncio.get_running_loop().call_later(answer.idle_s, self.close)

    async def _read_again(self) -> None:
        """Goes on reading once the faults are replaced."""
        await self._state.schedule.replaced.wait()
        self.transport.resume_reading()

    def _stop_idle_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None


def _encoding(request: Request) -> str:
    return (request.header("content-encoding") or "identity").strip().lower()


def _bytes_to_send(answer: answers.Answer, request: Request) -> bytes:
    if answer.response is None:
        return answer.raw
    data = answer.response.encode(request)
    head_bytes = data.index(b"\r\n\r\n") + 4
    if answer.sent == "half_headers":
        return data[: head_bytes // 2]
    if answer.sent == "half_body":
        return data[: (head_bytes + len(data)) // 2]
    return data
