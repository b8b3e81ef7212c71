"""The `gilscope` command; each of its commands is a module here, loaded when it is asked for.

Such a module has a docstring, which is its help; `add_arguments(parser)`; and `run(arguments)`, which returns the exit
code: 0 fine, 1 failed, 2 usage, 3 a threshold was missed. What it cannot do it raises as a GilscopeError.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from gilscope._version import __version__
from gilscope.errors import GilscopeError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "record": "run a program and record what its event loop and the GIL do",
    "report": "say why the loop stalled, and what to do about it",
    "flamegraph": "draw the stacks that the stalls are made of",
    "export": "write a capture for speedscope, Perfetto or flamegraph.pl",
    "top": "watch a recording while it is made",
    "bench": "say what tracing costs a service, with each way of exporting spans",
    "doctor": "say what works here, or what is wrong with a recorded service",
}
_EXAMPLE_MARK = "For example:"
_EXAMPLE = f"""\
{_EXAMPLE_MARK}
  gilscope record -o app.gilscope -- uvicorn app:app
  gilscope report app.gilscope
"""
# As a shell counts a process that a signal ended.
_INTERRUPTED = 130
_BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """The command has run; returns its exit code.

    Args:
        argv: the words after `gilscope`; those of the process if not given.

    Raises:
        SystemExit: for `--help`, `--version`, and with 2 for words that make no command.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] not in COMMANDS:
        _parser().parse_args(words or ["--help"])
    try:
        code = _run(words[0], words[1:])
        sys.stdout.flush()
    except GilscopeError as error:
        return _failed(str(error))
    except BrokenPipeError:
        # What is still buffered must not fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except OSError as error:
        return _failed(f"{error.strerror}: {error.filename}" if error.filename else str(error))
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def _run(name: str, words: list[str]) -> int:
    command = import_module(f"gilscope.cli.{name}")
    description, _, example = (command.__doc__ or "").partition(f"\n\n{_EXAMPLE_MARK}\n")
    parser = argparse.ArgumentParser(
        prog=f"gilscope {name}",
        description=description,
        epilog=f"{_EXAMPLE_MARK}\n{example}" if example else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    code: int = command.run(parser.parse_args(words))
    return code


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {summary}" for name, summary in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="gilscope",
        usage="gilscope COMMAND ...",
        description=f"Why an asyncio service's event loop stalls.\n\ncommands:\n{commands}",
        epilog=f"`gilscope COMMAND --help` tells more.\n\n{_EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"gilscope {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    return parser


def _failed(message: str) -> int:
    sys.stderr.write(f"gilscope: {message}\n")
    return 1
