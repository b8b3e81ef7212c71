"""The report for a terminal: everything in it, within the width, and nothing that a terminal obeys."""

from __future__ import annotations

import pytest

from gilscope.analysis import analyse
from gilscope.capture import Code, Frame, Stack, Thread
from gilscope.report.layout import bar, columns, fitted, padded, wrapped
from gilscope.report.stack_lines import Files, stack_lines
from gilscope.report.text import render
from tests.made_capture import COROUTINE, EXPORTER, LOOP, WORKER, MadeCapture, stack

LIBRARY = "/usr/lib/python3.11/site-packages"


def rich(name: str = "encode_spans", thread: str = "OtelBatchSpanRecordProcessor") -> MadeCapture:
    """Return a capture with stalls of every kind, whose names can be chosen."""
    capture = MadeCapture(end={"lost": {"ring_full": 3}}, problems=[f"has a problem with {name}"])
    capture.metadata["argv"] = ["uvicorn", name]
    capture.threads[EXPORTER] = Thread(EXPORTER, 102, 0, 0, thread)
    capture.threads[LOOP] = Thread(LOOP, 101, 0, 2, thread)
    seen = capture.stack(stack(name, "handler", file=f"/srv/{name}.py", flags=COROUTINE, truncated=True))
    capture.task(20, f"task of {name}")
    end = capture.convoy(0, waits=10, stack=seen, own=seen)
    capture.blocked(end, end + 30, seen)
    capture.iteration(end, end + 31, cpu=1)
    capture.sample(LOOP, end + 50, seen)
    capture.collection(LOOP, end + 45, end + 50)
    capture.iteration(end + 40, end + 70, cpu=30)
    capture.run(9, end + 80, end + 81)
    capture.run(WORKER, end + 100, end + 140, seen)
    capture.wait(LOOP, end + 100, end + 140, seen)
    capture.iteration(end + 99, end + 142, cpu=2, waited=42)
    return capture


def test_report_starts_with_the_verdict() -> None:
    """The answer comes first."""
    analysis = analyse(rich())
    first = " ".join(render(analysis).partition("\n\n")[0].split("\n"))
    assert first.lower() == analysis.verdict.lower() + "."


@pytest.mark.parametrize(
    "words",
    [
        "Command   uvicorn encode_spans",
        "Findings",
        "What to do: Use gilscope.NativeSpanProcessor",
        "iterations ",
        "p99.9",
        "  held by OtelBatchSpanRecordPro..",
        "Worst stalls (4 of 4)",
        " 1. 61 ms at 0.000 s in OtelBatchSpanRecordProcessor: GIL wait 50 ms, on CPU 11 ms",
        "    ran handler  encode_spans.py:11, task task of encode_spans",
        "    GIL: 10 waits, mean 5.0 ms, longest 5.0 ms: many waits of one switch interval each",
        "    waited for the GIL in (50 ms); GIL held by OtelBatchSpanRecordProcessor in (50 ms)",
        "    blocked in (30 ms)",
        "    computed in (25 ms)",
        "      [garbage collection]\n",
        "      encode_spans  encode_spans.py:10",
        "    garbage collection, generation 2, 5.0 ms",
        "      .. (further frames were not recorded)",
        "worker ",
        "- lost events: 3 ring full",
        "- 1 stack had more frames than could be kept",
        "- no name was seen of thread 9",
        "- the file has a problem with encode_spans",
    ],
)
def test_report_tells(words: str) -> None:
    """What a reader looks for is there."""
    assert words in render(analyse(rich()), width=110)


def test_long_name_of_a_task_is_cut() -> None:
    """One line says what ran."""
    capture = MadeCapture()
    capture.task(5, "x" * 256)
    capture.iteration(0, 30, cpu=30)
    assert f"    ran task {'x' * 58}..\n" in render(analyse(capture))


@pytest.mark.parametrize("width", [1, 20, 60, 100, 200])
@pytest.mark.parametrize("name", ["short", "x" * 300, "語" * 80, "é́ " * 60, ""])
def test_report_is_never_wider_than_asked(width: int, name: str) -> None:
    """Whatever the names are, wide characters included."""
    report = render(analyse(rich(name, name)), width)
    assert max(map(columns, report.split("\n"))) <= width


@pytest.mark.parametrize(
    "name", ["\x1b[31mred", "a\nb", "a\rb", "\x9b2J", "\u202eevil", "\u2066x", "tab\there", "\x00", "\ud800", "\u2028"]
)
def test_report_neutralises_what_a_terminal_would_obey(name: str) -> None:
    """Names of functions, files, threads, arguments and problems come from the recorded program."""
    plain = render(analyse(rich("safe", "safe")))
    report = render(analyse(rich(name, name)))
    assert all(line.isprintable() for line in report.split("\n"))
    assert abs(report.count("\n") - plain.count("\n")) <= 4


def test_report_on_an_empty_capture_is_short() -> None:
    """No table without rows."""
    report = render(analyse(MadeCapture(end=None, metadata={})))
    assert report.startswith("The capture is empty")
    assert "cut off, as the recording was not stopped in order" in report
    assert "Worst" not in report
    assert "Findings" not in report


