#include "recorder.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "chunk_writer.h"
#include "codes.h"
#include "core/clock.h"
#include "core/native_thread.h"
#include "core/ring.h"
#include "core/wake.h"
#include "definitions.h"
#include "flight.h"
#include "known_threads.h"
#include "stack_sampler.h"
#include "totals.h"

/* The ring is emptied every 80 to 100 ms, and as soon as a quarter of it is used. */
#define RING_RECORDS             65536u
#define RING_BYTES               (UINT64_C(8) << 20)
#define PERIOD_NS                (80 * GS_NS_PER_MS)
#define SLACK_NS                 (20 * GS_NS_PER_MS)
/* A recording that is killed loses at most this much, in time or in events. */
#define FLUSH_NS                 (500 * GS_NS_PER_MS)
#define CHUNK_EVENTS             8192u
#define DEFINED_BYTES            (1u << 20)
#define STACK_BYTES              (256u << 10)
/* What a recording without a file keeps: some 30 seconds of a busy service, compressed. */
#define FLIGHT_EVENTS_BYTES      (8u << 20)
#define FLIGHT_DEFINITIONS_BYTES (16u << 20)

static struct {
    /* One for the life of the process: a hook may push into it at any time, also just after a recording has ended. */
    gs_ring *_Atomic ring;
    bool running;
    gs_wake wake;
    _Atomic bool stopping;
    pthread_t thread;
    _Atomic uint64_t lost_now[4];

    /* The recorder thread's. */
    void (*on_new_thread)(void);
    gs_chunk_writer writer;
    gs_flight *flight;
    bool totals;
    gs_definitions *definitions;
    gs_event events[CHUNK_EVENTS];
    size_t event_count;
    int64_t flushed_ns;
    uint64_t told_lost[4];
    uint64_t event_total;
    gs_known_threads *threads; /* written under mutex */
    bool new_thread;
    gs_code_copy *copied[GS_COPIED_CODES]; /* under mutex; NULL: not there */

    gs_recorder_stats told; /* under mutex: a copy for gs_recorder_look */
    pthread_mutex_t mutex;
} recorder = {.mutex = PTHREAD_MUTEX_INITIALIZER};

void gs_recorder_lost(gs_lost_reason reason) {
    /* relaxed: totals */
    atomic_fetch_add_explicit(&recorder.lost_now[reason], 1, memory_order_relaxed);
}

static bool push(const gs_event *event, const void *rest, size_t rest_bytes) {
    /* ACQUIRE, pairs with RELEASE in gs_recorder_start: the ring is made */
    gs_ring *ring = atomic_load_explicit(&recorder.ring, memory_order_acquire);
    gs_ring_claim claim;
    if (ring == NULL) {
        return false;
    }
    if (gs_ring_try_claim(ring, GS_RING_NO_LEASE, (uint32_t)(sizeof *event + rest_bytes), &claim) != GS_OK) {
        gs_recorder_lost(GS_LOST_RING_FULL);
        return false;
    }
    memcpy(claim.data, event, sizeof *event);
    if (rest_bytes > 0) {
        memcpy(claim.data + sizeof *event, rest, rest_bytes);
    }
    gs_ring_commit(ring, GS_RING_NO_LEASE, &claim);
    if (claim.depth >= RING_RECORDS / 4 || (rest_bytes > 0 && gs_ring_used_bytes(ring) >= RING_BYTES / 4)) {
        gs_wake_notify(&recorder.wake, GS_WAKE_CONTROL);
    }
    return true;
}

bool gs_recorder_push(const gs_event *event, const gs_raw_frame *frames, size_t frame_count) {
    gs_event counted = *event;
    counted.frames = (uint16_t)frame_count;
    return push(&counted, frames, frame_count * sizeof *frames);
}

bool gs_recorder_push_holds(uint32_t thread, int64_t now_ns, const gs_bucket_count *counts, uint16_t count) {
    gs_event event = {.kind = GS_EVENT_HOLDS, .frames = count, .thread = thread, .start_ns = now_ns};
    return push(&event, counts, count * sizeof *counts);
}

void gs_recorder_push_thread(const gs_thread *thread) {
    gs_event event = {.kind = GS_EVENT_THREAD,
                      .thread = thread->number,
                      /* relaxed: a kind */
                      .count = atomic_load_explicit(&thread->loop, memory_order_relaxed),
                      .a = thread->identity,
                      .b = (uint64_t)thread->native_id};
    push(&event, NULL, 0);
}

