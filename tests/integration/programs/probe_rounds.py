"""Three recordings, each of two loops with half a second between them; the first loop stalls for 50 ms.

python -m tests.integration.programs.probe_rounds DIRECTORY
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import gilscope

ROUNDS = 3


async def stall() -> None:
    """One callback that blocks."""
    await asyncio.sleep(0.01)
    time.sleep(0.05)  # noqa: ASYNC251 - that is the stall
    await asyncio.sleep(0.01)


async def calm() -> None:
    """Nothing that stalls."""
    for _ in range(5):
        await asyncio.sleep(0.005)


def main(directory: str) -> None:
    """Record again and again."""
    for turn in range(ROUNDS):
        with gilscope.record(Path(directory, f"{turn}.gilscope")):
            asyncio.run(stall())
            time.sleep(0.5)
            asyncio.run(calm())


if __name__ == "__main__":
    main(*sys.argv[1:])
