"""The native half of the probe: hooks, sampler and recorder."""

from collections.abc import Callable
from typing import Any

def gil() -> str:
    """Return what is known of the GIL here: "hooked", "none" (free-threaded), "unavailable".

    Threading: the first call makes a native thread wait for the GIL, for a millisecond or two.
    """

def export_observer() -> object:
    """Return a capsule with the function that exporters tell of their requests (ext/core/export_observer.h)."""

def start(
    file: int,
    metadata: bytes,
    *,
    sample_after_ns: int,
    sample_period_ns: int,
    samples_per_iteration: int = 8,
    detailed: bool = False,
    stall_threshold_ns: int = 0,
    totals: bool = False,
    stall_hook: Callable[[int, int], object] | None = None,
) -> None:
    """What happens from now on is recorded.

    Args:
        file: a descriptor, which belongs to the recording from now on; -1: the last seconds are kept in memory.
        metadata: the first chunk of the capture.
        sample_after_ns: iterations that last longer are sampled.
        sample_period_ns: this often, and five times as seldom at most:
        samples_per_iteration: the pause is what an iteration has lasted, over this.
        detailed: whoever has the GIL is sampled by a loop that has waited for it for half a millisecond, and the
            kernel's counters are read at the first sight of every iteration that may become long.
        stall_threshold_ns: from where an iteration is a stall: the main thread tells which task its loop is in.
        totals: `loops`, `waits`, `next_stall` tell of stalls.
        stall_hook: called as `stall_hook(elapsed_ns, gil_wait_ns)` on the main thread, in the middle of a stall of its
            loop, in the context of what ran then; what it raises is dropped.

    Raises:
        OSError: the recording could not be started; the descriptor is closed.

    Threading: one recording in a process; the caller sees to it.
    """

def stop() -> None:
    """Everything recorded is in the file, the file is closed, and the process is as it was before.

    Raises:
        OSError: the file could not be written, or not to its end.

    Threading: releases the GIL while it waits for the native threads.
    """

def running() -> bool:
    """Return whether a recording runs in this process (not one of the process that it was forked from)."""

def dump(file: int) -> None:
    """The last seconds of a recording without a file are in the file, a complete capture.

    Raises:
        OSError: it could not be written, or the recording has a file.

    Threading: releases the GIL; not while another thread stops the recording.
    """

def stats() -> dict[str, Any]:
    """Return counts of the recording.

    `events`, `stacks`, `chunks`, `file_bytes`, `write_error` (errno), `lost` (by reason), `samples` (`taken`, `late`,
    `missed`), `pinned_codes`, `stalls_forgotten`, `loops` (kinds watched).
    """

def thread(number: int) -> tuple[int, str] | None:
    """Return the native id (0 while unknown) and the name ("" while unknown) of a thread by its number.

    None if it is not known, or has ended long ago.
    """

def groups() -> dict[int, dict[str, Any]]:
    """Return every group of threads' totals; the counters of a second ago at most.

    `name`, `takes`, `held_ns`, `waited_ns`, `forced` (made to let go), and those of its event loops: `iterations`,
    `iteration_ns`, `on_cpu_ns`, `gil_wait_ns`, `stalls`, `stall_ns`. Histograms are `hold_lengths`, `wait_lengths` and
    `iteration_lengths`: (largest ns of the bucket, how many are in it), without empty ones.
    """

def waits() -> list[tuple[int, int | None, int, int]]:
    """Return who waited for whom: (waiter, holder, ns, waits), by groups; None is nobody: handing over."""

def next_stall(timeout_seconds: float) -> dict[str, Any] | None:
    """Return the next stall that nobody has fetched, None after the timeout or a `wake`.

    `thread`, `start_ns` (CLOCK_MONOTONIC), `duration_ns`, `on_cpu_ns`, `gil_wait_ns`; `holders`: up to four, those who
    took most of it first, each `thread`, `ns`, `frames` of (name, file, line), innermost first; `own`: the same of the
    loop's thread, or None.

    Threading: releases the GIL. Of stalls that nobody fetches the last sixteen are kept.
    """

def wake() -> None:
    """Every thread in `next_stall` returns."""

def name_threads() -> None:
    """The recording has the names that `threading` knows now."""

def on_collection(phase: str, info: dict[str, int]) -> None:
    """For `gc.callbacks`: collections of 0.1 ms and more are in the recording."""

def memory_readable() -> int:
    """Return 0 if this process may read its own memory by process_vm_readv, as sampling needs; else the errno."""