static void push_text(gs_event event, const char *text, size_t bytes) {
    if (bytes > GS_NAME_BYTES) {
        /* Not inside a character. */
        for (bytes = GS_NAME_BYTES; bytes > 0 && ((uint8_t)text[bytes] & 0xc0) == 0x80; bytes--) {
        }
    }
    event.count = (uint32_t)bytes;
    push(&event, text, bytes);
}

void gs_recorder_push_name(uint32_t thread, const char *name, size_t bytes) {
    push_text((gs_event){.kind = GS_EVENT_NAME, .thread = thread}, name, bytes);
}

void gs_recorder_push_task(uint32_t thread, int64_t now_ns, const char *name, size_t bytes) {
    push_text((gs_event){.kind = GS_EVENT_TASK, .thread = thread, .start_ns = now_ns}, name, bytes);
}

void gs_recorder_push_code(const gs_code_copy *copy) {
    gs_event event = {.kind = GS_EVENT_CODE};
    push(&event, copy, sizeof *copy);
}

static void flush(void) {
    size_t bytes = 0;
    const uint8_t *pending = gs_definitions_pending(recorder.definitions, &bytes);
    gs_chunk_write(&recorder.writer, GS_CHUNK_DEFINITIONS, pending, bytes);
    gs_definitions_clear(recorder.definitions);
    gs_chunk_write(&recorder.writer, GS_CHUNK_EVENTS, recorder.events, recorder.event_count * sizeof(gs_event));
    recorder.event_total += recorder.event_count;
    recorder.event_count = 0;
    recorder.flushed_ns = gs_now_ns();
    pthread_mutex_lock(&recorder.mutex);
    recorder.told.events = recorder.event_total;
    recorder.told.stacks = gs_definitions_stacks(recorder.definitions);
    recorder.told.file_bytes = recorder.writer.file_bytes;
    recorder.told.chunks = recorder.writer.next_number;
    recorder.told.write_error = recorder.writer.error;
    pthread_mutex_unlock(&recorder.mutex);
}

static void append(const gs_event *event, uint32_t stack) {
    if (recorder.writer.error != 0) {
        gs_recorder_lost(GS_LOST_WRITE_FAILED);
        return;
    }
    gs_event *to = &recorder.events[recorder.event_count++];
    *to = *event;
    to->frames = 0;
    to->stack = stack;
    size_t defined_bytes = 0;
    gs_definitions_pending(recorder.definitions, &defined_bytes);
    if (recorder.event_count == CHUNK_EVENTS || defined_bytes >= DEFINED_BYTES) {
        flush();
    }
}

/* Under mutex. */
static gs_known_thread *add_thread(uint32_t number) {
    gs_known_thread *thread = gs_known_threads_add(recorder.threads, number);
    if (thread == NULL) {
        gs_recorder_lost(GS_LOST_NO_MEMORY);
    } else if (thread->known_since_ns == 0) {
        thread->known_since_ns = gs_now_ns();
        recorder.new_thread = true;
    }
    return thread;
}

static void define_thread(const gs_known_thread *thread) {
    const char *name = thread->name == NULL ? "" : thread->name;
    gs_definitions_thread(recorder.definitions, thread->number, thread->native_id, thread->identity, thread->loop, name,
                          strlen(name));
}

static void learn_thread(const gs_event *event) {
    pthread_mutex_lock(&recorder.mutex);
    gs_known_thread *thread = add_thread(event->thread);
    if (thread != NULL) {
        thread->native_id = (uint32_t)event->b;
        thread->identity = event->a;
        thread->loop = (uint8_t)event->count;
        define_thread(thread);
    }
    pthread_mutex_unlock(&recorder.mutex);
}

static void learn_name(const gs_event *event, const char *text) {
    gs_known_thread *thread = gs_known_threads_find(recorder.threads, event->thread);
    char *name = thread == NULL ? NULL : strndup(text, event->count);
    if (name == NULL || (thread->name != NULL && strcmp(thread->name, name) == 0)) {
        free(name);
        return;
    }
    pthread_mutex_lock(&recorder.mutex);
    free(thread->name);
    thread->name = name;
    define_thread(thread);
    pthread_mutex_unlock(&recorder.mutex);
    if (recorder.totals) {
        gs_totals_named(thread);
    }
}

static void learn_end(const gs_event *event) {
    gs_known_thread *thread = gs_known_threads_find(recorder.threads, event->thread);
    if (thread != NULL) {
        thread->ended = true;
        if (recorder.totals) {
            gs_totals_ended(thread);
        }
    }
}

