"""Explores a program of a few threads in every order that C11's memory model allows, and collects its outcomes.

A thread is a generator function: it gets its own state, yields operations, is sent their results, and returns `Goto`
(go on from another state, forgetting what it has read) or anything else, its result. Memory is what "views" make of
C11: an atomic word is a list of messages in modification order, a thread's view says how far it has seen each list, a
release puts the view into the message, an acquire takes it out. A store may be put in anywhere after what its thread
has seen; a read-modify-write directly after what it reads, and nothing ever comes between. A seq_cst operation must
also come after all earlier seq_cst operations on its word. Plain accesses are checked for races by vector clocks.

Not explored: stores that become visible before earlier loads of their thread (load buffering). No invariant of ours
rests on that alone: what it would break is found as a race or through the other orders.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Iterator, Mapping


class Order(enum.IntEnum):
    """A C11 memory order; acquire and release are told apart by where they stand."""

    RELAXED = 0
    ACQUIRE = 1
    RELEASE = 2
    ACQ_REL = 3
    SEQ_CST = 7

    @property
    def acquires(self) -> bool:
        """Whether a load of this order takes the message's view."""
        return bool(self & 1)

    @property
    def releases(self) -> bool:
        """Whether a store of this order puts its view into the message."""
        return bool(self & 2)

    @property
    def is_sc(self) -> bool:
        """Whether it takes part in the single order of all seq_cst operations."""
        return self is Order.SEQ_CST


class Load(NamedTuple):
    """Result: the value."""

    word: str
    order: Order


class Store(NamedTuple):
    """Result: None."""

    word: str
    value: Hashable
    order: Order


class Exchange(NamedTuple):
    """Result: the value before."""

    word: str
    value: Hashable
    order: Order


class CompareExchange(NamedTuple):
    """Result: (whether it was exchanged, the value seen)."""

    word: str
    expected: Hashable
    value: Hashable
    order: Order
    failure_order: Order


class Read(NamedTuple):
    """A plain read; result: the value."""

    place: str


class Write(NamedTuple):
    """A plain write; result: None."""

    place: str
    value: Hashable


class SleepWhile(NamedTuple):
    """A futex: sleeps as long as the newest value is this one. Result: None."""

    word: str
    value: Hashable


class HasEnded(NamedTuple):
    """Result: whether the thread has ended or died; if so, everything that it did is visible, as after a join."""

    thread: str


class Lives(NamedTuple):
    """Result: whether the thread has not died; if it has, everything that it did is visible: the kernel saw to it."""

    thread: str


class Goto(NamedTuple):
    """Returned by a thread's function: call it again with this state."""

    state: Hashable


Operation: TypeAlias = Load | Store | Exchange | CompareExchange | Read | Write | SleepWhile | HasEnded | Lives
Body: TypeAlias = "Callable[[Any], Generator[Operation, Any, Hashable]]"
View: TypeAlias = "tuple[int, ...]"  # per word: first message that may be read; per thread: plain accesses seen


class Violation(Exception):  # noqa: N818 - not an error of the checker: an outcome of the program
    """Raised by a thread's function when an invariant of its own does not hold; its text is the outcome."""


class Message(NamedTuple):
    """One value that a word has had."""

    value: Hashable
    view: View | None  # None: published nothing
    is_attached: bool  # a read-modify-write of the message before it


class Place(NamedTuple):
    """Plain memory, with what is needed to see a race."""

    value: Hashable
    written: tuple[int, int]  # by thread, at its clock
    read: tuple[int, ...]  # at each thread's clock


class Local(NamedTuple):
    """Where a thread is."""

    state: Hashable
    results: tuple[Hashable, ...]  # since that state
    view: View


class Ended(NamedTuple):
    """A thread that is not any more."""

    result: Hashable
    view: View
    is_dead: bool


