#include "stack_sampler.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "codes.h"
#include "core/clock.h"
#include "core/native_thread.h"
#include "core/wake.h"
#include "events.h"
#include "frames.h"
#include "gil_trace.h"
#include "loop_trace.h"
#include "recorder.h"
#include "relaxed.h"

/* While no iteration can be long for longer. */
#define IDLE_NS     (20 * GS_NS_PER_MS)
/* Loops that are loaded late are hooked as late as this. */
#define LOADED_NS   (20 * GS_NS_PER_MS)
#define REPORT_NS   GS_NS_PER_S
#define SCHEDULE_NS (100 * GS_NS_PER_MS)
#define SPARSEST    5 /* periods */
#define STACK_BYTES (256u << 10)

static struct {
    gs_wake wake;
    _Atomic bool stopping;
    bool running;
    pthread_t thread;
    gs_sampler_config config;
    pthread_mutex_t taking; /* a sample: the config, what is written of a thread, and what frames.h keeps */
    _Atomic uint64_t taken, late, missed;
} sampler = {.taking = PTHREAD_MUTEX_INITIALIZER};

static void on_copied(void *unused, const gs_code_copy *copy) {
    (void)unused;
    gs_recorder_push_code(copy);
}

static void report_schedule(gs_thread *thread, int64_t now_ns) {
    char text[96];
    if (thread->schedule_file < 0) {
        snprintf(text, sizeof text, "/proc/self/task/%d/schedstat", (int)thread->native_id);
        thread->schedule_file = open(text, O_RDONLY | O_CLOEXEC);
    }
    ssize_t bytes = thread->schedule_file < 0 ? -1 : pread(thread->schedule_file, text, sizeof text - 1, 0);
    if (bytes <= 0) {
        return;
    }
    text[bytes] = '\0';
    char *rest = text;
    uint64_t on_cpu_ns = strtoull(rest, &rest, 10);
    uint64_t queued_ns = strtoull(rest, &rest, 10);
    gs_event event = {
        .kind = GS_EVENT_SCHEDULE, .thread = thread->number, .start_ns = now_ns, .a = queued_ns, .b = on_cpu_ns};
    gs_recorder_push(&event, NULL, 0);
    thread->scheduled_ns = now_ns;
}

static void report_counters(const gs_thread *thread, int64_t now_ns) {
    gs_event event = {.kind = GS_EVENT_COUNTERS,
                      .thread = thread->number,
                      .start_ns = now_ns,
                      .count = (uint32_t)gs_load(&thread->takes),
                      .a = gs_load(&thread->held_ns),
                      .b = gs_load(&thread->waited_ns)};
    gs_recorder_push(&event, NULL, 0);
}

/* What has come since the report before. False: there was no room, it is for the next report. */
static bool report_holds(gs_thread *thread, int64_t now_ns) {
    uint64_t held_ns = gs_load(&thread->held_ns);
    if (held_ns == thread->told_held_ns) {
        return true;
    }
    gs_holds *holds = thread->holds;
    gs_bucket_count changed[GS_HISTOGRAM_BUCKETS];
    uint16_t changed_count = 0;
    for (uint32_t bucket = 0; bucket < GS_HISTOGRAM_BUCKETS; bucket++) {
        uint32_t count = gs_load(&holds->count[bucket]) - holds->told[bucket];
        if (count != 0) {
            changed[changed_count++] = (gs_bucket_count){bucket, count};
        }
    }
    if (changed_count > 0 && !gs_recorder_push_holds(thread->number, now_ns, changed, changed_count)) {
        return false;
    }
    for (uint16_t i = 0; i < changed_count; i++) {
        holds->told[changed[i].bucket] += changed[i].count;
    }
    thread->told_held_ns = held_ns;
    return true;
}

/* Of a thread that has ended. A number that the recorder does not know to be free would be kept for ever: where there is
 * no room, its record is kept for the next look. */
static void report_end(gs_thread *thread, int64_t now_ns) {
    gs_event event = {.kind = GS_EVENT_ENDED, .thread = thread->number};
    report_counters(thread, now_ns);
    if (report_holds(thread, now_ns) && gs_recorder_push(&event, NULL, 0)) {
        gs_thread_free(thread);
    }
}

