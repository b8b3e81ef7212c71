"""`gilscope top` in a terminal: what is on the screen, and what its keys do.

The screen is compared as text, which is kept in `screens/`: a picture would change with each version of Textual, and
nobody could read the difference.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gilscope.analysis import analyse
from gilscope.capture import Capture, open_capture
from gilscope.cli.live import Live
from gilscope.cli.top_screen import Screen
from gilscope.errors import CaptureError
from tests import capture_writer
from tests.capture_writer import CaptureWriter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from textual.pilot import Pilot

MS = 1_000_000
S = 1000 * MS
LOOP, EXPORTER, WORKER = 1, 2, 3
RUN, ITERATION, SAMPLE, BLOCKED, COLLECTION, COUNTERS, EXPORT, SPANS = 1, 3, 4, 5, 6, 8, 11, 12
FORCED = 2
ENCODE, BLOCK, COMPUTE = 1, 2, 3
HOSTILE = "[bold red]\x1b[2J[/]"
DEADLINE_S = 20


def begun(exporter: str = "OtelBatchSpanRecordProcessor") -> CaptureWriter:
    """Return a capture of a service with two loops and an exporter that knows three stacks."""
    writer = CaptureWriter(
        {
            "gil": "hooked",
            "argv": ["/usr/bin/uvicorn", "shop.main:app", "--port", "8000"],
            "pid": 4711,
            "stall_threshold_ns": 20 * MS,
            "started_wall_ns": 1_800_000_000 * S,
            "started_monotonic_ns": 0,
        }
    )
    return writer.definitions(
        capture_writer.thread(LOOP, "MainThread", loop=2),
        capture_writer.thread(WORKER, "作業スレッド", loop=1),
        capture_writer.thread(EXPORTER, exporter),
        capture_writer.code(1, "_encode_span", "/usr/lib/python3.11/site-packages/otlp/encoder.py", 70),
        capture_writer.code(2, "read_stock", "/srv/shop/stock.py", 8),
        capture_writer.code(3, "price[/]", "/srv/shop/[link=x].py", 30),
        *(capture_writer.stack(number, [(number, 10 * number)]) for number in (ENCODE, BLOCK, COMPUTE)),
    )


def second(number: int) -> list[bytes]:
    """Return what happened in a second: four iterations, of which some are stalls of one cause each."""
    at, event = number * S, capture_writer.event
    stall_ns = (12 + 8 * (number % 5)) * MS
    events = [event(ITERATION, 0, LOOP, at + place * 100 * MS, place * MS, count=1, a=place * MS) for place in (1, 2)]
    began = at + 400 * MS
    if number % 3 == 0:
        events += [event(RUN, FORCED, EXPORTER, began, stall_ns - 2 * MS, ENCODE, 1, 0, 5 * MS)]
        parts = {"a": 2 * MS, "b": stall_ns - 2 * MS}
    elif number % 3 == 1:
        events += [event(BLOCKED, 0, LOOP, began, stall_ns - MS, BLOCK)]
        parts = {"a": MS}
    else:
        events += [event(SAMPLE, 0, LOOP, began + 8 * MS, 0, COMPUTE, 1, 0, 8 * MS)]
        parts = {"a": stall_ns}
    events += [
        event(ITERATION, 0, LOOP, began, stall_ns, count=1, **parts),
        event(ITERATION, 0, WORKER, at + 600 * MS, 500_000, count=1, a=500_000),
        event(RUN, FORCED, LOOP, at + 700 * MS, 200 * MS, COMPUTE, 40, 20 * MS, 4 * MS),
    ]
    if number % 4 == 0:
        events += [
            event(EXPORT, 0, 0, at + 900 * MS, 3 * MS, 0, 512, 51_234, 12 * (number % 8 == 0)),
            *(
                event(SPANS, 0, 0, at + 910 * MS, 0, 0, state, (60, 512 * number, 7, 12)[state - 1], 1)
                for state in (1, 2, 3, 4)
            ),
        ]
    return events


def service(seconds: int = 70) -> CaptureWriter:
    """Return the capture after so many seconds."""
    return begun().events(*(event for number in range(seconds) for event in second(number)))


@asynccontextmanager
async def shown(path: Path, size: tuple[int, int] = (80, 24), interval_s: float = 60) -> AsyncIterator[Pilot[None]]:
    """The capture is on a screen of so many columns and lines, all of it that is written by now."""
    with open_capture(path) as capture:
        live = Live(capture)
        live.read()
        screen = Screen(live, path, path, interval_s)
        async with screen.run_test(size=size) as pilot:
            await pilot.pause()
            yield pilot
            # The worker must not read a file that is closed.
            screen.exit()


def text_of(pilot: Pilot[None]) -> str:
    """Return what is on the screen, line by line."""
    lines = pilot.app.screen._compositor.render_strips()
    return "\n".join(line.text.rstrip() for line in lines) + "\n"


async def until(pilot: Pilot[None], condition: Callable[[str], object]) -> str:
    """Return the screen as soon as it is like that."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition(text := text_of(pilot)):
        assert time.monotonic() < deadline, text
        await pilot.pause(0.01)
    return text


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks show the same everywhere."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.mark.smoke
@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_screen_of_a_busy_service_is_as_it_was_kept(size: tuple[int, int], tmp_path: Path) -> None:
    """Loops, stalls, holders and spans of 70 seconds, in a small and in a large terminal."""

    async def look() -> str:
        async with shown(service().end().write(tmp_path / "shop.gilscope"), size) as pilot:
            return text_of(pilot)

    found = asyncio.run(look())
    kept = Path(__file__).with_name("screens") / "top-{}x{}.txt".format(*size)
    assert found == kept.read_text(encoding="utf-8"), f"{kept} should be this, if this is right:\n{found}"


