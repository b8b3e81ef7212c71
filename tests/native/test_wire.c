/* sources: */
/* variants: plain asan */
#include "wire.h"

#include "check.h"

#define LIMIT ((size_t)1 << 20)

static uint64_t read_varint(const uint8_t **at) {
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            return value;
        }
    }
}

/* The message as its reader gets it; freed by the caller. */
static uint8_t *joined(const gs_wire *wire, size_t *bytes) {
    *bytes = gs_wire_position(wire);
    uint8_t *copy = malloc(*bytes + 1);
    REQUIRE(copy != NULL);
    size_t at = 0, from = 0;
    for (uint32_t i = 0; i <= wire->lent_count; i++) {
        size_t end = i < wire->lent_count ? wire->lent[i].offset : (size_t)(wire->at - wire->start);
        memcpy(copy + at, wire->start + from, end - from);
        at += end - from;
        from = end;
        if (i < wire->lent_count) {
            memcpy(copy + at, wire->lent[i].data, wire->lent[i].bytes);
            at += wire->lent[i].bytes;
        }
    }
    CHECK_EQ(at, *bytes);
    return copy;
}

static void check_varint(uint64_t value) {
    uint8_t bytes[GS_VARINT_MAX_BYTES];
    const uint8_t *at = bytes;
    const uint8_t *end = gs_varint_write(bytes, value);
    CHECK_EQ(end - bytes, gs_varint_size(value));
    CHECK_EQ(read_varint(&at), value);
    CHECK(at == end);
}

static void varint_of_every_length_is_read_back(void) {
    for (unsigned bits = 0; bits < 64; bits++) {
        uint64_t edge = UINT64_C(1) << bits;
        check_varint(edge - 1);
        check_varint(edge);
        check_varint(edge + 1);
    }
    check_varint(UINT64_MAX);
    CHECK_EQ(gs_varint_size(0), 1);
    CHECK_EQ(gs_varint_size(127), 1);
    CHECK_EQ(gs_varint_size(128), 2);
    CHECK_EQ(gs_varint_size(UINT64_MAX), 10);
}

static void fields_have_the_bytes_of_the_specification(void) {
    uint8_t bytes[32];
    /* protobuf.dev/programming-guides/encoding: field 2, "testing": 12 07 ... */
    CHECK_EQ(gs_len_field_write(bytes, 2, 7) - bytes, 2);
    CHECK_MEM_EQ(bytes, "\x12\x07", 2);
    /* A field number over 15 takes two bytes. */
    CHECK_EQ(gs_fixed32_write(gs_tag_write(bytes, 16, GS_WIRE_FIXED32), 0x300) - bytes, 6);
    CHECK_MEM_EQ(bytes, "\x85\x01\x00\x03\x00\x00", 6);
    CHECK_EQ(gs_fixed64_write(gs_tag_write(bytes, 7, GS_WIRE_FIXED64), 1) - bytes, 9);
    CHECK_MEM_EQ(bytes, "\x39\x01\x00\x00\x00\x00\x00\x00\x00", 9);
    CHECK_EQ(gs_len_field_size(2, 7), 9);
    CHECK_EQ(gs_len_field_size(16, 128), 2 + 2 + 128);
}

/* Fields in fields around contents of a size: every length class of the inner and the outer length. */
static void nested_field_of_every_length_class_is_read_back(void) {
    static const size_t sizes[] = {0, 1, 125, 126, 127, 128, 129, 16380, 16383, 16384, 300000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        gs_wire wire = {0};
        gs_wire_reset(&wire, 0, LIMIT);
        gs_wire_mark outer = gs_wire_open(&wire, 1);
        gs_wire_mark inner = gs_wire_open(&wire, 2);
        REQUIRE(gs_wire_reserve(&wire, sizes[i]));
        memset(wire.at, 'x', sizes[i]);
        wire.at += sizes[i];
        gs_wire_close(&wire, inner);
        gs_wire_close(&wire, outer);
        const uint8_t *at = wire.start;
        CHECK_EQ(*at++, GS_WIRE_TAG(1, GS_WIRE_LEN));
        uint64_t outer_bytes = read_varint(&at);
        CHECK_EQ(outer_bytes, (uint64_t)(wire.at - at));
        CHECK_EQ(outer_bytes, gs_len_field_size(2, sizes[i]));
        CHECK_EQ(*at++, GS_WIRE_TAG(2, GS_WIRE_LEN));
        CHECK_EQ(read_varint(&at), sizes[i]);
        CHECK_EQ(wire.at - at, sizes[i]);
        CHECK(sizes[i] == 0 || (at[0] == 'x' && wire.at[-1] == 'x'));
        gs_wire_free(&wire);
    }
}

