"""`python -m experiments.probe_cost.hooks`: what a recording adds to letting go of the GIL and taking it again.

Where nobody wants it meanwhile, which is so in all but a few of the 75,000 times a second that a busy loop does it. And
what it adds to an iteration of a loop, in which its poll does the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable

_ROOT = Path(__file__).resolve().parents[2]
_ROUNDS = 15
_CALLS_OF_A_ROUND = 20_000
# The interpreter's start lets go of the GIL too: the difference between two numbers of calls is without it.
_FEW, _MANY = 1_000, 6_000
_TIMEOUT_S = 120


def let_go(times: int) -> None:
    """The GIL has been let go of and taken so many times."""
    with Path(os.devnull).open("rb", buffering=0) as file:
        number, seek = file.fileno(), os.lseek
        for _ in range(times):
            seek(number, 0, os.SEEK_CUR)


def iterate(times: int) -> None:
    """A loop of uvloop's has made so many iterations, each with a callback that does nothing."""

    async def turn() -> None:
        for _ in range(times):
            await asyncio.sleep(0)

    uvloop.run(turn())


def added_ns(work: Callable[[int], None]) -> float:
    """Return what a recording adds to one piece of work, from rounds with one and without by turns in this process."""
    work(_CALLS_OF_A_ROUND)
    differences: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(_ROUNDS):
            without_ns = _round_ns(work)
            with gilscope.record(Path(folder, f"{number}.gilscope")):
                with_ns = _round_ns(work)
            differences.append(with_ns - (without_ns + _round_ns(work)) / 2)
    return statistics.median(differences)


def _round_ns(work: Callable[[int], None]) -> float:
    begun_ns = time.thread_time_ns()
    work(_CALLS_OF_A_ROUND)
    return (time.thread_time_ns() - begun_ns) / _CALLS_OF_A_ROUND


@cache
def added_instructions() -> float:
    """Return the same in instructions, exactly, as callgrind counts them.

    Raises:
        RuntimeError: callgrind failed; the message is its output.
    """
    return (_counted(_MANY, "on") - _counted(_FEW, "on") - _counted(_MANY, "off") + _counted(_FEW, "off")) / (
        _MANY - _FEW
    )


def counting_missing() -> str | None:
    """Return why instructions cannot be counted; None if they can."""
    return None if shutil.which("valgrind") else "valgrind is not installed"


def _counted(calls: int, recording: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [  # noqa: S607 - from the PATH, as a shell would
                "valgrind",
                "--tool=callgrind",
                # These two and what they call, hooks included.
                "--toggle-collect=PyEval_SaveThread",
                "--toggle-collect=PyEval_RestoreThread",
                f"--callgrind-out-file={folder}/profile",
                sys.executable,
                "-m",
                "experiments.probe_cost.hooks",
                "--calls",
                str(calls),
                "--recording",
                recording,
            ],
            cwd=_ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or found is None:
        raise RuntimeError(f"callgrind ended with {done.returncode}: {done.stderr[-2000:]}")
    return int(found[1])


def main() -> None:
    """Let go of the GIL as often as asked, with a recording or without."""
    parser = argparse.ArgumentParser(prog="python -m experiments.probe_cost.hooks", description=__doc__)
    parser.add_argument("--calls", type=int, help="let go so many times, or print what is added, in JSON")
    parser.add_argument("--recording", choices=["on", "off"], default="off")
    options = parser.parse_args()
    if options.calls is None:
        print(json.dumps({"added_ns": added_ns(let_go), "added_iteration_ns": added_ns(iterate)}))
    elif options.recording == "off":
        let_go(options.calls)
    else:
        with tempfile.TemporaryDirectory() as folder, gilscope.record(Path(folder, "hooks.gilscope")):
            let_go(options.calls)


if __name__ == "__main__":
    main()
