/* What it costs whoever runs on a core that a thread wakes up there now and then:
 *
 *   gcc -O2 -pthread experiments/probe_cost/wakes.c -o build/wakes && build/wakes [CORE]
 *
 * One thread computes, another one sleeps and wakes, both on one core, at several periods and timer slacks by turns. What
 * the first gets less done, divided by the wake-ups, is what one takes: more than its own CPU time.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#define ROUNDS  40
#define TURN_NS INT64_C(150000000)
#define REST_NS INT64_C(30000000)

struct setting {
    int64_t period_ns, slack_ns; /* period 0: hardly ever */
};

static const struct setting settings[] = {
    {0, 1}, {1000000, 1}, {5000000, 1}, {5000000, 4000000}, {20000000, 1}, {20000000, 4000000},
};
#define SETTINGS (sizeof settings / sizeof *settings)

static _Atomic size_t current;
static _Atomic long wakes;
static _Atomic int stopping;

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void *wake(void *unused) {
    while (!stopping) {
        struct setting here = settings[current];
        int64_t sleep_ns = here.period_ns == 0 ? 60000000 : here.period_ns;
        struct timespec sleep = {.tv_sec = sleep_ns / 1000000000, .tv_nsec = sleep_ns % 1000000000};
        prctl(PR_SET_TIMERSLACK, (unsigned long)here.slack_ns);
        nanosleep(&sleep, NULL);
        wakes++;
    }
    return unused;
}

/* How many pieces of work are done until then. */
static uint64_t compute_until(int64_t deadline_ns) {
    volatile uint64_t sum = 0;
    uint64_t pieces = 0;
    for (; now_ns() < deadline_ns; pieces++) {
        for (uint64_t i = 0; i < 1000; i++) {
            sum += i * sum;
        }
    }
    return pieces;
}

int main(int argc, char **argv) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(argc > 1 ? atoi(argv[1]) : 0, &cores);
    pthread_t waking;
    if (sched_setaffinity(0, sizeof cores, &cores) != 0 || pthread_create(&waking, NULL, wake, NULL) != 0) {
        perror("wakes");
        return 1;
    }
    double pieces[SETTINGS] = {0}, woken[SETTINGS] = {0};
    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t turn = 0; turn < SETTINGS; turn++) {
            size_t setting = (turn + round) % SETTINGS;
            current = setting;
            (void)compute_until(now_ns() + REST_NS);
            long before = wakes;
            pieces[setting] += (double)compute_until(now_ns() + TURN_NS);
            woken[setting] += (double)(wakes - before);
        }
    }
    stopping = 1;
    pthread_join(waking, NULL);
    double seconds = ROUNDS * (double)TURN_NS / 1e9;
    for (size_t i = 1; i < SETTINGS; i++) {
        double lost = 1 - pieces[i] / pieces[0];
        printf("every %5.1f ms, slack %4.1f ms: %4.0f wake-ups a second, %6.3f %% less done, %5.1f us for each\n",
               (double)settings[i].period_ns / 1e6, (double)settings[i].slack_ns / 1e6, woken[i] / seconds, 100 * lost,
               lost * seconds * 1e6 / woken[i]);
    }
    return 0;
}
