#include "ring_layout.h"

#include <errno.h>

/* Each may be weakened by a build flag; the tests in tests/native and tests/model must notice. See the table
 * in ring.h. */
#ifndef RING_ORDER_CLAIM
#define RING_ORDER_CLAIM memory_order_seq_cst
#endif
#ifndef RING_ORDER_CLAIM_SEEN
#define RING_ORDER_CLAIM_SEEN memory_order_acquire
#endif
#ifndef RING_ORDER_CLAIMED_SEQ
#define RING_ORDER_CLAIMED_SEQ memory_order_seq_cst
#endif
#ifndef RING_ORDER_PUBLISH
#define RING_ORDER_PUBLISH memory_order_release
#endif
#ifndef RING_ORDER_OBSERVE
#define RING_ORDER_OBSERVE memory_order_acquire
#endif
#ifndef RING_ORDER_RECYCLE
#define RING_ORDER_RECYCLE memory_order_release
#endif
#ifndef RING_ORDER_REUSE
#define RING_ORDER_REUSE memory_order_acquire
#endif
#ifndef RING_ORDER_INTENT
#define RING_ORDER_INTENT memory_order_release
#endif
#ifndef RING_ORDER_INTENT_SEEN
#define RING_ORDER_INTENT_SEEN memory_order_acquire
#endif

#define CAPACITY_RECORDS_MAX (UINT32_C(1) << 30)
#define CAPACITY_BYTES_MAX   (UINT64_C(32) << 30)
#define LEASES_MAX           (UINT32_C(1) << 20)

static uint64_t round_up(uint64_t value, uint64_t to) {
    return (value + to - 1) / to * to;
}

/* Fills what gs_ring_init writes and returns the bytes needed, or 0. */
static uint64_t plan(const gs_ring_config *config, gs_ring *ring) {
    if (config->capacity_records == 0 || config->capacity_records > CAPACITY_RECORDS_MAX ||
        config->capacity_bytes < 2 * GS_RING_GRANULE || config->capacity_bytes > CAPACITY_BYTES_MAX ||
        config->capacity_bytes % GS_RING_GRANULE != 0 || config->leases > LEASES_MAX) {
        return 0;
    }
    uint32_t slots = 1;
    while (slots < config->capacity_records) {
        slots *= 2;
    }
    uint64_t largest = config->capacity_bytes / 2 / GS_RING_GRANULE * GS_RING_GRANULE;
    ring->leases = config->leases;
    ring->capacity_records = config->capacity_records;
    ring->slot_mask = slots - 1;
    ring->capacity_granules = (uint32_t)(config->capacity_bytes / GS_RING_GRANULE);
    ring->max_record_bytes = largest > UINT32_MAX ? UINT32_MAX - (GS_RING_GRANULE - 1) : (uint32_t)largest;
    ring->leases_offset = sizeof(gs_ring);
    ring->slots_offset = ring->leases_offset + config->leases * sizeof(gs_ring_lease_word);
    ring->bytes_offset = round_up(ring->slots_offset + slots * sizeof(gs_ring_slot), GS_RING_PAGE);
    return ring->bytes_offset + config->capacity_bytes;
}

size_t gs_ring_memory_bytes(const gs_ring_config *config) {
    gs_ring planned;
    return (size_t)plan(config, &planned);
}

int gs_ring_init(void *memory, size_t memory_bytes, const gs_ring_config *config) {
    gs_ring *self = memory;
    if (memory == NULL || (uintptr_t)memory % GS_RING_LINE != 0) {
        return EINVAL;
    }
    size_t needed = gs_ring_memory_bytes(config);
    if (needed == 0 || memory_bytes < needed) {
        return EINVAL;
    }
    /* The words, slots and leases of an empty ring are zeros, which the memory holds already. */
    (void)plan(config, self);
    return 0;
}

uint64_t gs_ring_max_record_bytes(const gs_ring *self) {
    return self->max_record_bytes;
}

static uint32_t granules(uint32_t bytes) {
    return bytes == 0 ? 1 : (bytes - 1) / GS_RING_GRANULE + 1;
}

static uint32_t place_after(const gs_ring *self, uint32_t position, uint32_t extent) {
    uint32_t end = position + extent;
    return end == self->capacity_granules ? 0 : end;
}

/* Granules between two words of which `freed` is not later than `claim` (R2). A record takes at least one granule, so
 * equal places with different seqs mean a full area (R1). */
