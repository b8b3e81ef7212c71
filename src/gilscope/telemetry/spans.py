"""Stalls as events of the span in whose work they happened."""

from __future__ import annotations

import sys

from opentelemetry import trace

_NS_PER_MS = 1e6


def add_stall_event(elapsed_ns: int, gil_wait_ns: int) -> None:
    """The current span has an event `gilscope.stall`, if it is recording.

    The event's time is in the middle of the stall, when it had lasted for `gilscope.stall.elapsed_ms`; by its end the
    span may be over. It is left out where the stall is met inside of the SDK's own code.

    Threading: the main thread, between any two instructions of whatever runs there.
    """
    span = trace.get_current_span()
    if span.is_recording() and not _inside(("opentelemetry.sdk", type(span).__module__)):
        span.add_event(
            "gilscope.stall",
            {
                "gilscope.stall.elapsed_ms": elapsed_ns / _NS_PER_MS,
                "gilscope.stall.gil_wait_ms": gil_wait_ns / _NS_PER_MS,
            },
        )


def _inside(packages: tuple[str, ...]) -> bool:
    """Return whether one of them is being called, and may have locked the span: adding would wait for itself."""
    frame = sys._getframe(1)  # noqa: SLF001  # there is no other way to look without making a list of all frames
    while (outer := frame.f_back) is not None:
        if str(outer.f_globals.get("__name__")).startswith(packages):
            return True
        frame = outer
    return False
