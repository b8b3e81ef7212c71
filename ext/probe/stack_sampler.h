/* stack_sampler.h - what a thread does in the middle of a long hold of the GIL or a long callback.
 *
 * The hooks see where a hold or a wait ends; what went on before is seen only from outside. A native thread looks at
 * every loop each few milliseconds, and while an iteration is long it takes the stack of whoever holds things up: of the
 * GIL's holder while the loop waits for it, else of the loop's own thread. No ptrace, no signal, no pause of the target.
 * In a recording a loop that waits for the GIL for long takes the holder's stack as well, itself: where a holder lets go may
 * be long after what it had the GIL for, and the native thread would first have to be given a core.
 * The native thread also reads the kernel's scheduling counters, reports every thread's totals, and hooks late loops.
 *
 * Threads: a thread of its own, never with the GIL. start, stop by one thread at a time; stop waits for it, and for whoever
 * is just taking a stack. One stack is taken at a time.
 * fork: the child calls gs_sampler_forget.
 */
#ifndef GS_PROBE_STACK_SAMPLER_H
#define GS_PROBE_STACK_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct gs_sampler_stats {
    uint64_t taken;
    uint64_t late;   /* taken more than a period after it was due */
    uint64_t missed; /* the stack went away while it was read, or could not be read */
} gs_sampler_stats;

typedef struct gs_sampler_config {
    int64_t after_ns; /* iterations that last longer are sampled */
    /* The pause between two samples is what the iteration has lasted over per_iteration, for the longer it lasts, the less
     * one more tells; but a period at least, and five at most. */
    int64_t period_ns;
    int64_t per_iteration;
    int64_t stall_ns; /* an iteration of the main thread's loop that lasts this long is told of while it lasts */
    int64_t tell_ns;  /* but not so soon after the one before */
    /* A recording: gs_sampler_long_wait takes samples, and the kernel's counters are read at the first sight of every
     * iteration that may become long, not only while one is, and after it. */
    bool detailed;
    void (*on_stall)(void); /* on the sampler's thread, without the GIL; NULL: nobody wants to know */
} gs_sampler_config;

/* 0 or errno. */
int gs_sampler_start(const gs_sampler_config *config);
void gs_sampler_stop(void);
void gs_sampler_forget(void);
gs_sampler_stats gs_sampler_look(void);

/* The calling thread waits for the GIL for long: the holder is sampled, unless another stack is just being taken. Any
 * thread, without gil.mutex; does not block. */
void gs_sampler_long_wait(void);

#endif /* GS_PROBE_STACK_SAMPLER_H */
