"""The chunks of a capture: cut off, damaged, lying about their size, and still being written."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest

from gilscope import chunks
from gilscope.capture import open_capture
from tests import capture_writer as write
from tests.capture_writer import CaptureWriter

if TYPE_CHECKING:
    from pathlib import Path

MAIN = write.thread(1, "main")


def read(path: Path) -> tuple[list[int], list[str]]:
    """Return the counts of a capture's events, and its problems."""
    with open_capture(path) as capture:
        return [event.count for event in capture.events()], capture.problems


def compressed_chunk(stored: bytes, raw_bytes: int) -> bytes:
    """Return chunk 2, of events, whose header says that it unpacks to so many bytes."""
    head = struct.pack("<BBHII", 3, 1, 0, len(stored), raw_bytes)
    return b"GSCK" + head + struct.pack("<II", zlib.crc32(head + stored), 2) + stored


def test_capture_without_an_end_has_none(tmp_path: Path) -> None:
    """The process was killed between two chunks: nothing is unreadable."""
    with open_capture(CaptureWriter().definitions(MAIN).events(*write.numbered(1)).write(tmp_path / "x")) as capture:
        assert len(list(capture.events())) == 1
        assert capture.end is None
        assert capture.problems == []


def test_capture_cut_at_every_byte_gives_its_whole_chunks(tmp_path: Path) -> None:
    """With a line that says so, unless the cut is between two chunks."""
    writer, starts = write.three_chunks()
    ends = [*starts[1:], len(writer.content)]
    path = tmp_path / "x"
    for cut in range(starts[0], len(writer.content)):
        path.write_bytes(writer.content[:cut])
        whole = sum(cut >= end for end in ends)
        line = f"ends in the middle of chunk {whole + 2} at byte {cut:,}: the recording was cut off"
        assert read(path) == (list(range(1, 2 * whole + 1)), [] if cut in starts else [line])


@pytest.mark.parametrize("compressed", [False, True])
def test_chunk_with_a_wrong_checksum_is_passed_over(tmp_path: Path, compressed: bool) -> None:
    """Whatever byte of its payload is wrong; what is before and after it is read."""
    writer = CaptureWriter(compressed=compressed).definitions(MAIN).events(*write.numbered(1, 2))
    start = len(writer.content)
    writer.events(*write.numbered(3, 4))
    following = len(writer.content)
    writer.events(*write.numbered(5, 6))
    line = f"chunk 3 at byte {start} is damaged (its checksum is wrong): {following - start} bytes were passed over"
    for place in range(start + 24, following):
        content = bytearray(writer.content)
        content[place] ^= 0x10
        path = tmp_path / "x"
        path.write_bytes(content)
        assert read(path) == ([1, 2, 5, 6], [line])


@pytest.mark.parametrize(
    ("offset", "reason"),
    [
        (0, "its header makes no sense"),  # the magic
        (6, "its header makes no sense"),  # what is always zero
        (11, "its header makes no sense"),  # far more bytes than there may be
        (8, "its checksum is wrong"),  # other bytes
        (10, "it is cut off"),  # more bytes than the file has
        (4, "its checksum is wrong"),  # another type
        (5, "its checksum is wrong"),  # another encoding
        (12, "its checksum is wrong"),  # another size
        (16, "its checksum is wrong"),
    ],
)
def test_chunk_with_a_damaged_header_is_passed_over(tmp_path: Path, offset: int, reason: str) -> None:
    """The next one is found by its magic."""
    writer, starts = write.three_chunks()
    content = bytearray(writer.content)
    content[starts[1] + offset] ^= 0x10
    (tmp_path / "x").write_bytes(content)
    line = f"chunk 3 at byte {starts[1]} is damaged ({reason}): 120 bytes were passed over"
    assert read(tmp_path / "x") == ([1, 2, 5, 6], [line])


