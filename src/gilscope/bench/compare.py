"""Arms against each other within the same blocks, and against the noise of the machine.

The noise is what the A/A pair shows: one arm, run twice in each block, should have the ratio 1. The interval of its
ratio is mirrored (which of the two is called "again" means nothing) and so becomes a factor: 1.05 says that two equal
arms may well measure 5 % apart here. A difference is beyond the noise only if its ratio lies outside [1/factor, factor]
and its own interval excludes 1: the first alone trusts one pair for all, the second alone cannot see what an interval
from few blocks does not show, such as a machine that changed between one arm and the next.

To ask that the two intervals be apart would count the noise twice, and "cannot be told apart" would then praise an arm
that is slower: of 500 made-up runs of 5 blocks that differ by 5 %, it found a ratio of 1.2 in 40 %, this rule in 86 %,
and called equal arms different in 0.6 %. Where a few stalls make the p99, 1.5 was found in 8 % (10 blocks: 32 %): what
cannot be told apart may well differ, and its interval says by how much.

A range (two or three blocks, or a largest value) is no such interval; all of it must lie outside the A/A pair's. Were
all arms equal, every ratio of two blocks would be outside those of the A/A pair about once in 12 (2!2!/4!, and on one
side), of three about once in 80: told, with that in mind. One block has no range, and tells nothing.

Source:
    A/A tests: Kohavi, Tang and Xu, Trustworthy Online Controlled Experiments (2020), chapter 19. Paired, randomised
    blocks: Kalibera and Jones, Rigorous Benchmarking in Reasonable Time (2013).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gilscope.bench.statistics import difference, estimate, ratio

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gilscope.bench.figures import ArmFigures
    from gilscope.bench.statistics import Estimate

AGAIN = ".again"
_COMPARED = ("p50_ms", "p90_ms", "p99_ms", "p99.9_ms", "max_ms", "cpu_per_request_ms", "memory_mb", "loop_lag_p99_ms")
_REFERENCES = ("none", "sdk", "batch")


@dataclass(frozen=True, slots=True)
class Pair:
    """One figure of two arms in the blocks that have both.

    Attributes:
        ratio: None where the figure of `against` is 0.
        difference: in the figure's own unit.
        blocks: How many have both.
    """

    arm: str
    against: str
    figure: str
    ratio: Estimate | None
    difference: Estimate
    blocks: int

    @property
    def factor(self) -> float | None:
        """The ratio's interval as a factor around 1, whichever arm is on top; None if there is no interval."""
        if self.ratio is None or self.ratio.low is None or self.ratio.high is None or self.ratio.low <= 0:
            return None
        return max(self.ratio.high, 1 / self.ratio.low)


def pair(arms: Mapping[str, ArmFigures], arm: str, against: str, figure: str, seed: int) -> Pair | None:
    """Return two arms' figures compared; None if no block has both, or one of them cannot be told there."""
    if arm not in arms or against not in arms:
        return None
    shared = [block for block in arms[arm].blocks if block in arms[against].blocks]
    if not shared:
        return None
    this, that = (arms[name].within(shared).figure(figure) for name in (arm, against))
    if this is None or that is None:
        return None
    extremes = figure == "max_ms"
    apart = estimate(difference(this, that), len(shared), seed, of_extremes=extremes)
    if apart is None:
        return None
    times = estimate(ratio(this, that), len(shared), seed, of_extremes=extremes)
    return Pair(arm, against, figure, times, apart, len(shared))


def pairs(arms: Mapping[str, ArmFigures], seed: int) -> list[Pair]:
    """Return every arm against none, sdk and batch, where those were run; without the A/A pair."""
    found = [
        pair(arms, arm, against, figure, seed)
        for against in _REFERENCES
        for arm in arms
        # Two references are compared once, the one that does more against the one that does less.
        if not arm.endswith(AGAIN) and arm not in _REFERENCES[: _REFERENCES.index(against) + 1]
        for figure in _COMPARED
    ]
    return [one for one in found if one]


def noise(arms: Mapping[str, ArmFigures], seed: int) -> dict[str, Pair]:
    """Return the A/A pair by figure; empty if it was not run."""
    again = next((arm for arm in arms if arm.endswith(AGAIN)), None)
    if again is None:
        return {}
    found = {figure: pair(arms, again, again.removesuffix(AGAIN), figure, seed) for figure in _COMPARED}
    return {figure: one for figure, one in found.items() if one}


def beyond_noise(one: Pair, same: Pair | None) -> bool | None:
    """Return whether the pair differs by more than the A/A pair of the same figure; None if that cannot be told."""
    factor, found = same.factor if same else None, one.ratio
    if factor is None or found is None or found.low is None or found.high is None:
        return None
    if found.interval == "range":
        return found.low > factor or found.high < 1 / factor
    return (found.low > 1 and found.value > factor) or (found.high < 1 and found.value < 1 / factor)
