"""What the process under test says of itself: CPU time by kind of thread, memory, thread states, cores. Linux only."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from gilscope.bench.machine import cpu_model, package_version

_PACKAGES = ("opentelemetry-sdk", "fastotel", "gilscope")


class Cores(NamedTuple):
    """Where the process under test runs, and where everything else does; the same core when there is only one."""

    tested: int
    others: int

    @classmethod
    def choose(cls) -> Cores:
        """Return the first two cores that this process may use."""
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[0], allowed[-1] if len(allowed) == 1 else allowed[1])


class ThreadCpu(NamedTuple):
    """CPU time of the threads other than the calling one, in nanoseconds."""

    python_ns: int
    native_ns: int

    @classmethod
    def now(cls) -> ThreadCpu:
        """Return what the threads that exist have used; exact for those that sleep."""
        here = threading.get_native_id()
        python = {thread.native_id for thread in threading.enumerate()}
        python_ns = native_ns = 0
        for task in Path("/proc/self/task").iterdir():
            thread_id = int(task.name)
            if thread_id == here:
                continue
            used_ns = int((task / "schedstat").read_text().split()[0])
            if thread_id in python:
                python_ns += used_ns
            else:
                native_ns += used_ns
        return cls(python_ns, native_ns)

    def since(self, earlier: ThreadCpu) -> ThreadCpu:
        """Return what was used since then; threads that ended in between are not counted."""
        return ThreadCpu(self.python_ns - earlier.python_ns, self.native_ns - earlier.native_ns)


def native_thread_names() -> list[str]:
    """Return the names of the threads that Python's threading module knows nothing of."""
    python = {thread.native_id for thread in threading.enumerate()}
    tasks = Path("/proc/self/task").iterdir()
    return sorted((task / "comm").read_text().strip() for task in tasks if int(task.name) not in python)


def next_thread_state() -> int:
    """Return the number of a thread state made now: the interpreter numbers them one by one.

    A thread cannot run a Python frame, nor take the GIL, without a thread state of its own. So when the numbers of two
    calls differ by one, no thread that was unknown to Python before has run any Python in between, however briefly.
    """
    api = ctypes.pythonapi
    api.PyThreadState_Get.restype = ctypes.c_void_p
    api.PyThreadState_GetID.restype = ctypes.c_uint64
    api.PyThreadState_GetID.argtypes = [ctypes.c_void_p]
    numbers: list[int] = []
    thread = threading.Thread(target=lambda: numbers.append(api.PyThreadState_GetID(api.PyThreadState_Get())))
    thread.start()
    thread.join()
    return numbers[0]


def memory_bytes(field: str) -> int:
    """Return a field of /proc/self/status that is in kB: VmRSS now, VmHWM the highest VmRSS since the exec.

    Not ru_maxrss: that begins with what the parent had when it started this process.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(f"expected a field {field} in /proc/self/status")


def wait_until_asleep(timeout_s: float = 5.0) -> None:
    """Return once no other thread of this process has used CPU time for a while, so that its counters are exact."""
    deadline_s = time.monotonic() + timeout_s
    before = ThreadCpu.now()
    while time.monotonic() < deadline_s:
        time.sleep(0.02)
        after = ThreadCpu.now()
        if after == before:
            return
        before = after


def machine() -> str:
    """Return the line that says on what the figures were taken."""
    cores = Cores.choose()
    placed = (
        "everything on one core"
        if cores.tested == cores.others
        else "the process under test on one core, the collector and the rest on another"
    )
    packages = ", ".join(f"{name} {package_version(name) or '(not installed)'}" for name in _PACKAGES)
    return (
        f"{os.cpu_count()} cores of {cpu_model()}, Linux {platform.release()}, "
        f"{sys.implementation.name} {platform.python_version()}, {packages}; {placed}"
    )
