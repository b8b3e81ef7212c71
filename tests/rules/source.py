"""The project's own source files, and the C of them without comments: what the rules look at."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_GENERATED = {"build", "dist", ".venv", ".git", "__pycache__", ".hypothesis"}
# Strings first, so that a comment's sign inside one is not taken for a comment.
_C_TOKEN = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/|//[^\n]*', re.DOTALL)


@cache
def files(*suffixes: str, under: str = "") -> tuple[Path, ...]:
    """Return the files that git tracks or would track, sorted; outside a clone, all that are not generated.

    Args:
        suffixes: `.py` and the like; none means every file.
        under: a directory of the project, relative to its root.
    """
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode == 0:
        found = [ROOT / name for name in listing.stdout.split("\0") if name]
    else:
        found = [path for path in ROOT.rglob("*") if not _GENERATED.intersection(path.relative_to(ROOT).parts)]
    top = ROOT / under
    return tuple(
        sorted(
            path
            for path in set(found)
            if path.is_file() and path.is_relative_to(top) and (not suffixes or path.suffix in suffixes)
        )
    )


def without_comments(text: str) -> str:
    """Return C text with comments and the contents of strings blanked out; lines keep their numbers."""
    return _C_TOKEN.sub(_blank, text)


def _blank(match: re.Match[str]) -> str:
    token = match.group()
    return re.sub(r"[^\n]", " ", token) if token.startswith("/") else token[0] + " " * (len(token) - 2) + token[-1]


def where(path: Path, text: str, offset: int) -> str:
    """Return `path:line` of a place in a file's text."""
    name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name
    return f"{name}:{text.count(chr(10), 0, offset) + 1}"
