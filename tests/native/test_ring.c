/* sources: ring.c */
/* One thread: places, limits, wrapping, and every outcome. R1, R4 and R5 of ring.h. */
#include <errno.h>

#include "test_ring_fixture.h"

#define NO_LEASE GS_RING_NO_LEASE

static void configurations_out_of_range_are_refused(void) {
    static const gs_ring_config refused[] = {
        {.capacity_records = 0, .capacity_bytes = 1024},
        {.capacity_records = 1, .capacity_bytes = 0},
        {.capacity_records = 1, .capacity_bytes = 16},
        {.capacity_records = 1, .capacity_bytes = 1000},
        {.capacity_records = (UINT32_C(1) << 30) + 1, .capacity_bytes = 1024},
        {.capacity_records = 1, .capacity_bytes = (UINT64_C(32) << 30) + 16},
        {.capacity_records = 1, .capacity_bytes = 1024, .leases = UINT32_MAX},
    };
    void *memory = aligned_alloc(64, 8192);
    REQUIRE(memory != NULL);
    memset(memory, 0, 8192);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        CHECK_EQ(gs_ring_memory_bytes(&refused[i]), 0);
        CHECK_EQ(gs_ring_init(memory, 8192, &refused[i]), EINVAL);
    }
    gs_ring_config fine = {.capacity_records = 4, .capacity_bytes = 1024};
    size_t needed = gs_ring_memory_bytes(&fine);
    REQUIRE(needed > 0 && needed <= 8192);
    CHECK_EQ(gs_ring_init(NULL, needed, &fine), EINVAL);
    CHECK_EQ(gs_ring_init(memory, needed - 1, &fine), EINVAL);
    CHECK_EQ(gs_ring_init((uint8_t *)memory + 16, needed, &fine), EINVAL);
    CHECK_EQ(gs_ring_init(memory, needed, &fine), 0);
    free(memory);
}

static void largest_configuration_has_32_bit_records(void) {
    gs_ring_config largest = {.capacity_records = UINT32_C(1) << 30, .capacity_bytes = UINT64_C(32) << 30};
    gs_ring ring = {0};
    /* Room for the header alone: the memory that is promised is never touched. */
    CHECK_EQ(gs_ring_init(&ring, gs_ring_memory_bytes(&largest), &largest), 0);
    CHECK_EQ(gs_ring_max_record_bytes(&ring), UINT32_MAX - 15);
    CHECK_EQ(ring.capacity_granules, UINT32_C(1) << 31);
    gs_ring_claim claim;
    CHECK_EQ(gs_ring_try_claim(&ring, NO_LEASE, UINT32_MAX, &claim), GS_TOO_LARGE);
    CHECK_EQ(gs_ring_try_claim(&ring, NO_LEASE, UINT32_MAX - 15, &claim), GS_OK);
    CHECK_EQ(gs_ring_used_bytes(&ring), UINT32_MAX - 15);
}

static void init_touches_the_first_page_only(void) {
    gs_ring_config config = {.capacity_records = 4096, .capacity_bytes = 1 << 20, .leases = 64};
    size_t memory_bytes = gs_ring_memory_bytes(&config);
    uint8_t *memory = mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    REQUIRE(mprotect(memory + 4096, memory_bytes - 4096, PROT_NONE) == 0);
    CHECK_EQ(gs_ring_init(memory, memory_bytes, &config), 0);
    REQUIRE(munmap(memory, memory_bytes) == 0);
}

static void empty_ring_has_nothing(void) {
    gs_ring *ring = ring_make(4, 1024, 0);
    gs_ring_cursor cursor = gs_ring_first(ring);
    gs_ring_record record;
    CHECK_EQ(gs_ring_peek(ring, &cursor, &record), GS_EMPTY);
    CHECK_EQ(cursor.seq, 0);
    CHECK_EQ(gs_ring_depth(ring), 0);
    CHECK_EQ(gs_ring_used_bytes(ring), 0);
    CHECK_EQ(gs_ring_max_record_bytes(ring), 512);
    ring_unmake(ring);
}

