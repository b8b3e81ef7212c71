"""The always-on use, on the real native side: what is told of stalls is what happened, and nothing is left behind."""

from __future__ import annotations

import gc
import logging
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

import gilscope
from gilscope.analysis import analyse
from gilscope.capture import open_capture
from gilscope.errors import ProbeError, SettingsError
from gilscope.probe import stall_thread
from tests.accuracy.recorded import LOOPS, asleep, needs_gil, needs_probe
from tests.integration.programs.watch_load import DEADLINE_S, block, burner, eventually, run, spin, stalls

if TYPE_CHECKING:
    from pathlib import Path

    from gilscope.probe.stall import Stall, StallFrame
    from gilscope.probe.totals import Totals

pytestmark = needs_probe

MS = 1_000_000


def stall_over(told: queue.Queue[Stall], start_ns: int, end_ns: int) -> Stall:
    """Return the next stall that was told and lasted from before a block until after it."""
    while True:
        stall = told.get(timeout=DEADLINE_S)
        stall_end_ns = stall.start_monotonic_ns + stall.duration_ms * MS
        # What a double keeps of the length is exact to a nanosecond or two.
        if stall.start_monotonic_ns <= start_ns and stall_end_ns >= end_ns - 10:
            return stall


@pytest.mark.smoke
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("how", [block, spin])
def test_every_stall_is_told_with_its_parts_and_place(loop: str, how: object) -> None:
    """Five blocks of 40 ms: one call each, on the part of the clock that the block was on, with the function's name.

    The CPU clock of the loop's thread may have counted a few microseconds elsewhere: 1 ms for that. Where it computed
    is sampled, by a thread that may have no core in time: of five stalls one at least is seen.
    """
    places: list[StallFrame] = []
    function = {block: block, spin: spin}[how]  # type: ignore[index] # parametrised
    told: queue.Queue[Stall] = queue.Queue()
    with gilscope.watch(on_stall=told.put, span_events=False) as watch:
        wall_ns = time.time_ns() - time.monotonic_ns()
        for start_ns, end_ns in run(stalls(function, 0.04, 5), loop):
            stall = stall_over(told, start_ns, end_ns)
            part_ms = stall.off_cpu_ms if function is block else stall.on_cpu_ms
            assert part_ms >= 39
            assert stall.on_cpu_ms + stall.gil_wait_ms + stall.off_cpu_ms == pytest.approx(stall.duration_ms)
            assert stall.thread == "MainThread"
            places += stall.stack[:1]
            # The wall clock may be adjusted meanwhile.
            assert abs(stall.start_wall_ns - stall.start_monotonic_ns - wall_ns) < 100 * MS
        assert stall in watch.stalls
    assert {(place.name, place.file.rpartition("/")[2]) for place in places} == {(function.__name__, "watch_load.py")}


@needs_gil
@pytest.mark.parametrize("loop", LOOPS)
def test_holder_of_the_gil_is_named_in_stalls_and_totals(loop: str) -> None:
    """A loop that computes beside a thread that never lets go: of what it waited for others, 90 % was for that thread.

    Beside it there is the thread that tells of stalls. While the GIL is handed over, nobody has it.
    """
    told: queue.Queue[Stall] = queue.Queue()
    with gilscope.watch(on_stall=told.put, span_events=False) as watch, burner():
        blocks = run(stalls(spin, 0.04, 5), loop)
        for start_ns, end_ns in blocks:
            stall = stall_over(told, start_ns, end_ns)
            assert stall.gil_wait_ms > 5
            assert stall.holders[0].thread == "burner"
            # Innermost, or when it was made to let go in what it calls.
            assert "hog" in [frame.name for frame in stall.holders[0].stack[:3]]
            held_ms = sum(part.ms for part in stall.holders)
            assert stall.gil_wait_ms >= held_ms > 0
            assert sum(part.ms for part in stall.holders if part.thread == "burner") >= 0.9 * held_ms
            assert "waiting for the GIL, held by burner" in str(stall)
        totals = watch.totals()
    loop_totals = totals.loops["MainThread"]
    held = {holder: s for (waiter, holder), s in totals.waits.items() if waiter == "MainThread" and holder[0] != "("}
    assert held["burner"] >= 0.9 * sum(held.values())
    assert loop_totals.gil_wait_seconds >= 0.005 * len(blocks)
    assert loop_totals.stalls >= len(blocks)
    assert loop_totals.on_cpu_seconds >= 0.039 * len(blocks)
    assert loop_totals.max_seconds >= 0.04


