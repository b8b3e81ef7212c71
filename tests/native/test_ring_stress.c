/* sources: ring.c */
/* mutant: -DRING_ORDER_PUBLISH=memory_order_relaxed expect-fail */
/* mutant: -DRING_ORDER_OBSERVE=memory_order_relaxed expect-fail */
/* mutant: -DRING_ORDER_RECYCLE=memory_order_relaxed expect-fail */
/* mutant: -DRING_ORDER_REUSE=memory_order_relaxed expect-fail */
/* Real threads on a small ring, so that every lap overwrites what was read just before. R2, R3 and R4 of ring.h.
 *
 * Every record says who made it, which of its maker's records it is, and what its bytes must be. The consumer peeks
 * ahead and frees late. Nothing but the ring orders the threads: their failures are counted in variables of their own.
 */
#include <pthread.h>
#include <sched.h>

#include "clock.h"
#include "test_ring_fixture.h"

enum { PRODUCERS = 3, RUN_MS = 700, PATIENCE_S = 20, MINIMUM = 400 };

typedef struct stamp {
    uint32_t producer;
    uint32_t index;
    uint32_t bytes; /* of the whole record */
    uint32_t seed;
} stamp;

typedef struct producer {
    gs_ring *ring;
    uint32_t number;
    uint32_t lease;
    int64_t deadline_ns;
    uint32_t committed;
    uint32_t abandoned;
    uint32_t full;
    uint32_t out_of_range; /* outcomes that no interleaving may have */
} producer;

typedef struct consumer {
    gs_ring *ring;
    uint32_t seen[PRODUCERS];
    uint32_t abandoned;
    uint32_t out_of_order;
    uint32_t torn;
    uint32_t dead;
} consumer;

static _Atomic bool is_producing;

static uint8_t body_byte(uint32_t seed, uint32_t i) {
    return (uint8_t)((seed + i) * UINT32_C(2654435761) >> 24);
}

static void *produce(void *context) {
    producer *self = context;
    gs_ring *ring = self->ring;
    uint64_t random = self->number + 1;
    uint64_t capacity_bytes = (uint64_t)ring->capacity_granules * GS_RING_GRANULE;
    int64_t give_up_ns = gs_deadline_after(self->deadline_ns, PATIENCE_S * GS_NS_PER_S);
    /* Nothing promises a producer its share: on a busy machine one may come to its own only after the others. */
    for (int64_t now_ns = 0; now_ns < (self->committed < MINIMUM ? give_up_ns : self->deadline_ns);
         now_ns = gs_now_ns()) {
        stamp made = {.producer = self->number, .index = self->committed, .seed = random_below(&random, UINT32_MAX)};
        made.bytes = (uint32_t)sizeof made + random_below(&random, random_below(&random, 16) == 0 ? 900 : 60);
        gs_ring_claim claim;
        gs_status status = gs_ring_try_claim(ring, self->lease, made.bytes, &claim);
        self->out_of_range += gs_ring_used_bytes(ring) > capacity_bytes;
        self->out_of_range += gs_ring_depth(ring) > ring->capacity_records;
        if (status != GS_OK) {
            self->out_of_range += status != GS_FULL;
            self->full++;
            if (self->lease != GS_RING_NO_LEASE) {
                /* relaxed: its own. An intent that is left would hold up the record of a dead producer. */
                self->out_of_range +=
                    atomic_load_explicit(&gs_ring_lease_of(ring, self->lease)->intent, memory_order_relaxed) != 0;
            }
            sched_yield();
            continue;
        }
        self->out_of_range += claim.depth == 0 || claim.depth > ring->capacity_records;
        memcpy(claim.data, &made, sizeof made);
        for (uint32_t i = sizeof made; i < made.bytes; i++) {
            claim.data[i] = body_byte(made.seed, i);
        }
        if (random_below(&random, 10) == 0) {
            gs_ring_abandon(ring, self->lease, &claim);
            self->abandoned++;
        } else {
            gs_ring_commit(ring, self->lease, &claim);
            self->committed++;
        }
    }
    return NULL;
}

