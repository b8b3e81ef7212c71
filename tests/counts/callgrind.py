"""Counts what our own code takes for one span, or one take of the GIL: instructions, and calls into other code.

CPython's own instructions are left out: two attribute names that fall on one place of its method cache cost 20 % more,
and whether they do depends on addresses, so on the length of a path or of an environment variable.

`python -m tests.counts.callgrind` writes the counts of this machine's compiler and interpreter into stored.json: after
a change that was meant to cost what it costs.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from gilscope import _probe
from tests.counts import driver, encode_many

STORED = Path(__file__).with_name("stored.json")
TIMES = 1000
TIMEOUT_S = 100
_NAME = re.compile(r"\((\d+)\)(?: (.*))?")


class Count(NamedTuple):
    """What one span takes."""

    instructions: int
    calls: int


def environment() -> str:
    """Return what the counts depend on, beside our own source: interpreter, compiler, machine."""
    compiler = subprocess.run(
        [os.environ.get("CC", "gcc"), "-dumpfullversion"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return f"CPython {sys.version_info.major}.{sys.version_info.minor}, gcc {compiler}, {platform.machine()}"


def own_count(profile: str, module: str) -> Count:
    """Return the self cost of the module's functions in a profile, and how often they called into other objects.

    Source: valgrind manual, "Callgrind Format Specification"
    """
    names: dict[str, str] = {}

    def resolve(text: str) -> str:
        match = _NAME.fullmatch(text)
        if match is None:
            return text
        number, name = match.groups()
        return names.setdefault(number, name) if name else names[number]

    instructions = calls = pending = 0
    inside, callee = "", ""
    for line in profile.splitlines():
        key, _, value = line.partition("=")
        if key == "ob":
            inside = callee = resolve(value)
        elif key == "cob":
            callee = resolve(value)
        elif key == "calls":
            pending = int(value.split()[0])
        elif line[:1] in set("0123456789+-*"):
            ours = inside.endswith(module)
            if pending:  # the line after `calls` is the callee's cost
                calls += pending if ours and not callee.endswith(module) else 0
                pending, callee = 0, inside
            elif ours:
                instructions += int(line.split()[-1])
    return Count(instructions, calls)


TAKE = "a take of the GIL and its let-go"


def count() -> dict[str, Count]:
    """Return what one span of each kind takes, and one take of the GIL while the probe records.

    Raises:
        RuntimeError: callgrind failed; the message is its output.
    """
    module = driver.compiled()  # not under valgrind
    dumps = _dumps("driver_repeat", "tests.counts.encode_many", len(encode_many.SPANS))
    counts = dict(zip(encode_many.SPANS, (own_count(dump, module.name) for dump in dumps), strict=True))
    # The hook's own thread is the only one that runs it; recorder and sampler are not counted.
    (dump,) = _dumps("on_signal", "tests.counts.take_many", 0)
    counts[TAKE] = own_count(dump, Path(_probe.__file__).name)
    return {name: Count(total.instructions // TIMES, total.calls // TIMES) for name, total in counts.items()}


def _dumps(counted: str, program: str, parts: int) -> list[str]:
    """Return the profiles of what a function did in a program: one for each of its calls, or one for all if parts is 0.

    Nothing else is counted, so the interpreter's start does not matter.
    """
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder, "profile")
        result = subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                f"--toggle-collect={counted}",
                *([f"--dump-after={counted}"] if parts else []),
                f"--callgrind-out-file={profile}",
                sys.executable,
                "-m",
                program,
                str(TIMES),
            ],
            cwd=driver.ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        dumps = [Path(f"{profile}.{number}") for number in range(1, parts + 1)] if parts else [profile]
        if result.returncode != 0 or not all(dump.exists() for dump in dumps):
            raise RuntimeError(f"callgrind ended with {result.returncode}:\n{result.stderr}")
        return [dump.read_text() for dump in dumps]


def stored() -> dict[str, dict[str, Count]]:
    """Return the counts that are kept, by environment."""
    kept: dict[str, dict[str, list[int]]] = json.loads(STORED.read_text(encoding="utf-8"))
    return {where: {name: Count(*numbers) for name, numbers in counts.items()} for where, counts in kept.items()}


if __name__ == "__main__":
    kept = stored() if STORED.exists() else {}
    kept[environment()] = count()
    STORED.write_text(json.dumps(kept, indent=4, sort_keys=True) + "\n", encoding="utf-8")
