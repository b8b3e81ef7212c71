/* known_threads.h - what the recorder knows of threads, by number: a table bounded by those that live.
 *
 * A thread that has ended is remembered for its name, until its place is needed. Numbers only grow, and may be any.
 *
 * Threads: the recorder's writes, under its lock; others read under that lock, the recorder's thread without.
 */
#ifndef GS_PROBE_KNOWN_THREADS_H
#define GS_PROBE_KNOWN_THREADS_H

#include <stdbool.h>
#include <stdint.h>

/* Half as many again as there can be at a time (threads.c). */
#define GS_KNOWN_THREADS 3072u

typedef struct gs_known_thread {
    uint32_t number; /* 0: no thread */
    uint32_t native_id;
    uint64_t identity;
    char *name; /* NULL: none yet */
    uint8_t loop;
    bool ended;
    int64_t known_since_ns;

    /* Of totals.c. */
    bool has_group;
    uint32_t group;
    uint32_t takes; /* as it was told last; wraps */
    uint64_t held_ns, waited_ns;
    struct gs_group_totals *early;  /* what it did before it had a group */
    struct gs_open_iteration *open; /* of its loop */
} gs_known_thread;

typedef struct gs_known_threads gs_known_threads;

/* NULL: no memory. */
gs_known_threads *gs_known_threads_new(void);
void gs_known_threads_free(gs_known_threads *self);

/* NULL: not known, or not any more. Valid until the next add. */
gs_known_thread *gs_known_threads_find(const gs_known_threads *self, uint32_t number);
/* The thread, which may be new; number is not 0. NULL: GS_KNOWN_THREADS are known, and none has ended. */
gs_known_thread *gs_known_threads_add(gs_known_threads *self, uint32_t number);
/* All in turn: NULL starts, NULL ends. */
gs_known_thread *gs_known_threads_next(gs_known_threads *self, const gs_known_thread *before);

#endif /* GS_PROBE_KNOWN_THREADS_H */
