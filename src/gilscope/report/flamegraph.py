"""A flame graph of the stalls as one SVG that stands alone: widths are stolen milliseconds, not samples.

One tree for all causes, so that one scale holds for all of them. It grows downwards: what everything has in common is
at the top, where reading begins. Each frame is an `<svg>` of its own, which clips its name at every width; so the
picture is complete without its script, and zooming only moves frames.
"""

from __future__ import annotations

import html
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zlib import crc32

from gilscope.report.layout import fitted, wrapped
from gilscope.report.stacks import CAUSES, path, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gilscope.analysis.model import WeightedStack
    from gilscope.capture import Code

# A row for each name, then frames; Python's own limit of recursion would be a picture of 17,000 pixels.
_MAX_ROWS = 400
# More elements than this make a browser slow to zoom; the widest are drawn.
_MAX_FRAMES = 10_000
_NARROWEST_PX = 0.3
_WIDTH_PX = 1200
_ROW_PX = 18
_TOP_PX = 138
_BOTTOM_PX = 30
# Where two letters of a name would be all that shows.
_SLIM_PERCENT = 1.6
_LONGEST_TEXT = 300
_CUT = "\N{HORIZONTAL ELLIPSIS}"
# What fits beside the tools, and below the title.
_TITLE_COLUMNS = 72
_SUBTITLE_COLUMNS, _SUBTITLE_LINES, _SUBTITLE_PX = 190, 3, 15
_LINES_SHOWN = 5
# As page/src/style.css has them: of each cause three shades, which differ from those of the others in lightness too.
_LIGHT = {
    "gil_wait": ("#c37955", "#c07e51", "#cd7a60"),
    "on_cpu": ("#ffe08e", "#f9e674", "#ffe3ba"),
    "blocked": ("#7caed4", "#86aed8", "#79b4d7"),
    "stopped": ("#bdc6cf", "#c1c8d2", "#c0cbd3"),
}
_DARK = {
    "gil_wait": ("#8b3e1c", "#834011", "#8b3521"),
    "on_cpu": ("#80641b", "#756618", "#835d1a"),
    "blocked": ("#03466d", "#15426c", "#024362"),
    "stopped": ("#28313b", "#282f3a", "#232e37"),
}
_SHADES = 3


def _fills(shades: Mapping[str, Sequence[str]]) -> str:
    return "".join(
        f".gilscope-flame .{cause}{shade} rect{{fill:{colour}}}\n"
        for cause, colours in shades.items()
        for shade, colour in enumerate(colours)
    )


_STYLE = f"""
.gilscope-flame{{font:12px system-ui,sans-serif;color-scheme:light dark;background:#fff}}
.gilscope-flame text{{fill:#1b1b1b}}
.gilscope-flame .title{{font-size:18px;font-weight:600}}
.gilscope-flame .quiet,.gilscope-flame .none{{fill:#666}}
.gilscope-flame .number{{text-anchor:end;font-variant-numeric:tabular-nums}}
.gilscope-flame .none{{text-anchor:middle;font-size:16px}}
.gilscope-flame .f{{overflow:hidden;cursor:pointer;outline:none}}
.gilscope-flame .f rect{{stroke:#fff;stroke-width:.5}}
.gilscope-flame .f text{{font:11px ui-monospace,monospace;pointer-events:none}}
.gilscope-flame .slim text{{display:none}}
.gilscope-flame .slim rect{{stroke-width:.25}}
.gilscope-flame .cause text{{font-weight:700}}
.gilscope-flame .word rect{{fill:#e4e4e4}}
{_fills(_LIGHT)}
.gilscope-flame .up{{opacity:.55}}
.gilscope-flame .f:hover rect,.gilscope-flame .f:focus-visible rect{{stroke:#000;stroke-width:2}}
.gilscope-flame .hit rect{{fill:#d04fd8}}
.gilscope-flame .hit text{{fill:#fff}}
.gilscope-flame .tools{{font:12px system-ui,sans-serif;display:flex;gap:8px;align-items:center;background:#fff;
width:fit-content;margin-left:auto;padding-left:8px}}
@media (prefers-color-scheme:dark){{
.gilscope-flame,.gilscope-flame .tools{{background:#16181b}}
.gilscope-flame text{{fill:#eee}}
.gilscope-flame .tools{{color:#eee}}
.gilscope-flame .quiet,.gilscope-flame .none{{fill:#9a9a9a}}
.gilscope-flame .f rect{{stroke:#16181b}}
.gilscope-flame .word rect{{fill:#3a3d42}}
{_fills(_DARK)}
.gilscope-flame .f:hover rect,.gilscope-flame .f:focus-visible rect{{stroke:#fff}}
.gilscope-flame .hit rect{{fill:#b23bbb}}
}}
"""

