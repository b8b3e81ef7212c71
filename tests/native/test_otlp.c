/* sources: otlp.c */
/* variants: plain asan */
#include "otlp.h"

#include "check.h"

#define LIMIT ((size_t)1 << 22)

static gs_text utf8(const char *literal) {
    size_t bytes = strlen(literal);
    return (gs_text){.data = literal, .units = bytes, .bytes = bytes, .form = GS_TEXT_UTF8};
}

/* Measures and transcodes; checks the bytes and that surrogates are told. */
static void check_text(gs_text text, const char *expected, size_t expected_bytes, bool surrogates) {
    CHECK_EQ(gs_text_measure(&text), surrogates);
    CHECK_EQ(text.bytes, expected_bytes);
    uint8_t *out = malloc(text.bytes + 1);
    REQUIRE(out != NULL);
    out[text.bytes] = 0xAA;
    CHECK(gs_text_write(out, &text) == out + text.bytes);
    CHECK_MEM_EQ(out, expected, expected_bytes);
    CHECK_EQ(out[text.bytes], 0xAA);
    CHECK(gs_text_is_utf8(out, text.bytes));
    free(out);
}

static void text_of_every_form_becomes_utf8(void) {
    static const uint8_t latin[] = {'a', 0x7F, 0x80, 0xFF};
    static const uint16_t wide[] = {'a', 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF};
    static const uint32_t full[] = {'a', 0x80, 0x800, 0xFFFF, 0x10000, 0x10FFFF};
    check_text((gs_text){.data = latin, .units = 4, .form = GS_TEXT_UCS1}, "a\x7F\xC2\x80\xC3\xBF", 6, false);
    check_text((gs_text){.data = wide, .units = 8, .form = GS_TEXT_UCS2},
               "a\x7F\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xEF\xBF\xBF", 18, false);
    check_text((gs_text){.data = full, .units = 6, .form = GS_TEXT_UCS4},
               "a\xC2\x80\xE0\xA0\x80\xEF\xBF\xBF\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", 17, false);
    check_text((gs_text){.data = "", .units = 0, .form = GS_TEXT_UCS2}, "", 0, false);
}

static void surrogate_becomes_the_replacement_character(void) {
    static const uint16_t wide[] = {0xD800, 'a', 0xDFFF};
    static const uint32_t full[] = {0xDC00, 0x1F600, 0xDBFF};
    check_text((gs_text){.data = wide, .units = 3, .form = GS_TEXT_UCS2},
               "\xEF\xBF\xBD"
               "a\xEF\xBF\xBD",
               7, true);
    check_text((gs_text){.data = full, .units = 3, .form = GS_TEXT_UCS4}, "\xEF\xBF\xBD\xF0\x9F\x98\x80\xEF\xBF\xBD",
               10, true);
}

/* One unit that is not ASCII at each place of texts around the width that ASCII is copied in. */
static void latin_text_is_right_at_every_place(void) {
    for (size_t units = 1; units <= 40; units++) {
        for (size_t place = 0; place < units; place++) {
            uint8_t latin[40], expected[41];
            memset(latin, 'a', units);
            memset(expected, 'a', units + 1);
            latin[place] = 0xE9;
            expected[place] = 0xC3;
            expected[place + 1] = 0xA9;
            check_text((gs_text){.data = latin, .units = units, .form = GS_TEXT_UCS1}, (const char *)expected,
                       units + 1, false);
        }
    }
}

static void short_copy_of_every_length_is_exact(void) {
    uint8_t from[80], to[82];
    for (size_t i = 0; i < sizeof from; i++) {
        from[i] = (uint8_t)(i + 1);
    }
    for (size_t bytes = 0; bytes <= sizeof from; bytes++) {
        memset(to, 0, sizeof to);
        CHECK(gs_bytes_write(to + 1, from, bytes) == to + 1 + bytes);
        CHECK_MEM_EQ(to + 1, from, bytes);
        CHECK_EQ(to[0], 0);
        CHECK_EQ(to[bytes + 1], 0);
    }
}

