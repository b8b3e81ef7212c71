# cython: language_level=3, binding=False, freethreading_compatible=True
"""The native half of the probe: conversion, ownership, raising. The work is done in ext/probe."""

import errno
import os
import sys
import threading

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from probe.probe cimport (
    GS_EXPORT_OBSERVER_CAPSULE,
    GS_GROUPS,
    GS_HANDING_OVER,
    GS_HISTOGRAM_BUCKETS,
    GS_LOOPS_ASYNCIO,
    GS_LOOPS_UVLOOP,
    GS_MAX_WAITS,
    GS_NAME_BYTES,
    gs_code_copy,
    gs_deadline_after,
    gs_frames_readable,
    gs_gil_find,
    gs_group_totals,
    gs_histogram,
    gs_histogram_limit,
    gs_now_ns,
    gs_probe_collection,
    gs_probe_config,
    gs_probe_export,
    gs_probe_iteration,
    gs_probe_look,
    gs_probe_runs,
    gs_probe_start,
    gs_probe_stats,
    gs_probe_stop,
    gs_probe_task,
    gs_recorder_describe,
    gs_recorder_dump,
    gs_recorder_push_name,
    gs_recorder_thread,
    gs_stall,
    gs_stall_stack,
    gs_thread,
    gs_thread_next,
    gs_totals_group,
    gs_totals_next_stall,
    gs_totals_stalls_forgotten,
    gs_totals_waits,
    gs_totals_wake_all,
    gs_wait_totals,
)


cdef extern from "Python.h":
    int Py_AddPendingCall(int (*call)(void *) except -1, void *argument) nogil
    int Py_IsInitialized() nogil
    int PY_VERSION_HEX


# Shorter collections are of the young generation, many a second, and stall nothing.
cdef int64_t _COLLECTION_NS = 100_000
cdef int64_t _collection_start_ns = 0

# In a watch somebody takes the GIL for each stall that is told, before 3.13.
cdef int64_t _TELL_NS = 100_000_000

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


cdef int _name_threads(void *unused) except -1:
    """On the main thread, between two of its instructions. What goes wrong is nobody's business there, but for what a
    signal handler raises meanwhile (KeyboardInterrupt)."""
    if gs_probe_runs():
        try:
            name_threads()
        except Exception:
            pass
    return 0


cdef void _ask_main_thread(int (*call)(void *) except -1, void *argument) noexcept nogil:
    """Our threads outlive the interpreter: in one that has ended there is no list of pending calls."""
    if Py_IsInitialized():
        Py_AddPendingCall(call, argument)


cdef void _on_new_thread() noexcept nogil:
    """On the recorder thread. If the interpreter has too much pending already, names come at the end."""
    _ask_main_thread(_name_threads, NULL)


def on_collection(str phase, dict info):
    global _collection_start_ns
    if phase == "start":
        _collection_start_ns = gs_now_ns()
    elif gs_now_ns() - _collection_start_ns >= _COLLECTION_NS:
        gs_probe_collection(_collection_start_ns, info["generation"], info["collected"])


def export_observer():
    return PyCapsule_New(<void *>gs_probe_export, GS_EXPORT_OBSERVER_CAPSULE, NULL)


def gil():
    return {0: "hooked", errno.ETIMEDOUT: "none"}.get(gs_gil_find(), "unavailable")


cdef object _stall_hook = None
cdef int64_t _stall_ns = 0


def _tell_task():
    """What runs in a loop that a program has made without asyncio has no task."""
    asyncio = sys.modules.get("asyncio")
    task = None if asyncio is None else asyncio.current_task()
    if task is not None:
        name = str(task.get_name()).encode("utf-8", "replace")
        gs_probe_task(PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))


cdef int _tell_stall(void *threshold_ns) except -1:
    """On the main thread, between two of its instructions: in the middle of the stall, if that is still on."""
    cdef int64_t start_ns = 0
    cdef uint64_t gil_wait_ns = 0
    if gs_probe_iteration(&start_ns, &gil_wait_ns):
        elapsed_ns = gs_now_ns() - start_ns
        if elapsed_ns >= <int64_t>threshold_ns:
            try:
                _tell_task()
            except Exception:
                pass
            if _stall_hook is not None:
                try:
                    _stall_hook(elapsed_ns, gil_wait_ns)
                except Exception:
                    pass
    return 0


cdef void _on_stall() noexcept nogil:
    """On the sampler's thread."""
    _ask_main_thread(_tell_stall, <void *>_stall_ns)
    if PY_VERSION_HEX < 0x030D0000:
        # Before 3.13 the main thread looks for calls only after it has taken the GIL: somebody has to ask for it.
        gs_totals_wake_all()


