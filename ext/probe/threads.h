/* threads.h - what the probe knows of each thread that has used the GIL.
 *
 * A thread gets a record when a hook first meets it, and gives it back when it ends; records are never freed, so that a
 * pointer to one stays readable. Numbers are not used again within a recording.
 *
 * Threads: gs_thread_self by any (a hook, under gil.mutex or in a poll); the sampler looks at all of them.
 * Words that the sampler reads are atomic and relaxed: each is right for itself, and a sample that mixes two moments is
 * one that came too late.
 * fork: the child calls gs_threads_forget.
 */
#ifndef GS_PROBE_THREADS_H
#define GS_PROBE_THREADS_H

#include <Python.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "histogram.h"
#include "relaxed.h"

typedef enum gs_thread_use {
    GS_THREAD_FREE = 0,
    GS_THREAD_LIVE,
    GS_THREAD_ENDED, /* the sampler reports its last counters, then frees it */
} gs_thread_use;

/* How long the single holds of a thread were. Told is what the sampler has reported; both run freely. */
typedef struct gs_holds {
    _Atomic uint32_t count[GS_HISTOGRAM_BUCKETS];
    uint32_t told[GS_HISTOGRAM_BUCKETS];
} gs_holds;

typedef struct gs_thread {
    _Atomic uint32_t use;
    uint32_t number; /* from 1 */
    pid_t native_id;
    uint64_t identity;

    /* Written by the thread itself, under gil.mutex but for switched_ns. */
    _Atomic int64_t wait_start_ns; /* 0: does not wait for the GIL */
    int64_t switched_ns;           /* somebody else has had the GIL since this thread was asked to let go; 0: was not */
    int64_t let_go_ns;
    uint32_t timeouts;
    bool wait_was_forced;
    _Atomic uint64_t takes;
    _Atomic uint64_t held_ns;
    _Atomic uint64_t waited_ns;
    gs_holds *holds; /* apart: of a line of it at a time is made use */

    /* Written by the thread itself. */
    _Atomic uint32_t loop;              /* gs_loop_kind */
    _Atomic int64_t iteration_start_ns; /* 0: in the poll, or no loop runs */
    uint64_t waited_before_ns;          /* the counters when the iteration began */
    uint64_t takes_before;
    uint64_t cpu_read_ns;    /* the thread's CPU clock when it was read last */
    uint64_t cpu_assumed_ns; /* what iterations since are taken to have burnt */
    PyThreadState *_Atomic state;
    _Atomic bool has_unkept_code; /* set by the sampler */

    /* The sampler's. */
    int64_t sampled_ns;
    int64_t sampled_iteration_ns;
    int64_t told_iteration_ns;
    uintptr_t outermost; /* frame */
    int64_t scheduled_ns;
    uint64_t told_held_ns; /* with the holds */
    int schedule_file;     /* -1: not open */
} gs_thread;

/* Initial-exec: eight bytes of the room that the linker keeps for libraries loaded late; a call to find the variable
 * would cost more than the hook. */
extern _Thread_local gs_thread *gs_thread_mine __attribute__((tls_model("initial-exec")));
extern _Thread_local uint32_t gs_thread_recording __attribute__((tls_model("initial-exec")));
extern _Atomic uint32_t gs_threads_recording; /* changes under gil.mutex, or in a thread that will look again */

/* The calling thread's first hook in this recording: its record, or NULL. */
gs_thread *gs_thread_begin(void);

/* The calling thread's record; NULL if it cannot have one (too many threads, or it is ending). */
static inline gs_thread *gs_thread_self(void) {
    return gs_thread_recording == gs_load(&gs_threads_recording) ? gs_thread_mine : gs_thread_begin();
}

/* The interpreter's state of the calling thread; NULL while the interpreter ends, which frees those of daemon threads behind
 * their backs. Exact for a thread that has the GIL; one that is without may read what is freed in that very moment. */
PyThreadState *gs_thread_state(void);

/* All records in turn: NULL starts, NULL ends. Those that are free are passed over. */
gs_thread *gs_thread_next(const gs_thread *before);

/* The sampler has seen the last of an ended thread. */
void gs_thread_free(gs_thread *self);

/* A new recording: every thread that a hook meets from now on gets a new record. Under gil.mutex. */
void gs_threads_forget(void);

#endif /* GS_PROBE_THREADS_H */