static void learn_code(const gs_code_copy *copy) {
    gs_definitions_code(recorder.definitions, copy);
    if (copy->number <= GS_PINNED_CODES || copy->number > GS_PINNED_CODES + GS_COPIED_CODES) {
        return;
    }
    gs_code_copy *kept = malloc(sizeof *kept);
    if (kept != NULL) {
        *kept = *copy;
    }
    pthread_mutex_lock(&recorder.mutex);
    gs_code_copy **place = &recorder.copied[copy->number - GS_PINNED_CODES - 1];
    free(*place);
    *place = kept;
    pthread_mutex_unlock(&recorder.mutex);
}

static void take_in_event(const gs_event *event, const gs_raw_frame *frames, uint16_t frame_count) {
    /* There may have been no room to tell of a new thread. A run can end when its thread is gone for long. */
    if (event->kind != GS_EVENT_RUN && event->thread != 0 &&
        gs_known_threads_find(recorder.threads, event->thread) == NULL) {
        pthread_mutex_lock(&recorder.mutex);
        (void)add_thread(event->thread);
        pthread_mutex_unlock(&recorder.mutex);
    }
    if (recorder.totals) {
        gs_totals_add(event, frames);
    }
    append(event, gs_definitions_stack(recorder.definitions, frames, frame_count));
}

static void take_in_task(const gs_event *event, const char *name) {
    gs_event task = *event;
    task.count = gs_definitions_text(recorder.definitions, name, event->count);
    take_in_event(&task, NULL, 0);
}

static void take_in_holds(const gs_event *event, const gs_bucket_count *counts) {
    for (uint16_t i = 0; i < event->frames; i++) {
        gs_event holds = {.kind = GS_EVENT_HOLDS,
                          .thread = event->thread,
                          .start_ns = event->start_ns,
                          .count = counts[i].count,
                          .a = gs_histogram_first(counts[i].bucket),
                          .b = gs_histogram_limit(counts[i].bucket)};
        take_in_event(&holds, NULL, 0);
    }
}

static void take_in(const gs_ring_record *record) {
    if (record->bytes < sizeof(gs_event)) {
        return;
    }
    const gs_event *event = (const gs_event *)(const void *)record->data;
    const void *rest = record->data + sizeof *event;
    if (event->kind == GS_EVENT_THREAD) {
        learn_thread(event);
    } else if (event->kind == GS_EVENT_NAME) {
        learn_name(event, rest);
    } else if (event->kind == GS_EVENT_CODE) {
        learn_code(rest);
    } else if (event->kind == GS_EVENT_ENDED) {
        learn_end(event);
    } else if (event->kind == GS_EVENT_HOLDS) {
        take_in_holds(event, rest);
    } else if (event->kind == GS_EVENT_TASK) {
        take_in_task(event, rest);
    } else {
        take_in_event(event, rest, event->frames);
    }
}

static void drain(gs_ring *ring) {
    gs_ring_cursor cursor = gs_ring_first(ring);
    gs_ring_record record;
    while (gs_ring_peek(ring, &cursor, &record) == GS_OK) {
        take_in(&record);
        gs_ring_free_through(ring, &cursor);
    }
}

/* The flight recorder starts anew when what it would have to keep for ever has grown too large: programs that make code
 * objects all the time make stacks all the time. */
static void renew_definitions(void) {
    gs_definitions *renewed = gs_definitions_new();
    if (renewed == NULL) {
        return;
    }
    gs_definitions_free(recorder.definitions);
    recorder.definitions = renewed;
    recorder.event_count = 0;
    gs_flight_clear(recorder.flight);
    for (gs_known_thread *thread = gs_known_threads_next(recorder.threads, NULL); thread != NULL;
         thread = gs_known_threads_next(recorder.threads, thread)) {
        define_thread(thread);
    }
    /* The sampler tells of a code once only. */
    for (uint32_t i = 0; i < GS_COPIED_CODES; i++) {
        if (recorder.copied[i] != NULL) {
            gs_definitions_code(recorder.definitions, recorder.copied[i]);
        }
    }
}

static void tell_lost(void) {
    for (uint32_t reason = 1; reason < 4; reason++) {
        /* relaxed: totals */
        uint64_t lost = atomic_load_explicit(&recorder.lost_now[reason], memory_order_relaxed);
        if (lost != recorder.told_lost[reason] && recorder.writer.error == 0) {
            gs_event event = {.kind = GS_EVENT_LOST,
                              .start_ns = gs_now_ns(),
                              .count = reason,
                              .a = lost - recorder.told_lost[reason]};
            recorder.told_lost[reason] = lost;
            append(&event, 0);
        }
    }
}

