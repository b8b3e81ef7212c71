"""Intervals of a recording's figures, on made-up recordings of which the truth is known."""

from __future__ import annotations

from random import Random

from gilscope.analysis import analyse
from gilscope.analysis.intervals import BLOCK_NS, FEWEST_BLOCKS, Block, Blocks, intervals
from tests.made_capture import LOOP, WORKER, MadeCapture

NS_PER_MS, NS_PER_S = 1_000_000, 1_000_000_000


def recorded(random: Random, seconds: int) -> Blocks:
    """Return a recording whose load is another one in every five seconds: iterations and stalls come from it.

    In every second there are 40 iterations, of a mean of 1 ms times the load, and on another loop a stall of 40 ms with
    a probability of half the load, which is 0.5, 1 or 1.5.
    """
    blocks = Blocks(1)
    for second in range(seconds):
        if second % 5 == 0:
            load = random.choice((0.5, 1.0, 1.5))
        at_ns = 1 + second * NS_PER_S
        for _ in range(40):
            blocks.add(LOOP, at_ns, round(random.expovariate(1 / load) * NS_PER_MS), stalled=False)
        if random.random() < load / 2:
            blocks.add(WORKER, at_ns, 40 * NS_PER_MS, stalled=True)
    return blocks


def test_intervals_hold_the_truth_in_nine_of_ten_recordings() -> None:
    """Of a minute each: half a stall a second is 30 a minute, and 2 % of the time."""
    random, recordings = Random(1), 60
    held_rate = held_share = 0
    for _ in range(recordings):
        found = recorded(random, 60).told(60 * NS_PER_S, LOOP)
        assert found
        held_rate += found.stalls_per_minute[0] <= 30 <= found.stalls_per_minute[1]
        held_share += found.stalled_share[0] <= 0.02 <= found.stalled_share[1]
    # Of 60 at 90 %, fewer than 48 are one in two hundred.
    assert min(held_rate, held_share) >= 48


def test_interval_of_p99_holds_that_of_a_long_recording_and_is_narrower_with_more_time() -> None:
    """An hour has the truth; twenty minutes tell it more closely than one."""
    random = Random(1)
    hour = Block()
    for block in recorded(random, 3600).at.values():
        hour.merge(block)
    p99_ns = hour.iterations[LOOP].percentiles().p99_ns
    widths_ns = []
    for seconds in (60, 1200):
        found = recorded(random, seconds).told(seconds * NS_PER_S, LOOP)
        assert found
        low_ns, high_ns = found.iteration_p99_ns
        assert low_ns <= p99_ns <= high_ns
        widths_ns.append(high_ns - low_ns)
    assert widths_ns[1] < widths_ns[0] / 2


def test_blocks_that_are_all_alike_have_intervals_without_width() -> None:
    """Nothing varies, so nothing is uncertain; the range of the longest is one value."""
    alike = Block(BLOCK_NS)
    alike.add(LOOP, 30 * NS_PER_MS, stalled=True)
    found = intervals([alike] * FEWEST_BLOCKS, BLOCK_NS, LOOP)
    assert found
    assert found.stalls_per_minute == (12.0, 12.0)
    assert found.stalled_share == (0.006, 0.006)
    assert found.longest_ns == (30 * NS_PER_MS, 30 * NS_PER_MS)


def test_recording_that_is_too_short_has_no_intervals() -> None:
    """Fewer blocks than are needed say nothing of the next ones; as many do."""

    def found(seconds: float) -> object:
        made = MadeCapture()
        for second in range(int(seconds)):
            made.iteration(1000 * second, 1000 * second + 30, cpu=30)
        made.iteration(1000 * seconds - 1, 1000 * seconds, cpu=1)
        return analyse(made).intervals

    needed = FEWEST_BLOCKS * BLOCK_NS / NS_PER_S
    assert found(needed)
    assert found(needed - BLOCK_NS / NS_PER_S) is None


def test_long_recording_has_longer_blocks() -> None:
    """A day in blocks of five seconds would be 17,280; no stall is lost when they become longer."""
    blocks = Blocks(1)
    for hour in range(24):
        blocks.add(LOOP, 1 + hour * 3600 * NS_PER_S, 30 * NS_PER_MS, stalled=True)
    found = blocks.told(24 * 3600 * NS_PER_S, LOOP)
    assert found
    assert 64 <= found.blocks <= 128
    assert abs(found.blocks * found.block_ns - 24 * 3600 * NS_PER_S) <= found.block_ns / 2
    assert found.stalls_per_minute[0] <= 1 / 60 <= found.stalls_per_minute[1]
