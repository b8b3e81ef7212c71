"""Threads by the thousand beside a watch: every one is counted, and none is kept."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import gilscope
from tests.accuracy.recorded import needs_gil, needs_probe
from tests.integration.programs.watch_load import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gilscope.probe.totals import Totals
    from gilscope.probe.watching import Watch

pytestmark = [needs_probe, needs_gil]

THREADS = 5000


class Shorts:
    """Threads of one name that compute for a moment, one after the other, and what they did by their own clocks."""

    def __init__(self) -> None:
        self.cpu_seconds = 0.0
        self.wall_seconds = 0.0

    def run(self, count: int) -> None:
        """So many more have come and gone."""
        for number in range(count):
            thread = threading.Thread(target=self._work, name=f"short-{number}")
            thread.start()
            thread.join()

    def _work(self) -> None:
        began = time.perf_counter()
        turns = 0
        for turn in range(500):
            turns += turn
        self.cpu_seconds += time.thread_time()
        self.wall_seconds += time.perf_counter() - began


def of_shorts(totals: Totals) -> tuple[float, int, int]:
    """Return for how long the short threads had the GIL, how often they took it, and their single holds."""
    # Most have gone before anybody could ask for their names.
    groups = [totals.threads[name] for name in ("short-*", "(unnamed)") if name in totals.threads]
    return (
        sum(group.held_seconds for group in groups),
        sum(group.takes for group in groups),
        sum(group.hold_lengths.count for group in groups),
    )


@contextmanager
def watched_shorts() -> Iterator[tuple[Watch, Shorts]]:
    """Five thousand threads have come and gone in a watch."""
    shorts = Shorts()
    with gilscope.watch(log=False, span_events=False) as watch:
        shorts.run(THREADS)
        yield watch, shorts


@pytest.mark.smoke
def test_short_threads_are_counted_to_the_last_one() -> None:
    """Each takes the GIL at least once; all together had it for as long as their clocks say.

    A thread's CPU clock counts from its birth, before it has the GIL; and a thread may have the GIL and no core. So
    what they held is at least what they computed inside, and at most the time that starting and joining them took.
    """
    began = time.perf_counter()
    with watched_shorts() as (watch, shorts):
        whole_seconds = time.perf_counter() - began
    held_seconds, takes, holds = of_shorts(watch.totals())
    assert takes >= THREADS
    assert holds == takes
    assert 0.9 * shorts.wall_seconds <= held_seconds <= whole_seconds
    assert len(watch.totals().threads) <= 5


def test_cost_of_a_scrape_does_not_grow_with_the_threads_that_were() -> None:
    """The fastest of twenty readings, before and after five thousand threads: at most three times as long.

    There are more groups, and more buckets in their histograms; a line for each thread would be 100 times as long.
    """

    def scrape_seconds(watch: Watch) -> float:
        found = []
        for _ in range(20):
            began = time.perf_counter()
            watch.prometheus()
            found.append(time.perf_counter() - began)
        return min(found)

    shorts = Shorts()
    with gilscope.watch(log=False, span_events=False) as watch:
        shorts.run(1000)
        eventually(lambda: of_shorts(watch.totals())[1] >= 1000)
        before_seconds = scrape_seconds(watch)
        shorts.run(THREADS)
        eventually(lambda: of_shorts(watch.totals())[1] >= THREADS)
        # Again and again, for a machine that is slow for a moment says nothing of this.
        eventually(lambda: scrape_seconds(watch) < 3 * before_seconds)


def test_renamed_thread_counts_under_both_names() -> None:
    """What it did before stays where it was: no counter falls."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.001):
            pass

    thread = threading.Thread(target=work, name="before")
    with gilscope.watch(log=False, span_events=False) as watch:
        thread.start()
        try:
            eventually(lambda: watch.totals().threads["before"].takes if "before" in watch.totals().threads else 0)
            takes = watch.totals().threads["before"].takes
            thread.name = "after"
            # A new thread has all names looked up.
            threading.Thread(target=lambda: None).start()
            eventually(lambda: watch.totals().threads["after"].takes if "after" in watch.totals().threads else 0)
            assert watch.totals().threads["before"].takes >= takes > 0
        finally:
            stop.set()
            thread.join()