def test_names_with_markup_are_shown_as_they_are(tmp_path: Path) -> None:
    """A thread may be called [bold]; only what would move the cursor is replaced."""

    async def look() -> str:
        path = begun(exporter=HOSTILE).events(*second(69)).write(tmp_path / "app.gilscope")
        async with shown(path, (120, 40)) as pilot:
            return text_of(pilot)

    found = asyncio.run(look())
    assert "[bold red]\N{REPLACEMENT CHARACTER}[2J[/]" in found
    assert "\x1b" not in found


def test_sort_key_changes_the_order_of_stalls_and_says_so(tmp_path: Path) -> None:
    """Newest, longest, by name, and newest again."""

    async def look() -> list[tuple[str, str]]:
        found = []
        async with shown(service(69).write(tmp_path / "app.gilscope")) as pilot:
            for _ in range(4):
                lines = text_of(pilot).splitlines()
                found.append((lines[4].rpartition("; ")[2], lines[6].split()[1]))
                await pilot.press("s")
                await pilot.pause()
        return found

    newest = ("newest first", "36")
    assert asyncio.run(look()) == [newest, ("longest first", "44"), ("by loop", "36"), newest]


def test_frozen_screen_stands_still_until_the_key_comes_again(tmp_path: Path) -> None:
    """And then shows what has been written meanwhile."""

    async def look() -> tuple[str, str, str]:
        writer = service(10)
        path = writer.write(tmp_path / "app.gilscope")
        async with shown(path, interval_s=0.1) as pilot:
            await pilot.press("p")
            frozen = await until(pilot, lambda text: "FROZEN" in text)
            writer.events(*second(20)).write(path)
            # Nothing may come of it: long enough for three looks at the file.
            await pilot.pause(0.3)
            later = text_of(pilot)
            await pilot.press("space")
            return frozen, later, await until(pilot, lambda text: "21 s, being recorded" in text)

    frozen, later, thawed = asyncio.run(look())
    assert frozen == later
    assert "FROZEN" not in thawed


def test_dump_key_writes_the_last_minute_as_a_capture(tmp_path: Path) -> None:
    """Beside the capture, with all that the analysis needs; pressed again it replaces nothing."""

    async def look() -> str:
        async with shown(service().write(tmp_path / "app.gilscope")) as pilot:
            await pilot.press("d")
            await until(pilot, lambda text: "gilscope report" in text)
            await pilot.press("d")
            return await until(pilot, lambda text: "not written" in text)

    assert "File exists" in asyncio.run(look())
    (dump,) = tmp_path.glob("app.until-*.gilscope")
    with open_capture(dump) as capture:
        analysis = analyse(capture)
        assert capture.problems == []
    assert analysis.facts.complete
    assert 59 * S < analysis.facts.duration_ns <= 61 * S
    assert analysis.stall_count == sum((12 + 8 * (number % 5)) >= 20 for number in range(9, 70))


def test_recording_that_ends_stays_on_the_screen(tmp_path: Path) -> None:
    """Until the user quits, with exit code 0."""

    async def look() -> int | None:
        writer = service(10)
        path = writer.write(tmp_path / "app.gilscope")
        async with shown(path, interval_s=0.1) as pilot:
            writer.end().write(path)
            await until(pilot, lambda text: "recording has ended" in text)
            await pilot.press("ctrl+c")
            return pilot.app.return_code

    assert asyncio.run(look()) == 0


def test_damage_is_told_of_and_what_follows_is_shown(tmp_path: Path) -> None:
    """The recorder may be on a bad disk: a chunk is lost, and not the view."""

    async def look() -> str:
        writer = service(10)
        path = writer.write(tmp_path / "app.gilscope")
        async with shown(path, interval_s=0.1) as pilot:
            writer.content += b"damaged" * 10
            writer.events(*second(20)).write(path)
            return await until(pilot, lambda text: "21 s, being recorded" in text and "problem" in text)

    assert "the capture has 1 problem, the last: chunk 3 at byte" in asyncio.run(look())


def test_file_that_cannot_be_read_any_more_leaves_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason in its first line."""

    async def look() -> str:
        async with shown(service(10).write(tmp_path / "app.gilscope"), interval_s=0.1) as pilot:
            monkeypatch.setattr(Capture, "poll", fail)
            return await until(pilot, lambda text: "disk is gone" in text)

    def fail(_capture: Capture) -> None:
        raise CaptureError("disk is gone")

    assert "MainThread (uvloop)" in asyncio.run(look())


def test_help_key_shows_what_the_parts_mean_and_takes_it_away(tmp_path: Path) -> None:
    """In place of the picture, whole in a small terminal."""

    async def look() -> tuple[str, str, str]:
        async with shown(service(10).end().write(tmp_path / "app.gilscope")) as pilot:
            before = text_of(pilot)
            await pilot.press("question_mark")
            shown_help = await until(pilot, lambda text: "Back." in text)
            await pilot.press("question_mark")
            return before, shown_help, await until(pilot, lambda text: "Back." not in text)

    before, shown_help, after = asyncio.run(look())
    assert "loop lag  How long" in shown_help
    assert before == after


def test_arrow_keys_scroll_to_older_stalls(tmp_path: Path) -> None:
    """More are kept than fit; the headings stay."""

    async def look() -> tuple[str, str]:
        async with shown(service().end().write(tmp_path / "app.gilscope")) as pilot:
            first = text_of(pilot).splitlines()[6]
            await pilot.press("down")
            second_line = await until(pilot, lambda text: text.splitlines()[6] != first)
            return text_of(pilot).splitlines()[5], second_line.splitlines()[6]

    headings, line = asyncio.run(look())
    assert headings.startswith("time      lasted")
    assert line.startswith("08:01:08   36 ms")
