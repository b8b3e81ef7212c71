#include "threads.h"

#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "events.h"
#include "gil_trace.h"
#include "recorder.h"

#define MAX_THREADS 2048u

_Thread_local gs_thread *gs_thread_mine __attribute__((tls_model("initial-exec")));
_Thread_local uint32_t gs_thread_recording __attribute__((tls_model("initial-exec")));
_Atomic uint32_t gs_threads_recording = 1;

static gs_thread threads[MAX_THREADS];
static gs_holds holds[MAX_THREADS];   /* of the thread in the same place */
static _Atomic uint32_t threads_used; /* records below have been used */
static _Atomic uint32_t last_number;
static pthread_key_t ended_key;
static pthread_once_t ended_once = PTHREAD_ONCE_INIT;

static void on_thread_end(void *record) {
    gs_thread *self = record;
    if (gs_thread_recording == gs_load(&gs_threads_recording)) {
        gs_gil_thread_ended(self);
        /* RELEASE, pairs with ACQUIRE in gs_thread_next: its last counters */
        atomic_store_explicit(&self->use, GS_THREAD_ENDED, memory_order_release);
    }
    /* Destructors that run after this one may still take the GIL: they are nobody's. */
    gs_thread_mine = NULL;
    gs_thread_recording = UINT32_MAX;
}

static void make_key(void) {
    pthread_key_create(&ended_key, on_thread_end);
}

static gs_thread *claim(void) {
    for (uint32_t i = 0; i < MAX_THREADS; i++) {
        uint32_t expected = GS_THREAD_FREE;
        /* acquire, pairs with RELEASE in gs_thread_free: the sampler is done with it */
        if (atomic_compare_exchange_strong_explicit(&threads[i].use, &expected, GS_THREAD_LIVE, memory_order_acquire,
                                                    memory_order_relaxed)) {
            /* relaxed: a bound; a record above it is not looked at yet */
            uint32_t used = atomic_load_explicit(&threads_used, memory_order_relaxed);
            while (used < i + 1 && !atomic_compare_exchange_weak_explicit(&threads_used, &used, i + 1,
                                                                          memory_order_relaxed, memory_order_relaxed)) {
            }
            return &threads[i];
        }
    }
    return NULL;
}

gs_thread *gs_thread_begin(void) {
    uint32_t now = gs_load(&gs_threads_recording);
    if (gs_thread_recording == UINT32_MAX) {
        return NULL;
    }
    gs_thread_recording = now;
    gs_thread_mine = claim();
    if (gs_thread_mine == NULL) {
        gs_recorder_lost(GS_LOST_NO_MEMORY);
        return NULL;
    }
    memset((char *)gs_thread_mine + offsetof(gs_thread, number), 0,
           sizeof *gs_thread_mine - offsetof(gs_thread, number));
    /* relaxed: a number */
    gs_thread_mine->number = atomic_fetch_add_explicit(&last_number, 1, memory_order_relaxed) + 1;
    gs_thread_mine->native_id = (pid_t)syscall(SYS_gettid);
    gs_thread_mine->identity = (uint64_t)pthread_self();
    gs_thread_mine->holds = &holds[gs_thread_mine - threads];
    gs_thread_mine->schedule_file = -1;
    pthread_once(&ended_once, make_key);
    pthread_setspecific(ended_key, gs_thread_mine);
    gs_recorder_push_thread(gs_thread_mine);
    return gs_thread_mine;
}

PyThreadState *gs_thread_state(void) {
#if PY_VERSION_HEX >= 0x030D0000 /* 3.13 */
    bool ending = Py_IsFinalizing();
#else
    bool ending = _Py_IsFinalizing();
#endif
    return ending ? NULL : PyGILState_GetThisThreadState();
}

gs_thread *gs_thread_next(const gs_thread *before) {
    size_t at = before == NULL ? 0 : (size_t)(before - threads) + 1;
    /* relaxed: see claim */
    for (uint32_t used = atomic_load_explicit(&threads_used, memory_order_relaxed); at < used; at++) {
        /* ACQUIRE, pairs with RELEASE in on_thread_end */
        if (atomic_load_explicit(&threads[at].use, memory_order_acquire) != GS_THREAD_FREE) {
            return &threads[at];
        }
    }
    return NULL;
}

void gs_thread_free(gs_thread *self) {
    if (self->schedule_file >= 0) {
        close(self->schedule_file);
        self->schedule_file = -1;
    }
    /* What was not told will not be: the next thread here begins with that. */
    gs_holds *of_self = &holds[self - threads];
    for (uint32_t bucket = 0; bucket < GS_HISTOGRAM_BUCKETS; bucket++) {
        /* relaxed: its thread has ended, or nothing is recorded */
        uint32_t count = atomic_load_explicit(&of_self->count[bucket], memory_order_relaxed);
        if (of_self->told[bucket] != count) {
            of_self->told[bucket] = count;
        }
    }
    /* RELEASE, pairs with acquire in claim */
    atomic_store_explicit(&self->use, GS_THREAD_FREE, memory_order_release);
}

void gs_threads_forget(void) {
    /* relaxed: every thread looks at it again at its next hook */
    atomic_fetch_add_explicit(&gs_threads_recording, 1, memory_order_relaxed);
    for (gs_thread *thread = gs_thread_next(NULL); thread != NULL; thread = gs_thread_next(thread)) {
        gs_thread_free(thread);
    }
    /* relaxed: as above */
    atomic_store_explicit(&last_number, 0, memory_order_relaxed);
}
