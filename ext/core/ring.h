/* ring.h - a lock-free queue of variable-size records: many producers, one consumer, in the caller's memory.
 *
 * A ring is two rings that advance together: a ring of fixed-size slots, one a record, and a ring of bytes that
 * holds the records. One 64-bit word, `claim`, carries both positions, so that one compare-and-swap takes the next
 * slot *and* the next bytes. Because both advance together, the records tile the bytes: the extent of a record whose
 * producer died before it could say how long it is, is known from its neighbours.
 *
 * Threads: try_claim, commit, abandon by any number of producers; first, peek, free_through, skip_dead by one consumer;
 * lease, lease_return, depth, used_bytes, claimed_seq, freed_seq by anyone. init before all, once.
 * Progress: producers are lock-free: none waits for another, nor for the consumer. A producer stopped between claim and
 * commit holds up the consumer at its record, and, once the ring has filled behind it, makes producers report GS_FULL.
 * One stopped inside try_claim holds up nobody, except that skip_dead answers GS_PENDING for the one record that it
 * tried for. The consumer holds up nobody; records that it does not free make the ring full.
 * Memory: everything is addressed by offsets from the ring's start, nothing by pointer, so that the memory may be
 * shared between processes and mapped at different addresses. Where the words lie: ring_layout.h.
 *
 * States of the slot of record `seq`, which is slot `seq % slots`, slots being a power of two >= capacity_records:
 *
 *     free -- try_claim --> claimed -- commit ---> committed --+
 *                              |----- abandon --> abandoned --+-- free_through --> free, for record seq + slots
 *                              +----- skip_dead -> dead -------+
 *
 * | word         | written by          | order             | read by          | order             | the edge carries  |
 * |--------------|---------------------|-------------------|------------------|-------------------|-------------------|
 * | claim        | try_claim           | CLAIM (seq_cst)   | try_claim        | CLAIM_SEEN (acq)  | freed, as new     |
 * |              |                     |                   | skip_dead        | CLAIM_SEEN (acq)  | claimer's intent  |
 * |              |                     |                   | claimed_seq      | CLAIMED_SEQ (sc)  | no lost wake-up   |
 * | slot.state   | commit, abandon     | PUBLISH (release) | peek             | OBSERVE (acq)     | the record        |
 * |              | skip_dead           | relaxed           | peek, skip_dead  | OBSERVE, relaxed  | same thread       |
 * | freed        | free_through        | RECYCLE (release) | try_claim        | REUSE (acq)       | licence to reuse  |
 * | lease.intent | try_claim, commit.. | INTENT (release)  | skip_dead        | INTENT_SEEN (acq) | earlier commits   |
 * | lease.owner  | lease, lease_return | acq_rel, release  | lease, skip_dead | acq_rel, relaxed  | the lease's words |
 * (the orders are RING_ORDER_ macros in ring.c)
 *
 * R1 `claim` and `freed` are {seq:32, place:32}. seq runs freely; a place is a granule (16 bytes) of the byte area, so
 *    any capacity works and nothing but seq wraps. A record takes at least one granule; if it does not fit before the
 *    end, its claim takes the padding up to the end too. So seqs are equal exactly if the ring is empty, and equal
 *    places with different seqs mean that every byte is taken.
 * R2 freed <= claim <= freed + capacity, in records and in bytes, for every pair that is read claim first: a claim was
 *    made by someone who had read a `freed` that allowed it, and acquiring the claim makes the next read of `freed` at
 *    least as new. An old `freed` only makes the ring look fuller; a `freed` ahead of the claim shows as a distance
 *    over the capacity, and the claim is read again.
 * R3 Bytes and slot of a record are the consumer's from commit until `freed` is past it, and a producer's from its
 *    claim until commit.
 * R4 A state counts for record `seq` only if it carries `seq` and a flag. Older laps carry other seqs, zeroed memory no
 *    flag; so nothing is erased when a record is freed. (A state would be mistaken after 2^32 records, of which every
 *    one in that slot was dead.)
 * R5 The place in `freed` is never past the oldest record that is not freed. Every settled record says its own place,
 *    so one after a dead one is found without knowing the dead one's extent. Passing a dead record leaves the place
 *    where it is, which gives back too little until the next settled record is passed; only if the dead one is the
 *    newest in a claim word, its end is that word's place. (Taking the claim's place always would give back bytes of
 *    records in between.) So an empty ring is empty in both seq and place.
 * R6 On a ring with leases: a record is dead if it is claimed, not settled, and no lease of a living owner carries its
 *    seq as intent. The intent is written before the claim, and changed after the record is settled, or after the claim
 *    went to someone else; so, to who has seen the claim, an intent that has gone on means a settled record, and the
 *    verdict is an exchange that fails on a settled record. A lease taken over from a dead owner loses that owner's
 *    intent at any time: a missing intent means dead, never alive. What the dead wrote is visible to who was told of
 *    the death (is_alive), directly or through the taker's intent, so the next producer may overwrite it.
 * R7 claimed_seq is seq_cst, and so is the claim: see W1 in wake.h. What the re-check must look at is claimed_seq, not
 *    whether peek has a record: a record that is GS_PENDING may have been followed by its notify already, so a consumer
 *    that meets GS_PENDING must not park without a deadline.
 *
 * fork: in MAP_PRIVATE memory the child has a copy in which other threads' claims never end; it makes a new ring in
 * fresh memory, and leaves the old one alone. In MAP_SHARED memory the ring goes on for both; the child must take
 * leases of its own.
 *
 * Tests: tests/native/test_ring.c (R1, R4, R5), test_ring_stress.c (R2, R3, R4; mutants PUBLISH, OBSERVE, RECYCLE,
 * REUSE), test_ring_death.c and test_ring_kill.c (R5, R6), tests/model/ (R2 to R7 in every order that C11 allows, with
 * a mutant for every RING_ORDER_ macro; R1, R5, R6 in skip.pml).
 */