/* Under taking. `since_ns`: what the sample stands for begins there. */
static void sample(gs_thread *thread, gs_sample_state state, int64_t due_ns, int64_t since_ns) {
    gs_raw_frame frames[GS_MAX_FRAMES];
    size_t frame_count = 0;
    int64_t now_ns = gs_now_ns();
    if (state != GS_SAMPLE_WAITS) {
        /* A waiting thread tells its own stack when it is done (gil_trace.c), and exactly. */
        frame_count =
            gs_frames_peek(gs_load(&thread->state), &thread->outermost, frames, GS_MAX_FRAMES, on_copied, NULL);
        if (frame_count == 0) {
            gs_add(&sampler.missed, 1);
        }
        for (size_t i = 0; i < frame_count; i++) {
            if (frames[i].code > GS_PINNED_CODES) {
                gs_store(&thread->has_unkept_code, true);
                break;
            }
        }
    }
    gs_add(&sampler.taken, 1);
    int64_t late_ns = now_ns > due_ns ? now_ns - due_ns : 0;
    if (late_ns > sampler.config.period_ns) {
        gs_add(&sampler.late, 1);
    }
    gs_event event = {.kind = GS_EVENT_SAMPLE,
                      .thread = thread->number,
                      .start_ns = now_ns,
                      .count = state,
                      .a = (uint64_t)late_ns,
                      .b = (uint64_t)(now_ns > since_ns ? now_ns - since_ns : 0)};
    gs_recorder_push(&event, frames, frame_count);
    thread->sampled_ns = now_ns;
}

/* Under taking. */
static void sample_holder(const gs_gil_now *gil, int64_t due_ns) {
    gs_thread *holder = gil->holder;
    sample(holder, GS_SAMPLE_HOLDS, due_ns, holder->sampled_ns > gil->since_ns ? holder->sampled_ns : gil->since_ns);
}

/* Returns when this loop is to be looked at again. */
static int64_t look_at_loop(gs_thread *loop, int64_t now_ns, int64_t due_ns) {
    int64_t start_ns = gs_load(&loop->iteration_start_ns);
    bool was_long = loop->sampled_iteration_ns != 0;
    if (start_ns == 0 || now_ns - start_ns < sampler.config.after_ns) {
        /* At the first sight of one that may become long, after one that was, and now and then. */
        bool is_new = sampler.config.detailed && start_ns != 0 && loop->scheduled_ns < start_ns;
        if (is_new || was_long || now_ns - loop->scheduled_ns >= SCHEDULE_NS) {
            report_schedule(loop, now_ns);
        }
        loop->sampled_iteration_ns = 0;
        return (start_ns != 0 ? start_ns : now_ns) + sampler.config.after_ns;
    }
    if (!gs_frames_loop_runs(gs_load(&loop->state))) {
        gs_loop_stopped(loop, start_ns);
        return GS_NEVER;
    }
    int64_t since_ns = loop->sampled_iteration_ns == start_ns ? loop->sampled_ns : start_ns;
    loop->sampled_iteration_ns = start_ns;
    if (sampler.config.on_stall != NULL && now_ns - start_ns >= sampler.config.stall_ns &&
        start_ns != loop->told_iteration_ns && start_ns - loop->told_iteration_ns >= sampler.config.tell_ns &&
        loop->native_id == getpid()) {
        loop->told_iteration_ns = start_ns;
        sampler.config.on_stall();
    }
    report_schedule(loop, now_ns);
    gs_gil_now gil = gs_gil_look();
    pthread_mutex_lock(&sampler.taking);
    if (gs_load(&loop->wait_start_ns) != 0) {
        sample(loop, GS_SAMPLE_WAITS, due_ns, since_ns);
        if (gil.holder != NULL && gil.holder != loop && gil.since_ns != 0) {
            sample_holder(&gil, due_ns);
            report_schedule(gil.holder, now_ns);
        }
    } else {
        sample(loop, gil.holder == loop ? GS_SAMPLE_HOLDS : GS_SAMPLE_NEITHER, due_ns, since_ns);
    }
    pthread_mutex_unlock(&sampler.taking);
    int64_t pause_ns =
        gs_earlier((now_ns - start_ns) / sampler.config.per_iteration, SPARSEST * sampler.config.period_ns);
    pause_ns = pause_ns > sampler.config.period_ns ? pause_ns : sampler.config.period_ns;
    int64_t next_ns = due_ns + pause_ns;
    return next_ns < now_ns ? now_ns + pause_ns : next_ns;
}

