"""Runs a program and records what its event loop does, and who holds the GIL meanwhile.

The program is any command line that ends up in Python: uvicorn, gunicorn, a script, `python -m ...`. It runs as it does
without us, and its exit status is ours. Each of its descendants that runs an event loop (a worker, say) is recorded
too, into NAME.PID.gilscope beside the capture. gilscope must be installed for the interpreter that runs the program.

For example:
  gilscope record -o app.gilscope -- uvicorn app:app --workers 2
  gilscope record --duration 30 -- python -m my_service
  gilscope report app.gilscope
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gilscope.cli import child, output
from gilscope.cli.captures import has_loop, settle, snapshot
from gilscope.cli.numbers import positive
from gilscope.errors import GilscopeError
from gilscope.probe import launch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DEFAULT_OUTPUT = "app.gilscope"
_SHIM = Path(launch.__file__).with_name("shim")


class RecordError(GilscopeError):
    """The recording cannot begin."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The parser knows the command's arguments."""
    parser.usage = "gilscope record [-o FILE] [--threshold-ms MS] [--duration S] [--force] -- COMMAND ..."
    parser.add_argument(
        "-o", "--output", metavar="FILE", default=_DEFAULT_OUTPUT, help="the capture (default: %(default)s)"
    )
    parser.add_argument(
        "--threshold-ms",
        metavar="MS",
        type=positive,
        default=launch.DEFAULT_THRESHOLD_MS,
        help="an iteration of the loop that takes longer is a stall (default: %(default)g)",
    )
    parser.add_argument(
        "--duration", metavar="S", type=positive, help="end the program after S seconds, as Ctrl-C does; status 0"
    )
    parser.add_argument("--force", action="store_true", help="replace the capture if it exists")
    parser.add_argument("command", metavar="COMMAND", nargs=argparse.REMAINDER, help="the program and its arguments")


def run(arguments: argparse.Namespace) -> int:
    """The program has run; returns its exit status, or 1 if it had none to complain of and nothing was recorded."""
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    path = Path(arguments.output).absolute()
    _check(command, path)
    output.refuse_existing(Path(arguments.output), force=arguments.force)
    path.unlink(missing_ok=True)
    before = snapshot(path)
    with tempfile.NamedTemporaryFile("r", prefix="gilscope-", suffix=".notes", encoding="utf-8") as notes:
        changes = {
            "GILSCOPE_RECORD": str(path),
            "GILSCOPE_RECORD_PARENT": str(os.getpid()),
            "GILSCOPE_RECORD_THRESHOLD_MS": f"{arguments.threshold_ms:g}",
            "GILSCOPE_RECORD_FORCE": "1" if arguments.force else "0",
            "GILSCOPE_RECORD_NOTES": notes.name,
        }
        status = child.run(command, environment(os.environ, changes), arguments.duration)
        said = list(dict.fromkeys(notes.read().splitlines()))
    written = settle(path, before)
    sys.stderr.write(_told(written, said, command))
    return status if written else status or 1


def environment(inherited: Mapping[str, str], changes: Mapping[str, str]) -> dict[str, str]:
    """Return the program's environment: what is inherited, the changes, and our directory first in PYTHONPATH."""
    # An empty entry would be the current directory, which an empty PYTHONPATH is not.
    entries = [str(_SHIM), *filter(None, [inherited.get("PYTHONPATH")])]
    # Left by a recording around this one, whose pid may be used again.
    kept = {name: value for name, value in inherited.items() if name != "GILSCOPE_RECORD_BY"}
    return {**kept, **changes, "PYTHONPATH": os.pathsep.join(entries)}


def _check(command: Sequence[str], path: Path) -> None:
    if not command:
        raise RecordError("expected a command to record, got none: gilscope record -- uvicorn app:app")
    if shutil.which(command[0]) is None:
        raise RecordError(f"cannot run {command[0]}: there is no such program, or it may not be executed")
    if not path.parent.is_dir():
        raise RecordError(f"{path.parent} is no directory: make it, or give another file with -o")


def _told(written: Sequence[Path], said: Sequence[str], command: Sequence[str]) -> str:
    """Return what there is to say at the end, for standard error."""
    if not written:
        return f"gilscope: no capture was written: {'; '.join(said) or _why_nothing(command)}\n"
    files = [os.path.relpath(file) for file in written]
    lines = [f"{name} ({output.size(file)})" for name, file in zip(files, written, strict=True)]
    lines += said
    if not has_loop(written[0]):
        lines.append("no event loop was seen where it was recorded, so that there are no stalls to see")
        lines.append("if one ran, run `gilscope doctor` with the same Python: it says whether loops can be watched")
    lines += [f"next: gilscope report {shlex.quote(files[0])}"]
    return "".join(f"gilscope: {line}\n" for line in lines)


def _why_nothing(command: Sequence[str]) -> str:
    ignoring = _ignoring_option(command)
    if ignoring:
        return f"{command[0]} {ignoring} ignores PYTHONPATH, by which gilscope gets into it; run it without {ignoring}"
    return (
        "no Python has run that reads PYTHONPATH, by which gilscope gets into it; with -I, -E or -S it does not, nor "
        "with a cleared environment: change that, or call gilscope.record() in the program"
    )


def _ignoring_option(command: Sequence[str]) -> str | None:
    """Return the interpreter's option that keeps us out, if the command is a Python with one."""
    if not re.match(r"python[\d.]*$", Path(command[0]).name):
        return None
    for word in command[1:]:
        if not re.match(r"-[A-Za-z]", word):
            return None
        if re.match(r"-[A-Za-z]*[EIS]", word):
            return word
        if re.match(r"-[A-Za-z]*[cm]", word):
            return None
    return None