def start(
        int file, bytes metadata, *, int64_t sample_after_ns, int64_t sample_period_ns, int64_t samples_per_iteration=8,
        bint detailed=False, int64_t stall_threshold_ns=0, bint totals=False, stall_hook=None):
    global _stall_hook, _stall_ns
    cdef gs_probe_config config
    _stall_hook = stall_hook
    _stall_ns = stall_threshold_ns
    config.recorder.file = file
    config.recorder.totals_threshold_ns = stall_threshold_ns if totals else 0
    config.recorder.metadata = PyBytes_AS_STRING(metadata)
    config.recorder.metadata_bytes = PyBytes_GET_SIZE(metadata)
    config.recorder.on_new_thread = _on_new_thread
    config.sampler.after_ns = sample_after_ns
    config.sampler.period_ns = sample_period_ns
    config.sampler.per_iteration = samples_per_iteration
    config.sampler.detailed = detailed
    config.sampler.stall_ns = stall_threshold_ns
    config.sampler.on_stall = _on_stall
    if totals and stall_hook is None:
        config.sampler.on_stall = NULL
    config.sampler.tell_ns = _TELL_NS if totals else 0
    error = gs_probe_start(&config)
    if error != 0:
        raise OSError(error, os.strerror(error))


def stop():
    global _stall_hook
    _stall_hook = None
    error = gs_probe_stop()
    if error != 0:
        raise OSError(error, os.strerror(error))


def running():
    return gs_probe_runs()


def dump(int file):
    with nogil:
        error = gs_recorder_dump(file)
    if error != 0:
        raise OSError(error, os.strerror(error))


def thread(uint32_t number):
    cdef uint32_t native_id = 0
    cdef char name[GS_NAME_BYTES + 1]
    if not gs_recorder_thread(number, &native_id, name):
        return None
    return native_id, name.decode("utf-8", "replace")


cdef object _lengths(const gs_histogram *histogram):
    return [(gs_histogram_limit(bucket), histogram.count[bucket])
            for bucket in range(GS_HISTOGRAM_BUCKETS) if histogram.count[bucket] != 0]


def groups():
    cdef gs_group_totals *totals = <gs_group_totals *>malloc(sizeof(gs_group_totals))
    cdef uint32_t group = 0
    if totals == NULL:
        raise MemoryError
    found = {}
    try:
        for group in range(GS_GROUPS):
            if gs_totals_group(group, totals):
                found[group] = {
                    "name": totals.name.decode("utf-8", "replace"),
                    "takes": totals.takes,
                    "held_ns": totals.held_ns,
                    "waited_ns": totals.waited_ns,
                    "forced": totals.forced,
                    "hold_lengths": _lengths(&totals.hold_lengths),
                    "wait_lengths": _lengths(&totals.wait_lengths),
                    "iterations": totals.iterations,
                    "iteration_ns": totals.iteration_ns,
                    "on_cpu_ns": totals.on_cpu_ns,
                    "gil_wait_ns": totals.gil_wait_ns,
                    "stalls": totals.stalls,
                    "stall_ns": totals.stall_ns,
                    "iteration_lengths": _lengths(&totals.iteration_lengths),
                }
    finally:
        free(totals)
    return found


def waits():
    cdef gs_wait_totals *totals = <gs_wait_totals *>malloc(GS_MAX_WAITS * sizeof(gs_wait_totals))
    if totals == NULL:
        raise MemoryError
    try:
        return [(totals[i].waiter, None if totals[i].holder == GS_HANDING_OVER else totals[i].holder,
                 totals[i].waited_ns, totals[i].waits)
                for i in range(gs_totals_waits(totals, GS_MAX_WAITS))]
    finally:
        free(totals)


cdef object _stack(const gs_stall_stack *stack):
    cdef gs_code_copy code
    cdef uint32_t line = 0
    frames = []
    for i in range(stack.frame_count):
        if gs_recorder_describe(&stack.frames[i], &code, &line):
            frames.append((code.name.decode("utf-8", "replace"), code.file.decode("utf-8", "replace"), line))
    return {"thread": stack.thread, "ns": stack.ns, "frames": frames}


def next_stall(double timeout_seconds):
    cdef gs_stall stall
    cdef int64_t deadline_ns = gs_deadline_after(gs_now_ns(), <int64_t>(timeout_seconds * 1e9))
    # Without letting go of the GIL first: to get it back from a busy loop takes 5 ms, and costs the loop more.
    there = gs_totals_next_stall(&stall, 0)
    if not there and timeout_seconds > 0:
        with nogil:
            there = gs_totals_next_stall(&stall, deadline_ns)
    if not there:
        return None
    return {
        "thread": stall.thread,
        "start_ns": stall.start_ns,
        "duration_ns": stall.duration_ns,
        "on_cpu_ns": stall.on_cpu_ns,
        "gil_wait_ns": stall.gil_wait_ns,
        "holders": [_stack(&stall.holders[i]) for i in range(stall.holder_count)],
        "own": _stack(&stall.own) if stall.own.frame_count > 0 else None,
    }


def wake():
    gs_totals_wake_all()


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
        "stalls_forgotten": gs_totals_stalls_forgotten(),
        "loops": [name for name, kind in kinds.items() if stats.loops & kind],
    }
