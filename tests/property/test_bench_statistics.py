"""Percentiles of drawn blocks equal those of the values, written out and sorted."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gilscope.bench.statistics import Pool

blocks = st.lists(st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=30), min_size=1, max_size=5)


@given(blocks, st.data(), st.sampled_from([1, 25, 50, 90, 99, 99.9, 100]))
def test_percentile_of_any_draw_equals_numpys_of_the_values_written_out(
    values: list[list[int]], data: st.DataObject, percentile: float
) -> None:
    """Numpy's inverse of the empirical distribution is the oracle."""
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(values), max_size=len(values)).filter(any))
    drawn = [value for block, times in zip(values, weights, strict=True) for value in block * times]
    pool = Pool([np.array(block, dtype=np.int64) for block in values])
    found = pool.percentiles(np.array([weights], dtype=np.int64), [percentile])[0, 0]
    assert found == np.percentile(drawn, percentile, method="inverted_cdf")