static void claimed_record_is_pending_until_commit(void) {
    gs_ring *ring = ring_make(4, 1024, 0);
    gs_ring_claim claim;
    gs_ring_cursor cursor = gs_ring_first(ring);
    gs_ring_record record;
    REQUIRE(gs_ring_try_claim(ring, NO_LEASE, 5, &claim) == GS_OK);
    CHECK_EQ((uintptr_t)claim.data % 16, 0);
    CHECK_EQ(claim.seq, 0);
    CHECK_EQ(claim.bytes, 5);
    CHECK_EQ(claim.depth, 1);
    CHECK_EQ(gs_ring_peek(ring, &cursor, &record), GS_PENDING);
    CHECK_EQ(cursor.seq, 0);
    /* The next record is there, but the order of claims is kept. */
    CHECK_EQ(ring_put(ring, NO_LEASE, 7, 7), GS_OK);
    CHECK_EQ(gs_ring_peek(ring, &cursor, &record), GS_PENDING);
    CHECK_EQ(gs_ring_skip_dead(ring, &cursor, ring_owner_lives, NULL), GS_PENDING);
    memcpy(claim.data, "hello", 5);
    gs_ring_commit(ring, NO_LEASE, &claim);
    CHECK_EQ(gs_ring_claimed_seq(ring), 2);
    REQUIRE(gs_ring_peek(ring, &cursor, &record) == GS_OK);
    CHECK_EQ(record.seq, 0);
    CHECK_EQ(record.bytes, 5);
    CHECK_MEM_EQ(record.data, "hello", 5);
    REQUIRE(gs_ring_peek(ring, &cursor, &record) == GS_OK);
    CHECK_EQ(record.seq, 1);
    CHECK(bytes_are(record.data, 7, 7));
    CHECK_EQ(gs_ring_peek(ring, &cursor, &record), GS_EMPTY);
    ring_unmake(ring);
}

static void limit_of_records_is_exact(void) {
    gs_ring *ring = ring_make(3, 1024, 0); /* four slots, of which three may be used */
    for (uint8_t lap = 0; lap < 20; lap++) {
        for (uint8_t i = 0; i < 3; i++) {
            CHECK_EQ(ring_put(ring, NO_LEASE, 20, i), GS_OK);
        }
        CHECK_EQ(ring_put(ring, NO_LEASE, 20, 9), GS_FULL);
        CHECK_EQ(gs_ring_depth(ring), 3);
        for (uint8_t i = 0; i < 3; i++) {
            ring_expect(ring, 20, i);
            CHECK_EQ(gs_ring_freed_seq(ring), lap * 3 + i + 1);
        }
    }
    ring_unmake(ring);
}

static void every_byte_can_be_taken_and_no_more(void) {
    gs_ring *ring = ring_make(1000, 5 * 48, 0);
    for (uint32_t start = 0; start < 15; start++) {
        ring_start_at(ring, 100, start);
        for (uint8_t i = 0; i < 15; i++) {
            CHECK_EQ(ring_put(ring, NO_LEASE, 16, i), GS_OK);
        }
        CHECK_EQ(gs_ring_used_bytes(ring), 5 * 48);
        CHECK_EQ(ring_put(ring, NO_LEASE, 0, 0), GS_FULL);
        for (uint8_t i = 0; i < 15; i++) {
            ring_expect(ring, 16, i);
        }
        CHECK_EQ(gs_ring_used_bytes(ring), 0);
    }
    ring_unmake(ring);
}

static void largest_record_fits_wherever_an_empty_ring_stands(void) {
    static const uint64_t capacities[] = {32, 48, 80, 1024, 1040};
    for (size_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++) {
        gs_ring *ring = ring_make(8, capacities[i], 0);
        uint32_t largest = (uint32_t)gs_ring_max_record_bytes(ring);
        CHECK_EQ(largest, capacities[i] / 32 * 16);
        for (uint32_t start = 0; start < ring->capacity_granules; start++) {
            ring_start_at(ring, start, start);
            CHECK_EQ(ring_put(ring, NO_LEASE, largest, 0xa5), GS_OK);
            ring_expect(ring, largest, 0xa5);
            CHECK_EQ(ring_put(ring, NO_LEASE, largest + 1, 0), GS_TOO_LARGE);
        }
        ring_unmake(ring);
    }
}

