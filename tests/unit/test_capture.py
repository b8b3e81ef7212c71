"""The reader of captures: what it delivers, what it says of what it cannot read, and what it refuses."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Any

import pytest

from gilscope import capture as reader
from gilscope.capture import Code, Event, EventKind, Frame, Stack, Thread, open_capture
from gilscope.errors import CaptureError, GilscopeError
from tests import capture_writer as write
from tests.capture_writer import CaptureWriter

if TYPE_CHECKING:
    from pathlib import Path

LARGEST_U32, LARGEST_U64 = 2**32 - 1, 2**64 - 1
MAIN = write.thread(1, "main")
NOT_READABLE = [
    (b"", "is not a capture: expected it to start with b'GILSCOPE', got b''"),
    (b"GILSCOPE\x01\x00", "is not a capture"),
    (b'{"traceEvents": []}', "is not a capture: expected it to start with b'GILSCOPE', got b'"),
    (
        write.header(2) + write.chunk(1, b'{"gilscope": "9.9"}', 0),
        "was written by gilscope 9.9, format version 2 (events of 48 bytes); this one reads 1 (48 bytes): upgrade",
    ),
    (write.header(2) + write.chunk(1, b'{"gilscope": "\\u001b[2J"}', 0), "was written by another gilscope, format"),
    (write.header(2) + write.chunk(1, b'{"gilscope": 9}', 0), "was written by another gilscope, format"),
    (write.header(2), "was written by another gilscope, format version 2"),
    (write.header(1, event_bytes=56), "format version 1 (events of 56 bytes); this one reads 1 (48 bytes): upgrade"),
    (write.header(), "expected metadata in the first chunk, at byte 16: got none that is whole and of that type"),
    (write.header() + write.chunk(1, b"{}", 0)[:-1], "expected metadata in the first chunk, at byte 16: got none"),
    (write.header() + write.chunk(3, b"{}", 0), "expected metadata in the first chunk, at byte 16: got none"),
    (write.header() + write.chunk(1, b"[]", 0), "at byte 16: chunk 0 should hold a JSON object, and does not"),
    (write.header() + write.chunk(1, b"{", 0), "chunk 0 should hold a JSON object, and does not"),
    (write.header() + write.chunk(1, b"[" * 100_000, 0), "chunk 0 should hold a JSON object, and does not"),
    (write.header() + write.chunk(1, b'{"pid": ' + b"9" * 5000 + b"}", 0), "should hold a JSON object"),
    (
        write.header() + write.chunk(1, b"{}", 0)[:-1] + b"]" + write.chunk(4, b"{}", 1),
        "at byte 16: chunk 0 at byte 16 is damaged (its checksum is wrong): 26 bytes were passed over",
    ),
]


def read(path: Path) -> tuple[list[int], list[str]]:
    """Return the counts of a capture's events, and its problems."""
    with open_capture(path) as capture:
        return [event.count for event in capture.events()], capture.problems


@pytest.mark.parametrize("compressed", [False, True])
def test_capture_as_written_is_read_in_full(tmp_path: Path, compressed: bool) -> None:
    """Metadata, threads, stacks, events and end, with every field in its place."""
    metadata = {"gilscope": "0.1.0", "argv": ["python", "app.py"], "pid": 7, "gil": "hooked", "loops": ["uvloop"]}
    end = {"ended_monotonic_ns": 9, "lost": {"ring_full": 1}, "samples": {"taken": 2, "late": 1, "missed": 0}}
    writer = CaptureWriter(metadata, compressed=compressed)
    writer.definitions(
        write.code(1, "handle", "app.py", first_line=10, flags=0x83),
        write.code(2, "run", "runner.py", first_line=20),
        write.stack(5, [(1, 12), (2, 0)], truncated=True),
        write.thread(3, "MainThread", native_id=4, identity=LARGEST_U64, loop=2),
    )
    fields = [EventKind.WAIT, 3, 3, -(2**63), LARGEST_U64, 5, LARGEST_U32, 10, LARGEST_U64]
    writer.events(write.event(*fields)).end(end)
    with open_capture(str(writer.write(tmp_path / "x"))) as capture:
        assert capture.metadata == metadata
        assert list(capture.events()) == [tuple(fields)]
        handle, run = Code("handle", "app.py", 10, 0x83), Code("run", "runner.py", 20, 0)
        assert capture.stacks == {0: Stack((), False), 5: Stack((Frame(handle, 12), Frame(run, 0)), True)}
        assert capture.threads == {3: Thread(3, 4, LARGEST_U64, 2, "MainThread")}
        assert capture.end == end
        assert capture.problems == []


