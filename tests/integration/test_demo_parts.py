"""The demo's instruments on stalls, costs and threads of known size; its arithmetic; that it refuses false figures."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from loadtests.demo.arms import Arm
from loadtests.demo.instruments import LAG_INTERVAL_NS, SAMPLE_EVERY, LagMeter, MeasuredProcessor, OtherThreads
from loadtests.demo.load import LoadResult, arrivals_ns
from loadtests.demo.plan import BLOCKS
from loadtests.demo.results import ArmResult, Block, percentile

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace import ReadableSpan

MS = 1_000_000


def burn(cpu_ns: int) -> None:
    """Spend so much of this thread's CPU time."""
    until_ns = time.thread_time_ns() + cpu_ns
    while time.thread_time_ns() < until_ns:
        pass


class Burning(SpanProcessor):
    """Spends a millisecond on each span."""

    def on_end(self, span: ReadableSpan) -> None:
        """Spend it."""
        burn(MS)


class TellingLagMeter(LagMeter):
    """Sets an event whenever it has recorded something."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ticked = asyncio.Event()
        super().__init__(loop)

    def _tick(self) -> None:
        super()._tick()
        self.ticked.set()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_lag_meter_shows_a_stall_in_full(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A loop that is blocked for 60 ms is late by that for the first event due, and each later one by 2 ms less."""
    blocked_ns = 60 * MS

    async def stall() -> list[int]:
        meter = TellingLagMeter(asyncio.get_running_loop())
        await meter.ticked.wait()
        meter.ticked.clear()
        before = len(meter.lags_ns)
        end_ns = time.monotonic_ns() + blocked_ns
        while time.monotonic_ns() < end_ns:
            pass
        await meter.ticked.wait()
        meter.stop()
        return meter.lags_ns[before:].tolist()

    loop = new_loop()
    try:
        lags_ns = loop.run_until_complete(asyncio.wait_for(stall(), 20))
    finally:
        loop.close()
    # The first event fell due up to an interval after the stall began.
    assert lags_ns[0] >= blocked_ns - LAG_INTERVAL_NS
    assert len(lags_ns) >= blocked_ns // LAG_INTERVAL_NS - 1
    stalled_ns = lags_ns[:25]
    assert stalled_ns == [stalled_ns[0] - place * LAG_INTERVAL_NS for place in range(25)]


def test_measured_processor_counts_all_and_times_some() -> None:
    """Spans that cost a millisecond of CPU each are seen to cost that."""
    measured = MeasuredProcessor(Burning())
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(measured)
    tracer = provider.get_tracer("test")
    spans = 5 * SAMPLE_EVERY + 3
    for _ in range(spans):
        tracer.start_span("span").end()
    assert (measured.spans, measured.samples) == (spans, 5)
    # The clock's own cost is a few microseconds at most; a tenth leaves room for what a busy machine adds to it.
    assert measured.on_end_ns / measured.samples == pytest.approx(MS, rel=0.1)


def test_other_threads_cpu_time_is_complete_after_their_end() -> None:
    """A thread that burned 50 ms and is gone has left them in the count; its name was there while it lived."""
    burned, may_end = threading.Event(), threading.Event()

    def work() -> None:
        burn(50 * MS)
        burned.set()
        may_end.wait(20)

    before = OtherThreads.now()
    thread = threading.Thread(target=work, name="burner")
    thread.start()
    assert burned.wait(20)
    during = OtherThreads.now()
    may_end.set()
    thread.join(20)
    after = OtherThreads.now()
    assert "burner" in during.python
    assert "burner" not in after.python
    burned_ns = after.cpu_ns - before.cpu_ns
    assert 50 * MS <= burned_ns < 70 * MS  # starting and ending a thread takes well under 20 ms


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([5], 99, 5), ([3, 1, 2], 50, 2), (list(range(1, 101)), 99, 99), (list(range(1, 101)), 50, 50), ([1, 2], 99, 2)],
)
def test_percentile_is_the_nearest_rank(values: list[int], percent: float, expected: int) -> None:
    """The smallest value that so many per cent do not exceed."""
    assert percentile(values, percent) == expected


