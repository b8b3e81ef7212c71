"""Programs whose truth is known: each is recorded, and prints as JSON what it did, by its own clocks.

python -m tests.accuracy.programs PROGRAM asyncio|uvloop CAPTURE [ARGUMENT ...]
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import random
import re
import selectors
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

LOOP, CAPTURE = "asyncio", "none.gilscope"
# Keeps the GIL while it calls.
_pread = ctypes.PyDLL(None).pread


def run_recorded(main: Coroutine[Any, Any, None]) -> None:
    """Run to its end on the loop that was asked for, and record that."""
    # Made first, for what is late in a recording (uvloop) has its polls seen only a few milliseconds later.
    loop = new_loop()
    with gilscope.record(CAPTURE):
        loop.run_until_complete(main)
    loop.close()


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a loop of the kind that was asked for."""
    if LOOP == "uvloop":
        import uvloop

        made: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return made
    return asyncio.new_event_loop()


class Scheduled:
    """What the kernel says of the calling thread, without letting go of the GIL."""

    def __init__(self) -> None:
        self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)

    def queued_ns(self) -> int:
        """Return for how long it was ready to run and had no core, since it began."""
        text = ctypes.create_string_buffer(128)
        _pread(self._file, text, 127, 0)
        return int(text.value.split()[1])


def sleep_for(seconds: float) -> None:
    """Block without the GIL, off the CPU."""
    time.sleep(seconds)


def spin_for(seconds: float) -> None:
    """Block with the GIL, on the CPU."""
    until_ns = time.thread_time_ns() + round(seconds * 1e9)
    while time.thread_time_ns() < until_ns:
        pass


BLOCKS: dict[str, Callable[[float], None]] = {"sleep": sleep_for, "spin": spin_for}


class Log:
    """When each block began and ended, and for how long meanwhile the kernel had no core for it."""

    def __init__(self) -> None:
        self.blocks: list[tuple[int, int, int]] = []
        self._scheduled = Scheduled()

    def block(self, how: str, seconds: float) -> None:
        """Block, and write it down."""
        queued_ns, start_ns = self._scheduled.queued_ns(), time.perf_counter_ns()
        BLOCKS[how](seconds)
        end_ns = time.perf_counter_ns()
        self.blocks.append((start_ns, end_ns, self._scheduled.queued_ns() - queued_ns))


def one_block(how: str) -> dict[str, Any]:
    """One callback of 50 ms among short ones."""
    log = Log()

    async def main() -> None:
        asyncio.get_running_loop().call_later(0.05, log.block, how, 0.05)
        await asyncio.sleep(0.2)

    run_recorded(main())
    return {"blocks": log.blocks, "line": BLOCKS[how].__code__.co_firstlineno}


def random_blocks(seed: str, blocks: str) -> dict[str, Any]:
    """Callbacks of 1 to 30 ms, one an iteration."""
    chosen = random.Random(int(seed))
    log = Log()

    async def main() -> None:
        for _ in range(int(blocks)):
            await asyncio.sleep(0)
            log.block(chosen.choice(tuple(BLOCKS)), chosen.uniform(0.001, 0.03))
            await asyncio.sleep(0)

    run_recorded(main())
    return {"blocks": log.blocks}


async def wrong_step() -> None:
    """Block in a coroutine."""
    sleep_for(0.05)


async def right_step() -> None:
    """Await it."""
    await wrong_step()


def task() -> dict[str, Any]:
    """A task whose coroutine blocks."""

    async def main() -> None:
        await asyncio.sleep(0.01)
        await asyncio.create_task(right_step(), name="order 7")
        await asyncio.sleep(0.01)

    run_recorded(main())
    return {}


def python_holder(stop: threading.Event) -> None:
    """Keep the GIL as Python code does: until made to let go."""
    while not stop.is_set():
        pass


def call_holder(stop: threading.Event) -> None:
    """Keep the GIL as native code does: some 30 ms in one piece, whoever waits."""
    slow = re.compile("(?:a|a)*b")
    text = "a" * 20
    while not stop.is_set():
        slow.match(text)
        time.sleep(0.001)


