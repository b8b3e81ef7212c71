"""What works on this machine and in this interpreter, one check for each thing that gilscope or its companions need."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from gilscope import probe
from gilscope.errors import GilscopeError
from gilscope.report.stacks import printable

if TYPE_CHECKING:
    from collections.abc import Callable

OK, NO, UNKNOWN = "ok", "no", "?"
_OLDEST, _NEWEST = (3, 10), (3, 14)
_MACHINES = ("x86_64", "aarch64")
_PROC = Path("/proc")
_TRACING = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
_CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
_CAP_SYS_PTRACE = 1 << 19
_SAME_USER, _CHILDREN_ONLY, _PRIVILEGED_ONLY = 0, 1, 2


@dataclass(frozen=True)
class Check:
    """One thing, and whether it works.

    Attributes:
        state: `ok`, `no`, or `?` where it cannot be found out.
        what: one line.
        next_step: what to do about it; empty where nothing is to be done.
        needed: `gilscope record` does not work without it.
    """

    state: str
    what: str
    next_step: str = ""
    needed: bool = False


def interpreter() -> Check:
    """Return whether the probe knows this Python."""
    implementation = platform.python_implementation()
    linkage = "shared libpython" if sysconfig.get_config_var("Py_ENABLE_SHARED") else "static build"
    what = f"{implementation} {platform.python_version()}, {linkage}, {sys.executable}"
    if implementation != "CPython":
        return Check(NO, what, "run the service with CPython: other interpreters have another GIL", needed=True)
    if sys.version_info[:2] < _OLDEST:
        return Check(NO, what, "use CPython 3.10 to 3.14: the probe does not know older ones", needed=True)
    if sys.version_info[:2] > _NEWEST:
        return Check(UNKNOWN, what, "newer than gilscope is tested with (3.10 to 3.14): what is below was tried")
    return Check(OK, what, needed=True)


def system() -> Check:
    """Return whether the probe runs on this system."""
    library, library_version = platform.libc_ver()
    what = f"{platform.system()} {platform.release()}, {platform.machine()}, {library or 'no glibc'} {library_version}"
    if platform.system() != "Linux" or library != "glibc" or platform.machine() not in _MACHINES:
        return Check(
            NO, what.rstrip(), "record on Linux with glibc (Debian, Ubuntu, RHEL), x86-64 or aarch64", needed=True
        )
    return Check(OK, what, needed=True)


def cores() -> Check:
    """Return whether there is more than one core for this process."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    what = f"{allowed} of {os.cpu_count()} cores for this process"
    if allowed > 1:
        return Check(OK, what)
    return Check(NO, what, "give the service two cores: on one, every other thread's work is the loop's delay")


def gil() -> Check:
    """Return whether waits for the GIL can be watched."""
    facts = probe.facts()
    if facts.native_error is not None:
        step = "install gilscope for this interpreter, from a wheel or with a C compiler"
        return Check(NO, f"the probe cannot be loaded: {facts.native_error}", step, needed=True)
    if facts.gil == "none":
        said = "loops are watched all the same; time off the CPU is told as unattributed, with its stack"
        return Check(OK, f"no GIL in this free-threaded build: {said}")
    if facts.gil == "unavailable":
        step = "loops are watched all the same; use a CPython from python.org, Docker, uv, conda or your distribution"
        return Check(NO, "waits for the GIL are not watched: this build has nothing to hook", step)
    return Check(OK, f"waits for the GIL are watched; switch interval {sys.getswitchinterval() * 1e3:g} ms")


def stacks() -> Check:
    """Return whether stacks can be sampled, which reads one's own memory by process_vm_readv."""
    facts = probe.facts()
    if facts.native_error is not None:
        return Check(UNKNOWN, "sampling of stacks: unknown without the probe", "see the line above")
    error = facts.memory_error
    if error is None:
        return Check(OK, "stacks of long holds and callbacks are sampled (process_vm_readv on oneself)")
    step = "allow process_vm_readv in the container's seccomp profile; Docker since 20.10 does"
    return Check(NO, f"stacks of long holds and callbacks are not sampled (process_vm_readv: {error})", step)


