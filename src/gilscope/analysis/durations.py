"""Numbers in words."""

from __future__ import annotations

_UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us"), (1, "ns"))


def spoken(ns: int) -> str:
    """Return a duration with two or three digits that count: `4.1 s`, `97 ms`, `5.3 ms`, `350 us`."""
    for size, unit in _UNITS:
        # 9.95 and more would be rounded to 10.0.
        if ns >= size:
            amount = ns / size
            return f"{amount:.1f} {unit}" if amount < 9.95 and size > 1 else f"{amount:,.0f} {unit}"  # noqa: PLR2004 - one digit
    return "0"


def percent(part: int, whole: int) -> str:
    """Return a share in words: `71 %`; `0 %` of nothing."""
    share = 100 * part / whole if whole else 0.0
    return f"{share:.0f} %" if share == 0 or share >= 1 else "<1 %"


def counted(count: int, noun: str) -> str:
    """Return how many there are of something in words: `1 stall`, `1,204 stalls`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