static void record_that_does_not_fit_before_the_end_takes_the_padding(void) {
    gs_ring *ring = ring_make(8, 160, 0);
    ring_start_at(ring, 0, 8); /* two granules before the end */
    CHECK_EQ(ring_put(ring, NO_LEASE, 48, 1), GS_OK);
    CHECK_EQ(gs_ring_used_bytes(ring), 32 + 48);
    CHECK_EQ(ring_put(ring, NO_LEASE, 80, 2), GS_OK);
    CHECK_EQ(gs_ring_used_bytes(ring), 160);
    CHECK_EQ(ring_put(ring, NO_LEASE, 1, 3), GS_FULL);
    ring_expect(ring, 48, 1); /* gives back its padding too */
    CHECK_EQ(gs_ring_used_bytes(ring), 80);
    /* At granule 8, with 0..2 and 8..9 free: three granules would fit only in pieces, or at 0 with the padding. */
    CHECK_EQ(ring_put(ring, NO_LEASE, 49, 4), GS_FULL);
    CHECK_EQ(ring_put(ring, NO_LEASE, 48, 5), GS_OK);
    CHECK_EQ(gs_ring_used_bytes(ring), 160);
    ring_expect(ring, 80, 2);
    ring_expect(ring, 48, 5);
    ring_unmake(ring);
}

static void empty_record_is_a_record(void) {
    gs_ring *ring = ring_make(2, 32, 0);
    CHECK_EQ(ring_put(ring, NO_LEASE, 0, 0), GS_OK);
    CHECK_EQ(ring_put(ring, NO_LEASE, 0, 0), GS_OK);
    CHECK_EQ(ring_put(ring, NO_LEASE, 0, 0), GS_FULL);
    ring_expect(ring, 0, 0);
    ring_expect(ring, 0, 0);
    ring_unmake(ring);
}

static void abandoned_record_is_passed_over_and_gives_its_bytes_back(void) {
    gs_ring *ring = ring_make(8, 160, 0);
    gs_ring_claim claim;
    gs_ring_record record;
    CHECK_EQ(ring_put(ring, NO_LEASE, 10, 1), GS_OK);
    REQUIRE(gs_ring_try_claim(ring, NO_LEASE, 60, &claim) == GS_OK);
    CHECK_EQ(ring_put(ring, NO_LEASE, 10, 3), GS_OK);
    gs_ring_abandon(ring, NO_LEASE, &claim);
    ring_expect(ring, 10, 1);
    gs_ring_cursor cursor = gs_ring_first(ring);
    REQUIRE(gs_ring_peek(ring, &cursor, &record) == GS_OK);
    CHECK(record.data == NULL);
    CHECK_EQ(record.bytes, 0);
    CHECK_EQ(record.seq, 1);
    gs_ring_free_through(ring, &cursor);
    CHECK_EQ(gs_ring_used_bytes(ring), 16);
    ring_expect(ring, 10, 3);
    ring_unmake(ring);
}

static void peeking_frees_nothing_and_freeing_may_stop_anywhere(void) {
    gs_ring *ring = ring_make(5, 1024, 0);
    for (uint8_t i = 0; i < 5; i++) {
        CHECK_EQ(ring_put(ring, NO_LEASE, 30, i), GS_OK);
    }
    gs_ring_cursor second = {0};
    for (int again = 0; again < 2; again++) {
        gs_ring_cursor cursor = gs_ring_first(ring);
        gs_ring_record record;
        for (uint8_t i = 0; i < 5; i++) {
            REQUIRE(gs_ring_peek(ring, &cursor, &record) == GS_OK);
            CHECK_EQ(record.seq, i);
            CHECK(bytes_are(record.data, 30, i));
            if (i == 1) {
                second = cursor;
            }
        }
        CHECK_EQ(gs_ring_peek(ring, &cursor, &record), GS_EMPTY);
        CHECK_EQ(gs_ring_depth(ring), 5);
        CHECK_EQ(ring_put(ring, NO_LEASE, 30, 9), GS_FULL);
    }
    gs_ring_free_through(ring, &second);
    CHECK_EQ(gs_ring_depth(ring), 3);
    CHECK_EQ(gs_ring_used_bytes(ring), 96);
    CHECK_EQ(ring_put(ring, NO_LEASE, 30, 5), GS_OK);
    CHECK_EQ(ring_put(ring, NO_LEASE, 30, 6), GS_OK);
    CHECK_EQ(ring_put(ring, NO_LEASE, 30, 9), GS_FULL);
    for (uint8_t i = 2; i < 7; i++) {
        ring_expect(ring, 30, i);
    }
    ring_unmake(ring);
}

