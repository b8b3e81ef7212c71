"""What encoding a span costs, in instructions: exact, so a machine's load does not matter."""

from __future__ import annotations

import shutil

import pytest

from tests.counts import callgrind, encode_many

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="counts with valgrind"),
]
# CPython's memory layout moves counts by 0.05 %.
TOLERANCE = 0.02


@pytest.fixture(scope="module")
def counts() -> dict[str, int]:
    """Instructions for one span of each kind."""
    return callgrind.count()


@pytest.mark.parametrize("which", encode_many.SPANS)
def test_encoding_costs_what_it_did(counts: dict[str, int], which: str) -> None:
    """More is a regression; less is a new count to be stored (python -m tests.counts.callgrind)."""
    stored = callgrind.stored().get(callgrind.environment())
    if stored is None:
        pytest.skip(f"nothing is stored for {callgrind.environment()}")
    assert counts[which] == pytest.approx(stored[which], rel=TOLERANCE)


def test_long_text_is_not_copied(counts: dict[str, int]) -> None:
    """Half a megabyte costs no more than ten short attributes: it is lent, and copied once, into the ring."""
    assert counts["text of 500 KB"] < counts["ten attributes"]


def test_ten_attributes_cost_less_than_the_span_around_them(counts: dict[str, int]) -> None:
    """Both are read by CPython's own functions; a detour through Python code would cost thousands."""
    assert counts["ten attributes"] - counts["no attributes"] < counts["no attributes"]
