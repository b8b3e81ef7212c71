"""What the probe costs, added up from its parts: each can be measured to a few per cent, which their effect cannot.

A request's share of each: how often the server takes the GIL and how many iterations its loop makes for it, both from a
recording, times what hooks add to one (`experiments.probe_cost.hooks`); and the CPU time of the probe's threads, as the
kernel counts it. What their interrupts cost others, and what they put out of its caches, is in none of the parts.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from experiments.probe_cost.closed_loop import load
from experiments.probe_cost.server import ALWAYS_ON, NOTHING, RECORDING
from experiments.probe_cost.turns import ask
from gilscope.capture import EventKind, open_capture

if TYPE_CHECKING:
    from experiments.spans.experiment import Figures
    from gilscope.bench.child import Child

_WARM_UP_S = 1.0


class _Turn(NamedTuple):
    requests: int
    cpu_ns: int
    threads_ns: int


class _Counts(NamedTuple):
    takes: int
    iterations: int


async def account(
    server: Child, captures: Path, *, connections: int, seconds: float, pair_ns: float, iteration_ns: float
) -> Figures:
    """Return what the probe costs a request.

    Args:
        server: an `experiments.probe_cost.server` that nothing watches.
        captures: the folder that it records to.
        connections: each has one request in flight, all the time.
        seconds: for how long it is watched, and again recorded.
        pair_ns: added to letting go of the GIL and taking it again.
        iteration_ns: added to an iteration, in which the poll lets go of the GIL and takes it.
    """
    loading = asyncio.create_task(
        load(server.ready["port"], server.pid, connections=connections, warm_up_s=_WARM_UP_S, seconds=3 * seconds + 9)
    )
    await asyncio.sleep(2 * _WARM_UP_S)
    ask(server, NOTHING)
    watched = await _turn(server, ALWAYS_ON, seconds)
    recorded = await _turn(server, RECORDING, seconds)
    ask(server, NOTHING)
    loading.cancel()
    await asyncio.gather(loading, return_exceptions=True)
    counts = _count(captures)
    pairs, iterations = counts.takes / recorded.requests, counts.iterations / recorded.requests
    hooks_ns = max(pairs - iterations, 0.0) * pair_ns + iterations * iteration_ns
    return {
        "takes": pairs,
        "iterations": iterations,
        "hooks_us": hooks_ns / 1e3,
        "always_on_threads_us": watched.threads_ns / watched.requests / 1e3,
        "recording_threads_us": recorded.threads_ns / recorded.requests / 1e3,
        "always_on_accounted": _ratio(watched, hooks_ns),
        "recording_accounted": _ratio(recorded, hooks_ns),
    }


def _ratio(turn: _Turn, hooks_ns: float) -> float:
    cpu_ns = turn.cpu_ns / turn.requests
    return cpu_ns / (cpu_ns - hooks_ns - turn.threads_ns / turn.requests)


async def _turn(server: Child, tool: str, seconds: float) -> _Turn:
    before = ask(server, tool)
    await asyncio.sleep(seconds)
    threads_ns = _threads_ns(server.pid)
    after = ask(server, tool)
    return _Turn(after["requests"] - before["requests"], after["cpu_ns"] - before["cpu_ns"], threads_ns)


def _threads_ns(pid: int) -> int:
    """Return what the probe's threads have burnt since it began: the service itself has one thread, the main one."""
    tasks = (task for task in Path(f"/proc/{pid}/task").iterdir() if int(task.name) != pid)
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def _count(captures: Path) -> _Counts:
    (path,) = captures.iterdir()
    takes = iterations = 0
    with open_capture(path) as capture:
        for event in capture.events():
            takes += event.count if event.kind == EventKind.RUN else 0
            iterations += event.kind == EventKind.ITERATION
    return _Counts(takes, iterations)
