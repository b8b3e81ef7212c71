"""A program whose threads, frames and code come and go as fast as they can while it is sampled.

python -m tests.integration.programs.probe_churn CAPTURE nothing|trace|monitoring|coverage SECONDS
python -m tests.integration.programs.probe_churn CAPTURE threads COUNT

The first word is what looks on, as debuggers and coverage tools do.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import gilscope

if TYPE_CHECKING:
    from collections.abc import Iterator


def dive(depth: int) -> int:
    """Make frames and drop them."""
    return depth and 1 + dive(depth - 1)


def numbers(count: int) -> Iterator[int]:
    """Make frames that live in the heap, one inside the other."""
    if count:
        yield count
        yield from numbers(count - 1)


def short_code(turn: int) -> None:
    """Make code that nobody keeps, and run it."""
    names: dict[str, Any] = {}
    exec(f"def made_{turn}(a):\n    return [b + {turn} for b in range(a)]\nmade_{turn}(50)", names)  # noqa: S102


def short_threads(turn: int) -> None:
    """Threads that end as soon as they have begun."""
    threads = [threading.Thread(target=dive, args=(turn % 50,)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def churn(seconds: float) -> None:
    """All of it in iterations that are long enough to be sampled."""
    until, turn = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        turn += 1
        for depth in range(turn % 10, 100, 10):
            dive(depth)
            sum(numbers(depth % 30))
            short_code(turn + depth)
        short_threads(turn)
        await asyncio.sleep(0)


def trace(frame: Any, event: str, argument: Any) -> Any:
    """Look on, and make frames too."""
    return trace


def watch(how: str, stack: ExitStack) -> None:
    """Look on as debuggers and coverage tools do."""
    if how == "trace":
        threading.settrace(trace)
        sys.settrace(trace)
        stack.callback(sys.settrace, None)
    elif how == "monitoring":
        monitoring: Any = sys.monitoring  # type: ignore[attr-defined]  # from 3.12 on
        monitoring.use_tool_id(3, "test")
        for event in (monitoring.events.LINE, monitoring.events.PY_START, monitoring.events.INSTRUCTION):
            monitoring.register_callback(3, event, lambda *_: None)
        monitoring.set_events(3, monitoring.events.LINE | monitoring.events.PY_START)
        stack.callback(monitoring.set_events, 3, 0)
    elif how == "coverage":
        import coverage

        # Our own settings ask for a plugin, of which it warns where it uses sys.monitoring (3.14).
        tool = coverage.Coverage(data_file=None, config_file=False)
        tool.start()
        stack.callback(tool.stop)


def holder(stop: threading.Event) -> None:
    """Have the GIL most of the time, with frames that come and go."""
    while not stop.is_set():
        dive(50)


def main(capture: str, how: str, amount: str) -> None:
    """Churn for seconds, or until so many threads have come and gone."""
    if how == "threads":
        with gilscope.record(capture):
            for turn in range(int(amount) // 10):
                short_threads(turn)
        return
    stop = threading.Event()
    other = threading.Thread(target=holder, args=(stop,))
    with ExitStack() as stack, gilscope.record(capture, stall_threshold_ms=0.2, sample_period_ms=0.1):
        watch(how, stack)
        other.start()
        asyncio.run(churn(float(amount)))
        stop.set()
        other.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
