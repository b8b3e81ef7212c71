"""Counts the instructions that encoding one span takes, and keeps what they were.

`python -m tests.counts.callgrind` writes the counts of this machine's compiler and interpreter into stored.json: after a
change that was meant to cost what it costs.
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

from tests.counts import driver, encode_many

STORED = Path(__file__).with_name("stored.json")
TIMES = 1000
TIMEOUT_S = 100
_TOTAL = re.compile(r"^totals: (\d+)$", re.MULTILINE)


def environment() -> str:
    """Return what the counts depend on, beside our own source: interpreter, compiler, machine."""
    compiler = subprocess.run(
        [os.environ.get("CC", "gcc"), "-dumpfullversion"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return f"CPython {platform.python_version()}, gcc {compiler}, {platform.machine()}"


def count() -> dict[str, int]:
    """Return the instructions for one span of each kind, CPython's own included.

    Raises:
        RuntimeError: callgrind failed; the message is its output.
    """
    driver.compiled()  # not under valgrind
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder, "profile")
        result = subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                # Nothing else is counted, so the interpreter's start does not matter; one dump for each call.
                "--toggle-collect=driver_repeat",
                "--dump-after=driver_repeat",
                f"--callgrind-out-file={profile}",
                sys.executable,
                "-m",
                "tests.counts.encode_many",
                str(TIMES),
            ],
            cwd=driver.ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        dumps = [Path(f"{profile}.{number}") for number in range(1, len(encode_many.SPANS) + 1)]
        if result.returncode != 0 or not all(dump.exists() for dump in dumps):
            raise RuntimeError(f"callgrind ended with {result.returncode}:\n{result.stderr}")
        totals = [_TOTAL.search(dump.read_text()) for dump in dumps]
    return {
        name: int(total.group(1)) // TIMES for name, total in zip(encode_many.SPANS, totals, strict=True) if total
    }


def stored() -> dict[str, dict[str, int]]:
    """Return the counts that are kept, by environment."""
    counts: dict[str, dict[str, int]] = json.loads(STORED.read_text(encoding="utf-8"))
    return counts


if __name__ == "__main__":
    kept = stored() if STORED.exists() else {}
    kept[environment()] = count()
    STORED.write_text(json.dumps(kept, indent=4, sort_keys=True) + "\n", encoding="utf-8")
