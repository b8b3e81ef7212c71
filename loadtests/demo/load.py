"""The load: requests that arrive when a schedule says, whether or not earlier ones were answered.

Latency counts from the moment at which a request should have been sent, so that a server (or a client) that is late
cannot hide it by slowing the load down.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable

# A user asks, reads the answer, thinks; two seconds is brisk for a person and slow for an agent.
SECONDS_PER_REQUEST_OF_A_USER = 2.0
ANSWER_TIMEOUT_S = 20.0

_TEXT = "Where is my order 4711, and is the blue one in stock again? I had asked for delivery by Friday, please check."


@dataclass
class LoadResult:
    """What the load met.

    Attributes:
        latencies_ns: From the intended start to the end of the answer, for each request that succeeded.
        late_ns: From the intended start to the actual one, for each request: the client's own share of the latency.
        failures: What went wrong, a line for each request that failed.
    """

    latencies_ns: list[int] = field(default_factory=list)
    late_ns: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def finished(self) -> int:
        """Requests that have succeeded or failed."""
        return len(self.latencies_ns) + len(self.failures)


def arrivals_ns(requests: int, per_second: float, seed: int) -> list[int]:
    """Return when each request is due, counted from the start: one at a random moment in each of equal slots."""
    generator = random.Random(seed)
    slot_ns = 1e9 / per_second
    return [int((number + generator.random()) * slot_ns) for number in range(requests)]


def request_bytes(port: int, number: int) -> bytes:
    """Return one POST to the chat service."""
    body = json.dumps({"conversation": f"conv_{number:08x}", "text": _TEXT}).encode()
    head = (
        f"POST /chat HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Connection(asyncio.Protocol):
    """One kept-alive connection, with at most one request on it."""

    def __init__(self, on_idle: Callable[[_Connection], None]) -> None:
        self._on_idle = on_idle
        self._on_answer: Callable[[int | None], None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # what TCP connections have
        self._transport = transport
        self._parser = httptools.HttpResponseParser(self)

    def ask(self, request: bytes, on_answer: Callable[[int | None], None]) -> None:
        """`on_answer` will be called with the status, or with None if the connection ends first."""
        self._on_answer = on_answer
        if self._transport is None or self._transport.is_closing():
            self._finish(None)
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        self._parser = httptools.HttpResponseParser(self)
        self._finish(status)
        self._on_idle(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._finish(None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _finish(self, status: int | None) -> None:
        on_answer, self._on_answer = self._on_answer, None
        if on_answer is not None:
            on_answer(status)


class Load:
    """One run of a schedule against one server.

    Attributes:
        result: Grows while it runs.

    Threading: one event loop.
    """

    def __init__(self, port: int, due_ns: list[int]) -> None:
        self.result = LoadResult()
        self._port = port
        self._due_ns = due_ns
        self._idle: deque[_Connection] = deque()
        self._connections: list[_Connection] = []
        self._all_done = asyncio.Event()

    async def run(self, connections: int) -> LoadResult:
        """Return the result once every request has been answered or has failed.

        Args:
            connections: Opened before the first request; more are opened if none of them is idle.

        Raises:
            OSError: Nothing listens there.
            TimeoutError: The last answer did not come `ANSWER_TIMEOUT_S` after the last request.
        """
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            self._idle.append(await self._connect())
        gc.collect()
        gc.disable()
        try:
            start_ns = time.monotonic_ns()
            for number, offset_ns in enumerate(self._due_ns):
                # asyncio's clock is CLOCK_MONOTONIC too.
                loop.call_at((start_ns + offset_ns) / 1e9, self._send, number, start_ns + offset_ns)
            allowed_s = self._due_ns[-1] / 1e9 + ANSWER_TIMEOUT_S
            await asyncio.wait_for(self._all_done.wait(), allowed_s)
        except asyncio.TimeoutError:
            missing = len(self._due_ns) - self.result.finished
            raise TimeoutError(f"{missing} requests were not answered within {ANSWER_TIMEOUT_S:.0f} s") from None
        finally:
            gc.enable()
            for connection in self._connections:
                connection.close()
        return self.result

    async def _connect(self) -> _Connection:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(self._idle.append), "127.0.0.1", self._port
        )
        self._connections.append(connection)
        return connection

    def _send(self, number: int, due_ns: int) -> None:
        if self._idle:
            self._ask(self._idle.popleft(), number, due_ns)
        else:
            task = asyncio.ensure_future(self._connect())
            task.add_done_callback(lambda done: self._connected(done, number, due_ns))

    def _connected(self, task: asyncio.Future[_Connection], number: int, due_ns: int) -> None:
        error = task.exception()
        if error is None:
            self._ask(task.result(), number, due_ns)
        else:
            self._note_failure(number, str(error))

    def _ask(self, connection: _Connection, number: int, due_ns: int) -> None:
        self.result.late_ns.append(time.monotonic_ns() - due_ns)
        connection.ask(request_bytes(self._port, number), lambda status: self._answered(number, due_ns, status))

    def _answered(self, number: int, due_ns: int, status: int | None) -> None:
        now_ns = time.monotonic_ns()
        if status == 200:  # noqa: PLR2004
            self.result.latencies_ns.append(now_ns - due_ns)
            self._finish_one()
        else:
            what = "the connection was closed" if status is None else f"status {status}"
            self._note_failure(number, what)

    def _note_failure(self, number: int, what: str) -> None:
        self.result.failures.append(f"request {number}: {what}")
        self._finish_one()

    def _finish_one(self) -> None:
        if self.result.finished == len(self._due_ns):
            self._all_done.set()
