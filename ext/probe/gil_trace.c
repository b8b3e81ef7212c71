#include "gil_trace.h"

#include <errno.h>
#include <pthread.h>

#include "core/clock.h"
#include "events.h"
#include "frames.h"
#include "interpose.h"
#include "loop_trace.h"
#include "recorder.h"
#include "relaxed.h"
#include "tick_clock.h"

/* A holder that is waited for says which code it ran if it had the GIL for this long: shorter holds steal too little to
 * be worth a walk of 1 to 2 us. */
#define WALK_NS          INT64_C(100000)
/* From one wait to the next, in a thread that was made to let go: a mutex is unlocked, another locked. A thread that let go
 * by itself and is back as soon as that has hardly been away. */
#define STRAIGHT_BACK_NS INT64_C(20000)
/* A loop's wait that has lasted this long is told of while it lasts: half of what is called long, so that whoever looks who has the
 * GIL finds it in the same hands. */
#define LONG_WAIT_NS     (GS_LONG_NS / 2)
/* Kept out of the way of what happens each time. */
#define COLD             __attribute__((noinline, cold))
/* How long to wait for the native thread that shows us the GIL's conditions. */
#ifndef Py_GIL_DISABLED
#define LEARN_NS    INT64_C(2000000000)
#define LEARN_TRIES 1
#else
/* Now and then the state of a new thread takes a stop of the world, for which this thread has to let go. */
#define LEARN_NS    INT64_C(50000000)
#define LEARN_TRIES 2
#endif

typedef int (*timedwait_function)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
typedef int (*wait_function)(pthread_cond_t *, pthread_mutex_t *);
typedef int (*signal_function)(pthread_cond_t *);

static gs_slots slots;
static timedwait_function next_timedwait = pthread_cond_timedwait;
static wait_function next_wait = pthread_cond_wait;
static signal_function next_signal = pthread_cond_signal;

static struct {
    /* Found out once; relaxed: a hook that does not know them yet passes the call through. */
    pthread_cond_t *_Atomic cond;
    pthread_cond_t *_Atomic switch_cond;
    pthread_mutex_t *mutex;
    _Atomic bool recording; /* written under mutex */

    /* Under mutex. */
    gs_tick_clock clock;
    void (*on_long_wait)(void);
    uint32_t run_thread;
    int64_t run_start_ns;
    int64_t run_end_ns; /* the last drop */
    uint64_t run_free_ns;
    uint64_t run_longest_ns;
    uint32_t run_takes; /* 0: no run */
    bool drop_requested;

    /* Under mutex; relaxed, for the sampler. */
    gs_thread *_Atomic holder;
    _Atomic int64_t take_ns; /* 0: nobody has it, or since before the recording */
    _Atomic uint32_t waiters;
} gil;

static int64_t now_under_mutex(void) {
    return gs_tick_clock_ns(&gil.clock);
}

/* Only the main interpreter's code may be kept alive: another one takes the memory of its own with it when it ends. */
static size_t walk(gs_thread *self, gs_raw_frame *frames) {
    PyThreadState *state = self == NULL ? NULL : gs_thread_state();
    if (state == NULL || state->interp != PyInterpreterState_Main()) {
        return 0;
    }
    gs_store(&self->state, state);
    return gs_frames_walk(state, frames, GS_MAX_FRAMES);
}

static void end_run(uint8_t flags, const gs_raw_frame *frames, size_t frame_count) {
    if (gil.run_takes == 0) {
        return;
    }
    gs_event event = {.kind = GS_EVENT_RUN,
                      .flags = flags,
                      .thread = gil.run_thread,
                      .start_ns = gil.run_start_ns,
                      .duration_ns = (uint64_t)(gil.run_end_ns - gil.run_start_ns),
                      .count = gil.run_takes,
                      .a = gil.run_free_ns,
                      .b = gil.run_longest_ns};
    gs_recorder_push(&event, frames, frame_count);
    gil.run_takes = 0;
}

