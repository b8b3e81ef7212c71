/* sources: answer.c answer_text.c compress.c */
/* libs: z */
/* A whole answer: byte 0 chooses the protocol, bytes 1 and 2 the length of the body, which follows; the rest are header
 * lines, given to the same functions that libcurl's header callback uses. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "answer.h"
#include "clock.h"

#define EXPECT(condition)                                                   \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Give each piece a heap block of its own length: an overrun by one byte is then seen. */
static void *copy_of(const uint8_t *data, size_t size) {
    void *copy = malloc(size > 0 ? size : 1);
    EXPECT(copy != NULL);
    memcpy(copy, data, size);
    return copy;
}

static void expect_printable(const char *text) {
    size_t length = strlen(text);
    EXPECT(length < GS_ANSWER_TEXT_BYTES);
    for (size_t i = 0; i < length; i++) {
        EXPECT((unsigned char)text[i] >= 0x20 && text[i] != 0x7f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static gs_reply reply;
    gs_answer answer = {.sent_bytes = 9};
    if (size < 3) {
        return 0;
    }
    gs_protocol protocol = data[0] % 2 == 0 ? GS_PROTOCOL_HTTP : GS_PROTOCOL_GRPC;
    size_t body_bytes = (size_t)data[1] << 8 | data[2];
    data += 3;
    size -= 3;
    body_bytes = body_bytes < size ? body_bytes : size;
    gs_reply_clear(&reply);
    void *body = copy_of(data, body_bytes);
    gs_reply_take_body(&reply, body, body_bytes);
    free(body);
    for (size_t at = body_bytes; at < size;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t line_bytes = end != NULL ? (size_t)(end - data) + 1 - at : size - at;
        char *line = copy_of(data + at, line_bytes);
        bool starts_anew = line_bytes > 5 && strncasecmp(line, "HTTP/", 5) == 0;
        gs_reply_take_line(&reply, line, line_bytes);
        free(line);
        if (starts_anew) { /* forgets the body, which really comes later */
            body = copy_of(data, body_bytes);
            gs_reply_take_body(&reply, body, body_bytes);
            free(body);
        }
        at += line_bytes;
    }
    gs_reply_is_decisive(&reply, protocol);
    gs_reply_has_message(&reply);
    gs_answer_read(&answer, &reply, protocol, INT64_C(1700000000));
    EXPECT(answer.sent_bytes == 9);
    EXPECT(answer.kind == GS_ANSWER_OK || answer.kind == GS_ANSWER_RETRY || answer.kind == GS_ANSWER_TOO_LARGE ||
           answer.kind == GS_ANSWER_REJECTED);
    EXPECT(answer.rejected_spans >= 0 && (answer.rejected_spans == 0 || answer.kind == GS_ANSWER_OK));
    EXPECT(answer.retry_after_ns >= -1 && answer.retry_after_ns <= GS_ANSWER_RETRY_AFTER_MAX_S * GS_NS_PER_S);
    EXPECT(answer.retry_after_ns == -1 || answer.kind == GS_ANSWER_RETRY);
    expect_printable(answer.text);
    return 0;
}
