"""All stalls in the order of time: each by itself, or neighbours together where they are too many to be kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from gilscope.analysis.model import StallGroup

if TYPE_CHECKING:
    from collections.abc import Mapping

# In all groups together: at most one and a half megabytes of a page.
MOST_WEIGHTS = 150_000

# Cause, thread, stack.
Key: TypeAlias = tuple[str, int, int]


@dataclass
class _Group:
    start_ns: int
    end_ns: int
    stalls: int
    weights: dict[Key, int]

    def merge(self, other: _Group) -> None:
        self.start_ns = min(self.start_ns, other.start_ns)
        self.end_ns = max(self.end_ns, other.end_ns)
        self.stalls += other.stalls
        for key, ns in other.weights.items():
            self.weights[key] = self.weights.get(key, 0) + ns


class StallGroups:
    """Keeps what every stall was made of; twice as many stalls in a group whenever it becomes too much."""

    def __init__(self, most_weights: int = MOST_WEIGHTS) -> None:
        """Args: most_weights: times of a stack that are kept, unless one group alone has more."""
        self._most_weights = most_weights
        self._groups: list[_Group] = []
        self._stalls_in_each = 1
        # Of all groups but the last.
        self._weights = 0

    def add(self, start_ns: int, end_ns: int, weights: Mapping[Key, int]) -> None:
        """Keep a stall; they come in the order in which they ended."""
        groups = self._groups
        added = _Group(start_ns, end_ns, 1, {key: ns for key, ns in weights.items() if ns})
        if groups and groups[-1].stalls < self._stalls_in_each:
            groups[-1].merge(added)
            return
        if groups:
            self._weights += len(groups[-1].weights)
        groups.append(added)
        while self._weights > self._most_weights and len(groups) > 1:
            self._halve()

    def _halve(self) -> None:
        groups = self._groups
        for one, other in zip(groups[::2], groups[1::2], strict=False):
            one.merge(other)
        del groups[1::2]
        self._stalls_in_each *= 2
        self._weights = sum(len(group.weights) for group in groups[:-1])

    def told(self, places: Mapping[Key, int], capture_start_ns: int) -> tuple[StallGroup, ...]:
        """Return them as the model has them; `places` are those of the stacks in `Analysis.stall_stacks`."""
        return tuple(
            StallGroup(
                group.start_ns - capture_start_ns,
                group.end_ns - group.start_ns,
                group.stalls,
                tuple((places[key], ns) for key, ns in group.weights.items()),
            )
            for group in self._groups
        )
