/* tick_clock.h - CLOCK_MONOTONIC in nanoseconds for half the price, for hooks that ask it 40 times a request.
 *
 * Between two readings of the clock, a millisecond apart or more, the processor's own counter says how much later it is:
 * to 10 ns, for how fast it counts has been measured against the clock. Nothing adds up: at each reading it starts anew.
 * It is used where the kernel keeps its own time by it (its clock source is "tsc": constant, never stopping, and the same
 * on all cores); elsewhere every call reads the clock.
 *
 * What it says never goes back, and may differ from a reading of the clock by the error above.
 * Threads: any, one at a time.
 */
#ifndef GS_PROBE_TICK_CLOCK_H
#define GS_PROBE_TICK_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

typedef struct gs_tick_clock {
    uint64_t anchor_ticks; /* the counter */
    int64_t anchor_ns;     /* the clock, at the same moment */
    uint64_t far_ticks;    /* this far from the anchor the clock is read again; 0: every time */
    uint64_t ns_per_tick;  /* 32 bits before the point, 32 after it; 0: not known yet */
    int64_t last_ns;       /* what was said last */
    bool is_usable;
} gs_tick_clock;

/* Finds out whether the counter can be used here. Reads a file. */
void gs_tick_clock_init(gs_tick_clock *self);

/* Reads the clock, and measures how fast the counter counts. */
int64_t gs_tick_clock_anchor(gs_tick_clock *self);

static inline uint64_t gs_ticks(void) {
#ifdef __x86_64__
    return __builtin_ia32_rdtsc();
#else
    return 0;
#endif
}

/* In the hooks' hot path. */
static inline int64_t gs_tick_clock_ns(gs_tick_clock *self) {
    uint64_t ticks = gs_ticks() - self->anchor_ticks;
    int64_t now_ns = ticks < self->far_ticks ? self->anchor_ns + (int64_t)(ticks * self->ns_per_tick >> 32)
                                             : gs_tick_clock_anchor(self);
    self->last_ns = now_ns > self->last_ns ? now_ns : self->last_ns;
    return self->last_ns;
}

#endif /* GS_PROBE_TICK_CLOCK_H */
