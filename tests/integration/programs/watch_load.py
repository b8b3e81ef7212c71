"""What a watched program does: stalls of every cause, by its own clock, and threads that come and go."""

from __future__ import annotations

import asyncio
import select
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

with suppress(ImportError):
    # Before a watch starts: of what is loaded later the polls are seen only a few milliseconds after.
    import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")
DEADLINE_S = 30.0


def block(seconds: float) -> None:
    """Wait without the GIL, off the CPU."""
    select.select([], [], [], seconds)


def spin(seconds: float) -> None:
    """Compute, for so long on the CPU."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def hog(stop: threading.Event) -> None:
    """Compute, without ever letting go of the GIL unless made to."""
    turns = 0
    while not stop.is_set():
        for _ in range(1000):
            turns += 1


@contextmanager
def burner() -> Iterator[None]:
    """A thread wants the GIL all the time, until the `with` ends."""
    stop = threading.Event()
    thread = threading.Thread(target=hog, args=(stop,), name="burner")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


async def stalls(how: Callable[[float], None], seconds: float, times: int) -> list[tuple[int, int]]:
    """Stall in iterations of their own; return when each stall began and ended."""
    log = []
    # Of a loop's very first iteration only the length is told.
    await asyncio.sleep(0.001)
    for _ in range(times):
        await asyncio.sleep(0.001)
        start_ns = time.monotonic_ns()
        how(seconds)
        log.append((start_ns, time.monotonic_ns()))
        await asyncio.sleep(0.001)
    return log


def run(main: Coroutine[Any, Any, T], loop_kind: str = "asyncio") -> T:
    """Return what is returned on a loop of this kind."""
    if loop_kind == "asyncio":
        return asyncio.run(main)
    loop = uvloop.new_event_loop()
    try:
        found: T = loop.run_until_complete(main)
        return found
    finally:
        loop.close()


def eventually(look: Callable[[], T | None]) -> T:
    """Return what is found at last, as soon as it is neither None nor False.

    Raises:
        TimeoutError: it did not come.
    """
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        threading.Event().wait(0.01)
    raise TimeoutError
