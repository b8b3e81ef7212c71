#include "totals.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"

#define RECENT_RUNS 1024u
#define EARLY_WAITS 1024u /* pairs of waiter and holder of which one has no group yet */
#define MAX_EARLY   64u   /* threads that have no group yet */
#define NAMED_NS    (2 * GS_NS_PER_S)
#define STALLS_KEPT 16u
#define STALL_PARTS 16u /* holders' stacks told apart within one iteration */

/* The sums of a group, all of 64 bits, one behind the other. */
#define SUMS_OFFSET offsetof(gs_group_totals, takes)

struct run {
    uint32_t thread;
    uint32_t frame_count;
    int64_t start_ns, end_ns;
    gs_raw_frame frames[GS_STALL_FRAMES];
};

/* What is known of a loop's iteration before it ends. */
struct gs_open_iteration {
    gs_stall_stack holders[STALL_PARTS];
    uint32_t holder_count;
    gs_stall_stack own;
};

struct sum {
    uint64_t waited_ns, waits;
};

/* A part of the waits of a thread for another one, by their numbers. */
struct early_wait {
    uint32_t waiter, holder;
    struct sum sum;
};

static struct totals {
    int64_t threshold_ns;
    gs_known_threads *threads; /* the recorder's */
    gs_thread_groups names;
    gs_group_totals groups[GS_GROUPS];
    bool used[GS_GROUPS];
    struct sum waits[GS_GROUPS][GS_GROUPS + 1];
    struct early_wait early_waits[EARLY_WAITS];
    uint32_t early_wait_count;
    uint32_t early_count;
    struct run runs[RECENT_RUNS];
    uint64_t run_count;
    gs_stall stalls[STALLS_KEPT];
    uint64_t stalls_put, stalls_taken, stalls_forgotten;
    uint64_t wakes;
} *totals;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t stalled;

int gs_totals_start(int64_t threshold_ns, gs_known_threads *threads) {
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
    totals->threads = threads;
    gs_thread_groups_init(&totals->names);
    return 0;
}

/* What a thread did before, and does from now on, counts for this group; what it has done for another one stays there. */
static void assign(gs_known_thread *thread, uint32_t group) {
    gs_group_totals *early = thread->early;
    if (early != NULL) {
        uint64_t *to = (uint64_t *)(void *)((char *)&totals->groups[group] + SUMS_OFFSET);
        const uint64_t *from = (const uint64_t *)(const void *)((const char *)early + SUMS_OFFSET);
        for (size_t i = 0; i < (sizeof *early - SUMS_OFFSET) / sizeof *to; i++) {
            to[i] += from[i];
        }
        free(early);
        thread->early = NULL;
        totals->early_count--;
    }
    thread->has_group = true;
    thread->group = group;
    totals->used[group] = true;
}

static gs_group_totals *sums_of(gs_known_thread *thread) {
    if (!thread->has_group && thread->early == NULL) {
        thread->early = totals->early_count == MAX_EARLY ? NULL : calloc(1, sizeof *thread->early);
        totals->early_count += thread->early != NULL;
    }
    if (thread->early != NULL) {
        return thread->early;
    }
    if (!thread->has_group) {
        assign(thread, GS_GROUP_UNNAMED);
    }
    return &totals->groups[thread->group];
}

/* False: it will have another one. A thread that is not known any more has ended without a name, or long ago. */
static bool group_of(uint32_t number, uint32_t *group) {
    const gs_known_thread *thread = gs_known_threads_find(totals->threads, number);
    *group = thread != NULL && thread->has_group ? thread->group : GS_GROUP_UNNAMED;
    return thread == NULL || thread->has_group;
}

static bool holder_of(uint32_t number, uint32_t *group) {
    *group = GS_HANDING_OVER;
    return number == 0 || group_of(number, group);
}

static void add_sum(struct sum *to, const struct sum *sum) {
    to->waited_ns += sum->waited_ns;
    to->waits += sum->waits;
}

