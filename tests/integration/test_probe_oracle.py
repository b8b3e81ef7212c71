"""A recording set against the kernel's own record of the same takes and drops of the GIL.

The measuring is that of experiments/probe_truth, and is tested here too, on records that were made up.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from experiments.probe_truth import compare, oracle
from experiments.probe_truth.oracle import DROP, SIGNALLED, SLEPT, SWITCHED, TAKE, TAKEN, GilEvent
from experiments.probe_truth.run import GILSCOPE, run
from experiments.probe_truth.tools import ASKS_FOR_GIL, HAS_GIL, Sample
from experiments.probe_truth.truth import Period, Truth, read

if TYPE_CHECKING:
    from experiments.spans.experiment import Figures

MS = 1_000_000
# Half as long, the share of a thread that takes the GIL without end is off by three points now and then.
SECONDS = 4.0


@pytest.fixture(scope="module")
def figures() -> Figures:
    """What a recording of threads that contend for the GIL is worth."""
    if importlib.util.find_spec("gilscope._probe") is None:
        pytest.skip("the probe is not built")
    why_not = oracle.why_not()
    if why_not is not None:
        pytest.skip(why_not)
    return run(seconds=SECONDS, loop="asyncio", tool=GILSCOPE, checked=True).judged()


class TestRecording:
    """What the kernel saw is in the capture. The tolerances leave room for a machine that does other things too."""

    def test_waits_that_the_kernel_saw_are_in_the_capture(self, figures: Figures) -> None:
        """Nearly all of the waited time is found, in the right threads; the rest is waits for the GIL's own mutex."""
        assert figures["waits"] > 20
        assert figures["found"] >= 97

    def test_waits_in_the_capture_have_the_length_that_the_kernel_saw(self, figures: Figures) -> None:
        """Both see the thread go to sleep and wake, some microseconds apart."""
        assert figures["length_error_us"] <= 20

    def test_holders_in_the_capture_are_those_that_the_kernel_saw(self, figures: Figures) -> None:
        """For each wait of 1 ms and more, the thread that had the GIL for most of it; one of a hundred may be off."""
        assert figures["holders"] >= 98
        assert figures["holding_error"] <= 3

    def test_functions_of_the_holders_are_on_their_stacks(self, figures: Figures) -> None:
        """Of the loop's waits of 1 ms and more whose holder is right; it may let go long after its work."""
        assert figures["functions"] >= 97

    def test_waits_in_the_capture_are_waits_for_the_kernel_too(self, figures: Figures) -> None:
        """A thread that lets go by itself, and then blocks, does not wait for the GIL meanwhile."""
        assert figures["invented"] <= 2


def made_up(*events: tuple[int, int, str]) -> Truth:
    """Return what the kernel's record says if it consists of these: us, thread, what."""
    return read(GilEvent(us * 1000, thread, what) for us, thread, what in events)


def test_thread_that_slept_until_it_had_the_gil_has_waited() -> None:
    """The wait is from its sleep to its return, and the other's hold ends before."""
    truth = made_up((0, 1, TAKE), (1, 1, TAKEN), (5, 2, TAKE), (6, 2, SLEPT), (900, 1, DROP), (905, 2, TAKEN))
    assert truth.waits == [Period(6_000, 905_000, 2)]
    assert truth.holds == [Period(1_000, 900_000, 1)]


def test_thread_that_lost_its_core_in_a_take_has_not_waited() -> None:
    """It was late, but nobody kept the GIL from it."""
    assert made_up((0, 1, TAKE), (4_000, 1, TAKEN), (4_010, 1, DROP)).waits == []


def test_thread_that_was_made_to_let_go_waits_from_there() -> None:
    """It stays in drop_gil until somebody else has the GIL, and asks again at once."""
    truth = made_up(
        (0, 1, TAKE), (1, 1, TAKEN), (10, 1, DROP), (80, 2, TAKEN), (90, 1, SWITCHED), (92, 1, TAKE), (93, 1, SLEPT),
        (500, 2, DROP), (505, 1, TAKEN),
    )  # fmt: skip
    assert truth.waits == [Period(10_000, 505_000, 1)]


def test_thread_that_let_go_by_itself_while_it_was_asked_to_waits_only_when_it_asks() -> None:
    """It too stays in drop_gil, but then does something else."""
    truth = made_up(
        (0, 1, TAKE), (1, 1, TAKEN), (10, 1, DROP), (80, 2, TAKEN), (90, 1, SWITCHED), (300, 1, TAKE), (302, 1, SLEPT),
        (500, 2, DROP), (505, 1, TAKEN),
    )  # fmt: skip
    assert truth.waits == [Period(302_000, 505_000, 1)]


def test_hold_that_began_before_the_record_is_left_out() -> None:
    """Nobody knows how long it was."""
    assert made_up((5, 1, DROP), (6, 2, TAKEN), (9, 2, DROP)).holds == [Period(6_000, 9_000, 2)]


def test_signal_to_the_gils_condition_is_a_drop() -> None:
    """Takes signal as often, but within themselves; other conditions are signalled less."""
    told: list[tuple[int, str, str | None]] = [
        (1, TAKE, None), (1, SIGNALLED, "switched"), (1, TAKEN, None), (1, SIGNALLED, "gil"),
        (2, TAKE, None), (2, SIGNALLED, "switched"), (1, SIGNALLED, "other"), (2, TAKEN, None), (2, SIGNALLED, "gil"),
    ]  # fmt: skip
    events = oracle.drops_told((GilEvent(0, thread, what), condition) for thread, what, condition in told)
    assert [(event.thread, event.what) for event in events] == [
        (1, TAKE), (1, TAKEN), (1, DROP), (2, TAKE), (2, TAKEN), (2, DROP)
    ]  # fmt: skip