# Nothing of a capture is in the script: it reads names as text and writes none.
_SCRIPT = """
(() => {
  const root = document.currentScript.parentNode;
  const frames = [...root.querySelectorAll(".f")].map((node) => ({
    node,
    left: parseFloat(node.getAttribute("x")),
    width: parseFloat(node.getAttribute("width")),
    row: parseFloat(node.getAttribute("y")),
    text: node.firstChild.textContent.split("\\n", 2).join(" ").toLowerCase(),
  }));
  if (!frames.length) return;

  const zoom = (to) => {
    for (const { node, left, width, row } of frames) {
      const from = Math.max(0, ((left - to.left) / to.width) * 100);
      const shown = Math.min(100, ((left + width - to.left) / to.width) * 100) - from;
      node.style.display = shown > 0.01 ? "" : "none";
      node.setAttribute("x", from + "%");
      node.setAttribute("width", Math.max(0, shown) + "%");
      node.classList.toggle("up", row < to.row);
      node.classList.toggle("slim", shown < SLIM);
    }
  };
  const search = (wanted) => {
    let share = 0, end = -1;
    for (const { node, left, width, text } of frames) {
      const hit = wanted !== "" && text.includes(wanted);
      node.classList.toggle("hit", hit);
      // Callers come first: what is inside a frame that was found is counted with it.
      if (hit && left > end - 1e-5) {
        share += width;
        end = left + width;
      }
    }
    found.textContent = wanted && share.toFixed(1) + " % of stall time";
  };

  const html = (name) => document.createElementNS("http://www.w3.org/1999/xhtml", name);
  const place = document.createElementNS("http://www.w3.org/2000/svg", "foreignObject");
  const at = { x: "100%", y: 12, width: 420, height: 30, transform: "translate(-420)" };
  for (const [name, value] of Object.entries(at)) place.setAttribute(name, value);
  const tools = html("div"), found = html("output"), field = html("input"), reset = html("button");
  tools.className = "tools";
  field.type = "search";
  field.placeholder = "Search function or file";
  field.setAttribute("aria-label", field.placeholder);
  reset.textContent = "Reset zoom";
  tools.append(found, field, reset);
  place.append(tools);
  root.querySelector(".title").after(place);

  field.addEventListener("input", () => search(field.value.toLowerCase()));
  reset.addEventListener("click", () => zoom(frames[0]));
  const zoomTo = (event) => {
    const frame = frames.find(({ node }) => node.contains(event.target));
    if (frame) zoom(frame);
  };
  root.addEventListener("click", zoomTo);
  root.addEventListener("keydown", (event) => {
    if (event.key === "Enter") zoomTo(event);
    if (event.key === "Escape") {
      field.value = "";
      search("");
      zoom(frames[0]);
    }
  });
})();
""".replace("SLIM", str(_SLIM_PERCENT))


@dataclass(slots=True)
class _Node:
    """Calls of one function from one chain of callers; or a name where there is no function."""

    key: str | Code
    ns: int = 0
    line_ns: Counter[int] = field(default_factory=Counter)
    children: dict[str | Code, _Node] = field(default_factory=dict)

    def order(self) -> tuple[int, tuple[str | int, ...]]:
        """Widest first; the rest makes the picture the same for every order of the stacks."""
        return -self.ns, (self.key,) if isinstance(self.key, str) else tuple(self.key)


@dataclass(frozen=True, slots=True)
class _Tree:
    """All of it, and how much of it is too narrow to draw."""

    root: _Node
    least_ns: int
    frames: int
    narrow: int


@dataclass(frozen=True, slots=True)
class _Box:
    """A node and where it is drawn."""

    node: _Node
    cause: str
    start_ns: int
    row: int


def render(stacks: Sequence[WeightedStack], *, title: str, subtitle: str) -> str:
    """Return the SVG, the same for the same stacks in any order."""
    tree = _tree(stacks)
    boxes = list(_boxes(tree)) if tree.root.ns else []
    frames = [_frame(box, tree.root) for box in boxes]
    rows = 1 + max((box.row for box in boxes), default=0)
    height = _TOP_PX + rows * _ROW_PX + _BOTTOM_PX
    said = wrapped(printable(subtitle), _SUBTITLE_COLUMNS)[:_SUBTITLE_LINES]
    lower = _SUBTITLE_PX * (len(said) - 1)
    size = f'width="{_WIDTH_PX}" height="{height + lower}" style="width:100%;min-width:800px"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="gilscope-flame" {size}>',
            f"<title>{_text(title)}</title>",
            f"<style><![CDATA[{_STYLE}]]></style>",
            '<svg x="1%" width="98%">',
            f'<text class="title" y="30">{_text(fitted(title, _TITLE_COLUMNS, _CUT))}</text>',
            *(
                f'<text class="quiet" y="{49 + _SUBTITLE_PX * row}">{_text(line)}</text>'
                for row, line in enumerate(said)
            ),
            f'<svg y="{lower}">',
            *_legend(tree.root),
            *(frames or [f'<text class="none" x="50%" y="{_TOP_PX + 14}">no stalls</text>']),
            f'<text class="quiet" y="{height - 11}">{_note(tree)}</text>',
            "</svg>",
            "</svg>",
            f"<script><![CDATA[{_SCRIPT}]]></script>",
            "</svg>\n",
        ]
    )


