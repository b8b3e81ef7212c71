/* sources: ring.c */
/* Producers that die: every step at which one can, made by hand. R5 and R6 of ring.h. */
#include "test_ring_fixture.h"

enum { FIRST = 1, SECOND = 2, THIRD = 3, OWNERS = 4 };

/* The state of a test: owners 1..3 hold the leases 0..2. Nobody may ask about the owner 0, who is said to live. */
typedef struct scene {
    gs_ring *ring;
    bool lives[OWNERS];
} scene;

static scene scene_make(void) {
    scene made = {.ring = ring_make(8, 320, 3), .lives = {true, true, true, true}};
    for (uint64_t owner = FIRST; owner <= THIRD; owner++) {
        CHECK_EQ(gs_ring_lease(made.ring, owner, NULL, NULL), owner - 1);
    }
    return made;
}

static gs_status skip(scene *self, gs_ring_cursor *cursor) {
    return gs_ring_skip_dead(self->ring, cursor, ring_owner_lives, self->lives);
}

static gs_ring_claim claim_of(scene *self, uint32_t owner, uint32_t bytes) {
    gs_ring_claim claim = {0};
    REQUIRE(gs_ring_try_claim(self->ring, owner - 1, bytes, &claim) == GS_OK);
    return claim;
}

/* Takes out the oldest record, which must be dead. */
static void expect_dead(scene *self) {
    gs_ring_cursor cursor = gs_ring_first(self->ring);
    gs_ring_record record;
    CHECK_EQ(gs_ring_peek(self->ring, &cursor, &record), GS_PENDING);
    CHECK_EQ(skip(self, &cursor), GS_OK);
    gs_ring_free_through(self->ring, &cursor);
}

static void expect_empty(scene *self) {
    gs_ring_cursor cursor = gs_ring_first(self->ring);
    gs_ring_record record;
    CHECK_EQ(gs_ring_peek(self->ring, &cursor, &record), GS_EMPTY);
    CHECK_EQ(skip(self, &cursor), GS_EMPTY);
    CHECK(ring_is_empty(self->ring));
    CHECK_EQ(gs_ring_used_bytes(self->ring), 0);
    CHECK_EQ(ring_put(self->ring, THIRD - 1, 160, 0xaa), GS_OK); /* the largest */
    ring_expect(self->ring, 160, 0xaa);
    ring_unmake(self->ring);
}

static void death_between_intent_and_claim_costs_nothing(void) {
    scene self = scene_make();
    /* relaxed, here and below: one thread */
    atomic_store_explicit(&gs_ring_lease_of(self.ring, 0)->intent, gs_ring_word(0, GS_RING_INTENT),
                          memory_order_relaxed);
    self.lives[FIRST] = false;
    CHECK_EQ(ring_put(self.ring, SECOND - 1, 20, 2), GS_OK);
    ring_expect(self.ring, 20, 2);
    expect_empty(&self);
}

static void intent_of_a_living_loser_holds_up_a_dead_winner_only_until_it_goes_on(void) {
    scene self = scene_make();
    atomic_store_explicit(&gs_ring_lease_of(self.ring, 0)->intent, gs_ring_word(0, GS_RING_INTENT),
                          memory_order_relaxed);
    (void)claim_of(&self, SECOND, 20);
    self.lives[SECOND] = false;
    gs_ring_cursor cursor = gs_ring_first(self.ring);
    CHECK_EQ(skip(&self, &cursor), GS_PENDING); /* it might be the first's */
    CHECK_EQ(cursor.seq, 0);
    CHECK_EQ(ring_put(self.ring, FIRST - 1, 20, 1), GS_OK); /* which goes on to record 1 */
    expect_dead(&self);
    ring_expect(self.ring, 20, 1);
    expect_empty(&self);
}

static void claimed_record_of_a_dead_owner_is_skipped(void) {
    scene self = scene_make();
    gs_ring_claim claim = claim_of(&self, FIRST, 100);
    memset(claim.data, 0xee, 50);
    CHECK_EQ(ring_put(self.ring, SECOND - 1, 20, 2), GS_OK);
    gs_ring_cursor cursor = gs_ring_first(self.ring);
    CHECK_EQ(skip(&self, &cursor), GS_PENDING);
    self.lives[FIRST] = false;
    expect_dead(&self);
    ring_expect(self.ring, 20, 2);
    expect_empty(&self);
}

