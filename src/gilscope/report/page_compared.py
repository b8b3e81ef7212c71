"""The page about two captures side by side: where stalls came, and where they went away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gilscope.analysis.durations import counted, percent, spoken
from gilscope.report import page
from gilscope.report.markup import Markup, element, joined
from gilscope.report.page_data import compared_data
from gilscope.report.words import IN_BRACKETS, capitalised, intervals_in_words, intervals_told, unseen_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gilscope.analysis.model import Analysis

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class Compared:
    """Two captures and what they are called."""

    name: str
    against_name: str
    analysis: Analysis
    against: Analysis


def render(compared: Compared, made: str) -> str:
    """Return the page; `made` is the command that made it."""
    title = f"{compared.name} against {compared.against_name}"
    header = [
        element("h1", title),
        element("p", _verdict(compared), class_="verdict"),
        page.figures(_figures(compared)),
        element("p", IN_BRACKETS, class_="quiet") if any(side.intervals for _, side in _sides(compared)) else "",
    ]
    sections = [
        page.section("What each says", *_verdicts(compared)),
        page.section("Flame graph of the change", *_flame(compared), identity="flame"),
        page.section("Findings", _findings(compared)),
        page.section("What was not seen", *_unseen(compared)),
        page.section("How this was made", _made(compared, made)),
    ]
    data = compared_data(compared.analysis, compared.against)
    return page.render(f"gilscope: {title}", header, sections, data)


def _sides(compared: Compared) -> tuple[tuple[str, Analysis], tuple[str, Analysis]]:
    return (compared.name, compared.analysis), (compared.against_name, compared.against)


def _verdict(compared: Compared) -> str:
    now, before = (f"{spoken(_per_second(side))} of each second" for _, side in _sides(compared))
    return f"The loop was stalled for {now} in {compared.name}, and for {before} in {compared.against_name}."


def _per_second(analysis: Analysis) -> int:
    return analysis.stalled_ns * _NS_PER_S // max(analysis.facts.duration_ns, 1)


def _figures(compared: Compared) -> Iterator[tuple[str, str, str]]:
    now, before = (_told(analysis) for _, analysis in _sides(compared))
    for name, (value, interval) in now.items():
        was, other = before[name]
        yield name, value, (f"{interval}; " if interval else "") + f"{was}{other} in {compared.against_name}"


def _told(analysis: Analysis) -> dict[str, tuple[str, str]]:
    """Return the figures, each with its interval."""
    rates, shares, p99s = intervals_in_words(analysis.intervals)
    return {
        "Stalls a minute": (f"{analysis.stalls_per_minute:,.0f}", rates),
        "Time stalled": (percent(analysis.stalled_ns, analysis.facts.duration_ns), shares),
        "Longest stall": (spoken(analysis.longest_stall_ns), ""),
        "Loop iteration, p99": (_p99(analysis), p99s),
    }


def _p99(analysis: Analysis) -> str:
    return spoken(analysis.loops[0].iterations.p99_ns) if analysis.loops else "no loop"


def _verdicts(compared: Compared) -> Iterator[Markup]:
    for name, analysis in _sides(compared):
        yield element("p", element("strong", f"{name}: "), capitalised(analysis.verdict) + ".")


def _flame(compared: Compared) -> Iterator[Markup]:
    yield page.how_to_read(
        f"Both recordings in one graph. Width is the larger of the two stalled times, of each second of recording, so "
        f"that recordings of different length compare. Red is more in {compared.name} than in "
        f"{compared.against_name}, blue with stripes is less, strong colours are changes of more than a tenth of all, "
        "and grey is about the same. The table has the changes as numbers with a sign.",
        "Click a frame, or press Enter on it, to zoom; Escape leads back. Functions match by name, file and "
        "first line.",
    )
    yield page.flame_graph()
    yield element("noscript", element("p", "The graph of the change needs scripts; the figures above do not."))


def _findings(compared: Compared) -> Markup:
    titles: dict[str, list[int]] = {}
    for side, (_, analysis) in enumerate(_sides(compared)):
        for finding in analysis.findings:
            titles.setdefault(capitalised(finding.title), [0, 0])[side] += finding.stolen_ns
    rows = ((title, spoken(now), spoken(before)) for title, (now, before) in titles.items())
    return page.table(
        "Stalled time that each finding explains", ("finding", compared.name, compared.against_name), rows
    )


def _unseen(compared: Compared) -> Iterator[Markup]:
    for name, analysis in _sides(compared):
        yield element("h3", name)
        yield element("ul", *(element("li", line) for line in unseen_lines(analysis.unseen, analysis.stalled_ns)))


def _made(compared: Compared, made: str) -> Markup:
    rows = [
        (
            name,
            " ".join(side.facts.argv) or "unknown",
            spoken(side.facts.duration_ns),
            counted(side.facts.events, "event"),
        )
        for name, side in _sides(compared)
    ]
    table = page.table("What was recorded", ("capture", "command", "length", "events"), rows, numbers=2)
    intervals = (
        element("p", f"Intervals of {name}: {intervals_told(side.intervals)}") for name, side in _sides(compared)
    )
    return joined([table, *intervals, element("p", made)])
