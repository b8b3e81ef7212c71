/* totals.h - what the events add up to while the probe is always on: counters, histograms, and the stalls one by one.
 *
 * They are kept for ever, so they are of groups of threads (thread_groups.h): what a thread does counts for the group of the
 * name that it has then. Before it has one it is kept apart for two seconds at most, then it is "(unnamed)". Totals only grow,
 * also when threads end or are renamed, so that whoever reads them now and then misses nothing. A wait is divided among those
 * who had the GIL meanwhile: runs (events.h) come before the waits that they overlap, in the true order.
 *
 * Threads: add, named, ended, settle by the recorder thread, the others by any. All take one lock, for microseconds.
 * fork: gs_totals_start makes everything new.
 */
#ifndef GS_PROBE_TOTALS_H
#define GS_PROBE_TOTALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "events.h"
#include "histogram.h"
#include "known_threads.h"
#include "thread_groups.h"

typedef struct gs_group_totals {
    char name[GS_NAME_BYTES + 1];
    /* From here on sums, all of 64 bits. */
    uint64_t takes, held_ns, waited_ns, forced;
    gs_histogram hold_lengths, wait_lengths;
    /* Of its loops. */
    uint64_t iterations, iteration_ns, on_cpu_ns, gil_wait_ns;
    uint64_t stalls, stall_ns;
    gs_histogram iteration_lengths;
} gs_group_totals;

#define GS_HANDING_OVER GS_GROUPS /* nobody had it */
#define GS_MAX_WAITS    (GS_GROUPS * (GS_GROUPS + 1))
typedef struct gs_wait_totals {
    uint32_t waiter, holder; /* groups; the holder may be GS_HANDING_OVER */
    uint64_t waited_ns, waits;
} gs_wait_totals;

#define GS_STALL_HOLDERS 4u
#define GS_STALL_FRAMES  48u
typedef struct gs_stall_stack {
    uint64_t ns; /* what this stack took of the stall */
    uint32_t thread;
    uint32_t frame_count;
    gs_raw_frame frames[GS_STALL_FRAMES];
} gs_stall_stack;

typedef struct gs_stall {
    uint32_t thread;
    int64_t start_ns;
    uint64_t duration_ns, on_cpu_ns, gil_wait_ns;
    uint32_t holder_count; /* by what they took, largest first */
    gs_stall_stack holders[GS_STALL_HOLDERS];
    gs_stall_stack own; /* the loop's own longest: blocked, or seen by the sampler; without a GIL, the first seen */
} gs_stall;

/* 0 or ENOMEM. Stalls are iterations of at least `threshold_ns`. The threads are those that events will be about. */
int gs_totals_start(int64_t threshold_ns, gs_known_threads *threads);
void gs_totals_add(const gs_event *event, const gs_raw_frame *frames);
/* A thread has got a name, or another one. */
void gs_totals_named(gs_known_thread *thread);
/* There will be no more events of a thread, but for a run that ends late. */
void gs_totals_ended(gs_known_thread *thread);
/* Twice a second or so: threads that are without a name for long are "(unnamed)", and waits for them are counted. `all`: so
 * is everything else, at the end. */
void gs_totals_settle(int64_t now_ns, bool all);

/* Copies the totals of a group, of GS_GROUPS. False: there is no thread in it yet. */
bool gs_totals_group(uint32_t group, gs_group_totals *to);
/* Copies: returns how many there are; `room` at most, GS_MAX_WAITS is enough. */
size_t gs_totals_waits(gs_wait_totals *to, size_t room);

/* The next stall: true; false at the deadline, or when gs_totals_wake_all is called. Blocks, without the GIL. Stalls that
 * nobody fetches are counted and forgotten, oldest first. */
bool gs_totals_next_stall(gs_stall *stall, int64_t deadline_ns);
void gs_totals_wake_all(void);
uint64_t gs_totals_stalls_forgotten(void);

#endif /* GS_PROBE_TOTALS_H */
