"""A recorded program that forks under load; each child records itself, into CAPTURE.PID.

python -m tests.integration.programs.probe_forks CAPTURE os|thread|c|multiprocessing-fork|multiprocessing-spawn CHILDREN
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import multiprocessing
import os
import sys
import threading
import time
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gilscope
from tests.integration.programs.probe_load import load, spin

if TYPE_CHECKING:
    from collections.abc import Callable

    from gilscope.probe import Recording


def in_child(capture: str, inherited: Recording | None = None) -> None:
    """Be unrecorded, take no harm from the parent's recording, and make one of its own."""
    spin(0.01)
    time.sleep(0.01)
    open_files = [os.path.realpath(file) for file in Path("/proc/self/fd").iterdir()]
    assert os.path.realpath(capture) not in open_files
    if inherited is not None:
        inherited.stop()
    with gilscope.record(f"{capture}.{os.getpid()}"):
        asyncio.run(blocks())


async def blocks() -> None:
    """One stall, and one collection that takes longer than a young generation's."""
    await asyncio.sleep(0.01)
    kept = [[number] for number in range(50_000)]
    gc.collect()
    time.sleep(0.03)  # noqa: ASYNC251 - it is to block
    await asyncio.sleep(0.01)
    del kept


def forked(fork: Callable[[], int], work: Callable[[], None]) -> int:
    """Do the work in a child; return its pid."""
    pid = fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001  # told, and the child ends here in any case
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def in_thread(call: Callable[[], int]) -> int:
    """Return what is returned in a thread of its own."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


def main(capture: str, how: str, children: str) -> None:
    """Record, and fork in the middle."""
    failed = 0
    # A child that C has forked hangs, recorded or not, if some thread of the parent's had asked for the GIL.
    with nullcontext() if how == "c" else load(), gilscope.record(capture) as recording:

        def work() -> None:
            in_child(capture, recording)

        spin(0.05)
        if how.startswith("multiprocessing"):
            context: Any = multiprocessing.get_context(how.removeprefix("multiprocessing-"))
            processes = [context.Process(target=in_child, args=(capture,)) for _ in range(int(children))]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
                failed += process.exitcode != 0
        else:
            # PyDLL keeps the GIL while it calls: Python knows nothing of the fork.
            fork = ctypes.PyDLL(None).fork if how == "c" else os.fork
            start = in_thread if how == "thread" else (lambda call: call())
            pids = [start(lambda: forked(fork, work)) for _ in range(int(children))]
            failed = sum(os.waitpid(pid, 0)[1] != 0 for pid in pids)
        asyncio.run(blocks())
    sys.exit(failed)


if __name__ == "__main__":
    main(*sys.argv[1:])