#ifndef GS_RING_H
#define GS_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

typedef struct gs_ring gs_ring; /* opaque: lies at the start of the caller's memory, 64-byte aligned */

typedef struct gs_ring_config {
    uint32_t capacity_records; /* >= 1; records that may be in the ring at once, exact */
    uint64_t capacity_bytes;   /* multiple of 16, 32 bytes to 32 GiB, exact; the largest record is half of it */
    uint32_t leases;           /* producers that can be told dead one by one; 0 if producers cannot die alone */
} gs_ring_config;

/* Bytes of memory that a ring of this configuration needs, 0 if the configuration is invalid. */
size_t gs_ring_memory_bytes(const gs_ring_config *config);

/* Makes an empty ring in `memory`, which must be zeroed (fresh mmap) and 64-byte aligned. 0 or EINVAL. Only the first
 * page is touched: slots and bytes are touched as they are used. */
int gs_ring_init(void *memory, size_t memory_bytes, const gs_ring_config *config);

uint64_t gs_ring_max_record_bytes(const gs_ring *self);

typedef struct gs_ring_claim {
    uint8_t *data;  /* where the record's bytes go; 16-byte aligned; the producer's alone until commit */
    uint32_t seq;   /* the record's number; runs freely, compare by unsigned difference */
    uint32_t bytes; /* as asked */
    uint32_t depth; /* records in the ring including this one, as the claim saw it: never too small */
} gs_ring_claim;

/* Takes room for one record of `bytes` bytes: GS_OK and a claim that must be committed or abandoned soon, with nothing
 * in between that can block; GS_FULL; GS_TOO_LARGE. Any thread, never blocks. `lease`: on a ring with leases, one that
 * this producer alone holds, for a claim without one could not be told from a dead one; on a ring without,
 * GS_RING_NO_LEASE. Anything else: GS_FAILED. */