static void *record(void *context) {
    gs_ring *ring = context;
    bool stopping = false;
    (void)pthread_setname_np(pthread_self(), "gilscope-record");
    gs_native_thread_slack(SLACK_NS);
    while (!stopping) {
        /* ACQUIRE, pairs with RELEASE in gs_recorder_stop: what was pushed before */
        stopping = atomic_load_explicit(&recorder.stopping, memory_order_acquire);
        drain(ring);
        if (recorder.new_thread && !stopping) {
            recorder.new_thread = false;
            recorder.on_new_thread();
        }
        tell_lost();
        if (gs_now_ns() - recorder.flushed_ns >= FLUSH_NS) {
            flush();
            if (recorder.totals) {
                gs_totals_settle(gs_now_ns(), false);
            }
            if (recorder.flight != NULL && gs_flight_is_full(recorder.flight)) {
                renew_definitions();
            }
        }
        gs_wake_prepare(&recorder.wake, GS_WAKE_CONTROL);
        /* seq_cst: the re-check, see W1 in wake.h */
        if (stopping || atomic_load_explicit(&recorder.stopping, memory_order_seq_cst)) {
            gs_wake_cancel(&recorder.wake);
        } else {
            gs_wake_park(&recorder.wake, gs_now_ns() + PERIOD_NS);
        }
    }
    flush();
    if (recorder.totals) {
        gs_totals_settle(gs_now_ns(), true);
    }
    return NULL;
}

static gs_ring *make_ring(void) {
    gs_ring_config config = {.capacity_records = RING_RECORDS, .capacity_bytes = RING_BYTES};
    size_t bytes = gs_ring_memory_bytes(&config);
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    gs_ring_init(memory, bytes, &config);
    return memory;
}

static void discard(gs_ring *ring) {
    gs_ring_cursor cursor = gs_ring_first(ring);
    gs_ring_record record;
    while (gs_ring_peek(ring, &cursor, &record) == GS_OK) {
        gs_ring_free_through(ring, &cursor);
    }
}

/* What was known of the recording before can be read until the next begins. */
static bool renew_threads(void) {
    pthread_mutex_lock(&recorder.mutex);
    gs_known_threads_free(recorder.threads);
    recorder.threads = gs_known_threads_new();
    bool is_made = recorder.threads != NULL;
    pthread_mutex_unlock(&recorder.mutex);
    return is_made;
}

int gs_recorder_start(const gs_recorder_config *config) {
    /* relaxed: written here only, by one thread at a time */
    gs_ring *ring = atomic_load_explicit(&recorder.ring, memory_order_relaxed);
    if (ring == NULL) {
        ring = make_ring();
    }
    recorder.definitions = ring != NULL && renew_threads() ? gs_definitions_new() : NULL;
    if (recorder.definitions == NULL) {
        return ENOMEM;
    }
    /* RELEASE, pairs with ACQUIRE in push: the ring is made */
    atomic_store_explicit(&recorder.ring, ring, memory_order_release);
    discard(ring);
    recorder.on_new_thread = config->on_new_thread;
    recorder.event_count = 0;
    recorder.event_total = 0;
    recorder.new_thread = false;
    recorder.flushed_ns = gs_now_ns();
    memset(recorder.told_lost, 0, sizeof recorder.told_lost);
    memset(&recorder.told, 0, sizeof recorder.told);
    for (size_t reason = 0; reason < 4; reason++) {
        /* relaxed: nothing is recorded yet */
        atomic_store_explicit(&recorder.lost_now[reason], 0, memory_order_relaxed);
    }
    gs_wake_init(&recorder.wake);
    /* relaxed: the thread is made below */
    atomic_store_explicit(&recorder.stopping, false, memory_order_relaxed);
    recorder.flight = config->file < 0 ? gs_flight_new(FLIGHT_EVENTS_BYTES, FLIGHT_DEFINITIONS_BYTES) : NULL;
    recorder.totals =
        config->totals_threshold_ns > 0 && gs_totals_start(config->totals_threshold_ns, recorder.threads) == 0;
    gs_chunk_writer_begin(&recorder.writer, config->file, recorder.flight);
    gs_chunk_write(&recorder.writer, GS_CHUNK_METADATA, config->metadata, config->metadata_bytes);
    int error = recorder.writer.error;
    if (error == 0) {
        error = gs_native_thread_start(&recorder.thread, STACK_BYTES, record, ring);
    }
    if (error == 0) {
        recorder.running = true;
    } else {
        gs_definitions_free(recorder.definitions);
    }
    return error;
}