static void report_all(int64_t now_ns) {
    for (gs_thread *thread = gs_thread_next(NULL); thread != NULL; thread = gs_thread_next(thread)) {
        report_counters(thread, now_ns);
        (void)report_holds(thread, now_ns);
    }
}

static void *run(void *unused) {
    (void)pthread_setname_np(pthread_self(), "gilscope-sample");
    gs_native_thread_slack(gs_earlier(sampler.config.period_ns / 2, sampler.config.after_ns / 4));
    int64_t reported_ns = gs_now_ns();
    int64_t due_ns = reported_ns, loaded_ns = 0;
    while (!gs_load(&sampler.stopping)) {
        int64_t now_ns = gs_now_ns();
        int64_t next_ns = now_ns + IDLE_NS;
        if (now_ns - loaded_ns >= LOADED_NS) {
            loaded_ns = now_ns;
            gs_loop_look();
        }
        for (gs_thread *thread = gs_thread_next(NULL); thread != NULL; thread = gs_thread_next(thread)) {
            if (gs_load(&thread->use) == GS_THREAD_ENDED) {
                report_end(thread, now_ns);
            } else if (gs_load(&thread->loop) != GS_LOOP_NONE) {
                next_ns = gs_earlier(next_ns, look_at_loop(thread, now_ns, due_ns));
            }
        }
        if (now_ns - reported_ns >= REPORT_NS) {
            reported_ns = now_ns;
            report_all(now_ns);
        }
        due_ns = next_ns;
        gs_wake_prepare(&sampler.wake, GS_WAKE_CONTROL);
        /* seq_cst: the re-check, see W1 in wake.h */
        if (atomic_load_explicit(&sampler.stopping, memory_order_seq_cst)) {
            gs_wake_cancel(&sampler.wake);
        } else {
            gs_wake_park(&sampler.wake, due_ns);
        }
    }
    report_all(gs_now_ns());
    return unused;
}

int gs_sampler_start(const gs_sampler_config *config) {
    gs_frames_forget();
    gs_wake_init(&sampler.wake);
    gs_store(&sampler.taken, 0);
    gs_store(&sampler.late, 0);
    gs_store(&sampler.missed, 0);
    gs_store(&sampler.stopping, false);
    pthread_mutex_lock(&sampler.taking);
    sampler.config = *config;
    pthread_mutex_unlock(&sampler.taking);
    int error = gs_native_thread_start(&sampler.thread, STACK_BYTES, run, NULL);
    sampler.running = error == 0;
    return error;
}

void gs_sampler_stop(void) {
    if (sampler.running) {
        /* seq_cst, pairs with the re-check in run */
        atomic_store_explicit(&sampler.stopping, true, memory_order_seq_cst);
        gs_wake_notify(&sampler.wake, GS_WAKE_CONTROL);
        pthread_join(sampler.thread, NULL);
        sampler.running = false;
    }
    pthread_mutex_lock(&sampler.taking);
    sampler.config.detailed = false;
    pthread_mutex_unlock(&sampler.taking);
}

void gs_sampler_forget(void) {
    sampler.config.detailed = false;
    sampler.running = false;
    pthread_mutex_init(&sampler.taking, NULL);
}

gs_sampler_stats gs_sampler_look(void) {
    gs_sampler_stats stats = {gs_load(&sampler.taken), gs_load(&sampler.late), gs_load(&sampler.missed)};
    return stats;
}

void gs_sampler_long_wait(void) {
    if (pthread_mutex_trylock(&sampler.taking) != 0) {
        return;
    }
    gs_gil_now gil = gs_gil_look();
    if (sampler.config.detailed && gil.holder != NULL && gil.since_ns != 0) {
        sample_holder(&gil, gs_now_ns());
    }
    pthread_mutex_unlock(&sampler.taking);
}
