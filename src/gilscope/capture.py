"""The capture file, read: one chunk in memory at a time, and the definitions.

    with open_capture("app.gilscope") as capture:
        for event in capture.events():
            ...

The format is in docs/capture.md. A capture may have been cut off, damaged, or made to do harm: what can be read of it
is delivered, `problems` says what could not, and memory and time stay bounded. All text in it is untrusted.
"""

from __future__ import annotations

import json
import re
import reprlib
import struct
import sys
from array import array
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from gilscope.chunks import Chunk, Chunks, Problems
from gilscope.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from typing_extensions import Self

_VERSION = 1

_HEADER = struct.Struct("<8sHH4x")
_DEFINITION = struct.Struct("<BI")
_CODE = struct.Struct("<III")
_STACK = struct.Struct("<IHH")
_FRAME_KEY = struct.Struct("<Q")
_THREAD = struct.Struct("<IIQBx")
_NUMBER = struct.Struct("<I")
_TEXT = struct.Struct("<H")
_EVENT = struct.Struct("<BB2xIqQIIQQ")

_MAGIC = b"GILSCOPE"
_METADATA, _DEFINITIONS, _EVENTS, _END = 1, 2, 3, 4
_CODE_DEFINITION, _STACK_DEFINITION, _THREAD_DEFINITION, _TEXT_DEFINITION = 1, 2, 3, 4
_STACK_TRUNCATED = 1

# As Python objects. An hour of a large service has some 100,000 stacks, which take 100 MiB.
_DEFINITIONS_LIMIT_BYTES = 160 << 20
# What one takes beside its text or frames: the tuple, its numbers, and its place in a dict.
_CODE_BYTES, _FRAME_BYTES, _STACK_BYTES, _THREAD_BYTES, _TEXT_BYTES = 300, 250, 300, 300, 150


class EventKind(IntEnum):
    """What an event tells; its fields by kind are in docs/capture.md."""

    RUN = 1
    WAIT = 2
    ITERATION = 3
    SAMPLE = 4
    BLOCKED = 5
    COLLECTION = 6
    SCHEDULE = 7
    COUNTERS = 8
    LOST = 9
    HOLDS = 10
    EXPORT = 11
    SPANS = 12
    TASK = 13


class Event(NamedTuple):
    """One thing that happened, or was true, in one thread."""

    kind: int
    flags: int
    thread: int
    start_ns: int
    duration_ns: int
    stack: int
    count: int  # type: ignore[assignment] # a tuple's method of that name is not missed
    a: int
    b: int

    @property
    def end_ns(self) -> int:
        """When it was over."""
        return self.start_ns + self.duration_ns


class Code(NamedTuple):
    """A function."""

    name: str
    file: str
    first_line: int
    flags: int


class Frame(NamedTuple):
    """A function, and the line it was at; 0 is unknown."""

    code: Code
    line: int


class Stack(NamedTuple):
    """Frames, innermost first; truncated if there were more, further out, than could be kept."""

    frames: tuple[Frame, ...]
    truncated: bool


class Thread(NamedTuple):
    """A thread of the recorded process; loop is 0 without an event loop, 1 for asyncio's, 2 for uvloop's."""

    thread: int
    native_id: int
    identity: int
    loop: int
    name: str


_KNOWN_KINDS = bytes(EventKind)
_NO_STACK = Stack((), truncated=False)
_NO_CODE = Code("?", "", 0, 0)
# In words of 32 bits: an event, and where its thread and stack are in it.
_EVENT_WORDS, _THREAD_WORD, _STACK_WORD = 12, 1, 6

# What the fields must look like. Everything downstream computes with them, and a field of another shape is left out.
_METADATA_SHAPE: dict[str, Any] = {
    **dict.fromkeys(("gilscope", "python", "executable", "platform", "machine", "gil"), ""),
    **dict.fromkeys(("pid", "cpus", "started_wall_ns", "started_monotonic_ns"), 0),
    **dict.fromkeys(("switch_interval_ns", "stall_threshold_ns", "sample_period_ns"), 0),
    "argv": [""],
    "loops": [""],
}
_END_SHAPE: dict[str, Any] = {
    "ended_monotonic_ns": 0,
    "lost": dict.fromkeys(("ring_full", "no_memory", "write_failed"), 0),
    "samples": dict.fromkeys(("taken", "late", "missed"), 0),
}
_SHAPE_NAMES: dict[type, str] = {str: "text", int: "a whole number of 64 bits", list: "a list of text", dict: "counts"}