static void write_end(gs_chunk_writer *writer) {
    char end[512];
    gs_sampler_stats sampled = gs_sampler_look();
    gs_recorder_stats stats = gs_recorder_look();
    int bytes = snprintf(end, sizeof end,
                         "{\"ended_monotonic_ns\": %lld, "
                         "\"lost\": {\"ring_full\": %llu, \"no_memory\": %llu, \"write_failed\": %llu}, "
                         "\"samples\": {\"taken\": %llu, \"late\": %llu, \"missed\": %llu}}",
                         (long long)gs_now_ns(), (unsigned long long)stats.lost[GS_LOST_RING_FULL],
                         (unsigned long long)stats.lost[GS_LOST_NO_MEMORY],
                         (unsigned long long)stats.lost[GS_LOST_WRITE_FAILED], (unsigned long long)sampled.taken,
                         (unsigned long long)sampled.late, (unsigned long long)sampled.missed);
    gs_chunk_write(writer, GS_CHUNK_END, end, (size_t)bytes);
}

int gs_recorder_dump(int file) {
    size_t bytes = 0;
    uint32_t chunks = 0;
    uint8_t *copy = recorder.flight == NULL ? NULL : gs_flight_copy(recorder.flight, &bytes, &chunks);
    if (copy == NULL) {
        return recorder.flight == NULL ? EINVAL : ENOMEM;
    }
    gs_chunk_writer writer;
    gs_chunk_writer_begin(&writer, file, NULL);
    gs_chunk_append(&writer, copy, bytes, chunks);
    free(copy);
    write_end(&writer);
    return writer.error;
}

int gs_recorder_stop(void) {
    /* seq_cst, pairs with the re-check and the ACQUIRE in record */
    atomic_store_explicit(&recorder.stopping, true, memory_order_seq_cst);
    gs_wake_notify(&recorder.wake, GS_WAKE_CONTROL);
    pthread_join(recorder.thread, NULL);
    recorder.running = false;
    if (recorder.flight == NULL) {
        write_end(&recorder.writer);
        recorder.told.file_bytes = recorder.writer.file_bytes;
        if (close(recorder.writer.file) != 0 && recorder.writer.error == 0) {
            recorder.writer.error = errno;
        }
    }
    recorder.told.write_error = recorder.writer.error;
    gs_flight_free(recorder.flight);
    recorder.flight = NULL;
    gs_definitions_free(recorder.definitions);
    for (uint32_t i = 0; i < GS_COPIED_CODES; i++) {
        free(recorder.copied[i]);
        recorder.copied[i] = NULL;
    }
    return recorder.writer.error;
}

void gs_recorder_forget(void) {
    /* Claims of the parent's threads would never be committed here: the next recording makes a ring of its own.
     * relaxed: after fork, in the child, there is one thread */
    atomic_store_explicit(&recorder.ring, NULL, memory_order_relaxed);
    if (recorder.running) {
        if (recorder.writer.file >= 0) {
            close(recorder.writer.file);
        }
        recorder.flight = NULL; /* its lock may be held by a thread that is not here */
        recorder.running = false;
        recorder.threads = NULL;
    }
    pthread_mutex_init(&recorder.mutex, NULL);
}

bool gs_recorder_thread(uint32_t thread, uint32_t *native_id, char *name) {
    pthread_mutex_lock(&recorder.mutex);
    const gs_known_thread *known = recorder.threads == NULL ? NULL : gs_known_threads_find(recorder.threads, thread);
    if (known != NULL) {
        *native_id = known->native_id;
        const char *found = known->name == NULL ? "" : known->name;
        memcpy(name, found, strlen(found) + 1);
    }
    pthread_mutex_unlock(&recorder.mutex);
    return known != NULL;
}

bool gs_recorder_describe(const gs_raw_frame *frame, gs_code_copy *code, uint32_t *line) {
    if (gs_frames_describe(frame, code, line)) {
        return true;
    }
    uint32_t index = frame->code - GS_PINNED_CODES - 1;
    *line = (uint32_t)frame->position;
    pthread_mutex_lock(&recorder.mutex);
    const gs_code_copy *kept = index < GS_COPIED_CODES ? recorder.copied[index] : NULL;
    if (kept != NULL) {
        *code = *kept;
    }
    pthread_mutex_unlock(&recorder.mutex);
    return kept != NULL;
}

gs_recorder_stats gs_recorder_look(void) {
    pthread_mutex_lock(&recorder.mutex);
    gs_recorder_stats stats = recorder.told;
    pthread_mutex_unlock(&recorder.mutex);
    for (size_t reason = 0; reason < 4; reason++) {
        /* relaxed: totals */
        stats.lost[reason] = atomic_load_explicit(&recorder.lost_now[reason], memory_order_relaxed);
    }
    return stats;
}
