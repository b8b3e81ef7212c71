"""What flame graphs and their exports show: stacks, each with the stall time that it cost, by cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gilscope.analysis.model import WeightedStack
    from gilscope.capture import Frame

# In the order in which they are shown: what is named, and whose stacks these are.
CAUSES = {
    "gil_wait": ("waiting for the GIL", "stacks of the threads that held it"),
    "on_cpu": ("loop on CPU", "stacks of the loop"),
    "blocked": ("loop blocked", "stacks of the loop, in system calls and locks"),
    "stopped": ("loop stopped", "stacks of the loop: it had no core, or the reason was not recorded"),
}
NO_STACK = "(stack not seen)"
OUTER_MISSING = "(outer frames not recorded)"


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
    """Return the text with every character replaced that is there to be obeyed and not to be read.

    Names in a capture are whatever the recorded program chose. Escape sequences, line ends, marks that turn the
    direction of writing and what XML cannot say are among what Unicode calls not printable.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
