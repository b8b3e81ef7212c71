#include "totals.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"

#define SUB_BITS    6u
#define RECENT_RUNS 1024u
#define MAX_WAITS   4096u /* pairs of waiter and holder; power of two */
#define STALLS_KEPT 16u
#define STALL_PARTS 16u /* holders' stacks told apart within one iteration */

struct run {
    uint32_t thread;
    uint32_t frame_count;
    int64_t start_ns, end_ns;
    gs_raw_frame frames[GS_STALL_FRAMES];
};

/* What is known of a loop's iteration before it ends. */
struct unfinished {
    gs_stall_stack holders[STALL_PARTS];
    uint32_t holder_count;
    gs_stall_stack own;
};

static struct totals {
    int64_t threshold_ns;
    gs_loop_totals loops[GS_MAX_LOOPS];
    struct unfinished unfinished[GS_MAX_LOOPS];
    gs_wait_totals waits[MAX_WAITS];
    struct run runs[RECENT_RUNS];
    uint64_t run_count;
    gs_stall stalls[STALLS_KEPT];
    uint64_t stalls_put, stalls_taken, stalls_forgotten;
    uint64_t wakes;
} *totals;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t stalled;

uint32_t gs_histogram_bucket(uint64_t value) {
    if (value < (2u << SUB_BITS)) {
        return (uint32_t)value;
    }
    uint32_t shift = 63u - (uint32_t)__builtin_clzll(value) - SUB_BITS;
    return (shift << SUB_BITS) + (uint32_t)(value >> shift);
}

uint64_t gs_histogram_limit(uint32_t bucket) {
    if (bucket < (2u << SUB_BITS)) {
        return bucket;
    }
    uint32_t shift = (bucket >> SUB_BITS) - 1;
    uint64_t first = (uint64_t)(bucket - (shift << SUB_BITS)) << shift;
    return first + ((UINT64_C(1) << shift) - 1);
}

int gs_totals_start(int64_t threshold_ns) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&stalled, &monotonic);
    pthread_condattr_destroy(&monotonic);
    free(totals);
    totals = calloc(1, sizeof *totals);
    if (totals == NULL) {
        return ENOMEM;
    }
    totals->threshold_ns = threshold_ns;
    return 0;
}

/* GS_MAX_LOOPS: it has none. A thread that is in an iteration is a loop; one that is sampled may only have the GIL. */
static uint32_t loop_of(uint32_t thread, bool is_loop) {
    for (uint32_t i = 0; i < GS_MAX_LOOPS; i++) {
        if (totals->loops[i].thread == 0 && is_loop) {
            totals->loops[i].thread = thread;
        }
        if (totals->loops[i].thread == thread) {
            return i;
        }
    }
    return GS_MAX_LOOPS;
}

static struct unfinished *unfinished_of(uint32_t thread, bool is_loop) {
    uint32_t at = loop_of(thread, is_loop);
    return at == GS_MAX_LOOPS ? NULL : &totals->unfinished[at];
}

static void count_wait(uint32_t waiter, uint32_t holder, uint64_t waited_ns) {
    uint32_t at = (waiter * UINT32_C(2654435761) ^ holder * UINT32_C(40503)) % MAX_WAITS;
    for (uint32_t tries = 0; tries < MAX_WAITS; tries++, at = (at + 1) % MAX_WAITS) {
        gs_wait_totals *pair = &totals->waits[at];
        if (pair->waiter == 0) {
            pair->waiter = waiter;
            pair->holder = holder;
        }
        if (pair->waiter == waiter && pair->holder == holder) {
            pair->waited_ns += waited_ns;
            pair->waits++;
            return;
        }
    }
}

static void keep_frames(gs_stall_stack *to, const gs_raw_frame *frames, uint32_t count) {
    to->frame_count = count < GS_STALL_FRAMES ? count : GS_STALL_FRAMES;
    if (to->frame_count > 0) {
        memcpy(to->frames, frames, to->frame_count * sizeof *frames);
    }
}

