"""Decides which fault, if any, a connection or a request meets."""

from __future__ import annotations

import asyncio
import collections
import random
from typing import TYPE_CHECKING

from gilscope.bench.sink.faults import Fault, Normal, Protocol, Refuse, TooLarge, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Schedule:
    """The faults in force, how often each is still due, and the seeded generator of the random ones.

    The same faults, seed and sequence of requests give the same choices.

    Attributes:
        faults: What is in force, in order.
        applied: How often each kind has happened since the last `set`.
        replaced: Set, and replaced by a fresh event, when the faults change; who is held by a fault of the listener
            waits for it.

    Threading: the event loop's thread only.
    """

    def __init__(self) -> None:
        self.faults: tuple[Fault, ...] = ()
        self.applied: collections.Counter[str] = collections.Counter()
        self.replaced = asyncio.Event()
        self.set((), seed=0)

    def set(self, faults: Sequence[Fault], *, seed: int) -> None:
        """Puts the faults in force in place of all earlier ones; requests and connections count from 1 again."""
        self.faults = tuple(faults)
        self.applied = collections.Counter()
        self._left = [fault.times for fault in self.faults]
        self._random = random.Random(seed)
        self._requests: collections.Counter[Protocol] = collections.Counter()
        self._connections = 0
        self.replaced.set()
        self.replaced = asyncio.Event()

    @property
    def refuse(self) -> Refuse | None:
        """The standing order to refuse connections, if there is one."""
        return next((fault for fault in self.faults if isinstance(fault, Refuse)), None)

    def for_connection(self) -> Fault | None:
        """Returns the fault that a new connection meets, and uses it up by one."""
        self._connections += 1
        eligible = (i for i, fault in enumerate(self.faults) if fault.on_accept)
        return self._choose(eligible, self._connections)

    def for_request(self, protocol: Protocol) -> Fault | None:
        """Returns the fault that a request meets whose headers have come, and uses it up by one.

        `TooLarge` is not among them, because the size is not known yet: see `for_body`.
        """
        self._requests[protocol] += 1
        eligible = (
            i
            for i, fault in enumerate(self.faults)
            if protocol in fault.protocols and not fault.on_accept and not isinstance(fault, (TooLarge, Refuse))
        )
        return self._choose(eligible, self._requests[protocol])

    def for_body(self, protocol: Protocol, wire_bytes: int, decoded_bytes: int) -> TooLarge | None:
        """Returns the limit that a body exceeds, and uses it up by one."""
        for i, fault in enumerate(self.faults):
            if isinstance(fault, TooLarge):
                size_bytes = wire_bytes if fault.measured == "wire" else decoded_bytes
                if size_bytes > fault.limit_bytes and self._is_due(i, self._requests[protocol]):
                    self._use(i)
                    return fault
        return None

    def _choose(self, eligible: Iterable[int], number: int) -> Fault | None:
        weighted: list[int] = []
        weights: list[float] = []
        for i in eligible:
            weight = self.faults[i].weight
            if weight is not None:
                if self._left[i] != 0:
                    weighted.append(i)
                    weights.append(weight)
            elif self._is_due(i, number):
                return self._use(i)
        return self._use(self._random.choices(weighted, weights)[0]) if weighted else None

    def _is_due(self, i: int, number: int) -> bool:
        fault = self.faults[i]
        if self._left[i] == 0 or (fault.at is not None and number not in fault.at):
            return False
        return fault.probability >= 1.0 or self._random.random() < fault.probability

    def _use(self, i: int) -> Fault | None:
        fault = self.faults[i]
        left = self._left[i]
        if left is not None:
            self._left[i] = left - 1
        self.applied[kind_of(fault)] += 1
        return None if isinstance(fault, Normal) and fault.delay_ms == 0.0 else fault
