"""What the receivers and the control interface of one sink share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gilscope.bench.sink.counts import Counts, Limits
from gilscope.bench.sink.otlp import BodyDecoder
from gilscope.bench.sink.schedule import Schedule

if TYPE_CHECKING:
    from gilscope.bench.sink.settings import Settings


class State:
    """The counts, the faults in force, and how bodies are decoded.

    Attributes:
        counts: Replaced as a whole by `reset_counts`; a request keeps the one that it began in.
    """

    def __init__(self, settings: Settings) -> None:
        self._limits = Limits(records=settings.keep_requests, bodies=settings.keep_bodies, ids=settings.track_ids)
        self.max_body_bytes = settings.max_body_bytes
        self.counts = Counts(self._limits)
        self.schedule = Schedule()
        self.decoder = BodyDecoder(
            max_bytes=settings.max_body_bytes, track_ids=settings.track_ids > 0, validate=settings.validate
        )

    def reset_counts(self) -> None:
        """Starts all counts anew; requests under way count no more."""
        self.counts = Counts(self._limits)