def test_event_names_its_fields_in_the_order_of_the_format(tmp_path: Path) -> None:
    """Every field a value of its own, and the end computed."""
    path = CaptureWriter().definitions(MAIN).events(write.event(6, 2, 1, 100, 50, 0, 3, 8, 9)).write(tmp_path / "x")
    with open_capture(path) as capture:
        (event,) = capture.events()
    assert event == Event(kind=6, flags=2, thread=1, start_ns=100, duration_ns=50, stack=0, count=3, a=8, b=9)
    assert event.end_ns == 150


@pytest.mark.parametrize(("content", "message"), NOT_READABLE)
def test_file_that_cannot_be_read_raises(tmp_path: Path, content: bytes, message: str) -> None:
    """Its path is named, what was expected, and what came."""
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(CaptureError) as caught:
        open_capture(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert isinstance(caught.value, GilscopeError)


def test_path_that_is_no_file_raises(tmp_path: Path) -> None:
    """One that is not there, a directory, and a pipe."""
    with pytest.raises(CaptureError, match=r"none: expected a capture, got: No such file or directory$"):
        open_capture(tmp_path / "none")
    with pytest.raises(CaptureError, match="expected a capture, got: Is a directory"):
        open_capture(tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    try:
        with pytest.raises(CaptureError, match="pipe: cannot be read at byte 0: "):
            open_capture(pipe)
    finally:
        os.close(writer)


def test_what_is_not_known_is_passed_over_in_silence(tmp_path: Path) -> None:
    """Chunks, definitions, events, and what later versions put behind a definition's fields."""
    writer = (
        CaptureWriter()
        .chunk(99, b"anything")
        .definitions(
            write.definition(99, b"anything"),
            write.definition(3, write.thread(1, "main")[5:] + b"more"),
        )
    )
    writer.events(write.event(99), *write.numbered(1), write.event(0, thread=77), *write.numbered(2)).chunk(
        1, b"{}"
    ).end()
    path = writer.write(tmp_path / "x")
    assert read(path) == ([1, 2], [])
    with open_capture(path) as capture:
        list(capture.events())
        assert capture.threads == {1: Thread(1, 0, 0, 0, "main")}


def test_stack_before_its_functions_is_whole_when_an_event_uses_it(tmp_path: Path) -> None:
    """Each id is defined before the first event that uses it, in whatever order."""
    writer = CaptureWriter().definitions(write.stack(1, [(1, 5)]))
    path = writer.write(tmp_path / "x")
    with open_capture(path) as capture:
        assert capture.poll() == []
        writer.definitions(MAIN, write.code(1, "late")).events(write.event(1, thread=1, stack=1)).write(path)
        (event,) = capture.poll()
        assert capture.stacks[event.stack].frames == (Frame(Code("late", "app.py", 1, 0), 5),)
        assert capture.problems == []


def test_stack_is_made_once(tmp_path: Path) -> None:
    """However many chunks of events follow it."""
    writer = (
        CaptureWriter()
        .definitions(MAIN, write.stack(1, [(0, 1)]))
        .events(*write.numbered(1))
        .events(*write.numbered(2))
    )
    with open_capture(writer.write(tmp_path / "x")) as capture:
        first, second = [capture.stacks[1] for _ in capture.events()]
    assert first is second


def test_thread_defined_again_has_its_later_name(tmp_path: Path) -> None:
    """From then on, and the earlier one until then."""
    writer = CaptureWriter().definitions(write.thread(1)).events(*write.numbered(1))
    writer.definitions(write.thread(1, "MainThread", loop=1)).events(*write.numbered(2))
    with open_capture(writer.write(tmp_path / "x")) as capture:
        names = [capture.threads[event.thread].name for event in capture.events()]
        assert names == ["", "MainThread"]
        assert capture.threads[1].loop == 1


def test_texts_are_delivered_by_number(tmp_path: Path) -> None:
    """Whatever bytes they are of."""
    writer = CaptureWriter().definitions(MAIN, write.named(1, "order-1"), write.named(2, b"\xff"))
    with open_capture(writer.events(write.event(EventKind.TASK, thread=1, count=2)).write(tmp_path / "x")) as capture:
        assert [capture.texts[event.count] for event in capture.events()] == ["\ufffd"]
        assert capture.texts[1] == "order-1"
        assert capture.problems == []


def test_event_of_what_is_not_defined_has_no_stack_and_a_thread_without_a_name(tmp_path: Path) -> None:
    """As after a damaged chunk of definitions: every id that is delivered can be looked up."""
    writer = CaptureWriter().definitions(MAIN)
    path = writer.events(*(write.event(1, thread=n, stack=n, count=n) for n in (1, 2, 3))).end().write(tmp_path / "x")
    with open_capture(path) as capture:
        events = list(capture.events())
        assert [(event.thread, event.stack, event.count) for event in events] == [(1, 0, 1), (2, 0, 2), (3, 0, 3)]
        assert [capture.threads[event.thread].name for event in events] == ["main", "?", "?"]
        assert capture.problems == [
            "has events of threads that are not defined: they are named ?",
            "has events with stacks that are not defined: they are shown without one",
        ]


def test_event_of_the_recording_itself_has_thread_zero_without_a_problem(tmp_path: Path) -> None:
    """Lost events need be no thread's."""
    with open_capture(CaptureWriter().events(write.event(EventKind.LOST)).write(tmp_path / "x")) as capture:
        assert [event.thread for event in capture.events()] == [0]
        assert capture.threads[0].name == "?"
        assert capture.problems == []


def test_stack_of_a_function_that_is_not_defined_says_so(tmp_path: Path) -> None:
    """And keeps its other frames; code 0 is none, and no problem."""
    writer = CaptureWriter().definitions(MAIN, write.code(1, "known"), write.code(0, "never"))
    unknown_flags = write.definition(2, struct.pack("<IHHII", 1, 1, 2, 0, 0))
    writer.definitions(unknown_flags, write.stack(0, [(1, 1)])).events(write.event(1, thread=1, stack=1))
    with open_capture(writer.write(tmp_path / "x")) as capture:
        list(capture.events())
        assert capture.stacks == {0: Stack((), False), 1: Stack((Frame(Code("?", "", 0, 0), 0),), False)}
        assert capture.problems == []
    writer.definitions(write.stack(2, [(1, 7), (9, 8)])).events(write.event(1, thread=1, stack=2))
    with open_capture(writer.write(tmp_path / "x")) as capture:
        list(capture.events())
        assert [(frame.code.name, frame.line) for frame in capture.stacks[2].frames] == [("known", 7), ("?", 8)]
        assert capture.problems == ["has stacks with functions that are not defined: they are named ?"]


@pytest.mark.parametrize(
    ("broken", "all_after"),
    [
        (write.definition(1, b"short"), False),
        (write.definition(1, struct.pack("<IIIH", 5, 0, 0, 9) + b"name"), False),
        (write.definition(2, struct.pack("<IHH", 5, 2, 0) + bytes(8)), False),
        (write.definition(3, b""), False),
        (write.definition(4, struct.pack("<IH", 5, 9) + b"name"), False),
        (struct.pack("<BI", 1, 1000), True),
    ],
)
def test_definition_that_makes_no_sense_costs_no_other(tmp_path: Path, broken: bytes, all_after: bool) -> None:
    """Unless its length is what is wrong; then the chunk's rest is lost."""
    writer = CaptureWriter().definitions(MAIN, broken, write.thread(2, "two")).definitions(write.thread(3, "three"))
    writer.events()
    with open_capture(writer.write(tmp_path / "x")) as capture:
        list(capture.events())
        assert capture.threads.keys() == ({1, 3} if all_after else {1, 2, 3})
        assert capture.stacks.keys() == {0}
        place = len(MAIN)
        assert capture.problems == [f"chunk 1 has a definition that makes no sense, at its byte {place}"]


def test_chunk_of_definitions_that_ends_inside_a_head_is_told(tmp_path: Path) -> None:
    """There is not even a length."""
    path = CaptureWriter().definitions(MAIN, b"\x01\x02").write(tmp_path / "x")
    assert read(path) == ([], [f"chunk 1 has a definition that makes no sense, at its byte {len(MAIN)}"])


def test_chunk_of_events_with_bytes_too_many_gives_the_whole_ones(tmp_path: Path) -> None:
    """The rest is told."""
    path = CaptureWriter().definitions(MAIN).events(*write.numbered(1, 2), b"half").write(tmp_path / "x")
    assert read(path) == ([1, 2], ["chunk 2 should have events of 48 bytes, and has 4 bytes more"])


def test_text_that_is_not_utf8_is_replaced(tmp_path: Path) -> None:
    """Names in captures can always be printed."""
    writer = CaptureWriter()
    writer.content = write.header() + write.chunk(1, b'{"argv": ["\xff", "\\udcff", "\\ud83d\\ude00"]}', 0)
    writer.content += write.chunk(2, write.thread(1, b"\xff\xed\xa0\x80x"), 1)
    with open_capture(writer.write(tmp_path / "x")) as capture:
        list(capture.events())
        assert capture.threads[1].name == "\ufffd\ufffd\ufffd\ufffdx"
        assert capture.metadata["argv"] == ["\ufffd", "?", "\U0001f600"]


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"pid": "7"}, "chunk 0 should have a whole number of 64 bits as pid, got '7'"),
        ({"pid": True}, "chunk 0 should have a whole number of 64 bits as pid, got True"),
        ({"stall_threshold_ns": 2**63}, "as stall_threshold_ns, got 9223372036854775808"),
        ({"stall_threshold_ns": 1.5}, "as stall_threshold_ns, got 1.5"),
        ({"argv": "python"}, "chunk 0 should have a list of text as argv, got 'python'"),
        ({"argv": ["python", 1]}, "chunk 0 should have a list of text as argv, got ['python', 1]"),
        ({"gil": None}, "chunk 0 should have text as gil, got None"),
        ({"gil": "\x1b" * 1000}, None),
        ({"python": ["\x1b" * 1000]}, "\\x1b"),
        ({"something": "new"}, None),
    ],
)
def test_metadata_of_another_type_is_left_out(tmp_path: Path, metadata: dict[str, Any], expected: str | None) -> None:
    """What is there can be computed with; what is not known is passed on."""
    with open_capture(CaptureWriter(metadata).end().write(tmp_path / "x")) as capture:
        list(capture.events())
        assert capture.metadata == ({} if expected else metadata)
        assert len(capture.problems) == (1 if expected else 0)
        if expected:
            assert expected in capture.problems[0]
            assert len(capture.problems[0]) < 200
            assert "\x1b" not in capture.problems[0]


