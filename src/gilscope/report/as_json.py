"""The analysis as JSON: what other programs read.

Times and durations are whole nanoseconds, and their keys end in `_ns`. The keys are:

    format            1; goes up when a key changes its meaning or goes away, and not when one is added
    verdict           one sentence
    facts             argv, python, gil, started_wall_ns, started_ns, duration_ns, threshold_ns, switch_interval_ns,
                      events, complete
    stalled           over all loops: count, total_ns, longest_ns
    findings[]        kind, title, evidence[], remedy, stolen_ns; the one that explains most first
    loops[]           thread, name, kind, iterations{}, parts{}, convoy{}, stalls{}, stall_parts{}, stall_convoy{}
    stalls[]          the worst: thread, loop_name, start_ns, since_start_ns, wall_ns, parts{}, convoy{}, ran, task,
                      waits[start_ns, duration_ns, timeouts, stack, holders[thread, name, stack, ns]],
                      on_cpu[stack, ns], blocked[stack, ns], stopped[stack, ns],
                      collections[thread, name, duration_ns, generation, collected]
    stall_stacks[]    cause, thread_name, stack, ns; they sum up to stalled.total_ns
    threads[]         thread, native_id, name, loop, held_ns, waited_ns, takes, forced, longest_hold_ns, runs{},
                      waits{}, holds{}
    exports           null, or requests, requests_not_accepted, sent_spans, sent_bytes, refused_spans,
                      longest_request_ns, queued_most_spans, exported_spans, dropped_spans, failed_spans
    intervals         null, or blocks, block_ns, and [low, high] at 95 %: stalls_per_minute, stalled_share,
                      iteration_p99_ns; longest_ns is the range of the blocks' own
    unseen            lost{}, samples{}, samples_too_late, truncated_stacks, not_sampled_ns, unattributed_ns,
                      unknown_holder_ns, clock_error_ns, contradicted_ns, forgotten, unnamed[], problems[]

    percentiles       (iterations, stalls, runs, waits, holds) count, total_ns, p50_ns, p90_ns, p99_ns, p999_ns, max_ns
    parts             wall_ns, gil_wait_ns, held_by[thread, name, ns], handing_over_ns, unknown_holder_ns, on_cpu_ns,
                      off_cpu_ns, blocked_ns, no_core_ns, unattributed_ns, clock_error_ns
    convoy            shape, waits, wait_ns, mean_wait_ns, longest_wait_ns, interval_waits, takes, iterations,
                      takes_per_iteration
    stack             frames[function, file, line, first_line], innermost first; truncated
    ran, task         a frame, and the name of an asyncio task, or null

What each means is in the docstrings of `gilscope.analysis.model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from gilscope.analysis.model import Convoy, Parts, Stall
from gilscope.capture import Frame, Stack

if TYPE_CHECKING:
    from gilscope.analysis.model import Analysis

FORMAT = 1

# What a reader would have to compute, and may well get wrong.
_DERIVED = {
    Parts: ("gil_wait_ns", "off_cpu_ns"),
    Convoy: ("mean_wait_ns", "takes_per_iteration"),
    Stall: ("wall_ns",),
}

# What stalls were made of, one by one, would be most of the file.
_LEFT_OUT = frozenset({"stall_groups"})


def to_dict(analysis: Analysis) -> dict[str, Any]:
    """Return the analysis as dicts, lists, strings and numbers."""
    stalled = {
        "count": analysis.stall_count,
        "total_ns": analysis.stalled_ns,
        "longest_ns": analysis.longest_stall_ns,
    }
    return {"format": FORMAT, "stalled": stalled, **_plain(analysis)}


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever the model is made of
    if isinstance(value, Stack):
        return {"frames": [_plain(frame) for frame in value.frames], "truncated": value.truncated}
    if isinstance(value, Frame):
        code = value.code
        return {"function": code.name, "file": code.file, "line": value.line, "first_line": code.first_line}
    if is_dataclass(value):
        names = (*(field.name for field in fields(value)), *_DERIVED.get(type(value), ()))
        return {name: _plain(getattr(value, name)) for name in names if name not in _LEFT_OUT}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value
