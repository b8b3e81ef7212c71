/* gil_trace.h - every wait for the GIL, and who had it meanwhile, from CPython's own calls to its condition variables.
 *
 * take_gil and drop_gil (Python/ceval_gil.c) use two conditions and a mutex:
 *
 *     take_gil    lock mutex; while it is locked: timedwait(cond, mutex, 5 ms); lock it; signal(switch_cond); unlock mutex
 *     drop_gil    lock mutex; unlock it; signal(cond); unlock mutex; if it was made to: wait(switch_cond)
 *
 * We stand in the slots (interpose.h) through which the interpreter calls timedwait, signal and wait. Both signals come
 * while mutex is held: nobody can take or drop meanwhile. So what the hooks below write to the one struct gil needs no
 * other lock, their events are in the true order, and the holder may walk its own frames and take references.
 *
 * Threads: hooks on the interpreter's threads, under gil.mutex, without being attached to the interpreter; they run no
 * Python, do not allocate, and never block. gs_gil_start, gs_gil_stop by one thread with the GIL.
 * fork: gs_gil_forget in the child; the hooks stay in the slots and pass calls through.
 * Not seen: interpreters with a GIL of their own (3.12); their conditions are others'.
 * Source: Python/ceval_gil.h (3.10, 3.11), Python/ceval_gil.c (3.12 to 3.14)
 */
#ifndef GS_PROBE_GIL_TRACE_H
#define GS_PROBE_GIL_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "threads.h"

/* Holds and blocked periods at least this long get a stack even if nobody waits; runs are cut at this length, so that
 * a timeline has this resolution. */
#define GS_LONG_NS INT64_C(1000000)

/* Finds out which conditions are the GIL's, once, by making a native thread wait for it. 0; ENOSYS: the interpreter has
 * no such slots; ETIMEDOUT: no wait was seen (a free-threaded build without one). With the GIL; takes a millisecond or two. */
int gs_gil_find(void);
/* Puts the hooks in, and records from now on. `on_long_wait` is called once a wait inside an iteration, by the loop's thread
 * when it has waited for half a millisecond; it goes on waiting after it. NULL: nobody wants to know, and no thread wakes up
 * for it. Waits of other threads are left alone: an early timer costs them 3 us, and nobody asks what they waited for.
 * 0, or what gs_gil_find returns. */
int gs_gil_start(void (*on_long_wait)(void));
/* Nothing is recorded any more, the slots are as they were. */
void gs_gil_stop(void);
void gs_gil_forget(void);

/* A thread ends, maybe in the middle of a wait (at the interpreter's end). */
void gs_gil_thread_ended(gs_thread *thread);

/* For the sampler: who has the GIL, and since when (0: nobody). A snapshot. */
typedef struct gs_gil_now {
    gs_thread *holder;
    int64_t since_ns;
} gs_gil_now;
gs_gil_now gs_gil_look(void);

#endif /* GS_PROBE_GIL_TRACE_H */
