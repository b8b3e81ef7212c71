/* native_thread.h - starts a thread that is ours: no signal of the application's is handled on it, and its stack is small.
 *
 * Threads: any.
 */
#ifndef GS_NATIVE_THREAD_H
#define GS_NATIVE_THREAD_H

#include <pthread.h>
#include <signal.h>
#include <stddef.h>

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

#endif /* GS_NATIVE_THREAD_H */
