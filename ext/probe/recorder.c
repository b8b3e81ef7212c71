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
#include "core/clock.h"
#include "core/native_thread.h"
#include "core/ring.h"
#include "core/wake.h"
#include "definitions.h"

/* The ring is looked at every 20 ms: room for 65,536 events, or 8 MiB of stacks, is for 3 million events a second. */
#define RING_RECORDS  65536u
#define RING_BYTES    (UINT64_C(8) << 20)
#define PERIOD_NS     (20 * GS_NS_PER_MS)
/* A recording that is killed loses at most this much, in time or in events. */
#define FLUSH_NS      (500 * GS_NS_PER_MS)
#define CHUNK_EVENTS  8192u
#define DEFINED_BYTES (1u << 20)
#define NAME_BYTES    256u
#define STACK_BYTES   (256u << 10)
#define MAX_NAMED     65536u

struct known_thread {
    uint32_t native_id;
    uint8_t loop;
    uint8_t name_bytes_known;
    uint64_t identity;
    char *name; /* NULL: none yet */
};

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
    gs_definitions *definitions;
    gs_event events[CHUNK_EVENTS];
    size_t event_count;
    int64_t flushed_ns;
    uint64_t told_lost[4];
    uint64_t event_total;
    struct known_thread *threads;
    uint32_t thread_count;
    bool new_thread;

    gs_recorder_stats told; /* under mutex: a copy for gs_recorder_look */
    pthread_mutex_t mutex;
} recorder = {.mutex = PTHREAD_MUTEX_INITIALIZER};

void gs_recorder_lost(gs_lost_reason reason) {
    /* relaxed: totals */
    atomic_fetch_add_explicit(&recorder.lost_now[reason], 1, memory_order_relaxed);
}

static void push(const gs_event *event, const void *rest, size_t rest_bytes) {
    /* ACQUIRE, pairs with RELEASE in gs_recorder_start: the ring is made */
    gs_ring *ring = atomic_load_explicit(&recorder.ring, memory_order_acquire);
    gs_ring_claim claim;
    if (ring == NULL) {
        return;
    }
    if (gs_ring_try_claim(ring, GS_RING_NO_LEASE, (uint32_t)(sizeof *event + rest_bytes), &claim) != GS_OK) {
        gs_recorder_lost(GS_LOST_RING_FULL);
        return;
    }
    memcpy(claim.data, event, sizeof *event);
    if (rest_bytes > 0) {
        memcpy(claim.data + sizeof *event, rest, rest_bytes);
    }
    gs_ring_commit(ring, GS_RING_NO_LEASE, &claim);
}

