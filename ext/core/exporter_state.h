/* exporter_state.h - what exporter.c (the callers' side) and export_thread.c (the thread's side) share. Nobody else's.
 *
 * | part                                 | written by                | read by       | protected by                       |
 * |--------------------------------------|---------------------------|---------------|------------------------------------|
 * | config, number                       | new                       | all           | never changes                      |
 * | ring                                 | first push, fork          | all           | release / acquire on the pointer   |
 * | ended, dropped, replaced             | pushing threads           | stats         | relaxed: counts only               |
 * | flush_target, stop_deadline_ns       | flush, shutdown           | thread        | seq_cst: half of the parking order |
 * | phase, waiters, counts, transport    | thread, flush, shutdown   | both          | lock                               |
 * | batch, ends, request_limit, ...      | thread                    | thread        | the thread's own                   |
 */
#ifndef GS_EXPORTER_STATE_H
#define GS_EXPORTER_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "batch.h"
#include "exporter.h"
#include "messages.h"
#include "ring.h"
#include "transport.h"
#include "wake.h"

typedef enum gs_phase {
    GS_PHASE_IDLE = 0, /* no thread yet, in this process */
    GS_PHASE_RUNNING,
    GS_PHASE_ENDED,  /* the thread touches nothing but its transport any more */
    GS_PHASE_CLOSED, /* shut down, and no thread will ever run again */
} gs_phase;

/* One flush that waits; lies on its caller's stack. */
typedef struct gs_flush_waiter {
    uint32_t target; /* done when this record is the oldest one that is not freed */
    bool failed;     /* something before the target was not accepted */
    struct gs_flush_waiter *next;
} gs_flush_waiter;

struct gs_exporter {
    gs_exporter_config config;
    char *config_text; /* the memory behind config.transport's strings */
    uint32_t number;   /* 1, 2, ... in the process */

    _Atomic(gs_ring *) ring; /* NULL until the first push in this process */
    size_t ring_bytes;
    gs_wake wake;
    _Atomic bool stopped;             /* no span is taken any more */
    _Atomic uint32_t generation;      /* forks */
    _Atomic uint32_t flush_target;    /* the thread sends everything before it without waiting for the schedule */
    _Atomic int64_t stop_deadline_ns; /* GS_NEVER: not stopping */
    gs_messages messages;

    /* One cache line for what every push counts. */
    _Alignas(64) _Atomic uint64_t ended;
    _Atomic uint64_t replaced;
    _Atomic uint64_t dropped[GS_DROP_REASONS];

    _Alignas(64) pthread_mutex_t lock;
    pthread_cond_t changed; /* CLOCK_MONOTONIC; broadcast at each freeing and at each change of phase */
    gs_phase phase;
    pthread_t thread;
    clockid_t thread_clock;
    gs_flush_waiter *waiters;
    gs_transport *transport;  /* interrupted by shutdown, under the lock */
    gs_exporter_stats counts; /* the thread's share: exported, failed, requests, ... */

    gs_batch *batch;
    gs_ring_cursor *ends; /* max_batch_spans: the cursor behind each span of the batch */
    uint64_t request_limit_bytes;
    uint64_t random;
    uint8_t *warm_end; /* the ring's pages are there up to this address */

    struct gs_exporter *next; /* all exporters of the process, for fork */
};

/* Whom it tells of each request, or NULL. */
gs_export_observer gs_exporter_observer(void);

/* The thread; `argument` is the exporter. Ends when stopped. */
void *gs_export_thread(void *argument);

/* Counts and frees everything left in the ring as failed because of the shutdown. No thread runs any more; lock held. */
void gs_export_give_up(gs_exporter *self);

#endif /* GS_EXPORTER_STATE_H */