def cumulative(totals: Totals) -> dict[object, float]:
    """Return all that must never fall."""
    return {
        **{("loop", key, "iterations"): loop.iterations for key, loop in totals.loops.items()},
        **{("loop", key, "busy"): loop.busy_seconds for key, loop in totals.loops.items()},
        **{("loop", key, "stalls"): loop.stalls for key, loop in totals.loops.items()},
        **{("loop", key, "lengths"): loop.iteration_lengths.count for key, loop in totals.loops.items()},
        **{("thread", key, "held"): thread.held_seconds for key, thread in totals.threads.items()},
        **{("thread", key, "waited"): thread.waited_seconds for key, thread in totals.threads.items()},
        **{("thread", key, "takes"): thread.takes for key, thread in totals.threads.items()},
        **{("wait", *pair): seconds for pair, seconds in totals.waits.items()},
    }


@needs_gil
def test_totals_never_fall_and_agree_with_the_threads_own_clocks() -> None:
    """Five generations of a pool that end: what they held is what they computed, and what they waited for, at most."""

    def work(_: int) -> tuple[float, float]:
        began, cpu = time.monotonic(), time.thread_time()
        spin(0.03)
        return time.monotonic() - began, time.thread_time() - cpu

    seen = []
    wall_s = cpu_s = 0.0
    with gilscope.watch(log=False, span_events=False) as watch:
        for _ in range(5):
            with ThreadPoolExecutor(2, thread_name_prefix="pool") as pool:
                for wall, cpu in pool.map(work, range(4)):
                    wall_s, cpu_s = wall_s + wall, cpu_s + cpu
                    seen.append(cumulative(watch.totals()))
            seen.append(cumulative(watch.totals()))
        # A little of what a thread burns it burns without the GIL: in the system calls that take it.
        least_s = 0.99 * cpu_s
        # A thread's last counters come when the sampler has seen that it has ended.
        held_s = eventually(
            lambda: held if (held := watch.totals().threads["pool_*"].held_seconds) >= least_s else None
        )
        seen.append(cumulative(watch.totals()))
    seen.append(cumulative(watch.totals()))
    for before, after in pairwise(seen):
        assert {key: value for key, value in before.items() if after[key] < value} == {}
    # Beside what is timed there is only the pool's own handling of sixty calls.
    assert least_s <= held_s <= wall_s + 0.1


def test_second_watch_or_recording_is_refused(tmp_path: Path) -> None:
    """There is one at a time, of either kind; when it has ended the next may begin."""
    path = tmp_path / "app.gilscope"
    with gilscope.watch(log=False):
        with pytest.raises(ProbeError, match="one recording or watch at a time"):
            gilscope.watch()
        with pytest.raises(ProbeError, match="one recording or watch at a time"):
            gilscope.record(path)
        assert not path.exists()
    with gilscope.record(path), pytest.raises(ProbeError, match="one recording or watch at a time"):
        gilscope.watch()
    gilscope.watch(log=False).stop()


def test_stopped_watch_does_not_stop_the_next_one(tmp_path: Path) -> None:
    """Each stops itself only, however often."""
    first = gilscope.watch(log=False)
    first.stop()
    with gilscope.watch(log=False) as second:
        first.stop()
        assert (first.running, second.running) == (False, True)
    recording = gilscope.record(tmp_path / "app.gilscope")
    recording.stop()
    with gilscope.watch(log=False) as third:
        recording.stop()
        assert third.running


def test_watch_and_stop_fifty_times_leaves_nothing_behind() -> None:
    """Callbacks of the garbage collector, threads and the port are as before."""
    threads = set(threading.enumerate())
    port = 0
    for _ in range(50):
        watch = gilscope.watch(log=False, prometheus_port=port)
        assert watch.prometheus_port is not None
        port = watch.prometheus_port
        run(stalls(block, 0.0, 1))
        watch.stop()
    assert not [callback for callback in gc.callbacks if "on_collection" in repr(callback)]
    assert set(threading.enumerate()) == threads


def test_totals_of_a_stopped_watch_can_still_be_read() -> None:
    """They are those of its end."""
    with gilscope.watch(log=False) as watch:
        run(stalls(block, 0.04, 3))
        eventually(lambda: len(watch.stalls) >= 3)
    assert watch.totals().loops["MainThread"].stalls >= 3
    assert "gilscope_loop_iterations_total" in watch.prometheus()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"stall_threshold_ms": 0}, "stall_threshold_ms must be from 0.1 to 60000, got 0"),
        ({"prometheus_port": 70_000}, "prometheus_port must be from 0 to 65535, got 70000"),
    ],
)
def test_bad_argument_raises_and_nothing_runs(arguments: dict[str, int], expected: str) -> None:
    """What cannot work is said at the start, and another start is not in its way."""
    threads = set(threading.enumerate())
    with pytest.raises(SettingsError, match=expected):
        gilscope.watch(**{"prometheus_port": 0, **arguments})  # type: ignore[arg-type] # wrong ones
    assert set(threading.enumerate()) == threads
    gilscope.watch(log=False).stop()


