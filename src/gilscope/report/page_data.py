"""What the page computes its pictures from: plain data, in which every name, function and stack stands once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gilscope.analysis.model import WeightedStack
from gilscope.capture import Stack
from gilscope.report.markup import Markup
from gilscope.report.stacks import CAUSES, path, printable

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from gilscope.analysis.model import Analysis, StallGroup
    from gilscope.capture import Frame


_NO_STACK = Stack((), truncated=False)
_CAUSE_ORDER = list(CAUSES)
# Of 30 frames each: half a megabyte.
_MOST_STACKS = 2_000
_NS_PER_US = 1000
# So that two recordings of different length can be compared.
_PER_S = 1_000_000_000


def capture_data(analysis: Analysis, timeline: dict[str, Any]) -> dict[str, Any]:
    """Return the data of a page about one capture; `page/src/model.ts` says what is in it."""
    facts = analysis.facts
    drawn, places = _drawn(analysis.stall_stacks)
    return {
        **_flame(drawn),
        "stalls": [{"start_ns": stall.since_start_ns, "wall_ns": stall.wall_ns} for stall in analysis.stalls],
        "groups": [_group(group, places) for group in analysis.stall_groups],
        "timeline": timeline,
        "duration_ns": facts.duration_ns,
        "threshold_ns": facts.threshold_ns,
    }


def flame_data(analysis: Analysis) -> dict[str, Any]:
    """Return the data of the flame graph of a capture's stalls, where it is one of several on a page."""
    return _flame(_drawn(analysis.stall_stacks)[0])


def compared_data(analysis: Analysis, against: Analysis) -> dict[str, Any]:
    """Return the data of a page about two captures; times are of a second of recording, so that they compare."""
    tables = _Tables()
    sums: dict[tuple[int, int, int], list[int]] = {}
    for side, known in enumerate((analysis, against)):
        for stack in _drawn(known.stall_stacks)[0]:
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


def _drawn(stacks: Sequence[WeightedStack]) -> tuple[list[WeightedStack], list[int]]:
    """Return the stacks that are drawn, and for each of all stacks its place among them.

    The heaviest are drawn; what the others of a cause cost together comes behind them.
    """
    drawn, places = list(stacks[:_MOST_STACKS]), list(range(min(len(stacks), _MOST_STACKS)))
    rest: dict[str, int] = {}
    for stack in stacks[_MOST_STACKS:]:
        rest[stack.cause] = rest.get(stack.cause, 0) + stack.ns
    at = {cause: len(drawn) + place for place, cause in enumerate(rest)}
    places += [at[stack.cause] for stack in stacks[_MOST_STACKS:]]
    return drawn + [WeightedStack(cause, "(lighter stacks)", _NO_STACK, ns) for cause, ns in rest.items()], places


def _flame(drawn: Sequence[WeightedStack]) -> dict[str, Any]:
    tables = _Tables()
    weights = [tables.weight(stack) for stack in drawn]
    return {**tables.told(), "weights": weights}


def _group(group: StallGroup, places: Sequence[int]) -> list[int]:
    """Return start, length, how many stalls; then places of weights, and the time of each. Microseconds."""
    sums: dict[int, int] = {}
    for place, ns in group.weights:
        sums[places[place]] = sums.get(places[place], 0) + ns
    told = [group.since_start_ns // _NS_PER_US, -(-group.duration_ns // _NS_PER_US), group.stalls]
    for place, ns in sums.items():
        told += [place, max(1, round(ns / _NS_PER_US))]
    return told


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
