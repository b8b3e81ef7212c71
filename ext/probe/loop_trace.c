#include "loop_trace.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "core/clock.h"
#include "events.h"
#include "interpose.h"
#include "recorder.h"
#include "relaxed.h"

#define CPU_RESOLUTION_NS UINT64_C(1000000)

typedef int (*wait_function)(int, struct epoll_event *, int, int);
typedef int (*pwait_function)(int, struct epoll_event *, int, int, const sigset_t *);

static gs_slots slots;
static wait_function next_wait = epoll_wait;
static pwait_function next_pwait = epoll_pwait;
static _Atomic bool recording;
static unsigned kinds;
static unsigned long long objects_loaded;

static uint64_t thread_cpu_ns(void) {
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * (uint64_t)GS_NS_PER_S + (uint64_t)used.tv_nsec;
}

bool gs_loop_runs(const PyThreadState *state) {
    return state != NULL && state->async_gen_firstiter != NULL;
}

void gs_loop_check(gs_thread *self) {
    if (gs_load(&self->iteration_start_ns) != 0 && !gs_loop_runs(gs_thread_state())) {
        gs_store(&self->iteration_start_ns, 0);
    }
}

void gs_loop_stopped(gs_thread *thread, int64_t iteration_start_ns) {
    /* relaxed: if the thread has gone on meanwhile, it is another iteration */
    atomic_compare_exchange_strong_explicit(&thread->iteration_start_ns, &iteration_start_ns, 0, memory_order_relaxed,
                                            memory_order_relaxed);
}

/* What an iteration has burnt, out of the `room_ns` that it did not wait for the GIL.
 *
 * The thread's CPU clock is a system call, so it is read once a millisecond of iterations, and at the end of each that is that
 * long. Shorter ones in between are taken to have been on CPU while they did not wait, and the next reading makes up for
 * it: a long iteration is known to within what is wrong with at most a millisecond before it. What polls burn, a few
 * microseconds each, is counted with the iterations. */
static uint64_t on_cpu_ns(gs_thread *self, uint64_t room_ns) {
    if (self->cpu_assumed_ns + room_ns < CPU_RESOLUTION_NS) {
        self->cpu_assumed_ns += room_ns;
        return room_ns;
    }
    uint64_t cpu_ns = thread_cpu_ns();
    uint64_t known_ns = self->cpu_read_ns + self->cpu_assumed_ns;
    uint64_t burnt_ns = cpu_ns > known_ns ? cpu_ns - known_ns : 0;
    self->cpu_read_ns = cpu_ns;
    self->cpu_assumed_ns = 0;
    return burnt_ns < room_ns ? burnt_ns : room_ns;
}

/* The poll starts: an iteration ends. */
static void before_poll(gs_thread *self, gs_loop_kind kind) {
    int64_t start_ns = gs_load(&self->iteration_start_ns);
    if (start_ns != 0) {
        gs_event event = {.kind = GS_EVENT_ITERATION,
                          .thread = self->number,
                          .start_ns = start_ns,
                          .duration_ns = (uint64_t)(gs_now_ns() - start_ns),
                          .count = (uint32_t)(gs_load(&self->takes) - self->takes_before),
                          .b = gs_load(&self->waited_ns) - self->waited_before_ns};
        event.a = on_cpu_ns(self, event.duration_ns > event.b ? event.duration_ns - event.b : 0);
        gs_recorder_push(&event, NULL, 0);
        gs_store(&self->iteration_start_ns, 0);
    } else {
        /* The first poll of a loop. */
        self->cpu_read_ns = thread_cpu_ns();
        self->cpu_assumed_ns = 0;
    }
    if (gs_load(&self->loop) != (uint32_t)kind) {
        gs_store(&self->loop, kind);
        gs_recorder_push_thread(self);
    }
}

static void after_poll(gs_thread *self) {
    self->takes_before = gs_load(&self->takes);
    self->waited_before_ns = gs_load(&self->waited_ns);
    gs_store(&self->iteration_start_ns, gs_now_ns());
}

/* The record of a thread that polls for a loop; NULL for others. */
static gs_thread *polling(void) {
    if (!gs_load(&recording)) {
        return NULL;
    }
    PyThreadState *state = gs_thread_state();
    if (!gs_loop_runs(state)) {
        return NULL;
    }
    gs_thread *self = gs_thread_self();
    if (self != NULL) {
        gs_store(&self->state, state);
    }
    return self;
}