def test_dump_is_a_capture_of_the_last_seconds(tmp_path: Path) -> None:
    """It is read and analysed like a recording; the watch goes on; a file that is there is kept."""
    path = tmp_path / "last.gilscope"
    told: queue.Queue[Stall] = queue.Queue()
    with gilscope.watch(on_stall=told.put) as watch:
        for start_ns, end_ns in run(stalls(block, 0.04, 2)):
            stall_over(told, start_ns, end_ns)

        def dumped_stalls() -> bool:
            # What happened in the last half second may be missing.
            watch.dump(path, force=True)
            with open_capture(path) as capture:
                found = [stall for stall in analyse(capture).stalls if asleep(stall)[0] >= 39 * MS]
                assert capture.problems == []
                assert capture.end is not None
            return len(found) == 2

        assert eventually(dumped_stalls)
        with pytest.raises(ProbeError, match="exists"):
            watch.dump(path)
        assert watch.running
    with pytest.raises(ProbeError, match="the watch has ended"):
        watch.dump(tmp_path / "late.gilscope")
    assert not (tmp_path / "late.gilscope").exists()


class Told(logging.Handler):
    """Takes in what is logged by `gilscope`, on whatever thread."""

    def __init__(self) -> None:
        super().__init__()
        self.records: queue.Queue[logging.LogRecord] = queue.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.put(record)


@pytest.fixture
def logged() -> Told:
    """Return what the logger `gilscope` is told from now on; it is the handler, to be removed with it."""
    return Told()


def test_stalls_without_a_callback_are_logged_one_in_ten_seconds(logged: Told) -> None:
    """Of five stalls in a fifth of a second the first is logged, as a warning; all are in `stalls`."""
    logger = logging.getLogger("gilscope")
    logger.addHandler(logged)
    try:
        with gilscope.watch() as watch:
            run(stalls(block, 0.04, 5))
            eventually(lambda: len(watch.stalls) >= 5)
    finally:
        logger.removeHandler(logged)
    record = logged.records.get_nowait()
    assert (record.levelno, record.name) == (logging.WARNING, "gilscope")
    assert record.getMessage() == str(watch.stalls[0])
    assert logged.records.empty()


def test_callback_that_raises_is_logged_and_called_again(logged: Told) -> None:
    """The first failure is in the log with its traceback, the others are held back; every stall is told."""
    calls: queue.Queue[Stall] = queue.Queue()

    def fail(stall: Stall) -> None:
        calls.put(stall)
        raise KeyboardInterrupt  # not even this ends the thread

    logger = logging.getLogger("gilscope")
    logger.addHandler(logged)
    try:
        with gilscope.watch(on_stall=fail):
            for start_ns, end_ns in run(stalls(block, 0.04, 3)):
                stall_over(calls, start_ns, end_ns)
    finally:
        logger.removeHandler(logged)
    record = logged.records.get_nowait()
    assert record.getMessage() == "on_stall failed"
    assert record.exc_info
    assert record.exc_info[0] is KeyboardInterrupt
    assert logged.records.empty()


def test_callback_may_stop_the_watch() -> None:
    """From the thread that it is called on."""
    stopped = threading.Event()

    def stop(_: Stall) -> None:
        watch.stop()
        stopped.set()

    watch = gilscope.watch(on_stall=stop)
    run(stalls(block, 0.04, 1))
    assert stopped.wait(DEADLINE_S)
    assert not watch.running
    gilscope.watch(log=False).stop()


def test_callback_that_hangs_does_not_keep_the_watch_from_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for, for a while, and left to itself; it ends when the callback does, without harm to the next."""
    monkeypatch.setattr(stall_thread, "_CALLBACK_S", 0.05)
    hangs, released = threading.Event(), threading.Event()

    def hang(_: Stall) -> None:
        hangs.set()
        released.wait(DEADLINE_S)

    watch = gilscope.watch(on_stall=hang)
    run(stalls(block, 0.04, 1))
    assert hangs.wait(DEADLINE_S)
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "gilscope-stalls"]
    watch.stop()
    assert thread.is_alive()
    with gilscope.watch(log=False) as following:
        released.set()
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
        assert following.running