@pytest.mark.parametrize("end", [{"lost": {"ring_full": "1"}}, {"lost": 1}, {"samples": {"late": None}}])
def test_end_of_another_type_is_left_out(tmp_path: Path, end: dict[str, Any]) -> None:
    """As of metadata, in the counts too."""
    with open_capture(CaptureWriter().end(end).write(tmp_path / "x")) as capture:
        list(capture.events())
        assert capture.end == {}
        (name,) = end
        assert f"chunk 1 should have counts as {name}, got " in capture.problems[0]


def test_end_that_is_no_object_is_told(tmp_path: Path) -> None:
    """The recording was stopped in order, but does not say how."""
    with open_capture(CaptureWriter().chunk(4, b"[]").write(tmp_path / "x")) as capture:
        list(capture.events())
        assert capture.end is None
        assert capture.problems == ["chunk 1 should hold a JSON object, and does not"]


@pytest.mark.parametrize("limit_bytes", [3000, 3350], ids=["no room for a stack", "no room for its frame"])
def test_definitions_that_would_take_too_much_memory_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit_bytes: int
) -> None:
    """Those until then stay, and events of further threads are not delivered."""
    monkeypatch.setattr(reader, "_DEFINITIONS_LIMIT_BYTES", limit_bytes)
    writer = CaptureWriter().definitions(MAIN, write.code(1, "f"))
    for number in range(1, 20):
        writer.definitions(write.stack(number, [(1, number)])).events(*write.numbered(number))
    writer.definitions(write.thread(2, "late"))
    for number in range(1, 20):
        writer.events(write.event(1, thread=1, stack=number), write.event(1, thread=2))
    with open_capture(writer.write(tmp_path / "x")) as capture:
        assert [event.count for event in capture.events() if event.count] == list(range(1, 20))
        kept = [event.stack for event in capture.events() if not event.count]
        assert kept == [1, 2, 3, 4] + 15 * [0]
        assert capture.threads.keys() == {1}
        assert capture.stacks.keys() == {0, 1, 2, 3, 4}
        assert "has definitions of more than 0 MiB: the rest is left out" in capture.problems


