"""`gilscope doctor`: what is said of each machine, with the next step."""

from __future__ import annotations

import os
import platform
import sys
from typing import TYPE_CHECKING

import pytest

from gilscope import cli, probe
from gilscope.cli import checks
from gilscope.errors import ProbeError
from gilscope.probe import Facts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WORKS = Facts(gil="hooked", memory_error=None, native_error=None)


def facts(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    """Let the probe say what is given, and else that everything works."""
    stated = Facts(**{**vars(WORKS), **changes})
    monkeypatch.setattr(probe, "facts", lambda: stated)


@pytest.mark.parametrize(
    ("said", "state", "expected", "needed"),
    [
        ({}, checks.OK, "switch interval 5 ms", False),
        ({"gil": "none"}, checks.OK, "no GIL", False),
        ({"gil": "unavailable"}, checks.NO, "not watched", False),
        ({"gil": "unavailable", "native_error": "no such file"}, checks.NO, "no such file", True),
    ],
)
def test_gil_check_says_what_the_hooks_found(
    said: dict[str, str], state: str, expected: str, needed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GIL to watch, loops are recorded all the same; without the native module nothing is."""
    facts(monkeypatch, **said)
    check = checks.gil()
    assert (check.state, check.needed) == (state, needed)
    assert expected in check.what
    assert bool(check.next_step) == (state == checks.NO)


def test_stacks_check_names_what_forbids_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's seccomp profile, most likely."""
    facts(monkeypatch)
    assert checks.stacks().state == checks.OK
    facts(monkeypatch, memory_error="Operation not permitted")
    check = checks.stacks()
    assert (check.state, "Operation not permitted" in check.what) == (checks.NO, True)
    assert "seccomp" in check.next_step
    facts(monkeypatch, native_error="not built")
    assert checks.stacks().state == checks.UNKNOWN


def test_loops_check_tells_of_each_that_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each loop that is installed must be among those of a recording."""
    monkeypatch.setattr(checks, "_uvloop_if_installed", lambda: ["uvloop 1.0"])
    monkeypatch.setattr(checks, "_watched_by_a_recording", lambda: ["asyncio", "uvloop"])
    assert (checks.loops().state, checks.loops().what) == (
        checks.OK,
        "iterations of asyncio and uvloop 1.0 are watched",
    )
    monkeypatch.setattr(checks, "_watched_by_a_recording", lambda: ["asyncio"])
    assert (checks.loops().state, checks.loops().what) == (checks.NO, "iterations of uvloop 1.0 are not watched")


def test_recording_that_cannot_be_made_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1: `gilscope record` would not work either."""

    def refuse() -> list[str]:
        raise ProbeError("the disk is full")

    facts(monkeypatch)
    monkeypatch.setattr(checks, "_watched_by_a_recording", refuse)
    assert cli.main(["doctor"]) == 1
    assert "no  nothing can be recorded: the disk is full\n    -> " in capsys.readouterr().out


def test_every_line_has_a_state_and_works_where_all_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`ok`, `no` or `?` first; steps are below their lines, and exit code 0."""
    facts(monkeypatch)
    monkeypatch.setattr(checks, "_watched_by_a_recording", lambda: ["asyncio", "uvloop"])
    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if not line.startswith("    -> ")]) == len(checks.CHECKS)
    assert [line for line in lines if not line.startswith(("ok  ", "no  ", "?   ", "    -> "))] == []


@pytest.mark.parametrize(
    ("scope", "capability", "container", "state", "step"),
    [
        (None, True, False, checks.OK, ""),
        ("3", True, False, checks.OK, ""),
        ("0", False, False, checks.OK, ""),
        ("1", False, False, checks.NO, "py-spy record --"),
        ("1", False, True, checks.NO, "--cap-add SYS_PTRACE"),
        ("2", False, False, checks.NO, "ptrace_scope=0"),
        ("3", False, False, checks.NO, "reboot"),
        (None, False, True, checks.UNKNOWN, "--cap-add SYS_PTRACE"),
        ("odd", False, False, checks.UNKNOWN, "ptrace_scope=0"),
    ],
)
def test_attaching_check_follows_ptrace_scope_and_capability(
    scope: str | None,
    capability: bool,
    container: bool,
    state: str,
    step: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And in a container the step is the container's."""
    (tmp_path / "self").mkdir()
    mask = 1 << 19 if capability else (1 << 19) - 1
    (tmp_path / "self" / "status").write_text(f"CapInh:\t0000\nCapEff:\t{mask:016x}\n")
    if scope is not None:
        (tmp_path / "sys/kernel/yama").mkdir(parents=True)
        (tmp_path / "sys/kernel/yama/ptrace_scope").write_text(f"{scope}\n")
    monkeypatch.setattr(checks, "_PROC", tmp_path)
    monkeypatch.setattr(checks, "_CONTAINER_MARKS", (tmp_path,) if container else ())
    check = checks.attaching()
    assert check.state == state
    assert step in check.next_step
    assert bool(step) == bool(check.next_step)


def test_uprobes_check_finds_tracefs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is mounted and may be written, perf can set probes."""
    monkeypatch.setattr(checks, "_TRACING", (tmp_path / "no", tmp_path))
    assert checks.uprobes().state == checks.UNKNOWN
    (tmp_path / "uprobe_events").touch()
    assert checks.uprobes().state == checks.OK
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert checks.uprobes() == checks.Check(checks.NO, checks.uprobes().what, "use them as root")


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("system", "Darwin", checks.system),
        ("machine", "riscv64", checks.system),
        ("libc_ver", ("", ""), checks.system),
        ("python_implementation", "PyPy", checks.interpreter),
    ],
)
def test_platform_that_the_probe_does_not_know_is_refused(
    name: str, value: object, check: Callable[[], checks.Check], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to use instead."""
    assert check().state != checks.NO
    monkeypatch.setattr(platform, name, lambda: value)
    found = check()
    assert (found.state, found.needed, bool(found.next_step)) == (checks.NO, True, True)


@pytest.mark.parametrize(("version", "state"), [((3, 9, 0), checks.NO), ((3, 15, 0), checks.UNKNOWN)])
def test_python_that_is_not_tested_with_is_told(
    version: tuple[int, int, int], state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older ones cannot work; of newer ones, the checks that try things out say more."""
    monkeypatch.setattr(sys, "version_info", version)
    assert checks.interpreter().state == state


def test_single_core_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """For on one core every other thread delays the loop."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert checks.cores().state == checks.NO
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert checks.cores().state == checks.OK