static void count_waiters(uint32_t change) {
    /* relaxed: a count; in one step, since a thread that ends in the middle of a wait does not have gil.mutex */
    atomic_fetch_add_explicit(&gil.waiters, change, memory_order_relaxed);
}

/* When the thread began to want the GIL that it asks for now, or has got. A thread that was made to let go wants it back
 * all the while, and comes straight from there; one that let go by itself, and found itself asked to, has been elsewhere. */
static int64_t wanted_since(gs_thread *self, int64_t now_ns) {
    self->wait_was_forced = self->switched_ns != 0 && now_ns - self->switched_ns <= STRAIGHT_BACK_NS;
    self->switched_ns = 0;
    self->timeouts = 0;
    return self->wait_was_forced ? self->let_go_ns : now_ns;
}

/* False: it has begun already. */
static bool begin_wait(gs_thread *self, int64_t now_ns) {
    if (gs_load(&self->wait_start_ns) != 0) {
        return false;
    }
    gs_store(&self->wait_start_ns, wanted_since(self, now_ns));
    count_waiters(1);
    return true;
}

/* Returns the ns that the thread has waited for this take. */
static int64_t end_wait(gs_thread *self, int64_t now_ns) {
    int64_t start_ns = gs_load(&self->wait_start_ns);
    if (start_ns != 0) {
        gs_store(&self->wait_start_ns, 0);
        count_waiters(UINT32_MAX);
    } else {
        /* The GIL was free. */
        start_ns = wanted_since(self, now_ns);
        if (!self->wait_was_forced) {
            return 0;
        }
    }
    int64_t waited_ns = now_ns - start_ns;
    gs_add(&self->waited_ns, (uint64_t)waited_ns);
    gs_raw_frame frames[GS_MAX_FRAMES];
    size_t frame_count = waited_ns >= GS_LONG_NS ? walk(self, frames) : 0;
    uint8_t flags = gs_load(&self->iteration_start_ns) != 0 ? GS_WAIT_IN_LOOP : 0;
    gs_event event = {.kind = GS_EVENT_WAIT,
                      .flags = (uint8_t)(flags | (self->wait_was_forced ? GS_WAIT_WAS_FORCED : 0)),
                      .thread = self->number,
                      .start_ns = start_ns,
                      .duration_ns = (uint64_t)waited_ns,
                      .count = self->timeouts};
    gs_recorder_push(&event, frames, frame_count);
    return waited_ns;
}

/* Inside an iteration the thread was without the GIL for long, and not because it waited for it: it was blocked. */
static void report_blocked(gs_thread *self, int64_t now_ns, int64_t waited_ns) {
    int64_t since_ns = gs_load(&self->iteration_start_ns);
    if (since_ns == 0) {
        return;
    }
    since_ns = self->let_go_ns > since_ns ? self->let_go_ns : since_ns;
    if (now_ns - since_ns - waited_ns < GS_LONG_NS) {
        return;
    }
    gs_raw_frame frames[GS_MAX_FRAMES];
    size_t frame_count = walk(self, frames);
    gs_event event = {.kind = GS_EVENT_BLOCKED,
                      .thread = self->number,
                      .start_ns = since_ns,
                      .duration_ns = (uint64_t)(now_ns - since_ns),
                      .a = (uint64_t)waited_ns};
    gs_recorder_push(&event, frames, frame_count);
}

/* The sampler has met code on this thread that it had to read from outside: what is kept alive needs only its address. */
static void keep_code(gs_thread *self) {
    gs_raw_frame frames[GS_MAX_FRAMES];
    gs_store(&self->has_unkept_code, false);
    (void)walk(self, frames);
}

/* Of all takes but a few, nothing is to be told: the thread neither waited nor was away for long, and is known. */
static bool is_plain_take(gs_thread *self, int64_t now_ns) {
    return gs_load(&self->wait_start_ns) == 0 && self->switched_ns == 0 && now_ns - self->let_go_ns < GS_LONG_NS &&
           !gs_load(&self->has_unkept_code) && gs_load(&self->state) != NULL;
}

