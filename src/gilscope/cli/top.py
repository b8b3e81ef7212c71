"""Shows a recording while it is made: the loop's iterations, its last stalls, and who has the GIL.

Of the last ten seconds; stalls of the last minute. A PID stands for the capture that this process writes.

For example:
  gilscope top app.gilscope
  gilscope top 4711 --once
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gilscope.capture import open_capture
from gilscope.cli.live import Live
from gilscope.cli.numbers import positive
from gilscope.errors import GilscopeError
from gilscope.probe.launch import SUFFIX

if TYPE_CHECKING:
    import argparse

_PROC = Path("/proc")
_CLEAR = "\x1b[H\x1b[2J"
_DEFAULT_INTERVAL_S = 1.0


class NoCaptureError(GilscopeError):
    """The process writes no capture, or is not to be seen."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The parser knows the command's arguments."""
    parser.add_argument("capture", metavar="CAPTURE|PID", help="what `gilscope record` writes, or the process it runs")
    parser.add_argument("--once", action="store_true", help="show it once, and end")
    parser.add_argument(
        "--interval",
        metavar="S",
        type=positive,
        default=_DEFAULT_INTERVAL_S,
        help="show it anew every S seconds (default: %(default)g)",
    )


def run(arguments: argparse.Namespace) -> int:
    """The recording has ended, or was shown once; returns 0."""
    name = arguments.capture
    path = capture_of(int(name)) if name.isdecimal() and not Path(name).exists() else Path(name)
    clear = _CLEAR if sys.stdout.isatty() and not arguments.once else ""
    with open_capture(path) as capture:
        live = Live(capture)
        while True:
            while events := capture.poll():
                live.add(events)
            sys.stdout.write(clear + "\n".join(live.lines()) + "\n")
            if arguments.once or capture.end is not None:
                return 0
            sys.stdout.write("" if clear else "\n")
            sys.stdout.flush()
            time.sleep(arguments.interval)


def capture_of(pid: int) -> Path:
    """Return the capture that a process writes.

    Raises:
        NoCaptureError: it writes none, there is no such process, or it may not be looked at.
    """
    try:
        captures = [entry for entry in (_PROC / str(pid) / "fd").iterdir() if _is_capture(entry)]
    except FileNotFoundError:
        raise NoCaptureError(f"there is no process {pid}, and no file of this name") from None
    except PermissionError:
        raise NoCaptureError(
            f"process {pid} is another user's: run `sudo gilscope top {pid}`, or name the capture"
        ) from None
    if not captures:
        raise NoCaptureError(f"process {pid} writes no capture: start it with `gilscope record -- COMMAND`")
    # The open file and not its name, which means something else outside a container.
    return captures[0]


def _is_capture(descriptor: Path) -> bool:
    try:
        return descriptor.readlink().suffix == SUFFIX
    except FileNotFoundError:
        return False  # closed meanwhile
