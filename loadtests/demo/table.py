"""How the results are told: a table, one sentence, how it was measured, or JSON."""

from __future__ import annotations

import dataclasses
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtests.apps.chat import SPANS_PER_REQUEST
from loadtests.demo.arms import Arm
from loadtests.demo.instruments import LAG_INTERVAL_NS, SAMPLE_EVERY
from loadtests.demo.plan import BLOCKS_PER_ARM

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from loadtests.demo.plan import Plan
    from loadtests.demo.results import ArmResult, Block

COLUMNS = (Arm.NONE, Arm.STOCK, Arm.NATIVE)
_LABEL_WIDTH = 44
_COLUMN_WIDTH = 21
# Below this, two lags of the same machine differ by chance.
_CLEARLY = 1.25


def table(results: Mapping[Arm, ArmResult]) -> str:
    """Return the table, a column for each arm."""

    def row(label: str, cell: Callable[[ArmResult], str], *, exporting: bool = False) -> str:
        cells = ["-" if exporting and arm is Arm.NONE else cell(results[arm]) for arm in COLUMNS]
        return label.ljust(_LABEL_WIDTH) + "".join(text.rjust(_COLUMN_WIDTH) for text in cells)

    return "\n".join(
        [
            " " * _LABEL_WIDTH + "".join(arm.label.rjust(_COLUMN_WIDTH) for arm in COLUMNS),
            row("spans made", lambda r: f"{r.made:,}"),
            row("spans arrived", lambda r: f"{r.arrived:,}", exporting=True),
            row("spans lost", lambda r: f"{r.lost:,}", exporting=True),
            row("GIL time per span spent on exporting", lambda r: _us(r.gil_ns), exporting=True),
            row("  on the event loop's thread (on_end)", lambda r: _us(r.on_end_ns), exporting=True),
            row("  on the export thread", lambda r: _us(r.export_thread_ns), exporting=True),
            row("native thread CPU per span (no GIL)", lambda r: _us(r.native_thread_ns), exporting=True),
            row("event-loop lag, p50", lambda r: _ms(r.lag.p50_ns)),
            row("event-loop lag, p99", lambda r: _ms(r.lag.p99_ns)),
            row("event-loop lag, max", lambda r: _ms(r.lag.max_ns)),
            row("request latency, p50", lambda r: _ms(r.latency.p50_ns)),
            row("request latency, p99", lambda r: _ms(r.latency.p99_ns)),
        ]
    )


def _us(ns: float) -> str:
    return "0" if ns == 0 else f"{ns / 1e3:.2f} us"


def _ms(ns: float) -> str:
    return f"{ns / 1e6:.2f} ms"


def answer(results: Mapping[Arm, ArmResult]) -> str:
    """Return the result in one plain sentence."""
    stock, native, none = results[Arm.STOCK], results[Arm.NATIVE], results[Arm.NONE]
    gil = (
        f"Exporting a span took {_us(native.gil_ns)} of the GIL with NativeSpanProcessor and {_us(stock.gil_ns)} with "
        f"BatchSpanProcessor ({_ratio(stock.gil_ns, native.gil_ns)})"
    )
    lag = (
        f"the event loop's p99 lag was {_ms(native.lag.p99_ns)} instead of {_ms(stock.lag.p99_ns)} "
        f"({_ms(none.lag.p99_ns)} without any exporter)"
    )
    if max(stock.lag.p99_ns, native.lag.p99_ns) < _CLEARLY * min(stock.lag.p99_ns, native.lag.p99_ns):
        lag += ", which is no clear difference"
    lost = f"lost {stock.lost:,} and {native.lost:,} spans" if stock.lost or native.lost else "no span was lost"
    if stock.lost or native.lost:
        lost = f"BatchSpanProcessor lost {stock.lost:,} spans and NativeSpanProcessor {native.lost:,}"
    return f"{gil}; {lag}; {lost}."


def _ratio(stock: float, native: float) -> str:
    return f"{stock / native:.0f} times less" if stock >= native else f"{native / stock:.1f} times more"


def how(plan: Plan, results: Mapping[Arm, ArmResult]) -> str:
    """Return how it was measured."""
    native = results[Arm.NATIVE]
    per_second, warm_up = plan.requests_per_second, plan.warm_up_requests
    samples = native.lag_samples
    late = _ms(native.client_late.p99_ns)
    return f"""\
How this was measured
  load      {native.requests} requests for each column, {per_second:g} a second on a schedule that waits for no answer;
            {SPANS_PER_REQUEST} spans each, ten attributes a span, OTLP/HTTP, both processors at default settings;
            {BLOCKS_PER_ARM} blocks a column, interleaved; each has a fresh server and {warm_up} requests of warm-up
  machine   {machine()}, {plan.loop};
            {plan.cores.sentence()}
  spans     made: counted in the server; arrived: counted by the receiver, by span id, after shutdown
  GIL time  on_end: CPU time of the loop's thread, one call in {SAMPLE_EVERY} timed, the clock's own cost taken off;
            export thread: all its CPU time, a few system calls (without the GIL) included;
            a native thread has no Python state and cannot take the GIL: its CPU time has a row of its own
  lag       how late the loop answers a kernel timer due every {LAG_INTERVAL_NS / 1e6:g} ms; {samples:,} samples
  latency   from the moment a request was due; the client's own delay, p99 {late}, is part of it"""


def machine() -> str:
    """Return the processor and the versions that matter."""
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    model = names[0] if names and names[0] else platform.machine()
    return f"{model}, {os.cpu_count()} cores, {platform.python_implementation()} {platform.python_version()}"


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def document(plan: Plan, results: Mapping[Arm, ArmResult], blocks: Sequence[Block]) -> dict[str, Any]:
    """Return all of it for JSON; durations in nanoseconds."""
    return {
        "answer": answer(results),
        "machine": machine(),
        "versions": {
            name: _version(name) for name in ("gilscope", "opentelemetry-sdk", "uvicorn", "uvloop", "fastapi")
        },
        "plan": {**dataclasses.asdict(plan), "requests_per_second": plan.requests_per_second},
        "spans_per_request": SPANS_PER_REQUEST,
        "arms": {arm.value: {**dataclasses.asdict(results[arm]), "gil_ns": results[arm].gil_ns} for arm in COLUMNS},
        "blocks": [
            {
                "arm": block.arm.value,
                "requests": block.requests,
                "arrived": block.arrived,
                "latencies_ns": block.load.latencies_ns,
                "warm_up_spans": block.warm_up_spans,
                **block.server,
            }
            for block in blocks
        ],
        "remarks": [remark for block in blocks for remark in block.remarks()],
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
