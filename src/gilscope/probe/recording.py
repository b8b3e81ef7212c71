"""A recording of this process into a capture file."""

from __future__ import annotations

import gc
import json
import os
import platform
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gilscope._version import __version__
from gilscope.errors import ProbeError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000
# A stall is sampled from half of the threshold on: its first half is known by what goes on in its second.
_SAMPLED_FROM = 0.5

_lock = threading.Lock()


def record(
    path: str | os.PathLike[str],
    *,
    stall_threshold_ms: float = 20.0,
    sample_period_ms: float = 2.0,
    force: bool = False,
) -> Recording:
    """Everything that the GIL and the event loops of this process do is recorded, until `stop` or the `with` ends.

    Args:
        path: the capture file; it must not exist.
        stall_threshold_ms: an iteration that takes longer is a stall; from half of it on, stacks are sampled.
        sample_period_ms: between two samples of a stall.
        force: replace the file.

    Raises:
        ProbeError: a recording runs already, the file exists or cannot be written, or this platform has no probe.
        SettingsError: a threshold or period that cannot work.

    Threading: any thread; one recording in a process. A child by `fork` is not recorded.
    """
    return Recording(Path(path), stall_threshold_ms=stall_threshold_ms, sample_period_ms=sample_period_ms, force=force)


class Recording:
    """A recording that runs; `stop` ends it, and so does the end of a `with`."""

    def __init__(self, path: Path, *, stall_threshold_ms: float, sample_period_ms: float, force: bool) -> None:
        from gilscope.errors import SettingsError

        for name, value in (("stall_threshold_ms", stall_threshold_ms), ("sample_period_ms", sample_period_ms)):
            if not 0.1 <= value <= 60_000:  # noqa: PLR2004 - named in the message
                raise SettingsError(f"{name} must be from 0.1 to 60000, got {value!r}")
        try:
            from gilscope import _probe
        except ImportError as error:
            raise ProbeError(f"the probe does not work here (it needs Linux, glibc and CPython): {error}") from error
        self.path = path
        self._native = _probe
        self._pid = os.getpid()
        threshold_ns = round(stall_threshold_ms * _NS_PER_MS)
        period_ns = round(sample_period_ms * _NS_PER_MS)
        with _lock:
            if _probe.running():
                raise ProbeError("one recording at a time: this process is being recorded already")
            file = _open(path, force=force)
            try:
                metadata = json.dumps(_metadata(_probe.gil(), threshold_ns, period_ns)).encode()
                _probe.start(
                    file, metadata, sample_after_ns=round(threshold_ns * _SAMPLED_FROM), sample_period_ns=period_ns
                )
            except OSError as error:
                raise ProbeError(f"the recording could not be started: {error}") from error
            _probe.name_threads()
            gc.callbacks.append(_probe.on_collection)

    def stop(self) -> None:
        """The capture is complete, and the process is as it was before; again: nothing.

        Raises:
            ProbeError: the file could not be written to its end; what is there can be read.
        """
        with _lock:
            if self._pid != os.getpid() or not self._native.running():
                return
            gc.callbacks.remove(self._native.on_collection)
            self._native.name_threads()
            try:
                self._native.stop()
            except OSError as error:
                raise ProbeError(f"{self.path} is not complete: {error}; what is in it can be read") from error

    def stats(self) -> dict[str, Any]:
        """Return what has been recorded so far: events, stacks, samples and what was lost."""
        return self._native.stats()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def _open(path: Path, *, force: bool) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if force else os.O_EXCL)
    try:
        return os.open(path, flags, 0o644)
    except FileExistsError:
        raise ProbeError(f"{path} exists: choose another name, or replace it with force=True (--force)") from None
    except OSError as error:
        raise ProbeError(f"cannot write {path}: {error.strerror}") from error


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