static COLD void tell_take(gs_thread *self, int64_t now_ns) {
    if (gs_load(&self->state) == NULL) {
        gs_store(&self->state, gs_thread_state());
    }
    gs_loop_check(self);
    int64_t waited_ns = end_wait(self, now_ns);
    report_blocked(self, now_ns, waited_ns);
    if (gs_load(&self->has_unkept_code)) {
        keep_code(self);
    }
}

static COLD void begin_run(uint32_t thread, int64_t now_ns) {
    end_run(0, NULL, 0);
    gil.run_thread = thread;
    gil.run_start_ns = now_ns;
    gil.run_end_ns = now_ns;
    gil.run_free_ns = 0;
    gil.run_longest_ns = 0;
}

static void on_take(void) {
    gs_thread *self = gs_thread_self();
    int64_t now_ns = now_under_mutex();
    uint32_t number = 0;
    if (self != NULL) {
        number = self->number;
        gs_add(&self->takes, 1);
        if (!is_plain_take(self, now_ns)) {
            tell_take(self, now_ns);
        }
    }
    if (gil.run_takes == 0 || gil.run_thread != number || now_ns - gil.run_start_ns >= GS_LONG_NS) {
        begin_run(number, now_ns);
    }
    gil.run_free_ns += (uint64_t)(now_ns - gil.run_end_ns);
    gil.run_takes++;
    gil.drop_requested = false;
    gs_store(&gil.holder, self);
    gs_store(&gil.take_ns, now_ns);
}

/* The hold that is on has ended, or the recording: returns its ns. */
static int64_t end_hold(gs_thread *self, int64_t now_ns) {
    int64_t hold_ns = now_ns - gs_load(&gil.take_ns);
    gil.run_end_ns = now_ns;
    if ((uint64_t)hold_ns > gil.run_longest_ns) {
        gil.run_longest_ns = (uint64_t)hold_ns;
    }
    if (self != NULL) {
        gs_add(&self->held_ns, (uint64_t)hold_ns);
        gs_add(&self->holds->count[gs_histogram_bucket((uint64_t)hold_ns)], 1);
        self->let_go_ns = now_ns;
    }
    gs_store(&gil.take_ns, 0);
    gs_store(&gil.holder, NULL);
    return hold_ns;
}

static COLD void tell_drop(gs_thread *self, int64_t hold_ns, bool contended) {
    gs_raw_frame frames[GS_MAX_FRAMES];
    size_t frame_count = hold_ns >= WALK_NS ? walk(self, frames) : 0;
    end_run((uint8_t)((contended ? GS_RUN_CONTENDED : 0) | (gil.drop_requested ? GS_RUN_FORCED : 0)), frames,
            frame_count);
}

static void on_drop(void) {
    if (gs_load(&gil.take_ns) == 0) {
        return;
    }
    gs_thread *self = gs_load(&gil.holder);
    int64_t hold_ns = end_hold(self, now_under_mutex());
    bool contended = gs_load(&gil.waiters) > 0;
    if (contended || hold_ns >= GS_LONG_NS) {
        tell_drop(self, hold_ns, contended);
    }
}

/* Set while gs_gil_start finds out the conditions: the one thread whose calls show them. */
static _Atomic bool learning;
static pthread_t learner;

static bool is_learner(void) {
    return gs_load(&learning) && pthread_equal(pthread_self(), learner);
}

/* The first part of a wait. True: it lasts, and was told of. False: the caller is to look again whether the GIL is free, as
 * after any wake-up, for nobody would have woken it here. */
static bool wait_until_long(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t now_ns) {
    struct timespec until = gs_timespec(now_ns + LONG_WAIT_NS);
    if (next_timedwait(cond, mutex, &until) != ETIMEDOUT || !gs_load(&gil.recording) || gs_load(&gil.take_ns) == 0) {
        return false;
    }
    void (*on_long_wait)(void) = gil.on_long_wait;
    pthread_mutex_unlock(mutex);
    on_long_wait();
    pthread_mutex_lock(mutex);
    return gs_load(&gil.recording) && gs_load(&gil.take_ns) != 0;
}

