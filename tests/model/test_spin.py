"""The Promela models, searched by Spin: every interleaving, as they are and with each of their mutants."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
TIMEOUT_S = 100.0
# What is searched: a model and the names that it is given.
MODELS: list[tuple[str, ...]] = [("park.pml",), ("skip.pml",), ("skip.pml", "WIDE")]
MUTANTS: list[tuple[str, ...]] = [
    ("park.pml", "NO_RECHECK"),
    ("park.pml", "RECHECK_FIRST"),
    ("park.pml", "BLIND_SLEEP"),
    ("park.pml", "NO_WAKE"),
    ("skip.pml", "INTENT_LATE"),
    ("skip.pml", "INTENT_EARLY_OFF"),
    ("skip.pml", "NO_SECOND_LOOK"),
    ("skip.pml", "DEAD_END_KEPT"),
    ("skip.pml", "WIDE", "DEAD_END_GUESSED"),
]

pytestmark = pytest.mark.skipif(
    shutil.which("spin") is None or shutil.which("gcc") is None,
    reason="spin and gcc are needed to search the models: apt-get install spin gcc",
)


def search(directory: Path, model: str, *defines: str) -> int:
    """Search the model to its end and return how many errors there are.

    Raises:
        AssertionError: the search itself went wrong, or did not reach its end.
    """

    def run(*command: str) -> str:
        done = subprocess.run(
            command,
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
        return done.stdout

    run("spin", *(f"-D{define}" for define in defines), "-a", str(HERE / model))
    run("gcc", "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=1024", "-o", "pan", "pan.c")
    report = run("./pan", "-m200000")
    found = re.search(r"errors: (\d+)", report)
    assert found, report
    errors = int(found[1])
    assert errors or ("Search not completed" not in report and "max search depth too small" not in report), report
    return errors


@pytest.mark.parametrize("searched", MODELS, ids=" ".join)
def test_model_has_no_error(searched: tuple[str, ...], tmp_path: Path) -> None:
    """No order of steps breaks an assertion or leaves anybody waiting for ever."""
    assert search(tmp_path, *searched) == 0


@pytest.mark.parametrize("searched", MUTANTS, ids=" ".join)
def test_mutant_has_an_error(searched: tuple[str, ...], tmp_path: Path) -> None:
    """A known mistake is found."""
    assert search(tmp_path, *searched) > 0


@pytest.mark.parametrize("model", ["park.pml", "skip.pml"])
def test_every_condition_of_a_model_is_searched(model: str) -> None:
    """The names in the model's conditions are the names above."""
    named = set(re.findall(r"^#ifn?def (\w+)", (HERE / model).read_text(encoding="utf-8"), re.MULTILINE))
    assert named == {name for searched in MODELS + MUTANTS if searched[0] == model for name in searched[1:]}
