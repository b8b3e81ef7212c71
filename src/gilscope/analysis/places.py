"""Places in the code: which frame of a stack, or of many stacks, a sentence should name."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gilscope.capture import Code, Frame, Stack

# inspect.CO_COROUTINE and CO_ASYNC_GENERATOR; the inspect module would read source files.
_COROUTINE = 0x80 | 0x200
# What follows an interpreter's or an environment's library directory names a module wherever it is installed.
_LIBRARY = re.compile(
    r".*[/\\](?:site-packages|dist-packages|lib(?:64)?/python\d[\d.]*t?)[/\\](?P<module>.+)", re.DOTALL
)


def library_file(file: str) -> str | None:
    """Return a library's file from its top package on (`json/encoder.py`); None for the application's own files."""
    if file.startswith("<"):
        return file
    match = _LIBRARY.fullmatch(file)
    return match["module"] if match else None


def place(frame: Frame) -> str:
    """Return a frame in words, `handler (app/main.py:12)`: a library's file in full, of others the last two parts."""
    if not frame.code.file:  # garbage collection
        return frame.code.name
    file = library_file(frame.code.file) or "/".join(frame.code.file.split("/")[-2:])
    return f"{frame.code.name} ({file}:{frame.line or frame.code.first_line})"


def coroutine(stack: Stack) -> Frame | None:
    """Return the outermost coroutine or asynchronous generator of the application, or else of all: what the loop ran.

    The outermost of all is mostly the server's own, the same one for every request.
    """
    found = [frame for frame in reversed(stack.frames) if frame.code.flags & _COROUTINE]
    return next((frame for frame in found if library_file(frame.code.file) is None), found[0] if found else None)


def own(stack: Stack) -> Frame | None:
    """Return the innermost frame of the application's own code; without one the innermost of all."""
    frames = stack.frames
    return next((frame for frame in frames if library_file(frame.code.file) is None), frames[0] if frames else None)


def mostly_in(stacks: Iterable[tuple[Stack, int]]) -> Frame | None:
    """Return the innermost function in which at least half of the time was spent, calls included.

    The leaves of a busy thread differ from sample to sample; this is the one name that speaks for all of them.

    Args:
        stacks: with the nanoseconds of each; empty stacks do not count.
    """
    total = 0
    inside: defaultdict[Code, int] = defaultdict(int)
    distance: defaultdict[Code, int] = defaultdict(int)
    lines: defaultdict[Frame, int] = defaultdict(int)
    for stack, ns in stacks:
        if not stack.frames:
            continue
        total += ns
        seen: set[Code] = set()
        for depth, frame in enumerate(stack.frames):
            lines[frame] += ns
            if frame.code not in seen:  # recursion counts once
                seen.add(frame.code)
                inside[frame.code] += ns
                distance[frame.code] += depth * ns
    if not total:
        return None
    code = min(
        (code for code, ns in inside.items() if 2 * ns >= total),
        key=lambda code: distance[code] / inside[code],
        default=None,
    )
    return max((frame for frame in lines if frame.code == code), key=lambda frame: lines[frame], default=None)
