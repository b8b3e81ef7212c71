/* The callers' side of the exporter: pushing, flushing, stopping, counting, forking. The thread's side is export_thread.c. */
#include "exporter.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "exporter_state.h"
#include "fork_gate.h"
#include "native_thread.h"

/* What a shutdown may take beyond its deadline for the thread to notice that it is told to go. */
#define LAST_WORDS_NS (500 * GS_NS_PER_MS)

/* How often a call that waits asks whether it shall go on. */
#define ASK_NS (100 * GS_NS_PER_MS)

/* libcurl's and OpenSSL's deepest frames take some 100 kB; a sanitizer's frames are several times larger. */
enum { THREAD_STACK_BYTES = 1 << 20 };

/* ---- all exporters of the process, for fork ---- */

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static gs_exporter *all;
static uint32_t made_count;
static _Atomic(gs_export_observer) observed_by;
static pthread_once_t fork_hooks_once = PTHREAD_ONCE_INIT;

static void init_sync(gs_exporter *self) {
    pthread_condattr_t attributes;
    pthread_mutex_init(&self->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&self->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    gs_wake_init(&self->wake);
    gs_messages_init(&self->messages);
}

static void before_fork(void) {
    pthread_mutex_lock(&all_lock);
    gs_fork_gate_shut();
}

static void after_fork_in_parent(void) {
    gs_fork_gate_reopen(false);
    pthread_mutex_unlock(&all_lock);
}

/* After fork, in the child: no lock of an exporter is taken, since a thread that is not here any more may hold it. All
 * stores are relaxed: there is one thread. */
static void after_fork_in_child(void) {
    gs_fork_gate_reopen(true);
    for (gs_exporter *self = all; self != NULL; self = self->next) {
        init_sync(self);
        /* The mapping was kept from the child (MADV_DONTFORK). */
        atomic_store_explicit(&self->ring, NULL, memory_order_relaxed);
        atomic_store_explicit(&self->ended, 0, memory_order_relaxed);
        atomic_store_explicit(&self->replaced, 0, memory_order_relaxed);
        for (int reason = 0; reason < GS_DROP_REASONS; reason++) {
            atomic_store_explicit(&self->dropped[reason], 0, memory_order_relaxed);
        }
        atomic_store_explicit(&self->flush_target, 0, memory_order_relaxed);
        atomic_store_explicit(&self->stop_deadline_ns, GS_NEVER, memory_order_relaxed);
        memset(&self->counts, 0, sizeof self->counts);
        self->waiters = NULL;
        self->batch = NULL; /* leaked: the thread may have been in the middle of changing it */
        self->ends = NULL;
        if (self->transport != NULL) {
            gs_transport_abandon(self->transport);
            self->transport = NULL;
        }
        /* relaxed: as all of them. */
        bool closed = atomic_load_explicit(&self->stopped, memory_order_relaxed);
        self->phase = closed ? GS_PHASE_CLOSED : GS_PHASE_IDLE;
        atomic_fetch_add_explicit(&self->generation, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&all_lock);
}

static void install_fork_hooks(void) {
    (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* ---- configuration ---- */

static char *keep(char **at, const char *text) {
    if (text == NULL) {
        return NULL;
    }
    size_t bytes = strlen(text) + 1;
    char *kept = memcpy(*at, text, bytes);
    *at += bytes;
    return kept;
}

static size_t kept_bytes(const char *text) {
    return text == NULL ? 0 : strlen(text) + 1;
}

/* Copies the transport's strings into memory of the exporter's own: a table of headers, then the texts. 0 or ENOMEM. */
static int copy_transport_config(gs_exporter *self, const gs_transport_config *from) {
    size_t bytes = from->header_count * sizeof(gs_transport_header) + kept_bytes(from->url) +
                   kept_bytes(from->unix_socket) + kept_bytes(from->ca_file) +
                   kept_bytes(from->client_certificate_file) + kept_bytes(from->client_key_file) +
                   kept_bytes(from->proxy);
    for (size_t i = 0; i < from->header_count; i++) {
        bytes += kept_bytes(from->headers[i].name) + kept_bytes(from->headers[i].value);
    }
    self->config_text = malloc(bytes);
    if (self->config_text == NULL) {
        return ENOMEM;
    }
    gs_transport_header *headers = (gs_transport_header *)(void *)self->config_text;
    char *at = (char *)(headers + from->header_count);
    for (size_t i = 0; i < from->header_count; i++) {
        headers[i].name = keep(&at, from->headers[i].name);
        headers[i].value = keep(&at, from->headers[i].value);
    }
    gs_transport_config *to = &self->config.transport;
    to->headers = headers;
    to->url = keep(&at, from->url);
    to->unix_socket = keep(&at, from->unix_socket);
    to->ca_file = keep(&at, from->ca_file);
    to->client_certificate_file = keep(&at, from->client_certificate_file);
    to->client_key_file = keep(&at, from->client_key_file);
    to->proxy = keep(&at, from->proxy);
    return 0;
}

static gs_ring_config ring_config(const gs_exporter_config *config) {
    return (gs_ring_config){
        .capacity_records = config->max_queue_spans, .capacity_bytes = config->max_queue_bytes, .leases = 0};
}

int gs_exporter_new(gs_exporter **self, const gs_exporter_config *config) {
    gs_ring_config ring = ring_config(config);
    if (config->max_batch_spans < 1 || config->max_batch_spans > config->max_queue_spans ||
        config->transport.url == NULL || config->max_request_bytes < 1 || config->schedule_delay_ns < 1 ||
        gs_ring_memory_bytes(&ring) == 0) {
        return EINVAL;
    }
    gs_exporter *made = NULL;
    if (posix_memalign((void **)&made, _Alignof(gs_exporter), sizeof *made) != 0) {
        return ENOMEM;
    }
    memset(made, 0, sizeof *made);
    made->config = *config;
    if (copy_transport_config(made, &config->transport) != 0) {
        free(made);
        return ENOMEM;
    }
    init_sync(made);
    /* relaxed: nobody else knows of it yet. */
    atomic_store_explicit(&made->stop_deadline_ns, GS_NEVER, memory_order_relaxed);

    (void)pthread_once(&fork_hooks_once, install_fork_hooks);
    pthread_mutex_lock(&all_lock);
    made->number = ++made_count;
    made->next = all;
    all = made;
    pthread_mutex_unlock(&all_lock);
    *self = made;
    return 0;
}

/* ---- start ---- */

/* lock held. Makes the ring and the thread, or leaves everything as it was. */
static gs_ring *start(gs_exporter *self) {
    gs_ring_config shape = ring_config(&self->config);
    size_t ring_bytes = gs_ring_memory_bytes(&shape);
    void *memory = mmap(NULL, ring_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    /* A forked child has no use for the parent's spans, and must not make the parent pay for copies of pages. */
    (void)madvise(memory, ring_bytes, MADV_DONTFORK);
    gs_batch *batch = NULL;
    gs_ring_cursor *ends = calloc(self->config.max_batch_spans, sizeof *ends);
    if (ends == NULL || gs_batch_new(&batch, self->config.max_batch_spans) != 0 ||
        gs_ring_init(memory, ring_bytes, &shape) != 0) {
        goto fail;
    }
    gs_ring *ring = memory;
    self->batch = batch;
    self->ends = ends;
    self->ring_bytes = ring_bytes;
    self->request_limit_bytes = self->config.max_request_bytes;
    self->random = (uint64_t)gs_now_ns() | 1;
    self->warm_end = NULL;
    /* relaxed: the thread is made after this, and others get the ring by the release below. */
    atomic_store_explicit(&self->flush_target, gs_ring_claimed_seq(ring), memory_order_relaxed);
    /* release, pairs with the acquire in gs_exporter_try_push: the ring is made. */
    atomic_store_explicit(&self->ring, ring, memory_order_release);

    int error = gs_native_thread_start(&self->thread, THREAD_STACK_BYTES, gs_export_thread, self);
    if (error == 0) {
        self->phase = GS_PHASE_RUNNING;
        if (pthread_getcpuclockid(self->thread, &self->thread_clock) != 0) {
            self->thread_clock = CLOCK_MONOTONIC;
        }
        return ring;
    }
    /* relaxed: nobody has pushed into it, since the lock was held all the while. */
    atomic_store_explicit(&self->ring, NULL, memory_order_relaxed);
    self->batch = NULL;
    self->ends = NULL;
fail:
    gs_batch_free(batch);
    free(ends);
    (void)munmap(memory, ring_bytes);
    return NULL;
}

static gs_ring *started_ring(gs_exporter *self) {
    /* acquire, pairs with the release in start: the ring is made. */
    gs_ring *ring = atomic_load_explicit(&self->ring, memory_order_acquire);
    if (ring != NULL) {
        return ring;
    }
    pthread_mutex_lock(&self->lock);
    ring = atomic_load_explicit(&self->ring, memory_order_relaxed); /* relaxed: changed under the lock only */
    if (ring == NULL && self->phase == GS_PHASE_IDLE) {
        ring = start(self);
    }
    pthread_mutex_unlock(&self->lock);
    return ring;
}

/* ---- pushing ---- */

static gs_status count_drop(gs_exporter *self, gs_drop_reason reason, gs_status status) {
    /* relaxed: a count. */
    atomic_fetch_add_explicit(&self->dropped[reason], 1, memory_order_relaxed);
    return status;
}

gs_status gs_exporter_try_push(gs_exporter *self, const gs_piece *pieces, size_t piece_count) {
    /* relaxed: a count. */
    atomic_fetch_add_explicit(&self->ended, 1, memory_order_relaxed);
    /* relaxed: a span that gets in while the shutdown begins is sent or counted by it. */
    if (atomic_load_explicit(&self->stopped, memory_order_relaxed)) {
        return count_drop(self, GS_DROP_SHUTDOWN, GS_STOPPED);
    }
    gs_ring *ring = started_ring(self);
    if (ring == NULL) {
        gs_messages_try_say(&self->messages, GS_SAY_NO_START, GS_MESSAGE_ERROR,
                            "Dropping Span: no memory or no thread for exporting: %s", strerror(errno));
        return count_drop(self, GS_DROP_NO_MEMORY, GS_NO_MEMORY);
    }
    size_t bytes = 0;
    for (size_t i = 0; i < piece_count; i++) {
        bytes += pieces[i].bytes;
    }
    gs_ring_claim claim;
    gs_status status =
        bytes > UINT32_MAX ? GS_TOO_LARGE : gs_ring_try_claim(ring, GS_RING_NO_LEASE, (uint32_t)bytes, &claim);
    if (status == GS_OK) {
        uint8_t *at = claim.data;
        for (size_t i = 0; i < piece_count; i++) {
            memcpy(at, pieces[i].data, pieces[i].bytes);
            at += pieces[i].bytes;
        }
        gs_ring_commit(ring, GS_RING_NO_LEASE, &claim);
        if (claim.depth >= self->config.max_batch_spans || gs_ring_used_bytes(ring) >= self->config.max_request_bytes) {
            gs_wake_notify(&self->wake, GS_WAKE_SPANS);
        }
        return GS_OK;
    }
    if (status == GS_TOO_LARGE) {
        gs_messages_try_say(&self->messages, GS_SAY_QUEUE_FULL, GS_MESSAGE_WARNING,
                            "Dropping Span of %zu bytes: the largest that the queue takes is %llu bytes "
                            "(half of GILSCOPE_MAX_QUEUE_BYTES)",
                            bytes, (unsigned long long)gs_ring_max_record_bytes(ring));
        return count_drop(self, GS_DROP_TOO_LARGE, GS_TOO_LARGE);
    }
    gs_messages_try_say(&self->messages, GS_SAY_QUEUE_FULL, GS_MESSAGE_WARNING,
                        "Queue full, dropping Span. (%u spans, %llu bytes queued)", gs_ring_depth(ring),
                        (unsigned long long)gs_ring_used_bytes(ring));
    return count_drop(self, GS_DROP_QUEUE_FULL, GS_FULL);
}

void gs_exporter_drop(gs_exporter *self, gs_drop_reason reason) {
    /* relaxed: a count. */
    atomic_fetch_add_explicit(&self->ended, 1, memory_order_relaxed);
    (void)count_drop(self, reason, GS_FAILED);
}

void gs_exporter_replaced(gs_exporter *self, uint64_t values) {
    /* relaxed: a count. */
    atomic_fetch_add_explicit(&self->replaced, values, memory_order_relaxed);
}

uint32_t gs_exporter_generation(const gs_exporter *self) {
    /* relaxed: changes in a fork only, where there is one thread. */
    return atomic_load_explicit(&self->generation, memory_order_relaxed);
}

/* ---- flushing and stopping ---- */

/* lock held; let go of while keep_waiting is asked. Waits for a change, and for 100 ms at most. False: no more waiting. */
static bool wait_for_change(gs_exporter *self, int64_t deadline_ns, gs_keep_waiting keep_waiting, void *context) {
    int64_t now_ns = gs_now_ns();
    if (now_ns >= deadline_ns) {
        return false;
    }
    struct timespec until = gs_timespec(gs_earlier(deadline_ns, gs_deadline_after(now_ns, ASK_NS)));
    if (pthread_cond_timedwait(&self->changed, &self->lock, &until) != ETIMEDOUT || keep_waiting == NULL) {
        return true;
    }
    pthread_mutex_unlock(&self->lock);
    bool goes_on = keep_waiting(context);
    pthread_mutex_lock(&self->lock);
    return goes_on;
}

gs_status gs_exporter_flush(gs_exporter *self, int64_t deadline_ns, gs_keep_waiting keep_waiting, void *context) {
    pthread_mutex_lock(&self->lock);
    gs_ring *ring = atomic_load_explicit(&self->ring, memory_order_relaxed); /* relaxed: changed under the lock only */
    if (atomic_load_explicit(&self->stopped, memory_order_relaxed) ||
        self->phase == GS_PHASE_CLOSED) { /* relaxed: as pushing */
        pthread_mutex_unlock(&self->lock);
        return GS_STOPPED;
    }
    if (ring == NULL) {
        pthread_mutex_unlock(&self->lock);
        return GS_OK;
    }
    gs_flush_waiter waiter = {.target = gs_ring_claimed_seq(ring), .next = self->waiters};
    self->waiters = &waiter;
    /* relaxed: written under the lock only, by flushes. */
    if ((int32_t)(waiter.target - atomic_load_explicit(&self->flush_target, memory_order_relaxed)) > 0) {
        /* seq_cst, pairs with the read in export_thread.c between gs_wake_prepare and gs_wake_park. */
        atomic_store_explicit(&self->flush_target, waiter.target, memory_order_seq_cst);
    }
    gs_wake_notify(&self->wake, GS_WAKE_CONTROL);

    gs_status status = GS_OK;
    while ((int32_t)(waiter.target - gs_ring_freed_seq(ring)) > 0) {
        if (self->phase != GS_PHASE_RUNNING) {
            status = GS_FAILED;
            break;
        }
        if (!wait_for_change(self, deadline_ns, keep_waiting, context) &&
            (int32_t)(waiter.target - gs_ring_freed_seq(ring)) > 0) {
            status = GS_TIMEOUT;
            break;
        }
    }
    if (status == GS_OK && waiter.failed) {
        status = GS_FAILED;
    }
    for (gs_flush_waiter **link = &self->waiters; *link != NULL; link = &(*link)->next) {
        if (*link == &waiter) {
            *link = waiter.next;
            break;
        }
    }
    pthread_mutex_unlock(&self->lock);
    return status;
}

static bool stop_begun(gs_exporter *self) {
    /* relaxed: written under the lock only. */
    return atomic_load_explicit(&self->stop_deadline_ns, memory_order_relaxed) != GS_NEVER;
}

/* lock held. Waits for the thread's end until the deadline. */
static bool wait_ended(gs_exporter *self, int64_t deadline_ns, gs_keep_waiting keep_waiting, void *context) {
    while (self->phase == GS_PHASE_RUNNING && wait_for_change(self, deadline_ns, keep_waiting, context)) {
    }
    return self->phase != GS_PHASE_RUNNING;
}

/* lock held */
static uint64_t failed_spans(const gs_exporter *self) {
    uint64_t failed = 0;
    for (int reason = 0; reason < GS_FAIL_REASONS; reason++) {
        failed += self->counts.failed[reason];
    }
    return failed;
}

gs_status gs_exporter_shutdown(gs_exporter *self, int64_t deadline_ns, gs_keep_waiting keep_waiting, void *context) {
    pthread_mutex_lock(&self->lock);
    /* relaxed: under the lock, and a push that misses it is counted as any other. */
    bool was_stopped = atomic_exchange_explicit(&self->stopped, true, memory_order_relaxed);
    if (self->phase == GS_PHASE_CLOSED || (was_stopped && stop_begun(self))) {
        pthread_mutex_unlock(&self->lock);
        return GS_STOPPED;
    }
    if (self->phase == GS_PHASE_IDLE) {
        self->phase = GS_PHASE_CLOSED;
        pthread_mutex_unlock(&self->lock);
        return GS_OK;
    }
    uint64_t failed_before = failed_spans(self);
    /* seq_cst, pairs with the reads in export_thread.c between gs_wake_prepare and gs_wake_park. */
    atomic_store_explicit(&self->stop_deadline_ns, deadline_ns, memory_order_seq_cst);
    gs_wake_notify(&self->wake, GS_WAKE_CONTROL);

    bool ended = wait_ended(self, deadline_ns, keep_waiting, context);
    /* No more time for the thread either, if the wait was broken off. seq_cst, as above. */
    atomic_store_explicit(&self->stop_deadline_ns, gs_now_ns(), memory_order_seq_cst);
    if (!ended && self->transport != NULL) {
        gs_transport_interrupt(self->transport);
    }
    ended = ended || wait_ended(self, gs_deadline_after(gs_now_ns(), LAST_WORDS_NS), NULL, NULL);
    gs_status status = failed_spans(self) == failed_before ? GS_OK : GS_FAILED;
    if (ended) {
        self->phase = GS_PHASE_CLOSED;
    }
    pthread_t thread = self->thread;
    pthread_mutex_unlock(&self->lock);

    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += LAST_WORDS_NS;
    until.tv_sec += until.tv_nsec / GS_NS_PER_S;
    until.tv_nsec %= GS_NS_PER_S;
    if (!ended || pthread_timedjoin_np(thread, NULL, &until) != 0) {
        /* Stuck in a name look-up, say. What it still touches is not freed (see gs_exporter_free). */
        pthread_detach(thread);
    }
    return ended ? status : GS_TIMEOUT;
}

void gs_exporter_free(gs_exporter *self) {
    if (self == NULL) {
        return;
    }
    (void)gs_exporter_shutdown(self, gs_now_ns(), NULL, NULL);
    pthread_mutex_lock(&all_lock);
    for (gs_exporter **link = &all; *link != NULL; link = &(*link)->next) {
        if (*link == self) {
            *link = self->next;
            break;
        }
    }
    pthread_mutex_unlock(&all_lock);
    if (self->phase != GS_PHASE_CLOSED) {
        return; /* an orphaned thread still uses it: leaked */
    }
    /* relaxed: nobody pushes into an exporter that is being freed. */
    gs_ring *ring = atomic_load_explicit(&self->ring, memory_order_relaxed);
    if (ring != NULL) {
        (void)munmap(ring, self->ring_bytes);
    }
    gs_batch_free(self->batch);
    free(self->ends);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    free(self->config_text);
    free(self);
}

/* ---- counting ---- */

void gs_exporter_observe(gs_export_observer observer) {
    /* release, pairs with the acquire in gs_exporter_observer: what the observer needs is there. */
    atomic_store_explicit(&observed_by, observer, memory_order_release);
}

gs_export_observer gs_exporter_observer(void) {
    /* acquire, pairs with the release in gs_exporter_observe */
    return atomic_load_explicit(&observed_by, memory_order_acquire);
}

void gs_exporter_get_stats(gs_exporter *self, gs_exporter_stats *stats) {
    pthread_mutex_lock(&self->lock);
    gs_ring *ring = atomic_load_explicit(&self->ring, memory_order_relaxed); /* relaxed: changed under the lock only */
    if (self->phase == GS_PHASE_ENDED || self->phase == GS_PHASE_CLOSED) {
        /* A push that overlapped the shutdown may have come after the thread's last look. */
        gs_export_give_up(self);
    }
    *stats = self->counts;
    if (ring != NULL) {
        stats->queued = gs_ring_depth(ring);
        stats->queued_bytes = gs_ring_used_bytes(ring);
    }
    struct timespec cpu;
    if (self->phase == GS_PHASE_RUNNING && clock_gettime(self->thread_clock, &cpu) == 0) {
        stats->thread_cpu_ns = (uint64_t)cpu.tv_sec * (uint64_t)GS_NS_PER_S + (uint64_t)cpu.tv_nsec;
    }
    /* relaxed: counts; `ended` last, so that a push that runs meanwhile can only make it larger than the sum. */
    for (int reason = 0; reason < GS_DROP_REASONS; reason++) {
        stats->dropped[reason] = atomic_load_explicit(&self->dropped[reason], memory_order_relaxed);
    }
    stats->replaced_values = atomic_load_explicit(&self->replaced, memory_order_relaxed);
    stats->ended = atomic_load_explicit(&self->ended, memory_order_relaxed);
    pthread_mutex_unlock(&self->lock);
}

bool gs_exporter_message_waiting(const gs_exporter *self) {
    return gs_messages_waiting(&self->messages);
}

bool gs_exporter_next_message(gs_exporter *self, gs_message *message) {
    return gs_messages_try_next(&self->messages, message);
}
