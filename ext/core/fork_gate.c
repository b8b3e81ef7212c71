#include "fork_gate.h"

#include <pthread.h>
#include <time.h>

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static bool shut; /* the forking thread's own */

void gs_fork_gate_enter(void) {
    pthread_mutex_lock(&gate);
}

void gs_fork_gate_leave(void) {
    pthread_mutex_unlock(&gate);
}

void gs_fork_gate_shut(void) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 1;
    shut = pthread_mutex_timedlock(&gate, &until) == 0;
}

void gs_fork_gate_reopen(bool in_child) {
    if (in_child) {
        /* Whoever was inside is not here any more. */
        pthread_mutex_init(&gate, NULL);
    } else if (shut) {
        pthread_mutex_unlock(&gate);
    }
    shut = false;
}