static void numbers_wrap_at_32_bits(void) {
    static const uint32_t capacities[] = {1, 2, 3, 8};
    for (size_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++) {
        gs_ring *ring = ring_make(capacities[i], 64 * 16, 0);
        for (uint32_t before = 0; before <= capacities[i]; before++) {
            ring_start_at(ring, UINT32_MAX - before, 61);
            uint32_t first = gs_ring_freed_seq(ring);
            for (uint8_t lap = 0; lap < 3; lap++) {
                for (uint8_t k = 0; k < capacities[i]; k++) {
                    CHECK_EQ(ring_put(ring, NO_LEASE, 33, k), GS_OK);
                }
                CHECK_EQ(gs_ring_depth(ring), capacities[i]);
                CHECK_EQ(ring_put(ring, NO_LEASE, 33, 99), GS_FULL);
                for (uint8_t k = 0; k < capacities[i]; k++) {
                    ring_expect(ring, 33, k);
                }
                CHECK_EQ(gs_ring_depth(ring), 0);
                gs_ring_cursor cursor = gs_ring_first(ring);
                gs_ring_record record;
                CHECK_EQ(gs_ring_peek(ring, &cursor, &record), GS_EMPTY);
            }
            CHECK_EQ(gs_ring_claimed_seq(ring), (uint32_t)(first + 3 * capacities[i]));
        }
        ring_unmake(ring);
    }
}

static void states_of_earlier_laps_count_for_nothing(void) {
    gs_ring *ring = ring_make(2, 64, 0);
    gs_ring_claim claim;
    gs_ring_record record;
    for (int i = 0; i < 6; i++) {
        gs_ring_cursor cursor = gs_ring_first(ring);
        REQUIRE(gs_ring_try_claim(ring, NO_LEASE, 16, &claim) == GS_OK);
        CHECK_EQ(gs_ring_peek(ring, &cursor, &record), GS_PENDING);
        gs_ring_commit(ring, NO_LEASE, &claim);
        REQUIRE(gs_ring_peek(ring, &cursor, &record) == GS_OK);
        gs_ring_free_through(ring, &cursor);
    }
    /* Zeroed memory carries the seq 0: not a state of record 0, nor of the one that comes after the wrap. */
    gs_ring *fresh = ring_make(2, 64, 0);
    gs_ring_cursor cursor = gs_ring_first(fresh);
    REQUIRE(gs_ring_try_claim(fresh, NO_LEASE, 16, &claim) == GS_OK);
    CHECK_EQ(gs_ring_peek(fresh, &cursor, &record), GS_PENDING);
    ring_unmake(fresh);
    ring_unmake(ring);
}

static void bytes_ahead_are_where_the_next_claim_goes(void) {
    gs_ring *ring = ring_make(8, 160, 0);
    for (uint32_t start = 0; start < 10; start++) {
        uint64_t bytes = 0;
        gs_ring_claim claim;
        ring_start_at(ring, start, start);
        const uint8_t *ahead = gs_ring_ahead(ring, &bytes);
        CHECK_EQ(bytes, 160 - 16 * start);
        REQUIRE(gs_ring_try_claim(ring, NO_LEASE, 16, &claim) == GS_OK);
        CHECK(claim.data == ahead);
    }
    ring_unmake(ring);
}

static void lease_must_suit_the_ring(void) {
    gs_ring *without = ring_make(2, 64, 0);
    gs_ring *with = ring_make(2, 64, 2);
    gs_ring_claim claim;
    CHECK_EQ(gs_ring_lease(without, 7, NULL, NULL), NO_LEASE);
    CHECK_EQ(gs_ring_try_claim(without, 0, 1, &claim), GS_FAILED);
    CHECK_EQ(gs_ring_try_claim(with, NO_LEASE, 1, &claim), GS_FAILED);
    CHECK_EQ(gs_ring_try_claim(with, 2, 1, &claim), GS_FAILED);
    CHECK_EQ(gs_ring_try_claim(with, 1, 1, &claim), GS_OK);
    ring_unmake(without);
    ring_unmake(with);
}

/* The oracle of the next test: what a ring is, without positions, seqs and laps. */
typedef struct kept_record {
    uint64_t start; /* offsets into the byte area */
    uint64_t end;
    uint32_t bytes;
    uint8_t fill;
    bool abandoned;
    uint64_t padding;
} kept_record;

static uint64_t used_of(const kept_record *kept, size_t first, size_t count) {
    uint64_t used = 0;
    for (size_t i = first; i < count; i++) {
        used += kept[i].end - kept[i].start + kept[i].padding;
    }
    return used;
}

