"""The summary of a run folder, made from its raw files alone; docs/bench.md describes it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from gilscope.bench import answer, compare, thresholds
from gilscope.bench.cells import RunFolderError, read_cells, read_json
from gilscope.bench.figures import NAMES, PERCENTILES, ArmFigures
from gilscope.bench.statistics import FEWEST_BLOCKS, needed, series

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from gilscope.bench.cells import Cell


def summarize(run_folder: Path) -> dict[str, object]:
    """Return the summary of a run; the same files give the same summary.

    Raises:
        RunFolderError: The folder is no run, or a file in it is damaged.
        ThresholdError: The plan's thresholds name what there is not.
    """
    plan, machine = read_json(run_folder / "plan.json"), read_json(run_folder / "machine.json")
    cells, invalid = read_cells(run_folder)
    try:
        named, seed, repeats = [str(arm) for arm in plan["arms"]], int(plan["seed"]), int(plan["repeats"])
    except (KeyError, TypeError, ValueError) as error:
        path = run_folder / "plan.json"
        raise RunFolderError(f"{path} must give arms, seed and repeats ({error}); restore it or run again") from error
    arms = list(dict.fromkeys([*named, *(cell.arm for cell in cells)]))
    again = f"{named[0]}{compare.AGAIN}" if named else ""
    limits = [thresholds.parse(given, [*arms, again]) for given in plan.get("thresholds", [])]
    points, checked = [], []
    for point in _points(plan, cells):
        found = [cell for cell in cells if cell.point == point]
        of_arms = {
            arm: ArmFigures([cell for cell in found if cell.arm == arm])
            for arm in arms
            if any(cell.arm == arm for cell in found)
        }
        # A plan without factors has its users all the same.
        where = {**({"users": plan["users"]} if "users" in plan else {}), **point}
        points.append(_point(point, where, of_arms, arms, repeats, seed))
        checked += [{"point": dict(point), **limit.check(of_arms, seed)} for limit in limits]
    return {
        "question": str(plan.get("question", "")),
        "answer": answer.of_points(points),
        "points": points,
        "thresholds": checked,
        "invalid": [cell.as_json() for cell in invalid],
        "how": {**machine, "plan": plan},
    }


def _points(plan: Mapping[str, Any], cells: Sequence[Cell]) -> list[Mapping[str, object]]:
    """Return the points of the plan, run or not: a threshold must not be met because its point was never reached."""
    factors = plan.get("factors") or {}
    points: list[Mapping[str, object]] = [
        dict(zip(factors, levels, strict=True)) for levels in itertools.product(*factors.values())
    ]
    for cell in cells:
        if cell.point not in points:
            points.append(cell.point)
    return points


def _point(
    point: Mapping[str, object],
    where: Mapping[str, object],
    arms: Mapping[str, ArmFigures],
    planned: Sequence[str],
    repeats: int,
    seed: int,
) -> dict[str, Any]:
    same = compare.noise(arms, seed)
    said = answer.sentence(where, arms, planned, same, seed)
    return {
        "point": dict(point),
        "answer": said[:1].upper() + said[1:],
        "arms": {name: _arm(arm, repeats, seed) for name, arm in arms.items()},
        "missing": [arm for arm in planned if arm not in arms],
        "rates": answer.rates_apart(arms),
        "pairs": [
            {**_pair(one), "beyond_noise": compare.beyond_noise(one, same.get(one.figure))}
            for one in compare.pairs(arms, seed)
        ],
        "noise": {figure: {**_pair(one), "factor": one.factor} for figure, one in same.items()},
    }


def _pair(one: compare.Pair) -> dict[str, Any]:
    return {
        "arm": one.arm,
        "against": one.against,
        "figure": one.figure,
        "blocks": one.blocks,
        "ratio": one.ratio.as_json() if one.ratio else None,
        "difference": one.difference.as_json(),
    }


def _arm(arm: ArmFigures, repeats: int, seed: int) -> dict[str, Any]:
    blocks = len(arm.cells)
    notes = []
    if blocks < repeats:
        notes.append(f"{blocks} valid of {repeats} blocks")
    if blocks == 1:
        notes.append("one block has no interval")
    elif blocks < FEWEST_BLOCKS:
        notes.append(f"fewer than {FEWEST_BLOCKS} blocks: intervals are the range of the blocks' own figures")
    requests = [cell.facts.get("requests", {}) for cell in arm.cells]
    return {
        "blocks": blocks,
        "notes": notes,
        "requests": {
            "measured": len(arm.pool),
            "asked_per_s": _mean([one.get("asked_per_s") for one in requests]),
            "reached_per_s": _mean([one.get("reached_per_s") for one in requests]),
        },
        "latency_ms": {name.removesuffix("_ms"): _figure(arm, name, seed) for name in PERCENTILES},
        "percentiles": [
            {
                "percentile": percentile,
                "value": one.value / 1e6,
                "low": None if one.low is None else one.low / 1e6,
                "high": None if one.high is None else one.high / 1e6,
            }
            for percentile, one in series(arm.pool, blocks, seed)
        ],
        **{name: _figure(arm, name, seed) for name in NAMES if name not in PERCENTILES},
        "spans": arm.spans(),
        "gc": arm.collections(),
    }


def _figure(arm: ArmFigures, name: str, seed: int) -> dict[str, object]:
    found = arm.estimate(name, seed)
    if found:
        return found.as_json()
    percentile = PERCENTILES.get(name)
    why = "the cells do not tell"
    if percentile is not None:
        why = f"needs {needed(percentile):,} requests, has {len(arm.pool):,}"
    return {"value": None, "low": None, "high": None, "interval": "none", "why": why}


def _mean(rates: Sequence[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) / len(known) if known else None
