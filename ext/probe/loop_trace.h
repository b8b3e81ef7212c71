/* loop_trace.h - every iteration of an event loop, from the system call in which it waits for events.
 *
 * asyncio polls through the `select` module (epoll_wait), uvloop through the libuv inside its extension (epoll_pwait, or
 * epoll_wait). We stand in those objects' slots, and in nobody else's. An iteration is the time from the return of one
 * poll to the start of the next, so that callbacks, waits for the GIL and everything between are in it.
 *
 * A thread that polls is a loop only while a loop runs in it, which CPython itself knows: asyncio and uvloop (and trio) set
 * the thread's hooks for asynchronous generators while they run, and take them out when they stop. So a selector in other
 * hands is no loop, and what a program does after its loop has stopped is no iteration.
 *
 * Threads: hooks on the threads that poll, without the GIL; gs_loop_check under gil.mutex on the thread itself;
 * start, stop, look by one thread at a time. fork: gs_loop_forget in the child.
 */
#ifndef GS_PROBE_LOOP_TRACE_H
#define GS_PROBE_LOOP_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "threads.h"

#define GS_LOOPS_ASYNCIO 1u
#define GS_LOOPS_UVLOOP  2u

/* Hooks what is loaded. */
void gs_loop_start(void);
/* Hooks what has been loaded since (uvloop is imported late), if anything has. Cheap when nothing has. A poll that has begun
 * before is not seen, so neither is the iteration after it. */
void gs_loop_look(void);
void gs_loop_stop(void);
void gs_loop_forget(void);

/* Which kinds are hooked: GS_LOOPS_. */
unsigned gs_loop_kinds(void);

/* Whether a loop runs in the thread that has this state; on the thread itself. */
bool gs_loop_runs(const PyThreadState *state);

/* The thread has taken the GIL: if its loop has stopped, what goes on is no iteration. */
void gs_loop_check(gs_thread *self);

/* The same, by the sampler, of a thread in which it sees no loop run: all that there is where takes are not seen. */
void gs_loop_stopped(gs_thread *thread, int64_t iteration_start_ns);

#endif /* GS_PROBE_LOOP_TRACE_H */
