"""Stalls in detail: who held the GIL and where, what the loop did, and that the stacks sum up."""

from __future__ import annotations

import pytest

from gilscope.analysis import analyse
from gilscope.analysis.one_pass import WORST
from gilscope.capture import EventKind, Stack
from tests.made_capture import COROUTINE, EXPORTER, LOOP, MS, WORKER, MadeCapture, stack

EMPTY = Stack((), truncated=False)


def weights(capture: MadeCapture) -> dict[tuple[str, str, str], int]:
    """Return milliseconds by cause, thread and innermost function."""
    return {
        (found.cause, found.thread_name, found.stack.frames[0].code.name if found.stack.frames else ""): found.ns // MS
        for found in analyse(capture).stall_stacks
    }


def test_stall_tells_when_and_how_long() -> None:
    """Relative to the recording's start, which the metadata knows."""
    capture = MadeCapture(metadata={"started_monotonic_ns": 100 * MS})
    capture.iteration(150, 190, cpu=40)
    (stall,) = analyse(capture).stalls
    assert (stall.start_ns, stall.since_start_ns, stall.wall_ns) == (150 * MS, 50 * MS, 40 * MS)
    assert stall.loop_name == "MainThread"


def test_worst_stalls_are_kept_longest_first_and_all_are_counted() -> None:
    """Only so many are told; sums are of all."""
    capture = MadeCapture()
    for number in range(WORST + 10):
        capture.iteration(1000 * number, 1000 * number + 20 + (number * 7) % (WORST + 10), cpu=1)
    analysis = analyse(capture)
    lengths = [stall.wall_ns // MS for stall in analysis.stalls]
    assert lengths == [*range(20 + WORST + 9, 20 + 9, -1)]
    assert analysis.stall_count == WORST + 10
    assert analysis.stalled_ns == sum(20 + number for number in range(WORST + 10)) * MS


def test_holder_is_named_with_the_stack_where_it_let_go() -> None:
    """Without samples, that is what is known of it."""
    capture = MadeCapture()
    encode = capture.stack(stack("encode_spans"))
    victim = capture.stack(stack("handler"))
    capture.run(EXPORTER, 0, 25, encode)
    capture.wait(LOOP, 2, 25, victim)
    capture.iteration(0, 30, waited=23)
    (stall,) = analyse(capture).stalls
    (wait,) = stall.waits
    (holder,) = wait.holders
    assert (wait.start_ns, wait.duration_ns, wait.timeouts) == (2 * MS, 23 * MS, 4)
    assert wait.stack.frames[0].code.name == "handler"
    assert (holder.thread, holder.ns, holder.stack.frames[0].code.name) == (EXPORTER, 23 * MS, "encode_spans")


def test_samples_of_a_long_hold_count_more_than_where_it_ended() -> None:
    """A hold of 30 ms was sampled in two functions; where it let go says nothing of them."""
    capture = MadeCapture()
    ended, first, second = (capture.stack(stack(name)) for name in ("ended", "first", "second"))
    capture.sample(WORKER, 10, first, since=10)
    capture.sample(WORKER, 25, second, since=5)
    capture.sample(WORKER, 26, ended, state=2)
    capture.run(WORKER, 0, 30, ended)
    capture.wait(LOOP, 0, 30)
    capture.iteration(0, 30, waited=30)
    assert weights(capture) == {("gil_wait", "worker", "first"): 20, ("gil_wait", "worker", "second"): 10}


def test_weights_name_what_nobody_held_and_nothing_saw() -> None:
    """Handing over, unknown holders, and time without a stack are told as such, and all sums up."""
    capture = MadeCapture()
    capture.wait(LOOP, 0, 3)
    capture.iteration(0, 30, cpu=7, waited=8)
    assert weights(capture) == {
        ("gil_wait", "(handing over)", ""): 3,
        ("gil_wait", "(unknown holder)", ""): 5,
        ("on_cpu", "MainThread", ""): 7,
        ("stopped", "MainThread", ""): 15,
    }
    assert analyse(capture).unseen.not_sampled_ns == 22 * MS


def test_on_cpu_time_is_spread_over_the_samples() -> None:
    """By the time since the sample before; samples of waiting and of other times do not count."""
    capture = MadeCapture()
    early, parse, dump = (capture.stack(stack(name)) for name in ("early", "parse", "dump"))
    capture.sample(LOOP, 5, early)
    capture.sample(LOOP, 12, parse, since=2)
    capture.sample(LOOP, 18, dump, since=6)
    capture.sample(LOOP, 20, early, state=2)
    capture.sample(WORKER, 20, early)
    capture.sample(LOOP, 50.000001, early)
    capture.iteration(10, 50, cpu=40)
    assert weights(capture) == {("on_cpu", "MainThread", "parse"): 10, ("on_cpu", "MainThread", "dump"): 30}


@pytest.mark.parametrize("kind", ["run", "blocked", "wait"])
def test_on_cpu_time_without_samples_has_the_stack_of_another_event(kind: str) -> None:
    """The next best thing is where the loop's thread let go of the GIL, was blocked, or asked for it."""
    capture = MadeCapture()
    seen = capture.stack(stack("seen"))
    if kind == "run":
        capture.run(LOOP, 2, 28, seen)
    elif kind == "blocked":
        capture.blocked(5, 10, seen)
    else:
        capture.wait(LOOP, 5, 10, seen)
    capture.iteration(0, 30, cpu=25, waited=5 if kind == "wait" else 0)
    assert weights(capture)["on_cpu", "MainThread", "seen"] == 25


def test_native_code_without_the_gil_is_on_cpu_in_its_own_stack() -> None:
    """It released the GIL, so that no sample finds it holding it; the blocked event has its stack."""
    capture = MadeCapture()
    compress, rest = capture.stack(stack("compress")), capture.stack(stack("rest"))
    capture.blocked(0, 30, compress)
    capture.sample(LOOP, 35, rest)
    capture.iteration(0, 40, cpu=40)
    assert weights(capture) == {("on_cpu", "MainThread", "compress"): 30, ("on_cpu", "MainThread", "rest"): 10}


def test_time_without_a_core_is_spread_over_the_samples_as_time_on_it_is() -> None:
    """A thread that lost its core is where the samples see it; blocked time keeps its own stack."""
    capture = MadeCapture()
    parse, dump, read = (capture.stack(stack(name)) for name in ("parse", "dump", "read"))
    capture.sample(LOOP, 10, parse, since=2)
    capture.sample(LOOP, 20, dump, since=6)
    capture.sample(LOOP, 35, read, state=3)
    capture.blocked(30, 40, read)
    capture.schedule(0, 0)
    capture.schedule(40, 16)
    capture.iteration(0, 40, cpu=8)
    (stall,) = analyse(capture).stalls
    assert (stall.parts.no_core_ns, stall.parts.unattributed_ns) == (16 * MS, 6 * MS)
    assert [(time.stack.frames[0].code.name, time.ns) for time in stall.stopped] == [
        ("dump", 16_500_000),
        ("parse", 5_500_000),
    ]
    assert weights(capture) == {
        ("on_cpu", "MainThread", "parse"): 2,
        ("on_cpu", "MainThread", "dump"): 6,
        ("blocked", "MainThread", "read"): 10,
        ("stopped", "MainThread", "parse"): 5,
        ("stopped", "MainThread", "dump"): 16,
    }


def test_samples_without_the_gil_tell_where_there_is_none() -> None:
    """On a build without a GIL nobody holds it."""
    capture = MadeCapture(metadata={"gil": "none"})
    capture.sample(LOOP, 10, capture.stack(stack("score")), state=3)
    capture.iteration(0, 30, cpu=20)
    assert weights(capture) == {("on_cpu", "MainThread", "score"): 20, ("stopped", "MainThread", "score"): 10}


def test_collection_is_innermost_in_the_stacks_for_exactly_its_time() -> None:
    """Samples in it get its frame; on the CPU or without a core, in proportion."""
    capture = MadeCapture()
    load, rest = (capture.stack(stack(name)) for name in ("load", "rest"))
    capture.sample(LOOP, 10, rest, since=1)
    capture.sample(LOOP, 20, load, since=10)
    capture.sample(LOOP, 30, load, since=10)
    capture.collection(LOOP, 12, 42)
    capture.iteration(0, 60, cpu=40)
    collecting = "[garbage collection]"
    assert weights(capture) == {
        ("on_cpu", "MainThread", collecting): 20,
        ("on_cpu", "MainThread", "rest"): 20,
        ("stopped", "MainThread", collecting): 10,
        ("stopped", "MainThread", "rest"): 10,
    }
    (stall,) = analyse(capture).stalls
    seen = next(time.stack for time in stall.on_cpu if time.stack.frames[0].code.name == collecting)
    assert [(frame.code.name, frame.code.file, frame.line) for frame in seen.frames] == [
        (collecting, "", 0),
        ("load", "/srv/shop/app/main.py", 10),
    ]


@pytest.mark.parametrize("is_known", [False, True])
def test_collection_without_samples_is_in_the_stacks_too(is_known: bool) -> None:
    """Below the stack that its own event has, or alone."""
    capture = MadeCapture()
    load = capture.stack(stack("load"))
    capture.collection(LOOP, 2, 30, stack=load if is_known else 0)
    capture.iteration(0, 30, cpu=30)
    (collected, rest) = analyse(capture).stall_stacks
    assert (collected.ns, rest.ns) == (28 * MS, 2 * MS)
    names = [frame.code.name for frame in collected.stack.frames]
    assert names == ["[garbage collection]", *(["load"] if is_known else [])]
    assert rest.stack == EMPTY


def test_time_around_a_collection_has_its_stack_where_no_other_was_seen() -> None:
    """Who made the last object before it made those around it."""
    capture = MadeCapture()
    capture.sample(LOOP, 20, capture.stack(stack("load")))
    capture.collection(LOOP, 5, 28)
    capture.iteration(0, 30, cpu=30)
    assert weights(capture) == {
        ("on_cpu", "MainThread", "[garbage collection]"): 23,
        ("on_cpu", "MainThread", "load"): 7,
    }


def test_holder_that_collects_is_told_to_and_collections_elsewhere_are_not() -> None:
    """The loop waits for 20 ms of it; what a thread collects that the loop does not wait for costs the loop nothing."""
    capture = MadeCapture()
    load, other = capture.stack(stack("load")), capture.stack(stack("other"))
    capture.sample(WORKER, 15, load)
    capture.collection(WORKER, 10, 35)
    capture.collection(EXPORTER, 36, 37)
    capture.run(WORKER, 8, 38, other)
    capture.wait(LOOP, 15, 38)
    capture.iteration(0, 40, cpu=17, waited=23)
    found = weights(capture)
    assert found["gil_wait", "worker", "[garbage collection]"] == 20
    assert found["gil_wait", "worker", "other"] == 3
    (finding,) = (one for one in analyse(capture).findings if one.kind == "garbage_collection")
    assert finding.stolen_ns == 20 * MS


def test_wait_inside_a_collection_is_no_collecting() -> None:
    """A finalizer let go of the GIL; what others did with it is theirs."""
    capture = MadeCapture()
    capture.run(WORKER, 10, 20, capture.stack(stack("work")))
    capture.wait(LOOP, 10, 20)
    capture.collection(LOOP, 5, 25)
    capture.iteration(0, 30, cpu=20, waited=10)
    assert weights(capture) == {
        ("gil_wait", "worker", "work"): 10,
        ("on_cpu", "MainThread", "[garbage collection]"): 10,
        ("on_cpu", "MainThread", ""): 10,
    }


def test_blocked_time_has_the_stacks_of_what_blocked() -> None:
    """Each blocked period brings its own."""
    capture = MadeCapture()
    sleep, read = capture.stack(stack("sleep")), capture.stack(stack("read"))
    capture.blocked(0, 20, sleep)
    capture.blocked(22, 32, read)
    capture.iteration(0, 32, cpu=2)
    (stall,) = analyse(capture).stalls
    assert [(time.stack.frames[0].code.name, time.ns) for time in stall.blocked] == [
        ("sleep", 20 * MS),
        ("read", 10 * MS),
    ]


def test_sample_that_comes_late_still_counts() -> None:
    """A sampler hands over what it saw after the iteration has ended."""
    capture = MadeCapture()
    seen = capture.stack(stack("seen"))
    capture.iteration(0, 30, cpu=30)
    capture.iteration(40, 41, cpu=1)
    capture.sample(LOOP, 10, seen)
    assert weights(capture) == {("on_cpu", "MainThread", "seen"): 30}


def test_sample_that_comes_far_too_late_is_counted_as_such() -> None:
    """A stall is closed some time after it."""
    capture = MadeCapture()
    seen = capture.stack(stack("seen"))
    capture.iteration(0, 30, cpu=30)
    capture.iteration(9000, 9001, cpu=1)
    capture.sample(LOOP, 10, seen)
    assert weights(capture) == {("on_cpu", "MainThread", ""): 30}
    assert analyse(capture).unseen.samples_too_late == 1


def test_collections_are_told_as_far_as_they_lie_in_the_stall() -> None:
    """Whatever thread they ran in."""
    capture = MadeCapture()
    capture.collection(WORKER, -5, 5)
    capture.collection(LOOP, 10, 18, generation=1)
    capture.iteration(0, 30, cpu=30)
    capture.collection(LOOP, 40, 50)
    (stall,) = analyse(capture).stalls
    assert [(found.name, found.duration_ns, found.generation) for found in stall.collections] == [
        ("worker", 5 * MS, 2),
        ("MainThread", 8 * MS, 1),
    ]


def test_coroutine_that_ran_is_the_outermost_of_the_application() -> None:
    """The server's own coroutine around it is the same for every request."""
    capture = MadeCapture()
    inner, outer = stack("query", "handler", flags=COROUTINE).frames
    server = stack("run_asgi", file="/srv/venv/lib/python3.11/site-packages/uvicorn/http.py", flags=COROUTINE).frames
    callback = stack("callback").frames
    seen = capture.stack(Stack((*callback, inner, outer, *server), truncated=False))
    capture.sample(LOOP, 10, seen)
    capture.iteration(0, 30, cpu=30)
    (stall,) = analyse(capture).stalls
    assert stall.ran == outer


def test_task_that_ran_is_the_last_that_was_seen_in_the_stall() -> None:
    """Not the one of the stall before; a task without a name is none."""
    capture = MadeCapture()
    for at, name in ((5, "early"), (45, "first"), (55, "order-7"), (90, "")):
        capture.task(at, name)
    for start in (40, 80, 120):
        capture.iteration(start, start + 30, cpu=30)
    assert [stall.task for stall in sorted(analyse(capture).stalls, key=lambda stall: stall.start_ns)] == [
        "order-7",
        None,
        None,
    ]


def test_coroutine_is_unknown_where_none_was_seen() -> None:
    """A plain callback has none."""
    capture = MadeCapture()
    capture.sample(LOOP, 10, capture.stack(stack("callback")))
    capture.iteration(0, 30, cpu=30)
    assert analyse(capture).stalls[0].ran is None


@pytest.mark.parametrize(
    ("waits", "longest", "shape"),
    [
        ([], 0, "none"),
        ([(1, 6), (7, 12), (13, 18)], 5, "convoy"),
        ([(1, 6), (7, 12)], 5, "mixed"),
        ([(1, 29)], 28, "long_hold"),
        # Several threads took turns: each held for 5 ms only, and nobody disobeyed.
        ([(1, 29)], 5, "mixed"),
    ],
)
def test_shape_of_waits_tells_python_holders_from_native_ones(
    waits: list[tuple[int, int]], longest: float, shape: str
) -> None:
    """Many waits of one switch interval, or one long hold."""
    capture = MadeCapture()
    for start, end in waits:
        capture.run(WORKER, start, end, longest=longest)
        capture.wait(LOOP, start, end)
    capture.iteration(0, 30, cpu=1, takes=4)
    (stall,) = analyse(capture).stalls
    assert stall.convoy.shape == shape
    assert (stall.convoy.waits, stall.convoy.takes) == (len(waits), 4)


def test_convoy_of_a_loop_counts_all_its_iterations() -> None:
    """Takes and waits, in stalls and over all."""
    capture = MadeCapture()
    end = capture.convoy(0, waits=5)
    capture.iteration(end, end + 1, cpu=1, takes=2)
    (loop,) = analyse(capture).loops
    assert (loop.convoy.takes, loop.convoy.iterations, loop.convoy.takes_per_iteration) == (8, 2, 4.0)
    assert (loop.stall_convoy.takes, loop.stall_convoy.interval_waits) == (6, 5)
    assert loop.stall_convoy.mean_wait_ns == 5 * MS


def test_thread_is_accounted_by_its_runs_and_waits() -> None:
    """Held without the time in which the GIL was free, and how often it was made to let go."""
    capture = MadeCapture()
    capture.event(EventKind.RUN, WORKER, 0, 10, flags=2, count=3, a=4 * MS, b=5 * MS)
    capture.event(EventKind.RUN, WORKER, 20, 2, count=1, b=2 * MS)
    capture.wait(WORKER, 15, 20)
    (account,) = analyse(capture).threads
    assert (account.held_ns, account.waited_ns, account.takes, account.forced) == (8 * MS, 5 * MS, 4, 1)
    assert (account.longest_hold_ns, account.runs.count, account.waits.count) == (5 * MS, 2, 1)


def test_counters_replace_what_events_say_and_survive_a_wrap() -> None:
    """They also count what was too short for an event; the number of takes has 32 bits."""
    capture = MadeCapture()
    capture.run(WORKER, 0, 10)
    for takes, held in [(2**32 - 10, 5), (7, 90)]:
        capture.event(EventKind.COUNTERS, WORKER, 20, 0, count=takes, a=held * MS, b=2 * MS)
    (account,) = analyse(capture).threads
    assert (account.takes, account.held_ns, account.waited_ns) == (2**32 + 7, 90 * MS, 2 * MS)


def test_two_loops_are_told_apart() -> None:
    """Each has its own account; the one that was stalled longest comes first."""
    capture = MadeCapture()
    capture.iteration(0, 25, cpu=25)
    capture.event(EventKind.ITERATION, WORKER, 0, 50, a=50 * MS)
    loops = analyse(capture).loops
    assert [(loop.thread, loop.stalls.total_ns) for loop in loops] == [(WORKER, 50 * MS), (LOOP, 25 * MS)]


def test_unseen_is_told() -> None:
    """Lost events, samples, deep stacks and the reader's problems."""
    capture = MadeCapture(problems=["it was cut off"])
    capture.stack(stack("deep", truncated=True))
    capture.event(EventKind.LOST, 0, 5, 0, count=1, a=12)
    capture.event(EventKind.LOST, 0, 6, 0, count=9, a=1)
    capture.sample(LOOP, 7, 0)
    unseen = analyse(capture).unseen
    assert unseen.lost == {"ring_full": 12, "unknown": 1}
    assert (unseen.samples, unseen.truncated_stacks, unseen.problems) == ({"taken": 1}, 1, ("it was cut off",))
    capture.end = {"lost": {"ring_full": 20, "no_memory": 0}, "samples": {"taken": 9, "missed": 2}}
    unseen = analyse(capture).unseen
    assert (unseen.lost, unseen.samples) == ({"ring_full": 20}, {"taken": 9, "missed": 2})
