"""What goes on in a program while it is recorded: a loop, threads that compute, and threads that sleep."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def spin(seconds: float) -> int:
    """Compute for so long."""
    until, turns = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        turns += 1
    return turns


def worker(stop: threading.Event) -> None:
    """Compute and sleep in turns."""
    while not stop.is_set():
        spin(0.002)
        time.sleep(0.001)


async def ticks(stop: threading.Event) -> None:
    """Iterate, short and long."""
    # Under -X dev asyncio would warn of the waits that the other threads are there for.
    asyncio.get_running_loop().slow_callback_duration = 60
    while not stop.is_set():
        await asyncio.sleep(0)
        spin(0.001)
        await asyncio.sleep(0.001)


@contextmanager
def load() -> Iterator[None]:
    """Two threads that want the GIL, and a third with a loop, until the `with` ends."""
    stop = threading.Event()
    threads = [threading.Thread(target=worker, args=(stop,)) for _ in range(2)]
    threads.append(threading.Thread(target=lambda: asyncio.run(ticks(stop)), name="loop"))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
