/* sources: ring.c */
/* variants: plain */
/* Producers in processes of their own that are killed: after every single instruction of a push, one after the other,
 * and at random instants while several push. (Plain only: a sanitizer's own instructions would be counted.)
 *
 * Checked every time: the consumer goes on, a record is delivered whole or counted dead, and the ring is empty and
 * usable in the end. R5 and R6 of ring.h.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "test_ring_fixture.h"

enum { BYTES = 200, PATIENCE_S = 20 };

/* The owner is the producer's process id. Every process can ask, siblings too; a child that was killed lives until
 * it has been waited for, which its parent does at once. */
static bool process_lives(void *context, uint64_t owner) {
    (void)context;
    return kill((pid_t)owner, 0) == 0 || errno != ESRCH;
}

/* Kills the child after `steps` instructions; false if it ended before. */
static bool kill_after(pid_t child, int steps) {
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    for (int step = 0; step < steps && WIFSTOPPED(status); step++) {
        REQUIRE(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0);
        REQUIRE(waitpid(child, &status, 0) == child);
    }
    if (!WIFSTOPPED(status)) {
        return false;
    }
    REQUIRE(kill(child, SIGKILL) == 0);
    REQUIRE(waitpid(child, &status, 0) == child);
    return true;
}

static void producer_killed_after_every_instruction_tears_nothing(void) {
    gs_ring *ring = ring_make(4, 1024, 2);
    unsigned delivered = 0;
    unsigned dead = 0;
    unsigned nothing = 0;
    unsigned wrong = 0;
    bool was_killed = true;
    int64_t give_up_ns = gs_deadline_after(gs_now_ns(), PATIENCE_S * GS_NS_PER_S);
    uint32_t own = gs_ring_lease(ring, (uint64_t)getpid(), NULL, NULL);
    REQUIRE(own == 0);
    for (int steps = 0; was_killed && gs_now_ns() < give_up_ns; steps++) {
        uint8_t fill = (uint8_t)(steps % 255 + 1);
        pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            uint32_t lease = gs_ring_lease(ring, (uint64_t)getpid(), process_lives, NULL);
            if (lease == GS_RING_NO_LEASE || ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
                _exit(2);
            }
            raise(SIGSTOP);
            ring_put(ring, lease, BYTES, fill);
            raise(SIGSTOP); /* the end: without it, the steps of exiting would be counted too */
            _exit(0);
        }
        was_killed = kill_after(child, steps);
        /* One behind it, to see that its place is not taken from it. */
        wrong += ring_put(ring, own, 50, 0xff) != GS_OK;
        gs_ring_cursor cursor = gs_ring_first(ring);
        gs_ring_record record;
        gs_status status = gs_ring_peek(ring, &cursor, &record);
        if (status == GS_PENDING) {
            wrong += gs_ring_skip_dead(ring, &cursor, process_lives, NULL) != GS_OK;
            dead++;
        } else if (status == GS_OK && record.bytes == BYTES) {
            wrong += !bytes_are(record.data, BYTES, fill);
            delivered++;
            if (delivered == 50) { /* the rest is the way out of the commit and into the stop */
                was_killed = false;
            }
        } else {
            cursor = gs_ring_first(ring);
            nothing++;
        }
        status = gs_ring_peek(ring, &cursor, &record);
        wrong += status != GS_OK || record.bytes != 50 || !bytes_are(record.data, 50, 0xff);
        gs_ring_free_through(ring, &cursor);
        wrong += !ring_is_empty(ring);
    }
    CHECK_EQ(wrong, 0);
    CHECK(nothing > 10);
    CHECK(dead > 10);
    CHECK_EQ(delivered, 50);
    ring_unmake(ring);
}

typedef struct stamp {
    uint32_t index;
    uint32_t bytes;
} stamp;

/* Pushes until killed. A record says how long it is and is filled with what follows from its index; before that with
 * what does not, for so long that most kills come in the middle of a record. */
static void push_for_ever(gs_ring *ring, uint64_t seed) {
    uint32_t lease = gs_ring_lease(ring, (uint64_t)getpid(), process_lives, NULL);
    uint64_t random = seed;
    for (uint32_t index = 1; lease != GS_RING_NO_LEASE; index++) {
        stamp made = {.index = index, .bytes = (uint32_t)sizeof made + random_below(&random, 200)};
        gs_ring_claim claim;
        while (gs_ring_try_claim(ring, lease, made.bytes, &claim) != GS_OK) {
            sched_yield();
        }
        for (int pass = 0; pass < 10000; pass++) {
            memset(claim.data, 0xee + pass % 2, made.bytes);
            __asm__ __volatile__("" : : "r"(claim.data) : "memory"); /* else all but the last are removed */
        }
        memcpy(claim.data, &made, sizeof made);
        memset(claim.data + sizeof made, (uint8_t)index, made.bytes - sizeof made);
        gs_ring_commit(ring, lease, &claim);
    }
    _exit(1);
}

