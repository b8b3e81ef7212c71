"""Stacks in few lines: what the application wrote in full, what it called in short."""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby
from typing import TYPE_CHECKING

from gilscope.analysis.durations import counted
from gilscope.analysis.places import library_file
from gilscope.report.layout import fitted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gilscope.analysis.model import Stall
    from gilscope.capture import Frame, Stack

# The innermost frames say what was being done, whoever wrote them.
_INNERMOST = 3
_MOST_LINES = 9
_LIBRARY_PARTS = 4
# Some programs put a whole request into a task's name.
_TASK_COLUMNS = 60
NOT_SEEN = "(not sampled)"


class Files:
    """Short names of files; those of the application still tell them all apart."""

    def __init__(self, stacks: Iterable[Stack]) -> None:
        """Args: stacks: all that the report shows."""
        files = {frame.code.file for stack in stacks for frame in stack.frames}
        owners: defaultdict[str, set[str]] = defaultdict(set)
        for file in files:
            for ending in _endings(file):
                owners[ending].add(file)
        self._short = {
            file: _library_name(file) or next((end for end in _endings(file) if len(owners[end]) == 1), file)
            for file in files
        }

    def name(self, frame: Frame) -> str:
        """Return a frame as `function  file:line`; without a file (garbage collection), its name."""
        if not frame.code.file:
            return frame.code.name
        file = self._short.get(frame.code.file, frame.code.file)
        return f"{frame.code.name}  {file}:{frame.line or frame.code.first_line}"

    def ran(self, stall: Stall) -> str:
        """Return the coroutine and the task that ran in a stall; empty if neither was seen."""
        seen = [self.name(stall.ran)] if stall.ran else []
        return ", ".join([*seen, *([f"task {fitted(stall.task, _TASK_COLUMNS)}"] if stall.task else [])])


def _library_name(file: str) -> str:
    """Return a library's file with its top package and the last two parts of its path; nothing of other files."""
    parts = (library_file(file) or "").split("/")
    return "/".join(parts if len(parts) <= _LIBRARY_PARTS else [parts[0], "..", *parts[-2:]])


def _endings(file: str) -> list[str]:
    """Return the ends of a path at its slashes, the shortest first."""
    parts = file.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]


def stack_lines(stack: Stack, files: Files) -> list[str]:
    """Return the stack line by line, innermost first; frames of libraries further out only by their packages."""
    if not stack.frames:
        return [NOT_SEEN]
    lines = [files.name(frame) for frame in stack.frames[:_INNERMOST]]
    for of_library, group in groupby(stack.frames[_INNERMOST:], key=_is_library):
        frames = list(group)
        lines += [_folded(frames)] if of_library else [files.name(frame) for frame in frames]
    if len(lines) > _MOST_LINES:
        lines = [*lines[: _MOST_LINES - 1], f".. {len(lines) - _MOST_LINES + 1} more lines"]
    return [*lines, ".. (further frames were not recorded)"] if stack.truncated else lines


def _is_library(frame: Frame) -> bool:
    return library_file(frame.code.file) is not None


def _folded(frames: list[Frame]) -> str:
    packages = dict.fromkeys(
        (library_file(frame.code.file) or "").partition("/")[0].removesuffix(".py") for frame in frames
    )
    return f".. {counted(len(frames), 'frame')} of {', '.join(packages)}"
