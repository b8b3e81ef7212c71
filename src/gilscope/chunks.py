"""The chunks of a capture file, one after the other: over what is damaged, and in bounded time and memory."""

from __future__ import annotations

import struct
import zlib
from enum import Enum
from typing import BinaryIO, NamedTuple

from gilscope.errors import CaptureError

_MAGIC = b"GSCK"
_HEADER = struct.Struct("<4xBBHIIII")
_PLAIN, _ZLIB = 0, 1

_RAW_LIMIT_BYTES = 4 << 20
# What zlib makes of 4 MiB that cannot be compressed (deflateBound) is 1.3 kB more.
_STORED_LIMIT_BYTES = _RAW_LIMIT_BYTES + 4096
# Each may cost a checksum over 4 MiB for 24 bytes of file, so that without a limit a file could keep us for days.
_PROBLEMS_LIMIT = 100
_SCAN_BYTES = 1 << 20


class Problems:
    """What could not be read, in words: a bounded number of lines, and each once."""

    def __init__(self, lines: tuple[str, ...] = ()) -> None:
        self.lines = list(lines)

    @property
    def full(self) -> bool:
        """Whether there are so many that reading on is not worth it."""
        return len(self.lines) > _PROBLEMS_LIMIT

    def add(self, line: str) -> None:
        """Keep a line, unless it is there; the last that fits says that there are more."""
        if line in self.lines or self.full:
            return
        if len(self.lines) == _PROBLEMS_LIMIT:
            line = f"has more than {_PROBLEMS_LIMIT} problems: it was not read any further"
        self.lines.append(line)


class Chunk(NamedTuple):
    """A chunk that is whole, and as it was written."""

    kind: int
    number: int
    payload: bytes
    end: int


class _Header(NamedTuple):
    kind: int
    encoding: int
    zero: int
    stored_bytes: int
    raw_bytes: int
    crc32: int
    number: int


class _Fault(Enum):
    """What keeps bytes from being a chunk."""

    CUT = "it is cut off"
    HEADER = "its header makes no sense"
    CHECKSUM = "its checksum is wrong"
    ENCODING = "its encoding is unknown"
    SIZE = "it does not unpack to the size that its header says"


class Chunks:
    """The chunks of a file from a place on, where a chunk of a certain number should be."""

    def __init__(self, file: BinaryIO, problems: Problems, position: int, number: int) -> None:
        self.position = position
        self.number = number
        self._file = file
        self._problems = problems

    def read(self, start: int, size: int) -> bytes:
        """Return so many bytes from a place in the file, or what there is of them."""
        try:
            self._file.seek(start)
            return self._file.read(size)
        except OSError as error:
            raise CaptureError(f"{self._file.name}: cannot be read at byte {start:,}: {error}") from error

    def next(self, *, live: bool) -> Chunk | None:
        """Return the next whole chunk, or None at the end.

        Args:
            live: the file is being written, so that half a chunk at its end is waited for.
        """
        while not self._problems.full:
            start = self.position
            found = self._attempt(start)
            if isinstance(found, Chunk):
                if found.number != self.number:
                    self._problems.add(f"chunk {self.number} should be at byte {start:,}, and chunk {found.number} is")
                self.position, self.number = found.end, found.number + 1
                return found
            if found is None or (found is _Fault.CUT and live):
                return None
            following = self._candidate(start + 1)
            if following is None:
                if not live:
                    self._problems.add(self._last_words(start, found))
                return None
            position, number = following
            self._problems.add(
                f"chunk {self.number} at byte {start:,} is damaged ({found.value}): "
                f"{position - start:,} bytes were passed over"
            )
            self.position, self.number = position, number
        return None

    def _attempt(self, start: int) -> Chunk | _Fault | None:
        """Return the chunk at a position, or what keeps it from being one, or None at the end of the file."""
        head = self.read(start, _HEADER.size)
        if len(head) < _HEADER.size:
            return _Fault.CUT if head else None
        header = _header(head)
        if header is None:
            return _Fault.HEADER
        stored = self.read(start + _HEADER.size, header.stored_bytes)
        if len(stored) < header.stored_bytes:
            return _Fault.CUT
        payload = _payload(header, head, stored)
        if isinstance(payload, _Fault):
            return payload
        return Chunk(header.kind, header.number, payload, start + _HEADER.size + header.stored_bytes)

    def _candidate(self, start: int) -> tuple[int, int] | None:
        """Return where the next chunk header seems to be, and its number."""
        while block := self.read(start, _SCAN_BYTES):
            at = block.find(_MAGIC)
            while at >= 0:
                header = _header(block[at : at + _HEADER.size])
                if header:
                    return start + at, header.number
                at = block.find(_MAGIC, at + 1)
            if len(block) < _SCAN_BYTES:
                break
            # A header across the border is whole in the next block.
            start += _SCAN_BYTES - _HEADER.size + 1
        return None

    def _last_words(self, start: int, fault: _Fault) -> str:
        size = self._file.seek(0, 2)
        if fault is _Fault.CUT:
            return f"ends in the middle of chunk {self.number} at byte {size:,}: the recording was cut off"
        return f"chunk {self.number} at byte {start:,} is damaged ({fault.value}), and all from there to byte {size:,}"


def _header(head: bytes) -> _Header | None:
    """Return a chunk's header, or None if it cannot be one."""
    if len(head) < _HEADER.size or not head.startswith(_MAGIC):
        return None
    header = _Header._make(_HEADER.unpack(head))
    if header.zero or header.stored_bytes > _STORED_LIMIT_BYTES or header.raw_bytes > _RAW_LIMIT_BYTES:
        return None
    return header


def _payload(header: _Header, head: bytes, stored: bytes) -> bytes | _Fault:
    # From its type on, and without its own place and the number, which a dump of memory gives anew.
    if zlib.crc32(stored, zlib.crc32(head[4:16])) != header.crc32:
        return _Fault.CHECKSUM
    if header.encoding == _PLAIN:
        return stored if len(stored) == header.raw_bytes else _Fault.SIZE
    if header.encoding != _ZLIB:
        return _Fault.ENCODING
    inflater = zlib.decompressobj()
    try:
        # One byte more than there should be, for a limit of zero is none.
        raw = inflater.decompress(stored, header.raw_bytes + 1)
    except zlib.error:
        return _Fault.SIZE
    return raw if inflater.eof and len(raw) == header.raw_bytes else _Fault.SIZE
