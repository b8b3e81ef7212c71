"""The cells of a run folder: those that count, and those that do not, with the reason."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gilscope.bench import requests_file
from gilscope.errors import GilscopeError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gilscope.bench.statistics import Integers


class RunFolderError(GilscopeError):
    """A folder is no run of the bench, or a file in it cannot be read; says which and what to do."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One arm in one block at one point, valid.

    Attributes:
        latencies_ns: (n,), from the intended start to the answer.
        facts: What cell.json says.
    """

    block: int
    point: Mapping[str, object]
    arm: str
    latencies_ns: Integers
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Invalid:
    """A cell that is in no figure.

    Attributes:
        cell: Its number, or the name of its folder where it was never finished.
    """

    cell: int | str
    arm: str
    problems: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Return it as it stands in the summary."""
        return {"cell": self.cell, "arm": self.arm, "problems": list(self.problems)}


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that the file holds.

    Raises:
        RunFolderError: There is none.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror}; expected the folder of a bench run") from error
    except ValueError as error:
        raise RunFolderError(f"{path} must be JSON: {error}; remove it, and resume the run to make it again") from error
    if not isinstance(document, dict):
        raise RunFolderError(f"{path} must hold a JSON object, got {type(document).__name__}; resume the run")
    return document


def read_cells(run_folder: Path) -> tuple[list[Cell], list[Invalid]]:
    """Return the valid measured cells, and what is left out of every figure.

    Where a cell was repeated, the last valid one counts. Cells with py-spy or the probe are in no figure.

    Raises:
        RunFolderError: A cell.json is damaged.
    """
    valid: dict[tuple[str, str, int], Cell] = {}
    invalid = []
    for folder in sorted((run_folder / "cells").glob("*/")):
        path = folder / "cell.json"
        if not path.exists():
            arm = folder.name.partition("-")[2]
            invalid.append(Invalid(folder.name, arm, ("not finished; resume the run",)))
            continue
        facts = read_json(path)
        try:
            found = _cell(folder, facts)
        except (KeyError, TypeError) as error:
            raise RunFolderError(
                f"{path} lacks what a cell must say ({error}); remove it and resume the run"
            ) from error
        if isinstance(found, Invalid):
            invalid.append(found)
        elif found is not None:
            valid[json.dumps(found.point, sort_keys=True), found.arm, found.block] = found
    return list(valid.values()), invalid


def _cell(folder: Path, facts: dict[str, Any]) -> Cell | Invalid | None:
    number, arm, problems = facts["cell"], str(facts["arm"]), tuple(map(str, facts["problems"]))
    if problems or not facts["valid"]:
        return Invalid(number, arm, problems or ("said to be invalid, without a reason",))
    if facts["kind"] != "measured":
        return None
    try:
        requests = requests_file.read(folder / "requests.bin")
    except requests_file.RequestsFileError as error:
        return Invalid(number, arm, (str(error).replace(f"{folder}/", ""),))
    unanswered = int(np.count_nonzero(requests.status == 0))
    if unanswered or not len(requests.status):
        said = f"{unanswered} requests without an answer" if unanswered else "no requests in the measured window"
        return Invalid(number, arm, (said,))
    return Cell(int(facts["block"]), dict(facts["point"]), arm, requests.done_ns - requests.intended_ns, facts)