static uint32_t used_granules(const gs_ring *self, uint64_t claim, uint64_t freed) {
    if (gs_ring_word_seq(claim) == gs_ring_word_seq(freed)) {
        return 0;
    }
    uint32_t end = gs_ring_word_low(claim);
    uint32_t start = gs_ring_word_low(freed);
    return end > start ? end - start : self->capacity_granules - start + end;
}

static void set_intent(gs_ring *self, uint32_t lease, uint64_t intent) {
    if (lease != GS_RING_NO_LEASE) {
        /* RING_ORDER_INTENT, pairs with INTENT_SEEN in gs_ring_skip_dead (R6): who sees that this producer has gone on
         * from a record also sees what became of that record. */
        atomic_store_explicit(&gs_ring_lease_of(self, lease)->intent, intent, RING_ORDER_INTENT);
    }
}

gs_status gs_ring_try_claim(gs_ring *self, uint32_t lease, uint32_t bytes, gs_ring_claim *claim) {
    if (self->leases == 0 ? lease != GS_RING_NO_LEASE : lease >= self->leases) {
        return GS_FAILED;
    }
    if (bytes > self->max_record_bytes) {
        return GS_TOO_LARGE;
    }
    const uint32_t extent = granules(bytes);
    uint64_t intent = 0;
    /* RING_ORDER_CLAIM_SEEN, pairs with CLAIM below (R2): the freed word read next is at least the one this
     * claim saw. */
    uint64_t seen = atomic_load_explicit(&self->claim, RING_ORDER_CLAIM_SEEN);
    for (;;) {
        /* RING_ORDER_REUSE, pairs with RECYCLE in gs_ring_free_through (R3): the consumer's update is the licence to
         * overwrite what it has freed. Read after `seen`: an old value only makes the ring look fuller. */
        uint64_t freed = atomic_load_explicit(&self->freed, RING_ORDER_REUSE);
        uint32_t seq = gs_ring_word_seq(seen);
        uint32_t depth = seq - gs_ring_word_seq(freed);
        if (depth > self->capacity_records) {
            /* The consumer has freed records claimed after `seen`, which is out of date: as after a failed exchange.
             * RING_ORDER_CLAIM_SEEN, as above (R2). */
            seen = atomic_load_explicit(&self->claim, RING_ORDER_CLAIM_SEEN);
            continue;
        }
        uint32_t start = gs_ring_word_low(seen);
        uint32_t to_end = self->capacity_granules - start;
        uint32_t padding = 0;
        if (extent > to_end) {
            padding = to_end;
            start = 0;
        }
        if (depth == self->capacity_records ||
            padding + extent > self->capacity_granules - used_granules(self, seen, freed)) {
            if (intent != 0) {
                set_intent(self, lease, 0);
            }
            return GS_FULL;
        }
        intent = gs_ring_word(seq, GS_RING_INTENT);
        set_intent(self, lease, intent); /* before the claim is made (R6) */
        /* RING_ORDER_CLAIM: release, pairs with CLAIM_SEEN (R2, R6); seq_cst, the producer's half of the parking
         * protocol, pairs with CLAIMED_SEQ in gs_ring_claimed_seq (R7). */
        if (atomic_compare_exchange_weak_explicit(&self->claim, &seen,
                                                  gs_ring_word(seq + 1, place_after(self, start, extent)),
                                                  RING_ORDER_CLAIM, RING_ORDER_CLAIM_SEEN)) {
            claim->data = gs_ring_bytes_at(self, start);
            claim->seq = seq;
            claim->bytes = bytes;
            claim->depth = depth + 1;
            return GS_OK;
        }
    }
}

static void settle(gs_ring *self, uint32_t lease, const gs_ring_claim *claim, uint32_t flag) {
    gs_ring_slot *slot = gs_ring_slot_of(self, claim->seq);
    slot->position = (uint32_t)((size_t)(claim->data - gs_ring_bytes_at(self, 0)) / GS_RING_GRANULE);
    slot->bytes = claim->bytes;
    /* RING_ORDER_PUBLISH, pairs with OBSERVE in gs_ring_peek (R4): the record's bytes and its slot go to the
     * consumer. */
    atomic_store_explicit(&slot->state, gs_ring_word(claim->seq, flag), RING_ORDER_PUBLISH);
    set_intent(self, lease, 0);
}

void gs_ring_commit(gs_ring *self, uint32_t lease, const gs_ring_claim *claim) {
    settle(self, lease, claim, GS_RING_COMMITTED);
}

