"""What more than one report says of an analysis, in the same words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gilscope.analysis.durations import counted, percent, spoken
from gilscope.analysis.intervals import BLOCK_NS, DRAWS, FEWEST_BLOCKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gilscope.analysis.model import Convoy, Exports, Intervals, Parts, Unseen

IN_BRACKETS = "In brackets are 95 % intervals; how they were made is told at the end."
_HOLDERS = 5
_SHAPES = {
    "convoy": "many waits of one switch interval each: the holder runs Python code",
    "long_hold": "long holds, whose holder did not let go when asked to",
    "mixed": "waits of different lengths",
}


def capitalised(text: str) -> str:
    """Return the text as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def waits_in_words(convoy: Convoy) -> str:
    """Return how many waits for the GIL there were, and how they came."""
    if not convoy.waits:
        return "no wait for it"
    mean = "" if convoy.waits == 1 else f", mean {spoken(convoy.mean_wait_ns)}"
    return f"{counted(convoy.waits, 'wait')}{mean}, longest {spoken(convoy.longest_wait_ns)}: {_SHAPES[convoy.shape]}"


def parts_rows(every: Parts, stalled: Parts) -> Iterator[tuple[str, int, int]]:
    """Yield where the time went: the name, indented where it is a part of another; of all iterations; of stalls."""
    of_all = {held.thread: held.ns for held in every.held_by}
    of_stalls = {held.thread: held.ns for held in stalled.held_by}
    # What stalls consist of is asked for; holders of other iterations follow.
    names = {held.thread: held.name for held in (*stalled.held_by, *every.held_by)}
    shown = list(names)[:_HOLDERS]
    others = [thread for thread in names if thread not in shown]
    rows = [
        ("waiting for the GIL", every.gil_wait_ns, stalled.gil_wait_ns),
        *((f"  held by {names[thread]}", of_all.get(thread, 0), of_stalls.get(thread, 0)) for thread in shown),
        (
            f"  held by {len(others)} others",
            sum(of_all.get(thread, 0) for thread in others),
            sum(of_stalls.get(thread, 0) for thread in others),
        ),
        ("  being handed over", every.handing_over_ns, stalled.handing_over_ns),
        ("  holder unknown", every.unknown_holder_ns, stalled.unknown_holder_ns),
        ("on CPU", every.on_cpu_ns, stalled.on_cpu_ns),
        ("off CPU", every.off_cpu_ns, stalled.off_cpu_ns),
        ("  blocked", every.blocked_ns, stalled.blocked_ns),
        ("  no core", every.no_core_ns, stalled.no_core_ns),
        ("  unattributed", every.unattributed_ns, stalled.unattributed_ns),
    ]
    for name, all_ns, stalled_ns in rows:
        if all_ns or stalled_ns or not name.startswith(" "):
            yield name, all_ns, stalled_ns


def intervals_in_words(sure: Intervals | None) -> tuple[str, str, str]:
    """Return the intervals of stalls a minute, the share stalled, and the p99 of iterations; empty where there is none.

    Of what never happened no draw tells how often it may.
    """
    if sure is None:
        return "", "", ""
    rates, shares = sure.stalls_per_minute, [100 * end for end in sure.stalled_share]
    low, high = map(spoken, sure.iteration_p99_ns)
    return (
        f" [{rates[0]:,.0f} to {rates[1]:,.0f}]" if rates[1] else "",
        f" [{shares[0]:.2g} to {shares[1]:.2g} %]" if shares[1] else "",
        f" [{low} to {high}]",
    )


def intervals_told(sure: Intervals | None) -> str:
    """Return how the intervals were made."""
    if sure is None:
        return f"none: they need {FEWEST_BLOCKS} blocks of {spoken(BLOCK_NS)}"
    return (
        f"of 95 %, by the bootstrap: {sure.blocks} blocks of {spoken(sure.block_ns)} were drawn from the recording's "
        f"{sure.blocks}, with replacement, {DRAWS:,} times, and a figure is that of the drawn blocks together. They "
        "say what another recording of this length would show under the same load. With few blocks they are somewhat "
        "too narrow. The longest has no interval: it is told for each block."
    )


def export_rows(exports: Exports) -> Iterator[tuple[str, str]]:
    """Yield what is told of the spans that were exported, and how much or many."""
    refused = f", {exports.requests_not_accepted:,} of them not accepted in full" * (exports.requests_not_accepted > 0)
    yield "requests", f"{exports.requests:,}{refused}"
    yield "spans sent", f"{exports.sent_spans:,}" + f", {exports.refused_spans:,} refused" * (exports.refused_spans > 0)
    yield "bytes sent", f"{exports.sent_bytes:,}"
    yield "longest request", spoken(exports.longest_request_ns)
    yield "queued at most", counted(exports.queued_most_spans, "span")
    yield "exported, since the processors began", f"{exports.exported_spans:,}"
    yield "dropped, likewise", f"{exports.dropped_spans:,}"
    yield "failed, likewise", f"{exports.failed_spans:,}"


def unseen_lines(unseen: Unseen, stalled_ns: int) -> list[str]:
    """Return what the analysis is blind to, one sentence each."""
    lost = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in unseen.lost.items() if count)
    samples = ", ".join(f"{count:,} {what}" for what, count in unseen.samples.items() if count)
    too_late = f"; {unseen.samples_too_late:,} came too late to be used" if unseen.samples_too_late else ""
    return [
        f"samples: {samples}{too_late}" if samples else "no sample was taken: they are of long iterations only",
        f"lost events: {lost}" if lost else "no event was lost",
        *_missing("of the stalled time has no stack", unseen.not_sampled_ns, stalled_ns),
        *_missing("of the stalled time was off the CPU for an unknown reason", unseen.unattributed_ns, stalled_ns),
        *_missing("of the stalled time was GIL wait for an unknown holder", unseen.unknown_holder_ns, stalled_ns),
        *_missing("was cut off so that the parts of stalls sum up", unseen.clock_error_ns, stalled_ns),
        *_missing("was cut off from events that overlap and should not", unseen.contradicted_ns, stalled_ns),
        *(
            [f"{counted(unseen.truncated_stacks, 'stack')} had more frames than could be kept"]
            if unseen.truncated_stacks
            else []
        ),
        *([f"no name was seen of {', '.join(unseen.unnamed)}"] if unseen.unnamed else []),
        *(
            [f"{counted(unseen.forgotten, 'iteration')} took too long to be remembered whole"]
            if unseen.forgotten
            else []
        ),
        *(f"the file {problem}" for problem in unseen.problems),
    ]


def _missing(what: str, ns: int, stalled_ns: int) -> Iterator[str]:
    if ns:
        share = f" ({percent(ns, stalled_ns)})" if 0 < ns <= stalled_ns else ""
        yield f"{spoken(ns)}{share} {what}"
