"""`gilscope top` in a real terminal of 80 x 24: what it writes there, and how it leaves it."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import contextmanager
from fcntl import ioctl
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests import capture_writer
from tests.capture_writer import CaptureWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MS = 1_000_000
DEADLINE_S = 30
LEAVE_FULL_SCREEN = b"\x1b[?1049l"
SHOW_CURSOR = b"\x1b[?25h"
# 30 to 37, 40 to 47, their bright ones, and 38 and 48 with what follows: all that set a colour.
COLOUR = re.compile(rb"\x1b\[(?:[\d;]*;)?(?:[34][0-8]|9[0-7]|10[0-7])[;m]")


class Terminal(NamedTuple):
    """A program in a terminal: its process, and the other side."""

    process: subprocess.Popen[bytes]
    other_side: int

    def read_until(self, expected: bytes | None) -> bytes:
        """Return what was written up to the expected, or to the end."""
        found = b""
        deadline = time.monotonic() + DEADLINE_S
        while expected is None or expected not in found:
            assert select.select([self.other_side], [], [], max(0, deadline - time.monotonic()))[0], found
            try:
                found += os.read(self.other_side, 65536)
            except OSError:  # the program has ended
                assert expected is None, found
                break
        return found


@contextmanager
def terminal(path: Path) -> Iterator[Terminal]:
    """`gilscope top` runs in a terminal; it does not outlive the block."""
    other_side, side = pty.openpty()
    ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "gilscope", "top", str(path)]
    environment = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": "1"}
    with subprocess.Popen(
        command, stdin=side, stdout=side, stderr=side, env=environment, start_new_session=True
    ) as process:
        os.close(side)
        try:
            yield Terminal(process, other_side)
        finally:
            process.kill()
            os.close(other_side)


@pytest.mark.parametrize("leave", [b"\x03", b"q", signal.SIGTERM], ids=["ctrl+c", "q", "SIGTERM"])
def test_terminal_is_as_it_was_when_the_view_is_left(leave: bytes | signal.Signals, tmp_path: Path) -> None:
    """With exit code 0, and without a colour where nobody wants one."""
    writer = CaptureWriter({"gil": "hooked", "argv": ["serve"]}).definitions(capture_writer.thread(1, "Main", loop=1))
    path = writer.events(capture_writer.event(3, 0, 1, 0, 30 * MS)).write(tmp_path / "app.gilscope")
    with terminal(path) as shown:
        begun = shown.read_until(b"q quit")
        if isinstance(leave, bytes):
            os.write(shown.other_side, leave)
        else:
            shown.process.send_signal(leave)
        ended = shown.read_until(None)
        code = shown.process.wait(DEADLINE_S)
    assert code == 0
    assert b"Main (asyncio)" in begun
    assert LEAVE_FULL_SCREEN in ended
    assert SHOW_CURSOR in ended
    assert COLOUR.findall(begun + ended) == []
