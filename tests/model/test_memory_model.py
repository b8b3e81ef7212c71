"""The checker itself, on the classic programs whose outcomes under C11 are known: C++20, [atomics.order]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.model.memory_model import (
    CompareExchange,
    Exchange,
    Load,
    Operation,
    Order,
    Program,
    Read,
    SleepWhile,
    Store,
    Write,
    explore,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable

RLX, ACQ, REL, SC = Order.RELAXED, Order.ACQUIRE, Order.RELEASE, Order.SEQ_CST


def body(*operations: Operation) -> Callable[[Any], Generator[Operation, Any, Hashable]]:
    """Return a thread that makes these operations and returns what the loads and exchanges saw."""

    def run(_state: object) -> Generator[Operation, Any, Hashable]:
        seen: list[Hashable] = []
        for operation in operations:
            result = yield operation
            if isinstance(operation, (Load, Exchange, CompareExchange, Read)):
                seen.append(result)
        return tuple(seen)

    return run


def outcomes(words: str, places: str = "", **threads: Callable[[Any], Generator[Operation, Any, Hashable]]) -> set[Any]:
    """Return what the threads saw, threads in order, without those that saw nothing; violations as text."""
    program = Program(threads, dict.fromkeys(words, 0), dict.fromkeys(places, 0))
    found = explore(program)
    seen_by_all = (tuple(result for _, result in one if isinstance(result, tuple)) for one in found.outcomes)
    return {sum(results, ()) for results in seen_by_all} | set(found.violations)


@pytest.mark.parametrize(
    ("publish", "observe", "expected"),
    [
        (REL, ACQ, {(0,), (1, 5)}),
        (RLX, ACQ, {(0,), "race on d"}),
        (REL, RLX, {(0,), "race on d"}),
    ],
)
def test_message_passing(publish: Order, observe: Order, expected: set[Any]) -> None:
    """A release read by an acquire hands over plain data, anything weaker does not."""

    def reader(_state: object) -> Generator[Operation, Any, Hashable]:
        flag = yield Load("f", observe)
        return (flag, (yield Read("d"))) if flag else (flag,)

    assert outcomes("f", "d", w=body(Write("d", 5), Store("f", 1, publish)), r=reader) == expected


@pytest.mark.parametrize(
    ("store", "load", "both_miss"), [(SC, SC, False), (REL, SC, True), (SC, ACQ, True), (RLX, RLX, True)]
)
def test_store_buffering(store: Order, load: Order, *, both_miss: bool) -> None:
    """Two threads that store, then load the other's word, miss each other unless all four are seq_cst."""
    found = outcomes("xy", p=body(Store("x", 1, store), Load("y", load)), q=body(Store("y", 1, store), Load("x", load)))
    assert found == {(0, 1), (1, 0), (1, 1)} | ({(0, 0)} if both_miss else set())


def test_coherence_of_one_word() -> None:
    """Nobody reads a word backwards, whatever the order."""
    found = outcomes("x", w=body(Store("x", 1, RLX), Store("x", 2, RLX)), r=body(Load("x", RLX), Load("x", RLX)))
    assert found == {(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)}


def test_two_plus_two_writes() -> None:
    """Relaxed stores of two threads to two words may be ordered against both: a store is put in in the middle."""
    found = outcomes(
        "xy",
        p=body(Store("x", 1, RLX), Store("y", 2, RLX), Load("y", RLX)),
        q=body(Store("y", 1, RLX), Store("x", 2, RLX), Load("x", RLX)),
    )
    assert (1, 1) in found


def test_readers_of_independent_writes() -> None:
    """Two readers may disagree on the order of two writers unless all is seq_cst."""

    def disagree(write: Order, read: Order) -> bool:
        return (1, 0, 1, 0) in outcomes(
            "xy",
            a=body(Store("x", 1, write)),
            b=body(Store("y", 1, write)),
            r=body(Load("x", read), Load("y", read)),
            s=body(Load("y", read), Load("x", read)),
        )

    assert disagree(REL, ACQ)
    assert not disagree(SC, SC)


def test_read_modify_writes_are_atomic_and_go_on_with_a_release() -> None:
    """Two exchanges never see the same value; a relaxed one between release and acquire still hands over."""
    assert outcomes("x", p=body(Exchange("x", 1, RLX)), q=body(Exchange("x", 2, RLX))) == {(0, 1), (2, 0)}

    def reader(_state: object) -> Generator[Operation, Any, Hashable]:
        flag = yield Load("f", ACQ)
        return (flag, (yield Read("d"))) if flag == 2 else (flag,)

    found = outcomes(
        "f",
        "d",
        w=body(Write("d", 5), Store("f", 1, REL)),
        m=body(CompareExchange("f", 1, 2, RLX, RLX)),
        r=reader,
    )
    assert ((True, 1), 2, 5) in found
    assert not [outcome for outcome in found if isinstance(outcome, str)]


def test_write_after_read_is_a_race() -> None:
    """A plain write races with a read that nothing orders before it, though no value could show it."""
    assert "race on d" in outcomes(
        "f", "d", r=body(Read("d"), Store("f", 1, RLX)), w=body(Load("f", ACQ), Write("d", 1))
    )


def test_sleeper_that_nobody_wakes_is_stuck() -> None:
    """A futex sleeps while the newest value is the expected one."""
    assert outcomes("f", s=body(SleepWhile("f", 0))) == {"stuck: s"}
    assert outcomes("f", s=body(SleepWhile("f", 0)), w=body(Store("f", 1, RLX))) == {()}