static int on_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until) {
    if (is_learner() && gs_load(&gil.cond) == NULL) {
        gil.mutex = mutex;
        gs_store(&gil.cond, cond);
    }
    if (cond != gs_load(&gil.cond) || !gs_load(&gil.recording)) {
        return next_timedwait(cond, mutex, until);
    }
    gs_thread *self = gs_thread_self();
    int64_t now_ns = now_under_mutex();
    if (self != NULL && begin_wait(self, now_ns) && gil.on_long_wait != NULL &&
        gs_load(&self->iteration_start_ns) != 0) {
        /* Negative, or decades, by a condition that goes by another clock. */
        int64_t room_ns = (int64_t)until->tv_sec * GS_NS_PER_S + until->tv_nsec - now_ns;
        if (room_ns > LONG_WAIT_NS && room_ns < GS_NS_PER_S && !wait_until_long(cond, mutex, now_ns)) {
            return 0;
        }
    }
    int error = next_timedwait(cond, mutex, until);
    /* Under mutex again, and the recording may be another one. */
    if (error == ETIMEDOUT && gs_load(&gil.recording)) {
        gil.drop_requested = true;
        self = gs_thread_self();
        if (self != NULL) {
            self->timeouts++;
        }
    }
    return error;
}

static int on_signal(pthread_cond_t *cond) {
    if (gs_load(&gil.recording)) {
        if (cond == gs_load(&gil.switch_cond)) {
            on_take();
        } else if (cond == gs_load(&gil.cond)) {
            on_drop();
        }
    } else if (is_learner() && gs_load(&gil.cond) != NULL && cond != gs_load(&gil.cond) &&
               gs_load(&gil.switch_cond) == NULL) {
        gs_store(&gil.switch_cond, cond);
    }
    return next_signal(cond);
}

/* A thread that lets go when it has been asked to stays here until somebody else has had the GIL: made to let go by the
 * evaluation loop, or by itself, before a call that blocks. It holds another mutex. */
static int on_wait(pthread_cond_t *cond, pthread_mutex_t *mutex) {
    int error = next_wait(cond, mutex);
    if (cond == gs_load(&gil.switch_cond) && gs_load(&gil.recording)) {
        gs_thread *self = gs_thread_self();
        if (self != NULL) {
            self->switched_ns = gs_now_ns();
        }
    }
    return error;
}

static void *learn(void *unused) {
    PyGILState_STATE state = PyGILState_Ensure();
    PyGILState_Release(state);
    return unused;
}

/* With the GIL, which the new thread has to wait for: the first condition it waits on is gil.cond, and the first that it
 * signals when it has it is gil.switch_cond. */
static int find_conditions(void) {
    gs_store(&learning, true);
    /* glibc stores the id before the thread runs. */
    int error = pthread_create(&learner, NULL, learn, NULL);
    if (error == 0) {
        int64_t deadline_ns = gs_deadline_after(gs_now_ns(), LEARN_NS);
        while (gs_load(&gil.cond) == NULL && gs_now_ns() < deadline_ns) {
            struct timespec moment = {.tv_nsec = 50000};
            nanosleep(&moment, NULL);
        }
        PyThreadState *state = PyEval_SaveThread();
        pthread_join(learner, NULL);
        PyEval_RestoreThread(state);
        error = gs_load(&gil.cond) != NULL && gs_load(&gil.switch_cond) != NULL ? 0 : ETIMEDOUT;
    }
    gs_store(&learning, false);
    return error;
}