static void death_with_a_half_written_slot_is_skipped(void) {
    scene self = scene_make();
    gs_ring_claim claim = claim_of(&self, FIRST, 100);
    gs_ring_slot *slot = gs_ring_slot_of(self.ring, claim.seq);
    slot->position = 999;
    slot->bytes = UINT32_MAX;
    self.lives[FIRST] = false;
    expect_dead(&self);
    expect_empty(&self);
}

static void committed_record_of_a_dead_owner_is_delivered(void) {
    scene self = scene_make();
    gs_ring_claim claim = claim_of(&self, FIRST, 100);
    memset(claim.data, 0x11, 100);
    gs_ring_commit(self.ring, 0, &claim);
    /* Dead before the intent was taken back. */
    atomic_store_explicit(&gs_ring_lease_of(self.ring, 0)->intent, gs_ring_word(claim.seq, GS_RING_INTENT),
                          memory_order_relaxed);
    self.lives[FIRST] = false;
    gs_ring_cursor cursor = gs_ring_first(self.ring);
    CHECK_EQ(skip(&self, &cursor), GS_PENDING); /* that is: peek again */
    ring_expect(self.ring, 100, 0x11);
    expect_empty(&self);
}

static void full_claim_leaves_no_intent(void) {
    scene self = scene_make();
    for (uint8_t i = 0; i < 8; i++) {
        CHECK_EQ(ring_put(self.ring, 0, 16, i), GS_OK);
    }
    CHECK_EQ(ring_put(self.ring, 0, 16, 99), GS_FULL);
    CHECK_EQ(atomic_load_explicit(&gs_ring_lease_of(self.ring, 0)->intent, memory_order_relaxed), 0);
    ring_unmake(self.ring);
}

static void dead_record_stays_dead_when_peeked_again(void) {
    scene self = scene_make();
    CHECK_EQ(ring_put(self.ring, SECOND - 1, 20, 1), GS_OK);
    (void)claim_of(&self, FIRST, 100);
    CHECK_EQ(ring_put(self.ring, SECOND - 1, 20, 3), GS_OK);
    self.lives[FIRST] = false;
    gs_ring_cursor cursor = gs_ring_first(self.ring);
    gs_ring_record record;
    CHECK_EQ(gs_ring_peek(self.ring, &cursor, &record), GS_OK);
    CHECK_EQ(skip(&self, &cursor), GS_OK);
    CHECK_EQ(skip(&self, &cursor), GS_PENDING); /* the next one is committed */
    /* The owner's lease goes to another; nothing is asked about it any more. */
    CHECK_EQ(gs_ring_lease(self.ring, THIRD, ring_owner_lives, self.lives), 0);
    cursor = gs_ring_first(self.ring);
    CHECK_EQ(gs_ring_peek(self.ring, &cursor, &record), GS_OK);
    REQUIRE(gs_ring_peek(self.ring, &cursor, &record) == GS_OK);
    CHECK(record.data == NULL);
    CHECK_EQ(record.seq, 1);
    REQUIRE(gs_ring_peek(self.ring, &cursor, &record) == GS_OK);
    CHECK(bytes_are(record.data, 20, 3));
    gs_ring_free_through(self.ring, &cursor);
    expect_empty(&self);
}

static void lease_taken_over_from_the_dead_makes_its_record_dead_not_alive(void) {
    scene self = scene_make();
    (void)claim_of(&self, FIRST, 30);
    CHECK_EQ(gs_ring_lease(self.ring, THIRD, ring_owner_lives, self.lives), GS_RING_NO_LEASE); /* all live */
    self.lives[FIRST] = false;
    CHECK_EQ(gs_ring_lease(self.ring, THIRD, NULL, NULL), GS_RING_NO_LEASE);
    CHECK_EQ(gs_ring_lease(self.ring, THIRD, ring_owner_lives, self.lives), 0);
    expect_dead(&self);
    CHECK_EQ(ring_put(self.ring, 0, 30, 3), GS_OK);
    ring_expect(self.ring, 30, 3);
    expect_empty(&self);
}

static void returned_lease_gives_up_its_claim(void) {
    scene self = scene_make();
    (void)claim_of(&self, FIRST, 30);
    gs_ring_lease_return(self.ring, 0);
    expect_dead(&self);
    CHECK_EQ(gs_ring_lease(self.ring, SECOND, NULL, NULL), 0);
    expect_empty(&self);
}

enum { DEPTH = 64, MADE = 6, PATTERNS = 729, AREA_BYTES = 320 };