def open_capture(path: str | Path) -> Capture:
    """Return the capture at a path, with its metadata read.

    Raises:
        CaptureError: there is no such file, it is not a capture, is of another version, or has no metadata.
    """
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - the capture closes it
    except OSError as error:
        raise CaptureError(f"{path}: expected a capture, got: {error.strerror}") from error
    try:
        return Capture(file)
    except CaptureError:
        file.close()
        raise


class Capture:
    """A recording: what it says of itself, its threads and stacks, and its events.

    Attributes:
        metadata: of the process and the recording; a field is of the type that the format says, or absent.
        threads: by id, all that are in the events delivered so far.
        stacks: by id, likewise; 0 is none.
        texts: by id: names of tasks.
        end: how the recording ended; None before that is read, and if it was cut off.
        problems: what could not be read so far, in words.

    Threading: one thread at a time.
    """

    metadata: Mapping[str, Any]
    threads: dict[int, Thread]
    stacks: dict[int, Stack]
    texts: dict[int, str]
    end: Mapping[str, Any] | None
    problems: list[str]

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        problems = Problems()
        chunks = Chunks(file, problems, _HEADER.size, 0)
        _check_header(chunks.read(0, _HEADER.size), chunks, file.name)
        chunk = chunks.next(live=True)
        metadata = _json(chunk, _METADATA_SHAPE, problems) if chunk and chunk.kind == _METADATA else None
        if metadata is None:
            found = problems.lines[0] if problems.lines else "got none that is whole and of that type"
            raise CaptureError(f"{file.name}: expected metadata in the first chunk, at byte {_HEADER.size}: {found}")
        self.metadata = metadata
        self._after_metadata = (chunks.position, chunks.number, tuple(problems.lines))
        self._reading = self._begin()

    def events(self) -> Iterator[Event]:
        """Return all events, in file order; may be called again, and starts anew, with everything but the metadata.

        Raises:
            CaptureError: while iterating, if the file cannot be read any more.
        """
        reading = self._reading = self._begin()
        while (events := self._next_events(reading, live=False)) is not None:
            yield from events

    def batches(self) -> Iterator[list[Event]]:
        """Return all events as `events` does, in a list for each chunk that has any."""
        reading = self._reading = self._begin()
        while (events := self._next_events(reading, live=False)) is not None:
            if batch := list(events):
                yield batch

    def poll(self) -> list[Event]:
        """Return the events of the next chunk, or an empty list if no other has been written as yet.

        Goes on where `events` or the last `poll` stopped. A chunk that has been written in part is no problem, but
        waited for.

        Raises:
            CaptureError: the file cannot be read any more.
        """
        while (events := self._next_events(self._reading, live=True)) is not None:
            if batch := list(events):
                return batch
        return []

    def close(self) -> None:
        """Close the file; what has been read stays."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _begin(self) -> _Reading:
        position, number, lines = self._after_metadata
        problems = Problems(lines)
        reading = _Reading(Chunks(self._file, problems, position, number), _Definitions(problems), problems)
        known = reading.definitions
        self.threads, self.stacks, self.texts = known.threads, known.stacks, known.texts
        self.end, self.problems = None, problems.lines
        return reading

    def _next_events(self, reading: _Reading, *, live: bool) -> Iterator[Event] | None:
        while chunk := reading.chunks.next(live=live):
            if chunk.kind == _DEFINITIONS:
                reading.definitions.add(chunk)
            elif chunk.kind == _EVENTS:
                return reading.definitions.events(_known_events(chunk, reading.problems))
            elif chunk.kind == _END:
                self.end = _json(chunk, _END_SHAPE, reading.problems)
        return None


class _Reading(NamedTuple):
    """One way through the file; each has its own, so that one may begin before another is done."""

    chunks: Chunks
    definitions: _Definitions
    problems: Problems


def _check_header(head: bytes, chunks: Chunks, name: str) -> None:
    """Raise CaptureError if this is not the header of a capture that can be read here."""
    if len(head) < _HEADER.size or not head.startswith(_MAGIC):
        raise CaptureError(f"{name} is not a capture: expected it to start with {_MAGIC!r}, got {head[:8]!r}")
    _, version, event_bytes = _HEADER.unpack(head)
    if (version, event_bytes) != (_VERSION, _EVENT.size):
        raise CaptureError(
            f"{name} was written by {_writer(chunks)}, format version {version} (events of {event_bytes} bytes); "
            f"this one reads {_VERSION} ({_EVENT.size} bytes): upgrade"
        )


def _writer(chunks: Chunks) -> str:
    """Return who wrote a file of another version, if that much of it is as it is today."""
    chunk = chunks.next(live=True)
    metadata = _json(chunk, _METADATA_SHAPE, Problems()) if chunk else None
    version = (metadata or {}).get("gilscope", "")
    return f"gilscope {version}" if re.fullmatch(r"[\w.+-]{1,40}", version, re.ASCII) else "another gilscope"


def _json(chunk: Chunk, shape: Mapping[str, Any], problems: Problems) -> dict[str, Any] | None:
    """Return the object in a chunk without the fields that are not of the shape; None if there is none."""
    try:
        found = _printable(json.loads(chunk.payload.decode("utf-8", "replace")))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        problems.add(f"chunk {chunk.number} should hold a JSON object, and does not")
        return None
    for name, example in shape.items():
        if name in found and not _fits(found[name], example):
            got = reprlib.repr(found.pop(name))
            problems.add(f"chunk {chunk.number} should have {_SHAPE_NAMES[type(example)]} as {name}, got {got}")
    return found


def _printable(value: object) -> object:
    """Return the value with lone surrogates, which JSON can escape and no encoder takes, replaced in all its text."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_printable(name): _printable(item) for name, item in value.items()}
    if isinstance(value, list):
        # In place, for there may be a million of them.
        for place, item in enumerate(value):
            value[place] = _printable(item)
    return value