void gs_ring_abandon(gs_ring *self, uint32_t lease, const gs_ring_claim *claim) {
    settle(self, lease, claim, GS_RING_ABANDONED);
}

gs_ring_cursor gs_ring_first(const gs_ring *self) {
    /* relaxed: written by the caller, the consumer, itself */
    uint64_t freed = atomic_load_explicit(&self->freed, memory_order_relaxed);
    return (gs_ring_cursor){.seq = gs_ring_word_seq(freed), .position = gs_ring_word_low(freed)};
}

/* Past a dead record, whose extent nobody wrote down (R5). */
static void pass_dead(gs_ring_cursor *cursor, uint64_t claim) {
    cursor->seq++;
    if (cursor->seq == gs_ring_word_seq(claim)) {
        cursor->position = gs_ring_word_low(claim);
    }
}

gs_status gs_ring_peek(gs_ring *self, gs_ring_cursor *cursor, gs_ring_record *record) {
    gs_ring_slot *slot = gs_ring_slot_of(self, cursor->seq);
    /* RING_ORDER_OBSERVE, pairs with PUBLISH in settle (R4): the record may be read. */
    uint64_t state = atomic_load_explicit(&slot->state, RING_ORDER_OBSERVE);
    uint32_t flag = gs_ring_word_seq(state) == cursor->seq ? gs_ring_word_low(state) : 0;
    record->seq = cursor->seq;
    if (flag == GS_RING_COMMITTED || flag == GS_RING_ABANDONED) {
        bool kept = flag == GS_RING_COMMITTED;
        record->data = kept ? gs_ring_bytes_at(self, slot->position) : NULL;
        record->bytes = kept ? slot->bytes : 0;
        cursor->seq++;
        cursor->position = place_after(self, slot->position, granules(slot->bytes));
        return GS_OK;
    }
    record->data = NULL;
    record->bytes = 0;
    /* relaxed: only the word's own value is used; the record is reached through its state */
    uint64_t claim = atomic_load_explicit(&self->claim, memory_order_relaxed);
    if (flag == GS_RING_DEAD) {
        pass_dead(cursor, claim);
        return GS_OK;
    }
    return gs_ring_word_seq(claim) == cursor->seq ? GS_EMPTY : GS_PENDING;
}

void gs_ring_free_through(gs_ring *self, const gs_ring_cursor *cursor) {
    /* RING_ORDER_RECYCLE, pairs with REUSE in gs_ring_try_claim (R3): the consumer has done its last read of these. */
    atomic_store_explicit(&self->freed, gs_ring_word(cursor->seq, cursor->position), RING_ORDER_RECYCLE);
}

gs_status gs_ring_skip_dead(gs_ring *self, gs_ring_cursor *cursor, gs_ring_is_alive is_alive, void *context) {
    /* RING_ORDER_CLAIM_SEEN, pairs with CLAIM in gs_ring_try_claim (R6): the intent of whoever claimed is visible. */
    uint64_t claim = atomic_load_explicit(&self->claim, RING_ORDER_CLAIM_SEEN);
    if (gs_ring_word_seq(claim) == cursor->seq) {
        return GS_EMPTY;
    }
    gs_ring_slot *slot = gs_ring_slot_of(self, cursor->seq);
    /* relaxed: nothing of the record is read; if it has been settled since, the exchange below fails */
    uint64_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);
    bool is_settled = gs_ring_word_seq(state) == cursor->seq && gs_ring_word_low(state) != 0;
    if (is_settled || self->leases == 0) {
        return GS_PENDING;
    }
    const uint64_t intent = gs_ring_word(cursor->seq, GS_RING_INTENT);
    for (uint32_t lease = 0; lease < self->leases; lease++) {
        gs_ring_lease_word *word = gs_ring_lease_of(self, lease);
        /* RING_ORDER_INTENT_SEEN, pairs with INTENT in set_intent (R6): the record of a producer that has gone on is
         * settled, and the exchange below will find it so; and the owner read next is not one before the intent's. */
        if (atomic_load_explicit(&word->intent, RING_ORDER_INTENT_SEEN) != intent) {
            continue;
        }
        /* relaxed: a name to ask the caller about */
        uint64_t owner = atomic_load_explicit(&word->owner, memory_order_relaxed);
        if (owner != 0 && is_alive(context, owner)) {
            return GS_PENDING;
        }
    }
    /* relaxed: the verdict is read by this thread alone. An exchange, since it acts on the newest state: a record
     * settled just before its producer died is not lost. */
    if (!atomic_compare_exchange_strong_explicit(&slot->state, &state, gs_ring_word(cursor->seq, GS_RING_DEAD),
                                                 memory_order_relaxed, memory_order_relaxed)) {
        return GS_PENDING;
    }
    pass_dead(cursor, claim);
    return GS_OK;
}

