"""The last seconds of a capture, cut out of it while it is written: a capture of its own."""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, Any

from gilscope.analysis.facts import positive
from gilscope.capture import EventKind
from gilscope.chunks import Chunks, Problems

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_FILE_HEADER_BYTES = 16
_METADATA, _DEFINITIONS, _EVENTS, _END = 1, 2, 3, 4
_CHUNK = struct.Struct("<4sBBHII")
_CHUNK_TAIL = struct.Struct("<II")
_PLAIN, _ZLIB = 0, 1
_STARTED = ("started_monotonic_ns", "started_wall_ns")
# The start and the duration of an event, and where its kind is.
_TIMES = struct.Struct("<8xqQ")
_EVENT_BYTES = 48


def cut(source: Path, target: Path, metadata: Mapping[str, Any], since_ns: int, until_ns: int) -> None:
    """The target is a capture of what ended between two times in the source.

    All definitions come along. Counters of the GIL do not: they count from the beginning of the recording, and what
    they say of a part of it is in its runs.

    Args:
        source: may be growing.
        target: is made.
        metadata: as the source says.
        since_ns: what the target says of its own beginning.
        until_ns: and of its end.

    Raises:
        OSError: the target exists or cannot be written, or the source cannot be read; no target is left then.
        CaptureError: the source cannot be read to its end; likewise.
    """
    later_ns = since_ns - positive(metadata, "started_monotonic_ns", since_ns)
    started = {name: metadata[name] + later_ns for name in _STARTED if name in metadata}
    with source.open("rb") as capture, target.open("xb") as out:
        try:
            out.write(capture.read(_FILE_HEADER_BYTES))
            out.write(_chunk(_METADATA, json.dumps({**metadata, **started}).encode(), 0))
            number = 1
            chunks = Chunks(capture, Problems(), _FILE_HEADER_BYTES, 0)
            while chunk := chunks.next(live=True):
                payload = b""
                if chunk.kind == _DEFINITIONS:
                    payload = chunk.payload
                elif chunk.kind == _EVENTS:
                    payload = _events(chunk.payload, since_ns, until_ns)
                if payload:
                    out.write(_chunk(chunk.kind, payload, number))
                    number += 1
            out.write(_chunk(_END, json.dumps({"ended_monotonic_ns": until_ns}).encode(), number))
        except BaseException:
            target.unlink()
            raise


def _events(payload: bytes, since_ns: int, until_ns: int) -> bytes:
    whole = len(payload) // _EVENT_BYTES
    # They are in the order in which they ended.
    if not whole or sum(_TIMES.unpack_from(payload, (whole - 1) * _EVENT_BYTES)) < since_ns:
        return b""
    kept = []
    for at in range(0, whole * _EVENT_BYTES, _EVENT_BYTES):
        start_ns, duration_ns = _TIMES.unpack_from(payload, at)
        if since_ns <= start_ns + duration_ns <= until_ns and payload[at] != EventKind.COUNTERS:
            kept.append(payload[at : at + _EVENT_BYTES])
    return b"".join(kept)


def _chunk(kind: int, payload: bytes, number: int) -> bytes:
    stored = zlib.compress(payload, 1)
    encoding = _ZLIB
    if len(stored) >= len(payload):
        stored, encoding = payload, _PLAIN
    head = _CHUNK.pack(b"GSCK", kind, encoding, 0, len(stored), len(payload))
    return head + _CHUNK_TAIL.pack(zlib.crc32(head[4:] + stored), number) + stored
