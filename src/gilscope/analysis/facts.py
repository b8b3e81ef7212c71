"""What a capture says of itself, whatever in it is missing or of the wrong kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gilscope.analysis.model import Facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gilscope.analysis.model import Recorded

# CPython's and the recording's own defaults.
_SWITCH_INTERVAL_NS = 5_000_000
_THRESHOLD_NS = 20_000_000


def positive(mapping: Mapping[str, Any], name: str, default: int = 0) -> int:
    """Return a number above zero, or the default if there is none under that name."""
    value = mapping.get(name)
    return value if isinstance(value, int) and value > 0 else default


def counts(mapping: Mapping[str, Any], name: str) -> dict[str, int]:
    """Return the counts above zero in a mapping of a mapping."""
    inner = mapping.get(name)
    return {key: positive(inner, key) for key in inner if positive(inner, key)} if isinstance(inner, dict) else {}


def switch_interval_ns(metadata: Mapping[str, Any]) -> int:
    """Return the interpreter's switch interval."""
    return positive(metadata, "switch_interval_ns", _SWITCH_INTERVAL_NS)


def threshold_ns(metadata: Mapping[str, Any]) -> int:
    """Return from which length on an iteration is a stall."""
    return positive(metadata, "stall_threshold_ns", _THRESHOLD_NS)


def started_ns(metadata: Mapping[str, Any]) -> int:
    """Return when the recording started, on its own clock; 0 where it does not say."""
    return positive(metadata, "started_monotonic_ns")


def facts(capture: Recorded, threshold_ns: int, events: int, first_ns: int, last_ns: int) -> Facts:
    """Return what was recorded.

    Args:
        capture: read to its end.
        threshold_ns: from which length on an iteration is a stall.
        events: how many were read.
        first_ns: when the first of them started.
        last_ns: when the last of them ended.
    """
    metadata, argv = capture.metadata, capture.metadata.get("argv")
    started = started_ns(metadata) or first_ns
    ended = positive(capture.end or {}, "ended_monotonic_ns", last_ns)
    return Facts(
        argv=tuple(map(str, argv)) if isinstance(argv, (list, tuple)) else (),
        python=str(metadata.get("python", "")),
        gil=str(metadata.get("gil", "")),
        started_wall_ns=positive(metadata, "started_wall_ns"),
        started_ns=started,
        duration_ns=max(0, ended - started),
        threshold_ns=threshold_ns,
        switch_interval_ns=switch_interval_ns(metadata),
        events=events,
        complete=capture.end is not None,
    )