static int polled(gs_thread *self, int ready) {
    int error = errno;
    if (gs_load(&recording) && self == gs_thread_self()) {
        after_poll(self);
    }
    errno = error;
    return ready;
}

static int wait_in(int poll, struct epoll_event *events, int room, int timeout, gs_loop_kind kind) {
    gs_thread *self = polling();
    if (self == NULL) {
        return next_wait(poll, events, room, timeout);
    }
    before_poll(self, kind);
    return polled(self, next_wait(poll, events, room, timeout));
}

static int pwait_in(int poll, struct epoll_event *events, int room, int timeout, const sigset_t *mask,
                    gs_loop_kind kind) {
    gs_thread *self = polling();
    if (self == NULL) {
        return next_pwait(poll, events, room, timeout, mask);
    }
    before_poll(self, kind);
    return polled(self, next_pwait(poll, events, room, timeout, mask));
}

static int asyncio_wait(int poll, struct epoll_event *events, int room, int timeout) {
    return wait_in(poll, events, room, timeout, GS_LOOP_ASYNCIO);
}

static int asyncio_pwait(int poll, struct epoll_event *events, int room, int timeout, const sigset_t *mask) {
    return pwait_in(poll, events, room, timeout, mask, GS_LOOP_ASYNCIO);
}

static int uvloop_wait(int poll, struct epoll_event *events, int room, int timeout) {
    return wait_in(poll, events, room, timeout, GS_LOOP_UVLOOP);
}

static int uvloop_pwait(int poll, struct epoll_event *events, int room, int timeout, const sigset_t *mask) {
    return pwait_in(poll, events, room, timeout, mask, GS_LOOP_UVLOOP);
}

static bool has_select_module(const gs_object *object) {
    /* Built into the interpreter (Debian), or a library of its own. */
    uintptr_t inside = (uintptr_t)PyEval_SaveThread;
    const char *name = strrchr(object->path, '/');
    return (inside >= object->start && inside < object->end) || (name != NULL && strncmp(name, "/select.", 8) == 0);
}

static bool has_uvloop(const gs_object *object) {
    return strstr(object->path, "/uvloop/loop.") != NULL;
}

static bool hook_loops(const gs_object *object, void *unused) {
    (void)unused;
    if (has_select_module(object)) {
        size_t found = gs_interpose(&slots, object, "epoll_wait", (void *)asyncio_wait, (void *)next_wait) +
                       gs_interpose(&slots, object, "epoll_pwait", (void *)asyncio_pwait, (void *)next_pwait);
        kinds |= found > 0 ? GS_LOOPS_ASYNCIO : 0;
    } else if (has_uvloop(object)) {
        size_t found = gs_interpose(&slots, object, "epoll_pwait", (void *)uvloop_pwait, (void *)next_pwait) +
                       gs_interpose(&slots, object, "epoll_wait", (void *)uvloop_wait, (void *)next_wait);
        kinds |= found > 0 ? GS_LOOPS_UVLOOP : 0;
    }
    return false;
}

static bool find_loop(const gs_object *object, void *path) {
    if (!has_select_module(object) && !has_uvloop(object)) {
        return false;
    }
    unsigned known = has_uvloop(object) ? GS_LOOPS_UVLOOP : GS_LOOPS_ASYNCIO;
    if ((kinds & known) == 0) {
        (void)snprintf(path, PATH_MAX, "%s", object->path);
    }
    return ((char *)path)[0] != '\0';
}

void gs_loop_start(void) {
    objects_loaded = gs_objects_loaded();
    gs_objects_visit(hook_loops, NULL);
    gs_store(&recording, true);
}

void gs_loop_look(void) {
    unsigned long long now = gs_objects_loaded();
    char path[PATH_MAX] = "";
    if (now == objects_loaded) {
        return;
    }
    objects_loaded = now;
    gs_objects_visit(find_loop, path);
    /* An object is listed before the linker has filled its slots. The linker's own lock, which dlopen takes, is free again
     * when it has. Nothing is loaded, and what is kept by the handle is not unloaded by CPython either. */
    if (path[0] != '\0' && dlopen(path, RTLD_LAZY | RTLD_NOLOAD) != NULL) {
        gs_objects_visit(hook_loops, NULL);
    }
}

void gs_loop_stop(void) {
    gs_store(&recording, false);
    gs_interpose_undo(&slots);
    kinds = 0;
}

void gs_loop_forget(void) {
    gs_store(&recording, false);
}

unsigned gs_loop_kinds(void) {
    return kinds;
}
