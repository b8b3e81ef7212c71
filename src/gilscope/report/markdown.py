"""The report as a Markdown summary: what a comment on a pull request has room for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gilscope.analysis.durations import percent, spoken
from gilscope.report.stacks import printable
from gilscope.report.words import capitalised, unseen_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gilscope.analysis.model import Analysis

_FINDINGS = 3
# What Markdown and HTML obey, and the sign with which a comment calls people.
_OBEYED = re.compile(r"[\\`*_{}\[\]<>()#+!|~&@$:-]")


def render(analysis: Analysis, title: str) -> str:
    """Return the summary; nothing in a name of the capture is obeyed by what shows it."""
    return "\n".join(_lines(analysis, title)) + "\n"


def _lines(analysis: Analysis, title: str) -> Iterator[str]:
    yield f"### Stalls of {_plain(title)}"
    yield ""
    yield f"**{_plain(capitalised(analysis.verdict))}.**"
    yield ""
    yield "| loop | iterations | p50 | p99 | p99.9 | max | stalls | time stalled |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for loop in analysis.loops:
        found = loop.iterations
        lengths = " | ".join(spoken(ns) for ns in (found.p50_ns, found.p99_ns, found.p999_ns, found.max_ns))
        share = percent(loop.stalls.total_ns, analysis.facts.duration_ns)
        yield f"| {_plain(loop.name)} | {found.count:,} | {lengths} | {loop.stalls.count:,} | {share} |"
    for number, finding in enumerate(analysis.findings[:_FINDINGS], 1):
        yield ""
        share = percent(finding.stolen_ns, analysis.stalled_ns)
        yield f"{number}. **{_plain(capitalised(finding.title))}**: {spoken(finding.stolen_ns)}, {share} of it."
        yield f"   {_plain(finding.remedy)}"
    yield ""
    unseen = "; ".join(unseen_lines(analysis.unseen, analysis.stalled_ns))
    yield f"<sub>{spoken(analysis.facts.duration_ns)} recorded. Not seen: {_plain(unseen)}.</sub>"


def _plain(text: str) -> str:
    # Entities rather than backslashes: addresses and mentions are looked for after the backslashes are gone.
    return _OBEYED.sub(lambda found: f"&#{ord(found[0])};", printable(text)).replace("www.", "www&#46;")
