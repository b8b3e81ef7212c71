"""The native half of the probe: hooks, sampler and recorder."""

from typing import Any

def gil() -> str:
    """Return what is known of the GIL here: "hooked", "none" (free-threaded), "unavailable".

    Threading: the first call makes a native thread wait for the GIL, for a millisecond or two.
    """

def start(file: int, metadata: bytes, sample_after_ns: int, sample_period_ns: int) -> None:
    """What happens from now on is written to the file descriptor, which belongs to the recording.

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

def stats() -> dict[str, Any]:
    """Return counts of the recording: `events`, `stacks`, `chunks`, `file_bytes`, `write_error` (errno), `lost` (by reason),
    `samples` (`taken`, `late`, `missed`), `pinned_codes`, `loops` (the kinds that are watched)."""

def name_threads() -> None:
    """The recording has the names that `threading` knows now."""

def on_collection(phase: str, info: dict[str, int]) -> None:
    """For `gc.callbacks`: collections of 0.1 ms and more are in the recording."""

def memory_readable() -> int:
    """Return 0 if this process may read its own memory by process_vm_readv, as sampling needs; else the errno."""