#define GS_RING_NO_LEASE UINT32_MAX
gs_status gs_ring_try_claim(gs_ring *self, uint32_t lease, uint32_t bytes, gs_ring_claim *claim);

/* Hands the record to the consumer. The claim itself was a seq_cst read-modify-write, so a producer that reads the
 * consumer's parking word (seq_cst) after this misses no wake-up; see wake.h. */
void gs_ring_commit(gs_ring *self, uint32_t lease, const gs_ring_claim *claim);

/* Gives the record up: the consumer passes over it. */
void gs_ring_abandon(gs_ring *self, uint32_t lease, const gs_ring_claim *claim);

/* Consumer's place: starts at the oldest record that is not freed, advances with every peek that returns GS_OK. */
typedef struct gs_ring_cursor {
    uint32_t seq;
    uint32_t position; /* the ring's own: up to where bytes are given back by free_through, in 16 bytes */
} gs_ring_cursor;

typedef struct gs_ring_record {
    const uint8_t *data; /* valid until the record is freed; NULL for an abandoned or dead one (bytes == 0) */
    uint32_t bytes;
    uint32_t seq;
} gs_ring_record;

gs_ring_cursor gs_ring_first(const gs_ring *self); /* consumer */

/* The record at the cursor, and moves the cursor past it: GS_OK; GS_EMPTY: nothing more is claimed; GS_PENDING:
 * claimed, not committed. Nothing is freed: any number of records may be peeked at, and again from an earlier
 * cursor. */
gs_status gs_ring_peek(gs_ring *self, gs_ring_cursor *cursor, gs_ring_record *record);

/* Everything before the cursor may be overwritten from now on. The cursor must come from this ring's peek. */
void gs_ring_free_through(gs_ring *self, const gs_ring_cursor *cursor);

/* If the record at the cursor is claimed and not committed, and no living lease may still commit it, moves the
 * cursor past it and returns GS_OK (count it as lost: from now on peek passes over it); GS_EMPTY as peek; GS_PENDING
 * if a living producer may still commit it, if it has been committed meanwhile, and always on a ring without leases:
 * peek again. `is_alive(context, owner)` tells whether the owner that took a lease still runs; true is the safe
 * answer; false only when no thread of it can run any more (waited for, or gone from /proc). */
typedef bool (*gs_ring_is_alive)(void *context, uint64_t owner);
gs_status gs_ring_skip_dead(gs_ring *self, gs_ring_cursor *cursor, gs_ring_is_alive is_alive, void *context);

/* A lease for a producer that may die alone. `owner` is not 0 (a process id and its start time, say), and may hold
 * several. Returns the lease or GS_RING_NO_LEASE when all are taken. Leases of dead owners are taken over (is_alive
 * may be NULL: never). Any thread; lock-free. */
uint32_t gs_ring_lease(gs_ring *self, uint64_t owner, gs_ring_is_alive is_alive, void *context);
/* By the owner. What it has claimed and not committed is dead from now on. */
void gs_ring_lease_return(gs_ring *self, uint32_t lease);

/* Records claimed and not yet freed; any thread; a snapshot. */
uint32_t gs_ring_depth(const gs_ring *self);
/* The number the next claimed record will get; seq_cst; any thread. */
uint32_t gs_ring_claimed_seq(const gs_ring *self);
/* The oldest record that is not freed; any thread. */
uint32_t gs_ring_freed_seq(const gs_ring *self);
/* Bytes claimed and not yet freed, padding included; any thread; a snapshot. */
uint64_t gs_ring_used_bytes(const gs_ring *self);
/* Where the bytes of the next claims begin, as far as the end of the byte area; any thread; a snapshot. For a
 * consumer that wants the kernel to have the pages ready. */
uint8_t *gs_ring_ahead(gs_ring *self, uint64_t *bytes);

#endif /* GS_RING_H */
