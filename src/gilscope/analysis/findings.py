"""Findings: what the stalls have in common, what shows it, and what to do about it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gilscope.analysis import places
from gilscope.analysis.durations import counted, percent, spoken
from gilscope.analysis.evidence import GIL_WAIT, Cost, Evidence
from gilscope.analysis.model import Finding
from gilscope.analysis.names import NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from gilscope.analysis.evidence import LoopConvoy
    from gilscope.analysis.model import LoopAccount
    from gilscope.analysis.names import Names
    from gilscope.capture import Frame, Stack

# A cause of less than this share of the stalled time makes no difference that anybody sees when it is removed.
_SHARE = 0.02
# Of findings that name a place: more places than these are a flame graph.
_PLACES = 3

_MORE_CPU = (
    "Give the process more CPU (look at the container's CPU limit first: throttling looks like this), "
    "or start fewer busy threads and processes beside it."
)

# OpenTelemetry's names of them, by version: OtelBatchSpanProcessor, OtelBatchSpanRecordProcessor, ...
_EXPORTER_THREADS = "OtelBatch"
# Its batch processors and exporters, where they have been since 1.0, and those of distributions that kept the names.
_EXPORTER_MODULES = (
    "opentelemetry/exporter/",
    "opentelemetry/sdk/_shared_internal/",
    "opentelemetry/sdk/trace/export/",
    "opentelemetry/sdk/_logs/_internal/export/",
    "opentelemetry/sdk/metrics/_internal/export/",
)
# C functions have no frames: the innermost Python frame is in the module that called one, or is named after it.
_C_MODULES = {
    "json/": "json",
    "re/": "re",
    "re.py": "re",
    "gzip.py": "zlib",
    "zipfile": "zlib",
    "copy.py": "copy",
    "pickle.py": "pickle",
    "hashlib.py": "hashlib",
    "opentelemetry/proto/": "protobuf",
    "google/protobuf/": "protobuf",
    "opentelemetry/exporter/": "protobuf",
}


def findings(evidence: Evidence, loops: Sequence[LoopAccount], names: Names) -> tuple[Finding, ...]:
    """Return the findings that explain a share of the stalled time worth naming; what explains most comes first."""
    stalled_ns = sum(loop.stalls.total_ns for loop in loops)
    reader = _Reader(evidence, {loop.thread: loop for loop in loops}, names, stalled_ns)
    found = [finding for kind in KINDS.values() for finding in kind(reader)]
    worth = [finding for finding in found if finding.stolen_ns > _SHARE * stalled_ns]
    return tuple(sorted(worth, key=lambda finding: -finding.stolen_ns))


@dataclass(frozen=True)
class _Reader:
    """The evidence, with what turns its numbers into words."""

    evidence: Evidence
    loops: Mapping[int, LoopAccount]
    names: Names
    stalled_ns: int

    def share(self, ns: int) -> str:
        """Return a time, and how much of the stalls it is."""
        return f"{spoken(ns)}, {percent(ns, self.stalled_ns)} of the stalled time"

    def held_by(self, wanted: Callable[[int, Stack], bool]) -> list[tuple[int, Stack, int]]:
        """Return the holders that are wanted, by thread and stack, with what the loops lost to each."""
        return [
            (thread, self.names.stack(stack), ns)
            for (cause, thread, stack), ns in self.evidence.weights.items()
            if cause == GIL_WAIT and thread not in NOBODY and wanted(thread, self.names.stack(stack))
        ]

    def by_place(self, costs: Mapping[tuple[int, int], Cost]) -> list[tuple[Frame | None, Stack, Cost]]:
        """Return costs of the same function and line as one, the largest first, with the stack that cost most."""
        sums: defaultdict[Frame | None, Cost] = defaultdict(Cost)
        worst: dict[Frame | None, tuple[int, Stack]] = {}
        for (_, number), cost in costs.items():
            stack = self.names.stack(number)
            frame = places.own(stack)
            sums[frame].merge(cost)
            if frame not in worst or worst[frame][0] < cost.ns:
                worst[frame] = cost.ns, stack
        largest = sorted(sums.items(), key=lambda item: -item[1].ns)
        return [(frame, worst[frame][1], cost) for frame, cost in largest]


def _gil_convoy(reader: _Reader) -> Iterator[Finding]:
    for thread, convoy in reader.evidence.convoys.items():
        loop = reader.loops[thread]
        uvloop = loop.kind == "uvloop"
        once = "callback of libuv, which runs without it" if uvloop else "poll and each system call"
        per_iteration = loop.stall_convoy.takes_per_iteration
        yield Finding(
            "gil_convoy",
            f"the loop waited its turn for the GIL again and again, up to {convoy.most} times in one iteration",
            (
                _convoy_cost(convoy, reader),
                *_holders(convoy, reader.names),
                f"{loop.kind} takes the GIL once for each {once}; {per_iteration:.1f} times in a stalled iteration",
                "a thread that runs Python code lets go of it only when the switch interval is over",
            ),
            "Move the work of that thread out of the process, or into native code without the GIL; "
            "a shorter sys.setswitchinterval makes each wait shorter and everything else a little slower"
            + (". With asyncio's own loop an iteration pays only once." if uvloop else "."),
            # Without the hand-overs, which are not the holders' fault.
            sum(convoy.holders.values()),
        )


def _convoy_cost(convoy: LoopConvoy, reader: _Reader) -> str:
    cost = convoy.cost
    waits = f"{convoy.waits:,} waits of about one switch interval each (mean {spoken(cost.ns // convoy.waits)})"
    return f"{waits} in {counted(cost.times, 'stall')}: {reader.share(cost.ns)}"


def _holders(convoy: LoopConvoy, names: Names) -> Iterator[str]:
    held_ns = sum(convoy.holders.values())
    for holder, ns in sorted(convoy.holders.items(), key=lambda item: -item[1])[:_PLACES]:
        yield f"{names.thread(holder)} had the GIL in {percent(ns, held_ns)} of them ({spoken(ns)})"


def _exporter_thread(reader: _Reader) -> Iterator[Finding]:
    def exports(thread: int, stack: Stack) -> bool:
        return reader.names.thread(thread).startswith(_EXPORTER_THREADS) or any(
            module in frame.code.file for frame in stack.frames for module in _EXPORTER_MODULES
        )

    held = reader.held_by(exports)
    by_thread: Counter[int] = Counter()
    for thread, _, ns in held:
        by_thread[thread] += ns
    where = places.mostly_in((stack, ns) for _, stack, ns in held)
    yield Finding(
        "exporter_thread",
        "a telemetry exporter's thread held the GIL while the loop waited",
        (
            *(f"{reader.names.thread(thread)}: {reader.share(ns)}" for thread, ns in by_thread.most_common(_PLACES)),
            *([f"mostly in {places.place(where)}"] if where else []),
        ),
        "Use gilscope.NativeSpanProcessor in place of BatchSpanProcessor, or call gilscope.install(): "
        "it encodes and sends spans without the GIL.",
        sum(by_thread.values()),
    )


def _long_c_call(reader: _Reader) -> Iterator[Finding]:
    calls: defaultdict[tuple[int, str | None], defaultdict[tuple[Frame | None, Frame | None], Cost]]
    calls = defaultdict(lambda: defaultdict(Cost))
    for (thread, number), cost in reader.evidence.long_holds.items():
        stack = reader.names.stack(number)
        leaf = stack.frames[0] if stack.frames else None
        calls[thread, _c_module(leaf)][leaf, places.own(stack)].merge(cost)
    for (thread, module), by_place in calls.items():
        largest = sorted(by_place.items(), key=lambda item: -item[1].ns)
        total = Cost()
        for _, cost in largest:
            total.merge(cost)
        holds = counted(total.times, "hold")
        yield Finding(
            "long_c_call",
            f"a call into native code ({module}) kept the GIL" if module else "a call into native code kept the GIL",
            (
                *(_call(reader.names.thread(thread), leaf, own, cost) for (leaf, own), cost in largest[:_PLACES]),
                f"{holds} for {reader.share(total.ns)}; the longest hold {spoken(total.longest_ns)}",
                "it was asked to let go after each switch interval and did not: native code is not interrupted"
                + ("" if module else " (a thread that had lost its core would look the same)"),
            ),
            "Give it less at a time (smaller batches or documents, chunks), use a library that releases the GIL, "
            "or do it in another process.",
            total.ns,
        )


def _call(thread_name: str, leaf: Frame | None, own: Frame | None, cost: Cost) -> str:
    where = places.place(leaf) if leaf else "a place that no sample saw"
    caller = f", called from {places.place(own)}" if own and own != leaf else ""
    return f"{thread_name} in {where}{caller}: {spoken(cost.ns)}"


def _c_module(leaf: Frame | None) -> str | None:
    """Return the library whose native code was called, as far as the innermost Python frame tells."""
    if leaf is None:
        return None
    file = places.library_file(leaf.code.file)
    return next((module for start, module in _C_MODULES.items() if file and file.startswith(start)), None)


def _blocking_call(reader: _Reader) -> Iterator[Finding]:
    for frame, stack, cost in reader.by_place(reader.evidence.blocked)[:_PLACES]:
        ran, leaf = places.coroutine(stack), stack.frames[0] if stack.frames else None
        yield Finding(
            "blocking_call",
            f"the loop was blocked in {frame.code.name}" if frame else "the loop was blocked in a system call",
            (
                places.place(frame) if frame else "the place was not recorded",
                *([f"it was waiting in {places.place(leaf)}"] if leaf and leaf != frame else []),
                *([f"called from the coroutine {places.place(ran)}"] if ran and ran != frame else []),
                f"in {counted(cost.times, 'stall')} for {reader.share(cost.ns)}; the longest {spoken(cost.longest_ns)}",
            ),
            "Await it instead (asyncio.sleep, an asynchronous client, an asyncio.Lock), "
            "or hand it to a thread with asyncio.to_thread.",
            cost.ns,
        )


def _cpu_in_callback(reader: _Reader) -> Iterator[Finding]:
    for frame, stack, cost in reader.by_place(reader.evidence.cpu)[:_PLACES]:
        ran = places.coroutine(stack)
        yield Finding(
            "cpu_in_callback",
            f"the loop computed in {frame.code.name}" if frame else "the loop computed",
            (
                places.place(frame) if frame else "no sample was taken, so the place is not known",
                *([f"called from the coroutine {places.place(ran)}"] if ran and ran != frame else []),
                f"in {counted(cost.times, 'stall')} for {reader.share(cost.ns)}; the longest {spoken(cost.longest_ns)}",
            ),
            "Split it with await asyncio.sleep(0), make it cheaper, or move it to another process "
            "(a thread would still compete for the GIL).",
            cost.ns,
        )


def _garbage_collection(reader: _Reader) -> Iterator[Finding]:
    total = Cost()
    for cost in reader.evidence.collections.values():
        total.merge(cost)
    yield Finding(
        "garbage_collection",
        "garbage collections stopped the loop",
        (
            f"{total.times:,} in stalls took {reader.share(total.ns)}; the longest {spoken(total.longest_ns)}",
            *(
                f"generation {generation}: {cost.times:,}, {spoken(cost.ns)}"
                for generation, cost in sorted(reader.evidence.collections.items(), reverse=True)
            ),
        ),
        "Call gc.freeze() once the application has started, so that what lives for ever is not looked at again; "
        "raise gc.set_threshold; make fewer objects that live long (queued spans are such).",
        total.ns,
    )


def _holder_without_core(reader: _Reader) -> Iterator[Finding]:
    holders = sorted(reader.evidence.starved.items(), key=lambda item: -item[1].ns)
    yield Finding(
        "holder_without_core",
        "the GIL's holder had no core",
        (
            *(f"{reader.names.thread(holder)}: about {reader.share(cost.ns)}" for holder, cost in holders[:_PLACES]),
            "the loop waited for the GIL, and its holder for a core: what ran there held up both (priority inversion)",
        ),
        _MORE_CPU,
        sum(cost.ns for _, cost in holders),
    )


def _no_core(reader: _Reader) -> Iterator[Finding]:
    evidence = reader.evidence
    ns = evidence.no_core_ns + evidence.handing_over_ns
    yield Finding(
        "no_core",
        "the loop was ready to run and had no core",
        (
            f"{spoken(evidence.no_core_ns)} in the kernel's run queue, at least",
            f"{spoken(evidence.handing_over_ns)} between the moment the GIL became free and the moment it was taken",
            f"together {reader.share(ns)}",
        ),
        _MORE_CPU,
        ns,
    )


def _too_many_threads(reader: _Reader) -> Iterator[Finding]:
    queue = reader.evidence.queue
    yield Finding(
        "too_many_threads",
        "many threads wanted the GIL at once",
        (
            f"up to {reader.evidence.longest_queue} of them had the GIL one after the other in one wait of the loop",
            f"{counted(queue.times, 'such wait')}: {reader.share(queue.ns)}; the longest {spoken(queue.longest_ns)}",
        ),
        "Lower max_workers of thread pools to what the GIL can serve, or use processes for work that computes.",
        queue.ns,
    )


KINDS: dict[str, Callable[[_Reader], Iterable[Finding]]] = {
    # Of two that explain the same time, the one that names who is told before the one that tells how.
    "exporter_thread": _exporter_thread,
    "gil_convoy": _gil_convoy,
    "long_c_call": _long_c_call,
    "blocking_call": _blocking_call,
    "cpu_in_callback": _cpu_in_callback,
    "garbage_collection": _garbage_collection,
    "holder_without_core": _holder_without_core,
    "no_core": _no_core,
    "too_many_threads": _too_many_threads,
}
