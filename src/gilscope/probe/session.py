"""What runs of the probe in this process: one session at a time, for a recording or for a watch."""

from __future__ import annotations

import gc
import json
import logging
import os
import platform
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gilscope import exports
from gilscope._version import __version__
from gilscope.errors import ProbeError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

logger = logging.getLogger("gilscope")

_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000
# A stall is sampled from this part of the threshold on: what went on before is known by what goes on then. The longer
# it lasts, the less one more sample tells. A watch wakes up as seldom as it can to see each stall before it ends, and
# needs a stack or two of it, not a profile.
_RECORDING_SAMPLES_FROM, _RECORDING_SAMPLES = 0.5, 8
_WATCH_SAMPLES_FROM, _WATCH_SAMPLES = 0.75, 2

# Re-entrant, because a signal's handler may stop what its thread is just reading.
_lock = threading.RLock()
_current: Session | None = None


def in_memory() -> int:
    """Return what stands for no file: the last seconds are kept in memory."""
    return -1


class Session:
    """The probe runs from the making of this to its `stop`."""

    def __init__(
        self,
        file: Callable[[], int],
        *,
        stall_threshold_ms: float,
        sample_period_ms: float,
        totals: bool = False,
        stall_hook: Callable[[int, int], object] | None = None,
    ) -> None:
        """Everything is as asked for, or as it was.

        Args:
            file: opens what is recorded into; called when nothing else can be wrong, so that no file is left behind.
            stall_threshold_ms: an iteration that takes longer is a stall.
            sample_period_ms: between two samples of a stall; they get sparser as it lasts.
            totals: totals are kept, and stalls can be fetched.
            stall_hook: as `_probe.start` takes it.

        Raises:
            ProbeError: a session runs already, or this platform has no probe.
            SettingsError: a threshold or period that cannot work.
        """
        global _current  # noqa: PLW0603  # one in a process
        for name, value in (("stall_threshold_ms", stall_threshold_ms), ("sample_period_ms", sample_period_ms)):
            if not 0.1 <= value <= 60_000:  # noqa: PLR2004 - named in the message
                raise SettingsError(f"{name} must be from 0.1 to 60000, got {value!r}")
        try:
            from gilscope import _probe
        except ImportError as error:
            raise ProbeError(f"the probe does not work here (it needs Linux, glibc and CPython): {error}") from error
        exports.offer(_probe.export_observer())
        self.native: ModuleType = _probe
        self._pid = os.getpid()
        threshold_ns = round(stall_threshold_ms * _NS_PER_MS)
        period_ns = round(sample_period_ms * _NS_PER_MS)
        with _lock:
            if _probe.running():
                raise ProbeError(
                    "one recording or watch at a time: this process has one already; stop it before another is started"
                )
            opened = file()
            gil = _probe.gil()
            if gil == "unavailable":
                logger.warning("Waits for the GIL cannot be seen: this build of Python has nothing to hook")
            try:
                _probe.start(
                    opened,
                    json.dumps(_metadata(gil, threshold_ns, period_ns)).encode(),
                    sample_after_ns=round(threshold_ns * (_WATCH_SAMPLES_FROM if totals else _RECORDING_SAMPLES_FROM)),
                    sample_period_ns=period_ns,
                    samples_per_iteration=_WATCH_SAMPLES if totals else _RECORDING_SAMPLES,
                    detailed=not totals,
                    stall_threshold_ns=threshold_ns,
                    totals=totals,
                    stall_hook=stall_hook,
                )
            except OSError as error:
                raise ProbeError(f"the probe could not be started: {error}") from error
            _current = self
            _probe.name_threads()
            # A forked child has inherited its parent's.
            if _probe.on_collection not in gc.callbacks:
                gc.callbacks.append(_probe.on_collection)

    @property
    def running(self) -> bool:
        """Whether this session has not been stopped, and is this process's and not that of its parent."""
        return _current is self and self._pid == os.getpid()

    @contextmanager
    def reading(self) -> Iterator[ModuleType | None]:
        """The native side stays as it is until the `with` ends; it is None if this session does not run any more."""
        with _lock:
            yield self.native if self.running else None

    def stop(self) -> None:
        """The process is as it was before; again, or in a forked child: nothing.

        Raises:
            OSError: the file could not be written to its end.
        """
        global _current  # noqa: PLW0603  # one in a process
        with _lock:
            if not self.running:
                return
            _current = None
            gc.callbacks.remove(self.native.on_collection)
            self.native.name_threads()
            self.native.stop()


def _renew_lock() -> None:
    """In a forked child, where the thread that had the lock may not be."""
    global _lock  # noqa: PLW0603  # one in a process
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)


def _metadata(gil: str, threshold_ns: int, period_ns: int) -> dict[str, Any]:
    return {
        "format": 1,
        "gilscope": __version__,
        "python": platform.python_version(),
        "argv": sys.orig_argv,
        "executable": sys.executable,
        "pid": os.getpid(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "started_wall_ns": time.time_ns(),
        "started_monotonic_ns": time.monotonic_ns(),
        "switch_interval_ns": round(sys.getswitchinterval() * _NS_PER_S),
        "stall_threshold_ns": threshold_ns,
        "sample_period_ns": period_ns,
        "gil": gil,
        "loops": ["asyncio", "uvloop"],
    }
