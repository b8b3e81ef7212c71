"""What is measured inside the server: spans made, what handing them over costs, other threads' CPU, and loop lag.

Everything here is the same for every arm, and cheap beside what it measures.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import threading
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import SpanProcessor

if TYPE_CHECKING:
    import asyncio

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

# One on_end in so many is timed. Reading a thread's CPU clock is a system call (0.3 to 1 us), too much for each; and a
# prime, so that in a request of sixteen spans each of them gets its turn.
SAMPLE_EVERY = 7
LAG_INTERVAL_NS = 2_000_000


class MeasuredProcessor(SpanProcessor):
    """Hands every span on to the processor under test, counts it, and times one hand-over in `SAMPLE_EVERY`.

    The clock is read once to warm it up, and then three times: the first two tell what a reading costs at that moment.

    Attributes:
        spans: Spans ended, all of them.
        samples: Hand-overs that were timed.
        on_end_ns: CPU time of the timed hand-overs, the clock's own cost taken off.

    Threading: the event loop's thread only.
    """

    def __init__(self, processor: SpanProcessor) -> None:
        self._processor = processor
        self._on_end = processor.on_end
        self._until_sample = SAMPLE_EVERY
        self.spans = 0
        self.samples = 0
        self.on_end_ns = 0

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Pass it on."""
        self._processor.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """Pass it on, counted."""
        self.spans += 1
        self._until_sample -= 1
        if self._until_sample:
            self._on_end(span)
            return
        self._until_sample = SAMPLE_EVERY
        clock = time.thread_time_ns
        clock()
        first = clock()
        second = clock()
        self._on_end(span)
        third = clock()
        self.samples += 1
        self.on_end_ns += (third - second) - (second - first)

    def shutdown(self) -> None:
        """Pass it on."""
        self._processor.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Pass it on."""
        return self._processor.force_flush(timeout_millis)


@dataclass(frozen=True, kw_only=True)
class OtherThreads:
    """CPU time of all threads of this process but the calling one, those that have ended included.

    Attributes:
        cpu_ns: Since the process began.
        python: Names of the threads that run Python, and so need the GIL for it.
        native: Names of those that have no Python state: they cannot hold the GIL.
    """

    cpu_ns: int
    python: tuple[str, ...]
    native: tuple[str, ...]

    @classmethod
    def now(cls) -> OtherThreads:
        """Return what is so now.

        Raises:
            RuntimeError: Python has more thread states than threads it knows: a native thread has called into it.
        """
        mine = threading.get_native_id()
        known = {thread.native_id: thread.name for thread in threading.enumerate()}
        if len(sys._current_frames()) > len(known):  # noqa: SLF001  # the only list of Python's thread states
            raise RuntimeError("a native thread has run Python: its CPU time cannot be told from time with the GIL")
        native = tuple(_thread_name(task) for task in Path("/proc/self/task").iterdir() if int(task.name) not in known)
        python = tuple(name for native_id, name in known.items() if native_id != mine)
        return cls(cpu_ns=time.process_time_ns() - time.thread_time_ns(), python=python, native=native)


def _thread_name(task: Path) -> str:
    try:
        return (task / "comm").read_text().strip()
    except FileNotFoundError:
        return "ended"


def core_wait_ns() -> int | None:
    """Return how long this thread has been ready to run while something else had its core; None if Linux does not tell.

    Source: Documentation/scheduler/sched-stats.rst of Linux.
    """
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1])
    except (FileNotFoundError, IndexError):
        return None


class _Time(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]

    @classmethod
    def of(cls, ns: int) -> _Time:
        return cls(*divmod(ns, 1_000_000_000))


class _TimerSetting(ctypes.Structure):
    _fields_ = [("interval", _Time), ("first", _Time)]


_TFD_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_TFD_TIMER_ABSTIME = 1
_COUNT = struct.Struct("=Q")


class LagMeter:
    """Records how late the loop answers an event that is due at a known moment, every `LAG_INTERVAL_NS`.

    The events come from a timerfd, so that they are ready at their moment to within microseconds, as a packet would be.
    (The loops' own timers count in milliseconds.) While the loop is stalled events go on falling due, and each of them
    counts, with its own delay: the lag is what something that happens at any moment meets.

    Attributes:
        lags_ns: One for each event, in order.

    Source: timerfd_create(2).
    Threading: the event loop's thread only.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begins to record.

        Raises:
            OSError: The kernel has no timer for us.
        """
        self.lags_ns = array("q")
        self._loop = loop
        libc = ctypes.CDLL(None, use_errno=True)
        self._timer = libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC)
        if self._timer < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._due_ns = time.monotonic_ns() + LAG_INTERVAL_NS
        setting = _TimerSetting(_Time.of(LAG_INTERVAL_NS), _Time.of(self._due_ns))
        if libc.timerfd_settime(self._timer, _TFD_TIMER_ABSTIME, ctypes.byref(setting), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")
        loop.add_reader(self._timer, self._tick)

    def _tick(self) -> None:
        try:
            due = _COUNT.unpack(os.read(self._timer, _COUNT.size))[0]
        except BlockingIOError:
            return  # readable by mistake, which epoll allows
        now_ns = time.monotonic_ns()
        for _ in range(due):
            self.lags_ns.append(now_ns - self._due_ns)
            self._due_ns += LAG_INTERVAL_NS

    def stop(self) -> None:
        """Nothing more is recorded."""
        self._loop.remove_reader(self._timer)
        os.close(self._timer)
