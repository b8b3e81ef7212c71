"""What is asked about the GIL: gilscope, and other tools that can be asked on the same target.

Some run inside the target; py-spy and the kernel's uprobes run beside it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

    from typing_extensions import Self


class Tool:
    """Watches the target from inside, from `with` to its end. This one does not.

    What it tells is a dict of some of: `capture` (a path), `sightings` (see `Watchdog`), `waiting_share`.
    """

    def __init__(self, capture: Path | None) -> None:
        self._capture = capture

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """The loop runs."""

    def told(self) -> dict[str, Any]:
        """Return what it found, when it has ended."""
        return {}


class Gilscope(Tool):
    """A recording."""

    def __enter__(self) -> Self:
        import gilscope

        if self._capture is None:
            raise ValueError("expected --capture with this tool, got none")
        self._recording = gilscope.record(self._capture)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._recording.stop()

    def told(self) -> dict[str, Any]:
        """Return where the capture is."""
        return {"capture": str(self._capture)}


class VizTracer(Tool):
    """VizTracer with its default settings; what it finds is not saved."""

    def __enter__(self) -> Self:
        import viztracer

        self._tracer = viztracer.VizTracer(verbose=0)
        self._tracer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tracer.stop()


class Gilknocker(Tool):
    """gilknocker, asking for the GIL every millisecond."""

    def __enter__(self) -> Self:
        import gilknocker

        self._knocker = gilknocker.KnockKnock(1_000)
        self._knocker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._share = self._knocker.contention_metric
        self._knocker.stop()

    def told(self) -> dict[str, Any]:
        """Return its one number: the share of the time that its own thread waited for the GIL."""
        return {"waiting_share": self._share}


class Watchdog(Tool):
    """A thread that looks at all stacks whenever the loop has not answered for 10 ms, as many services have one.

    It is given more than such threads have: it knows the function in which the target's threads rest, and names a
    holder where just one other thread is not there. A sighting is when the loop should have answered, when it was
    looked at, and the threads named.
    """

    INTERVAL_S = 0.005
    LATE_NS = 10_000_000

    def __enter__(self) -> Self:
        self._sightings: list[tuple[int, int, list[int]]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watchdog")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """The loop's heart beats, and the thread listens."""
        self._loop_thread = threading.get_ident()

        def beat() -> None:
            self._beat_ns = time.monotonic_ns()
            if not self._ended.is_set():
                loop.call_later(self.INTERVAL_S, beat)

        beat()
        self._thread.start()

    def _look(self) -> None:
        while not self._ended.wait(self.INTERVAL_S):
            now_ns = time.monotonic_ns()
            due_ns = self._beat_ns + round(self.INTERVAL_S * 1e9)
            if now_ns - due_ns < self.LATE_NS:
                continue
            frames = sys._current_frames()
            busy = [
                thread.native_id or 0
                for thread in threading.enumerate()
                if thread.ident not in {None, threading.get_ident(), self._loop_thread}
                and (frame := frames.get(thread.ident or 0)) is not None
                and frame.f_code.co_name not in {"rest", "wait"}
            ]
            self._sightings.append((due_ns, now_ns, busy))

    def told(self) -> dict[str, Any]:
        """Return what it saw."""
        return {"sightings": self._sightings}


INSIDE: dict[str, type[Tool]] = {
    "nothing": Tool,
    "gilscope": Gilscope,
    "VizTracer": VizTracer,
    "gilknocker": Gilknocker,
    "watchdog": Watchdog,
}


_PY_SPY = Path(sys.executable).with_name("py-spy")


def py_spy_missing() -> str | None:
    """Return why there is no py-spy; None if it is there."""
    return None if _PY_SPY.exists() else "not installed"


class PySpy:
    """py-spy beside the target, asking for those stacks only that have the GIL.

    Attributes:
        held: samples by native thread id; there when the `with` has ended.
    """

    held: Counter[int]

    def __init__(self, pid: int, rate: int) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._file = Path(self._folder.name, "raw")
        options = ["--pid", str(pid), "--gil", "--threads", "--rate", str(rate), "--format", "raw"]
        self._process = subprocess.Popen(
            [_PY_SPY, "record", *options, "--output", self._file],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Self:
        said = b""
        for line in self._process.stdout or ():
            said += line
            if b"Sampling process" in line:
                return self
        self._process.wait()
        self._folder.cleanup()
        raise RuntimeError(f"py-spy did not start: {said.decode(errors='replace')}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.communicate()
        self.held = Counter()
        if self._file.exists():
            for line in self._file.read_text(errors="replace").splitlines():
                stack, _, samples = line.rpartition(" ")
                self.held[int(stack.partition("(")[2].partition(")")[0], 0)] += int(samples)
        self._folder.cleanup()