HOLDERS = {"python": python_holder, "call": call_holder}


def held(how: str) -> dict[str, Any]:
    """A loop with work, and a thread that keeps the GIL from it."""
    stop = threading.Event()

    async def main() -> None:
        thread = threading.Thread(target=HOLDERS[how], args=(stop,), name="holder")
        thread.start()
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            # Lets go of the GIL ten times, as a handler does that reads and writes, and for long enough to lose it.
            for _ in range(10):
                sleep_for(0.0002)
            await asyncio.sleep(0)
        stop.set()
        thread.join()

    run_recorded(main())
    return {"function": HOLDERS[how].__name__}


def lets_go_elsewhere() -> dict[str, Any]:
    """A loop with work, and a thread that keeps the GIL in one function and lets go of it in another one."""
    stop = threading.Event()

    def encode() -> None:
        json.dumps(rows)

    def rest() -> None:
        sleep_for(0.001)

    def other() -> None:
        while not stop.is_set():
            encode()
            rest()

    async def main() -> None:
        thread = threading.Thread(target=other, name="holder")
        thread.start()
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            # Lets go of the GIL, as a handler does that reads, and for long enough to lose it.
            sleep_for(0.0002)
            await asyncio.sleep(0)
        stop.set()
        thread.join()

    # One call of native code, of some milliseconds.
    rows = [{"number": number, "text": "x" * 50} for number in range(20_000)]
    run_recorded(main())
    return {"function": encode.__name__}


def runnable(threads: str) -> dict[str, Any]:
    """Threads that could always run, were it not for the GIL, and what the kernel says of their time."""
    said: list[dict[str, int]] = []
    everybody = threading.Barrier(int(threads))

    def spin() -> None:
        scheduled = Scheduled()
        everybody.wait()
        before = (time.perf_counter_ns(), time.thread_time_ns(), scheduled.queued_ns())
        while time.perf_counter_ns() - before[0] < 2_000_000_000:
            pass
        after = (time.perf_counter_ns(), time.thread_time_ns(), scheduled.queued_ns())
        wall_ns, cpu_ns, queued_ns = (end - start for start, end in zip(before, after, strict=True))
        said.append(
            {
                "native_id": threading.get_native_id(),
                "start_ns": before[0],
                "end_ns": after[0],
                "queued_ns": queued_ns,
                "blocked_ns": wall_ns - cpu_ns - queued_ns,
            }
        )

    with gilscope.record(CAPTURE):
        spinners = [threading.Thread(target=spin) for _ in range(int(threads))]
        for thread in spinners:
            thread.start()
        for thread in spinners:
            thread.join()
    return {"threads": said}


