"""Captures that were damaged at random, or made to do harm: only CaptureError, in bounded memory."""

from __future__ import annotations

import io
import json
import random
import struct
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from gilscope.capture import Capture, EventKind
from gilscope.errors import CaptureError
from tests import capture_writer as write
from tests.capture_writer import CaptureWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 4000
MEMORY_LIMIT_BYTES = 300 << 20
CHUNK_BYTES = 4 << 20
NUMBERS = [0, 1, 2, 127, 128, 255, 256, 48, 65535, 2**31 - 1, 2**31, 2**32 - 1, CHUNK_BYTES, CHUNK_BYTES + 1]
METADATA = {"gilscope": "0.1.0", "argv": ["python", "app.py"], "pid": 7, "stall_threshold_ns": 20_000_000}
PAYLOADS = [
    (write.METADATA, json.dumps(METADATA).encode()),
    (
        write.DEFINITIONS,
        write.thread(1, "MainThread", 2, 3, 1)
        + write.code(1, "handle", "app.py", 10, 0x83)
        + write.code(2, "encode", "exporter.py")
        + write.stack(1, [(1, 12), (2, 30)])
        + write.stack(2, [(2, 31)], truncated=True),
    ),
    (write.EVENTS, b"".join(write.event(kind, 1, 1, 1000 + kind, 5, 1, 2, 3, 4) for kind in range(1, 10))),
    (write.DEFINITIONS, write.thread(2, "worker") + write.stack(3, [(1, 13)] * 20)),
    (write.EVENTS, b"".join(write.event(3, 0, 2, 2000 + place, 5, 3) for place in range(10))),
    (write.END, json.dumps({"ended_monotonic_ns": 9, "lost": {"ring_full": 1}}).encode()),
]


class File(io.BytesIO):
    """A file in memory."""

    name = "memory"


def mutate(content: bytes, chance: random.Random) -> bytes:
    """Return the bytes with one thing about them changed."""
    start = chance.randrange(len(content) + 1)
    end = min(len(content), start + chance.choice([1, 2, 4, 24, 48, 100]))
    number = struct.pack("<I", chance.choice(NUMBERS))
    replacement = chance.choice(
        [b"", chance.randbytes(end - start), number, number[:1], content[start:end] * 2, write.header(), b"GSCK"]
    )
    return content[:start] + replacement + content[end:]


def damaged(chance: random.Random) -> bytes:
    """Return a capture with damage inside its payloads, which its checksums then cover, or to the file, or both."""
    chunks = [
        write.chunk(kind, payload if chance.random() < 0.6 else mutate(payload, chance), place, compressed=compressed)
        for compressed in [chance.random() < 0.5]
        for place, (kind, payload) in enumerate(PAYLOADS)
    ]
    content = write.header() + b"".join(chunks)
    for _ in range(chance.choice([0, 0, 1, 3])):
        content = mutate(content, chance)
    return content


def check(content: bytes) -> bool:
    """Return whether the capture could be opened; everything read of it keeps the reader's promises."""
    try:
        capture = Capture(File(content))
    except CaptureError as error:
        str(error).encode()
        return False
    events = list(capture.events())
    problems = list(capture.problems)
    assert all(event.thread in capture.threads and event.stack in capture.stacks for event in events)
    assert {event.kind for event in events} <= {*EventKind}
    assert len(events) * 48 <= len(content) * 1100
    assert len(problems) <= 101
    described = [capture.metadata, capture.end, capture.threads, capture.stacks, problems]
    json.dumps(described, ensure_ascii=False).encode()
    assert list(capture.events()) == events
    assert [capture.metadata, capture.end, capture.threads, capture.stacks, capture.problems] == described
    live = Capture(File(content))
    polled = [event for batch in iter(live.poll, []) for event in batch]
    assert polled == events[: len(polled)]
    return True


def test_capture_damaged_at_random_raises_nothing_else() -> None:
    """Some can still be opened and some not, or the damage would be of one kind only."""
    chance = random.Random(1)
    opened = sum(check(damaged(chance)) for _ in range(ROUNDS))
    assert ROUNDS / 10 < opened < ROUNDS * 9 / 10


def in_chunks(kind: int, pieces: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield payloads as large as they may be."""
    payload: list[bytes] = []
    size = 0
    for piece in pieces:
        if size + len(piece) > CHUNK_BYTES:
            yield kind, b"".join(payload)
            payload, size = [], 0
        payload.append(piece)
        size += len(piece)
    yield kind, b"".join(payload)


def distinct_frames() -> Iterator[tuple[int, bytes]]:
    """Stacks that share nothing: 8 bytes of file make some 240 of memory."""
    for block in range(4):
        stacks = (
            write.stack(number, [(1, number << 8 | line) for line in range(250)])
            for number in range(1 + block * 2000, 2001 + block * 2000)
        )
        yield from in_chunks(write.DEFINITIONS, stacks)
        yield write.EVENTS, write.event(1)


def long_names() -> Iterator[tuple[int, bytes]]:
    """Text that takes four bytes a character because of its first."""
    name = ("\U0001f600" + "x" * 65_000).encode()
    return in_chunks(write.DEFINITIONS, (write.code(number, name, name) for number in range(1000)))


def undefined_threads() -> Iterator[tuple[int, bytes]]:
    """Events of a thread each."""
    return in_chunks(write.EVENTS, (write.event(1, thread=number) for number in range(1_500_000)))


def nested_json() -> Iterator[tuple[int, bytes]]:
    """Objects of two bytes each, which take fifty times that."""
    for _ in range(2):
        yield write.END, b'{"a": [' + b"{}," * (CHUNK_BYTES // 3 - 10) + b"{}]}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "chunks",
    [distinct_frames, long_names, undefined_threads, nested_json],
    ids=lambda chunks: chunks.__name__,
)
def test_capture_made_to_take_memory_is_read_within_the_limit(
    chunks: Callable[[], Iterator[tuple[int, bytes]]],
) -> None:
    """To its end."""
    writer = CaptureWriter(compressed=True)
    for kind, payload in chunks():
        writer.chunk(kind, payload)
    file = File(writer.end({"ended_monotonic_ns": 1}).content)
    tracemalloc.start()
    try:
        capture = Capture(file)
        for _ in capture.batches():
            pass
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert capture.end == {"ended_monotonic_ns": 1}
    assert peak_bytes < MEMORY_LIMIT_BYTES
