/* sources: answer.c answer_text.c compress.c */
/* libs: z */
/* What an answer means: every row of the table in answer.h, and answers that mean to do harm. */
#include "answer.h"

#include <stdio.h>

#include "check.h"
#include "clock.h"
#include "compress.h"

#define NOW_S INT64_C(784111777) /* Sun, 06 Nov 1994 08:49:37 GMT */

static gs_reply reply;
static gs_answer answer;

static void take_head(const char *head) {
    gs_reply_clear(&reply);
    for (const char *line = head; *line != '\0';) {
        const char *end = strchr(line, '\n');
        size_t length = end != NULL ? (size_t)(end - line) + 1 : strlen(line);
        CHECK(gs_reply_take_line(&reply, line, length));
        line += length;
    }
}

static gs_answer_kind read_reply(gs_protocol protocol, const char *head, const void *body, size_t body_bytes) {
    take_head(head);
    CHECK(gs_reply_take_body(&reply, body, body_bytes));
    gs_answer_read(&answer, &reply, protocol, NOW_S);
    return answer.kind;
}

static gs_answer_kind read_http(const char *head) {
    return read_reply(GS_PROTOCOL_HTTP, head, "", 0);
}

static gs_answer_kind read_grpc(const char *head) {
    return read_reply(GS_PROTOCOL_GRPC, head, "", 0);
}

/* -- HTTP -- */

static void http_status_decides(void) {
    static const struct {
        int status;
        gs_answer_kind kind;
    } table[] = {
        {200, GS_ANSWER_OK},       {202, GS_ANSWER_OK},        {204, GS_ANSWER_OK},       {299, GS_ANSWER_OK},
        {301, GS_ANSWER_REJECTED}, {302, GS_ANSWER_REJECTED},  {307, GS_ANSWER_REJECTED}, {308, GS_ANSWER_REJECTED},
        {400, GS_ANSWER_REJECTED}, {401, GS_ANSWER_REJECTED},  {403, GS_ANSWER_REJECTED}, {404, GS_ANSWER_REJECTED},
        {408, GS_ANSWER_REJECTED}, {413, GS_ANSWER_TOO_LARGE}, {429, GS_ANSWER_RETRY},    {500, GS_ANSWER_REJECTED},
        {501, GS_ANSWER_REJECTED}, {502, GS_ANSWER_RETRY},     {503, GS_ANSWER_RETRY},    {504, GS_ANSWER_RETRY},
        {505, GS_ANSWER_REJECTED}, {599, GS_ANSWER_REJECTED},  {999, GS_ANSWER_REJECTED},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char head[64];
        snprintf(head, sizeof head, "HTTP/1.1 %d Whatever\r\n\r\n", table[i].status);
        if (!CHECK_EQ(read_http(head), table[i].kind)) {
            printf("    status %d\n", table[i].status);
        }
        CHECK_EQ(answer.http_status, table[i].status);
        CHECK_EQ(answer.grpc_status, -1);
        CHECK_EQ(answer.retry_after_ns, -1);
        CHECK_EQ(answer.rejected_spans, 0);
    }
}

