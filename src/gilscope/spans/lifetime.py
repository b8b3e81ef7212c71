"""Every running pipeline, so that none is lost: finished at exit, finished when its owner is collected.

A pipeline whose owner was dropped without shutdown sends what it has, as upstream's does (whose thread keeps it alive
for good); a native thread never outlives the interpreter.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import threading
import time
import weakref
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gilscope._spans import Pipeline


class Running(NamedTuple):
    """A pipeline that has not been shut down, and what its exit may cost."""

    pipeline: Pipeline
    exit_timeout_millis: float


# Strong references: what is in here is finished before the interpreter goes. Keyed by id, which is unique while it is.
_running: dict[int, Running] = {}


def watch(owner: object, pipeline: Pipeline, exit_timeout_millis: float) -> None:
    """The pipeline is finished when the process ends or its owner is collected, whichever comes first."""
    _running[id(pipeline)] = Running(pipeline, exit_timeout_millis)
    weakref.finalize(owner, _owner_is_gone, id(pipeline)).atexit = False


def forget(pipeline: Pipeline) -> None:
    """The pipeline was shut down, and may go."""
    _running.pop(id(pipeline), None)


def exiting() -> bool:
    """Return whether the interpreter has begun to exit: the main thread counts as ended before atexit functions run."""
    return not threading.main_thread().is_alive()


def flush_all() -> bool:
    """Return whether every pipeline got empty; takes no longer in all than the longest exit budget."""
    start = time.monotonic()
    flushed = True
    for running in list(_running.values()):
        flushed = running.pipeline.force_flush(_remaining_millis(running, start)) and flushed
    return flushed


def shut_down_all() -> None:
    """Every pipeline is shut down; takes no longer in all than the longest exit budget."""
    start = time.monotonic()
    for running in list(_running.values()):
        running.pipeline.shutdown(_remaining_millis(running, start))
        forget(running.pipeline)


def _remaining_millis(running: Running, start: float) -> float:
    return max(0.0, running.exit_timeout_millis - (time.monotonic() - start) * 1000)


def _owner_is_gone(key: int) -> None:
    running = _running.get(key)
    if running is None:
        return
    pipeline = running.pipeline
    if not exiting() and pipeline.stats()["queued"]:
        # Collection can happen anywhere, and must not wait for the network. Not threading.Thread, whose start waits,
        # and takes locks that may be held by whoever was interrupted. Without a thread it is left to the exit.
        with contextlib.suppress(RuntimeError):
            _thread.start_new_thread(_finish, (running,))
        return
    pipeline.shutdown(0)
    forget(pipeline)


def _finish(running: Running) -> None:
    running.pipeline.shutdown(running.exit_timeout_millis)
    forget(running.pipeline)


# Registered with the first import, and so run after whatever registers later, such as a provider's own shutdown.
atexit.register(shut_down_all)
