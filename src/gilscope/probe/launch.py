"""Starts a recording in a process that runs under `gilscope record`, from what that left in the environment.

GILSCOPE_RECORD                 the absolute path of the capture
GILSCOPE_RECORD_PARENT          the pid of `gilscope record`: its child writes to this path, descendants beside it
GILSCOPE_RECORD_THRESHOLD_MS    as `gilscope.record` takes it
GILSCOPE_RECORD_FORCE           1: files may be replaced
GILSCOPE_RECORD_NOTES           a file for what `gilscope record` must tell at the end
GILSCOPE_RECORD_BY              the pid that recorded last; set here, so that a program that replaces itself by
                                `exec` may replace its own capture
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gilscope import probe

if TYPE_CHECKING:
    from gilscope.probe import Recording

SUFFIX = ".gilscope"
DEFAULT_THRESHOLD_MS = 20.0

_recording: Recording | None = None
_descendants_path: Path | None = None
_started = False


def start() -> None:
    """A recording runs until this process ends, if the environment asks for one; children by `fork` get their own.

    Never raises; may be called again. A failure is one line on standard error.
    """
    global _started  # noqa: PLW0603  # one recording in a process
    if _started or "GILSCOPE_RECORD" not in os.environ:
        return
    _started = True
    # The first to be registered is the last to be called: what others do at exit is recorded.
    atexit.register(_stop)
    os.register_at_fork(after_in_child=_start_in_child)
    _start(root=str(os.getppid()) == os.environ.get("GILSCOPE_RECORD_PARENT"))


def descendant(path: Path, pid: int) -> Path:
    """Return where a descendant of the recorded process writes: `NAME.PID.gilscope`."""
    return path.with_name(f"{path.name.removesuffix(SUFFIX)}.{pid}{SUFFIX}")


def _start(*, root: bool) -> None:
    global _recording, _descendants_path  # noqa: PLW0603  # one recording in a process
    _recording = None
    try:
        asked, pid = Path(os.environ["GILSCOPE_RECORD"]), os.getpid()
        _descendants_path = None if root else descendant(asked, pid)
        _recording = probe.record(
            _descendants_path or asked,
            stall_threshold_ms=float(os.environ.get("GILSCOPE_RECORD_THRESHOLD_MS", DEFAULT_THRESHOLD_MS)),
            force=os.environ.get("GILSCOPE_RECORD_FORCE") == "1" or os.environ.get("GILSCOPE_RECORD_BY") == str(pid),
        )
        os.environ["GILSCOPE_RECORD_BY"] = str(pid)
    except Exception as error:  # noqa: BLE001  # a recording is never worth the host
        _say(f"{sys.executable} (pid {os.getpid()}) was not recorded: {error}")


def _start_in_child() -> None:
    _start(root=False)
    # multiprocessing ends its forked children by os._exit, which calls no atexit function, and forgets finalizers
    # that were registered before the child has got as far as its own code.
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None and _recording is not None:
        util.register_after_fork(_stop, lambda stop: util.Finalize(None, stop, exitpriority=0))


def _stop() -> None:
    global _recording
    recording, _recording = _recording, None
    if recording is None:
        return
    try:
        recording.stop()
        # Without asyncio no loop has run. What remains to be removed, `gilscope record` finds in the captures.
        if _descendants_path is not None and "asyncio" not in sys.modules:
            _descendants_path.unlink()
    except Exception as error:  # noqa: BLE001  # nor is it worth the host's exit code
        _say(f"the recording of {sys.executable} (pid {os.getpid()}) did not end in order: {error}")


def _say(text: str) -> None:
    with suppress(OSError, ValueError):  # closed, or full
        print(f"gilscope: {text}", file=sys.stderr)  # noqa: T201
    with suppress(KeyError, OSError), Path(os.environ["GILSCOPE_RECORD_NOTES"]).open("a", encoding="utf-8") as notes:
        notes.write(f"{text}\n")
