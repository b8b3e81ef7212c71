/* sources: wake.c */
/* mutant: plain -DWAKE_ORDER_PREPARE=memory_order_release expect-fail */
/* Parking and waking. W1 and W2 of wake.h. (A weaker WAKE_ORDER_NOTIFY makes the same instructions on x86; the model in
 * tests/model kills it.) */
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "wake.h"

enum { OTHER_REASON = GS_WAKE_CONTROL << 1 };

/* Long after anything here is done: reached only by a thread that nobody wakes. */
static int64_t far_deadline_ns(void) {
    return gs_deadline_after(gs_now_ns(), 5 * GS_NS_PER_S);
}

static uint32_t interest_of(const gs_wake *wake) {
    /* relaxed: a look from outside */
    return atomic_load_explicit(&wake->interest, memory_order_relaxed);
}

static void park_after_a_notify_does_not_sleep(void) {
    gs_wake wake;
    gs_wake_init(&wake);
    gs_wake_prepare(&wake, GS_WAKE_SPANS | GS_WAKE_CONTROL);
    gs_wake_notify(&wake, GS_WAKE_CONTROL);
    CHECK_EQ(interest_of(&wake), 0);
    int64_t deadline_ns = far_deadline_ns();
    gs_wake_park(&wake, GS_NEVER);
    CHECK(gs_now_ns() < deadline_ns);
}

static void notify_of_another_reason_leaves_the_interest(void) {
    gs_wake wake;
    gs_wake_init(&wake);
    gs_wake_prepare(&wake, GS_WAKE_CONTROL);
    gs_wake_notify(&wake, GS_WAKE_SPANS);
    gs_wake_notify(&wake, OTHER_REASON);
    CHECK_EQ(interest_of(&wake), GS_WAKE_CONTROL);
    gs_wake_cancel(&wake);
    CHECK_EQ(interest_of(&wake), 0);
}

static void park_ends_at_its_deadline_and_not_before(void) {
    static const int64_t spans_ns[] = {-1, 0, GS_NS_PER_US, 20 * GS_NS_PER_MS};
    for (size_t i = 0; i < sizeof spans_ns / sizeof spans_ns[0]; i++) {
        gs_wake wake;
        gs_wake_init(&wake);
        int64_t late_ns = far_deadline_ns();
        int64_t deadline_ns = gs_now_ns() + spans_ns[i];
        do { /* it may return early, for no reason */
            gs_wake_prepare(&wake, GS_WAKE_SPANS);
            gs_wake_park(&wake, deadline_ns);
            CHECK_EQ(interest_of(&wake), 0);
        } while (gs_now_ns() < deadline_ns);
        CHECK(gs_now_ns() < late_ns);
    }
    gs_wake wake;
    gs_wake_init(&wake);
    gs_wake_prepare(&wake, GS_WAKE_SPANS);
    gs_wake_park(&wake, INT64_MIN);
    CHECK_EQ(interest_of(&wake), 0);
}

static void *park_once(void *context) {
    gs_wake *wake = context;
    gs_wake_prepare(wake, GS_WAKE_SPANS);
    gs_wake_park(wake, GS_NEVER);
    return NULL;
}

static void thread_parked_for_ever_is_woken(void) {
    for (int i = 0; i < 200; i++) {
        gs_wake wake;
        gs_wake_init(&wake);
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, park_once, &wake) == 0);
        while (interest_of(&wake) == 0) {
            sched_yield();
        }
        /* Announced; asleep or not: both must come back. */
        gs_wake_notify(&wake, GS_WAKE_SPANS);
        struct timespec deadline;
        clock_gettime(CLOCK_REALTIME, &deadline);
        deadline.tv_sec += 5;
        REQUIRE(pthread_timedjoin_np(thread, NULL, &deadline) == 0);
    }
}

/* The sanitizer keeps a thread of its own, also in a forked child: the kernel's filter would then end one thread of
 * two. */
#ifndef __SANITIZE_THREAD__
/* In a child that the kernel kills at any system call but an exit. Returns its wait status. */
static int notify_without_system_calls(uint32_t interest, uint32_t reason) {
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        gs_wake wake;
        gs_wake_init(&wake);
        gs_wake_prepare(&wake, interest);
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0) {
            gs_wake_notify(&wake, reason);
            syscall(SYS_exit, 0);
        }
        _exit(1);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    return status;
}

static void notify_makes_a_system_call_only_to_wake(void) {
    int to_wake = notify_without_system_calls(GS_WAKE_SPANS, GS_WAKE_SPANS);
    CHECK(WIFSIGNALED(to_wake) && WTERMSIG(to_wake) == SIGKILL);
    int awake = notify_without_system_calls(0, GS_WAKE_SPANS);
    CHECK(WIFEXITED(awake) && WEXITSTATUS(awake) == 0);
    int other = notify_without_system_calls(GS_WAKE_CONTROL, GS_WAKE_SPANS);
    CHECK(WIFEXITED(other) && WEXITSTATUS(other) == 0);
}

#define SYSTEM_CALL_TEST CHECK_TEST(notify_makes_a_system_call_only_to_wake),
#else
#define SYSTEM_CALL_TEST
#endif

/* Two threads meet in rounds. The words lie on lines of their own: a load that misses would wait for the stores before
 * it, and the rounds would prove nothing. */
enum { RUN_MS = 700, PATIENCE_S = 6, CLOSE_ROUNDS = 20000, WASTE = 1024, LINE = 64 };

