"""Where the loop's time went, arm by arm, as one SVG that stands alone; it has no script.

Left: all iterations; right: those that were stalls, on a scale of their own. Parts differ in hatching and in lightness,
not in colour alone, so that the picture reads in grey too.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gilscope.analysis.durations import spoken
from gilscope.report.layout import fitted
from gilscope.report.stacks import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gilscope.analysis.model import Parts

# By the attributes of `Parts`, in the order of the bars.
PARTS = {
    "gil_wait_ns": "GIL wait",
    "on_cpu_ns": "on CPU",
    "blocked_ns": "blocked",
    "no_core_ns": "no core",
    "unattributed_ns": "unattributed",
}
_WIDTH_PX, _TOP_PX, _BOTTOM_PX = 960, 76, 14
_ROW_PX, _BAR_PX = 34, 22
# Where the bars of each panel begin, and how long the longest is; the rest is for its number.
_NAMES_PX, _PANELS_PX, _LONGEST_PX = 128, (140, 570), 310
_LEGEND_PX = (140, 240, 340, 440, 540)
_NAME_COLUMNS = 17
_CUT = "\N{HORIZONTAL ELLIPSIS}"
_PER_S = 1_000_000_000
# Paper, ink, quiet; then of each part its ground and the lines on it. The grounds' lightness is a step apart in grey.
_LIGHT = (
    ("#fff", "#1b1b1b", "#595959"),
    (("#b4481a", "#b4481a"), ("#ffe08a", "#8a6a00"), ("#a9d3f5", "#14507f"), ("#d4d9de", "#59616b"), ("#fff", "#777")),
)
_DARK = (
    ("#14171a", "#eee", "#a8a8a8"),
    (
        ("#f08a5a", "#f08a5a"),
        ("#5c4708", "#e6c84f"),
        ("#173a58", "#79b0de"),
        ("#343a41", "#a3abb5"),
        ("#14171a", "#888"),
    ),
)
# On a tile of 8 px: nothing, strokes, dots, lines across, a cross.
_HATCHES = (
    "",
    '<path d="M-2,2 l4,-4 M0,8 l8,-8 M6,10 l4,-4"/>',
    '<circle cx="2" cy="2" r="1.1"/><circle cx="6" cy="6" r="1.1"/>',
    '<path d="M0,2 h8 M0,6 h8"/>',
    '<path d="M0,0 l8,8 M0,8 l8,-8"/>',
)


def _colours(paper: str, ink: str, quiet: str, parts: Sequence[tuple[str, str]]) -> str:
    hatches = "".join(
        f".gilscope-parts .h{number}{{fill:{ground}}}.gilscope-parts .l{number}{{stroke:{line};fill:{line}}}\n"
        for number, (ground, line) in enumerate(parts)
    )
    return (
        f".gilscope-parts{{background:{paper}}}.gilscope-parts text{{fill:{ink}}}\n"
        f".gilscope-parts .quiet{{fill:{quiet}}}.gilscope-parts .part{{stroke:{ink};stroke-width:.75}}\n{hatches}"
    )


_STYLE = f"""
.gilscope-parts{{font:12px system-ui,sans-serif;color-scheme:light dark}}
.gilscope-parts .name{{font-weight:600;text-anchor:end}}
{_colours(*_LIGHT[0], _LIGHT[1])}
@media (prefers-color-scheme:dark){{
{_colours(*_DARK[0], _DARK[1])}
}}
"""


@dataclass(frozen=True)
class Bar:
    """One arm.

    Attributes:
        every: where the time of all iterations went.
        stalled: where that of stalls went.
        duration_ns: of the recording.
    """

    name: str
    every: Parts
    stalled: Parts
    duration_ns: int


def render(bars: Sequence[Bar]) -> str:
    """Return the SVG."""
    height = _TOP_PX + _ROW_PX * len(bars) + _BOTTOM_PX
    size = f'viewBox="0 0 {_WIDTH_PX} {height}" width="{_WIDTH_PX}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="gilscope-parts" {size}>',
            "<title>Where the loop's time went</title>",
            f"<style><![CDATA[{_STYLE}]]></style>",
            "<defs>",
            *(
                f'<pattern id="p{number}" width="8" height="8" patternUnits="userSpaceOnUse">'
                f'<rect class="h{number}" width="8" height="8"/><g class="l{number}">{hatch}</g></pattern>'
                for number, hatch in enumerate(_HATCHES)
            ),
            "</defs>",
            *_legend(),
            *(
                f'<text class="name" x="{_NAMES_PX}" y="{_middle(row)}">{_text(fitted(bar.name, _NAME_COLUMNS, _CUT))}'
                "</text>"
                for row, bar in enumerate(bars)
            ),
            *_panel("Iterations, of each second", _PANELS_PX[0], [(bar.every, bar.duration_ns) for bar in bars]),
            *_panel("Stalls, of each second", _PANELS_PX[1], [(bar.stalled, bar.duration_ns) for bar in bars]),
            "</svg>\n",
        ]
    )


def _legend() -> Iterator[str]:
    for number, (x, label) in enumerate(zip(_LEGEND_PX, PARTS.values(), strict=True)):
        yield f'<rect class="part" fill="url(#p{number})" x="{x}" y="12" width="20" height="14"/>'
        yield f'<text x="{x + 26}" y="23">{label}</text>'


def _panel(title: str, left: int, rows: Sequence[tuple[Parts, int]]) -> Iterator[str]:
    yield f'<text class="quiet" x="{left}" y="{_TOP_PX - 14}">{title}</text>'
    longest = max((parts.wall_ns / max(duration_ns, 1) for parts, duration_ns in rows), default=0)
    for row, (parts, duration_ns) in enumerate(rows):
        x, y = float(left), _TOP_PX + _ROW_PX * row
        for number, part in enumerate(PARTS):
            share = getattr(parts, part) / max(duration_ns, 1)
            width = _LONGEST_PX * share / longest if longest else 0.0
            if width > 0:
                yield (
                    f'<rect class="part" fill="url(#p{number})" x="{x:.2f}" y="{y}" width="{width:.2f}" '
                    f'height="{_BAR_PX}"/>'
                )
            x += width
        words = spoken(parts.wall_ns * _PER_S // max(duration_ns, 1)) if parts.wall_ns else "none"
        yield f'<text x="{x + 8:.2f}" y="{_middle(row)}">{words}</text>'


def _middle(row: int) -> int:
    return _TOP_PX + _ROW_PX * row + 15


def _text(text: str) -> str:
    return html.escape(printable(text))
