"""Rules about every text file: length, addresses, paths of one machine, unfinished work, waiting by sleeping."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from tests.rules import source

if TYPE_CHECKING:
    from pathlib import Path

LONGEST_LINES = 600
# Texts of others, or data: nobody reads them from top to bottom.
UNLIMITED = {"summary.json", "LICENSE", "constraints.txt", "package-lock.json"}

FORBIDDEN = {
    "an address of a package registry or a mirror": re.compile(
        r"https?://[^\s\"'<>]*(?:pypi|pythonhosted|npmjs|debian|ubuntu)[^\s\"'<>]*/(?:simple|packages|dists|pool|debian|-)\b"
        r"|--(?:(?:extra-)?index-ur[l]|find-link[s]|trusted-hos[t])\b",
    ),
    "a path of one machine": re.compile(r"(?<![\w.$})*~/-])/(?:root|home|Users|work|mnt|media|opt)/[\w.-]"),
    "a temporary path that others may share": re.compile(r"(?<![\w.$})*~/-])/(?:var/)?tmp/[\w.-]"),
    "unfinished work": re.compile(r"\b(?:T[O]DO|F[I]XME|X[X]X|H[A]CK)\b"),
}
BREAKING = {
    "an address of a package registry or a mirror": "https://mirror.example/pypi/" + "simple/gilscope",
    "a path of one machine": "open('/" + "home/someone/notes')",
    "a temporary path that others may share": "open('/" + "tmp/notes')",
    "unfinished work": "# TO" + "DO: later",
}


def text_of(path: Path) -> str | None:
    """Return the file's text, or None if it is not text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def sleeps(text: str) -> list[int]:
    """Return the lines of a Python text that call `time.sleep`, under whatever name it was imported."""
    tree = ast.parse(text)
    names = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "time"
        for alias in node.names
        if alias.name == "sleep"
    }
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Name) and node.func.id in names)
            or (isinstance(node.func, ast.Attribute) and ast.unparse(node.func) == "time.sleep")
        )
    ]


def test_files_stay_under_the_limit_of_lines() -> None:
    """A file that does not fit in a head is split."""
    long = {
        str(path.relative_to(source.ROOT)): count
        for path in source.files()
        if path.name not in UNLIMITED and (text := text_of(path)) and (count := text.count("\n")) >= LONGEST_LINES
    }
    assert not long


@pytest.mark.parametrize("what", FORBIDDEN)
def test_files_mention_nothing_of_the_place_they_were_written_at(what: str) -> None:
    """What is in the repository holds on every machine, and is finished."""
    found = [
        f"{source.where(path, text, match.start())}: {match.group()}"
        for path in source.files()
        if (text := text_of(path)) is not None
        for match in FORBIDDEN[what].finditer(text)
    ]
    assert not found, what


@pytest.mark.parametrize("what", FORBIDDEN)
def test_forbidden_text_is_recognised(what: str) -> None:
    """The rule above can fail."""
    assert FORBIDDEN[what].search(BREAKING[what])


# Programs under test, in which a sleep is the load: a call that blocks, or lets the GIL go.
SLEEPERS = re.compile(r"tests/(accuracy/programs\w*|integration/programs/\w+|counts/take_many)\.py")


def test_tests_wait_for_things_and_not_for_time() -> None:
    """No test sleeps: a sleep is too short on a busy machine and too long on every other."""
    found = [
        f"{path.relative_to(source.ROOT)}:{line}"
        for path in source.files(".py", under="tests")
        for line in sleeps(path.read_text(encoding="utf-8"))
        if not SLEEPERS.fullmatch(str(path.relative_to(source.ROOT)))
    ]
    assert not found


@pytest.mark.parametrize(
    "text", ["import time\ntime.sleep(1)", "from time import sleep\nsleep(1)", "from time import sleep as nap\nnap(1)"]
)
def test_a_sleep_is_recognised(text: str) -> None:
    """The rule above can fail, and looks behind other names."""
    assert sleeps(text) == [2]


def test_settings_of_linters_give_a_reason_for_every_exception() -> None:
    """Each code that ruff is told to ignore has a comment beside it."""
    text = (source.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    codes = re.findall(r'^    "[A-Z]+\d*",.*$', text, re.MULTILINE)
    assert codes
    assert [line for line in codes if "#" not in line] == []
