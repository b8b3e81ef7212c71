"""A recorded loop that runs code of an unusual kind; prints what the capture should name.

python -m tests.integration.programs.probe_code CAPTURE deep|made|names|greenlets
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from importlib import import_module
from typing import Any

import gilscope


def block() -> None:
    """Stall."""
    time.sleep(0.03)


def deep() -> list[str]:
    """Block under 1000 frames."""

    def dive(depth: int) -> None:
        if depth:
            dive(depth - 1)
        else:
            block()

    sys.setrecursionlimit(3000)
    dive(1000)
    return ["block"]


def made() -> list[str]:
    """Block in code that is made for the purpose and thrown away, so that its address is used again."""
    names = [f"made_{number}" for number in range(200)]
    for name in names:
        inside: dict[str, Any] = {"sleep": time.sleep}
        exec(f"def {name}():\n    sleep(0.0015)\n{name}()", inside)  # noqa: S102
    return names


def names() -> list[str]:
    """Block in functions whose names and files are long, foreign, or not even text."""
    found = []
    for name, file in (
        ("l" * 10_000, "f" * 10_000),
        ("größe_ñ", "ümläut.py"),
        ("名前" * 300, "路径.py"),
        ("\U00010400\U00010428", "\U0001f40d.py"),
        ("plain", "<script>\x1b[31m\n\udcff.py"),
    ):
        inside: dict[str, Any] = {"sleep": time.sleep}
        exec(compile(f"def {name}():\n    sleep(0.03)\n", file, "exec"), inside)  # noqa: S102
        function = list(inside.values())[-1]
        function()
        found.append(function.__code__.co_name)
    return found


def greenlets() -> list[str]:
    """Switch between stacks, and block in one of them."""
    greenlet = import_module("greenlet")

    def there() -> None:
        for _ in range(2000):
            home.switch()
        block()

    home = greenlet.getcurrent()
    for _ in range(20):
        other = greenlet.greenlet(there)
        while not other.dead:
            other.switch()
    return ["block"]


def main(capture: str, how: str) -> None:
    """Run it in a loop."""
    (chosen,) = (one for one in (deep, made, names, greenlets) if one.__name__ == how)

    async def once() -> list[str]:
        await asyncio.sleep(0.01)
        return chosen()

    with gilscope.record(capture, sample_period_ms=0.5):
        found = asyncio.run(once())
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