static void add_to_groups(uint32_t waiter, uint32_t holder, const struct sum *sum) {
    totals->used[waiter] = true;
    if (holder != GS_HANDING_OVER) {
        totals->used[holder] = true;
    }
    add_sum(&totals->waits[waiter][holder], sum);
}

/* Counts the waits whose threads have groups by now, or all. */
static void settle_waits(bool all) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < totals->early_wait_count; i++) {
        const struct early_wait *wait = &totals->early_waits[i];
        uint32_t waiter = 0, holder = 0;
        bool is_settled = group_of(wait->waiter, &waiter);
        is_settled = holder_of(wait->holder, &holder) && is_settled;
        if (is_settled || all) {
            add_to_groups(waiter, holder, &wait->sum);
        } else {
            totals->early_waits[kept++] = *wait;
        }
    }
    totals->early_wait_count = kept;
}

static void count_wait(uint32_t waiter, uint32_t holder, uint64_t waited_ns) {
    struct sum sum = {waited_ns, 1};
    uint32_t of_waiter = 0, of_holder = 0;
    bool is_settled = group_of(waiter, &of_waiter);
    if (holder_of(holder, &of_holder) && is_settled) {
        add_to_groups(of_waiter, of_holder, &sum);
        return;
    }
    for (uint32_t i = totals->early_wait_count; i > 0; i--) {
        struct early_wait *wait = &totals->early_waits[i - 1];
        if (wait->waiter == waiter && wait->holder == holder) {
            add_sum(&wait->sum, &sum);
            return;
        }
    }
    if (totals->early_wait_count == EARLY_WAITS) {
        settle_waits(true);
    }
    totals->early_waits[totals->early_wait_count++] = (struct early_wait){waiter, holder, sum};
}

