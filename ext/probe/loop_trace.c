#include "loop_trace.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "core/clock.h"
#include "events.h"
#include "interpose.h"
#include "recorder.h"
#include "relaxed.h"

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
    if (gs_load(&self->iteration_start_ns) != 0 && !gs_loop_runs(PyGILState_GetThisThreadState())) {
        gs_store(&self->iteration_start_ns, 0);
    }
}

/* The poll starts: an iteration ends. The CPU clock is read once an iteration, here; what the poll itself burns, a few
 * microseconds, is counted with the next one. */
static void before_poll(gs_thread *self, gs_loop_kind kind) {
    int64_t now_ns = gs_now_ns();
    uint64_t cpu_ns = thread_cpu_ns();
    int64_t start_ns = gs_load(&self->iteration_start_ns);
    if (start_ns != 0) {
        gs_event event = {.kind = GS_EVENT_ITERATION,
                          .thread = self->number,
                          .start_ns = start_ns,
                          .duration_ns = (uint64_t)(now_ns - start_ns),
                          .count = (uint32_t)(gs_load(&self->takes) - self->takes_before),
                          .a = cpu_ns - self->cpu_before_ns,
                          .b = gs_load(&self->waited_ns) - self->waited_before_ns};
        /* What the poll before and the waits themselves burnt must not make the parts more than the whole. */
        uint64_t room_ns = event.duration_ns > event.b ? event.duration_ns - event.b : 0;
        event.a = event.a < room_ns ? event.a : room_ns;
        gs_recorder_push(&event, NULL, 0);
        gs_store(&self->iteration_start_ns, 0);
    }
    self->cpu_before_ns = cpu_ns;
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
    PyThreadState *state = PyGILState_GetThisThreadState();
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

static bool hook_loops(const gs_object *object, void *unused) {
    (void)unused;
    if (has_select_module(object)) {
        size_t found = gs_interpose(&slots, object, "epoll_wait", (void *)asyncio_wait, (void *)next_wait) +
                       gs_interpose(&slots, object, "epoll_pwait", (void *)asyncio_pwait, (void *)next_pwait);
        kinds |= found > 0 ? GS_LOOPS_ASYNCIO : 0;
    } else if (strstr(object->path, "/uvloop/loop.") != NULL) {
        size_t found = gs_interpose(&slots, object, "epoll_pwait", (void *)uvloop_pwait, (void *)next_pwait) +
                       gs_interpose(&slots, object, "epoll_wait", (void *)uvloop_wait, (void *)next_wait);
        kinds |= found > 0 ? GS_LOOPS_UVLOOP : 0;
    }
    return false;
}

void gs_loop_start(void) {
    objects_loaded = gs_objects_loaded();
    gs_objects_visit(hook_loops, NULL);
    gs_store(&recording, true);
}

void gs_loop_look(void) {
    unsigned long long now = gs_objects_loaded();
    if (now != objects_loaded) {
        objects_loaded = now;
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