static bool same_place(const gs_stall_stack *stack, const struct run *run) {
    return stack->thread == run->thread &&
           (stack->frame_count == 0 || run->frame_count == 0 || stack->frames[0].code == run->frames[0].code);
}

static void add_holder(struct unfinished *to, const struct run *run, uint64_t ns) {
    gs_stall_stack *holder = NULL;
    for (uint32_t i = 0; i < to->holder_count && holder == NULL; i++) {
        holder = same_place(&to->holders[i], run) ? &to->holders[i] : NULL;
    }
    if (holder == NULL) {
        if (to->holder_count == STALL_PARTS) {
            return;
        }
        holder = &to->holders[to->holder_count++];
        *holder = (gs_stall_stack){.thread = run->thread};
    }
    if (holder->frame_count == 0) {
        keep_frames(holder, run->frames, run->frame_count);
    }
    holder->ns += ns;
}

static void add_run(const gs_event *event, const gs_raw_frame *frames) {
    struct run *run = &totals->runs[totals->run_count++ % RECENT_RUNS];
    run->thread = event->thread;
    run->start_ns = event->start_ns;
    run->end_ns = event->start_ns + (int64_t)event->duration_ns;
    run->frame_count = event->frames < GS_STALL_FRAMES ? event->frames : GS_STALL_FRAMES;
    if (run->frame_count > 0) {
        memcpy(run->frames, frames, run->frame_count * sizeof *frames);
    }
}

static void add_wait(const gs_event *event) {
    int64_t start_ns = event->start_ns, end_ns = event->start_ns + (int64_t)event->duration_ns;
    struct unfinished *loop = (event->flags & GS_WAIT_IN_LOOP) != 0 ? unfinished_of(event->thread, true) : NULL;
    uint64_t held_ns = 0;
    uint64_t oldest = totals->run_count > RECENT_RUNS ? totals->run_count - RECENT_RUNS : 0;
    for (uint64_t i = totals->run_count; i > oldest; i--) {
        const struct run *run = &totals->runs[(i - 1) % RECENT_RUNS];
        if (run->end_ns <= start_ns) {
            break;
        }
        int64_t from_ns = run->start_ns > start_ns ? run->start_ns : start_ns;
        int64_t to_ns = run->end_ns < end_ns ? run->end_ns : end_ns;
        if (from_ns < to_ns && run->thread != event->thread) {
            held_ns += (uint64_t)(to_ns - from_ns);
            count_wait(event->thread, run->thread, (uint64_t)(to_ns - from_ns));
            if (loop != NULL) {
                add_holder(loop, run, (uint64_t)(to_ns - from_ns));
            }
        }
    }
    if (held_ns < event->duration_ns) {
        count_wait(event->thread, 0, event->duration_ns - held_ns);
    }
}

static void add_own(const gs_event *event, const gs_raw_frame *frames, uint64_t ns) {
    struct unfinished *loop = unfinished_of(event->thread, event->kind == GS_EVENT_BLOCKED);
    if (loop == NULL || event->frames == 0) {
        return;
    }
    if (loop->own.frame_count > 0 && loop->own.frames[0].code == frames[0].code) {
        loop->own.ns += ns;
    } else if (ns > loop->own.ns || loop->own.frame_count == 0) {
        loop->own = (gs_stall_stack){.thread = event->thread, .ns = ns};
        keep_frames(&loop->own, frames, event->frames);
    }
}

static int by_ns(const void *left, const void *right) {
    const gs_stall_stack *a = left, *b = right;
    return a->ns < b->ns ? 1 : a->ns > b->ns ? -1 : 0;
}

