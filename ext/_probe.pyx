# cython: language_level=3, binding=False
"""The native half of the probe: conversion, ownership, raising. The work is done in ext/probe."""

import errno
import os
import threading

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t

from probe.probe cimport (
    GS_LOOPS_ASYNCIO,
    GS_LOOPS_UVLOOP,
    gs_frames_readable,
    gs_gil_find,
    gs_now_ns,
    gs_probe_collection,
    gs_probe_config,
    gs_probe_look,
    gs_probe_runs,
    gs_probe_start,
    gs_probe_stats,
    gs_probe_stop,
    gs_recorder_push_name,
    gs_thread,
    gs_thread_next,
)


cdef extern from "Python.h":
    int Py_AddPendingCall(int (*call)(void *) noexcept, void *argument) nogil


# Shorter collections are of the young generation, many a second, and stall nothing.
cdef int64_t _COLLECTION_NS = 100_000
cdef int64_t _collection_start_ns = 0

_LOST = ("ring_full", "no_memory", "write_failed")


def name_threads():
    cdef gs_thread *thread = gs_thread_next(NULL)
    # A snapshot that takes no lock of the application's: `threading` itself reads it so.
    names = {identity: known.name for identity, known in list(threading._active.items())}
    while thread != NULL:
        name = names.get(thread.identity)
        if name is not None:
            text = str(name).encode("utf-8", "replace")
            gs_recorder_push_name(thread.number, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
        thread = gs_thread_next(thread)


cdef int _name_threads(void *unused) noexcept:
    """On the main thread, between two of its instructions. What goes wrong is nobody's business there."""
    if gs_probe_runs():
        try:
            name_threads()
        except BaseException:
            pass
    return 0


cdef void _on_new_thread() noexcept nogil:
    """On the recorder thread. If the interpreter has too much pending already, names come at the end."""
    Py_AddPendingCall(_name_threads, NULL)


def on_collection(str phase, dict info):
    global _collection_start_ns
    if phase == "start":
        _collection_start_ns = gs_now_ns()
    elif gs_now_ns() - _collection_start_ns >= _COLLECTION_NS:
        gs_probe_collection(_collection_start_ns, info["generation"], info["collected"])


def gil():
    return {0: "hooked", errno.ETIMEDOUT: "none"}.get(gs_gil_find(), "unavailable")


def start(int file, bytes metadata, int64_t sample_after_ns, int64_t sample_period_ns):
    cdef gs_probe_config config
    config.recorder.file = file
    config.recorder.metadata = PyBytes_AS_STRING(metadata)
    config.recorder.metadata_bytes = PyBytes_GET_SIZE(metadata)
    config.recorder.on_new_thread = _on_new_thread
    config.sample_after_ns = sample_after_ns
    config.sample_period_ns = sample_period_ns
    error = gs_probe_start(&config)
    if error != 0:
        raise OSError(error, os.strerror(error))


def stop():
    error = gs_probe_stop()
    if error != 0:
        raise OSError(error, os.strerror(error))


def running():
    return gs_probe_runs()


def memory_readable():
    return gs_frames_readable()


def stats():
    cdef gs_probe_stats stats = gs_probe_look()
    kinds = {"asyncio": GS_LOOPS_ASYNCIO, "uvloop": GS_LOOPS_UVLOOP}
    return {
        "events": stats.recorder.events,
        "stacks": stats.recorder.stacks,
        "chunks": stats.recorder.chunks,
        "file_bytes": stats.recorder.file_bytes,
        "write_error": stats.recorder.write_error,
        "lost": {reason: stats.recorder.lost[i + 1] for i, reason in enumerate(_LOST)},
        "samples": {"taken": stats.sampler.taken, "late": stats.sampler.late, "missed": stats.sampler.missed},
        "pinned_codes": stats.pinned_codes,
        "loops": [name for name, kind in kinds.items() if stats.loops & kind],
    }