static void take(consumer *self, const gs_ring_record *record) {
    if (record->data == NULL) {
        self->abandoned++;
        return;
    }
    stamp made;
    memcpy(&made, record->data, sizeof made);
    bool whole = made.bytes == record->bytes && made.producer < PRODUCERS;
    for (uint32_t i = sizeof made; whole && i < made.bytes; i++) {
        whole = record->data[i] == body_byte(made.seed, i);
    }
    if (whole) {
        self->out_of_order += made.index != self->seen[made.producer];
        self->seen[made.producer] = made.index + 1;
    } else {
        self->torn++;
    }
}

static bool everybody_lives(void *context, uint64_t owner) {
    (void)context;
    (void)owner;
    return true;
}

static void *consume(void *context) {
    consumer *self = context;
    uint64_t random = 99;
    gs_ring_cursor cursor = gs_ring_first(self->ring);
    for (;;) {
        /* acquire, pairs with the store in stress: false says that every producer has ended */
        bool is_last = !atomic_load_explicit(&is_producing, memory_order_acquire);
        gs_ring_record record;
        gs_status status = GS_EMPTY;
        for (uint32_t ahead = random_below(&random, 12); ahead > 0; ahead--) {
            status = gs_ring_peek(self->ring, &cursor, &record);
            if (status != GS_OK) {
                break;
            }
            take(self, &record);
        }
        if (status == GS_PENDING && self->ring->leases > 0) {
            self->dead += gs_ring_skip_dead(self->ring, &cursor, everybody_lives, NULL) == GS_OK;
        }
        gs_ring_free_through(self->ring, &cursor);
        if (status == GS_EMPTY && gs_ring_depth(self->ring) == 0) {
            if (is_last) {
                return NULL;
            }
            sched_yield();
        }
    }
}

static void stress(uint32_t capacity_records, uint64_t capacity_bytes, uint32_t leases) {
    gs_ring *ring = ring_make(capacity_records, capacity_bytes, leases);
    ring_start_at(ring, UINT32_MAX - 1000, 0);
    producer producers[PRODUCERS] = {0};
    consumer consumed = {.ring = ring};
    pthread_t producer_threads[PRODUCERS];
    pthread_t consumer_thread;
    int64_t deadline_ns = gs_deadline_after(gs_now_ns(), RUN_MS * GS_NS_PER_MS);
    /* relaxed: before the threads are started */
    atomic_store_explicit(&is_producing, true, memory_order_relaxed);
    REQUIRE(pthread_create(&consumer_thread, NULL, consume, &consumed) == 0);
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        producers[i] = (producer){.ring = ring, .number = i, .deadline_ns = deadline_ns};
        producers[i].lease = leases > 0 ? gs_ring_lease(ring, i + 1, NULL, NULL) : GS_RING_NO_LEASE;
        REQUIRE(pthread_create(&producer_threads[i], NULL, produce, &producers[i]) == 0);
    }
    uint32_t abandoned = 0;
    uint32_t total = 0;
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        REQUIRE(pthread_join(producer_threads[i], NULL) == 0);
        abandoned += producers[i].abandoned;
        total += producers[i].committed + producers[i].abandoned;
    }
    /* release, pairs with the load in consume: all of their claims are visible */
    atomic_store_explicit(&is_producing, false, memory_order_release);
    REQUIRE(pthread_join(consumer_thread, NULL) == 0);
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        CHECK_EQ(consumed.seen[i], producers[i].committed);
        CHECK_EQ(producers[i].out_of_range, 0);
        CHECK(producers[i].committed >= MINIMUM);
    }
    CHECK_EQ(consumed.abandoned, abandoned);
    CHECK_EQ(consumed.torn, 0);
    CHECK_EQ(consumed.out_of_order, 0);
    CHECK_EQ(consumed.dead, 0);
    CHECK_EQ(gs_ring_claimed_seq(ring), UINT32_MAX - 1000 + total);
    CHECK(total > 1000); /* else seq did not wrap */
    CHECK(ring_is_empty(ring));
    ring_unmake(ring);
}

static void few_slots_lose_and_tear_nothing(void) {
    stress(2, 8192, 0);
}

static void few_bytes_lose_and_tear_nothing(void) {
    stress(64, 2000, 0);
}

static void living_lease_holders_are_never_told_dead(void) {
    stress(8, 4096, PRODUCERS);
}

CHECK_MAIN(CHECK_TEST(few_slots_lose_and_tear_nothing), CHECK_TEST(few_bytes_lose_and_tear_nothing),
           CHECK_TEST(living_lease_holders_are_never_told_dead))
