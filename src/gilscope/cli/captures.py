"""Which files a recording has left: that of the process it was asked for, and those of its descendants."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gilscope.capture import open_capture
from gilscope.errors import GilscopeError
from gilscope.probe.launch import SUFFIX

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gilscope.capture import Capture

# Of each file what changes when it is written anew.
Snapshot = dict["Path", tuple[int, int, int]]


def snapshot(path: Path) -> Snapshot:
    """Return the captures that there are: at the path, and beside it of descendants."""
    name = re.compile(rf"{re.escape(path.name.removesuffix(SUFFIX))}\.\d+{re.escape(SUFFIX)}")
    found = {}
    for file in sorted(path.parent.iterdir()):
        if (file.name == path.name or name.fullmatch(file.name)) and file.is_file():
            status = file.stat()
            found[file] = (status.st_ino, status.st_mtime_ns, status.st_size)
    return found


def settle(path: Path, before: Mapping[Path, object]) -> list[Path]:
    """Return what was written since the snapshot, the most of use first, and removed of it what is of none.

    Descendants that never ran an event loop leave no file. A single capture is at the path, also when the process that
    was started is no Python and only its descendant is.

    Args:
        path: where the capture was asked for.
        before: the snapshot taken before the recording.
    """
    written = [file for file, state in snapshot(path).items() if before.get(file) != state]
    useful = [file for file in written if has_loop(file)]
    for file in set(written) - {path, *useful}:
        if not _is_running(file):
            file.unlink(missing_ok=True)
    if path not in written and len(useful) == 1 and not path.exists() and not _is_running(useful[0]):
        useful = [useful[0].replace(path)]
    useful.sort(key=lambda file: -file.stat().st_size)
    return useful + [path] * (path in written and path not in useful)


def has_loop(path: Path) -> bool:
    """Return whether the capture can be read and an event loop ran in the recorded process."""
    try:
        with open_capture(path) as capture:
            for _ in capture.batches():
                if _loop_in(capture):
                    return True
            return _loop_in(capture)
    except GilscopeError:
        return False


def _loop_in(capture: Capture) -> bool:
    return any(thread.loop for thread in capture.threads.values())


def _is_running(descendant: Path) -> bool:
    pid = descendant.name.removesuffix(SUFFIX).rpartition(".")[2]
    return descendant.parent.joinpath("/proc", pid).exists()
