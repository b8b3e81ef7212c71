"""What an analysis says; the reports show it and compute nothing. All durations and times are whole nanoseconds.

Analysis
├── verdict, findings            what it means, in sentences
├── facts: Facts                 what was recorded
├── loops: LoopAccount           each event loop: its iterations, and where its time went (Parts)
├── stalls: Stall                the worst ones, one by one: Parts, Convoy, Wait, StackTime, Collection
├── stall_stacks: WeightedStack  all stalls together, for flame graphs
├── stall_groups: StallGroup     the same by time
├── threads: ThreadAccount       each thread and the GIL
├── exports: Exports             what was sent to a collector of spans
├── intervals: Intervals         how far the figures are to be trusted
└── unseen: Unseen               what this is blind to
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gilscope.capture import Event, Frame, Stack, Thread


class Recorded(Protocol):
    """A capture as far as the analysis reads it; `gilscope.capture.Capture` is one."""

    @property
    def metadata(self) -> Mapping[str, Any]: ...  # noqa: D102 - see gilscope.capture
    @property
    def threads(self) -> Mapping[int, Thread]: ...  # noqa: D102
    @property
    def stacks(self) -> Mapping[int, Stack]: ...  # noqa: D102
    @property
    def texts(self) -> Mapping[int, str]: ...  # noqa: D102
    @property
    def end(self) -> Mapping[str, Any] | None: ...  # noqa: D102
    @property
    def problems(self) -> Sequence[str]: ...  # noqa: D102
    def events(self) -> Iterator[Event]: ...  # noqa: D102


@dataclass(frozen=True)
class Percentiles:
    """Durations, to three significant digits; count, total and maximum are exact."""

    count: int
    total_ns: int
    p50_ns: int
    p90_ns: int
    p99_ns: int
    p999_ns: int
    max_ns: int


@dataclass(frozen=True)
class Held:
    """How long one thread held the GIL while another one waited for it."""

    thread: int
    name: str
    ns: int


@dataclass(frozen=True)
class Parts:
    """Where the time of iterations went: `wall_ns == gil_wait_ns + on_cpu_ns + off_cpu_ns`, exactly.

    Attributes:
        wall_ns: from the return of the poll to the next poll.
        held_by: waiting for the GIL while another thread had it; the longest first.
        handing_over_ns: waiting for the GIL while nobody had it: the waiter was being woken, or had no core.
        unknown_holder_ns: waiting for the GIL, and the events that would say who had it were lost.
        on_cpu_ns: running, in Python or in native code.
        blocked_ns: without the GIL and off the CPU, in a system call or a native lock.
        no_core_ns: ready to run, and the kernel had no core for it; known for stalls alone, and a lower bound.
        unattributed_ns: off the CPU for a reason that nothing recorded tells.
        clock_error_ns: by how much the clocks of the parts said more than the wall clock; cut off from the parts.
    """

    wall_ns: int
    held_by: tuple[Held, ...]
    handing_over_ns: int
    unknown_holder_ns: int
    on_cpu_ns: int
    blocked_ns: int
    no_core_ns: int
    unattributed_ns: int
    clock_error_ns: int

    @property
    def gil_wait_ns(self) -> int:
        """Waiting for the GIL, whoever had it."""
        return sum(held.ns for held in self.held_by) + self.handing_over_ns + self.unknown_holder_ns

    @property
    def off_cpu_ns(self) -> int:
        """Neither running nor waiting for the GIL."""
        return self.blocked_ns + self.no_core_ns + self.unattributed_ns


@dataclass(frozen=True)
class Convoy:
    """How the waits for the GIL came: many of one switch interval, or one long one.

    Attributes:
        shape: `none` without waits; `convoy` if most of the waiting is waits of about one switch interval, at least
            three in an iteration: the holder runs Python code and is made to let go each time; `long_hold` if most of
            it is holds that did not end when asked to: the holder is in native code that keeps the GIL; else `mixed`.
        waits: how many.
        wait_ns: all of them together.
        longest_wait_ns: the longest.
        interval_waits: those that lasted about one switch interval.
        takes: how often the GIL was taken, waited for or not.
        iterations: in how many iterations.
    """

    shape: str
    waits: int
    wait_ns: int
    longest_wait_ns: int
    interval_waits: int
    takes: int
    iterations: int

    @property
    def mean_wait_ns(self) -> int:
        """The length of a wait, on average."""
        return self.wait_ns // self.waits if self.waits else 0

    @property
    def takes_per_iteration(self) -> float:
        """How often an iteration takes the GIL; times the switch interval it is the worst that a convoy can cost."""
        return self.takes / self.iterations if self.iterations else 0.0


@dataclass(frozen=True)
class LoopAccount:
    """One event loop.

    Attributes:
        kind: `asyncio`, `uvloop` or `unknown`.
        iterations: their length; the total is the loop's busy time.
        parts: where the time went, over all iterations.
        convoy: over all iterations.
        stalls: iterations of the threshold and longer; the total is the stalled time.
        stall_parts: where the time went, over all stalls.
        stall_convoy: over all stalls.
    """

    thread: int
    name: str
    kind: str
    iterations: Percentiles
    parts: Parts
    convoy: Convoy
    stalls: Percentiles
    stall_parts: Parts
    stall_convoy: Convoy


@dataclass(frozen=True)
class StackTime:
    """A stack and the time that was spent in it."""

    stack: Stack
    ns: int


@dataclass(frozen=True)
class Holder:
    """Who had the GIL in a wait, what it did, and how much of the wait that was."""

    thread: int
    name: str
    stack: Stack
    ns: int


@dataclass(frozen=True)
class Wait:
    """One wait for the GIL in a stall.

    Attributes:
        start_ns: after the start of the stall.
        timeouts: how often the holder was asked to let go.
        stack: of the waiter.
        holders: who had the GIL meanwhile; what is missing from the duration is handing over.
    """

    start_ns: int
    duration_ns: int
    timeouts: int
    stack: Stack
    holders: tuple[Holder, ...]


@dataclass(frozen=True)
class Collection:
    """A garbage collection in a stall; `duration_ns` is what of it lies in the stall."""

    thread: int
    name: str
    duration_ns: int
    generation: int
    collected: int


@dataclass(frozen=True)
class Stall:
    """One iteration of the threshold or longer.

    Attributes:
        thread: the loop's.
        start_ns: on the capture's clock.
        since_start_ns: after the start of the capture.
        waits: the longest ones, in the order of time; `convoy` counts all of them.
        on_cpu: stacks of the loop's thread; the longest first. An empty stack is time that no sample saw.
        blocked: where the loop's thread was without the GIL and off the CPU; the longest first.
        stopped: where it was off the CPU without having been blocked: what had no core, and what is unattributed.
        ran: the outermost coroutine that was seen in it, if one was.
        task: the name of the asyncio task that ran in its middle; None where nobody could tell.
    """

    thread: int
    loop_name: str
    start_ns: int
    since_start_ns: int
    parts: Parts
    convoy: Convoy
    waits: tuple[Wait, ...]
    on_cpu: tuple[StackTime, ...]
    blocked: tuple[StackTime, ...]
    stopped: tuple[StackTime, ...]
    collections: tuple[Collection, ...]
    ran: Frame | None
    task: str | None

    @property
    def wall_ns(self) -> int:
        """How long it was."""
        return self.parts.wall_ns


@dataclass(frozen=True)
class WeightedStack:
    """Time of stalls by cause, thread and stack; those of all stalls sum up to the stalled time.

    Attributes:
        cause: `gil_wait`: what the holder of the GIL did while the loop waited; `on_cpu`, `blocked`, `stopped`: what
            the loop did, or was about to do when it had no core.
        thread_name: the holder's or the loop's; `(handing over)` and `(unknown holder)` where there is none.
        stack: empty where nothing saw it; `[garbage collection]` is innermost where the thread collected.
    """

    cause: str
    thread_name: str
    stack: Stack
    ns: int


@dataclass(frozen=True)
class StallGroup:
    """A stall and what it was made of; neighbouring stalls together where a recording has very many.

    Attributes:
        since_start_ns: after the start of the capture.
        duration_ns: to the end of the last of them.
        stalls: how many.
        weights: places in `Analysis.stall_stacks`, and the time of that stack in this group.
    """

    since_start_ns: int
    duration_ns: int
    stalls: int
    weights: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class ThreadAccount:
    """One thread and the GIL.

    Attributes:
        loop: `asyncio`, `uvloop`, or empty for a thread that runs no loop.
        held_ns: had the GIL.
        waited_ns: waited for it.
        takes: took it, waited for or not.
        forced: was made to let go.
        longest_hold_ns: the longest single hold.
        runs: how long nobody else had it in between.
        waits: the single waits.
        holds: the single holds; percentiles to 1.6 %. None in captures of before they were counted.
    """

    thread: int
    native_id: int
    name: str
    loop: str
    held_ns: int
    waited_ns: int
    takes: int
    forced: int
    longest_hold_ns: int
    runs: Percentiles
    waits: Percentiles
    holds: Percentiles


@dataclass(frozen=True)
class Exports:
    """What the processors of the process sent to their collectors while it was recorded, and what became of spans.

    Attributes:
        requests: retries count as the same one.
        requests_not_accepted: those of which the collector did not accept every span.
        sent_bytes: bodies as sent, retries included.
        refused_spans: not accepted, of those sent.
        longest_request_ns: with its retries, and the pauses between them.
        queued_most_spans: at the end of any request.
        exported_spans: since each processor began, which may be before the recording; so are dropped and failed ones.
    """

    requests: int
    requests_not_accepted: int
    sent_spans: int
    sent_bytes: int
    refused_spans: int
    longest_request_ns: int
    queued_most_spans: int
    exported_spans: int
    dropped_spans: int
    failed_spans: int


@dataclass(frozen=True)
class Intervals:
    """Between what the figures of such a recording lie, low and high, at 95 %: see `gilscope.analysis.intervals`.

    Attributes:
        blocks: of how many.
        block_ns: how long each was.
        longest_ns: the blocks' own longest iterations, from the shortest of them to the longest; no interval.
        iteration_p99_ns: of the first loop.
    """

    blocks: int
    block_ns: int
    stalls_per_minute: tuple[float, float]
    stalled_share: tuple[float, float]
    longest_ns: tuple[int, int]
    iteration_p99_ns: tuple[int, int]


@dataclass(frozen=True)
class Finding:
    """One cause of stalls. Findings look at the same time from several sides: their times do not sum up.

    Attributes:
        kind: one of `findings.KINDS`.
        title: one line.
        evidence: what shows it.
        remedy: what to do about it.
        stolen_ns: time of stalls that it explains.
    """

    kind: str
    title: str
    evidence: tuple[str, ...]
    remedy: str
    stolen_ns: int


@dataclass(frozen=True)
class Facts:
    """What was recorded.

    Attributes:
        gil: `hooked`, `none` (a free-threaded build), `unavailable`, or empty where the capture does not say.
        started_wall_ns: when it started, since the epoch; 0 if unknown.
        started_ns: likewise, on the capture's clock.
        duration_ns: from the first to the last thing known.
        events: how many were read.
        complete: the recording was stopped in order.
    """

    argv: tuple[str, ...]
    python: str
    gil: str
    started_wall_ns: int
    started_ns: int
    duration_ns: int
    threshold_ns: int
    switch_interval_ns: int
    events: int
    complete: bool


@dataclass(frozen=True)
class Unseen:
    """What the analysis is blind to.

    Attributes:
        lost: events that could not be recorded, by reason.
        samples: `taken`, `late` and `missed` as the recording counted them, where it did; else those read as `taken`.
        samples_too_late: came so long after their stall that it had been closed.
        truncated_stacks: deeper than could be kept.
        not_sampled_ns: time of stalls without any stack.
        unattributed_ns: time of stalls off the CPU for no known reason.
        unknown_holder_ns: time of stalls waiting for the GIL, nobody knows for whom.
        clock_error_ns: what was cut off so that the parts of stalls sum up.
        contradicted_ns: what was cut off from events that overlap and cannot.
        forgotten: iterations so long that what happened early in them was no longer remembered.
        unnamed: threads that ended before their name was seen.
        problems: of reading the file, in words.
    """

    lost: Mapping[str, int]
    samples: Mapping[str, int]
    samples_too_late: int
    truncated_stacks: int
    not_sampled_ns: int
    unattributed_ns: int
    unknown_holder_ns: int
    clock_error_ns: int
    contradicted_ns: int
    forgotten: int
    unnamed: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Analysis:
    """Why the loops of a capture stalled.

    Attributes:
        verdict: one sentence.
        findings: the one that explains most first.
        loops: the one that was stalled longest first.
        stalls: the worst, the longest first; the loops count all of them.
        stall_stacks: of all stalls, the longest first.
        stall_groups: of all stalls, in the order in which they ended.
        threads: the one that held the GIL longest first.
        exports: None where nothing of them was recorded.
        intervals: None of a recording that is too short, or has no loop.
    """

    facts: Facts
    verdict: str
    findings: tuple[Finding, ...]
    loops: tuple[LoopAccount, ...]
    stalls: tuple[Stall, ...]
    stall_stacks: tuple[WeightedStack, ...]
    stall_groups: tuple[StallGroup, ...]
    threads: tuple[ThreadAccount, ...]
    exports: Exports | None
    intervals: Intervals | None
    unseen: Unseen

    @property
    def stall_count(self) -> int:
        """How many iterations took the threshold or longer, over all loops."""
        return sum(loop.stalls.count for loop in self.loops)

    @property
    def stalls_per_minute(self) -> float:
        """How many there were in a minute of the recording, on average."""
        return self.stall_count * 60e9 / self.facts.duration_ns if self.facts.duration_ns else 0.0

    @property
    def stalled_ns(self) -> int:
        """How long they were together."""
        return sum(loop.stalls.total_ns for loop in self.loops)

    @property
    def longest_stall_ns(self) -> int:
        """How long the longest of them was; 0 without any."""
        return max((loop.stalls.max_ns for loop in self.loops), default=0)
