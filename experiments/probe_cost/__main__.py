"""`python -m experiments.probe_cost`: see README.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from experiments.probe.experiment import ProbeExperiment, main, needs
from experiments.probe_cost import hooks
from experiments.probe_cost.accounted import account
from experiments.probe_cost.closed_loop import load
from experiments.probe_cost.server import ALWAYS_ON, NOTHING, RECORDING
from experiments.probe_cost.turns import by_turns
from experiments.probe_truth.tools import PySpy, py_spy_missing
from experiments.spans.experiment import ROOT, Metric, Target
from experiments.spans.process import Cores
from gilscope.bench.child import Child

if TYPE_CHECKING:
    from collections.abc import Iterator

    from experiments.spans.experiment import Figures, Sizes

PY_SPY, VIZTRACER = "py-spy, 100 Hz", "VizTracer"
CONTENDED = ", contended"
HOOKS = "gilscope, hooks alone"
ACCOUNTED = "gilscope, accounted"
TURNS = ", by turns"
_START_TIMEOUT_S = 30.0


def block(arm: str, sizes: Sizes) -> Figures:
    """Return what one arm costs."""
    if arm == HOOKS:
        return hooks_alone()
    if arm == ACCOUNTED:
        return accounted(sizes)
    return turned(arm.removesuffix(TURNS), sizes) if arm.endswith(TURNS) else loaded(arm, sizes)


def hooks_alone() -> Figures:
    """Return what letting go of the GIL and taking it again costs more."""
    figures = hook_times()
    if hooks.counting_missing() is None:
        figures["added_instructions"] = hooks.added_instructions()
    return figures


def hook_times() -> Figures:
    """Return what `experiments.probe_cost.hooks` measures, in a process of its own."""
    printed = subprocess.run(
        [sys.executable, "-m", hooks.__name__], cwd=ROOT, stdout=subprocess.PIPE, timeout=_START_TIMEOUT_S, check=True
    ).stdout
    figures: Figures = json.loads(printed)
    return figures


@contextmanager
def serving(tool: str, *options: str) -> Iterator[tuple[Child, Path]]:
    """A fresh server on a core of its own, and the folder that it records to; this process is on another core."""
    cores = Cores.choose()
    allowed = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as folder:
        capture = str(Path(folder, "server.gilscope"))
        server = Child(
            "experiments.probe_cost.server",
            ["--tool", tool, "--capture", capture, "--core", str(cores.tested), *options],
            timeout_s=_START_TIMEOUT_S,
        )
        try:
            os.sched_setaffinity(0, {cores.others})
            yield server, Path(folder)
        finally:
            os.sched_setaffinity(0, allowed)
            server.stop()


def accounted(sizes: Sizes) -> Figures:
    """Add up what the probe costs a request of a server that is loaded as much as it can bear."""
    times = hook_times()
    with serving(NOTHING) as (server, captures):
        return uvloop.run(
            account(
                server,
                captures,
                connections=int(sizes["connections"]),
                seconds=sizes["seconds"],
                pair_ns=times["added_ns"],
                iteration_ns=times["added_iteration_ns"],
            )
        )


def turned(arm: str, sizes: Sizes) -> Figures:
    """Watch and leave alone, by turns, a server that is loaded as much as it can bear."""
    tool = arm.removesuffix(CONTENDED)
    with serving(NOTHING, *([] if tool == arm else ["--contended"])) as (server, _):
        return uvloop.run(
            by_turns(
                server,
                tool,
                connections=int(sizes["connections"]),
                pairs=int(sizes["pairs"]),
                seconds=sizes["turn"],
            )
        )


def loaded(arm: str, sizes: Sizes) -> Figures:
    """Load a fresh server, watched by a tool, as much as it can bear."""
    with (
        serving(NOTHING if arm == PY_SPY else arm) as (server, _),
        PySpy(server.pid, 100) if arm == PY_SPY else nullcontext(),
    ):
        answered = uvloop.run(
            load(
                server.ready["port"],
                server.pid,
                connections=int(sizes["connections"]),
                warm_up_s=sizes["warm_up"],
                seconds=sizes["seconds"],
            )
        )
    requests = len(answered.latencies_ns)
    return {
        "requests_per_s": requests / answered.seconds,
        "p99_ms": answered.latencies_ns[requests * 99 // 100] / 1e6,
        "busy": answered.cpu_ns / answered.seconds / 1e7,
        "cpu_us": answered.cpu_ns / requests / 1e3,
    }


EXPERIMENT = ProbeExperiment(
    name="probe_cost",
    question="What does the probe cost a FastAPI service that is busy all the time?",
    arms={
        NOTHING: lambda: None,
        ALWAYS_ON: partial(needs, "gilscope._probe"),
        RECORDING: partial(needs, "gilscope._probe"),
        PY_SPY: py_spy_missing,
        VIZTRACER: partial(needs, "viztracer"),
        NOTHING + TURNS: lambda: None,
        ALWAYS_ON + TURNS: partial(needs, "gilscope._probe"),
        RECORDING + TURNS: partial(needs, "gilscope._probe"),
        ALWAYS_ON + CONTENDED + TURNS: partial(needs, "gilscope._probe"),
        RECORDING + CONTENDED + TURNS: partial(needs, "gilscope._probe"),
        HOOKS: partial(needs, "gilscope._probe"),
        ACCOUNTED: partial(needs, "gilscope._probe"),
    },
    metrics=(
        Metric("requests_per_s", "throughput", "requests/s"),
        Metric("p99_ms", "latency p99", "ms"),
        Metric("cpu_us", "CPU of the server", "us a request"),
        Metric("busy", "its core busy", "%"),
    ),
    details=(
        Metric("throughput_ratio", "throughput with it, to that without", ""),
        Metric("cpu_ratio", "CPU time of a request with it, to that without", ""),
        Metric("added_ns", "added to a drop and take", "ns"),
        Metric("added_instructions", "added to a drop and take", "instructions"),
        Metric("added_iteration_ns", "added to an iteration", "ns"),
        Metric("takes", "takes of the GIL", "a request"),
        Metric("iterations", "iterations of the loop", "a request"),
        Metric("hooks_us", "in hooks", "us a request"),
        Metric("always_on_threads_us", "in the probe's threads, always on", "us a request"),
        Metric("recording_threads_us", "in the probe's threads, recording", "us a request"),
        Metric("always_on_accounted", "CPU time with it, to that without, always on", ""),
        Metric("recording_accounted", "CPU time with it, to that without, recording", ""),
    ),
    targets=(
        Target("CPU time of a request, added up, always on", "always_on_accounted", ACCOUNTED, 1.01),
        Target("CPU time of a request, added up, recording", "recording_accounted", ACCOUNTED, 1.03),
        Target("throughput, always on", "throughput_ratio", ALWAYS_ON + TURNS, 0.99, "more"),
        Target("throughput, recording", "throughput_ratio", RECORDING + TURNS, 0.97, "more"),
        Target("CPU time of a request, always on", "cpu_ratio", ALWAYS_ON + TURNS, 1.01),
        Target("CPU time of a request, recording", "cpu_ratio", RECORDING + TURNS, 1.03),
        Target("throughput, always on, contended", "throughput_ratio", ALWAYS_ON + CONTENDED + TURNS, 0.99, "more"),
        Target("throughput, recording, contended", "throughput_ratio", RECORDING + CONTENDED + TURNS, 0.97, "more"),
        # What throughput by turns would be without a probe: how far the machine lets us see.
        Target("throughput, nothing by turns with nothing", "throughput_ratio", NOTHING + TURNS, 0.9, "more"),
        Target("added to letting go of the GIL and taking it again", "added_ns", HOOKS, 100.0),
        Target("the same", "added_instructions", HOOKS, 250.0),
    ),
    block=block,
    full={"blocks": 5, "seconds": 3.0, "warm_up": 0.5, "connections": 256, "pairs": 50, "turn": 0.3},
    tiny={"blocks": 1, "seconds": 0.5, "warm_up": 0.1, "connections": 64, "pairs": 2, "turn": 0.1},
    packages=("fastapi", "uvicorn", "uvloop", "py-spy", "viztracer", "gilscope"),
    placed="the server on one core, load and py-spy on another",
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