def loops() -> Check:
    """Return whether a recording, which is made, watches asyncio's and uvloop's polls."""
    installed = ["asyncio", *_uvloop_if_installed()]
    try:
        watched = _watched_by_a_recording()
    except GilscopeError as error:
        return Check(NO, f"nothing can be recorded: {error}", "see the lines above", needed=True)
    missing = [name for name in installed if name.split()[0] not in watched]
    if missing:
        step = "report it with the version of Python, and of uvloop, above"
        return Check(NO, f"iterations of {' and '.join(missing)} are not watched", step, needed=True)
    return Check(OK, f"iterations of {' and '.join(installed)} are watched", needed=True)


def attaching() -> Check:
    """Return whether a profiler like py-spy could attach to a running service of this user."""
    what = "attaching to other processes, as py-spy does (gilscope needs it not)"
    if _has_ptrace_capability():
        return Check(OK, f"{what}: CAP_SYS_PTRACE")
    allow = "docker run --cap-add SYS_PTRACE" if _in_container() else "sudo sysctl kernel.yama.ptrace_scope=0, or sudo"
    scope = _ptrace_scope()
    if scope is None:
        return Check(UNKNOWN, f"{what}: no kernel.yama.ptrace_scope here", f"if it fails: {allow}")
    if scope == _SAME_USER:
        return Check(OK, f"{what}: to those of the same user")
    if scope == _CHILDREN_ONLY:
        return Check(
            NO, f"{what}: ptrace_scope is 1, to own children only", f"start it with `py-spy record --`, or: {allow}"
        )
    if scope == _PRIVILEGED_ONLY:
        return Check(NO, f"{what}: ptrace_scope is 2, to root only", allow)
    return Check(NO, f"{what}: ptrace_scope is {scope}, never until the next boot", "set it to 0 and reboot")


def uprobes() -> Check:
    """Return whether kernel uprobes could be set, as perf and bpftrace do."""
    what = "kernel uprobes, for perf and bpftrace (gilscope needs them not)"
    for directory in _TRACING:
        events = directory / "uprobe_events"
        try:
            if events.exists():
                allowed = os.access(events, os.W_OK)
                return Check(OK, what) if allowed else Check(NO, what, "use them as root")
        except PermissionError:
            return Check(NO, f"{what}: {directory} is closed", "use them as root")
    return Check(UNKNOWN, f"{what}: tracefs is not mounted", "mount -t tracefs nodev /sys/kernel/tracing, as root")


CHECKS: tuple[Callable[[], Check], ...] = (
    interpreter,
    system,
    gil,
    stacks,
    loops,
    cores,
    attaching,
    uprobes,
)


def line(check: Check) -> str:
    """Return a check as a line, and its next step as another."""
    step = f"\n    -> {printable(check.next_step)}" if check.next_step else ""
    return f"{check.state:3} {printable(check.what)}{step}"


def _uvloop_if_installed() -> list[str]:
    try:
        return [f"uvloop {version('uvloop')}"]
    except PackageNotFoundError:
        return []


def _watched_by_a_recording() -> list[str]:
    # Hooks are set in what is loaded.
    for name in ("asyncio", "uvloop"):
        with suppress(ImportError):
            import_module(name)
    with tempfile.TemporaryDirectory() as directory, probe.record(Path(directory, "doctor.gilscope")) as recording:
        watched: list[str] = recording.stats()["loops"]
    return watched


def _has_ptrace_capability() -> bool:
    try:
        status = (_PROC / "self" / "status").read_text(encoding="utf-8")
    except OSError:
        return False
    masks = [text.split()[1] for text in status.splitlines() if text.startswith("CapEff:")]
    return bool(masks) and bool(int(masks[0], 16) & _CAP_SYS_PTRACE)


def _ptrace_scope() -> int | None:
    try:
        return int((_PROC / "sys/kernel/yama/ptrace_scope").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _in_container() -> bool:
    return any(mark.exists() for mark in _CONTAINER_MARKS)
