"""The bench's figures: percentiles, intervals, and arms against each other, on numbers whose truth is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from gilscope.bench.cells import Cell
from gilscope.bench.compare import Pair, beyond_noise, noise, pair
from gilscope.bench.figures import ArmFigures
from gilscope.bench.statistics import Estimate, Pool, estimate, mean, needed, ratio, series
from tests.made_run import latencies_ns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ONES = np.ones((1, 1), dtype=np.int64)


def arms(random: np.random.Generator, factors: Mapping[str, float], blocks: int = 5) -> dict[str, ArmFigures]:
    """Return made arms, each with this many times the latencies of a factor of 1."""
    return {
        arm: ArmFigures([
            Cell(block, {}, arm, latencies_ns(random, 1500, factor=factor, between_blocks=0.05), {})
            for block in range(blocks)
        ])
        for arm, factor in factors.items()
    }  # fmt: skip


@pytest.mark.parametrize(
    ("percentile", "value"), [(50, 500), (90, 900), (99, 990), (99.9, 999), (100, 1000), (50.05, 501)]
)
def test_percentile_of_a_thousand_is_the_first_value_with_that_share_at_or_below(percentile: float, value: int) -> None:
    """Hyndman and Fan's definition 1: a value that was measured, and the lowest that has the share."""
    pool = Pool([np.random.default_rng(1).permutation(np.arange(1, 1001))])
    assert pool.percentiles(ONES, [percentile])[0, 0] == value


def test_percentile_with_too_few_requests_beyond_is_not_told() -> None:
    """Ten must lie beyond: p99.9 needs 10,000 requests."""
    assert needed(99.9) == 10_000
    assert not Pool([np.arange(9_999)]).told(99.9)
    assert Pool([np.arange(10_000)]).told(99.9)


def test_estimate_of_three_blocks_is_the_range_of_their_own() -> None:
    """Three blocks have no bootstrap that could be believed."""
    found = estimate(mean([1.0, 2.0, 6.0]), 3, seed=1)
    assert found is not None
    assert (found.value, found.low, found.high, found.interval) == (3.0, 1.0, 6.0, "range")


def test_estimate_of_one_block_has_no_interval() -> None:
    """One block says nothing of the next."""
    found = estimate(mean([1.0]), 1, seed=1)
    assert found is not None
    assert (found.low, found.high, found.interval) == (None, None, "none")


def test_interval_of_a_mean_covers_the_truth_as_often_as_it_says() -> None:
    """95 % of 200 experiments, less or more 5: three standard deviations of that count are 4.6 %."""
    random = np.random.default_rng(5)
    covered = 0
    for seed in range(200):
        found = estimate(mean(list(random.normal(10, 1, 8))), 8, seed)
        assert found is not None
        covered += found.low is not None and found.high is not None and found.low <= 10 <= found.high
    assert 180 <= covered <= 200


@pytest.mark.parametrize("blocks", [5, 10])
def test_interval_of_p99_covers_the_truth_nearly_as_often_as_it_says(blocks: int) -> None:
    """At least 85 % of 200 experiments: a far percentile of few blocks is low more often than not, so not all of 95.

    The truth is the p99 of all the blocks there might be, pooled: normal in the logarithm, as both its parts are.
    """
    random = np.random.default_rng(6)
    truth_ms = 20 * np.exp(2.3263 * np.hypot(0.3, 0.05))
    covered = 0
    for seed in range(200):
        found = arms(random, {"none": 1}, blocks)["none"].estimate("p99_ms", seed)
        assert found is not None
        covered += found.low is not None and found.high is not None and found.low <= truth_ms <= found.high
    assert covered >= 170


def test_interval_of_a_ratio_of_p99_covers_the_truth_as_often_as_it_says() -> None:
    """At least 90 % of 200 experiments: 95, less three standard deviations; what is low in both arms cancels."""
    random = np.random.default_rng(6)
    covered = 0
    for seed in range(200):
        one = pair(arms(random, {"none": 1, "batch": 1.5}), "batch", "none", "p99_ms", seed)
        assert one is not None
        assert one.ratio is not None
        low, high = one.ratio.low, one.ratio.high
        covered += low is not None and high is not None and low <= 1.5 <= high
    assert covered >= 180


def times_told_apart(factor: float, runs: int, seed: int) -> int:
    """Return in how many made-up runs the second arm, which takes so many times as long, is called different."""
    random = np.random.default_rng(seed)
    told = 0
    for run in range(runs):
        made = arms(random, {"none": 1, "none.again": 1, "native": factor})
        one = pair(made, "native", "none", "p99_ms", run)
        assert one is not None
        told += beyond_noise(one, noise(made, run)["p99_ms"]) is True
    return told