def test_events_twice_are_the_same_with_the_same_problems(tmp_path: Path) -> None:
    """Each call starts anew, also while another is under way."""
    writer, starts = write.three_chunks()
    content = bytearray(writer.content)
    content[starts[1] + 30] ^= 1
    content += write.chunk(3, write.event(1, thread=9, stack=9, count=7), 5) + write.chunk(4, b"{}", 6) + b"half"
    (tmp_path / "x").write_bytes(content)
    with open_capture(tmp_path / "x") as capture:
        first = list(capture.events())
        told = list(capture.problems)
        assert len(told) == 4
        assert list(capture.events()) == first
        assert capture.problems == told
        assert [capture.end for _ in capture.events()] == [None] * len(first)
        assert capture.end == {}
        both = list(zip(capture.events(), capture.events(), strict=True))
        assert both == list(zip(first, first, strict=True))


def test_batches_are_the_events_of_each_chunk(tmp_path: Path) -> None:
    """Chunks without any give none."""
    writer = CaptureWriter().definitions(MAIN).events(*write.numbered(1, 2)).events().events(write.event(99))
    with open_capture(writer.events(*write.numbered(3)).write(tmp_path / "x")) as capture:
        assert [[event.count for event in batch] for batch in capture.batches()] == [[1, 2], [3]]


