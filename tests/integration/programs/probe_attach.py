"""A program that is recorded again and again under load; prints as JSON what it has open and uses, early and late.

python -m tests.integration.programs.probe_attach CAPTURE TIMES
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gilscope
from tests.integration.programs.probe_load import load, spin


def used() -> dict[str, int]:
    """Return what this process uses."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "resident_kb": int(status["VmRSS"].split()[0]),
        "threads": int(status["Threads"]),
        "files": len(list(Path("/proc/self/fd").iterdir())),
    }


def main(capture: str, times: str) -> None:
    """Attach and detach."""
    with load():
        for time in range(int(times)):
            with gilscope.record(capture, force=True):
                spin(0.002)
            if time == int(times) // 4:
                early = used()
        late = used()
        with gilscope.record(capture, force=True):
            spin(0.2)
    print(json.dumps({"early": early, "late": late}))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