def test_chunk_of_unknown_encoding_is_passed_over_and_told(tmp_path: Path) -> None:
    """What it holds cannot be known."""
    writer, starts = write.three_chunks()
    content = bytearray(writer.content)
    place = starts[1]
    content[place + 5] = 9
    content[place + 16 : place + 20] = struct.pack(
        "<I", zlib.crc32(content[place + 4 : place + 16] + content[place + 24 : starts[2]])
    )
    (tmp_path / "x").write_bytes(content)
    line = f"chunk 3 at byte {starts[1]} is damaged (its encoding is unknown): 120 bytes were passed over"
    assert read(tmp_path / "x") == ([1, 2, 5, 6], [line])


def test_damage_without_a_chunk_behind_it_is_told(tmp_path: Path) -> None:
    """As when a file system fills the end of a file with zeros after a crash."""
    writer, _ = write.three_chunks()
    size = len(writer.content)
    (tmp_path / "x").write_bytes(writer.content + bytes(5000))
    line = f"chunk 5 at byte {size} is damaged (its header makes no sense), and all from there to byte {size + 5000:,}"
    assert read(tmp_path / "x") == ([1, 2, 3, 4, 5, 6], [line])


def test_chunk_behind_more_damage_than_a_block_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever its header lies to the borders of the blocks in which it is looked for."""
    monkeypatch.setattr(chunks, "_SCAN_BYTES", 64)
    for rubbish in range(1, 200):
        writer = CaptureWriter().definitions(MAIN)
        writer.content += bytes(rubbish)
        path = writer.events(*write.numbered(1)).write(tmp_path / "x")
        counts, (line,) = read(path)
        assert counts == [1]
        assert line.endswith(f": {rubbish} bytes were passed over")


def test_missing_chunk_is_told(tmp_path: Path) -> None:
    """What is whole can still lack something between."""
    writer, starts = write.three_chunks()
    (tmp_path / "x").write_bytes(writer.content[: starts[1]] + writer.content[starts[2] :] + write.chunk(4, b"{}", 5))
    line = f"chunk 3 should be at byte {starts[1]}, and chunk 4 is"
    assert read(tmp_path / "x") == ([1, 2, 5, 6], [line])


@pytest.mark.parametrize(
    ("claimed", "reason"),
    [(48, "it does not unpack to the size that its header says"), (4 << 20 | 1, "its header makes no sense")],
)
def test_chunk_that_unpacks_to_more_than_it_may_is_passed_over(tmp_path: Path, claimed: int, reason: str) -> None:
    """A megabyte of zeros that claims to be one event, and one that claims to be more than a chunk."""
    writer = CaptureWriter(compressed=True).definitions(MAIN)
    stored = zlib.compress(bytes(1 << 20))
    writer.content += compressed_chunk(stored, claimed)
    counts, (line,) = read(writer.events(*write.numbered(1)).write(tmp_path / "x"))
    assert counts == [1]
    assert reason in line


@pytest.mark.parametrize("claimed", [0, 48])
def test_chunk_that_unpacks_to_more_than_it_says_is_not_unpacked(tmp_path: Path, claimed: int) -> None:
    """64 MiB of zeros, of which no more is made than was announced."""
    writer = CaptureWriter().definitions(MAIN)
    stored = zlib.compress(bytes(64 << 20))
    writer.content += compressed_chunk(stored, claimed)
    path = writer.write(tmp_path / "x")
    tracemalloc.start()
    try:
        assert read(path)[0] == []
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The chunk as stored, twice, and a block of the search behind it.
    assert peak_bytes < 2 << 20


def test_chunk_of_the_largest_size_is_read(tmp_path: Path) -> None:
    """As it is and compressed, also where that makes it larger."""
    random.seed(1)
    events = [write.event(1, thread=1, a=random.getrandbits(64), b=random.getrandbits(64)) for _ in range(1000)]
    full = (4 << 20) // 48
    for compressed in (False, True):
        writer = CaptureWriter(compressed=compressed).definitions(MAIN)
        path = writer.events(*(events * 88)[:full]).chunk(99, random.randbytes(4 << 20)).write(tmp_path / "x")
        counts, problems = read(path)
        assert (len(counts), problems) == (full, [])


@pytest.mark.parametrize("stored", [b"no zlib", zlib.compress(bytes(48))[:-1], b""])
def test_chunk_that_does_not_unpack_is_passed_over(tmp_path: Path, stored: bytes) -> None:
    """Its checksum is right, so that it was written like this."""
    writer = CaptureWriter().definitions(MAIN)
    writer.content += compressed_chunk(stored, 48)
    counts, (line,) = read(writer.events(*write.numbered(1)).write(tmp_path / "x"))
    assert counts == [1]
    assert "(it does not unpack to the size that its header says)" in line


def test_file_with_too_many_problems_is_not_read_further(tmp_path: Path) -> None:
    """Each may cost the time of a checksum over megabytes, so that there is a limit."""
    writer = CaptureWriter().definitions(MAIN)
    for number in range(200):
        writer.content += b"?" * 30
        writer.events(*write.numbered(number))
    counts, problems = read(writer.write(tmp_path / "x"))
    assert counts == list(range(100))
    assert len(problems) == 101
    assert problems[-1] == "has more than 100 problems: it was not read any further"


def test_capture_whose_metadata_has_another_number_counts_from_there(tmp_path: Path) -> None:
    """It is told once."""
    (tmp_path / "x").write_bytes(write.header() + write.chunk(1, b"{}", 7) + write.chunk(4, b"{}", 8))
    assert read(tmp_path / "x") == ([], ["chunk 0 should be at byte 16, and chunk 7 is"])


def test_poll_of_a_growing_file_waits_for_whole_chunks(tmp_path: Path) -> None:
    """Byte by byte: each event comes once, with its chunk's last byte, and nothing is a problem."""
    writer = CaptureWriter({"pid": 7}).definitions(MAIN)
    opened = len(writer.content)
    # Half of this looks like a chunk of its own.
    writer.events(*write.numbered(1, 2)).chunk(99, write.chunk(3, write.event(1), 3)).definitions(
        write.thread(1, "named")
    )
    second = len(writer.content)
    content = writer.events(*write.numbered(3)).end({"ended_monotonic_ns": 1}).content
    path = tmp_path / "x"
    path.write_bytes(content[:opened])
    seen: dict[int, list[int]] = {}
    with open_capture(path) as capture, path.open("ab", buffering=0) as file:
        assert capture.poll() == []
        for place in range(opened, len(content)):
            file.write(content[place : place + 1])
            while batch := capture.poll():
                seen[place + 1] = [event.count for event in batch]
        assert seen == {opened + 24 + 96: [1, 2], second + 24 + 48: [3]}
        assert capture.threads[1].name == "named"
        assert capture.end == {"ended_monotonic_ns": 1}
        assert capture.problems == []


def test_poll_goes_on_where_events_stopped(tmp_path: Path) -> None:
    """Also behind half a chunk, which is whole by then."""
    writer, starts = write.three_chunks()
    path = tmp_path / "x"
    path.write_bytes(writer.content[: starts[2] - 1])
    with open_capture(path) as capture:
        assert [event.count for event in capture.events()] == [1, 2]
        assert capture.poll() == []
        path.write_bytes(writer.content)
        assert [event.count for event in capture.poll()] == [3, 4]
        assert [event.count for event in capture.poll()] == [5, 6]
        assert capture.poll() == []


def test_poll_behind_damage_goes_on_with_the_next_chunk(tmp_path: Path) -> None:
    """When there is one; until then it waits."""
    writer, starts = write.three_chunks()
    content = bytearray(writer.content)
    content[starts[1]] ^= 1
    path = tmp_path / "x"
    path.write_bytes(content[: starts[2] + 10])
    with open_capture(path) as capture:
        assert [event.count for event in capture.poll()] == [1, 2]
        assert capture.poll() == []
        assert capture.problems == []
        path.write_bytes(content)
        assert [event.count for event in capture.poll()] == [5, 6]
        assert len(capture.problems) == 1
