/* native_thread.h - threads that are ours: no signal of the application's is handled on them, their stacks are small, and they
 * do not wake a core that would not have woken anyway.
 *
 * Threads: any.
 */
#ifndef GS_NATIVE_THREAD_H
#define GS_NATIVE_THREAD_H

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>

/* 0 or the errno of pthread_create. */
static inline int gs_native_thread_start(pthread_t *thread, size_t stack_bytes, void *(*run)(void *), void *argument) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, stack_bytes);
    sigset_t every;
    sigset_t before;
    sigfillset(&every);
    /* The application's signal handlers run on the application's threads. */
    pthread_sigmask(SIG_SETMASK, &every, &before);
    int error = pthread_create(thread, &attributes, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

/* The calling thread wakes up to `slack_ns` later than it asks to, with the next timer that expires anyway: on a busy core
 * the scheduler's. An interrupt of our own, and what it puts out of the caches, costs whoever runs there some 20 us in a
 * virtual machine (experiments/probe_cost/wakes.c). */
static inline void gs_native_thread_slack(int64_t slack_ns) {
    (void)prctl(PR_SET_TIMERSLACK, (unsigned long)slack_ns);
}

#endif /* GS_NATIVE_THREAD_H */
