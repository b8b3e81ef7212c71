"""Percentiles of requests, and how far to trust any figure: resampling of whole blocks.

Requests of one block share a process, a minute and whatever the machine did in it: they are no independent draws, and
resampling them one by one gives intervals far too narrow. Blocks are independent by design; so blocks are drawn, with
replacement, and their requests pooled.

A figure is a function of weights: how often each block was drawn, `(draws, blocks)` -> `(draws,)`. All ones is the
figure itself, the identity each block's own, random rows the bootstrap. Two arms under the same weights are a pair.

Source:
    Percentiles: Hyndman and Fan, Sample Quantiles in Statistical Packages (1996), definition 1, the inverse of the
    empirical distribution: a latency that was measured, never a mean of two. With few blocks the percentile bootstrap
    is too narrow; widened as in Hesterberg, What Teachers Should Know About the Bootstrap (2015), section 3.2. Of
    made-up runs of 5 blocks that differ by 5 %, the interval of a ratio of p99 then covers the truth in 93 of 100, that
    of p99 itself in 90 (10 blocks: 94 and 94): trust the ratios more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gilscope.analysis.intervals import tail

if TYPE_CHECKING:
    from collections.abc import Sequence

Integers: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]
Figure: TypeAlias = Callable[[Integers], Floats]

DRAWS = 2000
# Fewer, and the widened bootstrap would reach past what the blocks themselves show.
FEWEST_BLOCKS = 4
# A percentile is told when so many requests lie beyond it: with fewer it is the luck of a handful.
FEWEST_BEYOND = 10


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and how far to trust it.

    Attributes:
        low: None where there is one block, which says nothing of the next.
        interval: "bootstrap", "range" (of the blocks' own figures) or "none".
    """

    value: float
    low: float | None
    high: float | None
    interval: str

    def as_json(self) -> dict[str, object]:
        """Return it as it stands in the summary."""
        return {"value": self.value, "low": self.low, "high": self.high, "interval": self.interval}


class Pool:
    """The values of some blocks, sorted once, so that each draw costs a binary search and not a sort."""

    def __init__(self, blocks: Sequence[Integers]) -> None:
        """Sorts.

        Args:
            blocks: (n,) each; none of them empty.
        """
        values = np.concatenate(blocks)
        order = np.argsort(values, kind="stable")
        owner = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])[order]
        self._values = values[order]
        # How many values of each block are among the first k + 1.
        self._ranks = np.cumsum(owner[:, None] == np.arange(len(blocks)), axis=0, dtype=np.int32)

    def __len__(self) -> int:
        return len(self._values)

    def percentiles(self, weights: Integers, percentiles: Sequence[float]) -> Floats:
        """Return the percentiles of what each row of the weights draws: (draws, percentiles)."""
        totals = weights @ self._ranks[-1].astype(np.int64)
        # Without the rounding, 99.9 % of 1,000 would be 999.0000000000001, and its rank 1,000.
        wanted = np.ceil(np.round(totals[:, None] * np.asarray(percentiles) / 100, 6))
        wanted = np.maximum(wanted, 1)
        low = np.zeros(wanted.shape, dtype=np.int64)
        high = np.full(wanted.shape, len(self._values) - 1)
        while np.any(low < high):
            middle = (low + high) // 2
            reached = np.einsum("db,dpb->dp", weights, self._ranks[middle]) >= wanted
            high = np.where(reached, middle, high)
            low = np.where(reached, low, middle + 1)
        return self._values[low].astype(np.float64)

    def told(self, percentile: float) -> bool:
        """Whether enough requests lie beyond the percentile; the largest of all is always told."""
        return percentile >= 100 or round(len(self) * (100 - percentile) / 100, 6) >= FEWEST_BEYOND  # noqa: PLR2004


def needed(percentile: float) -> int:
    """Return with how many requests a percentile is told."""
    return int(np.ceil(round(FEWEST_BEYOND * 100 / (100 - percentile), 6)))


def mean(values: Sequence[float]) -> Figure:
    """Return the figure that is the mean of one number a block."""
    numbers = np.asarray(values, dtype=np.float64)
    return lambda weights: (weights @ numbers) / weights.sum(axis=1)


def ratio(above: Figure, below: Figure) -> Figure:
    """Return the figure that is the ratio of two in the same blocks; not a number where the lower one is 0."""

    def divided(weights: Integers) -> Floats:
        denominators = below(weights)
        ratios: Floats = above(weights) / np.where(denominators > 0, denominators, np.nan)
        return ratios

    return divided


def difference(this: Figure, that: Figure) -> Figure:
    """Return the figure that is how much more this is than that in the same blocks."""
    return lambda weights: this(weights) - that(weights)


def estimate(figure: Figure, blocks: int, seed: int, *, of_extremes: bool = False) -> Estimate | None:
    """Return the figure with its interval; None if it is not a number.

    Args:
        figure: What is estimated.
        blocks: How many there are.
        seed: The same seed draws the same blocks.
        of_extremes: A largest value has no bootstrap: no draw is above it. It gets the range of the blocks' own.
    """
    value = float(figure(np.ones((1, blocks), dtype=np.int64))[0])
    if not np.isfinite(value):
        return None
    if blocks == 1:
        return Estimate(value, None, None, "none")
    if blocks < FEWEST_BLOCKS or of_extremes:
        own = figure(np.eye(blocks, dtype=np.int64))
        interval, low, high = "range", float(np.min(own)), float(np.max(own))
    else:
        outside = tail(blocks)
        drawn = figure(_draws(blocks, seed))
        ends = np.quantile(drawn, [outside, 1 - outside])
        interval, low, high = "bootstrap", float(ends[0]), float(ends[1])
    if not (np.isfinite(low) and np.isfinite(high)):
        return Estimate(value, None, None, "none")
    # Pooled blocks may have a percentile outside all of their own.
    return Estimate(value, min(low, value), max(high, value), interval)


def series(pool: Pool, blocks: int, seed: int) -> list[tuple[float, Estimate]]:
    """Return the percentiles of a percentile plot that can be told, evenly spaced in log(1/(1-p)), with intervals."""
    nines = np.arange(0.3, 4.01, 0.1)
    shown = sorted({50.0, 90.0, 99.0, 99.9, *(round(float(100 - 100 * 10**-power), 4) for power in nines[1:])})
    told = [percentile for percentile in shown if pool.told(percentile)]
    if not told:
        return []
    values = pool.percentiles(np.ones((1, blocks), dtype=np.int64), told)[0]
    if blocks == 1:
        return [(at, Estimate(float(value), None, None, "none")) for at, value in zip(told, values, strict=True)]
    if blocks < FEWEST_BLOCKS:
        interval, own = "range", pool.percentiles(np.eye(blocks, dtype=np.int64), told)
        ends = np.array([own.min(axis=0), own.max(axis=0)])
    else:
        interval, outside = "bootstrap", tail(blocks)
        ends = np.quantile(pool.percentiles(_draws(blocks, seed), told), [outside, 1 - outside], axis=0)
    lows, highs = np.minimum(ends[0], values), np.maximum(ends[1], values)
    return [
        (at, Estimate(float(value), float(low), float(high), interval))
        for at, value, low, high in zip(told, values, lows, highs, strict=True)
    ]


def _draws(blocks: int, seed: int) -> Integers:
    generator = np.random.default_rng(seed)
    return generator.multinomial(blocks, np.full(blocks, 1 / blocks), size=DRAWS)
