"""The load: as many requests in flight as there are connections, so that the server is never idle."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE_S = 30.0
_TEXT = "Where is my order 4711, and is the blue one in stock again? I had asked for delivery by Friday, please check."


def request_bytes(port: int, number: int) -> bytes:
    """Return one POST to the chat service."""
    body = json.dumps({"conversation": f"conv_{number:08x}", "text": _TEXT}).encode()
    head = (
        f"POST /chat HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Answered(NamedTuple):
    """What came back while it was measured.

    Attributes:
        seconds: for how long that was.
        latencies_ns: of each answer, sorted.
        cpu_ns: what all threads of the server used.
    """

    seconds: float
    latencies_ns: list[int]
    cpu_ns: int


class _Connection(asyncio.Protocol):
    """Asks, and asks again when it has the answer."""

    def __init__(self, request: bytes, on_answer: Callable[[int, int], None]) -> None:
        self._request = request
        self._on_answer = on_answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass of it
        self._ask()

    def _ask(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._asked_ns = time.monotonic_ns()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._on_answer(time.monotonic_ns() - self._asked_ns, self._parser.get_status_code())
        self._ask()

    def close(self) -> None:
        self._transport.abort()


async def load(port: int, pid: int, *, connections: int, warm_up_s: float, seconds: float) -> Answered:
    """Return what a server answered.

    Args:
        port: it listens there, on this machine.
        pid: its process.
        connections: each has one request in flight.
        warm_up_s: before that, and before there were as many answers as connections, nothing is measured.
        seconds: for how long it is measured then.

    Raises:
        OSError: it does not listen.
        RuntimeError: a request failed, or fewer were answered than there are connections.
    """
    latencies_ns: list[int] = []
    failures: list[str] = []
    warm = asyncio.Event()

    def on_answer(latency_ns: int, status: int) -> None:
        latencies_ns.append(latency_ns)
        if status != 200:
            failures.append(f"status {status}")
        if len(latencies_ns) == connections:
            warm.set()

    opened: list[_Connection] = []
    for number in range(connections):
        connection = _Connection(request_bytes(port, number), on_answer)
        await asyncio.get_running_loop().create_connection(lambda made=connection: made, "127.0.0.1", port)  # type: ignore[misc] # a default argument has no type of its own
        opened.append(connection)
    gc.collect()
    gc.disable()
    try:
        await asyncio.gather(asyncio.sleep(warm_up_s), asyncio.wait_for(warm.wait(), _PATIENCE_S))
        before, begun_ns, cpu_ns = len(latencies_ns), time.monotonic_ns(), _cpu_ns(pid)
        await asyncio.sleep(seconds)
        after, ended_ns, cpu_ns = len(latencies_ns), time.monotonic_ns(), _cpu_ns(pid) - cpu_ns
    finally:
        gc.enable()
        for connection in opened:
            connection.close()
    # A connection that is lost asks no more: its requests are missing.
    if failures or after - before < connections:
        raise RuntimeError(f"expected {connections} or more answers, all 200, got {after - before} and {failures[:3]}")
    return Answered((ended_ns - begun_ns) / 1e9, sorted(latencies_ns[before:after]), cpu_ns)


def _cpu_ns(pid: int) -> int:
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())
