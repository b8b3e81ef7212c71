"""What flame graphs and their exports show: stacks, each with the stall time that it cost, by cause."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gilscope.analysis.model import WeightedStack
    from gilscope.capture import Frame

# In the order in which they are shown: what is named, and whose stacks these are.
CAUSES = {
    "gil_wait": ("waiting for the GIL", "stacks of the threads that held it"),
    "on_cpu": ("loop on CPU", "stacks of the loop"),
    "off_cpu": ("loop off CPU", "stacks of the loop, blocked or without a core"),
}
NO_STACK = "(stack not seen)"
OUTER_MISSING = "(outer frames not recorded)"

# Control characters, those that reverse the direction of text, and what XML cannot say. A terminal or a browser obeys
# some of them, and the text is whatever the recorded program called its functions.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def of_cause(stacks: Iterable[WeightedStack], cause: str) -> list[WeightedStack]:
    """Return those of this cause that cost anything."""
    return [stack for stack in stacks if stack.cause == cause and stack.ns > 0]


def path(weighted: WeightedStack) -> Sequence[str | Frame]:
    """Return the thread's name, then the frames, outermost first, with words for what is missing."""
    thread = weighted.thread_name or "(unnamed thread)"
    if not weighted.stack.frames:
        return thread, NO_STACK
    return thread, *([OUTER_MISSING] if weighted.stack.truncated else []), *reversed(weighted.stack.frames)


def printable(text: str) -> str:
    """Return the text with every character replaced that is there to be obeyed and not to be read."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