def test_arrivals_keep_the_rate_and_can_be_repeated() -> None:
    """One arrival in each slot; the same seed gives the same schedule, another one another."""
    due_ns = arrivals_ns(200, 50.0, seed=1)
    assert [moment // (20 * MS) for moment in due_ns] == list(range(200))
    assert due_ns == arrivals_ns(200, 50.0, seed=1)
    assert due_ns != arrivals_ns(200, 50.0, seed=2)


def test_blocks_favour_no_arm() -> None:
    """Each arm runs twice, and the mean place of each in the order is the same."""
    places = {arm: [place for place, which in enumerate(BLOCKS) if which is arm] for arm in Arm}
    assert {arm: len(found) for arm, found in places.items()} == dict.fromkeys(Arm, 2)
    assert len({sum(found) for found in places.values()}) == 1


def good_block() -> Block:
    """A native block of ten requests in which all adds up."""
    stats = {"ended": 176, "exported": 176, "queued": 0, "unaccounted": 0}
    server: dict[str, Any] = {
        "spans": 160,
        "samples": 20,
        "on_end_ns": 40_000,
        "threads_cpu_ns": 160_000,
        "python_threads": [],
        "native_threads": ["exporter"],
        "measured_ns": 1000,
        "core_wait_ns": 5,
        "lags_ns": [1, 2, 3],
        "stats": stats,
    }
    load = LoadResult(latencies_ns=[30 * MS] * 10, late_ns=[1] * 10)
    return Block(
        arm=Arm.NATIVE,
        requests=10,
        load=load,
        server=server,
        warm_up_spans=16,
        warm_up_arrived=16,
        arrived=160,
        duplicates=0,
    )


def test_block_that_adds_up_has_no_problem() -> None:
    """And its figures are by span."""
    block = good_block()
    assert block.problems() == []
    assert block.remarks() == []
    result = ArmResult.of([block, block])
    assert (result.made, result.arrived, result.lost) == (320, 320, 0)
    assert (result.on_end_ns, result.export_thread_ns, result.native_thread_ns) == (2000.0, 0.0, 1000.0)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"arrived": 159}, "176 spans were made and 175 arrived, but stats"),
        ({"warm_up_arrived": 15}, "of 16 spans of the warm-up 15 arrived"),
        ({"duplicates": 2}, "2 spans arrived more than once"),
        ({"requests": 11}, "11 requests made 160 spans"),
        ({"load": LoadResult(failures=["request 3: status 500"])}, "request 3: status 500"),
        ({"server": {**good_block().server, "python_threads": ["T"]}}, "CPU time cannot be told apart"),
    ],
)
def test_block_that_does_not_add_up_says_why(change: dict[str, Any], problem: str) -> None:
    """Figures of such a block are not shown."""
    block = dataclasses.replace(good_block(), **{"load": LoadResult(late_ns=[1]), **change})
    assert any(problem in found for found in block.problems())


def test_late_client_is_remarked() -> None:
    """A client that was itself late is no error, but the reader is told."""
    block = dataclasses.replace(good_block(), load=LoadResult(latencies_ns=[MS], late_ns=[50 * MS]))
    assert block.problems() == []
    assert len(block.remarks()) == 1


def test_core_shared_with_others_is_remarked() -> None:
    """Only without an exporter, whose own thread might be the one that had the core."""
    waited = {**good_block().server, "core_wait_ns": 50}
    assert dataclasses.replace(good_block(), server=waited).remarks() == []
    remarks = dataclasses.replace(good_block(), server=waited, arm=Arm.NONE).remarks()
    assert len(remarks) == 1
    assert "5.0%" in remarks[0]
