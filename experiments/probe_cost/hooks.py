"""`python -m experiments.probe_cost.hooks`: what a recording adds to letting go of the GIL and taking it again.

Where nobody wants it meanwhile, which is so in all but a few of the 75,000 times a second that a busy loop does it.
"""

from __future__ import annotations

import argparse
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

import gilscope

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


def added_ns() -> float:
    """Return what a recording adds, from rounds with one and without by turns in this process."""
    let_go(_CALLS_OF_A_ROUND)
    differences: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(_ROUNDS):
            without_ns = _round_ns()
            with gilscope.record(Path(folder, f"{number}.gilscope")):
                with_ns = _round_ns()
            differences.append(with_ns - (without_ns + _round_ns()) / 2)
    return statistics.median(differences)


def _round_ns() -> float:
    begun_ns = time.thread_time_ns()
    let_go(_CALLS_OF_A_ROUND)
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
    parser.add_argument("--calls", type=int, help="let go so many times; without it, print the ns that are added")
    parser.add_argument("--recording", choices=["on", "off"], default="off")
    options = parser.parse_args()
    if options.calls is None:
        print(added_ns())
    elif options.recording == "off":
        let_go(options.calls)
    else:
        with tempfile.TemporaryDirectory() as folder, gilscope.record(Path(folder, "hooks.gilscope")):
            let_go(options.calls)


if __name__ == "__main__":
    main()