class State(NamedTuple):
    """Everything."""

    threads: tuple[Local | Ended, ...]
    words: tuple[tuple[Message, ...], ...]
    sc: tuple[int, ...]  # per word: newest message of a seq_cst operation
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Program:
    """`threads`: name to function, which starts with its name as state. `mortal` ones may die before any operation."""

    threads: Mapping[str, Body]
    words: Mapping[str, Hashable]
    places: Mapping[str, Hashable] = field(default_factory=dict)
    mortal: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Exploration:
    """What was found: every outcome, as {thread: result}, or the text of what went wrong."""

    outcomes: frozenset[tuple[tuple[str, Hashable], ...]]
    violations: frozenset[str]
    states: int


def explore(
    program: Program,
    allowed: Callable[[dict[str, Hashable]], bool] | None = None,
    max_states: int = 1_000_000,
) -> Exploration:
    """Return every outcome of the program.

    Args:
        program: what to run.
        allowed: whether an outcome may be. Without it every outcome may; with it the search ends at the first that
            may not, which becomes a violation, and at the first violation.
        max_states: how many states a program may have.

    Raises:
        RuntimeError: it has more states than `max_states`.
    """
    explorer = _Explorer(program, allowed)
    first = explorer.first_state()
    seen = {first}
    waiting = [first]
    while waiting and not (allowed and explorer.violations):
        for state in explorer.steps(waiting.pop()):
            if state not in seen:
                seen.add(state)
                waiting.append(state)
        if len(seen) > max_states:
            message = f"expected at most {max_states} states"
            raise RuntimeError(message)
    return Exploration(frozenset(explorer.outcomes), frozenset(explorer.violations), len(seen))


def _join(left: View, right: View | None) -> View:
    return left if right is None else tuple(map(max, left, right))


def _set(row: tuple[Any, ...], index: int, value: object) -> tuple[Any, ...]:
    return (*row[:index], value, *row[index + 1 :])


