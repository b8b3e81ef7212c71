/* ring_layout.h - where the words of a ring lie. For ring.c and for tests that look inside; everybody else uses ring.h.
 *
 *     gs_ring | gs_ring_lease_word[leases] | gs_ring_slot[slots] | up to a page boundary | bytes
 *
 * Offsets are counted from the gs_ring. A place in the byte area is counted in granules of GS_RING_GRANULE bytes.
 */
#ifndef GS_RING_LAYOUT_H
#define GS_RING_LAYOUT_H

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "ring.h"

#define GS_RING_GRANULE UINT32_C(16)
#define GS_RING_LINE    64
#define GS_RING_PAGE    UINT64_C(4096)

/* `state` is gs_ring_word(seq, flag): a state of an earlier lap carries another seq, so it never has to be erased, and
 * zeroed memory carries no flag, so it is not a state of record 0. */
#define GS_RING_COMMITTED UINT32_C(1)
#define GS_RING_ABANDONED UINT32_C(2)
#define GS_RING_DEAD      UINT32_C(3) /* the consumer's verdict; position and bytes mean nothing */

typedef struct gs_ring_slot {
    _Atomic uint64_t state;
    uint32_t position; /* where the record's bytes start */
    uint32_t bytes;
} gs_ring_slot;

/* `intent` is gs_ring_word(seq, GS_RING_INTENT) or 0. */
#define GS_RING_INTENT UINT32_C(1)

typedef struct gs_ring_lease_word {
    alignas(GS_RING_LINE) _Atomic uint64_t owner; /* 0: free */
    _Atomic uint64_t intent;
} gs_ring_lease_word;

struct gs_ring {
    /* Written by gs_ring_init, then only read. */
    uint64_t leases_offset;
    uint64_t slots_offset;
    uint64_t bytes_offset;
    uint32_t leases;
    uint32_t capacity_records;
    uint32_t slot_mask;
    uint32_t capacity_granules;
    uint32_t max_record_bytes;
    /* gs_ring_word(seq of the next record, its place); producers' */
    alignas(GS_RING_LINE) _Atomic uint64_t claim;
    /* gs_ring_word(seq of the oldest record in the ring, its place); the consumer's */
    alignas(GS_RING_LINE) _Atomic uint64_t freed;
};

static_assert(sizeof(gs_ring_slot) == 16, "four slots a cache line");
static_assert(sizeof(gs_ring_lease_word) == GS_RING_LINE, "a lease has a cache line of its own");
static_assert(offsetof(gs_ring, claim) == GS_RING_LINE, "what is only read shares a line with nothing");
static_assert(offsetof(gs_ring, freed) == 2 * GS_RING_LINE, "producers and consumer write to different lines");
static_assert(sizeof(gs_ring) == 3 * GS_RING_LINE, "nothing shares a line with freed");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "atomics without locks, so that they work between processes");

static inline uint64_t gs_ring_word(uint32_t seq, uint32_t low) {
    return (uint64_t)seq << 32 | low;
}

static inline uint32_t gs_ring_word_seq(uint64_t word) {
    return (uint32_t)(word >> 32);
}

static inline uint32_t gs_ring_word_low(uint64_t word) {
    return (uint32_t)word;
}

static inline gs_ring_slot *gs_ring_slot_of(gs_ring *self, uint32_t seq) {
    return (gs_ring_slot *)((uint8_t *)self + self->slots_offset) + (seq & self->slot_mask);
}

static inline gs_ring_lease_word *gs_ring_lease_of(gs_ring *self, uint32_t lease) {
    return (gs_ring_lease_word *)((uint8_t *)self + self->leases_offset) + lease;
}

static inline uint8_t *gs_ring_bytes_at(gs_ring *self, uint32_t position) {
    return (uint8_t *)self + self->bytes_offset + (uint64_t)position * GS_RING_GRANULE;
}

#endif /* GS_RING_LAYOUT_H */