void gs_recorder_push(const gs_event *event, const gs_raw_frame *frames, size_t frame_count) {
    gs_event counted = *event;
    counted.frames = (uint16_t)frame_count;
    push(&counted, frames, frame_count * sizeof *frames);
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

void gs_recorder_push_name(uint32_t thread, const char *name, size_t bytes) {
    bytes = bytes < NAME_BYTES ? bytes : NAME_BYTES;
    gs_event event = {.kind = GS_EVENT_NAME, .thread = thread, .count = (uint32_t)bytes};
    push(&event, name, bytes);
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

static struct known_thread *thread_at(uint32_t number) {
    if (number >= MAX_NAMED) {
        return NULL;
    }
    if (number >= recorder.thread_count) {
        uint32_t count = number + 256;
        struct known_thread *more = realloc(recorder.threads, count * sizeof *more);
        if (more == NULL) {
            gs_recorder_lost(GS_LOST_NO_MEMORY);
            return NULL;
        }
        memset(more + recorder.thread_count, 0, (count - recorder.thread_count) * sizeof *more);
        recorder.threads = more;
        recorder.thread_count = count;
    }
    return &recorder.threads[number];
}

static void define_thread(uint32_t number, const struct known_thread *thread) {
    const char *name = thread->name == NULL ? "" : thread->name;
    gs_definitions_thread(recorder.definitions, number, thread->native_id, thread->identity, thread->loop, name,
                          strlen(name));
}

static void learn_thread(const gs_event *event) {
    struct known_thread *thread = thread_at(event->thread);
    if (thread != NULL) {
        recorder.new_thread = recorder.new_thread || thread->name == NULL;
        thread->native_id = (uint32_t)event->b;
        thread->identity = event->a;
        thread->loop = (uint8_t)event->count;
        define_thread(event->thread, thread);
    }
}

static void learn_name(const gs_event *event, const char *name) {
    struct known_thread *thread = thread_at(event->thread);
    if (thread != NULL) {
        free(thread->name);
        thread->name = strndup(name, event->count);
        define_thread(event->thread, thread);
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
        gs_definitions_code(recorder.definitions, rest);
    } else {
        append(event, gs_definitions_stack(recorder.definitions, rest, event->frames));
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

int gs_recorder_start(const gs_recorder_config *config) {
    /* relaxed: written here only, by one thread at a time */
    gs_ring *ring = atomic_load_explicit(&recorder.ring, memory_order_relaxed);
    if (ring == NULL) {
        ring = make_ring();
    }
    recorder.definitions = ring == NULL ? NULL : gs_definitions_new();
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
    gs_chunk_writer_begin(&recorder.writer, config->file);
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

int gs_recorder_stop(uint64_t samples_taken, uint64_t samples_late, uint64_t samples_missed) {
    /* seq_cst, pairs with the re-check and the ACQUIRE in record */
    atomic_store_explicit(&recorder.stopping, true, memory_order_seq_cst);
    gs_wake_notify(&recorder.wake, GS_WAKE_CONTROL);
    pthread_join(recorder.thread, NULL);
    recorder.running = false;
    char end[512];
    /* relaxed: totals */
    int bytes = snprintf(
        end, sizeof end,
        "{\"ended_monotonic_ns\": %lld, \"lost\": {\"ring_full\": %llu, \"no_memory\": %llu, \"write_failed\": %llu}, "
        "\"samples\": {\"taken\": %llu, \"late\": %llu, \"missed\": %llu}}",
        (long long)gs_now_ns(),
        (unsigned long long)atomic_load_explicit(&recorder.lost_now[GS_LOST_RING_FULL], memory_order_relaxed),
        (unsigned long long)atomic_load_explicit(&recorder.lost_now[GS_LOST_NO_MEMORY], memory_order_relaxed),
        (unsigned long long)atomic_load_explicit(&recorder.lost_now[GS_LOST_WRITE_FAILED], memory_order_relaxed),
        (unsigned long long)samples_taken, (unsigned long long)samples_late, (unsigned long long)samples_missed);
    gs_chunk_write(&recorder.writer, GS_CHUNK_END, end, (size_t)bytes);
    recorder.told.file_bytes = recorder.writer.file_bytes;
    if (close(recorder.writer.file) != 0 && recorder.writer.error == 0) {
        recorder.writer.error = errno;
    }
    recorder.told.write_error = recorder.writer.error;
    gs_definitions_free(recorder.definitions);
    for (uint32_t i = 0; i < recorder.thread_count; i++) {
        free(recorder.threads[i].name);
    }
    free(recorder.threads);
    recorder.threads = NULL;
    recorder.thread_count = 0;
    return recorder.writer.error;
}

void gs_recorder_forget(void) {
    /* Claims of the parent's threads would never be committed here: the next recording makes a ring of its own.
     * relaxed: after fork, in the child, there is one thread */
    atomic_store_explicit(&recorder.ring, NULL, memory_order_relaxed);
    if (recorder.running) {
        close(recorder.writer.file);
        recorder.running = false;
        recorder.threads = NULL;
        recorder.thread_count = 0;
    }
    pthread_mutex_init(&recorder.mutex, NULL);
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