/* A free-threaded build has a GIL while PYTHON_GIL=1 or a module that needs it says so. */
static bool has_gil(void) {
#ifdef Py_GIL_DISABLED
    PyObject *ask = PySys_GetObject("_is_gil_enabled");
    PyObject *answer = ask == NULL ? NULL : PyObject_CallNoArgs(ask);
    PyErr_Clear();
    Py_XDECREF(answer);
    return answer == Py_True;
#else
    return true;
#endif
}

static bool hook_interpreter(const gs_object *object, void *context) {
    uintptr_t inside = (uintptr_t)PyEval_SaveThread;
    if (inside < object->start || inside >= object->end) {
        return false;
    }
    size_t *found = context;
    /* Waits and takes are both needed, or a hold would never end. */
    *found = gs_interpose(&slots, object, "pthread_cond_timedwait", (void *)on_timedwait, (void *)next_timedwait);
    if (*found > 0) {
        *found = gs_interpose(&slots, object, "pthread_cond_signal", (void *)on_signal, (void *)next_signal);
        gs_interpose(&slots, object, "pthread_cond_wait", (void *)on_wait, (void *)next_wait);
    }
    return true;
}

/* 0 or ENOSYS. */
static int hook(void) {
    size_t found = 0;
    gs_objects_visit(hook_interpreter, &found);
    if (found == 0) {
        gs_interpose_undo(&slots);
        return ENOSYS;
    }
    next_timedwait = (timedwait_function)gs_interpose_next(&slots, (void *)on_timedwait, (void *)next_timedwait);
    next_signal = (signal_function)gs_interpose_next(&slots, (void *)on_signal, (void *)next_signal);
    next_wait = (wait_function)gs_interpose_next(&slots, (void *)on_wait, (void *)next_wait);
    return 0;
}

int gs_gil_find(void) {
    if (!has_gil()) {
        return ETIMEDOUT;
    }
    if (gs_load(&gil.switch_cond) != NULL) {
        return 0;
    }
    gs_tick_clock_init(&gil.clock);
    int error = hook();
    if (error == 0) {
        error = ETIMEDOUT;
        for (int tries = 0; tries < LEARN_TRIES && error == ETIMEDOUT; tries++) {
            error = find_conditions();
        }
        gs_interpose_undo(&slots);
    }
    return error;
}

int gs_gil_start(void (*on_long_wait)(void)) {
    int error = gs_gil_find();
    error = error == 0 ? hook() : error;
    if (error != 0) {
        return error;
    }
    pthread_mutex_lock(gil.mutex);
    gs_threads_forget();
    gil.on_long_wait = on_long_wait;
    gil.run_takes = 0;
    gil.drop_requested = false;
    gs_store(&gil.waiters, 0);
    gs_store(&gil.take_ns, 0);
    gs_store(&gil.holder, NULL);
    gs_store(&gil.recording, true);
    on_take(); /* this thread has it already: its first hold starts with the recording */
    pthread_mutex_unlock(gil.mutex);
    return 0;
}

void gs_gil_stop(void) {
    if (!gs_load(&gil.recording)) {
        return;
    }
    pthread_mutex_lock(gil.mutex);
    if (gs_load(&gil.take_ns) != 0) {
        (void)end_hold(gs_load(&gil.holder), now_under_mutex());
        end_run(GS_RUN_UNFINISHED, NULL, 0);
    }
    gs_store(&gil.recording, false);
    pthread_mutex_unlock(gil.mutex);
    gs_interpose_undo(&slots);
}

void gs_gil_forget(void) {
    gs_store(&gil.recording, false);
    gs_store(&gil.take_ns, 0);
    gs_store(&gil.holder, NULL);
    gs_store(&gil.waiters, 0);
}

void gs_gil_thread_ended(gs_thread *thread) {
    if (gs_load(&thread->wait_start_ns) != 0) {
        gs_store(&thread->wait_start_ns, 0);
        count_waiters(UINT32_MAX);
    }
}

gs_gil_now gs_gil_look(void) {
    gs_gil_now now = {.holder = gs_load(&gil.holder), .since_ns = gs_load(&gil.take_ns)};
    return now;
}
