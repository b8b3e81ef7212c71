#include "probe.h"

#include <pthread.h>
#include <unistd.h>

#include "codes.h"
#include "core/clock.h"
#include "gil_trace.h"
#include "loop_trace.h"
#include "relaxed.h"

/* Written with the GIL; read by threads of exporters too. */
static _Atomic bool running;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* In the child there is neither recorder nor sampler, and the file is the parent's. The hooks stay where they are and pass
 * calls through. */
static void after_fork_in_child(void) {
    gs_gil_forget();
    gs_loop_forget();
    gs_threads_forget();
    gs_sampler_forget();
    gs_recorder_forget();
    if (gs_load(&running)) {
        gs_codes_forget();
        gs_store(&running, false);
    }
}

static void handle_fork(void) {
    pthread_atfork(NULL, NULL, after_fork_in_child);
}

int gs_probe_start(const gs_probe_config *config) {
    pthread_once(&fork_once, handle_fork);
    int error = gs_recorder_start(&config->recorder);
    if (error != 0) {
        if (config->recorder.file >= 0) {
            close(config->recorder.file);
        }
        return error;
    }
    if (gs_gil_start(config->sampler.detailed ? gs_sampler_long_wait : NULL) != 0) {
        /* Else done by it, under gil.mutex; and without takes this thread would be met, and named, only in its loop's poll. */
        gs_threads_forget();
        (void)gs_thread_self();
    }
    gs_loop_start();
    error = gs_sampler_start(&config->sampler);
    gs_store(&running, true);
    if (error != 0) {
        gs_probe_stop();
    }
    return error;
}

int gs_probe_stop(void) {
    if (!gs_load(&running)) {
        return 0;
    }
    gs_loop_stop();
    gs_gil_stop();
    int error;
    Py_BEGIN_ALLOW_THREADS gs_sampler_stop();
    error = gs_recorder_stop();
    Py_END_ALLOW_THREADS gs_codes_release();
    gs_store(&running, false);
    return error;
}

bool gs_probe_runs(void) {
    return gs_load(&running);
}

gs_probe_stats gs_probe_look(void) {
    gs_probe_stats stats = {.recorder = gs_recorder_look(),
                            .sampler = gs_sampler_look(),
                            .pinned_codes = gs_codes_pinned(),
                            .loops = gs_loop_kinds()};
    return stats;
}

bool gs_probe_iteration(int64_t *start_ns, uint64_t *gil_wait_ns) {
    const gs_thread *self = gs_load(&running) ? gs_thread_self() : NULL;
    if (self == NULL) {
        return false;
    }
    *start_ns = gs_load(&self->iteration_start_ns);
    *gil_wait_ns = gs_load(&self->waited_ns) - self->waited_before_ns;
    return *start_ns != 0;
}

void gs_probe_task(const char *name, size_t bytes) {
    const gs_thread *self = gs_load(&running) ? gs_thread_self() : NULL;
    if (self != NULL) {
        gs_recorder_push_task(self->number, gs_now_ns(), name, bytes);
    }
}

void gs_probe_collection(int64_t start_ns, uint32_t generation, uint64_t collected) {
    gs_thread *self = gs_load(&running) ? gs_thread_self() : NULL;
    if (self != NULL) {
        gs_event event = {.kind = GS_EVENT_COLLECTION,
                          .thread = self->number,
                          .start_ns = start_ns,
                          .duration_ns = (uint64_t)(gs_now_ns() - start_ns),
                          .count = generation,
                          .a = collected};
        gs_recorder_push(&event, NULL, 0);
    }
}

static void push_spans(const gs_export_told *told, uint32_t state, uint64_t count) {
    gs_event event = {
        .kind = GS_EVENT_SPANS, .start_ns = told->end_ns, .count = state, .a = count, .b = told->exporter};
    gs_recorder_push(&event, NULL, 0);
}

void gs_probe_export(const gs_export_told *told) {
    if (!gs_load(&running)) {
        return;
    }
    gs_event event = {.kind = GS_EVENT_EXPORT,
                      .start_ns = told->start_ns,
                      .duration_ns = (uint64_t)(told->end_ns - told->start_ns),
                      .count = told->spans,
                      .a = told->sent_bytes,
                      .b = told->refused};
    gs_recorder_push(&event, NULL, 0);
    push_spans(told, GS_SPANS_QUEUED, told->queued);
    push_spans(told, GS_SPANS_EXPORTED, told->exported);
    push_spans(told, GS_SPANS_DROPPED, told->dropped);
    push_spans(told, GS_SPANS_FAILED, told->failed);
}
