"""The page about one capture: why its loops stalled."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from gilscope.analysis.durations import counted, percent, spoken
from gilscope.analysis.intervals import BLOCK_NS, FEWEST_BLOCKS
from gilscope.report import flamegraph, page
from gilscope.report.markup import Markup, element, joined
from gilscope.report.page_data import capture_data
from gilscope.report.stack_lines import Files, stack_lines
from gilscope.report.words import (
    IN_BRACKETS,
    capitalised,
    export_rows,
    intervals_in_words,
    intervals_told,
    parts_rows,
    unseen_lines,
    waits_in_words,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gilscope.analysis.model import Analysis, Exports, LoopAccount, Parts, Percentiles, Stall, Wait
    from gilscope.capture import Stack

# In one stall; more are counted.
_STACKS = 4
# Of those, what made at least this share of it.
_WORTH = 0.03
_WAITS = 12
_THREADS = 30
# In the picture for readers without scripts, which carries its stacks a second time.
_STILL_STACKS = 40
_EXPORTS_LANE = (
    "Span exports are requests of gilscope's span processors to their collectors, retries included; they need no GIL. "
    "Those of which the collector did not accept every span are below, with stripes."
)
_SPLIT = {
    "gil-wait": "GIL wait",
    "on-cpu": "on CPU",
    "blocked": "blocked",
    "no-core": "no core",
    "unattributed": "unattributed",
}


def render(analysis: Analysis, timeline: dict[str, Any], title: str, made: str) -> str:
    """Return the page.

    Args:
        analysis: of the capture.
        timeline: its events, as `gilscope.report.timeline` tells them.
        title: what was recorded, in a few words.
        made: the command that made the page.
    """
    files = Files(stack for stall in analysis.stalls for stack in _stacks(stall))
    header = [
        element("h1", f"Stalls of {title}"),
        element("p", capitalised(analysis.verdict) + ".", class_="verdict"),
        page.figures(_figures(analysis)),
        element("p", IN_BRACKETS, class_="quiet") if analysis.intervals else "",
    ]
    sections = [
        page.section("What was not seen", *_unseen(analysis)),
        page.section("Timeline", *_timeline(analysis), identity="timeline"),
        page.section(
            "Where the loop's time went", *chain.from_iterable(_loop(loop, analysis) for loop in analysis.loops)
        )
        if analysis.loops
        else "",
        page.section("Flame graph of the stalls", *_flame(analysis, title), identity="flame"),
        page.section("Worst stalls", *_stalls(analysis, files), identity="stalls"),
        page.section("Findings", *_findings(analysis)) if analysis.findings else "",
        page.section("Threads and the GIL", *_threads(analysis)),
        page.section("Spans exported", *_exports(analysis.exports)) if analysis.exports else "",
        page.section("How this was made", _made(analysis, made)),
    ]
    return page.render(f"gilscope: {title}", header, sections, capture_data(analysis, timeline))


def _figures(analysis: Analysis) -> Iterator[tuple[str, str, str]]:
    facts, sure = analysis.facts, analysis.intervals
    rates, shares, p99s = intervals_in_words(sure)
    worst = analysis.loops[0] if analysis.loops else None
    rate = f"{analysis.stalls_per_minute:,.0f} a minute{rates}"
    yield "Stalls", f"{analysis.stall_count:,}", f"{rate}; iterations of {spoken(facts.threshold_ns)} or more"
    share = percent(analysis.stalled_ns, facts.duration_ns)
    yield "Time stalled", share, f"{spoken(analysis.stalled_ns)} of {spoken(facts.duration_ns)}{shares}"
    stalls = worst.stalls if worst else None
    spread = f"half of them under {spoken(stalls.p50_ns)}" if stalls and stalls.count else "no stall"
    if sure:
        shortest, longest = map(spoken, sure.longest_ns)
        spread += f"; longest iteration of each {spoken(sure.block_ns)}: {shortest} to {longest}"
    yield "Longest stall", spoken(analysis.longest_stall_ns), spread
    if worst is None:
        yield "Loop iteration, p99", "none", "no event loop was seen"
        return
    found = worst.iterations
    spread = f"p50 {spoken(found.p50_ns)}, p99.9 {spoken(found.p999_ns)}; {found.count:,} iterations"
    yield "Loop iteration, p99", spoken(found.p99_ns), f"{p99s} {spread}".strip()


def _unseen(analysis: Analysis) -> Iterator[Markup]:
    lines = unseen_lines(analysis.unseen, analysis.stalled_ns)
    if analysis.intervals is None and analysis.loops:
        needed, had = spoken(FEWEST_BLOCKS * BLOCK_NS), spoken(analysis.facts.duration_ns)
        lines.append(f"how far the figures can be trusted: intervals need {needed} or more, and this is {had}")
    yield element("ul", *(element("li", line) for line in lines))


def _timeline(analysis: Analysis) -> Iterator[Markup]:
    threshold = spoken(analysis.facts.threshold_ns)
    yield page.how_to_read(
        "Time runs to the right. The first lane is the loop: each block is one iteration, and those in red took "
        f"{threshold} or longer. Below it is when the loop waited for the GIL, and then who had the GIL, one lane for "
        "each thread. A red block above an orange one is a loop that could not run; the thread that has the GIL in "
        "that time is the one that kept it from running.",
        "Drag to select a stretch: percentiles, where the stalled time went, flame graph and table then show this "
        "stretch alone. Click a red block to see what it was made of. Ctrl and the wheel zoom, Shift and drag (or one "
        "finger) move. With the keyboard: arrows, plus, minus, Home; Shift and arrows select; Enter opens a stall; "
        "Escape drops the selection.",
        *([_EXPORTS_LANE] if analysis.exports else []),
        "Blocks are exact. What is too short for a block is drawn as height: how much of that moment it covered. "
        "Stalls, and what happened in them, are never merged.",
    )
    yield element("div", data_picture="timeline", hidden=True)
    yield element("noscript", element("p", "The timeline needs scripts. The tables below do not.", class_="quiet"))
    yield element("p", data_told="percentiles", aria_live="polite")
    yield element("div", data_told="parts")


def _loop(loop: LoopAccount, analysis: Analysis) -> Iterator[Markup]:
    busy = percent(loop.iterations.total_ns, analysis.facts.duration_ns)
    yield element("h3", f"Loop {loop.name} ({loop.kind}), busy {busy} of the time")
    percentiles = [("iterations", loop.iterations), *([("stalls", loop.stalls)] if loop.stalls.count else [])]
    yield page.table(
        "Length of the loop's iterations",
        ("which", "count", "p50", "p90", "p99", "p99.9", "max", "total"),
        ((name, *_percentiles(found)) for name, found in percentiles),
    )
    rows = []
    for name, all_ns, stalled_ns in parts_rows(loop.parts, loop.stall_parts):
        label = element("span", name.strip(), class_="sub" if name.startswith(" ") else None)
        share = min(1.0, stalled_ns / loop.stall_parts.wall_ns) if loop.stall_parts.wall_ns else 0.0
        rows.append(
            (
                label,
                spoken(all_ns),
                percent(all_ns, loop.parts.wall_ns),
                spoken(stalled_ns),
                percent(stalled_ns, loop.stall_parts.wall_ns),
                _bar(share),
            )
        )
    yield page.table(
        "Where the time of iterations went, and that of stalls",
        ("part", "all iterations", "share", "stalls", "share", "of the stalled time"),
        rows,
    )
    if loop.stalls.count:
        takes = f"{loop.stall_convoy.takes_per_iteration:.1f} times in an iteration"
        yield element("p", f"GIL in stalls: {waits_in_words(loop.stall_convoy)}; taken {takes}.")
    yield page.how_to_read(
        "An iteration is what the loop does between two polls. Its time is divided, exactly, into waiting for the GIL, "
        "running, and being off the CPU. Time on the CPU is your code, or what it calls; time held by another thread "
        "is that thread's; blocked is a system call or a lock; no core is a machine that is too busy.",
    )


def _bar(share: float) -> Markup:
    bar = element("svg", element("rect", width=f"{100 * share:.1f}%", height="16"), height="16", aria_hidden="true")
    return element("div", bar, class_="bar")


def _percentiles(found: Percentiles) -> Iterator[str]:
    yield f"{found.count:,}"
    for ns in (found.p50_ns, found.p90_ns, found.p99_ns, found.p999_ns, found.max_ns, found.total_ns):
        yield spoken(ns)


def _flame(analysis: Analysis, title: str) -> Iterator[Markup]:
    yield page.how_to_read(
        "Width is stalled time, in milliseconds and not in samples. Below each cause are the threads, and below each "
        "thread its frames, callers above what they call. Under `waiting for the GIL` are the stacks of the threads "
        "that held it; under the other causes those of the loop itself.",
        "Click a frame, or press Enter on it, to zoom; the rows above it lead back. `Innermost frame first` turns the "
        "graph around: what ran, and below it who called it. Search marks functions and files and says how much of the "
        "stalled time they are.",
        "With a stretch selected, the graph is of all stalls that reach into it, each with its whole length"
        + _together(analysis)
        + ".",
    )
    yield page.flame_graph()
    if analysis.stall_stacks:
        yield element("noscript", _still(analysis, title))
    else:
        yield element("p", "No stalls, so there is nothing to draw.")


def _together(analysis: Analysis) -> str:
    """Return how many stalls can only be shown together; nothing where each can be shown by itself."""
    most = max((group.stalls for group in analysis.stall_groups), default=1)
    return f"; neighbours are kept together, up to {most} of them, as there are so many" if most > 1 else ""


def _still(analysis: Analysis, title: str) -> Markup:
    """Return the flame graph as an image, in which nothing moves and no script runs."""
    heaviest = analysis.stall_stacks[:_STILL_STACKS]
    words = f"The {len(heaviest)} heaviest of {counted(len(analysis.stall_stacks), 'stack')} of the stalls"
    drawn = flamegraph.render(heaviest, title=f"Stalls of {title}", subtitle=words)
    return page.picture(drawn, f"{words}, as a flame graph")


def _stalls(analysis: Analysis, files: Files) -> Iterator[Markup]:
    if not analysis.stalls:
        yield element("p", "None.")
        return
    yield element(
        "p", f"The longest {len(analysis.stalls)} of {analysis.stall_count:,}. ", element("span", data_told="stalls")
    )
    yield page.how_to_read(
        "One line for each stall: how long it was, when it began, where its time went, and the coroutine and task that "
        "ran. The bar has, from the left: GIL wait, on CPU, blocked, no core, unattributed. Open a line for its waits, "
        "who had the GIL meanwhile, and the stacks of both sides, the innermost frame first.",
    )
    for number, stall in enumerate(analysis.stalls, 1):
        yield _stall(number, stall, files)


def _stall(number: int, stall: Stall, files: Files) -> Markup:
    split = dict(zip(_SPLIT, _split(stall.parts), strict=True))
    words = ", ".join(f"{_SPLIT[kind]} {spoken(ns)}" for kind, ns in split.items() if ns)
    ran = [element("code", seen)] if (seen := files.ran(stall)) else []
    summary = element(
        "summary",
        element("span", spoken(stall.wall_ns), class_="length"),
        element("span", f"{stall.since_start_ns / 1e9:.3f} s", class_="at"),
        element("span", words),
        *ran,
    )
    return element(
        "details",
        summary,
        element("div", _split_bar(split, stall.wall_ns), *_stall_body(stall, files), class_="body"),
        data_stall=str(number),
    )


def _split(parts: Parts) -> tuple[int, ...]:
    return parts.gil_wait_ns, parts.on_cpu_ns, parts.blocked_ns, parts.no_core_ns, parts.unattributed_ns


def _split_bar(split: dict[str, int], wall_ns: int) -> Markup:
    rects, at = [], 0.0
    for kind, ns in split.items():
        width = 100 * ns / max(wall_ns, 1)
        rects.append(element("rect", class_=kind, x=f"{at:.2f}%", width=f"{width:.2f}%", height="12"))
        at += width
    return element("div", element("svg", *rects, aria_hidden="true", height="12"), class_="split")


def _stall_body(stall: Stall, files: Files) -> Iterator[Markup]:
    yield element("p", f"In {stall.loop_name}. GIL: {waits_in_words(stall.convoy)}.")
    for held in stall.parts.held_by[:_STACKS]:
        yield element("p", f"{held.name} had the GIL for {spoken(held.ns)} of it.")
    for collection in stall.collections:
        length = f"{spoken(collection.duration_ns)} in {collection.name}, {collection.collected:,} objects"
        yield element("p", f"Garbage collection, generation {collection.generation}: {length}.")
    titles: dict[Stack, list[str]] = {}
    for what, stack, ns in _seen(stall):
        if ns < _WORTH * stall.wall_ns:
            continue
        titles.setdefault(stack, []).append(f"{what}: {spoken(ns)}")
    for stack, of_stack in titles.items():
        yield element("h3", "; ".join(of_stack))
        yield element(
            "div", element("ol", *(element("li", line) for line in stack_lines(stack, files))), class_="stack"
        )
    if stall.waits:
        longest = sorted(stall.waits, key=lambda wait: -wait.duration_ns)[:_WAITS]
        yield page.table(
            f"Waits for the GIL: {len(longest)} of {stall.convoy.waits:,}, the longest",
            ("began after", "who had it", "length", "asked to let go"),
            (_wait(wait) for wait in sorted(longest, key=lambda wait: wait.start_ns)),
            numbers=2,
        )


def _wait(wait: Wait) -> tuple[str, ...]:
    held: dict[str, int] = {}
    for holder in wait.holders:
        held[holder.name] = held.get(holder.name, 0) + holder.ns
    holders = ", ".join(f"{name} {spoken(ns)}" for name, ns in list(held.items())[:_STACKS])
    asked = counted(wait.timeouts, "time")
    return spoken(wait.start_ns), holders or "being handed over", spoken(wait.duration_ns), asked


def _seen(stall: Stall) -> Iterator[tuple[str, Stack, int]]:
    """Yield what the stacks of a stall tell, the heaviest of each kind."""
    waited: dict[Stack, int] = {}
    held: dict[tuple[str, Stack], int] = {}
    for wait in stall.waits:
        waited[wait.stack] = waited.get(wait.stack, 0) + wait.duration_ns
        for holder in wait.holders:
            key = holder.name, holder.stack
            held[key] = held.get(key, 0) + holder.ns
    for (name, stack), ns in sorted(held.items(), key=lambda item: -item[1])[:_STACKS]:
        yield f"GIL held by {name}", stack, ns
    for stack, ns in sorted(waited.items(), key=lambda item: -item[1])[:_STACKS]:
        if stack.frames:
            yield "waited for the GIL", stack, ns
    off_cpu = "no core" if stall.parts.no_core_ns >= stall.parts.unattributed_ns else "off the CPU"
    for what, times in (("computed", stall.on_cpu), ("blocked", stall.blocked), (off_cpu, stall.stopped)):
        for time in times[:_STACKS]:
            yield what, time.stack, time.ns


def _stacks(stall: Stall) -> Iterator[Stack]:
    for _, stack, _ in _seen(stall):
        yield stack


def _findings(analysis: Analysis) -> Iterator[Markup]:
    yield element(
        "ol",
        *(
            element(
                "li",
                element(
                    "h3",
                    f"{capitalised(finding.title)}: {spoken(finding.stolen_ns)} "
                    f"({percent(finding.stolen_ns, analysis.stalled_ns)} of the stalled time)",
                ),
                element("ul", *(element("li", evidence) for evidence in finding.evidence)),
                element("p", element("strong", "What to do: "), finding.remedy, class_="remedy"),
            )
            for finding in analysis.findings
        ),
        class_="findings",
    )
    yield element("p", "Findings look at the same time from several sides: they do not sum up.", class_="quiet")


def _threads(analysis: Analysis) -> Iterator[Markup]:
    if not analysis.threads:
        yield element("p", "No thread was seen to take the GIL.")
        return
    duration_ns = analysis.facts.duration_ns
    shown = analysis.threads[:_THREADS]
    yield page.table(
        f"{len(shown)} of {counted(len(analysis.threads), 'thread')}, those that held the GIL longest",
        (
            "thread",
            "held",
            "share",
            "waited",
            "takes",
            "made to let go",
            "longest hold",
            "longest wait",
            "share of the time",
        ),
        (
            (
                thread.name,
                spoken(thread.held_ns),
                percent(thread.held_ns, duration_ns),
                spoken(thread.waited_ns),
                f"{thread.takes:,}",
                f"{thread.forced:,}",
                spoken(thread.longest_hold_ns),
                spoken(thread.waits.max_ns),
                _bar(min(1.0, thread.held_ns / duration_ns) if duration_ns else 0.0),
            )
            for thread in shown
        ),
    )
    yield page.how_to_read(
        "Held is the time a thread had the GIL; while it has it, no other thread runs Python. Made to let go counts "
        "how often the thread was asked to after one switch interval: a thread that is asked often runs Python code "
        "for long, one with a long hold and no request is in native code that keeps the GIL.",
    )


def _exports(exports: Exports) -> Iterator[Markup]:
    rows = ((capitalised(name), value) for name, value in export_rows(exports))
    yield page.table("What the span processors of gilscope sent", ("what", "how much"), rows)


def _made(analysis: Analysis, made: str) -> Markup:
    facts = analysis.facts
    cut = "" if facts.complete else "; cut off, as the recording was not stopped in order"
    told = {
        "Command recorded": " ".join(facts.argv) or "unknown",
        "Python": facts.python or "unknown",
        "GIL": facts.gil or "unknown",
        "Recorded": f"{spoken(facts.duration_ns)}, {facts.events:,} events{cut}",
        "Stall": f"an iteration of {spoken(facts.threshold_ns)} or more",
        "Switch interval": spoken(facts.switch_interval_ns),
        "Intervals": intervals_told(analysis.intervals),
        "This page": made,
    }
    rows = (element("tr", element("th", name, scope="row"), element("td", value)) for name, value in told.items())
    return joined([element("table", element("tbody", *rows))])
