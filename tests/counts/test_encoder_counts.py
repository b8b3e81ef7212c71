"""What encoding a span costs, in instructions: exact, so a machine's load does not matter."""

from __future__ import annotations

import shutil

import pytest

from tests.counts import callgrind, encode_many

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="counts with valgrind"),
]
# Of our own instructions; nothing but the compiler moves them.
TOLERANCE = 0.02


@pytest.fixture(scope="module")
def counts() -> dict[str, callgrind.Count]:
    """Instructions for one span of each kind."""
    return callgrind.count()


@pytest.mark.parametrize("which", encode_many.SPANS)
def test_encoding_costs_what_it_did(counts: dict[str, callgrind.Count], which: str) -> None:
    """More is a regression; less is a new count to be stored (python -m tests.counts.callgrind)."""
    stored = callgrind.stored().get(callgrind.environment())
    if stored is None:
        pytest.skip(f"nothing is stored for {callgrind.environment()}")
    assert counts[which].instructions == pytest.approx(stored[which].instructions, rel=TOLERANCE)
    assert counts[which].calls == stored[which].calls


def test_long_text_is_not_copied(counts: dict[str, callgrind.Count]) -> None:
    """Half a megabyte costs no more than ten short attributes: it is lent, and copied once, into the ring."""
    assert counts["text of 500 KB"].instructions < counts["ten attributes"].instructions


def test_plain_attribute_needs_no_more_than_two_calls(counts: dict[str, callgrind.Count]) -> None:
    """The next item of the dict, and the value of an int or the copy of a text: what CPython keeps is read in place."""
    assert counts["ten attributes"].calls - counts["no attributes"].calls <= 2 * len(encode_many.TEN)
