"""One server that is watched and left alone by turns: what a tool costs, though the speed of the machine changes."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

from experiments.probe_cost.closed_loop import load
from experiments.probe_cost.server import NOTHING

if TYPE_CHECKING:
    from experiments.spans.experiment import Figures
    from gilscope.bench.child import Child

_WARM_UP_S = 0.5
_ANSWER_TIMEOUT_S = 20.0


class _Turn(NamedTuple):
    steps_per_s: float
    step_cpu_ns: float


async def by_turns(server: Child, tool: str, *, connections: int, pairs: int, seconds: float) -> Figures:
    """Return the medians of the ratios, with the tool to without, of turns next to each other.

    Args:
        server: an `experiments.probe_cost.server`.
        tool: what watches it in one turn of a pair; which comes first is chance.
        connections: each has one request in flight, all the time.
        pairs: of turns.
        seconds: that a turn takes, and again half as long before it is measured.
    """
    # Twice what the turns take, for changing over takes time too; it is ended with them.
    turns_s = pairs * 2 * seconds * 1.5
    loading = asyncio.create_task(
        load(server.ready["port"], server.pid, connections=connections, warm_up_s=_WARM_UP_S, seconds=2 * turns_s)
    )
    await asyncio.sleep(2 * _WARM_UP_S)
    order = random.Random(server.pid)
    found: list[tuple[_Turn, _Turn]] = []
    for _ in range(pairs):
        if order.random() < 0.5:
            watched = await _turn(server, tool, seconds)
            found.append((watched, await _turn(server, NOTHING, seconds)))
        else:
            alone = await _turn(server, NOTHING, seconds)
            found.append((await _turn(server, tool, seconds), alone))
    loading.cancel()
    await asyncio.gather(loading, return_exceptions=True)
    return {
        "throughput_ratio": statistics.median(watched.steps_per_s / alone.steps_per_s for watched, alone in found),
        "cpu_ratio": statistics.median(watched.step_cpu_ns / alone.step_cpu_ns for watched, alone in found),
    }


async def _turn(server: Child, watched_by: str, seconds: float) -> _Turn:
    ask(server, watched_by)
    await asyncio.sleep(seconds / 2)
    before, begun_ns = ask(server, watched_by), time.monotonic_ns()
    await asyncio.sleep(seconds)
    after, ended_ns = ask(server, watched_by), time.monotonic_ns()
    # Of requests a tenth is under way at either end of a turn.
    steps = after["steps"] - before["steps"]
    return _Turn(steps / (ended_ns - begun_ns) * 1e9, (after["cpu_ns"] - before["cpu_ns"]) / steps)


def ask(server: Child, watched_by: str) -> dict[str, int]:
    """The server is watched by that; return what it has done so far."""
    server.write(watched_by)
    return server.read(_ANSWER_TIMEOUT_S)
