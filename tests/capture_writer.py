"""Captures for tests: a writer of docs/capture.md that shares nothing with the reader."""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

METADATA, DEFINITIONS, EVENTS, END = 1, 2, 3, 4


def header(version: int = 1, event_bytes: int = 48) -> bytes:
    """Return the first 16 bytes of a file."""
    return b"GILSCOPE" + struct.pack("<HHI", version, event_bytes, 0)


def chunk(kind: int, payload: bytes, number: int, *, compressed: bool = False) -> bytes:
    """Return a chunk."""
    stored = zlib.compress(payload) if compressed else payload
    head = struct.pack("<BBHII", kind, compressed, 0, len(stored), len(payload))
    return b"GSCK" + head + struct.pack("<II", zlib.crc32(head + stored), number) + stored


def text(value: str | bytes) -> bytes:
    """Return text with its length before it, cut to what that can say."""
    encoded = (value.encode() if isinstance(value, str) else value)[:65535]
    return struct.pack("<H", len(encoded)) + encoded


def definition(kind: int, payload: bytes) -> bytes:
    """Return a definition of any kind."""
    return struct.pack("<BI", kind, len(payload)) + payload


def code(number: int, name: str | bytes, file: str | bytes = "app.py", first_line: int = 1, flags: int = 0) -> bytes:
    """Return the definition of a code object."""
    return definition(1, struct.pack("<III", number, first_line, flags) + text(name) + text(file))


def stack(number: int, frames: Iterable[tuple[int, int]], *, truncated: bool = False) -> bytes:
    """Return the definition of a stack of (code, line), innermost first."""
    packed = [struct.pack("<II", *frame) for frame in frames]
    return definition(2, struct.pack("<IHH", number, len(packed), truncated) + b"".join(packed))


def thread(number: int, name: str | bytes = "", native_id: int = 0, identity: int = 0, loop: int = 0) -> bytes:
    """Return the definition of a thread."""
    return definition(3, struct.pack("<IIQBB", number, native_id, identity, loop, 0) + text(name))


def named(number: int, value: str | bytes) -> bytes:
    """Return the definition of a text."""
    return definition(4, struct.pack("<I", number) + text(value))


def event(  # noqa: PLR0913, PLR0917 - an event has as many fields
    kind: int,
    flags: int = 0,
    thread: int = 0,
    start_ns: int = 0,
    duration_ns: int = 0,
    stack: int = 0,
    count: int = 0,
    a: int = 0,
    b: int = 0,
) -> bytes:
    """Return an event; its arguments are in the order of the reader's `Event`."""
    return struct.pack("<BBHIqQIIQQ", kind, flags, 0, thread, start_ns, duration_ns, stack, count, a, b)


def numbered(*numbers: int) -> list[bytes]:
    """Return events that are told apart by their count."""
    return [event(1, thread=1, count=number) for number in numbers]


class CaptureWriter:
    """A capture in memory, which grows chunk by chunk.

    Args:
        metadata: empty unless given.
        compressed: whether payloads are.
    """

    def __init__(self, metadata: Mapping[str, Any] | None = None, *, compressed: bool = False) -> None:
        self.content = header()
        self.compressed = compressed
        self._number = 0
        self.chunk(METADATA, json.dumps(metadata or {}).encode())

    def chunk(self, kind: int, payload: bytes) -> CaptureWriter:
        """Append a chunk of any type."""
        self.content += chunk(kind, payload, self._number, compressed=self.compressed)
        self._number += 1
        return self

    def definitions(self, *definitions: bytes) -> CaptureWriter:
        """Append a chunk of definitions."""
        return self.chunk(DEFINITIONS, b"".join(definitions))

    def events(self, *events: bytes) -> CaptureWriter:
        """Append a chunk of events."""
        return self.chunk(EVENTS, b"".join(events))

    def end(self, end: Mapping[str, Any] | None = None) -> CaptureWriter:
        """Append the last chunk."""
        return self.chunk(END, json.dumps(end or {}).encode())

    def write(self, path: Path) -> Path:
        """Write what there is so far, and return the path."""
        path.write_bytes(self.content)
        return path


def three_chunks() -> tuple[CaptureWriter, list[int]]:
    """Return a capture of the events 1 to 6 in chunks 2 to 4, and where these begin."""
    writer = CaptureWriter().definitions(thread(1, "main"))
    starts = []
    for first in (1, 3, 5):
        starts.append(len(writer.content))
        writer.events(*numbered(first, first + 1))
    return writer, starts
