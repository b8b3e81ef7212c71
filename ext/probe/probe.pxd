# Mirrors probe.h, and what the binding needs of the headers beside it.
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t


cdef extern from "<stdbool.h>" nogil:
    ctypedef bint c_bool "bool"


cdef extern from "core/clock.h" nogil:
    int64_t gs_now_ns()
    int64_t gs_deadline_after(int64_t now_ns, int64_t span_ns)


cdef extern from "core/export_observer.h" nogil:
    const char *GS_EXPORT_OBSERVER_CAPSULE

    ctypedef struct gs_export_told:
        pass


cdef extern from "probe/events.h" nogil:
    ctypedef struct gs_raw_frame:
        uint32_t code
        int32_t position


cdef extern from "probe/frames.h" nogil:
    ctypedef struct gs_code_copy:
        int32_t first_line
        char *name
        char *file

    int gs_frames_readable()


cdef extern from "probe/histogram.h" nogil:
    enum:
        GS_HISTOGRAM_BUCKETS

    ctypedef struct gs_histogram:
        uint64_t *count

    uint64_t gs_histogram_limit(uint32_t bucket)


cdef extern from "probe/totals.h" nogil:
    enum:
        GS_GROUPS
        GS_HANDING_OVER
        GS_MAX_WAITS
        GS_NAME_BYTES

    ctypedef struct gs_group_totals:
        char *name
        uint64_t takes
        uint64_t held_ns
        uint64_t waited_ns
        uint64_t forced
        gs_histogram hold_lengths
        gs_histogram wait_lengths
        uint64_t iterations
        uint64_t iteration_ns
        uint64_t on_cpu_ns
        uint64_t gil_wait_ns
        uint64_t stalls
        uint64_t stall_ns
        gs_histogram iteration_lengths

    ctypedef struct gs_wait_totals:
        uint32_t waiter
        uint32_t holder
        uint64_t waited_ns
        uint64_t waits

    ctypedef struct gs_stall_stack:
        uint64_t ns
        uint32_t thread
        uint32_t frame_count
        gs_raw_frame *frames

    ctypedef struct gs_stall:
        uint32_t thread
        int64_t start_ns
        uint64_t duration_ns
        uint64_t on_cpu_ns
        uint64_t gil_wait_ns
        uint32_t holder_count
        gs_stall_stack *holders
        gs_stall_stack own

    c_bool gs_totals_group(uint32_t group, gs_group_totals *to)
    size_t gs_totals_waits(gs_wait_totals *to, size_t room)
    c_bool gs_totals_next_stall(gs_stall *stall, int64_t deadline_ns)
    void gs_totals_wake_all()
    uint64_t gs_totals_stalls_forgotten()


cdef extern from "probe/recorder.h" nogil:
    ctypedef struct gs_recorder_config:
        int file
        int64_t totals_threshold_ns
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

    int gs_recorder_dump(int file)
    c_bool gs_recorder_thread(uint32_t thread, uint32_t *native_id, char *name)
    c_bool gs_recorder_describe(const gs_raw_frame *frame, gs_code_copy *code, uint32_t *line)
    void gs_recorder_push_name(uint32_t thread, const char *name, size_t bytes)


cdef extern from "probe/stack_sampler.h" nogil:
    ctypedef struct gs_sampler_stats:
        uint64_t taken
        uint64_t late
        uint64_t missed

    ctypedef struct gs_sampler_config:
        int64_t after_ns
        int64_t period_ns
        int64_t per_iteration
        int64_t stall_ns
        int64_t tell_ns
        c_bool detailed
        void (*on_stall)() noexcept nogil


cdef extern from "probe/threads.h" nogil:
    ctypedef struct gs_thread:
        uint32_t number
        uint64_t identity

    gs_thread *gs_thread_next(const gs_thread *before)


cdef extern from "probe/loop_trace.h" nogil:
    enum:
        GS_LOOPS_ASYNCIO
        GS_LOOPS_UVLOOP


cdef extern from "probe/probe.h" nogil:
    ctypedef struct gs_probe_config:
        gs_recorder_config recorder
        gs_sampler_config sampler

    ctypedef struct gs_probe_stats:
        gs_recorder_stats recorder
        gs_sampler_stats sampler
        uint32_t pinned_codes
        unsigned loops

    c_bool gs_probe_runs()
    c_bool gs_probe_iteration(int64_t *start_ns, uint64_t *gil_wait_ns)
    void gs_probe_task(const char *name, size_t bytes)
    void gs_probe_collection(int64_t start_ns, uint32_t generation, uint64_t collected)
    void gs_probe_export(const gs_export_told *told)


# With the GIL.
cdef extern from "probe/gil_trace.h":
    int gs_gil_find()


cdef extern from "probe/probe.h":
    int gs_probe_start(const gs_probe_config *config)
    int gs_probe_stop()
    gs_probe_stats gs_probe_look()
