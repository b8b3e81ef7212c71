"""ext/core/ring.c and wake.c as programs for the memory model: the same accesses in the same order, by the same names.

A record is one granule, so a place in the bytes is its seq: `data0` is what lies in the bytes of slot 0, `slot0` its
plain words (position and length), `state0` its state. Words that carry two numbers are tuples, 0 where nothing was
written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from tests.model.memory_model import (
    CompareExchange,
    Exchange,
    Goto,
    HasEnded,
    Lives,
    Load,
    Operation,
    Order,
    Program,
    Read,
    SleepWhile,
    Store,
    Violation,
    Write,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Hashable, Iterable, Mapping

    from tests.model.memory_model import Body

Orders: TypeAlias = "Mapping[str, Order]"
Run: TypeAlias = "Generator[Operation, object, Hashable]"

# The defaults of the macros in ring.c (RING_ORDER_*) and wake.c (WAKE_ORDER_*).
ORDERS: Orders = {
    "CLAIM": Order.SEQ_CST,
    "CLAIM_SEEN": Order.ACQUIRE,
    "CLAIMED_SEQ": Order.SEQ_CST,
    "PUBLISH": Order.RELEASE,
    "OBSERVE": Order.ACQUIRE,
    "RECYCLE": Order.RELEASE,
    "REUSE": Order.ACQUIRE,
    "INTENT": Order.RELEASE,
    "INTENT_SEEN": Order.ACQUIRE,
    "PREPARE": Order.SEQ_CST,
    "NOTIFY": Order.SEQ_CST,
    "TELL": Order.RELEASE,
    "HEAR": Order.ACQUIRE,
}
COMMITTED, DEAD = "committed", "dead"
RELAXED = Order.RELAXED


def _push(orders: Orders, capacity: int, value: str, lease: str | None) -> Generator[Operation, object, int | None]:
    """gs_ring_try_claim and gs_ring_commit: the seq, or None when full."""
    intent: Hashable = 0
    seen = yield Load("claim", orders["CLAIM_SEEN"])
    while True:
        freed = yield Load("freed", orders["REUSE"])
        assert isinstance(seen, int)
        assert isinstance(freed, int)
        depth = seen - freed
        if depth < 0:
            seen = yield Load("claim", orders["CLAIM_SEEN"])
            continue
        if depth > capacity:
            message = "R2: a claim beside a freed word that is too old for it"
            raise Violation(message)
        if depth == capacity:
            if intent != 0:
                yield Store(f"intent_{lease}", 0, orders["INTENT"])
            return None
        if lease:
            intent = ("intent", seen)
            yield Store(f"intent_{lease}", intent, orders["INTENT"])
        exchanged = yield CompareExchange("claim", seen, seen + 1, orders["CLAIM"], orders["CLAIM_SEEN"])
        assert isinstance(exchanged, tuple)
        is_ours, now = exchanged
        if is_ours:
            break
        seen = now
    slot = seen % capacity
    yield Write(f"data{slot}", value)
    yield Write(f"slot{slot}", seen)
    yield Store(f"state{slot}", (seen, COMMITTED), orders["PUBLISH"])
    if lease:
        yield Store(f"intent_{lease}", 0, orders["INTENT"])
    return seen


def _producer(orders: Orders, capacity: int, name: str, records: int, lease: str | None = None) -> Body:
    def run(state: object) -> Run:
        index: int
        pushed: tuple[str, ...]
        index, pushed = state if isinstance(state, tuple) else (0, ())
        if index == records:
            return pushed
        value = f"{name}{index}"
        seq = yield from _push(orders, capacity, value, lease)
        return Goto((index + 1, pushed if seq is None else (*pushed, value)))

    return run


def _take(orders: Orders, capacity: int, cursor: int) -> Generator[Operation, object, str | None]:
    """gs_ring_peek, and gs_ring_free_through at once: the record's value, or None when it is not settled."""
    slot = cursor % capacity
    state = yield Load(f"state{slot}", orders["OBSERVE"])
    if state != (cursor, COMMITTED):
        return None
    position = yield Read(f"slot{slot}")
    value = yield Read(f"data{slot}")
    yield Store("freed", cursor + 1, orders["RECYCLE"])
    return str(value) if position == cursor else f"torn: {position}"


def _words(capacity: int, **more: Hashable) -> dict[str, Hashable]:
    return {"claim": 0, "freed": 0, **{f"state{slot}": 0 for slot in range(capacity)}, **more}


def _places(capacity: int) -> dict[str, Hashable]:
    return {f"{kind}{slot}": None for kind in ("slot", "data") for slot in range(capacity)}


