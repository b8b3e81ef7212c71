"""The kernel's own record of every take and drop of the GIL: uprobes on take_gil and drop_gil of the interpreter.

    with Oracle(pid) as oracle:
        ...
    events = oracle.events

It needs root, tracefs, and an interpreter whose static functions are in its symbol table, or in that of its debug
package. The probes are in the file, so every process that runs this interpreter hits them, a microsecond or two each;
recorded is only the one asked for.

Source: Documentation/trace/uprobetracer.rst of Linux; Python/ceval_gil.h (3.10, 3.11), ceval_gil.c (3.12 to 3.15)
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import subprocess
import time
from collections import Counter
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Self

TAKE, TAKEN, DROP, SWITCHED, SLEPT = "take", "taken", "drop", "switched", "sched_switch"
"""take_gil is entered; it returns, with the GIL; drop_gil is entered; a wait for somebody else to take it returns; the
thread goes to sleep (the kernel's own event, here without those in which a thread only loses its core)."""
SIGNALLED = "signalled"
"""A condition is signalled: how drops are seen where the compiler has put drop_gil into its callers."""

_PLACES = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
# For each core. An event takes some 40 bytes, and a busy loop makes 200,000 a second.
_BUFFER_KB = 32 * 1024
_NAME = "gilscope_oracle_"
_LINE = re.compile(r"-(\d+) +\[\d+\] +(?:\S+ +)?(\d+)\.(\d{6}): (\w+):(?:.* condition=(\w+))?")
_FIRST_ARGUMENT = {"x86_64": "%di", "aarch64": "%x0"}
_DEBUG_FILES = Path("/usr/lib/debug/.build-id")


class OracleUnavailableError(RuntimeError):
    """This kernel, this user or this interpreter does not allow it; the message says which and why."""


class GilEvent(NamedTuple):
    """A thread came by one of the places; the clock is CLOCK_MONOTONIC, to the microsecond."""

    ns: int
    thread: int
    what: str


class Oracle:
    """Records what the threads of a process do with the GIL while the `with` lasts.

    Attributes:
        events: in order; there when the `with` has ended.
    """

    events: list[GilEvent]

    def __init__(self, pid: int) -> None:
        """Nothing is recorded yet.

        Args:
            pid: of a process that runs the same interpreter as this one.
        """
        self._pid = pid
        self._group = f"{_NAME}{os.getpid()}_{time.monotonic_ns()}"
        self._switches = [f"events/{self._group}/enable", f"events/sched/{SLEPT}/enable"]

    def __enter__(self) -> Self:
        """It records.

        Raises:
            OracleUnavailableError: it cannot be done here.
        """
        self._tracing = _tracing()
        probes = _probes()
        self._instance = self._tracing / "instances" / self._group
        _remove_leftovers(self._tracing)
        try:
            for name, (kind, path, offset, fetched) in probes.items():
                _append(self._tracing / "uprobe_events", f"{kind}:{self._group}/{name} {path}:{offset:#x} {fetched}")
            self._instance.mkdir()
            self._set("trace_clock", "mono")
            self._set("buffer_size_kb", str(_BUFFER_KB))
            self._set("options/event-fork", "1")  # threads that start later are recorded too
            self._set("set_event_pid", " ".join(task.name for task in Path(f"/proc/{self._pid}/task").iterdir()))
            self._set(f"events/sched/{SLEPT}/filter", "prev_state == 1")  # TASK_INTERRUPTIBLE
            for switch in self._switches:
                self._set(switch, "1")
        except OSError as error:
            self._remove()
            raise OracleUnavailableError(f"the kernel does not let us set uprobes: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            for switch in self._switches:
                self._set(switch, "0")
            if kind is None:
                self.events = self._read()
        finally:
            self._remove()

    def _read(self) -> list[GilEvent]:
        for stats in self._instance.glob("per_cpu/cpu*/stats"):
            lost = re.search(r"^(?:overrun|dropped events): [1-9].*", stats.read_text(), re.MULTILINE)
            if lost is not None:
                raise RuntimeError(f"the record has holes ({lost[0]}): ask for a shorter time")
        events: list[tuple[GilEvent, str | None]] = []
        with (self._instance / "trace").open() as lines:
            for line in lines:
                match = _LINE.search(line)
                if match is not None:
                    thread, seconds, micros, what, condition = match.groups()
                    ns = int(seconds) * 1_000_000_000 + int(micros) * 1_000
                    events.append((GilEvent(ns, int(thread), what), condition))
        return drops_told(events)

    def _set(self, file: str, value: str) -> None:
        (self._instance / file).write_text(value)

    def _remove(self) -> None:
        _remove(self._tracing, self._group)


def drops_told(events: Iterable[tuple[GilEvent, str | None]]) -> list[GilEvent]:
    """Return events, each signal to the GIL's condition as a drop, and without other signals.

    Whoever lets go of the GIL signals, and whoever takes it too, but to another condition and within take_gil: the
    GIL's is the one that is signalled most outside of it.

    Args:
        events: in order, each with the condition that is signalled, if one is.
    """
    events = list(events)
    taking: set[int] = set()
    outside: Counter[str] = Counter()
    for event, condition in events:
        if event.what == TAKE:
            taking.add(event.thread)
        elif event.what == TAKEN:
            taking.discard(event.thread)
        elif condition is not None and event.thread not in taking:
            outside[condition] += 1
    gil = next((condition for condition, _ in outside.most_common(1)), None)
    return [
        event._replace(what=DROP) if event.what == SIGNALLED else event
        for event, condition in events
        if event.what != SIGNALLED or condition == gil
    ]


@cache
def why_not() -> str | None:
    """Return why there can be no oracle here; None if there can."""
    try:
        with Oracle(os.getpid()):
            return None
    except OracleUnavailableError as error:
        return str(error)


def _tracing() -> Path:
    """Return where tracefs is mounted.

    Raises:
        OracleUnavailableError: nowhere, and we may not mount it.
    """
    if os.geteuid() != 0:
        raise OracleUnavailableError("uprobes need root")
    if not any((place / "uprobe_events").exists() for place in _PLACES):
        subprocess.run(
            ["mount", "-t", "tracefs", "nodev", str(_PLACES[0])],  # noqa: S607 - from the PATH, as a shell would
            capture_output=True,
            check=False,
        )
    for place in _PLACES:
        if (place / "uprobe_events").exists():
            return place
    raise OracleUnavailableError(f"this kernel has no uprobes, or no tracefs can be mounted at {_PLACES[0]}")


def _probes() -> dict[str, tuple[str, str, int, str]]:
    """Return for each event the kind of its probe (p at the entry, r at the return), file, offset and what to fetch.

    Raises:
        OracleUnavailableError: the interpreter's symbols are not to be had.
    """
    known = ctypes.cast(ctypes.pythonapi.PyEval_SaveThread, ctypes.c_void_p).value or 0
    path, _ = _in_file(known)
    symbols = _symbols(path) or _symbols(_debug_file(path))
    missing = [name for name in ("take_gil", "PyEval_SaveThread") if name not in symbols]
    if missing:
        raise OracleUnavailableError(
            f"{path} has no symbols {', '.join(missing)}: they are inlined, or it is stripped, without a debug package"
        )
    moved = known - symbols["PyEval_SaveThread"]
    take = _in_file(symbols["take_gil"] + moved)
    # drop_gil calls this when it was made to let go: it stays there until somebody else has taken the GIL.
    wait = _in_file(_in_libc("pthread_cond_wait"))
    if "drop_gil" in symbols:
        drop = (DROP, ("p", *_in_file(symbols["drop_gil"] + moved), ""))
    else:
        fetched = f"condition={_FIRST_ARGUMENT[platform.machine()]}"
        drop = (SIGNALLED, ("p", *_in_file(_in_libc("pthread_cond_signal")), fetched))
    return dict([(TAKE, ("p", *take, "")), (TAKEN, ("r", *take, "")), drop, (SWITCHED, ("r", *wait, ""))])


def _in_libc(function: str) -> int:
    return ctypes.cast(ctypes.CDLL(None)[function], ctypes.c_void_p).value or 0


def _in_file(address: int) -> tuple[str, int]:
    """Return which file is mapped at an address of this process, and the offset in the file."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, offset, _, _, *path = line.split(maxsplit=5)
        start, end = (int(number, 16) for number in span.split("-"))
        if start <= address < end and path:
            return path[0], address - start + int(offset, 16)
    raise OracleUnavailableError(f"no file is mapped at {address:#x}")


def _symbols(path: str) -> dict[str, int]:
    """Return the address of each function in a file, by its name in the source.

    Raises:
        OracleUnavailableError: there is no nm.
    """
    symbols: dict[str, int] = {}
    for line in _said("nm", "-P", path).splitlines():
        name, kind, *address = line.split()
        function, _, variant = name.partition(".")
        # take_gil.lto_priv.0 is the function, but .cold is another part of it. Of drop_gil, where there is a variant
        # for one of its callers, others have it inlined.
        if kind in {"t", "T"} and address and not name.endswith(".cold") and not (function == "drop_gil" and variant):
            symbols.setdefault(function, int(address[0], 16))
    return symbols


def _debug_file(path: str) -> str:
    """Return where a debug package has the symbols of a file that is stripped; it need not be there."""
    build_id = re.search(r"Build ID: (\w\w)(\w+)", _said("readelf", "-n", path))
    return str(_DEBUG_FILES / build_id[1] / f"{build_id[2]}.debug") if build_id else path


def _said(*command: str) -> str:
    """Return what a tool of binutils says of a file; nothing if it cannot read it.

    Raises:
        OracleUnavailableError: there is no such tool.
    """
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError as error:
        raise OracleUnavailableError(f"the interpreter's symbols are not told ({error}): install binutils") from error


def _append(file: Path, line: str) -> None:
    # Not open("a"), which seeks; and without O_APPEND all probes of others would go.
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


def _remove(tracing: Path, group: str) -> None:
    """Nothing is left of the probes of that group."""
    instance = tracing / "instances" / group
    with suppress(OSError):
        (instance / "events" / group / "enable").write_text("0")
    with suppress(OSError):
        instance.rmdir()
    for name in (TAKE, TAKEN, DROP, SIGNALLED, SWITCHED):
        with suppress(OSError):
            _append(tracing / "uprobe_events", f"-:{group}/{name}")


def _remove_leftovers(tracing: Path) -> None:
    """What killed processes left is gone: it would slow every process down until the next boot."""
    for instance in (tracing / "instances").glob(f"{_NAME}*"):
        pid = instance.name.removeprefix(_NAME).partition("_")[0]
        if not Path("/proc", pid).exists():
            _remove(tracing, instance.name)