static bool take_lease(gs_ring_lease_word *word, uint64_t from, uint64_t owner) {
    /* acq_rel, pairs with itself and with gs_ring_lease_return (R6): the lease's words are the new owner's; the intent
     * it writes next is never seen together with the owner before it. */
    if (!atomic_compare_exchange_strong_explicit(&word->owner, &from, owner, memory_order_acq_rel,
                                                 memory_order_relaxed)) {
        return false;
    }
    /* RING_ORDER_INTENT (R6): what a dead owner meant to do is not the new owner's doing. */
    atomic_store_explicit(&word->intent, 0, RING_ORDER_INTENT);
    return true;
}

uint32_t gs_ring_lease(gs_ring *self, uint64_t owner, gs_ring_is_alive is_alive, void *context) {
    for (uint32_t lease = 0; lease < self->leases; lease++) {
        if (take_lease(gs_ring_lease_of(self, lease), 0, owner)) {
            return lease;
        }
    }
    for (uint32_t lease = 0; lease < self->leases && is_alive != NULL; lease++) {
        gs_ring_lease_word *word = gs_ring_lease_of(self, lease);
        /* relaxed: a name to ask the caller about; the exchange in take_lease decides */
        uint64_t holder = atomic_load_explicit(&word->owner, memory_order_relaxed);
        if ((holder == 0 || !is_alive(context, holder)) && take_lease(word, holder, owner)) {
            return lease;
        }
    }
    return GS_RING_NO_LEASE;
}

void gs_ring_lease_return(gs_ring *self, uint32_t lease) {
    /* release, pairs with take_lease (R6): the lease's words go to the next owner. */
    atomic_store_explicit(&gs_ring_lease_of(self, lease)->owner, 0, memory_order_release);
}

/* A pair of words of which `freed` is not earlier than `claim` saw it (R2). False: everything that `claim` counts has
 * been freed since. */
static bool read_words(const gs_ring *self, uint64_t *claim, uint64_t *freed) {
    /* RING_ORDER_CLAIM_SEEN, pairs with CLAIM in gs_ring_try_claim (R2) */
    *claim = atomic_load_explicit(&self->claim, RING_ORDER_CLAIM_SEEN);
    /* relaxed: nothing is overwritten */
    *freed = atomic_load_explicit(&self->freed, memory_order_relaxed);
    return gs_ring_word_seq(*claim) - gs_ring_word_seq(*freed) <= self->capacity_records;
}

uint32_t gs_ring_depth(const gs_ring *self) {
    uint64_t claim;
    uint64_t freed;
    return read_words(self, &claim, &freed) ? gs_ring_word_seq(claim) - gs_ring_word_seq(freed) : 0;
}

uint64_t gs_ring_used_bytes(const gs_ring *self) {
    uint64_t claim;
    uint64_t freed;
    return read_words(self, &claim, &freed) ? (uint64_t)used_granules(self, claim, freed) * GS_RING_GRANULE : 0;
}

uint32_t gs_ring_claimed_seq(const gs_ring *self) {
    /* RING_ORDER_CLAIMED_SEQ, the consumer's half of the parking protocol, pairs with CLAIM in
     * gs_ring_try_claim (R7) */
    return gs_ring_word_seq(atomic_load_explicit(&self->claim, RING_ORDER_CLAIMED_SEQ));
}

uint32_t gs_ring_freed_seq(const gs_ring *self) {
    /* relaxed: a number; the reader touches no record on its account */
    return gs_ring_word_seq(atomic_load_explicit(&self->freed, memory_order_relaxed));
}

uint8_t *gs_ring_ahead(gs_ring *self, uint64_t *bytes) {
    /* relaxed: a guess; nothing is read or written there on the strength of it. */
    uint32_t place = gs_ring_word_low(atomic_load_explicit(&self->claim, memory_order_relaxed));
    *bytes = (uint64_t)(self->capacity_granules - place) * GS_RING_GRANULE;
    return gs_ring_bytes_at(self, place);
}
