"""The verdict: one true sentence for every kind of capture."""

from __future__ import annotations

import pytest

from gilscope.analysis import analyse
from gilscope.analysis.durations import percent, spoken
from gilscope.analysis.places import library_file, mostly_in
from gilscope.capture import EventKind
from tests.made_capture import EXPORTER, LOOP, MS, WORKER, MadeCapture, stack


def test_verdict_names_the_holder_and_its_function() -> None:
    """Stalled time, share of GIL wait, thread, and the function that most of it was in."""
    capture = MadeCapture(end={"ended_monotonic_ns": 10_000 * MS}, metadata={"started_monotonic_ns": 1})
    leaves = [capture.stack(stack(leaf, "encode_spans", "run")) for leaf in ("a", "b", "c")]
    for number, leaf in enumerate(leaves):
        capture.convoy(1000 * number, waits=10, stack=leaf)
    assert analyse(capture).verdict == (
        "the loop was stalled for 183 ms of 10 s (3 stalls, longest 61 ms); 82 % of that it waited for the GIL, "
        "held by OtelBatchSpanRecordProcessor in encode_spans"
    )


@pytest.mark.parametrize(
    ("shares", "words"),
    [((19, 1), "held by worker"), ((12, 8), "held mostly by worker"), ((8, 6, 6), "held most by worker of 3 threads")],
)
def test_verdict_says_how_much_one_holder_is_to_blame(shares: tuple[int, ...], words: str) -> None:
    """A holder among many is not the holder."""
    capture = MadeCapture()
    at = 0
    for thread, share in zip((WORKER, EXPORTER, 9), shares, strict=False):
        capture.run(thread, at, at + share)
        at += share
    capture.wait(LOOP, 0, 20)
    capture.iteration(0, 21, waited=20)
    assert analyse(capture).verdict.endswith(words)


def test_verdict_on_other_causes_names_the_place() -> None:
    """Computing and blocking say where."""
    capture = MadeCapture()
    capture.sample(LOOP, 10, capture.stack(stack("score")))
    capture.iteration(0, 30, cpu=30)
    assert analyse(capture).verdict.endswith("(1 stall); 100 % of that it computed, mostly in score (app/main.py:10)")
    capture = MadeCapture()
    capture.blocked(0, 28, capture.stack(stack("load")))
    capture.iteration(0, 30, cpu=2)
    assert analyse(capture).verdict.endswith("93 % of that it was blocked, mostly in load (app/main.py:10)")


def test_verdict_names_collections_and_a_second_cause_of_more_than_a_quarter() -> None:
    """The place where it happened is nobody's fault."""
    capture = MadeCapture()
    capture.sample(LOOP, 20, capture.stack(stack("innocent")))
    capture.sample(LOOP, 61, capture.stack(stack("score")))
    capture.collection(LOOP, 0, 3, generation=1)
    capture.collection(LOOP, 3, 60)
    capture.iteration(0, 100, cpu=100)
    assert analyse(capture).verdict.endswith(
        "60 % of that it collected garbage (generation 2); 40 % it computed, mostly in score (app/main.py:10)"
    )
    capture.iteration(1000, 1100, cpu=100)
    capture.collection(LOOP, 1000, 1100)
    assert analyse(capture).verdict.endswith("80 % of that it collected garbage (generation 2)")


@pytest.mark.parametrize(
    ("queued", "words"),
    [(0, "was off the CPU for a reason that was not recorded"), (80, "was ready to run and had no core")],
)
def test_verdict_counts_a_collection_without_a_core_once(queued: int, words: str) -> None:
    """As a collection: half of the stall, and of each of its parts."""
    capture = MadeCapture()
    capture.schedule(0, 0)
    capture.schedule(100, queued)
    capture.collection(LOOP, 0, 52)
    capture.iteration(0, 100, cpu=20)
    assert analyse(capture).verdict.endswith(f"52 % of that it collected garbage (generation 2); 38 % it {words}")


def test_verdict_says_that_the_holder_collected() -> None:
    """Most of the time that it had the GIL."""
    capture = MadeCapture()
    capture.collection(WORKER, 5, 35)
    capture.run(WORKER, 0, 40, capture.stack(stack("load")))
    capture.wait(LOOP, 0, 40)
    capture.iteration(0, 41, waited=40)
    assert analyse(capture).verdict.endswith(
        "98 % of that it waited for the GIL, held by worker, which collected garbage"
    )


def test_verdict_names_a_holder_without_a_core() -> None:
    """It is not what the holder does that costs."""
    capture = MadeCapture()
    capture.run(WORKER, 0, 40, capture.stack(stack("spin")))
    capture.schedule(0, 0, thread=WORKER)
    capture.schedule(40, 30, 10, thread=WORKER)
    capture.wait(LOOP, 0, 40)
    capture.iteration(0, 40, waited=40)
    assert analyse(capture).verdict.endswith(
        "75 % of that it waited for the GIL while worker, which held it, had no core"
    )


