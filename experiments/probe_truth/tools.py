"""What is asked about the GIL: gilscope, and other tools that can be asked on the same target.

Some run inside the target; py-spy, CPython's own sampler and the kernel's uprobes run beside it.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from typing_extensions import Self


class Tool:
    """Watches the target from inside, from `with` to its end. This one does not.

    What it tells is a dict of some of: `capture` (a path), `sightings` (see `Watchdog`), `waiting_share`.

    Attributes:
        environment: what the target's process must have for it.
    """

    environment: Callable[[], dict[str, str]] = dict

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


class GilLoad(Tool):
    """gil_load with its default settings: it looks every 50 ms, on average, which threads wait for the GIL.

    It finds the GIL's mutex among those that the interpreter unlocks, for which it must be loaded before libc.
    """

    @staticmethod
    def environment() -> dict[str, str]:
        """It is preloaded."""
        import gil_load  # type: ignore[import-not-found]

        return {"LD_PRELOAD": gil_load.preload_path}

    def __enter__(self) -> Self:
        import gil_load

        self._gil_load = gil_load
        gil_load.init()
        gil_load.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # It is not stopped: `stop` waits for ever now and then.
        _, threads = self._gil_load.get()
        self._share = threads[threading.get_ident()]["wait"]

    def told(self) -> dict[str, Any]:
        """Return in what share of its looks the loop waited for the GIL."""
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
    "gil_load": GilLoad,
    "watchdog": Watchdog,
}


_PY_SPY = Path(sys.executable).with_name("py-spy")
_START_TIMEOUT_S = 10.0
_END_TIMEOUT_S = 30.0


def py_spy_missing() -> str | None:
    """Return why there is no py-spy; None if it is there."""
    return None if _PY_SPY.exists() else "not installed"


def sampler_missing() -> str | None:
    """Return why CPython has no sampler; None if it has."""
    return None if find_spec("profiling") is not None else "CPython has it since 3.15"


def _hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class PySpy:
    """py-spy beside the target, asking for those stacks only that have the GIL."""

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
        said, _ = self._process.communicate()
        self._held: Counter[int] = Counter()
        if self._file.exists():
            for line in self._file.read_text(errors="replace").splitlines():
                stack, _, samples = line.rpartition(" ")
                self._held[int(stack.partition("(")[2].partition(")")[0], 0)] += int(samples)
        counted = re.search(rb"Samples: (\d+) Errors: (\d+)", said)
        self._samples, self._errors = (int(count) for count in counted.groups()) if counted is not None else (0, 0)
        self._folder.cleanup()

    def told(self) -> dict[str, Any]:
        """Return how many of its samples had each thread with the GIL, and what part of all failed."""
        tried = self._samples + self._errors
        return {"held": self._held, "failed_share": self._errors / tried if tried else 0.0}


# THREAD_STATUS_HAS_GIL and THREAD_STATUS_GIL_REQUESTED. Source: Lib/profiling/sampling/constants.py of CPython 3.15
HAS_GIL, ASKS_FOR_GIL = 1 << 0, 1 << 3


class Sample(NamedTuple):
    """What CPython's sampler found of a thread, by CLOCK_MONOTONIC.

    Attributes:
        status: its flags, see `HAS_GIL` and `ASKS_FOR_GIL`.
        functions: the names of those on its stack.
    """

    ns: int
    thread: int
    status: int
    functions: frozenset[str]


class Sampler:
    """CPython's own sampler (`profiling.sampling`, PEP 799) beside the target, 1,000 times a second.

    It is asked for its own format, the only one that has the times of its samples. In the mode "gil" it looks at the
    thread that has the GIL alone; in the mode "wall", at all, and of each it knows whether it asks for the GIL.
    """

    RATE_HZ = 1000

    def __init__(self, pid: int, mode: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._file = Path(self._folder.name, "samples")
        options = ["--mode", mode, "--all-threads", "--sampling-rate", str(self.RATE_HZ)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "profiling.sampling", "attach", *options, "--binary", "-o", self._file, str(pid)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # SIGINT is how it ends, and what a shell starts in the background is deaf to that.
            preexec_fn=_hear_interrupts,  # noqa: PLW1509 - nothing here starts threads
        )

    def __enter__(self) -> Self:
        # It says nothing before its end, but makes its file when it begins.
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not self._file.exists():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                self._process.kill()
                said, _ = self._process.communicate()
                self._folder.cleanup()
                raise RuntimeError(f"profiling.sampling did not start: {said.decode(errors='replace')}")
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        from profiling.sampling.binary_reader import BinaryReader  # type: ignore[import-not-found]

        self._process.send_signal(signal.SIGINT)
        said, _ = self._process.communicate(timeout=_END_TIMEOUT_S)
        if self._process.returncode != 0:
            self._folder.cleanup()
            raise RuntimeError(f"profiling.sampling failed: {said.decode(errors='replace')}")
        self._samples: list[Sample] = []
        with self._folder, BinaryReader(str(self._file)) as reader:
            reader.replay_samples(self)
            self._failed_share = reader.get_info()["error_rate"] / 100

    def collect(self, interpreters: Iterable[Any], timestamps_us: list[int]) -> None:
        """Its reader has found the same for all these times."""
        for interpreter in interpreters:
            for thread in interpreter.threads:
                functions = frozenset(frame.funcname for frame in thread.frame_info)
                self._samples += (
                    Sample(time_us * 1000, thread.thread_id, thread.status, functions) for time_us in timestamps_us
                )

    def told(self) -> dict[str, Any]:
        """Return its samples, and what part of all failed."""
        return {"samples": self._samples, "failed_share": self._failed_share}