def test_closed_capture_keeps_what_was_read(tmp_path: Path) -> None:
    """And nothing more: the file is closed with it."""
    path = CaptureWriter({"pid": 7}).definitions(MAIN).events(*write.numbered(1)).write(tmp_path / "x")
    with open_capture(path) as capture:
        list(capture.events())
    assert (capture.metadata, capture.threads[1].name) == ({"pid": 7}, "main")
    with pytest.raises(ValueError, match="closed"):
        next(capture.events())


def test_writer_of_the_tests_makes_the_bytes_of_the_format() -> None:
    """By hand, from docs/capture.md, so that writer and reader cannot be wrong together."""
    assert CaptureWriter({}).definitions(write.thread(2, "m", 3, 4, 1)).content == bytes.fromhex(
        "47494c53434f5045 0100 3000 00000000"
        "4753434b 01 00 0000 02000000 02000000 3b44f6e7 00000000 7b7d"
        "4753434b 02 00 0000 1a000000 1a000000 75c82377 01000000"
        "03 15000000 02000000 03000000 0400000000000000 01 00 0100 6d"
    )
    assert write.event(1, 2, 3, -1, 5, 6, 7, 8, 9) == bytes.fromhex(
        "01 02 0000 03000000 ffffffffffffffff 0500000000000000 06000000 07000000 0800000000000000 0900000000000000"
    )
    assert write.code(1, "f", "a", 2, 3) == bytes.fromhex("01 12000000 01000000 02000000 03000000 0100 66 0100 61")
    assert write.stack(1, [(2, 3)], truncated=True) == bytes.fromhex("02 10000000 01000000 0100 0100 02000000 03000000")
