"""A Pipeline in Python with the contract of `gilscope._spans.Pipeline`, for tests of what surrounds it."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable


def observe_exports(observer: object) -> None:
    """Nobody is told."""


class Pipeline:
    """Keeps sampled spans until a flush, which delivers them at once."""

    made: ClassVar[list[Pipeline]] = []

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.on_message: Callable[[int, str, int], None] = settings["on_message"]
        self.queue: list[Any] = []
        self.exported: list[Any] = []
        self.dropped_after_shutdown = 0
        self.flush_timeouts: list[float] = []
        self.shutdown_timeouts: list[float] = []
        self.messages: list[tuple[int, str, int]] = []
        self.reachable = True
        self.stopped = False
        Pipeline.made.append(self)

    def emit(self, span: Any) -> None:
        """Queue it."""
        if not span.context.trace_flags.sampled:
            return
        if self.stopped:
            self.dropped_after_shutdown += 1
        else:
            self.queue.append(span)
        self.drain_messages()

    def force_flush(self, timeout_millis: float) -> bool:
        """Deliver all, if the collector is reachable."""
        self.flush_timeouts.append(timeout_millis)
        self.drain_messages()
        return not self.stopped and self._deliver()

    def shutdown(self, timeout_millis: float) -> bool:
        """Take no more, and deliver all."""
        if self.stopped:
            return False
        self.shutdown_timeouts.append(timeout_millis)
        self.stopped = True
        return self._deliver()

    def _deliver(self) -> bool:
        if self.reachable:
            self.exported += self.queue
            self.queue.clear()
        return self.reachable

    def stats(self) -> dict[str, Any]:
        """Return counts that add up."""
        counts = dict.fromkeys(
            (
                "queued_bytes",
                "requests",
                "retries",
                "splits",
                "request_bytes",
                "sent_bytes",
                "thread_cpu_ns",
                "replaced_values",
            ),
            0,
        )
        return counts | {
            "ended": len(self.queue) + len(self.exported) + self.dropped_after_shutdown,
            "exported": len(self.exported),
            "queued": len(self.queue),
            "dropped": {"shutdown": self.dropped_after_shutdown},
            "failed": {},
        }

    def drain_messages(self) -> None:
        """Pass on what a test has put into `messages`."""
        while self.messages:
            self.on_message(*self.messages.pop(0))


def as_module() -> types.ModuleType:
    """Return a module to put in place of `gilscope._spans`."""
    module = types.ModuleType("gilscope._spans")
    module.Pipeline = Pipeline  # type: ignore[attr-defined]
    module.observe_exports = observe_exports  # type: ignore[attr-defined]
    Pipeline.made = []
    return module