static alignas(LINE) gs_wake wake_word;
static alignas(LINE) _Atomic uint32_t work;
static alignas(LINE) _Atomic uint32_t round_begun; /* 0: go home */
static alignas(LINE) _Atomic uint32_t round_ended;

/* Wastes a random time, to meet the other within the nanoseconds that a store needs to leave its processor. */
static void waste(uint32_t *random) {
    *random = *random * UINT32_C(1664525) + UINT32_C(1013904223);
    for (uint32_t left = (*random >> 16) % WASTE; left > 0; left--) {
        __asm__ __volatile__(""); /* else the loop is removed */
    }
}

/* Looks often before it gives up the processor, to stay close to the other thread. */
static uint32_t wait_for_change(_Atomic uint32_t *word, uint32_t from) {
    for (int spins = 0;; spins++) {
        /* acquire, pairs with whoever changed it: what it did in the round is visible */
        uint32_t now = atomic_load_explicit(word, memory_order_acquire);
        if (now != from) {
            return now;
        }
        if (spins > 1000) {
            sched_yield();
        }
    }
}

static void *notify_in_rounds(void *context) {
    (void)context;
    uint32_t random = 1;
    uint32_t round = 0;
    while ((round = wait_for_change(&round_begun, round)) != 0) {
        waste(&random);
        /* seq_cst, pairs with the re-check of the parking thread (W1) */
        atomic_fetch_add_explicit(&work, 1, memory_order_seq_cst);
        gs_wake_notify(&wake_word, GS_WAKE_SPANS);
        atomic_store_explicit(&round_ended, round, memory_order_release); /* pairs with wait_for_change */
    }
    return NULL;
}

/* One thread announces and looks for work, the other makes work and notifies: one of them must see the other. */
static void announcement_and_work_never_miss_each_other(void) {
    pthread_t thread;
    uint32_t random = 2;
    uint32_t round = 0;
    uint32_t missed = 0;
    uint32_t found = 0;
    uint32_t told = 0;
    int64_t run_until_ns = gs_deadline_after(gs_now_ns(), PATIENCE_S * GS_NS_PER_S);
    gs_wake_init(&wake_word);
    REQUIRE(pthread_create(&thread, NULL, notify_in_rounds, NULL) == 0);
    /* Until each side has often been first: without a free processor for each, one always is, and it takes longer. */
    while ((found < CLOSE_ROUNDS || told < CLOSE_ROUNDS) && missed == 0 && gs_now_ns() < run_until_ns) {
        round++;
        atomic_store_explicit(&round_begun, round, memory_order_release); /* pairs with wait_for_change */
        waste(&random);
        gs_wake_prepare(&wake_word, GS_WAKE_SPANS);
        /* seq_cst, pairs with the addition in notify_in_rounds (W1) */
        bool is_found = atomic_load_explicit(&work, memory_order_seq_cst) == round;
        wait_for_change(&round_ended, round - 1);
        bool is_told = interest_of(&wake_word) == 0;
        found += is_found;
        told += is_told;
        missed += !is_found && !is_told;
        gs_wake_cancel(&wake_word);
    }
    atomic_store_explicit(&round_begun, 0, memory_order_release); /* pairs with wait_for_change */
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_EQ(missed, 0);
}

/* The same with a thread that really sleeps: it never comes back by its deadline. */
static void no_wake_up_is_lost(void) {
    pthread_t thread;
    uint32_t random = 2;
    uint32_t lost = 0;
    uint32_t parked = 0;
    /* relaxed: before the thread is started */
    atomic_store_explicit(&work, 0, memory_order_relaxed);
    atomic_store_explicit(&round_ended, 0, memory_order_relaxed);
    gs_wake_init(&wake_word);
    int64_t run_until_ns = gs_deadline_after(gs_now_ns(), RUN_MS * GS_NS_PER_MS);
    REQUIRE(pthread_create(&thread, NULL, notify_in_rounds, NULL) == 0);
    for (uint32_t round = 1; gs_now_ns() < run_until_ns && lost == 0; round++) {
        atomic_store_explicit(&round_begun, round, memory_order_release); /* pairs with wait_for_change */
        int64_t deadline_ns = far_deadline_ns();
        waste(&random);
        for (;;) {
            gs_wake_prepare(&wake_word, GS_WAKE_SPANS);
            /* seq_cst, pairs with the addition in notify_in_rounds (W1) */
            if (atomic_load_explicit(&work, memory_order_seq_cst) == round) {
                gs_wake_cancel(&wake_word);
                break;
            }
            gs_wake_park(&wake_word, deadline_ns);
            parked++;
        }
        wait_for_change(&round_ended, round - 1);
        lost += gs_now_ns() >= deadline_ns;
    }
    atomic_store_explicit(&round_begun, 0, memory_order_release); /* pairs with wait_for_change */
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK_EQ(lost, 0);
    CHECK(parked > 10); /* else nobody had to be woken */
}

CHECK_MAIN(CHECK_TEST(park_after_a_notify_does_not_sleep), CHECK_TEST(notify_of_another_reason_leaves_the_interest),
           CHECK_TEST(park_ends_at_its_deadline_and_not_before), CHECK_TEST(thread_parked_for_ever_is_woken),
           SYSTEM_CALL_TEST CHECK_TEST(announcement_and_work_never_miss_each_other), CHECK_TEST(no_wake_up_is_lost))
