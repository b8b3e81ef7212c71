/* sources: batch.c */
/* From records to requests: grouping in order of first appearance, size limits, runs, definitions, hostile records. */
#include "batch.h"

#include "check.h"
#include "otlp.h"
#include "wire.h"

#define NO_LIMIT UINT64_MAX

typedef struct record {
    uint8_t bytes[256];
    size_t length;
} record;

static void put(record *to, const void *data, size_t bytes) {
    memcpy(to->bytes + to->length, data, bytes);
    to->length += bytes;
}

/* A record whose span field has the one-byte content `name`; with `resource` and `scope` (one letter each) as definition
 * unless they are 0. */
static record span_record(uint32_t scope_id, uint32_t resource_id, char resource, char scope, char name) {
    record made = {.length = 0};
    uint8_t resource_field[] = {0x0a, 1, (uint8_t)resource};
    uint8_t scope_field[] = {0x0a, 1, (uint8_t)scope};
    uint8_t span_field[] = {0x12, 1, (uint8_t)name};
    gs_scope_definition definition = {
        .resource_id = resource_id, .resource_bytes = sizeof resource_field, .scope_bytes = sizeof scope_field};
    gs_span_record header = {.scope_id = scope_id};
    if (resource != 0) {
        header.definition_bytes = sizeof definition + sizeof resource_field + sizeof scope_field;
    }
    put(&made, &header, sizeof header);
    if (resource != 0) {
        put(&made, &definition, sizeof definition);
        put(&made, resource_field, sizeof resource_field);
        put(&made, scope_field, sizeof scope_field);
    }
    put(&made, span_field, sizeof span_field);
    return made;
}

static gs_batch *make(uint32_t max_spans) {
    gs_batch *batch = NULL;
    REQUIRE(gs_batch_new(&batch, max_spans) == 0);
    return batch;
}

static gs_status add(gs_batch *batch, const record *one) {
    return gs_batch_add(batch, one->bytes, one->length, NO_LIMIT);
}

/* The letters of a request: capital R or S followed by the letter of a resource or scope, spans as they are. */
static void describe(const uint8_t *at, size_t bytes, int level, char *text) {
    const uint8_t *end = at + bytes;
    while (at < end) {
        unsigned field = *at++ >> 3;
        size_t length = *at++;
        if (level < 2 && field == (level == 0 ? 1 : 2)) {
            describe(at, length, level + 1, text);
        } else {
            size_t used = strlen(text);
            (void)snprintf(text + used, 200 - used, "%s%c", field == 1 ? (level == 1 ? " R" : " S") : "", *at);
        }
        at += length;
    }
    CHECK(at == end);
}

static void check_request(gs_batch *batch, uint32_t first, uint32_t count, const char *expected) {
    const uint8_t *body = NULL;
    size_t bytes = 0;
    char text[200] = "";
    CHECK_EQ(gs_batch_build(batch, first, count, &body, &bytes), GS_OK);
    describe(body, bytes, 0, text);
    CHECK_STR_EQ(text, expected);
}

static void spans_are_grouped_by_resource_and_scope_in_order_of_appearance(void) {
    gs_batch *batch = make(16);
    record records[] = {span_record(1, 1, 'p', 'a', '1'), span_record(2, 2, 'q', 'b', '2'),
                        span_record(3, 1, 'p', 'c', '3'), span_record(1, 0, 0, 0, '4'),
                        span_record(2, 0, 0, 0, '5'),     span_record(3, 0, 0, 0, '6')};
    for (size_t i = 0; i < 6; i++) {
        CHECK_EQ(add(batch, &records[i]), GS_OK);
    }
    CHECK_EQ(gs_batch_spans(batch), 6);
    check_request(batch, 0, 6, " Rp Sa14 Sc36 Rq Sb25");
    check_request(batch, 0, 3, " Rp Sa1 Sc3 Rq Sb2");
    check_request(batch, 3, 3, " Rp Sa4 Sc6 Rq Sb5");
    check_request(batch, 4, 1, " Rq Sb5");
    gs_batch_free(batch);
}

static void definitions_outlive_the_batch_and_may_be_repeated(void) {
    gs_batch *batch = make(4);
    record first = span_record(7, 3, 'p', 'a', '1');
    record later = span_record(7, 0, 0, 0, '2');
    CHECK_EQ(add(batch, &later), GS_FAILED);
    CHECK_EQ(add(batch, &first), GS_OK);
    gs_batch_clear(batch);
    CHECK_EQ(add(batch, &later), GS_OK);
    CHECK_EQ(add(batch, &first), GS_OK);
    check_request(batch, 0, 2, " Rp Sa21");
    gs_batch_free(batch);
}