def _fits(value: object, example: object) -> bool:
    if isinstance(example, list):
        return isinstance(value, list) and all(_fits(item, example[0]) for item in value)
    if isinstance(example, dict):
        return isinstance(value, dict) and all(_fits(value[name], example[name]) for name in example if name in value)
    # Not isinstance, for True is an int.
    return type(value) is type(example) and (not isinstance(value, int) or -(1 << 63) <= value < 1 << 63)


def _known_events(chunk: Chunk, problems: Problems) -> bytes:
    """Return the events of a chunk that are whole and of a known kind."""
    size = _EVENT.size
    rest = len(chunk.payload) % size
    if rest:
        problems.add(f"chunk {chunk.number} should have events of {size} bytes, and has {rest} bytes more")
    events = chunk.payload[: len(chunk.payload) - rest]
    kinds = events[::size]
    if kinds.translate(None, _KNOWN_KINDS):
        events = b"".join(events[i * size : (i + 1) * size] for i, kind in enumerate(kinds) if kind in _KNOWN_KINDS)
    return events


class _Definitions:
    """Codes, frames, stacks, threads and texts as they become known, in bounded memory."""

    def __init__(self, problems: Problems) -> None:
        self.threads: dict[int, Thread] = {}
        self.stacks: dict[int, Stack] = {0: _NO_STACK}
        self.texts: dict[int, str] = {}
        self._problems = problems
        self._codes: dict[int, Code] = {0: _NO_CODE}
        # By code and line in one number, as they stand in the file. Most stacks share most of their frames.
        self._frames: dict[int, Frame] = {}
        # A stack may come before its codes; all are there when an event follows.
        self._pending: list[tuple[int, bool, bytes]] = []
        self._room_bytes = _DEFINITIONS_LIMIT_BYTES

    def add(self, chunk: Chunk) -> None:
        """Keep the definitions of a chunk, as far as they can be read."""
        at = 0
        while at < len(chunk.payload):
            start = at
            try:
                kind, size = _DEFINITION.unpack_from(chunk.payload, start)
                body = _part(chunk.payload, start + _DEFINITION.size, size)
                at = start + _DEFINITION.size + size
                self._define(kind, body)
            except struct.error:
                self._problems.add(f"chunk {chunk.number} has a definition that makes no sense, at its byte {start:,}")
                if at == start:
                    break

    def events(self, packed: bytes) -> Iterator[Event]:
        """Return the events in these bytes, with nothing in them that is not defined."""
        self._resolve_stacks()
        words = array("I", packed)
        if sys.byteorder == "big":
            words.byteswap()
        threads = set(words[_THREAD_WORD::_EVENT_WORDS]) - self.threads.keys()
        for thread in sorted(threads):
            # 0 is no thread: what happened to the recording itself.
            if thread:
                self._problems.add("has events of threads that are not defined: they are named ?")
            if self._has_room(_THREAD_BYTES):
                self.threads[thread] = Thread(thread, 0, 0, 0, "?")
                threads.remove(thread)
        stacks = set(words[_STACK_WORD::_EVENT_WORDS]) - self.stacks.keys()
        # One by one: where many are alive, the garbage collector goes through all stacks again and again, which takes
        # four fifths of the time.
        events: Iterator[Event] = map(Event._make, _EVENT.iter_unpack(packed))
        if stacks:
            self._problems.add("has events with stacks that are not defined: they are shown without one")
            events = (event._replace(stack=0) if event.stack in stacks else event for event in events)
        return (event for event in events if event.thread not in threads) if threads else events

    def _resolve_stacks(self) -> None:
        for stack, truncated, keys in self._pending:
            frames = [frame for (key,) in _FRAME_KEY.iter_unpack(keys) if (frame := self._frame(key))]
            if len(frames) * _FRAME_KEY.size == len(keys):
                self.stacks[stack] = Stack(tuple(frames), truncated)
        self._pending.clear()

    def _frame(self, key: int) -> Frame | None:
        """Return the frame of a key, or None without room for it."""
        frame = self._frames.get(key)
        if frame is None and self._has_room(_FRAME_BYTES):
            code = self._codes.get(key & 0xFFFFFFFF)
            if code is None:
                self._problems.add("has stacks with functions that are not defined: they are named ?")
            frame = self._frames[key] = Frame(code or _NO_CODE, key >> 32)
        return frame

    def _define(self, kind: int, body: bytes) -> None:
        if kind == _CODE_DEFINITION:
            code, first_line, flags = _CODE.unpack_from(body)
            name, file_at = _text(body, _CODE.size)
            file, _ = _text(body, file_at)
            # 0 is none, and stays so.
            if code and self._has_room(_CODE_BYTES + sys.getsizeof(name) + sys.getsizeof(file)):
                self._codes[code] = Code(name, file, first_line, flags)
        elif kind == _STACK_DEFINITION:
            stack, depth, flags = _STACK.unpack_from(body)
            keys = _part(body, _STACK.size, depth * _FRAME_KEY.size)
            if stack and self._has_room(_STACK_BYTES + len(keys)):
                self._pending.append((stack, bool(flags & _STACK_TRUNCATED), keys))
        elif kind == _THREAD_DEFINITION:
            thread, native_id, identity, loop = _THREAD.unpack_from(body)
            name, _ = _text(body, _THREAD.size)
            if self._has_room(_THREAD_BYTES + sys.getsizeof(name)):
                self.threads[thread] = Thread(thread, native_id, identity, loop, name)
        elif kind == _TEXT_DEFINITION:
            (number,) = _NUMBER.unpack_from(body)
            text, _ = _text(body, _NUMBER.size)
            if self._has_room(_TEXT_BYTES + sys.getsizeof(text)):
                self.texts[number] = text

    def _has_room(self, size: int) -> bool:
        """Return whether there is room for so many bytes, which is then taken."""
        if size > self._room_bytes:
            self._problems.add(
                f"has definitions of more than {_DEFINITIONS_LIMIT_BYTES >> 20} MiB: the rest is left out"
            )
            return False
        self._room_bytes -= size
        return True


def _text(body: bytes, at: int) -> tuple[str, int]:
    """Return the text at a place in a definition, and where it ends."""
    (size,) = _TEXT.unpack_from(body, at)
    at += _TEXT.size
    return _part(body, at, size).decode("utf-8", "replace"), at + size


def _part(whole: bytes, start: int, size: int) -> bytes:
    """Return bytes of something that says itself how many it has, and raise as struct does if it has fewer."""
    part = whole[start : start + size]
    if len(part) < size:
        raise struct.error(f"expected {size} bytes at {start}, got {len(part)}")
    return part