static bool is_whole(const gs_ring_record *record) {
    stamp made;
    if (record->bytes < sizeof made) {
        return false;
    }
    memcpy(&made, record->data, sizeof made);
    return made.bytes == record->bytes &&
           bytes_are(record->data + sizeof made, record->bytes - (uint32_t)sizeof made, (uint8_t)made.index);
}

/* Which of the children has claimed record `seq`, or any. */
static size_t choose_victim(gs_ring *ring, const pid_t *children, size_t count, uint32_t seq, uint64_t *random) {
    for (uint32_t lease = 0; lease < ring->leases; lease++) {
        gs_ring_lease_word *word = gs_ring_lease_of(ring, lease);
        /* relaxed, both: a guess */
        uint64_t owner = atomic_load_explicit(&word->owner, memory_order_relaxed);
        bool is_its = atomic_load_explicit(&word->intent, memory_order_relaxed) == gs_ring_word(seq, GS_RING_INTENT);
        for (size_t i = 0; is_its && i < count; i++) {
            if ((uint64_t)children[i] == owner) {
                return i;
            }
        }
    }
    return random_below(random, (uint32_t)count);
}

static void producers_killed_at_random_tear_nothing_and_hold_up_nobody(void) {
    enum { PROCESSES = 3, RUN_MS = 1500, ENOUGH = 20 };
    gs_ring *ring = ring_make(16, 4096, PROCESSES);
    pid_t children[PROCESSES] = {0};
    uint64_t random = (uint64_t)gs_now_ns() | 1;
    uint32_t delivered = 0;
    uint32_t dead = 0;
    uint32_t torn = 0;
    uint32_t killed = 0;
    int64_t now_ns = gs_now_ns();
    int64_t stop_ns = now_ns + RUN_MS * GS_NS_PER_MS;
    int64_t kill_ns = now_ns;
    int64_t stuck_ns = 0;
    bool is_stuck = false;
    bool is_caught_up = true;
    gs_ring_cursor cursor = gs_ring_first(ring);
    for (;;) {
        now_ns = gs_now_ns();
        bool is_over = now_ns >= stop_ns && (dead >= ENOUGH || now_ns >= stop_ns + PATIENCE_S / 2 * GS_NS_PER_S);
        /* When the consumer has caught up, or else it would mostly kill those that wait for room. */
        if (is_caught_up && now_ns >= kill_ns && !is_over) {
            size_t i = choose_victim(ring, children, PROCESSES, cursor.seq, &random);
            if (children[i] != 0) {
                REQUIRE(kill(children[i], SIGKILL) == 0 && waitpid(children[i], NULL, 0) == children[i]);
                killed++;
            }
            children[i] = fork();
            REQUIRE(children[i] >= 0);
            if (children[i] == 0) {
                push_for_ever(ring, random | 1);
            }
            kill_ns = gs_now_ns() + random_below(&random, 3000) * GS_NS_PER_US;
        } else if (is_over) {
            for (size_t i = 0; i < PROCESSES; i++) {
                if (children[i] != 0) {
                    REQUIRE(kill(children[i], SIGKILL) == 0 && waitpid(children[i], NULL, 0) == children[i]);
                    children[i] = 0;
                }
            }
        }
        gs_ring_record record;
        gs_status status = gs_ring_peek(ring, &cursor, &record);
        if (status == GS_PENDING) {
            status = gs_ring_skip_dead(ring, &cursor, process_lives, NULL);
            dead += status == GS_OK;
        } else if (status == GS_OK) {
            torn += !is_whole(&record);
            delivered++;
        }
        is_caught_up = status != GS_OK;
        if (status == GS_OK) {
            stuck_ns = 0;
            if (random_below(&random, 4) == 0) {
                gs_ring_free_through(ring, &cursor);
            }
            continue;
        }
        gs_ring_free_through(ring, &cursor);
        if (status == GS_EMPTY && is_over) {
            break;
        }
        /* A living producer may be off the processor for a while; not for this long. */
        stuck_ns = stuck_ns == 0 ? now_ns + PATIENCE_S * GS_NS_PER_S : stuck_ns;
        is_stuck = now_ns > stuck_ns;
        if (is_stuck) {
            break;
        }
        sched_yield();
    }
    printf("%u delivered, %u dead, of %u killed\n", delivered, dead, killed);
    CHECK(!is_stuck);
    CHECK_EQ(torn, 0);
    CHECK(dead > 0);
    CHECK(dead <= killed + PROCESSES);
    CHECK(killed > 10);
    CHECK(delivered > 100);
    CHECK(ring_is_empty(ring));
    ring_unmake(ring);
}

CHECK_MAIN(CHECK_TEST(producer_killed_after_every_instruction_tears_nothing),
           CHECK_TEST(producers_killed_at_random_tear_nothing_and_hold_up_nobody))
