"""Programs that each have one fault, which stalls their loop; each records itself.

python -m tests.accuracy.programs_findings PROGRAM asyncio|uvloop CAPTURE
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import gilscope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager

_working = threading.Event()
# Ends by itself, should nobody end it.
_BUSY = "ulimit -t 20; while :; do :; done"


@dataclass(frozen=True)
class Program:
    """What a loop does again and again, each time in an iteration of its own, and what is around it meanwhile."""

    step: Callable[[], Awaitable[None] | None]
    around: AbstractContextManager[object] = field(default_factory=contextlib.nullcontext)
    seconds: float = 1.0

    async def run(self) -> None:
        """Take steps until the time is over; threads work meanwhile."""
        until = time.monotonic() + self.seconds
        _working.set()
        while time.monotonic() < until:
            await asyncio.sleep(0.01)
            taken = self.step()
            if taken is not None:
                await taken
        _working.clear()


@contextlib.contextmanager
def threads(work: Callable[[], None], *names: str) -> Iterator[None]:
    """Work in threads, again and again, while the program runs; the recording starts and ends without them."""

    def run() -> None:
        _working.wait()
        while _working.is_set():
            work()

    started = [threading.Thread(target=run, name=name, daemon=True) for name in names]
    for thread in started:
        thread.start()
    yield
    for thread in started:
        thread.join()


@contextlib.contextmanager
def one_crowded_core(work: Callable[[], None], *names: str) -> Iterator[None]:
    """Get a thirtieth of a core, beside a busy process that gets the rest of it; and work in threads."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with subprocess.Popen(["/bin/sh", "-c", _BUSY]) as busy:
        os.nice(15)
        try:
            with threads(work, *names):
                yield
        finally:
            busy.kill()


def touch() -> None:
    """Let go of the GIL for a moment, as reading and writing do."""
    select.select([], [], [], 0.0002)


def mine_coins() -> None:
    """Run Python code for 10 ms of the CPU."""
    until_ns = time.thread_time_ns() + 10_000_000
    while time.thread_time_ns() < until_ns:
        pass


def gil_convoy() -> Program:
    """Callbacks that let go of the GIL, beside a thread that computes."""

    async def ten_callbacks() -> None:
        loop = asyncio.get_running_loop()
        at = loop.time() + 0.005
        for _ in range(10):
            loop.call_at(at, touch)

    return Program(ten_callbacks, threads(mine_coins, "miner"))


def blocking_call() -> Program:
    """A coroutine that reads from a socket as if it were a plain function."""
    ours, theirs = socket.socketpair()
    ours.settimeout(0.05)

    async def load_prices() -> None:
        with contextlib.suppress(TimeoutError):
            ours.recv(1)

    around = contextlib.ExitStack()
    around.enter_context(ours)
    around.enter_context(theirs)
    return Program(load_prices, around)


def large_json() -> Program:
    """A thread that makes one large document."""
    document = [{"name": str(number), "values": [number] * 10} for number in range(60_000)]

    def make_report() -> None:
        json.dumps(document)
        touch()

    return Program(touch, threads(make_report, "reporter"))


def regex() -> Program:
    """A thread whose regular expression goes back and forth."""

    def check_name() -> None:
        re.fullmatch("(?:a|a)*b", "a" * 22)
        touch()

    return Program(touch, threads(check_name, "checker"))


def exporter_thread() -> Program:
    """Spans that OpenTelemetry's own processor encodes while the loop has work to do."""
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    class Accepts(requests.Session):
        """Takes everything, at once."""

        def send(self, request: requests.PreparedRequest, **_: object) -> requests.Response:
            response = requests.Response()
            response.status_code, response.request = 200, request
            return response

    exporter = OTLPSpanExporter(session=Accepts())
    provider = TracerProvider(resource=Resource({}))
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=100_000, schedule_delay_millis=100))
    tracer = provider.get_tracer("shop")

    async def handle() -> None:
        for number in range(60):
            tracer.start_span("step", attributes={f"key{n}": number for n in range(30)}).end()
        for _ in range(10):
            touch()

    return Program(handle, seconds=2)


def garbage_collection() -> Program:
    """Full collections of a large heap."""
    heap = [[number] for number in range(500_000)]

    def load_catalogue() -> None:
        heap.append([])
        gc.collect()

    return Program(load_catalogue)


def too_many_threads() -> Program:
    """A pool of threads that all compute."""
    return Program(touch, threads(mine_coins, *(f"pool_{number}" for number in range(20))))


def cpu_in_callback() -> Program:
    """A callback that computes for 40 ms."""

    def score() -> None:
        until_ns = time.thread_time_ns() + 40_000_000
        while time.thread_time_ns() < until_ns:
            pass

    return Program(score)


def no_core() -> Program:
    """A callback that computes, in a process that has a thirtieth of a core."""
    return Program(mine_coins, one_crowded_core(mine_coins))


def holder_without_core() -> Program:
    """A loop with little to do and a thread that computes, in a process that has a thirtieth of a core."""
    return Program(touch, one_crowded_core(mine_coins, "miner"), seconds=2)


PROGRAMS = (
    gil_convoy,
    blocking_call,
    large_json,
    regex,
    exporter_thread,
    garbage_collection,
    too_many_threads,
    cpu_in_callback,
    no_core,
    holder_without_core,
)


def main(program: str, kind: str, capture: str) -> None:
    """Run a program on a loop of that kind, and record it."""
    (chosen,) = (one() for one in PROGRAMS if one.__name__ == program)
    # Collections where they are not the fault would be a second one.
    gc.disable()
    if kind == "uvloop":
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    with chosen.around, gilscope.record(capture):
        loop.run_until_complete(chosen.run())
    loop.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
