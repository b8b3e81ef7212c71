"""Collapsed stacks: one line for each, as flamegraph.pl, inferno and speedscope read them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gilscope.report.stacks import CAUSES, of_cause, path, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gilscope.analysis.model import WeightedStack
    from gilscope.capture import Frame


def render(stacks: Sequence[WeightedStack]) -> str:
    """Return a line `cause;thread;outer (file:line);...;inner (file:line) N` for each distinct stack.

    N is microseconds; a stack that rounds to none has no line.
    """
    line_ns: Counter[str] = Counter()
    for cause in CAUSES:
        for weighted in of_cause(stacks, cause):
            line_ns[";".join([cause, *map(_text, path(weighted))])] += weighted.ns
    rounded = ((line, (ns + 500) // 1000) for line, ns in line_ns.items())
    return "".join(f"{line} {us}\n" for line, us in sorted(rounded) if us)


def _text(step: str | Frame) -> str:
    if isinstance(step, str):
        text = step
    else:
        text = f"{step.code.name} ({step.code.file}:{step.line})" if step.code.file else step.code.name
    return printable(text).replace(";", ",")
