"""The summary as Markdown, short enough for a comment on a change; docs/bench.md says how to read it."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# All ASCII punctuation that CommonMark and GitHub give a meaning somewhere, mentions and issue numbers among it.
# (an underscore inside a word excepted: it has none there).
_MARKUP = re.compile(r"[\\`*{}\[\]#+!|~<>&@$^:-]|(?<![^\W_])_|_(?![^\W_])")
_LONGEST_TEXT = 500
_LONGEST_ANSWER = 2000
# GitHub refuses a comment of more characters.
_LONGEST_COMMENT = 65_536
_MOST_INVALID = 40
_LATENCIES = ("p50", "p99", "p99.9", "max")
_OF_PLAN = ("app", "path", "users", "loop", "duration_s", "warmup_s", "repeats", "seed")
_UNTOLD = "\N{EN DASH}"
_PAIRED = ("p50_ms", "p99_ms", "p99.9_ms", "cpu_per_request_ms", "memory_mb")


def render(summary: Mapping[str, Any]) -> str:
    """Return the Markdown of a summary; whatever a name or a problem says stays text.

    Points for which a comment has no room are left out, and counted.
    """
    points = summary["points"]
    text = ""
    for shown in range(len(points), -1, -1):
        text = _whole(summary, shown)
        if len(text) <= _LONGEST_COMMENT:
            break
    return text


def _whole(summary: Mapping[str, Any], shown: int) -> str:
    parts = [
        f"### {escape(summary['question'] or 'gilscope bench')}",
        f"**{escape(summary['answer'], _LONGEST_ANSWER)}**",
    ]
    left_out = len(summary["points"]) - shown
    if left_out:
        parts.append(f"{left_out} of {len(summary['points'])} points are left out here: summary.json has all of them.")
    return "\n\n".join([*parts, *_tables(summary, shown), _how(summary["how"])]) + "\n"


def as_text(summary: Mapping[str, Any]) -> str:
    """Return its tables and the answer for a terminal, where nothing is markup."""
    answer = escape(summary["answer"], _LONGEST_ANSWER)
    return html.unescape("\n\n".join([*_tables(summary, len(summary["points"])), answer])) + "\n"


def _tables(summary: Mapping[str, Any], shown: int) -> Iterator[str]:
    for point in summary["points"][:shown]:
        yield from _point(point, titled=len(summary["points"]) > 1)
    if summary["thresholds"]:
        yield _table(("threshold", "reached", ""), [_threshold(one) for one in summary["thresholds"]])
    if summary["invalid"]:
        yield "Left out of every figure:"
        yield "\n".join(
            f"- cell {escape(one['cell'])}, {escape(one['arm'])}: {escape('; '.join(one['problems']))}"
            for one in summary["invalid"][:_MOST_INVALID]
        )
        if len(summary["invalid"]) > _MOST_INVALID:
            yield f"and {len(summary['invalid']) - _MOST_INVALID} more cells."


def escape(text: object, longest: int = _LONGEST_TEXT) -> str:
    """Return text that Markdown and HTML show as it is: on one line, and never as markup, link or mention."""
    plain = " ".join("".join(char if char.isprintable() else " " for char in str(text)).split())
    if len(plain) > longest:
        plain = plain[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"
    # Entities rather than backslashes: GitHub looks for mentions and addresses after the backslashes are gone.
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", plain).replace("www.", "www&#46;")


def _point(point: Mapping[str, Any], *, titled: bool) -> Iterator[str]:
    if titled:
        levels = ", ".join(f"{name} {value}" for name, value in point["point"].items())
        yield f"#### {escape(levels or '-')}"
        yield escape(point["answer"], _LONGEST_ANSWER)
    yield _table(
        (
            "arm",
            *(f"{name} ms" for name in _LATENCIES),
            "CPU ms a request",
            "memory MB",
            "spans made / received / lost",
        ),
        [_arm(name, arm) for name, arm in point["arms"].items()],
    )
    collected = {name: arm for name, arm in point["arms"].items() if arm["gc"]}
    if collected:
        yield _table(
            ("arm", "GC ms/s", "longest GC ms", *(f"generation {n}" for n in range(3))),
            [_collections(name, arm) for name, arm in collected.items()],
        )
    by_note: dict[str, list[str]] = {}
    for name, arm in point["arms"].items():
        for note in _notes(arm):
            by_note.setdefault(note, []).append(name)
    notes = [f"- {escape(', '.join(names))}: {escape(note)}" for note, names in by_note.items()]
    notes += [f"- {escape(arm)}: no valid cell" for arm in point["missing"]]
    if point["rates"]:
        notes.append(f"- {escape(point['rates'])}")
    if notes:
        yield "\n".join(notes)
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for one in [*point["noise"].values(), *point["pairs"]]:
        rows.setdefault((one["arm"], one["against"]), {})[one["figure"]] = _ratio(one)
    if rows:
        yield (
            "Ratios; bold: beyond the noise, ?: cannot be told. "
            "A pair of one arm with itself, run again, shows the noise."
        )
        yield _table(
            ("pair", *(escape(figure) for figure in _PAIRED)),
            [
                (f"{escape(arm)} / {escape(against)}", *(ratios.get(figure, _UNTOLD) for figure in _PAIRED))
                for (arm, against), ratios in rows.items()
            ],
        )


def _notes(arm: Mapping[str, Any]) -> Iterator[str]:
    yield from arm["notes"]
    untold = [name for name, figure in arm["latency_ms"].items() if "why" in figure]
    if untold:
        yield f"too few requests to tell {', '.join(untold)}"


def _arm(name: str, arm: Mapping[str, Any]) -> Sequence[str]:
    spans = arm["spans"]
    return (
        escape(name),
        *(_interval(arm["latency_ms"][latency]) for latency in _LATENCIES),
        _interval(arm["cpu_per_request_ms"]),
        _interval(arm["memory_mb"]),
        f"{spans['made']:,} / {spans['received']:,} / {spans['lost']:,}",
    )


def _collections(name: str, arm: Mapping[str, Any]) -> Sequence[str]:
    return (
        escape(name),
        _interval(arm["gc_pause_ms_per_s"]),
        _interval(arm["gc_pause_longest_ms"]),
        *(
            f"{each['collections']:,}: {_number(each['pause_ms'])} ms, longest {_number(each['longest_ms'])}"
            for each in arm["gc"]
        ),
    )


def _ratio(one: Mapping[str, Any]) -> str:
    said = _interval(one["ratio"])
    if one["ratio"] is None or "beyond_noise" not in one:  # the A/A pair is the noise
        return said
    return {True: f"**{said}**", False: said, None: f"{said} ?"}[one["beyond_noise"]]


def _threshold(one: Mapping[str, Any]) -> Sequence[str]:
    levels = ", ".join(f"{name} {value}" for name, value in one["point"].items())
    against = f" against {one['against']} ({one['as']})" if "against" in one else ""
    words = {"at_most": "at most", "at_least": "at least"}
    limits = ", ".join(f"{said} {one[key]:g}" for key, said in words.items() if key in one)
    said = f"{one['arm']}{against}, {one['figure']}: {limits}{f' at {levels}' if levels else ''}"
    reached = _number(one["reached"]) if one["reached"] is not None else escape(one["why"])
    return escape(said), reached, "met" if one["met"] else "**missed**"


def _how(how: Mapping[str, Any]) -> str:
    plan = how.get("plan", {})
    told = {name: plan[name] for name in _OF_PLAN if name in plan}
    told |= {name: value for name, value in how.items() if name != "plan"}
    lines = [f"- {escape(name)}: {escape(_flat(value))}" for name, value in told.items()]
    made = "Value [interval]: 95 %, from resampled blocks; of max, and of fewer than 4 blocks, the range of the blocks."
    return "\n".join(["<details><summary>How this was made</summary>", "", made, "", *lines, "", "</details>"])


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_flat(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return " ".join(_flat(inner) for inner in value)
    return str(value)


def _interval(figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return _UNTOLD
    if figure["low"] is None:
        return _number(figure["value"])
    return f"{_number(figure['value'])} [{_number(figure['low'])} to {_number(figure['high'])}]"


def _number(value: float) -> str:
    """Return three digits, and none beyond the point from 100 on."""
    if abs(value) >= 100:  # noqa: PLR2004
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"  # noqa: PLR2004


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
