"""Names of threads, few enough to be labels of metrics: numbers become `*`, and there are at most so many."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_GROUPS = 64
UNNAMED = "(unnamed)"
OTHERS = "(others)"

# "ThreadPoolExecutor-0_3", "asyncio_12", and what `threading` makes of a target: "Thread-7 (work)".
_NUMBER = re.compile(r"\d+(?=$| \()")
# What a terminal, a log or a metrics text would obey instead of showing it.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """Return the text with every character replaced that is there to be obeyed and not to be read."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def group(name: str) -> str:
    """Return the group of a thread: its name, a number at the end as `*`."""
    return _NUMBER.sub("*", printable(name))


class ThreadGroups:
    """Gives each thread a group, for good: what is counted by groups never falls, whatever a thread is called later."""

    def __init__(self) -> None:
        self._groups: dict[int, str] = {}
        self._known: set[str] = set()
        self._nameless: set[int] = set()

    def of(self, names: Mapping[int, str]) -> Mapping[int, str]:
        """Return the group of each of these threads that has one, and of those before.

        A thread whose name is empty may just have begun: it has a group from the second time on that it is asked for.
        """
        nameless = set()
        for thread in names.keys() - self._groups.keys():
            name = names[thread]
            if name or thread in self._nameless:
                self._groups[thread] = self._bounded(group(name) if name else UNNAMED)
            else:
                nameless.add(thread)
        self._nameless = nameless
        return self._groups

    def _bounded(self, name: str) -> str:
        if name not in self._known and len(self._known) == MOST_GROUPS:
            return OTHERS
        self._known.add(name)
        return name
