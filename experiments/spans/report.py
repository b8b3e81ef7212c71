"""From a summary to the table for the terminal, and to the figures in the README files: no figure is typed in."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BEGIN = "<!-- figures: written by `--write`, from summary.json -->"
END = "<!-- end of figures -->"

Summary = dict[str, Any]
_RATIO = 1.0, 1.1


def number(value: float) -> str:
    """Return a figure with three significant digits, without exponent; a whole one in full.

    Just above 1, where ratios are looked at for what they have above it, it has as many as just below.
    """
    if value >= sys.float_info.max:
        return "any"
    if value == round(value):
        return f"{value:,.0f}"
    digits = 2 - math.floor(math.log10(abs(value))) + (_RATIO[0] < value < _RATIO[1])
    return f"{round(value, digits):,.{max(0, digits)}f}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows, the first of them titles, as a Markdown table that is readable as it stands."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def spread(summarised: dict[str, Any]) -> str:
    """Return a median with the range of the blocks that it comes from."""
    text = number(summarised["median"])
    if summarised["n"] == 1 or summarised["min"] == summarised["max"]:
        return text
    return f"{text} ({number(summarised['min'])}..{number(summarised['max'])})"


def figures(summary: Summary) -> str:
    """Return each arm's figures: median over the blocks, and their range."""
    metrics = summary["metrics"]
    rows = [["", *(f"{metric['title']}, {metric['unit']}" for metric in metrics)]]
    rows += [[arm, *(spread(values[metric["name"]]) for metric in metrics)] for arm, values in summary["arms"].items()]
    return table(rows)


def targets(summaries: Sequence[Summary]) -> str:
    """Return what was to be reached, and what was."""
    rows = [["", "reach", "reached", ""]]
    for summary in summaries:
        units = {metric["name"]: metric["unit"] for metric in summary["metrics"]}
        for target in summary["targets"]:
            bound = number(target["reach"])
            reached = spread(target["reached"])
            if target["peer"] is not None:
                than = "less" if target["kind"] == "fewer" else "more"
                wanted, got = f">= {bound} x {than} than {target['peer']}", f"{reached} x"
            else:
                sign = "<=" if target["kind"] == "fewer" else ">="
                unit = units[target["metric"]]
                wanted, got = f"{sign} {bound} {unit}" if target["reach"] else f"0 {unit}", f"{reached} {unit}"
            rows.append([target["what"], wanted, got, "yes" if target["met"] else "NO"])
    return table(rows)


def provenance(summary: Summary) -> str:
    """Return how the figures were made."""
    blocks = int(summary["sizes"]["blocks"])
    sizes = ", ".join(f"{name} {value:g}" for name, value in summary["sizes"].items() if name != "blocks")
    text = (
        f"`{summary['command']}`: {blocks} block{'s' if blocks > 1 else ''} in random order "
        f"(seed {summary['seed']}; {sizes}); median (lowest..highest block). On {summary['machine']}."
    )
    if summary["left_out"]:
        text += f" Left out, because not installed: {', '.join(summary['left_out'])}."
    return text


def as_text(summary: Summary) -> str:
    """Return all there is to say of a run."""
    parts = [summary["question"], figures(summary)]
    if summary["targets"]:
        parts.append(targets([summary]))
    return "\n\n".join([*parts, provenance(summary)]) + "\n"


def write(folder: Path, summary: Summary) -> None:
    """The folder's summary.json holds the summary, and its README.md shows it."""
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    parts = [figures(summary), *([targets([summary])] if summary["targets"] else []), provenance(summary)]
    replace_figures(folder / "README.md", "\n\n".join(parts))


def write_overview(readme: Path, summaries: Sequence[Summary]) -> None:
    """The README of all experiments shows what each was to reach."""
    machines = sorted({summary["machine"] for summary in summaries})
    replace_figures(readme, "\n\n".join([targets(summaries), *(f"On {machine}." for machine in machines)]))


def replace_figures(readme: Path, text: str) -> None:
    """What stands between the marks in the file is the text.

    Raises:
        ValueError: the file has no such marks.
    """
    before, begin, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"expected {BEGIN} and {END} in {readme}")
    readme.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
