"""Whole nanoseconds, shared out so that the shares sum up to what there was."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def share_out(total: int, weights: Sequence[int]) -> list[int]:
    """Return one share of the total for each weight, in proportion; their sum is the total exactly.

    Args:
        total: what there is to share out, zero or more.
        weights: zero or more each; where all are zero they count as equal. At least one.
    """
    if len(weights) == 1:  # most of all calls
        return [total]
    whole = sum(weights)
    if whole == 0:
        weights, whole = [1] * len(weights), len(weights)
    # Rounding the running sum and not each share: what one share loses the next one gets.
    bounds = [total * upto // whole for upto in accumulate(weights)]
    return [upper - lower for lower, upper in zip([0, *bounds], bounds, strict=False)]