def _tree(stacks: Sequence[WeightedStack]) -> _Tree:
    root = _Node("all stalls")
    nodes = []
    for weighted in stacks:
        if weighted.ns <= 0:
            continue
        node = root
        node.ns += weighted.ns
        steps = [weighted.cause, *path(weighted)]
        if len(steps) >= _MAX_ROWS:
            steps[_MAX_ROWS - 2 :] = ["(deeper frames)"]
        for step in steps:
            key = step if isinstance(step, str) else step.code
            child = node.children.get(key)
            if child is None:
                child = node.children[key] = _Node(key)
                nodes.append(child)
            node = child
            node.ns += weighted.ns
            if not isinstance(step, str):
                node.line_ns[step.line] += weighted.ns
    widths = sorted((node.ns for node in nodes), reverse=True)
    least = int(root.ns * _NARROWEST_PX / _WIDTH_PX) + 1
    if len(widths) > _MAX_FRAMES:
        least = max(least, widths[_MAX_FRAMES] + 1)
    return _Tree(root, least, len(nodes), sum(1 for width in widths if width < least))


def _boxes(tree: _Tree) -> Iterator[_Box]:
    """Yield what is drawn, callers before what they call, from left to right."""
    pending = [_Box(tree.root, "", 0, 0)]
    while pending:
        box = pending.pop()
        yield box
        children = sorted(box.node.children.values(), key=_Node.order)
        drawn = [child for child in children if child.ns >= tree.least_ns]
        narrow = children[len(drawn) :]
        folded_ns = sum(child.ns for child in narrow)
        if box.row and folded_ns >= tree.least_ns:
            drawn.append(_Node(f"({len(narrow):,} narrow)", folded_ns))
        start, inside = box.start_ns, []
        for child in drawn:
            cause = box.cause or str(child.key)
            inside.append(_Box(child, cause, start, box.row + 1))
            start += child.ns
        pending += reversed(inside)


def _frame(box: _Box, root: _Node) -> str:
    node = box.node
    code = None if isinstance(node.key, str) else node.key
    name = code.name if code else str(node.key)
    where = f"{code.file}:{code.first_line}" if code and code.file else ""
    if box.row <= 1:
        name = f"{CAUSES[box.cause][0] if box.row else name}: {_cost(node.ns, root.ns)}"
    lines = _lines(node.line_ns) if where else ""
    tooltip = "\n".join(filter(None, [_text(name), _text(where), f"{_cost(node.ns, root.ns)} of all stalls", lines]))
    # One shade for each file, so that the border between two packages shows.
    shade = crc32(where.rpartition(":")[0].encode(errors="replace")) % _SHADES
    kind = f"{box.cause}{shade}" if code else "word"
    if box.row == 1:
        kind = f"{box.cause}0 cause"
    if 100 * node.ns < _SLIM_PERCENT * root.ns:
        kind += " slim"
    return (
        f'<svg class="f {kind}" x="{100 * box.start_ns / root.ns:.6f}%" y="{_TOP_PX + box.row * _ROW_PX}" '
        f'width="{100 * node.ns / root.ns:.6f}%" height="{_ROW_PX}" tabindex="0"><title>{tooltip}</title>'
        f'<rect width="100%" height="{_ROW_PX - 1}"/><text x="4" y="12.5">{_text(name)}</text></svg>'
    )


def _lines(line_ns: Counter[int]) -> str:
    """Return where in a function the time went, heaviest line first."""
    heaviest = sorted(line_ns.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{f'line {line}' if line else 'line unknown'}: {_ms(ns)}" for line, ns in heaviest[:_LINES_SHOWN]]
    if len(heaviest) > _LINES_SHOWN:
        shown.append(f"{len(heaviest) - _LINES_SHOWN:,} more lines")
    return "\n".join(shown)


def _legend(root: _Node) -> Iterator[str]:
    for index, (cause, (label, whose)) in enumerate(CAUSES.items()):
        y = 74 + 16 * index
        ns = root.children[cause].ns if cause in root.children else 0
        yield (
            f'<g class="{cause}0"><rect y="{y - 10}" width="11" height="11"/></g>'
            f'<text x="18" y="{y}">{label}</text><text class="number" x="254" y="{y}">{_ms(ns)}</text>'
            f'<text class="number" x="314" y="{y}">{_percent(ns, root.ns)}</text>'
            f'<text class="quiet" x="332" y="{y}">{whose}</text>'
        )


def _note(tree: _Tree) -> str:
    how = "Width is stall time. Callers are above what they call; equal frames are merged, the heaviest on the left."
    if not tree.narrow:
        return how
    return f"{how} Not drawn: {tree.narrow:,} of {tree.frames:,} frames, each under {_ms(tree.least_ns)}."


def _cost(ns: int, total_ns: int) -> str:
    return f"{_ms(ns)}, {_percent(ns, total_ns)}"


def _ms(ns: int) -> str:
    return f"{ns / 1e6:,.2f} ms"


def _percent(ns: int, total_ns: int) -> str:
    return f"{100 * ns / max(total_ns, 1):.1f} %"


def _text(text: str) -> str:
    """Return what can stand in XML as text or in an attribute, whatever the text was."""
    shown = printable(text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + _CUT)
    return html.escape(shown)