def mixed() -> dict[str, Any]:
    """A loop that computes, sleeps, waits and polls, beside threads that do the same."""
    stop = threading.Event()
    chosen = random.Random(1)

    def other() -> None:
        while not stop.is_set():
            spin_for(chosen.uniform(0, 0.008))
            sleep_for(chosen.uniform(0, 0.004))

    async def main() -> None:
        threads = [threading.Thread(target=other) for _ in range(3)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 2
        while time.monotonic() < until:
            BLOCKS[chosen.choice(("sleep", "spin"))](chosen.uniform(0, 0.01))
            await asyncio.sleep(chosen.choice((0, 0.001, 0.01)))
        stop.set()
        for thread in threads:
            thread.join()

    run_recorded(main())
    return {}


def healthy(seconds: str) -> dict[str, Any]:
    """Timers and small callbacks, and threads that sleep."""
    stop = threading.Event()
    scheduled = Scheduled()
    sleepers = [threading.Thread(target=stop.wait) for _ in range(20)]
    for thread in sleepers:
        thread.start()

    async def ticks(period: float) -> None:
        until = time.monotonic() + float(seconds)
        while time.monotonic() < until:
            sum(range(1000))
            await asyncio.sleep(period)

    async def main() -> None:
        await asyncio.gather(*(ticks(period) for period in (0.003, 0.007, 0.011, 0.02)))

    before_ns = scheduled.queued_ns()
    run_recorded(main())
    queued_ns = scheduled.queued_ns() - before_ns
    stop.set()
    return {"queued_ns": queued_ns}


def loop_ends() -> dict[str, Any]:
    """A program that goes on when its loop has ended."""
    loop = new_loop()
    with gilscope.record(CAPTURE):
        loop.run_until_complete(asyncio.sleep(0.05))
        time.sleep(1)
    loop.close()
    return {}


def loop_pauses() -> dict[str, Any]:
    """A loop that runs twice, and between the two the program does something else."""
    loop = new_loop()
    with gilscope.record(CAPTURE):
        loop.run_until_complete(asyncio.sleep(0.05))
        sleep_for(0.15)
        spin_for(0.15)
        loop.run_until_complete(asyncio.sleep(0.05))
    loop.close()
    return {}


def selector() -> dict[str, Any]:
    """Polls that are no event loop's, with work of 30 ms between them."""
    with gilscope.record(CAPTURE), selectors.DefaultSelector() as chosen:
        reader, writer = os.pipe()
        chosen.register(reader, selectors.EVENT_READ)
        for _ in range(5):
            chosen.select(0.01)
            sleep_for(0.03)
        os.close(reader)
        os.close(writer)
    return {}


def late_loop() -> dict[str, Any]:
    """A loop whose modules are imported while the recording runs."""
    log = Log()

    async def main() -> None:
        await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)
        log.block("sleep", 0.05)
        await asyncio.sleep(0.01)

    with gilscope.record(CAPTURE):
        new_loop().run_until_complete(main())
    return {"blocks": log.blocks}


def collection() -> dict[str, Any]:
    """A callback in which many objects are collected."""
    took: list[int] = []
    found: list[int] = []

    class Cycle:
        def __init__(self) -> None:
            self.me = self

    def collect() -> None:
        for _ in range(500_000):
            Cycle()
        start_ns = time.perf_counter_ns()
        found.append(gc.collect())
        took.append(time.perf_counter_ns() - start_ns)

    async def main() -> None:
        await asyncio.sleep(0.01)
        collect()
        await asyncio.sleep(0.01)

    gc.disable()
    scheduled = Scheduled()
    before_ns = scheduled.queued_ns()
    run_recorded(main())
    return {"took_ns": took, "collected": found, "queued_ns": scheduled.queued_ns() - before_ns}


def holds(*lengths: str) -> dict[str, Any]:
    """A thread holds the GIL so many times for so many milliseconds (`1000x2`), and blocks in between."""
    held: list[tuple[int, int]] = []

    def hold() -> None:
        for length in lengths:
            times, ms = map(int, length.split("x"))
            for _ in range(times):
                start_ns = time.monotonic_ns()
                until_ns = start_ns + ms * 1_000_000
                while (now_ns := time.monotonic_ns()) < until_ns:
                    pass
                held.append((start_ns, now_ns))
                sleep_for(0.00005)

    thread = threading.Thread(target=hold, name="holder")
    # The main thread only waits: nobody makes the holder let go.
    with gilscope.record(CAPTURE):
        thread.start()
        thread.join()
    return {"native_id": thread.native_id, "held_ns": [end_ns - start_ns for start_ns, end_ns in held]}


PROGRAMS = (
    one_block,
    random_blocks,
    task,
    held,
    lets_go_elsewhere,
    runnable,
    mixed,
    healthy,
    loop_ends,
    loop_pauses,
    selector,
    late_loop,
    collection,
    holds,
)


def main(program: str, loop: str, capture: str, *arguments: str) -> None:
    """Run a program and print what it says."""
    global LOOP, CAPTURE
    LOOP, CAPTURE = loop, capture
    (chosen,) = (one for one in PROGRAMS if one.__name__ == program)
    said: dict[str, Any] = chosen(*arguments)
    print(json.dumps(said))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