def passing(orders: Orders, capacity: int, records: Mapping[str, int]) -> Program:
    """Producers push, the newest is given up when the ring is full; the consumer takes until they have ended."""

    def consumer(state: object) -> Run:
        cursor, taken = state if isinstance(state, tuple) else (0, ())
        value = yield from _take(orders, capacity, cursor)
        if value is not None:
            return Goto((cursor + 1, (*taken, value)))
        for name in records:
            if not (yield HasEnded(name)):
                return Goto((cursor, taken))
        claim = yield Load("claim", RELAXED)
        return taken if claim == cursor else Goto((cursor, taken))

    threads = {name: _producer(orders, capacity, name, count) for name, count in records.items()}
    return Program({**threads, "consumer": consumer}, _words(capacity), _places(capacity))


def parking(orders: Orders, producers: int, *, is_rechecking: bool = True) -> Program:
    """Producers push one record each and notify; the consumer sleeps without a deadline whenever there is none."""
    names = [f"p{i}" for i in range(producers)]

    def make(name: str) -> Body:
        def run(_state: object) -> Run:
            yield from _push(orders, producers, name, None)
            if (yield Load("interest", orders["NOTIFY"])):
                yield Exchange("interest", 0, orders["TELL"])
            return "pushed"

        return run

    def consumer(state: object) -> Run:
        cursor = state if isinstance(state, int) else 0
        if cursor == producers:
            return cursor
        if (yield from _take(orders, producers, cursor)) is not None:
            return Goto(cursor + 1)
        if (yield Load("claim", RELAXED)) != cursor:
            return Goto(cursor)  # GS_PENDING: must not park
        yield Store("interest", 1, orders["PREPARE"])
        if is_rechecking and (yield Load("claim", orders["CLAIMED_SEQ"])) != cursor:
            yield Store("interest", 0, RELAXED)
            return Goto(cursor)
        yield SleepWhile("interest", 1)
        yield Exchange("interest", 0, orders["HEAR"])
        return Goto(cursor)

    threads = {**{name: make(name) for name in names}, "consumer": consumer}
    return Program(threads, _words(producers, interest=0), _places(producers))


def telling(orders: Orders) -> Program:
    """A notifier writes plain data, then notifies; who comes back from the park because of it reads the data."""

    def notifier(_state: object) -> Run:
        yield Write("note", "written")
        if (yield Load("interest", orders["NOTIFY"])) and (yield Exchange("interest", 0, orders["TELL"])):
            return "told"
        return "awake"

    def parker(_state: object) -> Run:
        yield Store("interest", 1, orders["PREPARE"])
        if (yield HasEnded("notifier")):
            return "too late"
        yield SleepWhile("interest", 1)
        if (yield Exchange("interest", 0, orders["HEAR"])) == 0:
            return (yield Read("note"))
        return "spurious"

    return Program({"notifier": notifier, "parker": parker}, {"interest": 0}, {"note": None})


def _skip(
    orders: Orders, capacity: int, leases: Iterable[str], cursor: int, *, is_looking_again: bool
) -> Generator[Operation, object, str | None]:
    """gs_ring_skip_dead: None for GS_PENDING."""
    if (yield Load("claim", orders["CLAIM_SEEN"])) == cursor:
        return "empty"
    word = f"state{cursor % capacity}"
    state = yield Load(word, RELAXED)
    if state == (cursor, COMMITTED):
        return None
    for name in leases:
        if (yield Load(f"intent_{name}", orders["INTENT_SEEN"])) == ("intent", cursor) and (yield Lives(name)):
            return None
    if is_looking_again:
        exchanged = yield CompareExchange(word, state, (cursor, DEAD), RELAXED, RELAXED)
        return DEAD if isinstance(exchanged, tuple) and exchanged[0] else None
    yield Store(word, (cursor, DEAD), RELAXED)
    return DEAD


def dying(
    orders: Orders,
    capacity: int,
    records: Mapping[str, int],
    mortal: frozenset[str],
    *,
    is_looking_again: bool = True,
) -> Program:
    """Leased producers, of which some may die anywhere; the consumer skips what they leave.

    Without `is_looking_again` the verdict is stored, whatever has become of the record since the first look.
    """

    def consumer(state: object) -> Run:
        cursor, taken = state if isinstance(state, tuple) else (0, ())
        value = yield from _take(orders, capacity, cursor)
        if value is None:
            value = yield from _skip(orders, capacity, records, cursor, is_looking_again=is_looking_again)
            if value == "empty":
                for name in records:
                    if not (yield HasEnded(name)):
                        return Goto((cursor, taken))
                claim = yield Load("claim", RELAXED)
                return taken if claim == cursor else Goto((cursor, taken))
            if value is None:
                return Goto((cursor, taken))
            yield Store("freed", cursor + 1, orders["RECYCLE"])
        return Goto((cursor + 1, (*taken, value)))

    threads = {name: _producer(orders, capacity, name, count, lease=name) for name, count in records.items()}
    words = _words(capacity, **{f"intent_{name}": 0 for name in records})
    return Program({**threads, "consumer": consumer}, words, _places(capacity), mortal)