static void add_stall(const gs_event *event, struct unfinished *known) {
    if (totals->stalls_put - totals->stalls_taken == STALLS_KEPT) {
        totals->stalls_taken++;
        totals->stalls_forgotten++;
    }
    gs_stall *stall = &totals->stalls[totals->stalls_put++ % STALLS_KEPT];
    *stall = (gs_stall){.thread = event->thread,
                        .start_ns = event->start_ns,
                        .duration_ns = event->duration_ns,
                        .on_cpu_ns = event->a,
                        .gil_wait_ns = event->b,
                        .own = known->own};
    qsort(known->holders, known->holder_count, sizeof *known->holders, by_ns);
    stall->holder_count = known->holder_count < GS_STALL_HOLDERS ? known->holder_count : GS_STALL_HOLDERS;
    memcpy(stall->holders, known->holders, stall->holder_count * sizeof *stall->holders);
    pthread_cond_broadcast(&stalled);
}

static void add_iteration(const gs_event *event) {
    uint32_t at = loop_of(event->thread, true);
    if (at == GS_MAX_LOOPS) {
        return;
    }
    gs_loop_totals *loop = &totals->loops[at];
    loop->iterations++;
    loop->iteration_ns += event->duration_ns;
    loop->on_cpu_ns += event->a;
    loop->gil_wait_ns += event->b;
    loop->iteration_lengths.count[gs_histogram_bucket(event->duration_ns)]++;
    if (event->duration_ns >= (uint64_t)totals->threshold_ns) {
        loop->stalls++;
        loop->stall_ns += event->duration_ns;
        add_stall(event, &totals->unfinished[at]);
    }
    totals->unfinished[at].holder_count = 0;
    totals->unfinished[at].own.ns = 0;
    totals->unfinished[at].own.frame_count = 0;
}

void gs_totals_add(const gs_event *event, const gs_raw_frame *frames) {
    pthread_mutex_lock(&lock);
    if (event->kind == GS_EVENT_RUN) {
        add_run(event, frames);
    } else if (event->kind == GS_EVENT_WAIT) {
        add_wait(event);
    } else if (event->kind == GS_EVENT_ITERATION) {
        add_iteration(event);
    } else if (event->kind == GS_EVENT_BLOCKED) {
        add_own(event, frames, event->duration_ns - event->a);
    } else if (event->kind == GS_EVENT_SAMPLE && event->count == GS_SAMPLE_HOLDS) {
        add_own(event, frames, event->b);
    }
    pthread_mutex_unlock(&lock);
}

size_t gs_totals_loops(gs_loop_totals *to, size_t room) {
    size_t count = 0;
    pthread_mutex_lock(&lock);
    while (totals != NULL && count < room && count < GS_MAX_LOOPS && totals->loops[count].thread != 0) {
        to[count] = totals->loops[count];
        count++;
    }
    pthread_mutex_unlock(&lock);
    return count;
}

size_t gs_totals_waits(gs_wait_totals *to, size_t room) {
    size_t count = 0;
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; totals != NULL && i < MAX_WAITS && count < room; i++) {
        if (totals->waits[i].waiter != 0) {
            to[count++] = totals->waits[i];
        }
    }
    pthread_mutex_unlock(&lock);
    return count;
}

bool gs_totals_next_stall(gs_stall *stall, int64_t deadline_ns) {
    struct timespec until = gs_timespec(deadline_ns);
    pthread_mutex_lock(&lock);
    uint64_t wakes = totals == NULL ? 0 : totals->wakes;
    int error = 0;
    while (totals != NULL && totals->stalls_put == totals->stalls_taken && totals->wakes == wakes && error == 0) {
        error = pthread_cond_timedwait(&stalled, &lock, &until);
    }
    bool there = totals != NULL && totals->stalls_put != totals->stalls_taken;
    if (there) {
        *stall = totals->stalls[totals->stalls_taken++ % STALLS_KEPT];
    }
    pthread_mutex_unlock(&lock);
    return there;
}

void gs_totals_wake_all(void) {
    pthread_mutex_lock(&lock);
    if (totals != NULL) {
        totals->wakes++;
        pthread_cond_broadcast(&stalled);
    }
    pthread_mutex_unlock(&lock);
}

uint64_t gs_totals_stalls_forgotten(void) {
    pthread_mutex_lock(&lock);
    uint64_t forgotten = totals == NULL ? 0 : totals->stalls_forgotten;
    pthread_mutex_unlock(&lock);
    return forgotten;
}
