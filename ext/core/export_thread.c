/* The exporter thread: waits, batches, sends, retries, counts. It never takes the GIL and knows nothing of Python. */
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "exporter_state.h"

/* Retry: as upstream's exporters. */
#define FIRST_BACKOFF_NS GS_NS_PER_S
enum { MAX_ATTEMPTS = 6, JITTER_PERCENT = 20 };

/* After an answer "too large" requests stay under half of what was refused, but never under this. */
#define MIN_REQUEST_LIMIT_BYTES UINT64_C(65536)

/* How long the thread looks away when a producer has claimed a record and not committed it yet: it is between two
 * instructions, or waits for a core. */
#define COMMIT_PAUSE_NS (50 * GS_NS_PER_US)

enum { PAGE_BYTES = 4096 }; /* or more: then the kernel refuses, and nothing is lost but time */

static int64_t stop_deadline(const gs_exporter *self) {
    /* seq_cst, pairs with the store in gs_exporter_shutdown: read between gs_wake_prepare and gs_wake_park. */
    return atomic_load_explicit(&self->stop_deadline_ns, memory_order_seq_cst);
}

static bool flush_wanted(const gs_exporter *self) {
    /* seq_cst, pairs with the store in gs_exporter_flush: read between gs_wake_prepare and gs_wake_park. */
    uint32_t target = atomic_load_explicit(&self->flush_target, memory_order_seq_cst);
    /* relaxed: the ring is this thread's own while it runs. */
    const gs_ring *ring = atomic_load_explicit(&self->ring, memory_order_relaxed);
    return (int32_t)(target - gs_ring_freed_seq(ring)) > 0;
}

/* Between 1 - JITTER_PERCENT and 1 + JITTER_PERCENT times `span_ns`. xorshift64: any spread will do. */
static int64_t with_jitter(gs_exporter *self, int64_t span_ns) {
    self->random ^= self->random << 13;
    self->random ^= self->random >> 7;
    self->random ^= self->random << 17;
    int64_t percent = 100 - JITTER_PERCENT + (int64_t)(self->random % (2 * JITTER_PERCENT + 1));
    return span_ns / 100 * percent;
}

/* Sleeps until the deadline or until the exporter is stopped. */
static void sleep_until(gs_exporter *self, int64_t deadline_ns) {
    while (gs_now_ns() < deadline_ns) {
        gs_wake_prepare(&self->wake, GS_WAKE_CONTROL);
        int64_t until_ns = gs_earlier(deadline_ns, stop_deadline(self));
        if (gs_now_ns() >= until_ns) {
            gs_wake_cancel(&self->wake);
            return;
        }
        gs_wake_park(&self->wake, until_ns);
    }
}