/* Random claims, commits, abandonments and partial frees against the oracle; the capacity is not a power of two. */
static void random_moves_agree_with_a_plain_list(void) {
    enum { MOVES = 20000, RECORDS = 7, BYTES = 37 * 16 };
    gs_ring *ring = ring_make(RECORDS, BYTES, 0);
    kept_record *kept = calloc(MOVES, sizeof *kept);
    REQUIRE(kept != NULL);
    size_t first = 0;
    size_t count = 0;
    uint64_t next = 0;
    uint64_t random = 42;
    unsigned overlaps = 0;
    unsigned wrong_places = 0;
    unsigned wrong_outcomes = 0;
    unsigned wrong_contents = 0;
    unsigned full = 0;
    ring_start_at(ring, UINT32_MAX - 5000, 0);
    for (int move = 0; move < MOVES; move++) {
        if (random_below(&random, 5) < 3) {
            uint32_t bytes =
                random_below(&random, 5) == 0 ? random_below(&random, BYTES / 2 + 1) : random_below(&random, 90);
            uint64_t extent = bytes == 0 ? 16 : (bytes + 15) / 16 * 16;
            uint64_t padding = next + extent > BYTES ? BYTES - next : 0;
            bool fits = count - first < RECORDS && used_of(kept, first, count) + padding + extent <= BYTES &&
                        bytes <= gs_ring_max_record_bytes(ring);
            gs_ring_claim claim;
            gs_status status = gs_ring_try_claim(ring, NO_LEASE, bytes, &claim);
            wrong_outcomes += status != (fits ? GS_OK : bytes > BYTES / 32 * 16 ? GS_TOO_LARGE : GS_FULL);
            full += status == GS_FULL;
            if (status != GS_OK) {
                continue;
            }
            uint64_t start = (uint64_t)(claim.data - gs_ring_bytes_at(ring, 0));
            kept_record record = {.start = start,
                                  .end = start + extent,
                                  .bytes = bytes,
                                  .fill = (uint8_t)move,
                                  .abandoned = random_below(&random, 8) == 0,
                                  .padding = padding};
            wrong_places += start != (padding != 0 ? 0 : next);
            for (size_t i = first; i < count; i++) {
                overlaps += record.start < kept[i].end && kept[i].start < record.end;
            }
            memset(claim.data, record.fill, bytes);
            (record.abandoned ? gs_ring_abandon : gs_ring_commit)(ring, NO_LEASE, &claim);
            kept[count++] = record;
            next = record.end % BYTES;
        } else {
            gs_ring_cursor cursor = gs_ring_first(ring);
            size_t freeing = random_below(&random, (uint32_t)(count - first) + 1);
            for (size_t i = first; i < first + freeing; i++) {
                gs_ring_record record;
                wrong_outcomes += gs_ring_peek(ring, &cursor, &record) != GS_OK;
                wrong_contents += kept[i].abandoned ? record.data != NULL
                                                    : record.data == NULL || record.bytes != kept[i].bytes ||
                                                          !bytes_are(record.data, record.bytes, kept[i].fill);
            }
            gs_ring_free_through(ring, &cursor);
            first += freeing;
        }
        wrong_outcomes += gs_ring_depth(ring) != count - first;
        wrong_outcomes += gs_ring_used_bytes(ring) != used_of(kept, first, count);
    }
    CHECK_EQ(overlaps, 0);
    CHECK_EQ(wrong_places, 0);
    CHECK_EQ(wrong_outcomes, 0);
    CHECK_EQ(wrong_contents, 0);
    CHECK(full > 100);   /* else the limits were not met */
    CHECK(count > 6000); /* else seq did not wrap */
    free(kept);
    ring_unmake(ring);
}

CHECK_MAIN(CHECK_TEST(configurations_out_of_range_are_refused), CHECK_TEST(largest_configuration_has_32_bit_records),
           CHECK_TEST(init_touches_the_first_page_only), CHECK_TEST(empty_ring_has_nothing),
           CHECK_TEST(claimed_record_is_pending_until_commit), CHECK_TEST(limit_of_records_is_exact),
           CHECK_TEST(every_byte_can_be_taken_and_no_more),
           CHECK_TEST(largest_record_fits_wherever_an_empty_ring_stands),
           CHECK_TEST(record_that_does_not_fit_before_the_end_takes_the_padding), CHECK_TEST(empty_record_is_a_record),
           CHECK_TEST(abandoned_record_is_passed_over_and_gives_its_bytes_back),
           CHECK_TEST(peeking_frees_nothing_and_freeing_may_stop_anywhere), CHECK_TEST(numbers_wrap_at_32_bits),
           CHECK_TEST(states_of_earlier_laps_count_for_nothing), CHECK_TEST(bytes_ahead_are_where_the_next_claim_goes),
           CHECK_TEST(lease_must_suit_the_ring), CHECK_TEST(random_moves_agree_with_a_plain_list))
