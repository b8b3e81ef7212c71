# Mirrors probe.h, and what the binding needs of the headers beside it.
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from "<stdbool.h>" nogil:
    ctypedef bint c_bool "bool"


cdef extern from "core/clock.h" nogil:
    int64_t gs_now_ns()


cdef extern from "probe/recorder.h" nogil:
    ctypedef struct gs_recorder_config:
        int file
        const char *metadata
        size_t metadata_bytes
        void (*on_new_thread)() noexcept nogil

    ctypedef struct gs_recorder_stats:
        uint64_t *lost
        uint64_t events
        uint64_t stacks
        uint64_t file_bytes
        uint64_t chunks
        int write_error

    void gs_recorder_push_name(uint32_t thread, const char *name, size_t bytes)


cdef extern from "probe/stack_sampler.h" nogil:
    ctypedef struct gs_sampler_stats:
        uint64_t taken
        uint64_t late
        uint64_t missed


cdef extern from "probe/threads.h" nogil:
    ctypedef struct gs_thread:
        uint32_t number
        uint64_t identity

    gs_thread *gs_thread_next(const gs_thread *before)


cdef extern from "probe/frames.h" nogil:
    int gs_frames_readable()


cdef extern from "probe/loop_trace.h" nogil:
    enum:
        GS_LOOPS_ASYNCIO
        GS_LOOPS_UVLOOP


cdef extern from "probe/probe.h" nogil:
    ctypedef struct gs_probe_config:
        gs_recorder_config recorder
        int64_t sample_after_ns
        int64_t sample_period_ns

    ctypedef struct gs_probe_stats:
        gs_recorder_stats recorder
        gs_sampler_stats sampler
        uint32_t pinned_codes
        unsigned loops

    c_bool gs_probe_runs()
    void gs_probe_collection(int64_t start_ns, uint32_t generation, uint64_t collected)


# With the GIL.
cdef extern from "probe/gil_trace.h":
    int gs_gil_find()


cdef extern from "probe/probe.h":
    int gs_probe_start(const gs_probe_config *config)
    int gs_probe_stop()
    gs_probe_stats gs_probe_look()
