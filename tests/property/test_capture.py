"""Captures read back as they were written, whatever is in them, however they are chunked, and wherever they break."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from gilscope.capture import Capture, Code, Event, Frame, Stack, Thread
from gilscope.errors import CaptureError
from tests import capture_writer as write

u8, u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
ids = st.integers(1, 2**32 - 1)
names = st.text(max_size=20)
codes = st.builds(Code, names, names, u32, u32)
threads = st.tuples(u32, u64, st.integers(0, 2), names)
KINDS = st.integers(1, 9)
# Of a chunk's header, what no checksum covers and what still makes a sound chunk, of another meaning: type, encoding.
UNCOVERED = {4, 5}
# A wrong number is told, and costs nothing.
NUMBER = range(20, 24)


class File(io.BytesIO):
    """A file in memory."""

    name = "memory"


@dataclass
class Recording:
    """What a capture should hold, and its chunks.

    Attributes:
        events: those of each chunk, by the chunk's number.
    """

    chunks: list[bytes]
    events: dict[int, list[Event]] = field(default_factory=dict)
    threads: dict[int, Thread] = field(default_factory=dict)
    stacks: dict[int, Stack] = field(default_factory=lambda: {0: Stack((), truncated=False)})

    @property
    def content(self) -> bytes:
        """The file."""
        return write.header() + b"".join(self.chunks)

    def add(self, kind: int, payload: bytes, *, compressed: bool) -> int:
        """Append a chunk and return its number."""
        self.chunks.append(write.chunk(kind, payload, len(self.chunks), compressed=compressed))
        return len(self.chunks) - 1


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    """Captures in order: what an event uses was defined before it, in the same chunk as others or in one of its own."""
    made = Recording([write.chunk(write.METADATA, b'{"pid": 7}', 0)])
    known: dict[int, Code] = {}
    compressed = st.booleans()
    for _ in range(draw(st.integers(1, 4))):
        definitions = []
        for number, fields in draw(st.dictionaries(ids, threads, max_size=3)).items():
            native_id, identity, loop, name = fields
            made.threads[number] = Thread(number, *fields)
            definitions.append(write.thread(number, name, native_id, identity, loop))
        for number, code in draw(st.dictionaries(ids, codes, max_size=3)).items():
            if number not in known:
                known[number] = code
                definitions.append(write.code(number, *code))
        frames = st.lists(st.tuples(st.sampled_from(sorted(known)), u32), max_size=4) if known else st.just([])
        for number, (lines, truncated) in draw(
            st.dictionaries(ids, st.tuples(frames, st.booleans()), max_size=3)
        ).items():
            if number not in made.stacks:
                made.stacks[number] = Stack(tuple(Frame(known[code], line) for code, line in lines), truncated)
                definitions.append(write.stack(number, lines, truncated=truncated))
        definitions = draw(st.permutations(definitions))
        border = draw(st.integers(0, len(definitions)))
        for part in (definitions[:border], definitions[border:]):
            made.add(write.DEFINITIONS, b"".join(part), compressed=draw(compressed))
        if made.threads:
            thread, stack = st.sampled_from(sorted(made.threads)), st.sampled_from(sorted(made.stacks))
            start = st.integers(-(2**63), 2**63 - 1)
            events = st.lists(st.builds(Event, KINDS, u8, thread, start, u64, stack, u32, u64, u64), max_size=6)
            for batch in draw(st.lists(events, max_size=3)):
                payload = b"".join(write.event(*event) for event in batch)
                made.events[made.add(write.EVENTS, payload, compressed=draw(compressed))] = batch
    # Stacks are made when events follow them.
    made.add(write.EVENTS, b"", compressed=False)
    made.add(write.END, json.dumps({"ended_monotonic_ns": 1}).encode(), compressed=False)
    return made


def without_stacks(events: list[Event]) -> list[Event]:
    """What is left of events when definitions are lost."""
    return [event._replace(stack=0) for event in events]


@given(recordings())
def test_capture_is_read_back_as_written(made: Recording) -> None:
    """Events, threads, stacks and the end; twice; and by poll."""
    capture = Capture(File(made.content))
    expected = [batch for _, batch in sorted(made.events.items()) if batch]
    for _ in range(2):
        assert list(capture.batches()) == expected
        assert capture.threads == made.threads
        assert capture.stacks == made.stacks
        assert capture.end == {"ended_monotonic_ns": 1}
        assert capture.problems == []
    polled = Capture(File(made.content))
    assert [polled.poll() for _ in expected] == expected
    assert polled.poll() == []


@given(recordings(), st.data())
def test_capture_cut_anywhere_gives_the_events_of_its_whole_chunks(made: Recording, data: st.DataObject) -> None:
    """No exception but for the metadata, and a line that says where it was cut."""
    content = made.content
    cut = data.draw(st.integers(0, len(content) - 1))
    ends = [len(write.header()) + sum(map(len, made.chunks[: number + 1])) for number in range(len(made.chunks))]
    try:
        capture = Capture(File(content[:cut]))
    except CaptureError:
        assert cut < ends[0]
        return
    whole = [event for number, batch in sorted(made.events.items()) if ends[number] <= cut for event in batch]
    assert list(capture.events()) == whole
    assert capture.end is None
    assert len(capture.problems) == (cut not in ends)
    # What came behind the cut is delivered when it is there.
    growing = File(content[:cut])
    live = Capture(growing)
    seen = [event for batch in iter(live.poll, []) for event in batch]
    growing.seek(0, 2)
    growing.write(content[cut:])
    seen += [event for batch in iter(live.poll, []) for event in batch]
    assert seen == [event for _, batch in sorted(made.events.items()) for event in batch]
    assert live.problems == []


@given(recordings(), st.data(), st.integers(1, 255))
def test_capture_with_a_wrong_byte_gives_no_wrong_event(made: Recording, data: st.DataObject, mask: int) -> None:
    """Only the chunk that it is in is lost, and said to be; nothing is raised but CaptureError."""
    content = bytearray(made.content)
    chunk = data.draw(st.integers(0, len(made.chunks) - 1))
    start = len(write.header()) + sum(map(len, made.chunks[:chunk]))
    place = data.draw(st.integers(0, len(made.chunks[chunk]) - 1))
    content[start + place] ^= mask
    try:
        capture = Capture(File(bytes(content)))
    except CaptureError:
        assert chunk == 0
        return
    events = list(capture.events())
    assert all(event.thread in capture.threads and event.stack in capture.stacks for event in events)
    if place in UNCOVERED:
        return
    assert capture.problems
    others = {number: batch for number, batch in made.events.items() if number != chunk or place in NUMBER}
    expected = [event for _, batch in sorted(others.items()) for event in batch]
    assert without_stacks(events) == without_stacks(expected)


@given(st.binary(max_size=200), st.binary(max_size=100), st.binary(max_size=200))
def test_arbitrary_payloads_raise_nothing(definitions: bytes, end: bytes, events: bytes) -> None:
    """Their checksums are right, so that all of it is taken for what it is not."""
    writer = write.CaptureWriter().definitions(definitions).events(events).chunk(write.END, end)
    capture = Capture(File(writer.content))
    assert all(event.thread in capture.threads and event.stack in capture.stacks for event in capture.events())
