"""Captures made by hand, in memory: what the analysis and the reports read, without a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gilscope.capture import Code, Event, EventKind, Frame, Stack, Thread

if TYPE_CHECKING:
    from collections.abc import Iterator

MS = 1_000_000
COROUTINE = 0x80
LOOP, EXPORTER, WORKER = 1, 2, 3


def stack(*functions: str, file: str = "/srv/shop/app/main.py", flags: int = 0, truncated: bool = False) -> Stack:
    """Return a stack of functions of one file, innermost first, each at line 10, 11, and so on."""
    frames = (Frame(Code(name, file, 1, flags), 10 + depth) for depth, name in enumerate(functions))
    return Stack(tuple(frames), truncated)


@dataclass
class MadeCapture:
    """A capture that has an asyncio loop in thread 1; times are in milliseconds, which may be fractions."""

    made: list[Event] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=lambda: {"gil": "hooked", "argv": ["app.py"], "python": "3.11.2"})
    threads: dict[int, Thread] = field(
        default_factory=lambda: {
            LOOP: Thread(LOOP, 101, 0, 1, "MainThread"),
            EXPORTER: Thread(EXPORTER, 102, 0, 0, "OtelBatchSpanRecordProcessor"),
            WORKER: Thread(WORKER, 103, 0, 0, "worker"),
        }
    )
    stacks: dict[int, Stack] = field(default_factory=lambda: {0: Stack((), truncated=False)})
    texts: dict[int, str] = field(default_factory=dict)
    end: dict[str, Any] | None = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def events(self) -> Iterator[Event]:
        """Return the events, in the order in which they were made."""
        return iter(self.made)

    def stack(self, made: Stack) -> int:
        """Define a stack and return its number."""
        number = len(self.stacks)
        self.stacks[number] = made
        return number

    def event(self, kind: EventKind, thread: int, start: float, duration: float, **fields: int) -> None:
        """Append an event of any kind."""
        plain = {"flags": 0, "stack": 0, "count": 0, "a": 0, "b": 0} | fields
        self.made.append(
            Event(kind=kind, thread=thread, start_ns=round(start * MS), duration_ns=round(duration * MS), **plain)
        )

    def run(self, thread: int, start: float, end: float, stack: int = 0, longest: float | None = None) -> None:
        """Append a run of one hold, or of several of which the longest is given."""
        length = round((end - start if longest is None else longest) * MS)
        self.event(EventKind.RUN, thread, start, end - start, stack=stack, count=1, b=length)

    def wait(self, thread: int, start: float, end: float, stack: int = 0) -> None:
        """Append a wait, with a time-out each 5 ms."""
        self.event(EventKind.WAIT, thread, start, end - start, stack=stack, count=int((end - start) / 5))

    def iteration(self, start: float, end: float, cpu: float = 0, waited: float = 0, takes: int = 1) -> None:
        """Append an iteration of the loop."""
        self.event(EventKind.ITERATION, LOOP, start, end - start, count=takes, a=round(cpu * MS), b=round(waited * MS))

    def sample(self, thread: int, at: float, stack: int, since: float = 2, state: int = 1) -> None:
        """Append a sample of a thread that holds the GIL, unless told otherwise."""
        self.event(EventKind.SAMPLE, thread, at, 0, stack=stack, count=state, b=round(since * MS))

    def blocked(self, start: float, end: float, stack: int = 0, waited: float = 0) -> None:
        """Append a period in which the loop's thread was without the GIL."""
        self.event(EventKind.BLOCKED, LOOP, start, end - start, stack=stack, a=round(waited * MS))

    def export(self, start: float, end: float, spans: int = 512, refused: int = 0) -> None:
        """Append a request of 100 bytes a span to the collector."""
        self.event(EventKind.EXPORT, 0, start, end - start, count=spans, a=100 * spans, b=refused)

    def spans(self, at: float, *, queued: int = 0, exported: int = 0, dropped: int = 0, failed: int = 0) -> None:
        """Append what became of the spans of the first processor."""
        for state, spans in enumerate((queued, exported, dropped, failed), start=1):
            self.event(EventKind.SPANS, 0, at, 0, count=state, a=spans, b=1)

    def collection(self, thread: int, start: float, end: float, generation: int = 2, stack: int = 0) -> None:
        """Append a garbage collection of 1000 objects."""
        self.event(EventKind.COLLECTION, thread, start, end - start, stack=stack, count=generation, a=1000)

    def schedule(self, at: float, queued: float, cpu: float = 0, thread: int = LOOP) -> None:
        """Append a reading of how long a thread has been in the run queue, and on a core."""
        self.event(EventKind.SCHEDULE, thread, at, 0, a=round(queued * MS), b=round(cpu * MS))

    def task(self, at: float, name: str) -> None:
        """Append the task that the loop was in."""
        self.texts[len(self.texts) + 1] = name
        self.event(EventKind.TASK, LOOP, at, 0, count=len(self.texts))

    def convoy(self, start: float, waits: int, holder: int = EXPORTER, stack: int = 0, own: int = 0) -> float:
        """Append a stall in which the loop has the GIL for 1 ms, waits 5 ms, and so on; return when it ends."""
        at = start
        for _ in range(waits):
            self.run(LOOP, at, at + 1)
            self.run(holder, at + 1, at + 6, stack)
            self.wait(LOOP, at + 1, at + 6, own)
            at += 6
        self.run(LOOP, at, at + 1)
        self.iteration(start, at + 1, cpu=waits + 1, waited=5 * waits, takes=waits + 1)
        return at + 1
