"""ring.c and wake.c in every order that C11 allows, and weaker orders that must not go unnoticed (R2 to R7, W1, W2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import pytest

from tests.model.memory_model import Order, explore, with_orders
from tests.model.ring_programs import DEAD, ORDERS, Orders, dying, parking, passing, telling

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from tests.model.memory_model import Program

    Scene: TypeAlias = "Callable[[Orders], Program]"

RLX, ACQ, REL, ACQ_REL = Order.RELAXED, Order.ACQUIRE, Order.RELEASE, Order.ACQ_REL

# What the consumer may take, for each scene; the newest is given up when the ring is full.
# `a` pushes a0 and a1, `b` b0.
SCENES: dict[str, Scene] = {
    "two of two slots": lambda orders: passing(orders, 2, {"a": 1, "b": 1}),
    "three in two slots": lambda orders: passing(orders, 2, {"a": 2, "b": 1}),
    "three in one slot": lambda orders: passing(orders, 1, {"a": 2, "b": 1}),
    "park, one producer": lambda orders: parking(orders, 1),
    "park, two producers": lambda orders: parking(orders, 2),
    "tell": telling,
    "a dies": lambda orders: dying(orders, 2, {"a": 1, "b": 1}, frozenset("a")),
    "a dies, two in one slot": lambda orders: dying(orders, 1, {"a": 1, "b": 1}, frozenset("a")),
}
ALLOWED: dict[str, set[Hashable]] = {
    "two of two slots": {("a0", "b0"), ("b0", "a0")},
    "three in two slots": {
        ("a0", "a1", "b0"),
        ("a0", "b0", "a1"),
        ("b0", "a0", "a1"),
        ("a0", "a1"),
        ("a0", "b0"),
        ("b0", "a0"),
    },
    "three in one slot": {
        ("a0", "a1", "b0"),
        ("a0", "b0", "a1"),
        ("b0", "a0", "a1"),
        ("a0", "a1"),
        ("a0", "b0"),
        ("b0", "a0"),
        ("b0", "a1"),
        ("a0",),
        ("b0",),
    },
    "park, one producer": {1},
    "park, two producers": {2},
    "tell": {"written", "too late"},
    "a dies": {("a0", "b0"), ("b0", "a0"), ("b0",), (DEAD, "b0"), ("b0", DEAD)},
    "a dies, two in one slot": {
        ("a0", "b0"),
        ("b0", "a0"),
        ("b0",),
        (DEAD, "b0"),
        ("b0", DEAD),
        ("a0",),
        (DEAD,),
    },
}


def taken(outcome: dict[str, Hashable]) -> Hashable:
    """Return what the thread at the receiving end got."""
    return outcome["parker"] if "parker" in outcome else outcome["consumer"]


def is_consistent(outcome: dict[str, Hashable]) -> bool:
    """Whether what producers say they pushed is what was taken; of a producer that died nothing is known."""
    got = taken(outcome)
    if not isinstance(got, tuple):
        return True
    producers = [result for name, result in outcome.items() if name != "consumer" and isinstance(result, tuple)]
    lost = [value for pushed in producers for value in pushed if value not in got]
    is_invented = DEAD in got and "died" not in outcome.values()
    return not lost and not is_invented


def is_allowed_in(scene: str) -> Callable[[dict[str, Hashable]], bool]:
    """Return whether an outcome of the scene is one of those listed."""
    return lambda outcome: taken(outcome) in ALLOWED[scene] and is_consistent(outcome)


@pytest.mark.parametrize("scene", SCENES)
def test_scene_has_exactly_the_listed_outcomes(scene: str) -> None:
    """Nothing is lost, torn, out of order or stuck in any order of events; and every listed outcome can happen."""
    found = explore(SCENES[scene](ORDERS), is_allowed_in(scene))
    assert not found.violations
    assert {taken(dict(outcome)) for outcome in found.outcomes} == ALLOWED[scene]


@pytest.mark.parametrize(
    ("scene", "name", "order"),
    [
        ("two of two slots", "PUBLISH", RLX),
        ("two of two slots", "OBSERVE", RLX),
        ("three in two slots", "RECYCLE", RLX),
        ("three in two slots", "REUSE", RLX),
        ("three in one slot", "CLAIM", RLX),
        ("three in one slot", "CLAIM_SEEN", RLX),
        ("park, one producer", "CLAIM", ACQ_REL),
        ("park, one producer", "CLAIMED_SEQ", ACQ),
        ("park, one producer", "PREPARE", REL),
        ("park, one producer", "NOTIFY", ACQ),
        ("tell", "TELL", RLX),
        ("tell", "HEAR", RLX),
        ("a dies", "CLAIM", RLX),
        ("a dies", "CLAIM_SEEN", RLX),
        ("a dies", "INTENT", RLX),
        ("a dies", "INTENT_SEEN", RLX),
    ],
)
def test_weaker_order_is_noticed(scene: str, name: str, order: Order) -> None:
    """Every order named in ring.c and wake.c is needed: one weaker gives an outcome that is not allowed."""
    mutant = with_orders(ORDERS, **{name: order})
    assert explore(SCENES[scene](mutant), is_allowed_in(scene)).violations


def test_parking_without_a_second_look_loses_a_wake_up() -> None:
    """The re-check between prepare and park is needed."""
    program = parking(ORDERS, 1, is_rechecking=False)
    assert explore(program, is_allowed_in("park, one producer")).violations == {"stuck: consumer"}


def test_verdict_without_a_second_look_loses_a_living_record() -> None:
    """A record may be committed, and its intent taken back, between the consumer's look and its verdict."""
    program = dying(ORDERS, 2, {"a": 1, "b": 1}, frozenset("a"), is_looking_again=False)
    assert explore(program, is_allowed_in("a dies")).violations


def test_every_order_has_a_mutant() -> None:
    """The list above names all of ORDERS."""
    marks = test_weaker_order_is_noticed.pytestmark  # type: ignore[attr-defined]
    assert {name for _, name, _ in marks[0].args[1]} == set(ORDERS)
