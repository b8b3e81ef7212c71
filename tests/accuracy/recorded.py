"""Runs a program that records itself, and reads its capture."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gilscope import probe
from gilscope.analysis import analyse
from gilscope.capture import Event, EventKind, Stack, Thread, open_capture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gilscope.analysis import Analysis
    from gilscope.analysis.model import StackTime, Stall

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 110.0
MS = 1_000_000
needs_probe = pytest.mark.skipif(importlib.util.find_spec("gilscope._probe") is None, reason="the probe is not built")
HAS_GIL = probe.facts().gil != "none"
needs_gil = pytest.mark.skipif(not HAS_GIL, reason="takes of the GIL tell this, and this free-threaded build has none")
LOOPS = [
    "asyncio",
    pytest.param(
        "uvloop",
        marks=pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="uvloop is not installed"),
    ),
]


@dataclass(frozen=True)
class Recorded:
    """What a program said of itself, and what the probe did."""

    said: Any
    events: list[Event]
    threads: Mapping[int, Thread]
    stacks: Mapping[int, Stack]
    metadata: Mapping[str, Any]
    end: Mapping[str, Any] | None
    problems: list[str]
    analysis: Analysis

    def of(self, kind: EventKind, thread: int | None = None) -> list[Event]:
        """Return the events of a kind, of all threads or of one."""
        return [event for event in self.events if event.kind == kind and thread in {None, event.thread}]

    def innermost(self, kind: EventKind) -> list[str]:
        """Return the names of the innermost functions in the stacks of a kind's events, in order."""
        stacks = [self.stacks[event.stack].frames for event in self.of(kind)]
        return [frames[0].code.name for frames in stacks if frames]


def asleep(stall: Stall) -> tuple[int, Sequence[StackTime]]:
    """Return for how long a loop was blocked in a stall, and where.

    That a thread comes back to the GIL tells that it was blocked. On a free-threaded build this time is unattributed:
    how long it is, and the samples' stacks, are known all the same.
    """
    return (stall.parts.blocked_ns, stall.blocked) if HAS_GIL else (stall.parts.unattributed_ns, stall.stopped)


def read(path: Path, said: Any = None) -> Recorded:
    """Return all that is in a capture."""
    with open_capture(path) as capture:
        events = list(capture.events())
        found = analyse(capture)
        return Recorded(
            said, events, capture.threads, capture.stacks, capture.metadata, capture.end, capture.problems, found
        )


def read_whole(path: Path, said: Any = None) -> Recorded:
    """Return all that is in a capture that was stopped in order; nothing of it was lost."""
    found = read(path, said)
    assert found.end is not None
    assert not found.problems
    assert not any(found.end["lost"].values())
    return found


def run(module: str, *arguments: object, options: tuple[str, ...] = (), code: int = 0, quiet: bool = True) -> Any:
    """Return what a program prints, as JSON; it ends with the exit code expected, and is quiet on standard error."""
    command = [sys.executable, "-X", "faulthandler", *options, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == code, done.stderr
    assert not (quiet and done.stderr), done.stderr
    return json.loads(done.stdout or "null")


def recorded(directory: Path, program: str, loop: str = "asyncio", *arguments: object) -> Recorded:
    """Return what became of a program in tests.accuracy.programs."""
    path = directory / "app.gilscope"
    said = run("tests.accuracy.programs", program, loop, path, *arguments)
    return read_whole(path, said)