static void utf8_is_told_from_what_is_not(void) {
    static const char *const good[] = {"",
                                       "a",
                                       "\xC2\x80",
                                       "\xDF\xBF",
                                       "\xE0\xA0\x80",
                                       "\xED\x9F\xBF",
                                       "\xEE\x80\x80",
                                       "\xEF\xBF\xBF",
                                       "\xF0\x90\x80\x80",
                                       "\xF4\x8F\xBF\xBF",
                                       "a\xC3\xA9z"};
    static const char *const bad[] = {"\x80",
                                      "\xBF",
                                      "\xC0\x80",
                                      "\xC1\xBF",
                                      "\xC2",
                                      "\xC2z",
                                      "\xE0\x9F\xBF",
                                      "\xE1\x80",
                                      "\xED\xA0\x80",
                                      "\xED\xBF\xBF",
                                      "\xF0\x8F\xBF\xBF",
                                      "\xF4\x90\x80\x80",
                                      "\xF5\x80\x80\x80",
                                      "\xFF",
                                      "a\xE2\x82",
                                      "\xE2\x82\xC0",
                                      "\xF0\x90\x80z"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        CHECK(gs_text_is_utf8((const uint8_t *)good[i], strlen(good[i])));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK(!gs_text_is_utf8((const uint8_t *)bad[i], strlen(bad[i])));
    }
    CHECK(gs_text_is_utf8((const uint8_t *)"a\0b", 3));
}

static void check_key_value(const char *key, gs_scalar value, const char *expected, size_t expected_bytes) {
    gs_wire wire = {0};
    gs_wire_reset(&wire, 0, LIMIT);
    gs_text text = utf8(key);
    gs_otlp_write_key_value(&wire, GS_SPAN_ATTRIBUTES, &text, &value, false);
    CHECK_EQ(gs_wire_position(&wire), expected_bytes);
    if (gs_wire_position(&wire) == expected_bytes) {
        CHECK_MEM_EQ(wire.start, expected, expected_bytes);
    }
    gs_wire_free(&wire);
}