def test_verdict_on_a_missing_core_counts_the_hand_over() -> None:
    """A loop that the GIL waits for wants a core."""
    capture = MadeCapture()
    capture.wait(LOOP, 0, 10)
    capture.schedule(10, 0)
    capture.schedule(60, 30)
    capture.iteration(0, 60, cpu=15, waited=10)
    assert "67 % of that it was ready to run and had no core" in analyse(capture).verdict


def test_verdict_on_unexplained_time_says_so() -> None:
    """Nothing is made up."""
    capture = MadeCapture()
    capture.iteration(0, 30, cpu=2)
    assert analyse(capture).verdict.endswith("it was off the CPU for a reason that was not recorded")


def test_verdict_without_stalls_says_how_long_the_longest_iteration_was() -> None:
    """Good news has numbers too."""
    capture = MadeCapture()
    capture.iteration(0, 12, cpu=1)
    capture.iteration(20, 21, cpu=1)
    assert analyse(capture).verdict == ("no iteration took longer than 20 ms; the longest of 2 in 21 ms took 12 ms")


def test_verdict_without_a_loop_says_so() -> None:
    """A program that runs no event loop cannot stall one."""
    capture = MadeCapture()
    capture.run(WORKER, 0, 2000)
    assert analyse(capture).verdict == "no event loop ran in 2.0 s: nothing could stall"


def test_verdict_on_an_empty_capture_says_so() -> None:
    """There is nothing to divide by."""
    assert analyse(MadeCapture(end=None)).verdict == "the capture is empty: no thread did anything that is recorded"


@pytest.mark.parametrize(("gil", "words"), [("none", "has no GIL"), ("unavailable", "could not be seen here")])
def test_verdict_without_gil_hooks_says_what_that_hides(gil: str, words: str) -> None:
    """Off-CPU time may then be GIL wait."""
    capture = MadeCapture(metadata={"gil": gil})
    capture.iteration(0, 30, cpu=2)
    assert words in analyse(capture).verdict


def test_verdict_where_nothing_can_be_hooked_does_not_say_that_nothing_ran() -> None:
    """A loop that ran may not have been seen."""
    assert "nothing to hook" in analyse(MadeCapture(metadata={"gil": "unavailable"})).verdict


def test_verdict_on_two_loops_counts_both() -> None:
    """The sentence is about all of them."""
    capture = MadeCapture()
    capture.iteration(0, 30, cpu=30)
    capture.event(EventKind.ITERATION, WORKER, 0, 50, a=50 * MS)
    assert analyse(capture).verdict.startswith(
        "2 loops were stalled for 80 ms together, in 50 ms (2 stalls, longest 50 ms); "
    )


@pytest.mark.parametrize(
    ("ns", "words"),
    [
        (0, "0"),
        (7, "7 ns"),
        (350_000, "350 us"),
        (5_300_000, "5.3 ms"),
        (9_960_000, "10 ms"),
        (97_400_000, "97 ms"),
        (4_100_000_000, "4.1 s"),
        (3_600_000_000_000, "3,600 s"),
    ],
)
def test_durations_have_the_digits_that_count(ns: int, words: str) -> None:
    """Nobody reads nanoseconds."""
    assert spoken(ns) == words


def test_percentages_tell_little_from_nothing() -> None:
    """And nothing of nothing is nothing."""
    assert (percent(0, 5), percent(1, 1000), percent(71, 100), percent(3, 0)) == ("0 %", "<1 %", "71 %", "0 %")


@pytest.mark.parametrize(
    ("file", "library"),
    [
        ("/usr/lib/python3.11/json/encoder.py", "json/encoder.py"),
        ("/usr/lib/python3/dist-packages/six.py", "six.py"),
        ("/srv/venv/lib64/python3.13t/site-packages/a/b.py", "a/b.py"),
        ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap>"),
        ("/srv/app/main.py", None),
        ("main.py", None),
        ("", None),
    ],
)
def test_library_files_are_known_by_where_they_lie(file: str, library: str | None) -> None:
    """Wherever the interpreter and the environment are."""
    assert library_file(file) == library


def test_function_of_most_time_is_the_innermost_that_has_half_of_it() -> None:
    """Stacks that nothing saw do not count."""
    nothing = (stack(), 100)
    stacks = [(stack("a", "shared", "run"), 3), (stack("b", "shared", "run"), 3), (stack("c", "run"), 2), nothing]
    frame = mostly_in(stacks)
    assert frame
    assert frame.code.name == "shared"
    assert mostly_in([nothing]) is None


def test_recursive_function_counts_once() -> None:
    """However often it is on a stack, its time passed once."""
    frame = mostly_in([(stack("a", "again", "again", "run"), 2), (stack("b", "run"), 2), (stack("c", "run"), 2)])
    assert frame
    assert frame.code.name == "run"
