"""The report for a terminal: plain text, the answer first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gilscope.analysis.durations import percent, spoken
from gilscope.report.layout import bar, fitted, padded, wrapped
from gilscope.report.stack_lines import Files, stack_lines
from gilscope.report.stacks import printable
from gilscope.report.words import capitalised, export_rows, parts_rows, unseen_lines, waits_in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gilscope.analysis.model import Analysis, LoopAccount, Parts, Percentiles, Stall, Unseen, Wait
    from gilscope.capture import Stack

_STALLS = 10
_THREADS = 12
# In one stall: the two that cost most tell what it was about.
_STACKS = 2
# And only what made at least this share of it.
_WORTH = 0.1


def render(analysis: Analysis, width: int = 100) -> str:
    """Return the report, with no line wider than the width, and nothing in it that a terminal would obey."""
    stalls = analysis.stalls[:_STALLS]
    files = Files(stack for stall in stalls for stack in _stacks(stall))
    lines = [
        *wrapped(capitalised(analysis.verdict) + ".", width),
        *_facts(analysis, width),
        *_findings(analysis, width),
        *(line for loop in analysis.loops for line in _loop(loop, analysis, width)),
        *_heading(f"Worst stalls ({len(stalls)} of {analysis.stall_count:,})" if stalls else ""),
        *(line for number, stall in enumerate(stalls, 1) for line in _stall(number, stall, files, width)),
        *_threads(analysis),
        *_exports(analysis),
        *_unseen(analysis.unseen, analysis.stalled_ns, width),
    ]
    return "".join(fitted(printable(line), width).rstrip() + "\n" for line in lines)


def _heading(text: str) -> Iterator[str]:
    if text:
        yield from ("", text, "-" * len(text))


def _facts(analysis: Analysis, width: int) -> Iterator[str]:
    facts = analysis.facts
    loops = ", ".join(f"{loop.name} ({loop.kind})" for loop in analysis.loops)
    cut = "" if facts.complete else "; cut off, as the recording was not stopped in order"
    yield ""
    yield from wrapped(" ".join(facts.argv) or "unknown", width, "Command   ", " " * 10)
    yield from wrapped(f"{spoken(facts.duration_ns)}, {facts.events:,} events{cut}", width, "Recorded  ", " " * 10)
    stall = f"; an iteration of {spoken(facts.threshold_ns)} or more is a stall"
    yield from wrapped(loops + stall if loops else "none", width, "Loops     ", " " * 10)
    yield from wrapped(facts.python or "unknown", width, "Python    ", " " * 10)


def _findings(analysis: Analysis, width: int) -> Iterator[str]:
    yield from _heading("Findings" if analysis.findings else "")
    for number, finding in enumerate(analysis.findings, 1):
        share = percent(finding.stolen_ns, analysis.stalled_ns)
        title = f"{capitalised(finding.title)}: {spoken(finding.stolen_ns)} ({share} of the stalled time)"
        yield from wrapped(title, width, f"{number:>2}. ", "    ")
        for evidence in finding.evidence:
            yield from wrapped(evidence, width, "    - ", "      ")
        yield from wrapped(finding.remedy, width, "    What to do: ", "      ")
    if analysis.findings:
        yield from wrapped("Findings look at the same time from several sides: they do not sum up.", width)


def _loop(loop: LoopAccount, analysis: Analysis, width: int) -> Iterator[str]:
    busy = percent(loop.iterations.total_ns, analysis.facts.duration_ns)
    yield from _heading(f"Loop {loop.name} ({loop.kind}), busy {busy} of the time")
    yield "               count       p50       p90       p99     p99.9       max     total"
    yield _percentiles("iterations", loop.iterations)
    if loop.stalls.count:
        yield _percentiles("stalls", loop.stalls)
    yield ""
    yield f"{'Where the time went':<34}{'all iterations':>20}" + (f"{'stalls':>20}" if loop.stalls.count else "")
    yield from _parts(loop.parts, loop.stall_parts, width)
    if loop.stalls.count:
        convoy = loop.stall_convoy
        yield ""
        words = f"GIL in stalls: {waits_in_words(convoy)}; taken {convoy.takes_per_iteration:.1f} times in an iteration"
        yield from wrapped(words, width, rest="  ")


def _percentiles(name: str, found: Percentiles) -> str:
    cells = (found.p50_ns, found.p90_ns, found.p99_ns, found.p999_ns, found.max_ns, found.total_ns)
    return f"{name:<11}{found.count:>9,}" + "".join(f"{spoken(ns):>10}" for ns in cells)


def _parts(every: Parts, stalled: Parts, width: int) -> Iterator[str]:
    for name, all_ns, stalled_ns in parts_rows(every, stalled):
        cells, ns, whole_ns = _cell(all_ns, every.wall_ns), all_ns, every.wall_ns
        if stalled.wall_ns:
            cells, ns, whole_ns = cells + _cell(stalled_ns, stalled.wall_ns), stalled_ns, stalled.wall_ns
        yield f"{padded(printable(name), 34)}{cells}  {bar(ns, whole_ns, max(0, width - 78))}"


def _cell(ns: int, whole_ns: int) -> str:
    return f"{spoken(ns):>10}{percent(ns, whole_ns):>10}"


def _stacks(stall: Stall) -> Iterator[Stack]:
    for time in (*stall.on_cpu[:_STACKS], *stall.blocked[:_STACKS], *stall.stopped[:_STACKS]):
        yield time.stack
    for wait in stall.waits:
        yield wait.stack
        yield from (holder.stack for holder in wait.holders)


def _stall(number: int, stall: Stall, files: Files, width: int) -> Iterator[str]:
    parts = stall.parts
    split = {
        "GIL wait": parts.gil_wait_ns,
        "on CPU": parts.on_cpu_ns,
        "blocked": parts.blocked_ns,
        "no core": parts.no_core_ns,
        "unattributed": parts.unattributed_ns,
    }
    words = ", ".join(f"{name} {spoken(ns)}" for name, ns in split.items() if ns)
    at = stall.since_start_ns / 1e9
    title = f"{spoken(stall.wall_ns)} at {at:.3f} s in {stall.loop_name}: {words}"
    yield from wrapped(title, width, f"{number:>2}. ", "    ")
    if ran := files.ran(stall):
        yield from wrapped(f"ran {ran}", width, "    ", "      ")
    if stall.convoy.waits:
        yield from wrapped(f"GIL: {waits_in_words(stall.convoy)}", width, "    ", "      ")
    off_cpu = "no core, in" if parts.no_core_ns >= parts.unattributed_ns else "off the CPU, in"
    stacks = [
        *(("waited for the GIL in", stack, ns) for stack, ns in _waiters(stall.waits)[:_STACKS]),
        *((f"GIL held by {name} in", stack, ns) for (name, stack), ns in _holders(stall.waits)[:_STACKS]),
        *(("computed in", time.stack, time.ns) for time in stall.on_cpu[:_STACKS]),
        *(("blocked in", time.stack, time.ns) for time in stall.blocked[:_STACKS]),
        *((off_cpu, time.stack, time.ns) for time in stall.stopped[:_STACKS]),
    ]
    # What the loop's thread did and what it lacked a core for are the same places: each is shown once.
    titles: dict[Stack, list[str]] = {}
    for what, stack, ns in stacks:
        if ns >= _WORTH * stall.wall_ns:
            titles.setdefault(stack, []).append(f"{what} ({spoken(ns)})")
    for stack, of_stack in titles.items():
        yield from wrapped("; ".join(of_stack), width, "    ", "      ")
        yield from (f"      {line}" for line in stack_lines(stack, files))
    for collection in stall.collections:
        length = spoken(collection.duration_ns)
        yield f"    garbage collection, generation {collection.generation}, {length} in {collection.name}"
    yield ""


def _waiters(waits: Iterable[Wait]) -> list[tuple[Stack, int]]:
    sums: dict[Stack, int] = {}
    for wait in waits:
        if wait.stack.frames:
            sums[wait.stack] = sums.get(wait.stack, 0) + wait.duration_ns
    return sorted(sums.items(), key=lambda item: -item[1])


def _holders(waits: Iterable[Wait]) -> list[tuple[tuple[str, Stack], int]]:
    sums: dict[tuple[str, Stack], int] = {}
    for wait in waits:
        for holder in wait.holders:
            key = holder.name, holder.stack
            sums[key] = sums.get(key, 0) + holder.ns
    return sorted(sums.items(), key=lambda item: -item[1])


def _threads(analysis: Analysis) -> Iterator[str]:
    threads, duration_ns = analysis.threads, analysis.facts.duration_ns
    yield from _heading("Threads and the GIL" if threads else "")
    if threads:
        yield f"{'':<32}{'held':>10}{'share':>10}{'waited':>10}{'takes':>10}{'made to let go':>18}"
    for thread in threads[:_THREADS]:
        yield (
            f"{padded(printable(thread.name), 31)} {_cell(thread.held_ns, duration_ns)}{spoken(thread.waited_ns):>10}"
            f"{thread.takes:>10,}{thread.forced:>18,}"
        )
    if len(threads) > _THREADS:
        rest = threads[_THREADS:]
        held_ns, waited_ns = sum(thread.held_ns for thread in rest), sum(thread.waited_ns for thread in rest)
        yield f"{f'{len(rest)} others':<32}{_cell(held_ns, duration_ns)}{spoken(waited_ns):>10}"
    if threads:
        yield ""
        yield f"{'':<32}{'holds: p50':>10}{'p99':>10}{'longest':>10}{'waits: p50':>13}{'p99':>10}{'longest':>10}"
    for thread in threads[:_THREADS]:
        holds, waits = thread.holds, thread.waits
        # A capture of before single holds were counted has the longest all the same.
        longest_ns = max(holds.max_ns, thread.longest_hold_ns)
        held = f"{_length(holds, holds.p50_ns):>10}{_length(holds, holds.p99_ns):>10}{spoken(longest_ns):>10}"
        waited = (
            f"{_length(waits, waits.p50_ns):>13}{_length(waits, waits.p99_ns):>10}{_length(waits, waits.max_ns):>10}"
        )
        yield f"{padded(printable(thread.name), 31)} {held}{waited}"


def _exports(analysis: Analysis) -> Iterator[str]:
    yield from _heading("Spans exported" if analysis.exports else "")
    for name, value in export_rows(analysis.exports) if analysis.exports else ():
        yield f"{capitalised(name):<38}{value}"


def _length(lengths: Percentiles, ns: int) -> str:
    return spoken(ns) if lengths.count else "-"


def _unseen(unseen: Unseen, stalled_ns: int, width: int) -> Iterator[str]:
    yield from _heading("What was not seen")
    for line in unseen_lines(unseen, stalled_ns):
        yield from wrapped(line, width, "- ", "  ")
