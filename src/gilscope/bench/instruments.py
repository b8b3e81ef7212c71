"""What is measured inside the server: CPU by thread, memory, switches, garbage collections, and loop lag.

The same for every arm, and cheap beside what it measures.
"""

from __future__ import annotations

import ctypes
import gc
import os
import struct
import threading
import time
from array import array
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    import asyncio

LAG_INTERVAL_NS = 2_000_000


class Collections:
    """Garbage collections: how many, and how long they stopped everything."""

    def __init__(self) -> None:
        self._pauses_ns = [array("q") for _ in gc.get_count()]  # by generation
        self._started_ns = 0
        gc.callbacks.append(self._on_collection)

    def _on_collection(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._started_ns = time.monotonic_ns()
        else:
            self._pauses_ns[info["generation"]].append(time.monotonic_ns() - self._started_ns)

    def end(self) -> list[dict[str, int]]:
        """Nothing more is counted; return what was, by generation."""
        gc.callbacks.remove(self._on_collection)
        return [
            {"collections": len(pauses), "pause_ns": sum(pauses), "longest_pause_ns": max(pauses, default=0)}
            for pauses in self._pauses_ns
        ]


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


class LoopLag:
    """Records how late the loop answers an event that is due at a known moment, every `LAG_INTERVAL_NS`.

    The events come from a timerfd, so that they are ready at their moment to within microseconds, as a packet would be.
    (The loops' own timers count in milliseconds.) While the loop is stalled events go on falling due, and each of them
    counts, with its own delay: the lag is what something that happens at any moment meets.

    Source: timerfd_create(2).
    Threading: the event loop's thread only.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begins to record.

        Raises:
            OSError: The kernel has no timer for us.
        """
        self._lags_ns = array("q")
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
            self._lags_ns.append(now_ns - self._due_ns)
            self._due_ns += LAG_INTERVAL_NS

    def end(self) -> dict[str, int]:
        """Nothing more is recorded; return percentiles."""
        self._loop.remove_reader(self._timer)
        os.close(self._timer)
        ordered = sorted(self._lags_ns) or [0]
        return {
            f"loop_lag_{name}_ns": ordered[min(len(ordered) - 1, int(len(ordered) * share))]
            for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
        }


class Usage:
    """What the process has used of the machine since this was made."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        _forget_peak()
        self._before = self._now()

    def end(self) -> dict[str, Any]:
        """Return what was used until now."""
        before, now = self._before, self._now()
        threads = {name: ns - before["threads_ns"].get(name, 0) for name, ns in now["threads_ns"].items()}
        return {
            "cpu_ns": now["cpu_ns"] - before["cpu_ns"],
            "cpu_by_thread_ns": {name: ns for name, ns in threads.items() if ns > 0},
            "children_cpu_ns": now["children_ns"] - before["children_ns"],
            "run_queue_ns": now["run_queue_ns"] - before["run_queue_ns"],
            "voluntary_switches": now["voluntary"] - before["voluntary"],
            "involuntary_switches": now["involuntary"] - before["involuntary"],
            "rss_peak_bytes": _peak_bytes() + now["children_rss_bytes"],
        }

    def _now(self) -> dict[str, Any]:
        threads_ns: dict[str, int] = {}
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        run_queue_ns = 0
        for task in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # it has ended
                on_cpu, waited = (task / "schedstat").read_text().split()[:2]
                name = names.get(int(task.name)) or (task / "comm").read_text().strip()
                threads_ns[name] = threads_ns.get(name, 0) + int(on_cpu)
                run_queue_ns += int(waited)
        switches = self._process.num_ctx_switches()
        children_ns = children_rss_bytes = 0
        for child in self._process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                used = child.cpu_times()
                children_ns += round((used.user + used.system) * 1e9)
                children_rss_bytes += child.memory_info().rss
        return {
            "cpu_ns": time.process_time_ns(),
            "threads_ns": threads_ns,
            "children_ns": children_ns,
            "children_rss_bytes": children_rss_bytes,
            "run_queue_ns": run_queue_ns,
            "voluntary": switches.voluntary,
            "involuntary": switches.involuntary,
        }


def _forget_peak() -> None:
    with suppress(OSError):  # not allowed here: the peak is that of the process's life
        Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
