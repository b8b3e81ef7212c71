"""`python -m experiments.probe_truth.target`: an event loop, and threads that contend with it for the GIL.

A child (`gilscope.bench.child`) that runs when it is told `begin`, and then tells what it did. What each thread does
while it has the GIL lies in one function, so that whoever names a holder's code can be checked.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import operator
import os
import random
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.probe_truth import tools
from gilscope.bench.instruments import LoopLag

if TYPE_CHECKING:
    from collections.abc import Callable

_TASKS = 10
_ITEM_NS = 150_000
_DOCUMENT = {f"key {number}": [number, str(number), number / 7, None, True] for number in range(9_000)}


def spin() -> None:
    """Python code: it lets go of the GIL every switch interval, and asks for it again at once."""
    end_ns = time.monotonic_ns() + 25_000_000
    while time.monotonic_ns() < end_ns:
        pass


def spin_longer() -> None:
    """The same for longer, so that three want the GIL at once."""
    end_ns = time.monotonic_ns() + 45_000_000
    while time.monotonic_ns() < end_ns:
        pass


def dump() -> None:
    """One call into C that keeps the GIL all the time."""
    json.dumps(_DOCUMENT)


def add_up() -> None:
    """A longer one."""
    sum(range(2_000_000))


def hold_then_block() -> None:
    """C code that keeps the GIL, is asked for it meanwhile, and then lets go of it by itself, to block.

    As a write of a large text does. `map` makes both calls without coming back to the interpreter's loop, which would
    let go of the GIL between them.
    """
    calls = [partial(ctypes.PyDLL(None).usleep, 12_000), partial(time.sleep, 0.03)]
    list(map(operator.methodcaller("__call__"), calls))


def yield_often() -> None:
    """System calls without end: each lets go of the GIL, and takes it again."""
    with Path(os.devnull).open("rb", buffering=0) as file:
        number, end_ns = file.fileno(), time.monotonic_ns() + 10_000_000
        while time.monotonic_ns() < end_ns:
            os.lseek(number, 0, os.SEEK_CUR)


WORK: tuple[Callable[[], None], ...] = (spin, spin_longer, dump, add_up, hold_then_block, yield_often)


def rest(seconds: float) -> None:
    """What a thread does between two pieces of work; whoever guesses holders by their code may know this."""
    time.sleep(seconds)


class Workers:
    """Threads that do each its work, again and again, at random moments that are the same in every run.

    Attributes:
        functions: by native thread id.
    """

    def __init__(self) -> None:
        self.functions: dict[int, str] = {}
        self._ended = False
        self._threads = [
            threading.Thread(target=self._work, args=(number, work), name=work.__name__)
            for number, work in enumerate(WORK)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self, seed: int, work: Callable[[], None]) -> None:
        self.functions[threading.get_native_id()] = work.__name__
        moments = random.Random(seed)
        while not self._ended:
            rest(moments.uniform(0.05, 0.2))
            work()

    def end(self) -> None:
        """All of them have ended."""
        self._ended = True
        for thread in self._threads:
            thread.join()


async def serve(seconds: float, tool: tools.Tool) -> dict[str, Any]:
    """Return what the loop has done in that time, and what the threads are."""
    items = 0
    begun_ns = time.monotonic_ns()
    until_ns = begun_ns + round(seconds * 1e9)

    async def item_after_item() -> None:
        nonlocal items
        while time.monotonic_ns() < until_ns:
            await asyncio.sleep(0.002)
            end_ns = time.thread_time_ns() + _ITEM_NS
            while time.thread_time_ns() < end_ns:
                pass
            items += 1

    tool.watch(asyncio.get_running_loop())
    lag = LoopLag(asyncio.get_running_loop())
    workers = Workers()
    await asyncio.gather(*(item_after_item() for _ in range(_TASKS)))
    ended_ns = time.monotonic_ns()
    lag_ns = lag.end()["loop_lag_p99_ns"]
    await asyncio.get_running_loop().run_in_executor(None, workers.end)
    return {
        "begun_ns": begun_ns,
        "ended_ns": ended_ns,
        "loop": threading.get_native_id(),
        "functions": workers.functions,
        "items_per_s": items / (ended_ns - begun_ns) * 1e9,
        "lag_p99_ms": lag_ns / 1e6,
    }


def main() -> None:
    """Run once, when told to."""
    parser = argparse.ArgumentParser(prog="python -m experiments.probe_truth.target", description=__doc__)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], required=True)
    parser.add_argument("--tool", choices=list(tools.INSIDE), default="nothing", help="what watches, in this process")
    parser.add_argument("--capture", type=Path, help="where gilscope records to")
    options = parser.parse_args()
    if options.loop == "uvloop":
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    tool = tools.INSIDE[options.tool](options.capture)
    print(json.dumps({}), flush=True)
    if not sys.stdin.readline():
        return
    with tool:
        did = loop.run_until_complete(serve(options.seconds, tool))
    print(json.dumps({**did, "told": tool.told()}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