/* NULL: its thread runs no loop as far as is known, or there is no memory. */
static struct gs_open_iteration *iteration_of(gs_known_thread *thread, bool is_loop) {
    if (thread != NULL && thread->open == NULL && is_loop && !thread->ended) {
        thread->open = calloc(1, sizeof *thread->open);
    }
    return thread == NULL ? NULL : thread->open;
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

static void add_holder(struct gs_open_iteration *to, const struct run *run, uint64_t ns) {
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
    gs_known_thread *thread = gs_known_threads_find(totals->threads, event->thread);
    if (thread != NULL && (event->flags & GS_RUN_FORCED) != 0) {
        sums_of(thread)->forced++;
    }
}

static void add_wait(const gs_event *event, gs_known_thread *thread) {
    int64_t start_ns = event->start_ns, end_ns = event->start_ns + (int64_t)event->duration_ns;
    struct gs_open_iteration *loop = iteration_of(thread, (event->flags & GS_WAIT_IN_LOOP) != 0);
    loop = (event->flags & GS_WAIT_IN_LOOP) != 0 ? loop : NULL;
    sums_of(thread)->wait_lengths.count[gs_histogram_bucket(event->duration_ns)]++;
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

static void add_own(const gs_event *event, gs_known_thread *thread, const gs_raw_frame *frames, uint64_t ns) {
    struct gs_open_iteration *loop = iteration_of(thread, event->kind == GS_EVENT_BLOCKED);
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

static void add_stall(const gs_event *event, struct gs_open_iteration *known) {
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

static void add_iteration(const gs_event *event, gs_known_thread *thread) {
    gs_group_totals *sums = sums_of(thread);
    struct gs_open_iteration *open = iteration_of(thread, true);
    sums->iterations++;
    sums->iteration_ns += event->duration_ns;
    sums->on_cpu_ns += event->a;
    sums->gil_wait_ns += event->b;
    sums->iteration_lengths.count[gs_histogram_bucket(event->duration_ns)]++;
    if (event->duration_ns >= (uint64_t)totals->threshold_ns) {
        sums->stalls++;
        sums->stall_ns += event->duration_ns;
        if (open != NULL) {
            add_stall(event, open);
        }
    }
    if (open != NULL) {
        open->holder_count = 0;
        open->own.ns = 0;
        open->own.frame_count = 0;
    }
}

/* The counters of a thread are cumulative. */
static void add_counters(const gs_event *event, gs_known_thread *thread) {
    gs_group_totals *sums = sums_of(thread);
    sums->takes += event->count - thread->takes;
    sums->held_ns += event->a - thread->held_ns;
    sums->waited_ns += event->b - thread->waited_ns;
    thread->takes = event->count;
    thread->held_ns = event->a;
    thread->waited_ns = event->b;
}

static void add_of_thread(const gs_event *event, gs_known_thread *thread, const gs_raw_frame *frames) {
    if (event->kind == GS_EVENT_WAIT) {
        add_wait(event, thread);
    } else if (event->kind == GS_EVENT_ITERATION) {
        add_iteration(event, thread);
    } else if (event->kind == GS_EVENT_BLOCKED) {
        add_own(event, thread, frames, event->duration_ns - event->a);
    } else if (event->kind == GS_EVENT_SAMPLE && event->count != GS_SAMPLE_WAITS) {
        /* Without the GIL: how long it was blocked comes with the end of it; where there is no GIL, nothing comes. */
        add_own(event, thread, frames, event->count == GS_SAMPLE_HOLDS ? event->b : 0);
    } else if (event->kind == GS_EVENT_COUNTERS) {
        add_counters(event, thread);
    } else if (event->kind == GS_EVENT_HOLDS) {
        sums_of(thread)->hold_lengths.count[gs_histogram_bucket(event->b)] += event->count;
    }
}

void gs_totals_add(const gs_event *event, const gs_raw_frame *frames) {
    pthread_mutex_lock(&lock);
    if (event->kind == GS_EVENT_RUN) {
        add_run(event, frames);
    } else {
        gs_known_thread *thread = gs_known_threads_find(totals->threads, event->thread);
        if (thread != NULL) {
            add_of_thread(event, thread, frames);
        }
    }
    pthread_mutex_unlock(&lock);
}

void gs_totals_named(gs_known_thread *thread) {
    pthread_mutex_lock(&lock);
    assign(thread, gs_thread_groups_of(&totals->names, thread->name));
    pthread_mutex_unlock(&lock);
}

void gs_totals_ended(gs_known_thread *thread) {
    pthread_mutex_lock(&lock);
    if (!thread->has_group) {
        assign(thread, GS_GROUP_UNNAMED);
    }
    free(thread->open);
    thread->open = NULL;
    pthread_mutex_unlock(&lock);
}

void gs_totals_settle(int64_t now_ns, bool all) {
    gs_known_threads *threads = totals->threads;
    for (gs_known_thread *thread = gs_known_threads_next(threads, NULL); thread != NULL;
         thread = gs_known_threads_next(threads, thread)) {
        if (all) {
            gs_totals_ended(thread);
        } else if (!thread->has_group && now_ns - thread->known_since_ns >= NAMED_NS) {
            pthread_mutex_lock(&lock);
            assign(thread, GS_GROUP_UNNAMED);
            pthread_mutex_unlock(&lock);
        }
    }
    pthread_mutex_lock(&lock);
    settle_waits(all);
    pthread_mutex_unlock(&lock);
}

bool gs_totals_group(uint32_t group, gs_group_totals *to) {
    pthread_mutex_lock(&lock);
    bool there = totals != NULL && group < GS_GROUPS && totals->used[group];
    if (there) {
        *to = totals->groups[group];
        memcpy(to->name, totals->names.names[group], sizeof to->name);
    }
    pthread_mutex_unlock(&lock);
    return there;
}

size_t gs_totals_waits(gs_wait_totals *to, size_t room) {
    size_t count = 0;
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; totals != NULL && i < GS_MAX_WAITS && count < room; i++) {
        uint32_t waiter = i / (GS_GROUPS + 1), holder = i % (GS_GROUPS + 1);
        const struct sum *sum = &totals->waits[waiter][holder];
        if (sum->waits != 0) {
            to[count++] = (gs_wait_totals){waiter, holder, sum->waited_ns, sum->waits};
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
