"""Latency by percentile as one SVG that stands alone, from the summary of a bench run; it has no script.

Across: 1/(1-p) in the logarithm, so that every nine gets as much room as the one before. Up: milliseconds, in the
logarithm too, for a tail may be fifty times the median. Arms differ in dashes and in their names at the end of the
line, not in colour alone.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gilscope.report.layout import fitted, wrapped
from gilscope.report.stacks import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_WIDTH_PX, _HEIGHT_PX = 960, 520
_LEFT_PX, _RIGHT_PX, _TOP_PX, _BOTTOM_PX = 70, 780, 100, 460
# The largest of all has no percentile: it stands apart, on the right.
_MAX_PX, _NAMES_PX = 810, 826
_NAME_COLUMNS, _TITLE_COLUMNS, _ANSWER_COLUMNS, _ANSWER_LINES = 16, 90, 150, 3
_LINE_PX = 15
_LONGEST_TEXT = 1000
_CUT = "\N{HORIZONTAL ELLIPSIS}"
_MARKS = (50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99)
# Okabe and Ito's colours, which stay apart with any colour vision and print as different greys; and dashes beside them.
_LOOKS = (
    ("#0072b2", "#56b4e9", ""),
    ("#009e73", "#3ccfa4", "7 3"),
    ("#d55e00", "#ff8a3d", "14 4"),
    ("#a8518a", "#e29ccb", "2 3"),
    ("#1b1b1b", "#f0f0f0", "9 3 2 3"),
    ("#8a6d00", "#e6c84f", "14 3 2 3 2 3"),
)


def _colours(which: int) -> str:
    return "".join(f".gilscope-percentiles .a{number}{{--arm:{look[which]}}}\n" for number, look in enumerate(_LOOKS))


_STYLE = f"""
.gilscope-percentiles{{font:12px system-ui,sans-serif;color-scheme:light dark;background:#fff}}
.gilscope-percentiles text{{fill:#1b1b1b}}
.gilscope-percentiles .title{{font-size:18px;font-weight:600}}
.gilscope-percentiles .quiet,.gilscope-percentiles .none{{fill:#595959}}
.gilscope-percentiles .number{{text-anchor:end;font-variant-numeric:tabular-nums}}
.gilscope-percentiles .middle,.gilscope-percentiles .none{{text-anchor:middle}}
.gilscope-percentiles .grid{{stroke:#dcdcdc}}
.gilscope-percentiles .line{{fill:none;stroke:var(--arm);stroke-width:2;stroke-linejoin:round}}
.gilscope-percentiles .band{{fill:var(--arm);opacity:.14}}
.gilscope-percentiles .dot{{fill:var(--arm)}}
.gilscope-percentiles .lead{{stroke:var(--arm);opacity:.5}}
.gilscope-percentiles .name{{font-weight:600}}
{_colours(0)}
@media (prefers-color-scheme:dark){{
.gilscope-percentiles{{background:#14171a}}
.gilscope-percentiles text{{fill:#eee}}
.gilscope-percentiles .quiet,.gilscope-percentiles .none{{fill:#a8a8a8}}
.gilscope-percentiles .grid{{stroke:#33373c}}
{_colours(1)}
}}
"""


@dataclass(frozen=True, slots=True)
class _Arm:
    """One arm's line.

    Attributes:
        at: percentile, value, low and high in ms; low and high are the value where there is no interval.
        max_ms: None where it is not told.
    """

    name: str
    at: tuple[tuple[float, float, float, float], ...]
    max_ms: float | None

    @property
    def end_ms(self) -> float:
        """Where the line ends and its name begins."""
        return self.max_ms if self.max_ms is not None else self.at[-1][1]


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where a percentile and a latency are drawn."""

    last: float
    low_ms: float
    high_ms: float

    def x(self, percentile: float) -> float:
        """Return pixels from the left; p50 is the first that is shown."""
        return _LEFT_PX + (_RIGHT_PX - _LEFT_PX) * _nines(percentile) / _nines(self.last)

    def y(self, ms: float) -> float:
        """Return pixels from the top."""
        share = math.log(max(ms, self.low_ms) / self.low_ms) / math.log(self.high_ms / self.low_ms)
        return _BOTTOM_PX - (_BOTTOM_PX - _TOP_PX) * share


def render(summary: Mapping[str, Any], point: int = 0) -> str:
    """Return the SVG of one point of a summary.

    Args:
        summary: As `gilscope.bench.summary` makes it.
        point: Which of its points.
    """
    points = summary["points"]
    arms = _arms(points[point]["arms"]) if points else []
    answer = str(points[point]["answer"] if points else summary["answer"])
    size = f'viewBox="0 0 {_WIDTH_PX} {_HEIGHT_PX}" width="{_WIDTH_PX}" height="{_HEIGHT_PX}"'
    style, role = (
        'style="max-width:100%;height:auto"',
        'role="img" aria-labelledby="percentiles-title percentiles-desc"',
    )
    lines = wrapped(printable(answer), _ANSWER_COLUMNS)
    if len(lines) > _ANSWER_LINES:
        lines = [*lines[: _ANSWER_LINES - 1], f"{lines[_ANSWER_LINES - 1]} {_CUT}"]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="gilscope-percentiles" {size} {style} {role}>',
            '<title id="percentiles-title">Latency by percentile</title>',
            f'<desc id="percentiles-desc">{_text(_described(answer, arms))}</desc>',
            f"<style><![CDATA[{_STYLE}]]></style>",
            f'<text class="title" x="16" y="30">{_text(fitted(_title(summary), _TITLE_COLUMNS, _CUT))}</text>',
            *(
                f'<text class="quiet" x="16" y="{50 + _LINE_PX * row}">{_text(line)}</text>'
                for row, line in enumerate(lines)
            ),
            *(_drawn(arms) if arms else ['<text class="none" x="480" y="280">no latencies to show</text>']),
            "</svg>\n",
        ]
    )


def _title(summary: Mapping[str, Any]) -> str:
    return str(summary.get("question") or "Latency by percentile")


def _arms(arms: Mapping[str, Any]) -> list[_Arm]:
    found = []
    for name, arm in arms.items():
        at = tuple(
            (
                one["percentile"],
                one["value"],
                *(one["value"] if one[end] is None else one[end] for end in ("low", "high")),
            )
            for one in arm["percentiles"]
            if one["value"] > 0
        )
        if at:
            found.append(_Arm(name, at, arm["latency_ms"]["max"]["value"]))
    return found


def _drawn(arms: Sequence[_Arm]) -> Iterator[str]:
    shown = [ms for arm in arms for _, value, low, high in arm.at for ms in (value, low, high) if ms > 0]
    shown += [arm.max_ms for arm in arms if arm.max_ms]
    low_ms, high_ms = min(shown) / 1.1, max(shown) * 1.1
    scale = _Scale(max(90.0, *(arm.at[-1][0] for arm in arms)), low_ms, high_ms)
    yield from _axes(scale)
    ends = _apart([scale.y(arm.end_ms) for arm in arms])
    for number, (arm, name_y) in enumerate(zip(arms, ends, strict=True)):
        yield from _arm(arm, number % len(_LOOKS), scale, name_y)


def _axes(scale: _Scale) -> Iterator[str]:
    last_x = -math.inf
    for mark in _MARKS:
        x = scale.x(mark)
        if mark > scale.last or x - last_x < 40:  # noqa: PLR2004  # px that a label needs
            continue
        last_x = x
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP_PX}" y2="{_BOTTOM_PX}"/>'
        yield f'<text class="quiet middle" x="{x:.1f}" y="{_BOTTOM_PX + 18}">p{mark:g}</text>'
    yield f'<text class="quiet middle" x="{_MAX_PX}" y="{_BOTTOM_PX + 18}">max</text>'
    for ms in _ticks(scale.low_ms, scale.high_ms):
        y = scale.y(ms)
        yield f'<line class="grid" x1="{_LEFT_PX}" x2="{_MAX_PX}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="quiet number" x="{_LEFT_PX - 8}" y="{y + 4:.1f}">{ms:,g} ms</text>'
    note = "Latency from the intended start. Bands: 95 % intervals from whole blocks, or the blocks' range where few."
    yield f'<text class="quiet" x="16" y="{_HEIGHT_PX - 14}">{_text(note)}</text>'


def _arm(arm: _Arm, look: int, scale: _Scale, name_y: float) -> Iterator[str]:
    dashes = f' stroke-dasharray="{_LOOKS[look][2]}"' if _LOOKS[look][2] else ""
    xs = [scale.x(percentile) for percentile, *_ in arm.at]
    line = " ".join(f"{x:.1f},{scale.y(one[1]):.1f}" for x, one in zip(xs, arm.at, strict=True))
    upper = [f"{x:.1f},{scale.y(one[3]):.1f}" for x, one in zip(xs, arm.at, strict=True)]
    lower = [f"{x:.1f},{scale.y(one[2]):.1f}" for x, one in zip(xs, arm.at, strict=True)]
    last_x, last_y = xs[-1], scale.y(arm.at[-1][1])
    yield f'<g class="a{look}"><title>{_text(_one_line(arm))}</title>'
    yield f'<polygon class="band" points="{" ".join(upper + lower[::-1])}"/>'
    yield f'<polyline class="line"{dashes} points="{line}"/>'
    if arm.max_ms:
        last_x, last_y = _MAX_PX, scale.y(arm.max_ms)
        yield f'<circle class="dot" cx="{last_x}" cy="{last_y:.1f}" r="4"/>'
    yield f'<line class="lead" x1="{last_x:.1f}" x2="{_NAMES_PX - 2}" y1="{last_y:.1f}" y2="{name_y:.1f}"/>'
    name = _text(fitted(arm.name, _NAME_COLUMNS, _CUT))
    yield f'<text class="name" x="{_NAMES_PX}" y="{name_y + 4:.1f}">{name}</text>'
    yield "</g>"


def _apart(wanted: Sequence[float]) -> list[float]:
    """Return where names stand, so that none covers another: in the order wanted, as near as there is room."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    placed = [0.0] * len(wanted)
    lowest = -math.inf
    for index in order:
        lowest = placed[index] = max(wanted[index], lowest + _LINE_PX)
    over = lowest - _BOTTOM_PX
    for index in reversed(order):
        if over <= 0:
            break
        lowest = placed[index] = min(placed[index], _BOTTOM_PX if index == order[-1] else lowest - _LINE_PX)
    return placed


def _ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 of each power of ten between the two; with less than two of them, the ends."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [digit * 10.0**power for power in powers for digit in (1, 2, 5) if low <= digit * 10.0**power <= high]
    return found if len(found) > 1 else [float(f"{low:.2g}"), float(f"{high:.2g}")]


def _nines(percentile: float) -> float:
    return math.log10(50 / (100 - percentile))


def _described(answer: str, arms: Sequence[_Arm]) -> str:
    return " ".join([answer, *(f"{_one_line(arm)}." for arm in arms)])


def _one_line(arm: _Arm) -> str:
    shown = [f"p{percentile:g} {value:.4g} ms" for percentile, value, *_ in arm.at if percentile in {50, 90, 99, 99.9}]
    if arm.max_ms:
        shown.append(f"max {arm.max_ms:.4g} ms")
    return f"{fitted(arm.name, 60, _CUT)}: {', '.join(shown)}"


def _text(text: str) -> str:
    """Return what can stand in XML as text, whatever the text was."""
    shown = printable(text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + _CUT)
    return html.escape(shown)