static void partial_success_is_counted(void) {
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\r\n";
    /* partial_success { rejected_spans: 300 error_message: "bad" } */
    CHECK_EQ(read_reply(GS_PROTOCOL_HTTP, head,
                        "\x0a\x08\x08\xac\x02\x12\x03"
                        "bad",
                        10),
             GS_ANSWER_OK);
    CHECK_EQ(answer.rejected_spans, 300);
    CHECK_STR_EQ(answer.text, "bad");
    /* partial_success { error_message: "hm" }: a warning */
    CHECK_EQ(read_reply(GS_PROTOCOL_HTTP, head, "\x0a\x04\x12\x02hm", 6), GS_ANSWER_OK);
    CHECK_EQ(answer.rejected_spans, 0);
    CHECK_STR_EQ(answer.text, "hm");
    /* rejected_spans: -1 */
    CHECK_EQ(read_reply(GS_PROTOCOL_HTTP, head, "\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13),
             GS_ANSWER_OK);
    CHECK_EQ(answer.rejected_spans, 0);
    /* in two pieces, the second one replacing the first's count; an unknown field of each type between */
    CHECK_EQ(read_reply(GS_PROTOCOL_HTTP, head,
                        "\x0a\x02\x08\x05\x10\x01\x19"
                        "12345678"
                        "\x25"
                        "1234\x0a\x02\x08\x07",
                        24),
             GS_ANSWER_OK);
    CHECK_EQ(answer.rejected_spans, 7);
    /* breaks off */
    CHECK_EQ(read_reply(GS_PROTOCOL_HTTP, head, "\x0a\x08\x08\x05", 4), GS_ANSWER_OK);
    CHECK_EQ(answer.rejected_spans, 0);
    /* JSON is not read as protobuf */
    CHECK_EQ(read_reply(GS_PROTOCOL_HTTP, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n",
                        "\x0a\x02\x08\x05", 4),
             GS_ANSWER_OK);
    CHECK_EQ(answer.rejected_spans, 0);
}

static void compressed_body_is_read(void) {
    uint8_t body[256];
    gs_compressor compressor;
    gs_compressor_init(&compressor, true, 1);
    REQUIRE(gs_compressor_reserve(&compressor, 0, sizeof body) != NULL);
    REQUIRE(gs_compressor_begin(&compressor, 0, sizeof body));
    REQUIRE(gs_compressor_feed(&compressor, (const uint8_t *)"\x0a\x02\x08\x05", 4, true));
    CHECK_EQ(read_reply(GS_PROTOCOL_HTTP,
                        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-type: application/x-protobuf\r\n\r\n",
                        compressor.buffer, gs_compressor_output_bytes(&compressor)),
             GS_ANSWER_OK);
    CHECK_EQ(answer.rejected_spans, 5);
    /* the same as a gRPC message */
    memcpy(body, "\x01\0\0\0", 4);
    body[4] = (uint8_t)gs_compressor_output_bytes(&compressor);
    memcpy(body + 5, compressor.buffer, body[4]);
    CHECK_EQ(read_reply(GS_PROTOCOL_GRPC, "HTTP/2 200\r\ngrpc-encoding: gzip\r\n\r\ngrpc-status: 0\r\n\r\n", body,
                        5u + body[4]),
             GS_ANSWER_OK);
    CHECK_EQ(answer.rejected_spans, 5);
    /* one byte short */
    body[4]--;
    CHECK_EQ(read_reply(GS_PROTOCOL_GRPC, "HTTP/2 200\r\ngrpc-encoding: gzip\r\n\r\ngrpc-status: 0\r\n\r\n", body,
                        5u + body[4]),
             GS_ANSWER_OK);
    CHECK_EQ(answer.rejected_spans, 0);
    gs_compressor_free(&compressor);
}

static void compressed_bomb_is_not_read(void) {
    static uint8_t zeros[1024 * 1024];
    gs_compressor compressor;
    gs_compressor_init(&compressor, false, 9);
    REQUIRE(gs_compressor_reserve(&compressor, 0, sizeof zeros) != NULL);
    REQUIRE(gs_compressor_begin(&compressor, 0, sizeof zeros));
    REQUIRE(gs_compressor_feed(&compressor, zeros, sizeof zeros, true));
    CHECK_EQ(read_reply(GS_PROTOCOL_HTTP,
                        "HTTP/1.1 200 OK\r\ncontent-encoding: deflate\r\ncontent-type: application/x-protobuf\r\n\r\n",
                        compressor.buffer, gs_compressor_output_bytes(&compressor)),
             GS_ANSWER_OK);
    CHECK_STR_EQ(answer.text, "");
    gs_compressor_free(&compressor);
}

static void http_reason_is_told(void) {
    CHECK_EQ(read_http("HTTP/1.1 404 Not Found\r\n\r\n"), GS_ANSWER_REJECTED);
    CHECK_STR_EQ(answer.text, "HTTP 404 Not Found");
    CHECK_EQ(read_http("HTTP/2 404\r\n\r\n"), GS_ANSWER_REJECTED);
    CHECK_STR_EQ(answer.text, "HTTP 404");
    /* google.rpc.Status { code: 3 message: "no such tenant" } */
    CHECK_EQ(read_reply(GS_PROTOCOL_HTTP, "HTTP/1.1 400 Bad Request\r\ncontent-type: application/x-protobuf\r\n\r\n",
                        "\x08\x03\x12\x0eno such tenant", 18),
             GS_ANSWER_REJECTED);
    CHECK_STR_EQ(answer.text, "HTTP 400 Bad Request: no such tenant");
    CHECK_EQ(read_reply(GS_PROTOCOL_HTTP,
                        "HTTP/1.1 401 Unauthorized\r\ncontent-type: text/plain; charset=utf-8\r\n\r\n", "wrong key\r\n",
                        11),
             GS_ANSWER_REJECTED);
    CHECK_STR_EQ(answer.text, "HTTP 401 Unauthorized: wrong key");
    CHECK_EQ(read_reply(GS_PROTOCOL_HTTP, "HTTP/1.1 500 Oh\r\ncontent-type: text/html\r\n\r\n", "<html>", 6),
             GS_ANSWER_REJECTED);
    CHECK_STR_EQ(answer.text, "HTTP 500 Oh");
}

static void retry_after_is_read(void) {
    CHECK_EQ(read_http("HTTP/1.1 503 X\r\nRetry-After: 7\r\n\r\n"), GS_ANSWER_RETRY);
    CHECK_EQ(answer.retry_after_ns, 7 * GS_NS_PER_S);
    CHECK_EQ(read_http("HTTP/1.1 429 X\r\nretry-after:Sun, 06 Nov 1994 08:49:47 GMT \r\n\r\n"), GS_ANSWER_RETRY);
    CHECK_EQ(answer.retry_after_ns, 10 * GS_NS_PER_S);
    /* the server's own clock, when it tells it */
    CHECK_EQ(read_http("HTTP/1.1 429 X\r\nDate: Mon, 07 Nov 1994 08:49:37 GMT\r\n"
                       "Retry-After: Mon, 07 Nov 1994 08:49:40 GMT\r\n\r\n"),
             GS_ANSWER_RETRY);
    CHECK_EQ(answer.retry_after_ns, 3 * GS_NS_PER_S);
    CHECK_EQ(read_http("HTTP/1.1 503 X\r\nRetry-After: soon\r\n\r\n"), GS_ANSWER_RETRY);
    CHECK_EQ(answer.retry_after_ns, -1);
    CHECK_EQ(read_http("HTTP/1.1 400 X\r\nRetry-After: 7\r\n\r\n"), GS_ANSWER_REJECTED);
    CHECK_EQ(answer.retry_after_ns, -1);
}

static void informational_head_is_replaced(void) {
    take_head("HTTP/1.1 100 Continue\r\nretry-after: 9\r\n\r\n");
    CHECK(!gs_reply_is_decisive(&reply, GS_PROTOCOL_HTTP));
    CHECK_EQ(read_http("HTTP/1.1 103 Early Hints\r\nretry-after: 9\r\n\r\nHTTP/1.1 503 X\r\n\r\n"), GS_ANSWER_RETRY);
    CHECK_EQ(answer.http_status, 503);
    CHECK_EQ(answer.retry_after_ns, -1);
}

static void decisive_is_said_of_complete_heads_only(void) {
    take_head("HTTP/1.1 200 OK\r\n");
    CHECK(!gs_reply_is_decisive(&reply, GS_PROTOCOL_HTTP));
    take_head("HTTP/1.1 200 OK\r\n\r\n");
    CHECK(gs_reply_is_decisive(&reply, GS_PROTOCOL_HTTP));
    CHECK(!gs_reply_is_decisive(&reply, GS_PROTOCOL_GRPC));
    take_head("HTTP/2 200\r\n\r\ngrpc-status: 0\r\n");
    CHECK(gs_reply_is_decisive(&reply, GS_PROTOCOL_GRPC));
    take_head("HTTP/2 503\r\n\r\n");
    CHECK(gs_reply_is_decisive(&reply, GS_PROTOCOL_GRPC));
}

/* -- gRPC -- */

static void grpc_status_decides(void) {
    static const gs_answer_kind kinds[] = {
        GS_ANSWER_OK,       GS_ANSWER_RETRY,    GS_ANSWER_REJECTED, GS_ANSWER_REJECTED, GS_ANSWER_RETRY,
        GS_ANSWER_REJECTED, GS_ANSWER_REJECTED, GS_ANSWER_REJECTED, GS_ANSWER_REJECTED, GS_ANSWER_REJECTED,
        GS_ANSWER_RETRY,    GS_ANSWER_RETRY,    GS_ANSWER_REJECTED, GS_ANSWER_REJECTED, GS_ANSWER_RETRY,
        GS_ANSWER_RETRY,    GS_ANSWER_REJECTED, GS_ANSWER_REJECTED,
    };
    for (int status = 0; status < (int)(sizeof kinds / sizeof kinds[0]); status++) {
        char head[80];
        snprintf(head, sizeof head, "HTTP/2 200\r\n\r\ngrpc-status: %d\r\n\r\n", status);
        if (!CHECK_EQ(read_grpc(head), kinds[status])) {
            printf("    grpc-status %d\n", status);
        }
        CHECK_EQ(answer.grpc_status, status);
        CHECK_EQ(answer.http_status, 200);
        CHECK_EQ(answer.retry_after_ns, -1);
    }
    CHECK_EQ(read_grpc("HTTP/2 200\r\ngrpc-status: 14\r\ngrpc-message: trailers only\r\n\r\n"), GS_ANSWER_RETRY);
    CHECK_STR_EQ(answer.text, "UNAVAILABLE: trailers only");
    CHECK_EQ(read_grpc("HTTP/2 200\r\ngrpc-status: seven\r\n\r\n"), GS_ANSWER_REJECTED);
    CHECK_EQ(answer.grpc_status, 2);
    CHECK_EQ(read_grpc("HTTP/2 200\r\ngrpc-status: 123456789012\r\n\r\n"), GS_ANSWER_REJECTED);
    CHECK_EQ(answer.grpc_status, 2);
}

static void grpc_without_status_follows_http(void) {
    static const struct {
        const char *head;
        gs_answer_kind kind;
        const char *text;
    } table[] = {
        {"HTTP/2 200\r\n\r\n", GS_ANSWER_REJECTED, "HTTP 200, without a grpc-status"},
        {"HTTP/2 400\r\n\r\n", GS_ANSWER_REJECTED, "HTTP 400, without a grpc-status"},
        {"HTTP/2 404\r\n\r\n", GS_ANSWER_REJECTED, "HTTP 404, without a grpc-status"},
        {"HTTP/2 413\r\n\r\n", GS_ANSWER_TOO_LARGE, "HTTP 413, without a grpc-status"},
        {"HTTP/2 429\r\n\r\n", GS_ANSWER_RETRY, "HTTP 429, without a grpc-status"},
        {"HTTP/2 500\r\n\r\n", GS_ANSWER_REJECTED, "HTTP 500, without a grpc-status"},
        {"HTTP/2 502\r\n\r\n", GS_ANSWER_RETRY, "HTTP 502, without a grpc-status"},
        {"HTTP/1.1 503 Service Unavailable\r\n\r\n", GS_ANSWER_RETRY,
         "HTTP 503 Service Unavailable, without a grpc-status"},
        {"HTTP/2 504\r\n\r\n", GS_ANSWER_RETRY, "HTTP 504, without a grpc-status"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        CHECK_EQ(read_grpc(table[i].head), table[i].kind);
        CHECK_EQ(answer.grpc_status, -1);
        CHECK_STR_EQ(answer.text, table[i].text);
    }
}

static void grpc_partial_success_is_counted(void) {
    static const char head[] = "HTTP/2 200\r\ncontent-type: application/grpc\r\n\r\ngrpc-status: 0\r\n\r\n";
    CHECK_EQ(read_reply(GS_PROTOCOL_GRPC, head, "\0\0\0\0\x06\x0a\x04\x08\x03\x12\x00", 11), GS_ANSWER_OK);
    CHECK_EQ(answer.rejected_spans, 3);
    /* no room for what its length says; a flag that does not exist; an encoding that nobody announced */
    static const char *const hostile[] = {"\0\xff\xff\xff\xff\x0a\x02\x08\x03", "\2\0\0\0\x04\x0a\x02\x08\x03",
                                          "\1\0\0\0\x04\x0a\x02\x08\x03"};
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        CHECK_EQ(read_reply(GS_PROTOCOL_GRPC, head, hostile[i], 9), GS_ANSWER_OK);
        CHECK_EQ(answer.rejected_spans, 0);
    }
}

static void grpc_retry_info_is_read(void) {
    /* google.rpc.Status { code: 8 message: "m" details { type_url: "type.googleapis.com/google.rpc.RetryInfo"
     * value: RetryInfo { retry_delay { seconds: 2 nanos: 500000000 } } } }, as Google's library writes it */
    static const char details[] =
        "HTTP/2 200\r\n\r\ngrpc-status: 8\r\ngrpc-status-details-bin: "
        "CAgSAW0aNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIKCggIAhCAyrXuAQ%s\r\n\r\n";
    char head[512];
    snprintf(head, sizeof head, details, "");
    CHECK_EQ(read_grpc(head), GS_ANSWER_RETRY);
    CHECK_EQ(answer.retry_after_ns, 2500 * GS_NS_PER_MS);
    snprintf(head, sizeof head, details, "==");
    CHECK_EQ(read_grpc(head), GS_ANSWER_RETRY);
    CHECK_EQ(answer.retry_after_ns, 2500 * GS_NS_PER_MS);
    /* the older trailer: a RetryInfo by itself */
    CHECK_EQ(read_grpc("HTTP/2 200\r\n\r\ngrpc-status: 14\r\ngoogle.rpc.retryinfo-bin: CgIIBQ==\r\n\r\n"),
             GS_ANSWER_RETRY);
    CHECK_EQ(answer.retry_after_ns, 5 * GS_NS_PER_S);
    /* an empty delay is one: at once */
    CHECK_EQ(read_grpc("HTTP/2 200\r\n\r\ngrpc-status: 8\r\ngoogle.rpc.retryinfo-bin: CgA\r\n\r\n"), GS_ANSWER_RETRY);
    CHECK_EQ(answer.retry_after_ns, 0);
    /* years: cut; no base64; not for a permanent status */
    CHECK_EQ(read_grpc("HTTP/2 200\r\n\r\ngrpc-status: 8\r\ngoogle.rpc.retryinfo-bin: CgYIgICA4A8=\r\n\r\n"),
             GS_ANSWER_RETRY);
    CHECK_EQ(answer.retry_after_ns, GS_ANSWER_RETRY_AFTER_MAX_S * GS_NS_PER_S);
    CHECK_EQ(read_grpc("HTTP/2 200\r\n\r\ngrpc-status: 8\r\ngoogle.rpc.retryinfo-bin: C!IIBQ==\r\n\r\n"),
             GS_ANSWER_REJECTED);
    CHECK_EQ(read_grpc("HTTP/2 200\r\n\r\ngrpc-status: 3\r\ngoogle.rpc.retryinfo-bin: CgIIBQ==\r\n\r\n"),
             GS_ANSWER_REJECTED);
    CHECK_EQ(answer.retry_after_ns, -1);
}

static void grpc_message_about_size_is_told(void) {
    static const struct {
        const char *status_and_message;
        gs_answer_kind kind;
    } table[] = {
        {"8\r\ngrpc-message: Received message larger than max (5242880 vs. 4194304)", GS_ANSWER_TOO_LARGE},
        {"8\r\ngrpc-message: SERVER: Received message larger than max (5242880 vs. 4194304)", GS_ANSWER_TOO_LARGE},
        {"8\r\ngrpc-message: grpc: received message larger than max (5 vs. 4)", GS_ANSWER_TOO_LARGE},
        {"8\r\ngrpc-message: grpc: received message after decompression larger than max 4", GS_ANSWER_TOO_LARGE},
        {"8\r\ngrpc-message: gRPC message exceeds maximum size 4194304: 5000000", GS_ANSWER_TOO_LARGE},
        {"8\r\ngrpc-message: Received message exceeds the maximum configured message size.", GS_ANSWER_TOO_LARGE},
        {"11\r\ngrpc-message: Error, decoded message length too large: found 5 bytes", GS_ANSWER_TOO_LARGE},
        {"8\r\ngrpc-message: Received%20message%20larger%20than%20max", GS_ANSWER_TOO_LARGE},
        {"8\r\ngrpc-message: quota of messages exceeded", GS_ANSWER_REJECTED},
        {"11\r\ngrpc-message: out of range", GS_ANSWER_RETRY},
        {"3\r\ngrpc-message: too large", GS_ANSWER_REJECTED},
        {"8\r\ngrpc-message: too large\r\ngoogle.rpc.retryinfo-bin: CgIIBQ==", GS_ANSWER_RETRY},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char head[256];
        snprintf(head, sizeof head, "HTTP/2 200\r\n\r\ngrpc-status: %s\r\n\r\n", table[i].status_and_message);
        if (!CHECK_EQ(read_grpc(head), table[i].kind)) {
            printf("    %s\n", table[i].status_and_message);
        }
    }
}

static void grpc_message_is_decoded_and_cleaned(void) {
    read_grpc("HTTP/2 200\r\ngrpc-status: 3\r\ngrpc-message: 100%25 %C3%A9%0d%0a%1b[31m%00%ff%zz%4\r\n\r\n");
    CHECK_STR_EQ(answer.text, "INVALID_ARGUMENT: 100% \xc3\xa9   [31m \xef\xbf\xbd%zz%4");
    read_grpc("HTTP/2 200\r\ngrpc-status: 77\r\n\r\n");
    CHECK_STR_EQ(answer.text, "unknown gRPC status");
}

/* -- limits -- */

static void too_many_headers_end_the_transfer(void) {
    char line[1024];
    memset(line, 'a', sizeof line);
    line[1] = ':';
    gs_reply_clear(&reply);
    size_t lines = 0;
    while (lines < 1000 && gs_reply_take_line(&reply, line, sizeof line)) {
        lines++;
    }
    CHECK_EQ(lines, GS_REPLY_HEAD_MAX_BYTES / sizeof line);
    CHECK(reply.overflowed);
    /* a new status line does not start the count again */
    CHECK(!gs_reply_take_line(&reply, "HTTP/1.1 200 OK\r\n", 17));
}

static void too_large_a_body_ends_the_transfer(void) {
    static uint8_t piece[16384];
    take_head("HTTP/1.1 200 OK\r\n\r\n");
    size_t pieces = 0;
    while (pieces < 1000 && gs_reply_take_body(&reply, piece, sizeof piece)) {
        pieces++;
    }
    CHECK_EQ(pieces, GS_REPLY_BODY_MAX_BYTES / sizeof piece);
    CHECK_EQ(reply.body_bytes, GS_REPLY_BODY_KEPT_BYTES);
    CHECK(reply.overflowed);
    CHECK(!gs_reply_take_body(&reply, piece, 1));
    gs_answer_read(&answer, &reply, GS_PROTOCOL_HTTP, NOW_S);
    CHECK_EQ(answer.kind, GS_ANSWER_OK);
}

static void over_long_fields_are_cut(void) {
    static char line[20000];
    gs_reply_clear(&reply);
    for (size_t i = 0; i < 6; i++) {
        static const char *const names[] = {
            "retry-after", "date", "grpc-message", "grpc-status-details-bin", "google.rpc.retryinfo-bin",
            "content-type"};
        int name_bytes = snprintf(line, sizeof line, "%s: ", names[i]);
        memset(line + name_bytes, '1', sizeof line - (size_t)name_bytes);
        CHECK(gs_reply_take_line(&reply, line, sizeof line));
    }
    CHECK_EQ(reply.grpc_message.bytes, GS_REPLY_MESSAGE_BYTES);
    CHECK(gs_reply_take_line(&reply, "grpc-status: 8\r\n", 16));
    gs_answer_read(&answer, &reply, GS_PROTOCOL_GRPC, NOW_S);
    CHECK_EQ(answer.kind, GS_ANSWER_REJECTED);
    CHECK_EQ(strlen(answer.text), GS_ANSWER_TEXT_BYTES - 1);
}

static void odd_lines_are_harmless(void) {
    static const char *const lines[] = {"",
                                        "\r\n",
                                        ":",
                                        ": x",
                                        "HTTP/",
                                        "HTTP/1.1",
                                        "HTTP/1.1 ",
                                        "HTTP/1.1 2",
                                        "HTTP/1.1 abc",
                                        "HTTP/1.1 2000",
                                        "no colon",
                                        "grpc-status:",
                                        "grpc-status: -1",
                                        "HTTP/1.1 007 X"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        gs_reply_clear(&reply);
        CHECK(gs_reply_take_line(&reply, lines[i], strlen(lines[i])));
        CHECK(!reply.head_complete);
        gs_answer_read(&answer, &reply, GS_PROTOCOL_HTTP, NOW_S);
        CHECK(answer.kind != GS_ANSWER_OK || reply.http_status == 200);
    }
}

static void set_answer_keeps_what_was_sent(void) {
    answer.sent_bytes = 77;
    gs_answer_set(&answer, GS_ANSWER_TIMEOUT, "a\nb");
    CHECK_EQ(answer.kind, GS_ANSWER_TIMEOUT);
    CHECK_EQ(answer.sent_bytes, 77);
    CHECK_EQ(answer.http_status, 0);
    CHECK_EQ(answer.grpc_status, -1);
    CHECK_EQ(answer.retry_after_ns, -1);
    CHECK_STR_EQ(answer.text, "a b");
}

CHECK_MAIN(CHECK_TEST(http_status_decides), CHECK_TEST(partial_success_is_counted), CHECK_TEST(compressed_body_is_read),
           CHECK_TEST(compressed_bomb_is_not_read), CHECK_TEST(http_reason_is_told), CHECK_TEST(retry_after_is_read),
           CHECK_TEST(informational_head_is_replaced), CHECK_TEST(decisive_is_said_of_complete_heads_only),
           CHECK_TEST(grpc_status_decides), CHECK_TEST(grpc_without_status_follows_http),
           CHECK_TEST(grpc_partial_success_is_counted), CHECK_TEST(grpc_retry_info_is_read),
           CHECK_TEST(grpc_message_about_size_is_told), CHECK_TEST(grpc_message_is_decoded_and_cleaned),
           CHECK_TEST(too_many_headers_end_the_transfer), CHECK_TEST(too_large_a_body_ends_the_transfer),
           CHECK_TEST(over_long_fields_are_cut), CHECK_TEST(odd_lines_are_harmless),
           CHECK_TEST(set_answer_keeps_what_was_sent))
