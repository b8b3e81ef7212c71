"""Stacks as https://www.speedscope.app shows them: a profile for each cause."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from gilscope._version import __version__
from gilscope.report.stacks import CAUSES, of_cause, path, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gilscope.analysis.model import WeightedStack
    from gilscope.capture import Frame

SCHEMA = "https://www.speedscope.app/file-format-schema.json"


def to_dict(stacks: Sequence[WeightedStack], *, name: str) -> dict[str, Any]:
    """Return the document for JSON; the profile that opens first is that of the cause that cost most.

    Functions are named by where they begin: speedscope takes two lines of one function for two functions.
    """
    frames: dict[tuple[str, str, int], int] = {}
    profiles = []
    total_ns = []
    for cause, (label, whose) in CAUSES.items():
        sample_ns: Counter[tuple[int, ...]] = Counter()
        for weighted in of_cause(stacks, cause):
            sample = tuple(frames.setdefault(_key(step), len(frames)) for step in path(weighted))
            sample_ns[sample] += weighted.ns
        total_ns.append(sum(sample_ns.values()))
        profiles.append(
            {
                "type": "sampled",
                "name": f"{label} ({whose})",
                "unit": "nanoseconds",
                "startValue": 0,
                "endValue": total_ns[-1],
                "samples": [list(sample) for sample in sample_ns],
                "weights": list(sample_ns.values()),
            }
        )
    return {
        "$schema": SCHEMA,
        "exporter": f"gilscope {__version__}",
        "name": printable(name),
        "activeProfileIndex": total_ns.index(max(total_ns)),
        "shared": {"frames": [_frame(*key) for key in frames]},
        "profiles": profiles,
    }


def _key(step: str | Frame) -> tuple[str, str, int]:
    return (step, "", 0) if isinstance(step, str) else (step.code.name, step.code.file, step.code.first_line)


def _frame(name: str, file: str, line: int) -> dict[str, Any]:
    return {"name": printable(name), **({"file": printable(file), "line": line} if file else {})}
