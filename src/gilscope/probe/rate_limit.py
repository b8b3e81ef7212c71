"""So that a log is not flooded: one message in so many seconds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class RateLimit:
    """Lets one of many through, and knows how many it has held back.

    Threading: one thread.
    """

    def __init__(self, period_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._period_seconds = period_seconds
        self._clock = clock
        self._open_at = -float("inf")
        self._held_back = 0

    def admit(self) -> int | None:
        """Return how many were held back since the one before; None: this one is, too."""
        now = self._clock()
        if now < self._open_at:
            self._held_back += 1
            return None
        held_back, self._held_back, self._open_at = self._held_back, 0, now + self._period_seconds
        return held_back
