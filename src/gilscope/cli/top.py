"""Shows a recording while it is made: how the loop lags, its last stalls, who has the GIL, what became of spans.

Of the last ten seconds; stalls of the last minute. A PID stands for the capture that this process writes. In a
terminal, where Textual is installed (pip install 'gilscope[top]'), there are keys: ? tells which.

For example:
  gilscope top app.gilscope
  gilscope top 4711 --once
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gilscope.capture import open_capture
from gilscope.cli.live import Live
from gilscope.cli.numbers import positive
from gilscope.cli.top_text import picture
from gilscope.errors import GilscopeError
from gilscope.probe.launch import SUFFIX

if TYPE_CHECKING:
    import argparse

_PROC = Path("/proc")
_CLEAR = "\x1b[H\x1b[2J"
_DEFAULT_INTERVAL_S = 1.0
_MOST_ROWS = 10
# Where there is no terminal to ask.
_SIZE = 120, 40
_INSTALL = "for keys, scrolling and dumps: pip install 'gilscope[top]'"


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
    """The recording has ended, was shown once, or the user has seen enough; returns 0."""
    name = arguments.capture
    path = capture_of(int(name)) if name.isdecimal() and not Path(name).exists() else Path(name)
    with open_capture(path) as capture:
        live = Live(capture)
        terminal = _is_terminal() and not arguments.once
        if terminal and find_spec("textual"):
            # Slow to load, and not always there.
            from gilscope.cli.top_screen import Screen

            screen = Screen(live, *locate(path), arguments.interval)
            screen.run(mouse=False)
            return screen.return_code or 0
        _follow(live, arguments, clear=_CLEAR if terminal else "")
    return 0


def _is_terminal() -> bool:
    """Return whether there is somebody to look, and to press keys."""
    # Textual reads from standard input and writes to standard error.
    terminal = sys.stdout.isatty() and os.isatty(0) and os.isatty(2)
    return terminal and os.environ.get("TERM", "dumb") != "dumb"


def _follow(live: Live, arguments: argparse.Namespace, *, clear: str) -> None:
    while True:
        live.read()
        width, _ = shutil.get_terminal_size(_SIZE)
        lines = [*picture(live, width, _MOST_ROWS).lines(_MOST_ROWS), *(["", _INSTALL] if clear else [])]
        sys.stdout.write(clear + "\n".join(lines) + "\n")
        if arguments.once or live.capture.end is not None:
            return
        sys.stdout.write("" if clear else "\n")
        sys.stdout.flush()
        time.sleep(arguments.interval)


def locate(path: Path) -> tuple[Path, Path]:
    """Return where a capture can be read for good, and a file beside which one may write what is cut out of it.

    What a process has open is gone from /proc when it ends. Where the file has no name here, for it is in another
    container or was removed, one writes into the current folder.
    """
    found = path.resolve()
    if found.exists() and found.samefile(path):
        return found, found
    return path, Path.cwd() / found.name.removesuffix(" (deleted)")


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