/* Puts six records in, of which every three-adic digit of `pattern` says whether it is committed, abandoned or dead.
 * Returns how many of them fit. */
static uint32_t put_pattern(scene *self, unsigned pattern, const uint32_t *bytes) {
    uint32_t made = 0;
    for (; made < MADE; made++, pattern /= 3) {
        gs_ring_claim claim;
        uint32_t lease = pattern % 3 == 2 ? 1 : 0;
        if (gs_ring_try_claim(self->ring, lease, bytes[made], &claim) != GS_OK) {
            break;
        }
        memset(claim.data, (int)made, bytes[made]);
        if (pattern % 3 != 2) {
            (pattern % 3 == 1 ? gs_ring_abandon : gs_ring_commit)(self->ring, lease, &claim);
        }
    }
    return made;
}

/* Takes one of them at the cursor; false if it is not as it must be. */
static bool take_pattern(scene *self, gs_ring_cursor *cursor, unsigned fate, uint32_t bytes, uint8_t fill) {
    gs_ring_record record;
    gs_status status = gs_ring_peek(self->ring, cursor, &record);
    if (fate == 2) {
        return status == GS_PENDING && skip(self, cursor) == GS_OK;
    }
    return status == GS_OK &&
           (fate == 1 ? record.data == NULL : record.bytes == bytes && bytes_are(record.data, bytes, fill));
}

/* Every pattern at every place of the area, freed one by one or two by two. Between passing a record and freeing it
 * another comes in; after the freeing as many as there is room for, which must not overwrite what is still there. */
static void dead_records_in_every_pattern_give_back_their_bytes_and_no_others(void) {
    static const uint32_t bytes[MADE] = {1, 60, 17, 33, 16, 40};
    unsigned wrong = 0;
    unsigned refilled = 0;
    for (uint32_t start = 0; start < AREA_BYTES / 16; start++) {
        for (unsigned pattern = 0; pattern < PATTERNS; pattern++) {
            scene self = {.ring = ring_make(DEPTH, AREA_BYTES, 2), .lives = {true, true, true, false}};
            gs_ring *ring = self.ring;
            REQUIRE(gs_ring_lease(ring, FIRST, NULL, NULL) == 0 && gs_ring_lease(ring, THIRD, NULL, NULL) == 1);
            ring_start_at(ring, UINT32_MAX - 2, start);
            uint32_t made = put_pattern(&self, pattern, bytes);
            gs_ring_cursor cursor = gs_ring_first(ring);
            unsigned fates = pattern;
            for (uint32_t i = 0; i < made; i++, fates /= 3) {
                wrong += !take_pattern(&self, &cursor, fates % 3, bytes[i], (uint8_t)i);
                if ((pattern + i) % 2 == 0) {
                    refilled += ring_put(ring, 0, 16, 0xff) == GS_OK;
                    gs_ring_free_through(ring, &cursor);
                    while (i < 4 && ring_put(ring, 0, 16, 0xff) == GS_OK) {
                        refilled++;
                    }
                    wrong += gs_ring_used_bytes(ring) > AREA_BYTES;
                }
            }
            gs_ring_record record;
            while (gs_ring_peek(ring, &cursor, &record) == GS_OK) {
                wrong += record.bytes != 16 || !bytes_are(record.data, 16, 0xff);
            }
            gs_ring_free_through(ring, &cursor);
            wrong += !ring_is_empty(ring);
            wrong += ring_put(ring, 0, AREA_BYTES / 2, 0xaa) != GS_OK;
            ring_unmake(ring);
        }
    }
    CHECK_EQ(wrong, 0);
    CHECK(refilled > PATTERNS);
}

CHECK_MAIN(CHECK_TEST(death_between_intent_and_claim_costs_nothing),
           CHECK_TEST(intent_of_a_living_loser_holds_up_a_dead_winner_only_until_it_goes_on),
           CHECK_TEST(claimed_record_of_a_dead_owner_is_skipped), CHECK_TEST(death_with_a_half_written_slot_is_skipped),
           CHECK_TEST(committed_record_of_a_dead_owner_is_delivered), CHECK_TEST(full_claim_leaves_no_intent),
           CHECK_TEST(dead_record_stays_dead_when_peeked_again),
           CHECK_TEST(lease_taken_over_from_the_dead_makes_its_record_dead_not_alive),
           CHECK_TEST(returned_lease_gives_up_its_claim),
           CHECK_TEST(dead_records_in_every_pattern_give_back_their_bytes_and_no_others))
