/* sources: answer_text.c */
/* Each notation on the same bytes, with what must hold of any result. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "answer_text.h"
#include "clock.h"

#define EXPECT(condition)                                                   \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_fields(gs_slice message, int depth) {
    gs_field field;
    size_t before = message.length;
    while (gs_field_next(&message, &field)) {
        EXPECT(message.length < before);
        EXPECT(field.number > 0 && field.bytes.length <= before);
        before = message.length;
        if (depth > 0) {
            read_fields(field.bytes, depth - 1);
        }
    }
}

static void clean(gs_slice text, size_t room) {
    char *to = malloc(room);
    char *again = malloc(room);
    EXPECT(to != NULL && again != NULL);
    size_t used = gs_text_append(to, 0, room, text);
    EXPECT(used < room && strlen(to) == used);
    /* What is clean stays as it is: the output is valid UTF-8, and was not cut inside a character. */
    EXPECT(gs_text_append(again, 0, room, (gs_slice){to, used}) == used && memcmp(to, again, used + 1) == 0);
    free(again);
    free(to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *copy = malloc(size > 0 ? size : 1);
    EXPECT(copy != NULL);
    memcpy(copy, data, size);
    gs_slice text = {copy, size};
    uint8_t *decoded = malloc(size + 2);
    EXPECT(decoded != NULL);
    size_t decoded_bytes = 0;
    EXPECT(!gs_base64_decode(decoded, size + 2, text, &decoded_bytes) || decoded_bytes <= size);
    gs_base64_decode(decoded, size / 2, text, &decoded_bytes);
    EXPECT(gs_percent_decode((char *)decoded, text) <= size);
    free(decoded);
    int64_t unix_s = 0;
    if (gs_http_date(text, INT64_C(1700000000), &unix_s)) {
        EXPECT(unix_s >= INT64_C(-62168000000) && unix_s <= INT64_C(253402300800)); /* years 0 to 9999 */
    }
    int64_t retry_after_ns = gs_retry_after(text, INT64_C(1700000000));
    EXPECT(retry_after_ns >= -1 && retry_after_ns <= GS_ANSWER_RETRY_AFTER_MAX_S * GS_NS_PER_S);
    gs_slice trimmed = gs_slice_trimmed(text);
    EXPECT(trimmed.length <= size);
    gs_slice_contains(text, "larger than max");
    read_fields(text, 3);
    clean(text, GS_ANSWER_TEXT_BYTES);
    clean(text, 1);
    clean(text, 4 * size + 1);
    free(copy);
    return 0;
}
