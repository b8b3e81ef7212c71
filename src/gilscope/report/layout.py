"""Text on a terminal: columns, lines that fit, and nothing that a terminal would obey."""

from __future__ import annotations

import re
import unicodedata

_CUT = ".."
# Not between a number and its unit.
_BREAKS = re.compile(r" (?!%|[mun]?s\b)")


def printable(text: str) -> str:
    """Return the text with a question mark for all that is no visible character or plain space.

    Names in a capture may hold escape sequences, line ends, and marks that turn the direction of writing.
    """
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def columns(text: str) -> int:
    """Return how many columns a terminal needs for the text, at most."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    # Ambiguous ones are wide on some terminals.
    return 2 if unicodedata.east_asian_width(character) in {"W", "F", "A"} else 1


def fitted(text: str, width: int) -> str:
    """Return the text, cut with two dots where it is wider than the width."""
    if columns(text) <= width:
        return text
    room = width - len(_CUT)
    kept = ""
    for character in text:
        room -= _columns(character)
        if room < 0:
            break
        kept += character
    return (kept + _CUT)[: max(0, width)]


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
    """Return a bar as long as the part's share; of something it always shows something."""
    if not whole or part <= 0:
        return ""
    return "#" * max(1, round(width * min(part, whole) / whole))