def test_report_on_a_healthy_loop_is_about_all_of_its_iterations() -> None:
    """No columns of zeros for the stalls that there were not."""
    capture = MadeCapture()
    for at in range(0, 100, 10):
        capture.iteration(at, at + 2, cpu=1)
    report = render(analyse(capture))
    assert report.startswith("No iteration took longer than 20 ms; the longest of 10 in 92 ms took 2.0 ms.\n")
    assert "\non CPU                                 10 ms      50 %  ###########\n" in report
    assert "stalls" not in report
    assert "- no sample was taken" in report


def test_report_without_a_loop_is_about_the_threads() -> None:
    """They share the GIL, loop or not."""
    capture = MadeCapture()
    capture.run(WORKER, 0, 40)
    report = render(analyse(capture))
    assert report.startswith("No event loop ran in 40 ms")
    assert "Loops     none\n" in report
    assert "worker                               40 ms     100 %" in report


def test_report_shows_the_ten_worst_stalls() -> None:
    """And says of how many."""
    capture = MadeCapture()
    for number in range(12):
        capture.iteration(100 * number, 100 * number + 30, cpu=30)
    report = render(analyse(capture))
    assert "Worst stalls (10 of 12)" in report
    assert "10. 30 ms" in report
    assert "11. 30 ms" not in report


def test_stack_that_several_parts_of_a_stall_have_is_shown_once() -> None:
    """A loop without a core stands where it computes."""
    capture = MadeCapture()
    capture.sample(LOOP, 10, capture.stack(stack("score")))
    capture.schedule(0, 0)
    capture.schedule(60, 40)
    capture.iteration(0, 60, cpu=20)
    report = render(analyse(capture))
    assert "    computed in (20 ms); no core, in (40 ms)\n      score  main.py:10\n" in report
    assert report.count("score  main.py:10") == 1


def test_time_off_the_cpu_for_no_known_reason_is_not_said_to_lack_a_core() -> None:
    """Nothing is made up."""
    capture = MadeCapture()
    capture.sample(LOOP, 10, capture.stack(stack("score")))
    capture.iteration(0, 60, cpu=3)
    assert "    off the CPU, in (57 ms)\n      score  main.py:10\n" in render(analyse(capture))


def test_stack_shows_own_frames_in_full_and_folds_libraries() -> None:
    """Innermost first; what is further out in libraries only by package."""
    inner = stack("a", "b", file=f"{LIBRARY}/sqlalchemy/engine/deep/base.py").frames
    own = stack("handler", "main").frames
    outer = stack("app", "route", file=f"{LIBRARY}/starlette/routing.py").frames
    server = stack("run", file=f"{LIBRARY}/uvicorn/server.py").frames
    shown = Stack((*inner, *own, *outer, *server), truncated=False)
    assert stack_lines(shown, Files([shown])) == [
        "a  sqlalchemy/engine/deep/base.py:10",
        "b  sqlalchemy/engine/deep/base.py:11",
        "handler  main.py:10",
        "main  main.py:11",
        ".. 3 frames of starlette, uvicorn",
    ]


def test_stack_of_many_frames_is_cut() -> None:
    """Nine lines are enough to recognise it."""
    shown = stack(*(f"f{number}" for number in range(50)))
    lines = stack_lines(shown, Files([shown]))
    assert (len(lines), lines[-1]) == (9, ".. 42 more lines")


def test_file_names_are_as_short_as_tells_them_apart() -> None:
    """Two files of one name show their directories, a third does not; long library paths lose their middle."""
    paths = ["/srv/a/main.py", "/srv/b/main.py", "/srv/b/other.py", f"{LIBRARY}/p/q/r/s/t.py", "main.py"]
    frames = tuple(Frame(Code("f", path, 1, 0), 2) for path in paths)
    files = Files([Stack(frames, truncated=False)])
    assert [files.name(frame) for frame in frames] == [
        "f  a/main.py:2",
        "f  b/main.py:2",
        "f  other.py:2",
        "f  p/../s/t.py:2",
        "f  main.py:2",
    ]


def test_layout_cuts_pads_and_wraps_by_columns() -> None:
    """Wide characters take two."""
    assert (fitted("abcdef", 5), fitted("abcde", 5), fitted("語語語", 5), fitted("abc", 1)) == (
        "abc..",
        "abcde",
        "語..",
        ".",
    )
    assert (padded("ab", 4), columns(padded("語語語", 5))) == ("ab  ", 5)
    assert wrapped("one two three", 9, "- ", "  ") == ["- one two", "  three"]
    assert wrapped("it took 5 ms of 9 % all", 10) == ["it took", "5 ms of", "9 % all"]


def test_bar_is_as_long_as_its_share() -> None:
    """To the nearest character: what is under half of one shows nothing."""
    assert [bar(part, 100, 10) for part in (0, 4, 6, 50, 100, 300)] == ["", "", "#", "#####", "#" * 10, "#" * 10]
    assert bar(1, 0, 10) == ""
