"""One stall of an event loop: how long, and what for."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NS_PER_MS = 1e6
# A part of a stall that is less of it is not worth a word, nor a holder that had less of the wait.
_WORTH_TELLING = 0.1
_MAIN_THREAD = "MainThread"
UNNAMED = "(unnamed)"

# What a terminal, a log or a metrics text would obey instead of showing it.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """Return the text with every character replaced that is there to be obeyed and not to be read."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


class StallFrame(NamedTuple):
    """A function, and the line it was at; 0 is unknown."""

    name: str
    file: str
    line: int

    def __str__(self) -> str:
        file = self.file.rpartition("/")[2]
        return printable(f"{self.name} ({file}:{self.line})" if self.line else f"{self.name} ({file})")


@dataclass(frozen=True)
class Holder:
    """Who had the GIL while the loop waited for it.

    Attributes:
        thread: its name.
        ms: of the loop's waiting.
        stack: innermost first; empty if it was not seen.
    """

    thread: str
    ms: float
    stack: tuple[StallFrame, ...]

    def __str__(self) -> str:
        return f"{printable(self.thread)}{_inside(self.stack)}"


@dataclass(frozen=True)
class Stall:
    """An iteration of an event loop that took longer than the threshold.

    Attributes:
        thread: the name of the loop's thread.
        start_wall_ns: when it began, as `time.time_ns` tells it.
        start_monotonic_ns: the same, as `time.monotonic_ns` tells it.
        duration_ms: `on_cpu_ms`, `gil_wait_ms` and `off_cpu_ms` together.
        off_cpu_ms: the rest: blocked, or without a core.
        holders: who had the GIL meanwhile, up to four, those who took most first.
        stack: where the loop's own thread was longest, other than waiting for the GIL; innermost first, empty if it was
            not seen.
    """

    thread: str
    start_wall_ns: int
    start_monotonic_ns: int
    duration_ms: float
    on_cpu_ms: float
    gil_wait_ms: float
    off_cpu_ms: float
    holders: tuple[Holder, ...]
    stack: tuple[StallFrame, ...]

    def __str__(self) -> str:
        whose = "the loop" if self.thread == _MAIN_THREAD else f"the loop of {printable(self.thread)}"
        parts = sorted(self._parts(), reverse=True)
        told = [text for ms, text in parts if ms >= _WORTH_TELLING * self.duration_ms]
        return f"{whose} stalled for {self.duration_ms:.0f} ms: {', '.join(told)}"

    def _parts(self) -> Iterable[tuple[float, str]]:
        on_cpu, off_cpu = f"{self.on_cpu_ms:.0f} ms on CPU", f"{self.off_cpu_ms:.0f} ms off CPU"
        # The own stack belongs to the larger of both, as far as can be known.
        if self.on_cpu_ms >= self.off_cpu_ms:
            on_cpu += _inside(self.stack)
        else:
            off_cpu += _inside(self.stack)
        yield self.on_cpu_ms, on_cpu
        yield self.off_cpu_ms, off_cpu
        yield self.gil_wait_ms, f"{self.gil_wait_ms:.0f} ms waiting for the GIL{self._held()}"

    def _held(self) -> str:
        told = [holder for holder in self.holders if holder.ms >= _WORTH_TELLING * self.gil_wait_ms]
        if len(told) == 1:
            return f", held by {told[0]}"
        return ", held by " + " and ".join(f"{holder} for {holder.ms:.0f} ms" for holder in told) if told else ""

    @classmethod
    def of(cls, native: Mapping[str, Any], names: Mapping[int, str]) -> Stall:
        """Return the stall that `_probe.next_stall` told.

        Args:
            native: what it returned.
            names: of threads, by their numbers.
        """
        began_ago_ns = time.monotonic_ns() - native["start_ns"]
        off_cpu_ns = max(0, native["duration_ns"] - native["on_cpu_ns"] - native["gil_wait_ns"])
        own = native["own"]
        return cls(
            thread=names.get(native["thread"]) or UNNAMED,
            start_wall_ns=time.time_ns() - began_ago_ns,
            start_monotonic_ns=native["start_ns"],
            duration_ms=native["duration_ns"] / _NS_PER_MS,
            on_cpu_ms=native["on_cpu_ns"] / _NS_PER_MS,
            gil_wait_ms=native["gil_wait_ns"] / _NS_PER_MS,
            off_cpu_ms=off_cpu_ns / _NS_PER_MS,
            holders=tuple(
                Holder(names.get(holder["thread"]) or UNNAMED, holder["ns"] / _NS_PER_MS, _frames(holder["frames"]))
                for holder in native["holders"]
            ),
            stack=_frames(own["frames"]) if own else (),
        )


def _inside(stack: tuple[StallFrame, ...]) -> str:
    return f" in {stack[0]}" if stack else ""


def _frames(frames: Iterable[tuple[str, str, int]]) -> tuple[StallFrame, ...]:
    return tuple(StallFrame(*frame) for frame in frames)
