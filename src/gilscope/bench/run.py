"""Runs a plan: every cell in its turn, into a folder from which all figures can be made again."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from gilscope.bench.cell import CellRunner
from gilscope.bench.compare import AGAIN
from gilscope.bench.machine import Cores, describe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gilscope.bench.plan import Plan

_AROUND_A_CELL_S = 2.0  # start, flush, stop
_TRIES = 2


class Turn(NamedTuple):
    """A cell, before it has run.

    Attributes:
        number: in order of running.
        block: -1 for cells that are in no figure.
        kind: "measured", "probe", "pyspy" or "pyspy-dump".
    """

    number: int
    block: int
    point: dict[str, Any]
    arm: str
    kind: str

    def folder(self, run_folder: Path, attempt: int) -> Path:
        """Return where its files are."""
        name = f"{self.number:04d}-{self.arm}{'' if self.kind == 'measured' else f'-{self.kind}'}"
        return run_folder / "cells" / (name if attempt == 0 else f"{name}-again{attempt}")


def turns(plan: Plan) -> list[Turn]:
    """Return every cell of the plan in the order in which they run: always the same for the same plan."""
    order = random.Random(plan.seed)
    arms = [*plan.arms, plan.arms[0] + AGAIN]
    points = list(plan.points())
    found: list[tuple[int, dict[str, Any], str, str]] = []
    for block in range(plan.repeats):
        for point in order.sample(points, len(points)):
            found += [(block, point, arm, "measured") for arm in order.sample(arms, len(arms))]
    for kind, asked in (("probe", plan.probe), ("pyspy", plan.py_spy), ("pyspy-dump", plan.py_spy)):
        found += [(-1, point, arm, kind) for point in points for arm in plan.arms if asked]
    return [Turn(number, *each) for number, each in enumerate(found)]


def expected_seconds(plan: Plan, remaining: int) -> float:
    """Return about how long so many cells take."""
    return remaining * (_AROUND_A_CELL_S + plan.warmup_s + plan.duration_s)


def run(plan: Plan, folder: Path, show: Callable[[str], None]) -> None:
    """Every cell of the plan is in the folder; those that were there already have been kept.

    Args:
        plan: what to run.
        folder: made if it is not there.
        show: called about once a second with a line that says what is going on.

    Raises:
        CellError: the application cannot be served or does not answer, the load or the receiver did not start.
    """
    cores = Cores.here()
    (folder / "cells").mkdir(parents=True, exist_ok=True)
    if not (folder / "plan.json").exists():
        write_json(folder / "machine.json", describe(cores, plan.expect_workers))
        write_json(folder / "plan.json", plan.as_json())
    planned = turns(plan)
    for turn in planned:
        left = len(planned) - turn.number

        def say(doing: str, turn: Turn = turn, left: int = left) -> None:
            minutes = expected_seconds(plan, left) / 60
            where = " ".join([turn.arm, *(f"{name}={value}" for name, value in turn.point.items())])
            kind = "" if turn.kind == "measured" else f" with {turn.kind}"
            show(f"{turn.number + 1} of {len(planned)}, {where}{kind}: {doing}; about {minutes:.0f} min left")

        _run_turn(plan, turn, folder, CellRunner(cores, say))


def _run_turn(plan: Plan, turn: Turn, run_folder: Path, runner: CellRunner) -> None:
    for attempt in range(_TRIES if turn.kind == "measured" else 1):
        folder = turn.folder(run_folder, attempt)
        done = folder / "cell.json"
        if not done.exists():
            folder.mkdir(exist_ok=True)
            facts = runner.run(plan.at(turn.point), turn.arm, turn.kind, folder)
            where = {"cell": turn.number, "block": turn.block, "point": turn.point, "arm": turn.arm, "kind": turn.kind}
            write_json(done, {**where, **facts, "valid": not facts["problems"]})
        if json.loads(done.read_bytes())["valid"]:
            return


def write_json(path: Path, document: object) -> None:
    """The file holds the document; it appears whole or not at all."""
    unfinished = path.with_name(f"{path.name}.{time.monotonic_ns()}.part")
    unfinished.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)