TRUTH = Truth(
    waits=[Period(0, 10 * MS, 1), Period(20 * MS, 30 * MS, 1), Period(22 * MS, 28 * MS, 3)],
    holds=[Period(0, 7 * MS, 2), Period(7 * MS, 10 * MS, 3), Period(20 * MS, 30 * MS, 2)],
)


def judged(claim: compare.Claim) -> Figures:
    """Return what a claim is worth, thread 1 being the loop."""
    return compare.of_waits(TRUTH, claim, {2: "spin", 3: "dump"}, loop=1)


def test_claim_that_is_the_truth_is_right() -> None:
    """Everything is found, nothing invented, every holder right, and its function named."""
    stacks = [frozenset({"spin"}), frozenset({"dump"}), frozenset({"spin"})]
    found = judged(compare.Claim(TRUTH.waits, TRUTH.holds, stacks))
    assert {name: found[name] for name in ("found", "loop_found", "holders", "loop_holders", "functions")} == (
        dict.fromkeys(("found", "loop_found", "holders", "loop_holders", "functions"), 100.0)
    )
    assert (found["waits"], found["invented"], found["length_error_us"]) == (3, 0, 0)


def test_wait_of_another_thread_at_the_same_time_is_not_found() -> None:
    """What is claimed of thread 2 is no wait of thread 1."""
    found = judged(compare.Claim([Period(0, 10 * MS, 2)], TRUTH.holds))
    assert (found["found"], found["invented"]) == (0, 100)


def test_claim_that_is_too_long_is_found_and_partly_invented() -> None:
    """Half of 20 ms was waited; the length is 10 ms off."""
    found = judged(compare.Claim([Period(0, 20 * MS, 1)], TRUTH.holds))
    assert found["loop_found"] == 50
    assert found["invented"] == 50
    assert found["length_error_us"] == 10_000


def test_wrong_holder_and_wrong_function_are_counted() -> None:
    """One of three waits has another holder, and one of the two others another function."""
    holds = [Period(0, 7 * MS, 3), Period(20 * MS, 30 * MS, 2)]
    found = judged(compare.Claim(TRUTH.waits, holds, [frozenset({"dump"}), frozenset({"rest"})]))
    assert found["holders"] == pytest.approx(200 / 3)
    assert found["loop_holders"] == 50
    assert found["functions"] == 0


def test_either_of_two_equal_holders_is_right_with_its_own_function() -> None:
    """The claim does not have the other one at all."""
    truth = Truth([Period(0, 10 * MS, 1)], [Period(0, 5 * MS, 2), Period(5 * MS, 10 * MS, 3)])
    claim = compare.Claim(truth.waits, truth.holds[1:], [frozenset({"dump"})])
    found = compare.of_waits(truth, claim, {2: "spin", 3: "dump"}, loop=1)
    assert (found["holders"], found["functions"]) == (100, 100)


def test_holds_that_overlap_are_refused() -> None:
    """At most one thread has the GIL."""
    with pytest.raises(ValueError, match="do not overlap"):
        judged(compare.Claim([], [Period(0, 10, 1), Period(9, 20, 2)]))


def test_watchdog_that_looks_twice_at_a_stall_claims_it_once() -> None:
    """Its second look adds what has passed since the first; it names whom it saw alone."""
    claim = compare.of_watchdog([(0, 12 * MS, [2]), (0, 17 * MS, [2, 3])], loop=1)
    assert claim.waits == [Period(0, 12 * MS, 1), Period(12 * MS, 17 * MS, 1)]
    assert claim.holds == [Period(0, 12 * MS, 2)]


def sampled(*samples: tuple[float, int, int]) -> compare.Claim:
    """Return what samples of 1 kHz say: ms, thread, status."""
    made = [Sample(round(ms * MS), thread, status, frozenset({f"f{thread}"})) for ms, thread, status in samples]
    return compare.of_samples(made, MS)


def test_samples_of_a_holder_are_holds_that_do_not_overlap() -> None:
    """Each stands for half an interval to either side, and for what the one before has not claimed."""
    claim = sampled((1, 2, HAS_GIL), (1.8, 3, HAS_GIL), (9, 2, HAS_GIL))
    assert claim.holds == [
        Period(MS // 2, 3 * MS // 2, 2), Period(3 * MS // 2, 23 * MS // 10, 3), Period(17 * MS // 2, 19 * MS // 2, 2)
    ]  # fmt: skip
    assert claim.functions == [frozenset({"f2"}), frozenset({"f3"}), frozenset({"f2"})]
    assert claim.waits == []


def test_samples_of_a_thread_that_asks_are_a_wait_until_one_says_otherwise() -> None:
    """The second is 1.9 ms later, as after a sample that failed; the third comes after one without the flag."""
    claim = sampled((1, 1, ASKS_FOR_GIL), (2.9, 1, ASKS_FOR_GIL), (3.8, 1, HAS_GIL), (4.7, 1, ASKS_FOR_GIL))
    assert claim.waits == [Period(MS // 2, 34 * MS // 10, 1), Period(42 * MS // 10, 52 * MS // 10, 1)]
