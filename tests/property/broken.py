"""Objects that no encoder should ever meet, and every encoder does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn
from unittest.mock import MagicMock, Mock


class RaisingText:
    """Its `__str__`, `__repr__`, `__index__`, `__bool__` and every attribute raise."""

    def __str__(self) -> NoReturn:
        raise ZeroDivisionError

    __repr__ = __str__
    __index__ = __str__
    __bool__ = __str__

    def __getattr__(self, name: str) -> NoReturn:
        raise ZeroDivisionError(name)


class Liar(Sequence[Any]):
    """A sequence that says it is long and ends early, with an exception."""

    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, index: Any) -> Any:
        if index < 3:
            return index
        raise ZeroDivisionError


class Endless(Mapping[str, Any]):
    """A mapping whose items are no pairs, and never end."""

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        return iter("a")

    def __getitem__(self, key: str) -> str:
        return key

    def items(self) -> Any:
        """Return an endless iterator over numbers."""
        return iter(int, 1)


class Changing(dict[str, Any]):
    """A dict that empties itself while its items are read."""

    def items(self) -> Any:
        """Yield what is there, and take it away."""
        for key in list(self):
            yield key, self.pop(key)


class Emptying:
    """Its `__str__` empties the container that it lies in."""

    def __init__(self, container: Any) -> None:
        self.container = container

    def __str__(self) -> str:
        self.container.clear()
        return "emptied"


class Growing:
    """Its `__str__` puts another of its kind into the container that it lies in."""

    def __init__(self, container: Any) -> None:
        self.container = container

    def __str__(self) -> str:
        if isinstance(self.container, list):
            self.container.append(len(self.container))
        else:
            self.container[f"more {len(self.container)}"] = Growing(self.container)
        return "grown"


class Impostor:
    """Says that it is a str."""

    @property  # type: ignore[misc] # mocks with a spec do the same
    def __class__(self) -> Any:
        return str

    def __str__(self) -> str:
        return "impostor"


def recursive_list() -> list[Any]:
    """Return a list that contains itself twice: without a check that is 2 ** 47 items."""
    items: list[Any] = ["start"]
    items += [items, items]
    return items


def recursive_dict() -> dict[str, Any]:
    """Return a dict that contains itself, through a list."""
    items: dict[str, Any] = {"a": 1}
    items["b"] = [items]
    return items


def emptied(container: Any) -> Any:
    """Return a container that is emptied while it is written."""
    item = Emptying(container)
    if isinstance(container, list):
        container.extend([1, item, 2, 3])
    else:
        container.update(a=1, b=item, c=2, d=3)
    return container


def grown(container: Any) -> Any:
    """Return a container that grows while it is written; a list of one such item ends, a dict of them never would."""
    item = Growing(container)
    if isinstance(container, list):
        container.append(item)
    else:
        container["a"] = item
    return container


# Made anew for each test, since some change when they are read.
VALUES: dict[str, Callable[[], Any]] = {
    "lone surrogate": lambda: "a\ud800b",
    "surrogate pair in two": lambda: "\ud83d\ude00",
    "surrogate and emoji": lambda: "\udfff\U0001f600",
    "int of 64 bits": lambda: 2**63,
    "negative int of 65 bits": lambda: -(2**64),
    "int of 100,000 bits": lambda: 1 << 100_000,
    "object": object,
    "class": lambda: dict,
    "complex": lambda: 1j,
    "set": lambda: {1},
    "raising": RaisingText,
    "impostor": Impostor,
    "mock": Mock,
    "magic mock": MagicMock,
    "mock of a str": lambda: MagicMock(spec=str),
    "mock of a dict": lambda: MagicMock(spec=dict),
    "sequence that lies": Liar,
    "mapping without an end": Endless,
    "mapping that changes": lambda: [object(), Changing(a=1, b=2)],
    "list that contains itself": recursive_list,
    "dict that contains itself": recursive_dict,
    "list that is emptied": lambda: emptied([]),
    "dict that is emptied": lambda: emptied({}),
    "list that grows": lambda: grown([]),
    "dict that grows": lambda: grown({}),
    "key that raises": lambda: {RaisingText: 1, "a": RaisingText()},
    "exception": lambda: ValueError("wrong"),
    "generator": lambda: (number for number in range(3)),
    "very deep list": lambda: deep(5000),
}


def deep(levels: int) -> list[Any]:
    """Return a list in a list in a list."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value
