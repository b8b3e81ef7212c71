"""What the numbers of threads and stacks in a capture stand for; asked at its end, when all are defined."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gilscope.capture import Code, Frame, Stack

if TYPE_CHECKING:
    from gilscope.analysis.model import Recorded

# Stand for threads where nobody is to be named; no thread of a capture has such a number.
HANDING_OVER, UNKNOWN_HOLDER = -1, -2
NOBODY = {HANDING_OVER: "(handing over)", UNKNOWN_HOLDER: "(unknown holder)"}

# Stands innermost where a thread collected garbage: the collector has no frame.
COLLECTING = Frame(Code("[garbage collection]", "", 0, 0), 0)

_EMPTY = Stack((), truncated=False)
_LOOPS = {0: "", 1: "asyncio", 2: "uvloop"}


def collecting(stack: int) -> int:
    """Return the number that stands for a stack in which garbage was being collected; it is below zero."""
    return ~stack


class Names:
    """Looks up names and stacks, whatever is missing."""

    def __init__(self, capture: Recorded) -> None:
        self._threads = capture.threads
        self._stacks = capture.stacks
        self._texts = capture.texts

    def thread(self, number: int) -> str:
        """Return a thread's name; of one without a name its number."""
        if number in NOBODY:
            return NOBODY[number]
        return self._threads[number].name if self.has_name(number) else f"thread {number}"

    def has_name(self, number: int) -> bool:
        """Return whether a thread's name was seen."""
        thread = self._threads.get(number)
        return thread is not None and thread.name not in {"", "?"}

    def loop(self, number: int) -> str:
        """Return which kind of loop a thread runs, empty if none."""
        thread = self._threads.get(number)
        return _LOOPS.get(thread.loop, "unknown") if thread else ""

    def native_id(self, number: int) -> int:
        """Return the kernel's number of a thread, 0 if unknown."""
        thread = self._threads.get(number)
        return thread.native_id if thread else 0

    def task(self, number: int) -> str | None:
        """Return a task's name; None if it has none, or is none."""
        return self._texts.get(number) or None

    def stack(self, number: int) -> Stack:
        """Return a stack; the empty one if it is not defined."""
        if number < 0:
            inside = self.stack(collecting(number))
            return Stack((COLLECTING, *inside.frames), inside.truncated)
        return self._stacks.get(number, _EMPTY)