/* Lent runs keep their place when the fields around them move: before, first in, in the middle and last in a field. */
static void lent_bytes_stay_where_they_were_put(void) {
    static const char large[5000] = {'L'};
    gs_wire wire = {0};
    gs_wire_reset(&wire, 0, LIMIT);
    REQUIRE(gs_wire_reserve(&wire, 16));
    wire.at = gs_len_field_write(wire.at, 3, sizeof large);
    REQUIRE(gs_wire_lend(&wire, large, sizeof large));
    gs_wire_mark outer = gs_wire_open(&wire, 1);
    REQUIRE(gs_wire_lend(&wire, large, sizeof large));
    gs_wire_mark inner = gs_wire_open(&wire, 2);
    REQUIRE(gs_wire_reserve(&wire, 200));
    memset(wire.at, 'x', 200);
    wire.at += 200;
    REQUIRE(gs_wire_lend(&wire, large, sizeof large));
    gs_wire_close(&wire, inner);
    gs_wire_close(&wire, outer);
    size_t bytes;
    uint8_t *message = joined(&wire, &bytes);
    const uint8_t *at = message;
    CHECK_EQ(*at++, GS_WIRE_TAG(3, GS_WIRE_LEN));
    CHECK_EQ(read_varint(&at), sizeof large);
    CHECK_MEM_EQ(at, large, sizeof large);
    at += sizeof large;
    CHECK_EQ(*at++, GS_WIRE_TAG(1, GS_WIRE_LEN));
    uint64_t outer_bytes = read_varint(&at);
    CHECK_EQ(outer_bytes, (uint64_t)(message + bytes - at));
    CHECK_MEM_EQ(at, large, sizeof large);
    at += sizeof large;
    CHECK_EQ(*at++, GS_WIRE_TAG(2, GS_WIRE_LEN));
    CHECK_EQ(read_varint(&at), 200 + sizeof large);
    CHECK_EQ(at[0], 'x');
    CHECK_EQ(at[199], 'x');
    CHECK_MEM_EQ(at + 200, large, sizeof large);
    CHECK(at + 200 + sizeof large == message + bytes);
    free(message);
    gs_wire_free(&wire);
}

static void lending_ends_with_the_table(void) {
    static const char run[8] = "1234567";
    gs_wire wire = {0};
    gs_wire_reset(&wire, 0, LIMIT);
    for (unsigned i = 0; i < GS_WIRE_MAX_LENT; i++) {
        CHECK(gs_wire_lend(&wire, run, sizeof run));
    }
    CHECK(!gs_wire_lend(&wire, run, sizeof run));
    CHECK(!wire.failed);
    CHECK_EQ(gs_wire_position(&wire), GS_WIRE_MAX_LENT * sizeof run);
    gs_wire_free(&wire);
}

static void message_over_the_limit_fails_and_stays_failed(void) {
    gs_wire wire = {0};
    gs_wire_reset(&wire, 0, 1000);
    CHECK(gs_wire_reserve(&wire, 1000));
    gs_wire_free(&wire);
    gs_wire_reset(&wire, 0, 1000);
    gs_wire_mark mark = gs_wire_open(&wire, 1);
    CHECK(!wire.failed);
    /* Growing is what the limit is checked at: a little more may fit into what is there. */
    CHECK(!gs_wire_reserve(&wire, 2000));
    CHECK(wire.failed);
    CHECK(!wire.out_of_memory);
    CHECK(!gs_wire_reserve(&wire, 1));
    CHECK(!gs_wire_lend(&wire, "x", 1));
    gs_wire_close(&wire, mark);
    gs_wire_close(&wire, gs_wire_open(&wire, 2));
    CHECK(!gs_wire_reserve(&wire, SIZE_MAX));
    gs_wire_reset(&wire, 0, 1000);
    CHECK(!wire.failed);
    CHECK(gs_wire_reserve(&wire, 10));
    CHECK(!gs_wire_reserve(&wire, SIZE_MAX - 5));
    CHECK(wire.failed);
    gs_wire_free(&wire);
}

static void lent_bytes_count_against_the_limit(void) {
    static const char large[600];
    gs_wire wire = {0};
    gs_wire_reset(&wire, 0, 1000);
    CHECK(gs_wire_lend(&wire, large, sizeof large));
    CHECK(!wire.failed);
    gs_wire_lend(&wire, large, sizeof large);
    CHECK(wire.failed);
    gs_wire_free(&wire);
}

static void buffer_is_kept_and_headroom_is_left(void) {
    gs_wire wire = {0};
    gs_wire_reset(&wire, 8, LIMIT);
    CHECK(gs_wire_reserve(&wire, 5000));
    const uint8_t *start = wire.start;
    gs_wire_reset(&wire, 8, LIMIT);
    CHECK_EQ(wire.at - wire.start, 8);
    CHECK(gs_wire_reserve(&wire, 4000));
    CHECK(wire.start == start);
    CHECK_EQ(gs_wire_position(&wire), 8);
    gs_wire_free(&wire);
    CHECK(wire.start == NULL);
}

CHECK_MAIN(CHECK_TEST(varint_of_every_length_is_read_back), CHECK_TEST(fields_have_the_bytes_of_the_specification),
           CHECK_TEST(nested_field_of_every_length_class_is_read_back), CHECK_TEST(lent_bytes_stay_where_they_were_put),
           CHECK_TEST(lending_ends_with_the_table), CHECK_TEST(message_over_the_limit_fails_and_stays_failed),
           CHECK_TEST(lent_bytes_count_against_the_limit), CHECK_TEST(buffer_is_kept_and_headroom_is_left))
