/* A ring in fresh memory, and the few moves that every test of it makes. */
#ifndef GS_TESTS_TEST_RING_FIXTURE_H
#define GS_TESTS_TEST_RING_FIXTURE_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "ring.h"
#include "ring_layout.h"

/* Shared with children that are forked later. */
static inline gs_ring *ring_make(uint32_t capacity_records, uint64_t capacity_bytes, uint32_t leases) {
    gs_ring_config config = {.capacity_records = capacity_records, .capacity_bytes = capacity_bytes, .leases = leases};
    size_t memory_bytes = gs_ring_memory_bytes(&config);
    REQUIRE(memory_bytes != 0);
    void *memory = mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    REQUIRE(gs_ring_init(memory, memory_bytes, &config) == 0);
    return memory;
}

static inline void ring_unmake(gs_ring *ring) {
    gs_ring_config config = {.capacity_records = ring->capacity_records,
                             .capacity_bytes = (uint64_t)ring->capacity_granules * GS_RING_GRANULE,
                             .leases = ring->leases};
    REQUIRE(munmap(ring, gs_ring_memory_bytes(&config)) == 0);
}

/* Makes an empty ring go on from record `seq`, at granule `position`. */
static inline void ring_start_at(gs_ring *ring, uint32_t seq, uint32_t position) {
    /* relaxed: one thread */
    atomic_store_explicit(&ring->claim, gs_ring_word(seq, position), memory_order_relaxed);
    atomic_store_explicit(&ring->freed, gs_ring_word(seq, position), memory_order_relaxed);
}

/* Puts in a record of `bytes` bytes, all of them `fill`. */
static inline gs_status ring_put(gs_ring *ring, uint32_t lease, uint32_t bytes, uint8_t fill) {
    gs_ring_claim claim;
    gs_status status = gs_ring_try_claim(ring, lease, bytes, &claim);
    if (status == GS_OK) {
        memset(claim.data, fill, bytes);
        gs_ring_commit(ring, lease, &claim);
    }
    return status;
}

static inline bool bytes_are(const uint8_t *data, uint32_t bytes, uint8_t fill) {
    for (uint32_t i = 0; i < bytes; i++) {
        if (data[i] != fill) {
            return false;
        }
    }
    return true;
}

/* Empty in both seq and place: else the next lap would count bytes that nobody has. */
static inline bool ring_is_empty(const gs_ring *ring) {
    /* relaxed: one thread, or all others have ended */
    return atomic_load_explicit(&ring->claim, memory_order_relaxed) ==
           atomic_load_explicit(&ring->freed, memory_order_relaxed);
}

/* Takes out the oldest record and checks it. */
static inline void ring_expect(gs_ring *ring, uint32_t bytes, uint8_t fill) {
    gs_ring_cursor cursor = gs_ring_first(ring);
    gs_ring_record record;
    if (CHECK_EQ(gs_ring_peek(ring, &cursor, &record), GS_OK) && CHECK(record.data != NULL)) {
        CHECK_EQ(record.bytes, bytes);
        CHECK(bytes_are(record.data, record.bytes, fill));
        gs_ring_free_through(ring, &cursor);
    }
}

/* Owners of the tests are small numbers; `context` is a bool for each: does it live? */
static inline bool ring_owner_lives(void *context, uint64_t owner) {
    return ((const bool *)context)[owner];
}

/* xorshift64*: the same numbers in every run */
static inline uint32_t random_below(uint64_t *state, uint32_t below) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)((*state * UINT64_C(2685821657736338717)) >> 32) % below;
}

#endif
