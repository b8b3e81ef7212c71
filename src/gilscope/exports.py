"""Brings probe and exporter together, so that recordings tell of exports: whichever is loaded second does it.

Neither imports the other; a program that has only one of them pays nothing for the other.

Threading: with the GIL, or whoever imports first; doing it twice does no harm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_observer: object = None
_observe: Callable[[object], None] | None = None


def offer(observer: object) -> None:
    """The observer (a capsule, ext/core/export_observer.h) is given to the exporter, once there is one."""
    global _observer  # noqa: PLW0603  # one in a process
    _observer = observer
    _meet()


def accept(observe: Callable[[object], None]) -> None:
    """The exporter is given the observer, once there is one."""
    global _observe  # noqa: PLW0603  # one in a process
    _observe = observe
    _meet()


def _meet() -> None:
    if _observer is not None and _observe is not None:
        _observe(_observer)
