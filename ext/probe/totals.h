/* totals.h - what the events add up to while the probe is always on: counters, histograms, and the stalls one by one.
 *
 * Totals only grow, also when threads end, so that whoever reads them now and then misses nothing. A wait is divided among
 * those who had the GIL meanwhile: runs (events.h) come before the waits that they overlap, in the true order.
 *
 * Threads: gs_totals_add by the recorder thread, the others by any. All take one lock, for microseconds.
 * fork: gs_totals_start makes everything new.
 */
#ifndef GS_PROBE_TOTALS_H
#define GS_PROBE_TOTALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "events.h"

/* Log-linear: 64 buckets for every doubling, so a value is known to 1.6 %. */
#define GS_HISTOGRAM_BUCKETS 3776u
typedef struct gs_histogram {
    uint64_t count[GS_HISTOGRAM_BUCKETS];
} gs_histogram;
uint32_t gs_histogram_bucket(uint64_t value);
/* The largest value of a bucket. */
uint64_t gs_histogram_limit(uint32_t bucket);

#define GS_MAX_LOOPS 16u
typedef struct gs_loop_totals {
    uint32_t thread; /* 0: unused */
    uint64_t iterations, iteration_ns, on_cpu_ns, gil_wait_ns;
    uint64_t stalls, stall_ns;
    gs_histogram iteration_lengths;
} gs_loop_totals;

typedef struct gs_wait_totals {
    uint32_t waiter, holder; /* thread numbers; holder 0: handed over meanwhile, nobody had it */
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
    gs_stall_stack own; /* the loop's own longest: blocked, or seen by the sampler */
} gs_stall;

/* 0 or ENOMEM. Stalls are iterations of at least `threshold_ns`. */
int gs_totals_start(int64_t threshold_ns);
void gs_totals_add(const gs_event *event, const gs_raw_frame *frames);
/* Copies: returns how many there are, `room` at most. */
size_t gs_totals_loops(gs_loop_totals *to, size_t room);
size_t gs_totals_waits(gs_wait_totals *to, size_t room);

/* The next stall: true; false at the deadline, or when gs_totals_wake_all is called. Blocks, without the GIL. Stalls that
 * nobody fetches are counted and forgotten, oldest first. */
bool gs_totals_next_stall(gs_stall *stall, int64_t deadline_ns);
void gs_totals_wake_all(void);
uint64_t gs_totals_stalls_forgotten(void);

#endif /* GS_PROBE_TOTALS_H */
