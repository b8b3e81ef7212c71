"""Text on a terminal: columns, and lines that fit."""

from __future__ import annotations

import re
import unicodedata

# Not between a number and its unit.
_BREAKS = re.compile(r" (?!%|[mun]?s\b)")


def columns(text: str) -> int:
    """Return how many columns a terminal needs for the text, at most."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    # Ambiguous ones are wide on some terminals.
    return 2 if unicodedata.east_asian_width(character) in {"W", "F", "A"} else 1


def fitted(text: str, width: int, cut: str = "..") -> str:
    """Return the text, ending in two dots or what else is given where it was wider than the width."""
    if columns(text) <= width:
        return text
    room = width - columns(cut)
    kept = ""
    for character in text:
        room -= _columns(character)
        if room < 0:
            break
        kept += character
    return (kept + cut)[: max(0, width)]


def padded(text: str, width: int) -> str:
    """Return the text in exactly this many columns, on the left."""
    text = fitted(text, width)
    return text + " " * (width - columns(text))


def wrapped(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """Return the text in lines that are no wider than the width, broken at spaces; a longer word is cut.

    Args:
        text: without line ends.
        width: of the lines, with what stands before them.
        first: what the first line starts with.
        rest: what the others start with.
    """
    lines: list[str] = []
    line = first
    empty = True
    for word in _BREAKS.split(text):
        wider = word if empty else f" {word}"
        if not empty and columns(line) + columns(wider) > width:
            lines.append(line)
            line, wider = rest, word
        line += wider
        empty = False
    return [fitted(line, width) for line in [*lines, line]]


def bar(part: int, whole: int, width: int) -> str:
    """Return a bar as long as the part's share, to the nearest character."""
    return "#" * round(width * min(part, whole) / whole) if whole and part > 0 else ""
