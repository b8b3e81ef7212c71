"""Where a command writes: standard output, or a file that appears when it is complete and replaces none unasked."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from gilscope.errors import GilscopeError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

_KILO = 1000


class ExistsError(GilscopeError):
    """A file is there already, and nothing was said of replacing it."""


def add_arguments(parser: argparse.ArgumentParser, default: str) -> None:
    """The parser knows `--output` and `--force`.

    Args:
        parser: of a command that writes something.
        default: where the command writes otherwise, in words.
    """
    parser.add_argument(
        "-o", "--output", metavar="FILE", help=f"write to FILE, - is standard output (default: {default})"
    )
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")


def refuse_existing(path: Path, *, force: bool) -> None:
    """Nothing would be lost by writing to the path.

    Raises:
        ExistsError: there is a file and `force` is not set.
    """
    if path.exists() and not force:
        raise ExistsError(f"{path} exists: give another name with -o, or --force to replace it")


@contextmanager
def opened(name: str, *, force: bool) -> Iterator[TextIO]:
    """What is written to the stream is in the file, if the block ends well; if not, nothing has changed.

    Args:
        name: a path, or `-` for standard output.
        force: replace the file.

    Raises:
        ExistsError: there is a file and `force` is not set.
    """
    path = Path(name)
    if name == "-":
        yield sys.stdout
    elif path.exists() and not path.is_file():
        # A pipe or a device: there is nothing to lose in it, and it must not be replaced by a file.
        with path.open("w", encoding="utf-8") as stream:
            yield stream
    else:
        refuse_existing(path, force=force)
        part = path.with_name(f"{path.name}.part")
        try:
            with part.open("w", encoding="utf-8") as stream:
                yield stream
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def size(path: Path) -> str:
    """Return a file's size as people read it: `1.2 MB`."""
    amount = float(path.stat().st_size)
    for unit in ("bytes", "kB", "MB"):
        if amount < _KILO:
            return f"{amount:.3g} {unit}"
        amount /= _KILO
    return f"{amount:.3g} GB"


def tell(name: str, what_next: str) -> None:
    """Standard output says which file was written and what to do with it; nothing if it was standard output."""
    path = Path(name)
    if path.is_file():
        sys.stdout.write(f"{name} ({size(path)}): {what_next}\n")