class _Explorer:
    def __init__(self, program: Program, allowed: Callable[[dict[str, Hashable]], bool] | None) -> None:
        self.program = program
        self.allowed = allowed
        self.names = list(program.threads)
        self.bodies = list(program.threads.values())
        self.word_index = {name: i for i, name in enumerate(program.words)}
        self.place_index = {name: i for i, name in enumerate(program.places)}
        self.clock = len(self.word_index)  # index of thread 0's clock in a view
        self.next_cache: dict[tuple[int, Hashable, tuple[Hashable, ...]], Operation | Goto | tuple[Hashable]] = {}
        self.outcomes: set[tuple[tuple[str, Hashable], ...]] = set()
        self.violations: set[str] = set()

    def first_state(self) -> State:
        view = (0,) * (len(self.word_index) + len(self.names))
        never = (0,) * len(self.names)
        return State(
            threads=tuple(Local(name, (), view) for name in self.names),
            words=tuple((Message(value, None, is_attached=False),) for value in self.program.words.values()),
            sc=(0,) * len(self.word_index),
            places=tuple(Place(value, (0, 0), never) for value in self.program.places.values()),
        )

    def steps(self, state: State) -> Iterator[State]:
        running = [i for i, thread in enumerate(state.threads) if isinstance(thread, Local)]
        if not running:
            results = (thread.result for thread in state.threads if isinstance(thread, Ended))
            outcome = tuple(zip(self.names, results, strict=True))
            self.outcomes.add(outcome)
            if self.allowed and not self.allowed(dict(outcome)):
                self.violations.add(f"outcome {dict(outcome)}")
            return
        operations: dict[int, Operation | Goto | tuple[Hashable]] = {}
        try:
            for i in running:
                operations[i] = self.next_operation(i, state)
        except Violation as violation:
            self.violations.add(str(violation))
            return
        # Plain accesses and moves of one thread alone commute with everything: one order is enough.
        for i, operation in operations.items():
            if isinstance(operation, (Read, Write, Goto)) or type(operation) is tuple:
                yield from self.deaths(i, state)
                yield from self.step(i, operation, state)
                return
        is_stuck = True
        for i, operation in operations.items():
            yield from self.deaths(i, state)
            for after in self.step(i, operation, state):
                is_stuck = False
                yield after
        if is_stuck and not any(self.names[i] in self.program.mortal for i in running):
            self.violations.add("stuck: " + ", ".join(self.names[i] for i in running))

    def next_operation(self, i: int, state: State) -> Operation | Goto | tuple[Hashable]:
        """Return the operation, or the result in a tuple of one, by running the function again from its state."""
        local = state.threads[i]
        assert isinstance(local, Local)
        key = (i, local.state, local.results)
        if key not in self.next_cache:
            generator = self.bodies[i](local.state)
            try:
                operation = next(generator)
                for result in local.results:
                    operation = generator.send(result)
            except StopIteration as end:
                self.next_cache[key] = end.value if isinstance(end.value, Goto) else (end.value,)
            else:
                self.next_cache[key] = operation
        return self.next_cache[key]

    def deaths(self, i: int, state: State) -> Iterator[State]:
        local = state.threads[i]
        if self.names[i] in self.program.mortal and isinstance(local, Local):
            yield state._replace(threads=_set(state.threads, i, Ended("died", local.view, is_dead=True)))

    # One case for each operation.
    def step(  # noqa: C901, PLR0912
        self, i: int, operation: Operation | Goto | tuple[Hashable], state: State
    ) -> Iterator[State]:
        local = state.threads[i]
        assert isinstance(local, Local)
        match operation:
            case Goto(goal):
                yield state._replace(threads=_set(state.threads, i, Local(goal, (), local.view)))
            case Load(word, order):
                yield from self.loads(i, self.word_index[word], order, state)
            case Store(word, value, order):
                yield from self.stores(i, self.word_index[word], value, order, state)
            case Exchange(word, value, order):
                yield from self.exchanges(i, self.word_index[word], value, order, state)
            case CompareExchange():
                yield from self.compare_exchanges(i, operation, state)
            case Read(place):
                yield from self.plain(i, self.place_index[place], None, state)
            case Write(place, value):
                yield from self.plain(i, self.place_index[place], (value,), state)
            case SleepWhile(word, value):
                if state.words[self.word_index[word]][-1].value != value:
                    yield self.resumed(i, None, local.view, state)
            case HasEnded(name):
                other = state.threads[self.names.index(name)]
                if isinstance(other, Ended):
                    yield self.resumed(i, True, _join(local.view, other.view), state)
                else:
                    yield self.resumed(i, False, local.view, state)
            case Lives(name):
                other = state.threads[self.names.index(name)]
                if isinstance(other, Ended) and other.is_dead:
                    yield self.resumed(i, False, _join(local.view, other.view), state)
                else:
                    yield self.resumed(i, True, local.view, state)
            case (result,):
                yield state._replace(threads=_set(state.threads, i, Ended(result, local.view, is_dead=False)))

    def resumed(self, i: int, result: Hashable, view: View, state: State) -> State:
        local = state.threads[i]
        assert isinstance(local, Local)
        return state._replace(threads=_set(state.threads, i, Local(local.state, (*local.results, result), view)))

    def first_readable(self, i: int, word: int, order: Order, state: State) -> int:
        return max(state.threads[i].view[word], state.sc[word] if order.is_sc else 0)

    def read(self, i: int, word: int, at: int, order: Order, state: State) -> tuple[View, State]:
        """Return the thread's view, and the state, after it has read message `at`."""
        view = _set(state.threads[i].view, word, at)
        if order.acquires:
            view = _join(view, state.words[word][at].view)
        if order.is_sc:
            state = state._replace(sc=_set(state.sc, word, max(state.sc[word], at)))
        return view, state

    def loads(self, i: int, word: int, order: Order, state: State) -> Iterator[State]:
        for at in range(self.first_readable(i, word, order, state), len(state.words[word])):
            view, after = self.read(i, word, at, order, state)
            yield self.resumed(i, state.words[word][at].value, view, after)

    def stores(self, i: int, word: int, value: Hashable, order: Order, state: State) -> Iterator[State]:
        messages = state.words[word]
        for at in range(self.first_readable(i, word, order, state) + 1, len(messages) + 1):
            if at == len(messages) or not messages[at].is_attached:
                view, after = self.inserted(i, word, at, state)
                message = Message(value, view if order.releases else None, is_attached=False)
                yield self.put(i, word, at, message, order, None, view, after)

    def exchanges(
        self, i: int, word: int, value: Hashable, order: Order, state: State, expected: tuple[Hashable] | None = None
    ) -> Iterator[State]:
        messages = state.words[word]
        for at in range(self.first_readable(i, word, order, state), len(messages)):
            if at + 1 < len(messages) and messages[at + 1].is_attached:
                continue
            old = messages[at].value
            if expected is not None and old != expected[0]:
                continue
            view, after = self.read(i, word, at, order, state)
            after = after._replace(threads=_set(after.threads, i, after.threads[i]._replace(view=view)))
            view, after = self.inserted(i, word, at + 1, after)
            # A read-modify-write goes on with the release sequence of what it reads.
            carried = after.words[word][at].view
            published = _join(view, carried) if order.releases else carried
            message = Message(value, published, is_attached=True)
            result = old if expected is None else (True, old)
            yield self.put(i, word, at + 1, message, order, result, view, after)

    def compare_exchanges(self, i: int, operation: CompareExchange, state: State) -> Iterator[State]:
        word = self.word_index[operation.word]
        yield from self.exchanges(i, word, operation.value, operation.order, state, (operation.expected,))
        for at in range(self.first_readable(i, word, operation.failure_order, state), len(state.words[word])):
            value = state.words[word][at].value
            if value != operation.expected:
                view, after = self.read(i, word, at, operation.failure_order, state)
                yield self.resumed(i, (False, value), view, after)

    def inserted(self, i: int, word: int, at: int, state: State) -> tuple[View, State]:
        """Make room for a message: everybody's views count on. Return the storing thread's view of it too."""

        def moved(view: View) -> View:
            return view if view[word] < at else _set(view, word, view[word] + 1)

        if at < len(state.words[word]):
            state = state._replace(
                threads=tuple(thread._replace(view=moved(thread.view)) for thread in state.threads),
                words=tuple(
                    tuple(m if m.view is None else m._replace(view=moved(m.view)) for m in messages)
                    for messages in state.words
                ),
                sc=state.sc if state.sc[word] < at else _set(state.sc, word, state.sc[word] + 1),
            )
        return _set(state.threads[i].view, word, at), state

    def put(
        self, i: int, word: int, at: int, message: Message, order: Order, result: Hashable, view: View, state: State
    ) -> State:
        messages = state.words[word]
        state = state._replace(words=_set(state.words, word, (*messages[:at], message, *messages[at:])))
        if order.is_sc:
            state = state._replace(sc=_set(state.sc, word, max(state.sc[word], at)))
        return self.resumed(i, result, view, state)

    def plain(self, i: int, place: int, value: tuple[Hashable] | None, state: State) -> Iterator[State]:
        view = state.threads[i].view
        before = state.places[place]
        writer, written = before.written
        is_race = view[self.clock + writer] < written
        if value is not None:
            is_race |= any(view[self.clock + reader] < read for reader, read in enumerate(before.read))
        if is_race:
            self.violations.add(f"race on {list(self.place_index)[place]}")
            return
        now = view[self.clock + i] + 1
        view = _set(view, self.clock + i, now)
        if value is None:
            after = before._replace(read=_set(before.read, i, now))
            result: Hashable = before.value
        else:
            after = Place(value[0], (i, now), before.read)
            result = None
        yield self.resumed(i, result, view, state._replace(places=_set(state.places, place, after)))


def with_orders(orders: Mapping[str, Order], **weaker: Order) -> dict[str, Order]:
    """Return the orders with some of them replaced: a mutant."""
    unknown = weaker.keys() - orders.keys()
    if unknown:
        message = f"expected one of {sorted(orders)}, got {sorted(unknown)}"
        raise ValueError(message)
    return {**orders, **weaker}