def test_equal_arms_cannot_be_told_apart_in_at_least_nine_of_ten_runs() -> None:
    """The noise of the A/A pair keeps an equal arm from being called different."""
    assert times_told_apart(1, runs=100, seed=7) <= 10


def test_arm_that_takes_half_as_long_again_is_found() -> None:
    """A difference of 1.5 x is beyond the noise in each of 20 runs."""
    random = np.random.default_rng(8)
    for seed in range(20):
        made = arms(random, {"none": 1, "none.again": 1, "batch": 1.5})
        one = pair(made, "batch", "none", "p99_ms", seed)
        assert one is not None
        assert beyond_noise(one, noise(made, seed)["p99_ms"]) is True


def test_difference_without_an_aa_pair_cannot_be_told() -> None:
    """Without knowing the noise nothing is beyond it."""
    one = pair(arms(np.random.default_rng(9), {"none": 1, "batch": 3}), "batch", "none", "p99_ms", 1)
    assert one is not None
    assert beyond_noise(one, None) is None


def test_pair_uses_only_blocks_that_have_both_arms() -> None:
    """A block without the other arm's cell would compare two minutes, not two arms."""

    def of(arm: str, took_ms: Sequence[tuple[int, int]]) -> ArmFigures:
        return ArmFigures([Cell(block, {}, arm, np.full(2000, took * 10**6), {}) for block, took in took_ms])

    made = {"none": of("none", [(0, 10), (1, 10), (2, 90)]), "batch": of("batch", [(0, 20), (1, 20)])}
    for arm, against, expected in (("batch", "none", 2.0), ("none", "batch", 0.5)):
        one = pair(made, arm, against, "p50_ms", 1)
        assert one is not None
        assert one.ratio is not None
        assert (one.blocks, one.ratio.value) == (2, expected)


def test_ratio_to_nothing_is_no_figure() -> None:
    """Twice no loss is not a number; the difference is."""
    assert estimate(ratio(mean([1.0, 2.0]), mean([0.0, 0.0])), 2, seed=1) is None


@pytest.mark.parametrize(
    ("value", "low", "high", "interval", "beyond"),
    [
        (1.26, 1.01, 1.6, "bootstrap", True),
        (1.24, 1.01, 1.6, "bootstrap", False),
        (1.40, 0.99, 1.6, "bootstrap", False),
        (0.79, 0.60, 0.99, "bootstrap", True),
        (0.81, 0.60, 0.99, "bootstrap", False),
        (0.70, 0.60, 1.01, "bootstrap", False),
        (1.40, 1.24, 1.6, "range", False),
        (1.40, 1.26, 1.6, "range", True),
        (0.70, 0.60, 0.81, "range", False),
        (0.70, 0.60, 0.79, "range", True),
    ],
)
def test_ratio_is_beyond_the_noise_only_outside_the_mirrored_interval(
    value: float, low: float, high: float, interval: str, beyond: bool
) -> None:
    """Equal arms from 0.8 to 1.1 apart may as well be 1.25 apart; a range must be outside as a whole."""

    def of(value: float, low: float, high: float, interval: str) -> Pair:
        return Pair("a", "b", "p99_ms", Estimate(value, low, high, interval), Estimate(0.0, 0.0, 0.0, interval), 5)

    assert beyond_noise(of(value, low, high, interval), of(1.0, 0.8, 1.1, interval)) is beyond


def test_arm_that_is_a_fifth_slower_is_found_in_most_runs() -> None:
    """A rule that finds nothing would call a slower arm equal; of 60, 52 are usual, less three deviations 43."""
    assert times_told_apart(1.2, runs=60, seed=10) >= 43


def test_largest_of_all_has_the_range_of_the_blocks() -> None:
    """No draw is above it, so a bootstrap would be one-sided."""
    found = arms(np.random.default_rng(1), {"none": 1}, 6)["none"].estimate("max_ms", 1)
    assert found is not None
    assert found.interval == "range"


def test_series_is_even_in_nines_and_ends_where_requests_run_out() -> None:
    """10,000 requests tell up to p99.9, in steps of a tenth of a nine."""
    found = series(Pool([np.arange(10_000)]), 1, 1)
    assert found[-1][0] == 99.9
    assert [percentile for percentile, _ in found if 90 <= percentile < 91] == [90.0]
    assert len(found) == 28