/* Defaults are written too: a oneof has presence. An empty key is left out, as proto3 does. */
static void key_value_of_every_kind_has_the_right_bytes(void) {
    double half = 0.5;
    gs_scalar number = {.field = GS_ANY_VALUE_DOUBLE};
    memcpy(&number.number, &half, sizeof half);
    check_key_value("k", (gs_scalar){.field = 0}, "\x4A\x05\x0A\x01k\x12\x00", 7);
    check_key_value("k", (gs_scalar){.field = GS_ANY_VALUE_BOOL}, "\x4A\x07\x0A\x01k\x12\x02\x10\x00", 9);
    check_key_value("k", (gs_scalar){.field = GS_ANY_VALUE_BOOL, .number = 1}, "\x4A\x07\x0A\x01k\x12\x02\x10\x01", 9);
    check_key_value("k", (gs_scalar){.field = GS_ANY_VALUE_INT, .number = 300}, "\x4A\x08\x0A\x01k\x12\x03\x18\xAC\x02",
                    10);
    check_key_value("k", (gs_scalar){.field = GS_ANY_VALUE_INT, .number = (uint64_t)-1},
                    "\x4A\x10\x0A\x01k\x12\x0B\x18\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 18);
    check_key_value("k", number, "\x4A\x0E\x0A\x01k\x12\x09\x21\0\0\0\0\0\0\xE0\x3F", 16);
    check_key_value("k", (gs_scalar){.field = GS_ANY_VALUE_STRING, .text = utf8("")},
                    "\x4A\x07\x0A\x01k\x12\x02\x0A\x00", 9);
    check_key_value("k", (gs_scalar){.field = GS_ANY_VALUE_BYTES, .text = utf8("xy")},
                    "\x4A\x09\x0A\x01k\x12\x04\x3A\x02xy", 11);
    check_key_value("", (gs_scalar){.field = GS_ANY_VALUE_STRING, .text = utf8("xy")}, "\x4A\x06\x12\x04\x0A\x02xy", 8);
}

/* A text is left to be lent: what is written says its length all the same. */
static void key_value_without_its_text_says_how_long_it_is(void) {
    static char large[20000];
    gs_wire wire = {0};
    gs_text key = utf8("k");
    gs_scalar value = {.field = GS_ANY_VALUE_STRING,
                       .text = {.data = large, .units = sizeof large, .bytes = sizeof large, .form = GS_TEXT_UTF8}};
    memset(large, 'x', sizeof large);
    gs_wire_reset(&wire, 0, LIMIT);
    gs_otlp_write_key_value(&wire, GS_SPAN_ATTRIBUTES, &key, &value, true);
    size_t head_bytes = gs_wire_position(&wire);
    CHECK_EQ(head_bytes, 15);
    uint8_t head[15];
    memcpy(head, wire.start, sizeof head);
    gs_wire_reset(&wire, 0, LIMIT);
    gs_otlp_write_key_value(&wire, GS_SPAN_ATTRIBUTES, &key, &value, false);
    CHECK_EQ(gs_wire_position(&wire), head_bytes + sizeof large);
    CHECK_MEM_EQ(wire.start, head, sizeof head);
    CHECK_MEM_EQ(wire.start + sizeof head, large, sizeof large);
    gs_wire_free(&wire);
}

static void field_of_its_default_is_left_out(void) {
    gs_wire wire = {0};
    gs_text empty = utf8(""), name = utf8("ab");
    gs_wire_reset(&wire, 0, LIMIT);
    gs_otlp_write_text(&wire, GS_SPAN_NAME, &empty);
    gs_otlp_write_varint(&wire, GS_SPAN_DROPPED_LINKS, 0);
    gs_otlp_write_fixed64(&wire, GS_EVENT_TIME, 0);
    CHECK_EQ(gs_wire_position(&wire), 0);
    gs_otlp_write_text(&wire, GS_SPAN_NAME, &name);
    gs_otlp_write_varint(&wire, GS_SPAN_DROPPED_LINKS, 128);
    gs_otlp_write_fixed64(&wire, GS_EVENT_TIME, 1);
    CHECK_EQ(gs_wire_position(&wire), 16);
    CHECK_MEM_EQ(wire.start,
                 "\x2A\x02"
                 "ab\x70\x80\x01\x09\x01\0\0\0\0\0\0\0",
                 16);
    gs_wire_free(&wire);
}

static void write_behind_the_limit_writes_nothing(void) {
    static char large[5000];
    gs_wire wire = {0};
    gs_text key = utf8("k");
    gs_scalar value = {.field = GS_ANY_VALUE_STRING,
                       .text = {.data = large, .units = sizeof large, .bytes = sizeof large, .form = GS_TEXT_UTF8}};
    gs_wire_reset(&wire, 0, 1000);
    gs_otlp_write_key_value(&wire, GS_SPAN_ATTRIBUTES, &key, &value, false);
    gs_otlp_write_any_value(&wire, GS_ARRAY_VALUE_VALUES, &value, false);
    gs_otlp_write_text(&wire, GS_SPAN_NAME, &key);
    CHECK(wire.failed);
    CHECK(wire.at == wire.start);
    gs_wire_free(&wire);
}

CHECK_MAIN(CHECK_TEST(text_of_every_form_becomes_utf8), CHECK_TEST(surrogate_becomes_the_replacement_character),
           CHECK_TEST(latin_text_is_right_at_every_place), CHECK_TEST(short_copy_of_every_length_is_exact),
           CHECK_TEST(utf8_is_told_from_what_is_not), CHECK_TEST(key_value_of_every_kind_has_the_right_bytes),
           CHECK_TEST(key_value_without_its_text_says_how_long_it_is), CHECK_TEST(field_of_its_default_is_left_out),
           CHECK_TEST(write_behind_the_limit_writes_nothing))
