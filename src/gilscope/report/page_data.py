"""What the page computes its pictures from: plain data, in which every name, function and stack stands once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gilscope.analysis.model import WeightedStack
from gilscope.capture import Stack
from gilscope.report.markup import Markup
from gilscope.report.stacks import CAUSES, path, printable

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from gilscope.analysis.model import Analysis, Stall
    from gilscope.capture import Frame


_NO_STACK = Stack((), truncated=False)
_CAUSE_ORDER = list(CAUSES)
# So that two recordings of different length can be compared.
_PER_S = 1_000_000_000


def capture_data(analysis: Analysis, timeline: dict[str, Any]) -> dict[str, Any]:
    """Return the data of a page about one capture; `page/src/model.ts` says what is in it."""
    tables = _Tables()
    weights = [tables.weight(stack) for stack in analysis.stall_stacks]
    stalls = [
        {
            "start_ns": stall.since_start_ns,
            "wall_ns": stall.wall_ns,
            "weights": [tables.weight(stack) for stack in _of_stall(stall)],
        }
        for stall in analysis.stalls
    ]
    facts = analysis.facts
    return {
        **tables.told(),
        "weights": weights,
        "stalls": stalls,
        "timeline": timeline,
        "duration_ns": facts.duration_ns,
        "threshold_ns": facts.threshold_ns,
    }


def compared_data(analysis: Analysis, against: Analysis) -> dict[str, Any]:
    """Return the data of a page about two captures; times are of a second of recording, so that they compare."""
    tables = _Tables()
    sums: dict[tuple[int, int, int], list[int]] = {}
    for side, known in enumerate((analysis, against)):
        for stack in known.stall_stacks:
            cause, thread, number, ns = tables.weight(stack)
            both = sums.setdefault((cause, thread, number), [0, 0])
            both[side] += ns * _PER_S // max(known.facts.duration_ns, 1)
    return {
        **tables.told(),
        "weights": [[*key, *both] for key, both in sums.items()],
        "duration_ns": analysis.facts.duration_ns,
        "threshold_ns": analysis.facts.threshold_ns,
    }


def as_script(data: object) -> Markup:
    """Return the data as JSON that no text in it can end or turn into markup, wherever it stands in a page."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


def _of_stall(stall: Stall) -> Iterator[WeightedStack]:
    """Yield what a stall is made of, as `Analysis.stall_stacks` has it of all of them; sums up to its length."""
    parts, told_ns, handed_ns = stall.parts, 0, 0
    for wait in stall.waits:
        for holder in wait.holders:
            yield WeightedStack("gil_wait", holder.name, holder.stack, holder.ns)
            told_ns += holder.ns
    if handed_ns := parts.handing_over_ns:
        yield WeightedStack("gil_wait", "(handing over)", _NO_STACK, handed_ns)
    if parts.unknown_holder_ns:
        yield WeightedStack("gil_wait", "(unknown holder)", _NO_STACK, parts.unknown_holder_ns)
    rest_ns = parts.gil_wait_ns - told_ns - handed_ns - parts.unknown_holder_ns
    if rest_ns > 0:
        yield WeightedStack("gil_wait", "(further short waits)", _NO_STACK, rest_ns)
    for cause, times in (("on_cpu", stall.on_cpu), ("blocked", stall.blocked), ("stopped", stall.stopped)):
        for time in times:
            yield WeightedStack(cause, stall.loop_name, time.stack, time.ns)


class _Tables:
    """Names, functions and stacks by number, each once."""

    def __init__(self) -> None:
        self._threads: dict[Hashable, int] = {}
        self._functions: dict[Hashable, int] = {}
        self._stacks: dict[Hashable, int] = {}

    def weight(self, weighted: WeightedStack) -> tuple[int, int, int, int]:
        """Return cause, thread and stack by number, and the time."""
        thread, *steps = path(weighted)
        functions = tuple(_number(self._functions, _function(step)) for step in steps)
        return (
            _CAUSE_ORDER.index(weighted.cause),
            _number(self._threads, printable(str(thread))),
            _number(self._stacks, functions),
            weighted.ns,
        )

    def told(self) -> dict[str, Any]:
        """Return the tables."""
        return {
            "causes": [{"key": key, "name": name} for key, (name, _) in CAUSES.items()],
            "threads": list(self._threads),
            "functions": list(self._functions),
            "stacks": list(self._stacks),
        }


def _number(table: dict[Hashable, int], key: Hashable) -> int:
    return table.setdefault(key, len(table))


def _function(step: str | Frame) -> tuple[str, str]:
    if isinstance(step, str):
        return step, ""
    code = step.code
    return printable(code.name), printable(f"{code.file}:{code.first_line}") if code.file else ""