static void an_inline_scope_stands_alone_and_is_not_kept(void) {
    gs_batch *batch = make(4);
    record one = span_record(GS_SCOPE_INLINE, GS_SCOPE_INLINE, 'x', 'y', '1');
    record two = span_record(GS_SCOPE_INLINE, GS_SCOPE_INLINE, 'z', 'w', '2');
    record none = span_record(GS_SCOPE_INLINE, 0, 0, 0, '3');
    CHECK_EQ(add(batch, &one), GS_OK);
    CHECK_EQ(add(batch, &two), GS_OK);
    CHECK_EQ(add(batch, &none), GS_FAILED);
    check_request(batch, 0, 2, " Rx Sy1 Rz Sw2");
    gs_batch_free(batch);
}

static void the_batch_is_full_by_spans_and_by_bytes(void) {
    gs_batch *batch = make(3);
    record one = span_record(1, 1, 'p', 'a', '1');
    record more = span_record(1, 0, 0, 0, '2');
    /* The first is always taken, however large. */
    CHECK_EQ(gs_batch_add(batch, one.bytes, one.length, 1), GS_OK);
    CHECK_EQ(gs_batch_add(batch, more.bytes, more.length, 1), GS_FULL);
    CHECK_EQ(gs_batch_spans(batch), 1);
    CHECK_EQ(gs_batch_add(batch, more.bytes, more.length, NO_LIMIT), GS_OK);
    CHECK_EQ(gs_batch_add(batch, more.bytes, more.length, NO_LIMIT), GS_OK);
    CHECK_EQ(gs_batch_add(batch, more.bytes, more.length, NO_LIMIT), GS_FULL);
    check_request(batch, 0, 3, " Rp Sa122");
    gs_batch_free(batch);
}

static void requests_stay_under_the_limit(void) {
    gs_batch *batch = make(64);
    for (uint64_t limit = 1; limit < 600; limit += 7) {
        gs_batch_clear(batch);
        for (uint32_t i = 0; i < 64; i++) {
            record one = span_record(1 + i % 5, 1 + i % 2, 'p', 'a', 'n');
            if (gs_batch_add(batch, one.bytes, one.length, limit) != GS_OK) {
                break;
            }
            const uint8_t *body = NULL;
            size_t bytes = 0;
            /* `one` goes away, the batch still points to it: build at once. */
            CHECK_EQ(gs_batch_build(batch, gs_batch_spans(batch) - 1, 1, &body, &bytes), GS_OK);
            CHECK(bytes <= limit || gs_batch_spans(batch) == 1);
        }
    }
    gs_batch_free(batch);
}

static void more_scopes_than_fit_the_first_table_are_found_again(void) {
    gs_batch *batch = make(1);
    for (uint32_t id = 1; id <= GS_SCOPE_MAX; id += id < 300 ? 1 : 5000) {
        record defining = span_record(id, id, 'p', 'a', '1');
        CHECK_EQ(add(batch, &defining), GS_OK);
        gs_batch_clear(batch);
        record later = span_record(id, 0, 0, 0, '2');
        CHECK_EQ(add(batch, &later), GS_OK);
        check_request(batch, 0, 1, " Rp Sa2");
        gs_batch_clear(batch);
    }
    gs_batch_free(batch);
}

static void records_that_are_none_are_refused(void) {
    gs_batch *batch = make(200000);
    record good = span_record(1, 1, 'p', 'a', '1');
    for (size_t length = 0; length < sizeof(gs_span_record); length++) {
        CHECK_EQ(gs_batch_add(batch, good.bytes, length, NO_LIMIT), GS_FAILED);
    }
    /* Any bit flipped, any length cut: refused or taken, never read beyond the record (AddressSanitizer looks). */
    uint64_t taken = 0;
    for (size_t cut = 0; cut <= good.length; cut++) {
        for (size_t bit = 0; bit < 8 * good.length; bit++) {
            record bad = good;
            bad.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            uint8_t *exact = malloc(cut > 0 ? cut : 1);
            REQUIRE(exact != NULL);
            memcpy(exact, bad.bytes, cut);
            if (gs_batch_add(batch, exact, cut, NO_LIMIT) == GS_OK) {
                const uint8_t *body = NULL;
                size_t bytes = 0;
                taken += gs_batch_build(batch, gs_batch_spans(batch) - 1, 1, &body, &bytes) == GS_OK;
            }
            gs_batch_clear(batch);
            free(exact);
        }
    }
    CHECK(taken > 0);
    gs_batch_free(batch);
}

CHECK_MAIN(CHECK_TEST(spans_are_grouped_by_resource_and_scope_in_order_of_appearance),
           CHECK_TEST(definitions_outlive_the_batch_and_may_be_repeated),
           CHECK_TEST(an_inline_scope_stands_alone_and_is_not_kept),
           CHECK_TEST(the_batch_is_full_by_spans_and_by_bytes), CHECK_TEST(requests_stay_under_the_limit),
           CHECK_TEST(more_scopes_than_fit_the_first_table_are_found_again),
           CHECK_TEST(records_that_are_none_are_refused))