/* What became of the records before `end`: counted, told to the flushes that wait, freed. */
static void account(gs_exporter *self, const gs_ring_cursor *end, uint64_t accepted, uint64_t failed,
                    gs_fail_reason reason) {
    gs_ring *ring = atomic_load_explicit(&self->ring, memory_order_relaxed); /* relaxed: this thread's own */
    pthread_mutex_lock(&self->lock);
    self->counts.exported += accepted;
    self->counts.failed[reason] += failed;
#ifdef EXPORTER_FORGETS_FLUSH_FAILURE /* a mutant, for tests/native/test_exporter.c */
    failed = 0;
#endif
    if (failed > 0) {
        uint32_t oldest = gs_ring_freed_seq(ring);
        for (gs_flush_waiter *waiter = self->waiters; waiter != NULL; waiter = waiter->next) {
            if ((int32_t)(waiter->target - oldest) > 0) {
                waiter->failed = true;
            }
        }
    }
    gs_ring_free_through(ring, end);
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

/* The same for spans first .. first + count - 1 of the batch, the oldest that are not settled. */
static void settle(gs_exporter *self, uint32_t first, uint32_t count, uint64_t accepted, gs_fail_reason reason) {
    account(self, &self->ends[first + count - 1], accepted, count - accepted, reason);
}

static const char *reason_text(const gs_answer *answer, const char *otherwise) {
    return answer->text[0] != '\0' ? answer->text : otherwise;
}

/* One request with its retries, for spans first .. first + count - 1. GS_TOO_LARGE asks for a split; everything else is settled. */
static gs_status deliver(gs_exporter *self, uint32_t first, uint32_t count, int64_t batch_deadline_ns) {
    const uint8_t *body = NULL;
    size_t body_bytes = 0;
    if (gs_batch_build(self->batch, first, count, &body, &body_bytes) != GS_OK) {
        settle(self, first, count, 0, GS_FAIL_INTERNAL);
        gs_messages_say(&self->messages, GS_SAY_FAILED, GS_MESSAGE_ERROR,
                        "Failed to export spans batch: no memory for a request of %u spans", count);
        return GS_OK;
    }
    int64_t backoff_ns = FIRST_BACKOFF_NS;
    bool may_repeat_at_once = true;
    for (int attempt = 1;; attempt++) {
        gs_answer answer;
        int64_t deadline_ns = gs_earlier(batch_deadline_ns, stop_deadline(self));
        gs_transport_send(self->transport, body, body_bytes, deadline_ns, &answer);

        pthread_mutex_lock(&self->lock);
        self->counts.requests++;
        self->counts.retries += attempt > 1;
        self->counts.request_bytes += body_bytes;
        self->counts.sent_bytes += answer.sent_bytes;
        pthread_mutex_unlock(&self->lock);

        gs_fail_reason reason = GS_FAIL_REJECTED;
        switch (answer.kind) {
        case GS_ANSWER_OK: {
            uint64_t rejected = answer.rejected_spans > 0 ? (uint64_t)answer.rejected_spans : 0;
            rejected = rejected < count ? rejected : count;
            if (rejected > 0 || answer.text[0] != '\0') {
                gs_messages_say(&self->messages, GS_SAY_PARTIAL, GS_MESSAGE_WARNING,
                                "Partial success: the collector rejected %llu of %u spans: %s",
                                (unsigned long long)rejected, count, reason_text(&answer, "no reason given"));
            }
            settle(self, first, count, count - rejected, GS_FAIL_PARTIAL);
            return GS_OK;
        }
        case GS_ANSWER_TOO_LARGE:
            if (count > 1) {
                self->request_limit_bytes =
                    body_bytes / 2 > MIN_REQUEST_LIMIT_BYTES ? body_bytes / 2 : MIN_REQUEST_LIMIT_BYTES;
                gs_messages_say(&self->messages, GS_SAY_SPLIT, GS_MESSAGE_WARNING,
                                "The collector refused a request of %zu bytes as too large: %s; spans batch is split, "
                                "later requests stay under %llu bytes (set GILSCOPE_MAX_REQUEST_BYTES)",
                                body_bytes, reason_text(&answer, "no reason given"),
                                (unsigned long long)self->request_limit_bytes);
                return GS_TOO_LARGE;
            }
            reason = GS_FAIL_TOO_LARGE;
            break;
        case GS_ANSWER_STALE:
            if (may_repeat_at_once) {
                may_repeat_at_once = false;
                continue;
            }
            reason = GS_FAIL_UNREACHABLE;
            break;
        case GS_ANSWER_RETRY:
            /* A collector that says "later" until time is up has not rejected anything. */
            reason = GS_FAIL_TIMEOUT;
            break;
        case GS_ANSWER_UNREACHABLE: reason = GS_FAIL_UNREACHABLE; break;
        case GS_ANSWER_TIMEOUT: reason = GS_FAIL_TIMEOUT; break;
        case GS_ANSWER_INTERRUPTED: reason = GS_FAIL_SHUTDOWN; break;
        case GS_ANSWER_REJECTED: break;
        }

        bool repeatable =
            answer.kind == GS_ANSWER_RETRY || answer.kind == GS_ANSWER_UNREACHABLE || answer.kind == GS_ANSWER_STALE;
        int64_t wait_ns = answer.retry_after_ns >= 0 ? answer.retry_after_ns : with_jitter(self, backoff_ns);
        int64_t now_ns = gs_now_ns();
        int64_t again_ns = gs_deadline_after(now_ns, wait_ns);
        bool in_time = again_ns < gs_earlier(batch_deadline_ns, stop_deadline(self));
        if (repeatable && attempt < MAX_ATTEMPTS && in_time) {
            gs_messages_say(&self->messages, GS_SAY_RETRY, GS_MESSAGE_WARNING,
                            "Transient error %s encountered while exporting spans batch, retrying in %.2fs.",
                            reason_text(&answer, "unknown"), (double)wait_ns / (double)GS_NS_PER_S);
            sleep_until(self, again_ns);
            backoff_ns *= 2;
            if (gs_now_ns() >= again_ns) {
                continue;
            }
        }
        if (stop_deadline(self) != GS_NEVER && (repeatable || answer.kind == GS_ANSWER_TIMEOUT)) {
            reason = GS_FAIL_SHUTDOWN;
        }
        const char *text = answer.kind == GS_ANSWER_INTERRUPTED ? "the time for shutting down ran out without an answer"
                                                                : reason_text(&answer, "unknown");
        gs_messages_say(&self->messages, GS_SAY_FAILED, GS_MESSAGE_ERROR,
                        "Failed to export spans batch, reason: %s (%u span%s lost after %d attempt%s)", text, count,
                        count == 1 ? "" : "s", attempt, attempt == 1 ? "" : "s");
        settle(self, first, count, 0, reason);
        return GS_OK;
    }
}

static uint64_t sum(const uint64_t *counts, size_t count) {
    uint64_t all = 0;
    for (size_t i = 0; i < count; i++) {
        all += counts[i];
    }
    return all;
}

/* A request is over; `before`: the counts when it began, of which this thread alone changes what is read here. */
static void tell(gs_exporter *self, const gs_exporter_stats *before, int64_t start_ns, uint32_t spans) {
    gs_export_observer observer = gs_exporter_observer();
    if (observer == NULL) {
        return;
    }
    gs_exporter_stats now;
    gs_exporter_get_stats(self, &now);
    gs_export_told told = {.exporter = self->number,
                           .start_ns = start_ns,
                           .end_ns = gs_now_ns(),
                           .spans = spans,
                           .sent_bytes = now.sent_bytes - before->sent_bytes,
                           .queued = now.queued,
                           .exported = now.exported,
                           .dropped = sum(now.dropped, GS_DROP_REASONS),
                           .failed = sum(now.failed, GS_FAIL_REASONS)};
    told.refused = (uint32_t)(told.failed - sum(before->failed, GS_FAIL_REASONS));
    observer(&told);
}

/* Sends the whole batch, in smaller requests where the collector asks for them. */
static void deliver_batch(gs_exporter *self, uint32_t count) {
    int64_t deadline_ns = gs_deadline_after(gs_now_ns(), self->config.export_timeout_ns);
    uint32_t step = count;
    for (uint32_t first = 0; first < count;) {
        uint32_t size = step < count - first ? step : count - first;
        gs_exporter_stats before = self->counts;
        int64_t start_ns = gs_now_ns();
        if (deliver(self, first, size, deadline_ns) == GS_TOO_LARGE) {
            step = (size + 1) / 2;
            pthread_mutex_lock(&self->lock);
            self->counts.splits++;
            pthread_mutex_unlock(&self->lock);
        } else {
            first += size;
            tell(self, &before, start_ns, size);
        }
    }
}

/* Fills the batch from the oldest record on; returns its number of spans. `*pending`: it ended at a record that is
 * claimed and not committed. */
static uint32_t fill(gs_exporter *self, gs_ring *ring, bool *pending) {
    gs_batch_clear(self->batch);
    gs_ring_cursor cursor = gs_ring_first(ring);
    *pending = false;
    for (;;) {
        gs_ring_record record;
        gs_status status = gs_ring_peek(ring, &cursor, &record);
        if (status != GS_OK) {
            *pending = status == GS_PENDING;
            break;
        }
        uint32_t filled = gs_batch_spans(self->batch);
        gs_status added = record.data == NULL
                              ? GS_EMPTY
                              : gs_batch_add(self->batch, record.data, record.bytes, self->request_limit_bytes);
        if (added == GS_FULL) {
            break;
        }
        if (added == GS_OK) {
            self->ends[filled] = cursor;
        } else if (filled == 0) {
            /* No span, or none that can be sent. */
            account(self, &cursor, 0, added != GS_EMPTY, GS_FAIL_INTERNAL);
        } else {
            break; /* such a record waits until the spans before it are settled, since freeing goes in order */
        }
    }
    return gs_batch_spans(self->batch);
}

/* A page that is touched for the first time costs the toucher about a microsecond, and a span of 500 kB touches 122: so
 * this thread has the kernel prepare the pages that the application's threads will write to next, one request's worth
 * ahead. Later laps through the ring find all pages there. */
static void warm_ahead(gs_exporter *self, gs_ring *ring) {
#ifdef MADV_POPULATE_WRITE /* Linux 5.14; elsewhere the application's threads pay */
    uint64_t ahead_bytes = 0;
    uint8_t *start = gs_ring_ahead(ring, &ahead_bytes);
    uint8_t *end =
        start + (ahead_bytes < self->config.max_request_bytes ? ahead_bytes : self->config.max_request_bytes);
    start = start > self->warm_end ? start : self->warm_end;
    if (end > start && (uint64_t)(end - start) >= self->config.max_request_bytes / 4) {
        start -= (uintptr_t)start % PAGE_BYTES;
        /* Without it everything works as well: a kernel that cannot is no error. */
        (void)madvise(start, (size_t)(end - start), MADV_POPULATE_WRITE);
        self->warm_end = end;
    }
#else
    (void)self;
    (void)ring;
#endif
}

/* Exports what is due: everything up to `target`, and whole batches beyond it. */
static void export_due(gs_exporter *self, gs_ring *ring, uint32_t target) {
    for (;;) {
        bool stopping = stop_deadline(self) != GS_NEVER;
        if (stopping && gs_now_ns() >= stop_deadline(self)) {
            return;
        }
        bool due = stopping || (int32_t)(target - gs_ring_freed_seq(ring)) > 0 || flush_wanted(self) ||
                   gs_ring_depth(ring) >= self->config.max_batch_spans ||
                   gs_ring_used_bytes(ring) >= self->request_limit_bytes;
        if (!due || gs_ring_depth(ring) == 0) {
            return;
        }
        warm_ahead(self, ring);
        bool pending = false;
        uint32_t count = fill(self, ring, &pending);
        if (count > 0) {
            deliver_batch(self, count);
        } else if (pending) {
            sleep_until(self, gs_deadline_after(gs_now_ns(), COMMIT_PAUSE_NS));
        }
    }
}

static void run(gs_exporter *self, gs_ring *ring) {
    int64_t tick_ns = gs_deadline_after(gs_now_ns(), self->config.schedule_delay_ns);
    while (stop_deadline(self) == GS_NEVER) {
        warm_ahead(self, ring);
        gs_wake_prepare(&self->wake, GS_WAKE_SPANS | GS_WAKE_CONTROL);
        /* seq_cst inside, pairs with the claim in gs_exporter_try_push: either this sees the spans, or the push sees the interest. */
        bool ready = gs_ring_claimed_seq(ring) - gs_ring_freed_seq(ring) >= self->config.max_batch_spans ||
                     gs_ring_used_bytes(ring) >= self->request_limit_bytes || flush_wanted(self) ||
                     stop_deadline(self) != GS_NEVER;
        if (ready || gs_now_ns() >= tick_ns) {
            gs_wake_cancel(&self->wake);
        } else {
            gs_wake_park(&self->wake, tick_ns);
        }
        bool ticked = gs_now_ns() >= tick_ns;
        export_due(self, ring, ticked ? gs_ring_claimed_seq(ring) : gs_ring_freed_seq(ring));
        if (ticked) {
            tick_ns = gs_deadline_after(gs_now_ns(), self->config.schedule_delay_ns);
        }
    }
    export_due(self, ring, gs_ring_claimed_seq(ring));
}

void gs_export_give_up(gs_exporter *self) {
    /* relaxed: called when the thread is gone, under the lock. */
    gs_ring *ring = atomic_load_explicit(&self->ring, memory_order_relaxed);
    if (ring == NULL) {
        return;
    }
    gs_ring_cursor cursor = gs_ring_first(ring);
    gs_ring_record record;
    uint64_t left = 0;
    while (gs_ring_peek(ring, &cursor, &record) == GS_OK) {
        left += record.data != NULL;
    }
    if (left > 0) {
        for (gs_flush_waiter *waiter = self->waiters; waiter != NULL; waiter = waiter->next) {
            waiter->failed = true;
        }
        self->counts.failed[GS_FAIL_SHUTDOWN] += left;
    }
    gs_ring_free_through(ring, &cursor);
}

void *gs_export_thread(void *argument) {
    gs_exporter *self = argument;
    gs_ring *ring =
        atomic_load_explicit(&self->ring, memory_order_relaxed); /* relaxed: set before the thread was made */
    (void)pthread_setname_np(pthread_self(), "gilscope-export");

    char error_text[GS_ANSWER_TEXT_BYTES] = "";
    gs_transport *transport = NULL;
    int error = gs_transport_open(&transport, &self->config.transport, error_text, sizeof error_text);
    pthread_mutex_lock(&self->lock);
    self->transport = transport;
    pthread_mutex_unlock(&self->lock);
    if (error == 0) {
        run(self, ring);
    } else {
        gs_messages_say(&self->messages, GS_SAY_NO_START, GS_MESSAGE_ERROR,
                        "Exporting spans is off: the transport could not be set up: %s", error_text);
        /* relaxed: a span that still gets in is counted when the exporter is closed. */
        atomic_store_explicit(&self->stopped, true, memory_order_relaxed);
    }

    pthread_mutex_lock(&self->lock);
    gs_export_give_up(self);
    struct timespec cpu = {0};
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    self->counts.thread_cpu_ns = (uint64_t)cpu.tv_sec * (uint64_t)GS_NS_PER_S + (uint64_t)cpu.tv_nsec;
    self->transport = NULL;
    self->phase = GS_PHASE_ENDED;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
    /* Last, since closing may wait for a name look-up that hangs: the exporter's memory is not touched any more. */
    if (transport != NULL) {
        gs_transport_close(transport);
    }
    return NULL;
}
