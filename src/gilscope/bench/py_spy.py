"""py-spy beside a server: pictures of a whole block, in a block of its own, since its pauses would be measured too."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

_RATE_HZ = "100"
_STOP_TIMEOUT_S = 20.0
NOT_INSTALLED = "py-spy is not installed: pip install py-spy"
_PICTURES = {
    "pyspy-gil.svg": ["--gil", "--format", "flamegraph"],
    "pyspy.svg": ["--format", "flamegraph"],
    "pyspy.speedscope.json": ["--format", "speedscope"],
}


class PySpy:
    """Records the server until the end of the `with`.

    Attributes:
        notes: what could not be recorded, and what to do about it.
    """

    def __init__(self, pid: int, folder: Path) -> None:
        self.notes: list[str] = []
        self._pid = pid
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        """It records."""
        for name, options in _PICTURES.items():
            command = [path_of_py_spy(), "record", "--pid", str(self._pid), "--threads", "--rate", _RATE_HZ]
            with suppress(FileNotFoundError):
                self._running[name] = subprocess.Popen(
                    [*command, *options, "--output", str(self._folder / name)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                )
        if not self._running:
            self.notes.append(NOT_INSTALLED)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """The pictures are written."""
        for process in self._running.values():
            process.send_signal(signal.SIGINT)
        for name, process in self._running.items():
            try:
                _, said = process.communicate(timeout=_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                _, said = process.communicate()
            if not (self._folder / name).exists():
                self.notes.append(why(said.decode(errors="replace").strip()))


def path_of_py_spy() -> str:
    """Return where py-spy is, or where it would be beside this Python."""
    return shutil.which("py-spy") or str(Path(sys.executable).with_name("py-spy"))


def why(said: str) -> str:
    """Return what py-spy complains of, with what to do about it."""
    if "ermission" in said:
        return (
            "py-spy may not look into the server: run as root, or sysctl kernel.yama.ptrace_scope=0, or in a container "
            "--cap-add SYS_PTRACE"
        )
    return f"py-spy recorded nothing: {said[-200:]}"
