#include "answer.h"

#include <stdlib.h>
#include <string.h>

#include "answer_text.h"
#include "clock.h"
#include "compress.h"
#include "wire.h"

#define GRPC_FRAME_HEAD_BYTES 5u /* compressed flag, length (big-endian) */
#define DECOMPRESSED_BYTES    (16u * 1024u)

enum http_status {
    HTTP_PAYLOAD_TOO_LARGE = 413,
    HTTP_TOO_MANY_REQUESTS = 429,
    HTTP_BAD_GATEWAY = 502,
    HTTP_SERVICE_UNAVAILABLE = 503,
    HTTP_GATEWAY_TIMEOUT = 504,
};

enum grpc_status {
    GRPC_OK = 0,
    GRPC_CANCELLED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_ABORTED = 10,
    GRPC_OUT_OF_RANGE = 11,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_DATA_LOSS = 15,
    GRPC_UNAUTHENTICATED = 16,
};

static const char *const grpc_status_names[] = {
    "OK",        "CANCELLED",       "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS",  "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",    "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED",
};

/* -- collecting -- */

void gs_reply_clear(gs_reply *self) {
    self->head_bytes = 0;
    self->body_bytes = 0;
    self->body_seen_bytes = 0;
    self->overflowed = false;
    self->http_status = 0;
    self->grpc_status = -1;
    self->head_complete = false;
    self->content_encoded = false;
    self->message_encoded = false;
    self->body_type = GS_BODY_OTHER;
    self->reason.bytes = 0;
    self->retry_after.bytes = 0;
    self->date.bytes = 0;
    self->grpc_message.bytes = 0;
    self->retry_info.bytes = 0;
    self->grpc_details.bytes = 0;
}

static void keep(uint32_t *bytes, char *value, size_t room, gs_slice from) {
    size_t kept = from.length < room ? from.length : room;
    memcpy(value, from.bytes, kept);
    *bytes = (uint32_t)kept;
}

#define KEEP(field, from) keep(&(field).bytes, (field).value, sizeof(field).value, from)
#define KEPT(field)       ((gs_slice){(field).value, (field).bytes})

static int parse_status_code(gs_slice text, size_t max_digits) {
    int value = 0;
    for (size_t i = 0; i < text.length; i++) {
        if (i >= max_digits || text.bytes[i] < '0' || text.bytes[i] > '9') {
            return -1;
        }
        value = value * 10 + (text.bytes[i] - '0');
    }
    return text.length > 0 ? value : -1;
}

/* "HTTP/1.1 404 Not Found": forgets the header block before it. */
static void take_status_line(gs_reply *self, gs_slice line) {
    size_t head_bytes = self->head_bytes;
    gs_reply_clear(self);
    self->head_bytes = head_bytes;
    while (line.length > 0 && line.bytes[0] != ' ') {
        line.bytes++;
        line.length--;
    }
    line = gs_slice_trimmed(line);
    int status = parse_status_code((gs_slice){line.bytes, line.length < 3 ? line.length : 3}, 3);
    self->http_status = status >= 100 ? status : 0;
    if (line.length > 3) {
        KEEP(self->reason, gs_slice_trimmed(((gs_slice){line.bytes + 3, line.length - 3})));
    }
}

static gs_body_type body_type_of(gs_slice content_type) {
    if (gs_slice_starts(content_type, "application/x-protobuf") ||
        gs_slice_starts(content_type, "application/protobuf") || gs_slice_starts(content_type, "application/grpc")) {
        return GS_BODY_PROTOBUF;
    }
    bool is_text = gs_slice_starts(content_type, "text/plain") || gs_slice_starts(content_type, "application/json");
    return is_text ? GS_BODY_TEXT : GS_BODY_OTHER;
}

static void take_field(gs_reply *self, gs_slice name, gs_slice value) {
    if (gs_slice_equals(name, "content-type")) {
        self->body_type = body_type_of(value);
    } else if (gs_slice_equals(name, "content-encoding")) {
        self->content_encoded = !gs_slice_equals(value, "identity");
    } else if (gs_slice_equals(name, "retry-after")) {
        KEEP(self->retry_after, value);
    } else if (gs_slice_equals(name, "date")) {
        KEEP(self->date, value);
    } else if (gs_slice_equals(name, "grpc-status")) {
        int status = parse_status_code(value, 3);
        self->grpc_status = status >= 0 ? status : GRPC_UNKNOWN;
    } else if (gs_slice_equals(name, "grpc-message")) {
        KEEP(self->grpc_message, value);
    } else if (gs_slice_equals(name, "grpc-encoding")) {
        self->message_encoded = !gs_slice_equals(value, "identity");
    } else if (gs_slice_equals(name, "grpc-status-details-bin")) {
        KEEP(self->grpc_details, value);
    } else if (gs_slice_equals(name, "google.rpc.retryinfo-bin")) {
        KEEP(self->retry_info, value);
    }
}

bool gs_reply_take_line(gs_reply *self, const char *line, size_t line_bytes) {
    if (line_bytes > GS_REPLY_HEAD_MAX_BYTES - self->head_bytes) {
        self->overflowed = true;
        return false;
    }
    self->head_bytes += line_bytes;
    gs_slice text = gs_slice_trimmed((gs_slice){line, line_bytes});
    if (gs_slice_starts(text, "HTTP/")) {
        take_status_line(self, text);
        return true;
    }
    if (text.length == 0) {
        self->head_complete = self->http_status >= 200;
        return true;
    }
    const char *colon = memchr(text.bytes, ':', text.length);
    if (colon != NULL) {
        size_t name_bytes = (size_t)(colon - text.bytes);
        take_field(self, gs_slice_trimmed((gs_slice){text.bytes, name_bytes}),
                   gs_slice_trimmed((gs_slice){colon + 1, text.length - name_bytes - 1}));
    }
    return true;
}

bool gs_reply_take_body(gs_reply *self, const uint8_t *data, size_t data_bytes) {
    size_t room = sizeof self->body - self->body_bytes;
    size_t kept = data_bytes < room ? data_bytes : room;
    if (kept > 0) {
        memcpy(self->body + self->body_bytes, data, kept);
        self->body_bytes += kept;
    }
    self->overflowed = data_bytes > GS_REPLY_BODY_MAX_BYTES - self->body_seen_bytes;
    self->body_seen_bytes = self->overflowed ? GS_REPLY_BODY_MAX_BYTES : self->body_seen_bytes + data_bytes;
    return !self->overflowed;
}

static bool is_success(int http_status) {
    return http_status >= 200 && http_status < 300;
}

bool gs_reply_is_decisive(const gs_reply *self, gs_protocol protocol) {
    if (protocol == GS_PROTOCOL_GRPC) {
        return self->grpc_status >= 0 || (self->head_complete && !is_success(self->http_status));
    }
    return self->head_complete;
}

/* -- reading -- */

/* ExportTraceServiceResponse: partial_success = 1 { rejected_spans = 1, error_message = 2 }. Repeated fields: the last
 * one holds, as in every protobuf parser; a message that breaks off is read up to there. */
static void read_partial_success(gs_answer *answer, gs_slice message) {
    gs_field field;
    int64_t rejected_spans = 0;
    gs_slice error_message = {NULL, 0};
    while (gs_field_next(&message, &field)) {
        gs_slice partial_success = field.bytes;
        bool is_partial_success = field.number == 1 && field.wire_type == GS_WIRE_LEN;
        while (is_partial_success && gs_field_next(&partial_success, &field)) {
            if (field.number == 1 && field.wire_type == GS_WIRE_VARINT) {
                rejected_spans = (int64_t)field.value;
            } else if (field.number == 2 && field.wire_type == GS_WIRE_LEN) {
                error_message = field.bytes;
            }
        }
    }
    answer->rejected_spans = rejected_spans > 0 ? rejected_spans : 0;
    gs_text_append(answer->text, 0, sizeof answer->text, error_message);
}

/* google.rpc.RetryInfo: retry_delay = 1 { seconds = 1, nanos = 2 }. -1: there is none. */
static int64_t read_retry_info(gs_slice message) {
    gs_field field;
    int64_t delay_ns = -1;
    while (gs_field_next(&message, &field)) {
        gs_slice duration = field.bytes;
        if (field.number != 1 || field.wire_type != GS_WIRE_LEN) {
            continue;
        }
        int64_t seconds = 0, nanos = 0;
        while (gs_field_next(&duration, &field)) {
            if (field.number == 1 && field.wire_type == GS_WIRE_VARINT) {
                seconds = (int64_t)field.value;
            } else if (field.number == 2 && field.wire_type == GS_WIRE_VARINT) {
                nanos = (int64_t)field.value;
            }
        }
        nanos = nanos > 0 && nanos < GS_NS_PER_S ? nanos : 0;
        delay_ns = seconds < 0                             ? 0
                   : seconds < GS_ANSWER_RETRY_AFTER_MAX_S ? seconds * GS_NS_PER_S + nanos
                                                           : GS_ANSWER_RETRY_AFTER_MAX_S * GS_NS_PER_S;
    }
    return delay_ns;
}

/* google.rpc.Status: code = 1, message = 2, details = 3 (Any { type_url = 1, value = 2 }). */
typedef struct rpc_status {
    gs_slice message;
    int64_t retry_after_ns;
} rpc_status;

static rpc_status read_rpc_status(gs_slice message) {
    rpc_status status = {{NULL, 0}, -1};
    gs_field field;
    while (gs_field_next(&message, &field)) {
        gs_slice any = field.bytes, type = {NULL, 0}, value = {NULL, 0};
        if (field.number == 2 && field.wire_type == GS_WIRE_LEN) {
            status.message = field.bytes;
        }
        bool is_detail = field.number == 3 && field.wire_type == GS_WIRE_LEN;
        while (is_detail && gs_field_next(&any, &field)) {
            if (field.number == 1 && field.wire_type == GS_WIRE_LEN) {
                type = field.bytes;
            } else if (field.number == 2 && field.wire_type == GS_WIRE_LEN) {
                value = field.bytes;
            }
        }
        if (is_detail && gs_slice_contains(type, "/google.rpc.RetryInfo")) {
            status.retry_after_ns = read_retry_info(value);
        }
    }
    return status;
}

static size_t append(gs_answer *answer, size_t used, gs_slice text) {
    return gs_text_append(answer->text, used, sizeof answer->text, text);
}

/* "404 Not Found: no such tenant" */
static void describe_http(gs_answer *answer, const gs_reply *reply, gs_slice body) {
    char code[] = "HTTP ???";
    if (reply->http_status > 0) {
        code[5] = (char)('0' + reply->http_status / 100);
        code[6] = (char)('0' + reply->http_status / 10 % 10);
        code[7] = (char)('0' + reply->http_status % 10);
    }
    size_t used = append(answer, 0, gs_slice_of(code));
    if (reply->reason.bytes > 0) {
        used = append(answer, used, gs_slice_of(" "));
        used = append(answer, used, KEPT(reply->reason));
    }
    gs_slice message = {NULL, 0};
    if (reply->body_type == GS_BODY_PROTOBUF) {
        message = read_rpc_status(body).message;
    } else if (reply->body_type == GS_BODY_TEXT) {
        message = gs_slice_trimmed(body);
    }
    if (message.length > 0) {
        used = append(answer, used, gs_slice_of(": "));
        append(answer, used, message);
    }
}

static bool http_may_retry(int http_status) {
    return http_status == HTTP_TOO_MANY_REQUESTS || http_status == HTTP_BAD_GATEWAY ||
           http_status == HTTP_SERVICE_UNAVAILABLE || http_status == HTTP_GATEWAY_TIMEOUT;
}

static void read_http(gs_answer *answer, const gs_reply *reply, gs_slice body, int64_t unix_now_s) {
    if (is_success(reply->http_status)) {
        answer->kind = GS_ANSWER_OK;
        if (reply->body_type == GS_BODY_PROTOBUF) {
            read_partial_success(answer, body);
        }
        return;
    }
    describe_http(answer, reply, body);
    if (reply->http_status == HTTP_PAYLOAD_TOO_LARGE) {
        answer->kind = GS_ANSWER_TOO_LARGE;
    } else if (http_may_retry(reply->http_status)) {
        int64_t server_now_s = unix_now_s;
        gs_http_date(KEPT(reply->date), unix_now_s, &server_now_s);
        answer->kind = GS_ANSWER_RETRY;
        answer->retry_after_ns = gs_retry_after(KEPT(reply->retry_after), server_now_s);
    } else {
        answer->kind = GS_ANSWER_REJECTED;
    }
}

/* gRPC over HTTP/2, "HTTP to gRPC Status Code Mapping": for answers of something that does not speak gRPC. */
static int grpc_status_of_http(int http_status) {
    switch (http_status) {
    case 400: return GRPC_INTERNAL;
    case 401: return GRPC_UNAUTHENTICATED;
    case 403: return GRPC_PERMISSION_DENIED;
    case 404: return GRPC_UNIMPLEMENTED;
    case HTTP_TOO_MANY_REQUESTS:
    case HTTP_BAD_GATEWAY:
    case HTTP_SERVICE_UNAVAILABLE:
    case HTTP_GATEWAY_TIMEOUT: return GRPC_UNAVAILABLE;
    default: return GRPC_UNKNOWN;
    }
}

static bool grpc_may_retry(int grpc_status, int64_t retry_after_ns) {
    switch (grpc_status) {
    case GRPC_CANCELLED:
    case GRPC_DEADLINE_EXCEEDED:
    case GRPC_ABORTED:
    case GRPC_OUT_OF_RANGE:
    case GRPC_UNAVAILABLE:
    case GRPC_DATA_LOSS: return true;
    case GRPC_RESOURCE_EXHAUSTED: return retry_after_ns >= 0;
    default: return false;
    }
}

/* What gRPC in C++ and Go, in Java, in .NET and in Rust says (the last one as OUT_OF_RANGE) when a message is too
 * large. */
static bool is_about_size(int grpc_status, gs_slice message) {
    return (grpc_status == GRPC_RESOURCE_EXHAUSTED || grpc_status == GRPC_OUT_OF_RANGE) &&
           (gs_slice_contains(message, "larger than max") || gs_slice_contains(message, "exceeds maximum size") ||
            gs_slice_contains(message, "exceeds the maximum") || gs_slice_contains(message, "too large"));
}

static int64_t grpc_retry_after(const gs_reply *reply) {
    uint8_t decoded[GS_REPLY_DETAILS_BYTES];
    size_t decoded_bytes = 0;
    int64_t retry_after_ns = -1;
    if (gs_base64_decode(decoded, sizeof decoded, KEPT(reply->grpc_details), &decoded_bytes)) {
        retry_after_ns = read_rpc_status((gs_slice){(const char *)decoded, decoded_bytes}).retry_after_ns;
    }
    if (retry_after_ns < 0 && reply->retry_info.bytes > 0 &&
        gs_base64_decode(decoded, sizeof decoded, KEPT(reply->retry_info), &decoded_bytes)) {
        retry_after_ns = read_retry_info((gs_slice){(const char *)decoded, decoded_bytes});
    }
    return retry_after_ns;
}

/* The first message of the body as it came. False when it is not complete. */
static bool grpc_frame_of(gs_slice body, bool *compressed, gs_slice *message) {
    const unsigned char *head = (const unsigned char *)body.bytes;
    if (body.length < GRPC_FRAME_HEAD_BYTES || head[0] > 1) {
        return false;
    }
    size_t length = (size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4];
    *compressed = head[0] == 1;
    *message = (gs_slice){body.bytes + GRPC_FRAME_HEAD_BYTES, length};
    return length <= body.length - GRPC_FRAME_HEAD_BYTES;
}

bool gs_reply_has_message(const gs_reply *self) {
    bool compressed = false;
    gs_slice message = {NULL, 0};
    return grpc_frame_of((gs_slice){(const char *)self->body, self->body_bytes}, &compressed, &message);
}

/* The first message of the body, decompressed into `room` if it has to be. Empty when there is none that can be read.
 * */
static gs_slice grpc_message_of(const gs_reply *reply, gs_slice body, uint8_t *to, size_t room) {
    bool compressed = false;
    gs_slice message = {NULL, 0};
    if (!grpc_frame_of(body, &compressed, &message)) {
        return (gs_slice){NULL, 0};
    }
    if (!compressed) {
        return message;
    }
    size_t decompressed_bytes = 0;
    if (!reply->message_encoded ||
        !gs_decompress(to, room, (const uint8_t *)message.bytes, message.length, &decompressed_bytes)) {
        return (gs_slice){NULL, 0};
    }
    return (gs_slice){(const char *)to, decompressed_bytes};
}

static void describe_grpc(gs_answer *answer, const gs_reply *reply, int status) {
    if (reply->grpc_status < 0) {
        describe_http(answer, reply, (gs_slice){NULL, 0});
        append(answer, strlen(answer->text), gs_slice_of(", without a grpc-status"));
        return;
    }
    bool is_known = (size_t)status < sizeof grpc_status_names / sizeof grpc_status_names[0];
    size_t used = append(answer, 0, gs_slice_of(is_known ? grpc_status_names[status] : "unknown gRPC status"));
    char message[GS_REPLY_MESSAGE_BYTES];
    size_t message_bytes = gs_percent_decode(message, KEPT(reply->grpc_message));
    if (message_bytes > 0) {
        used = append(answer, used, gs_slice_of(": "));
        append(answer, used, (gs_slice){message, message_bytes});
    }
}

static void read_grpc(gs_answer *answer, const gs_reply *reply, gs_slice body, uint8_t *scratch, size_t scratch_bytes) {
    int status = reply->grpc_status >= 0 ? reply->grpc_status : grpc_status_of_http(reply->http_status);
    answer->grpc_status = reply->grpc_status;
    if (status == GRPC_OK) {
        answer->kind = GS_ANSWER_OK;
        read_partial_success(answer, grpc_message_of(reply, body, scratch, scratch_bytes));
        return;
    }
    describe_grpc(answer, reply, status);
    answer->retry_after_ns = grpc_retry_after(reply);
    bool too_large = reply->grpc_status < 0 ? reply->http_status == HTTP_PAYLOAD_TOO_LARGE
                                            : is_about_size(status, gs_slice_of(answer->text));
    if (too_large && answer->retry_after_ns < 0) {
        answer->kind = GS_ANSWER_TOO_LARGE;
    } else {
        answer->kind = grpc_may_retry(status, answer->retry_after_ns) ? GS_ANSWER_RETRY : GS_ANSWER_REJECTED;
    }
    if (answer->kind != GS_ANSWER_RETRY) {
        answer->retry_after_ns = -1;
    }
}

void gs_answer_set(gs_answer *answer, gs_answer_kind kind, const char *text) {
    uint64_t sent_bytes = answer->sent_bytes;
    *answer = (gs_answer){.kind = kind, .grpc_status = -1, .retry_after_ns = -1, .sent_bytes = sent_bytes};
    append(answer, 0, gs_slice_of(text));
}

void gs_answer_read(gs_answer *answer, const gs_reply *reply, gs_protocol protocol, int64_t unix_now_s) {
    uint8_t decompressed[DECOMPRESSED_BYTES];
    gs_slice body = {(const char *)reply->body, reply->body_bytes};
    gs_answer_set(answer, GS_ANSWER_REJECTED, "");
    answer->http_status = reply->http_status;
    if (protocol == GS_PROTOCOL_GRPC) {
        read_grpc(answer, reply, body, decompressed, sizeof decompressed);
        return;
    }
    if (reply->content_encoded) {
        size_t decompressed_bytes = 0;
        bool readable =
            gs_decompress(decompressed, sizeof decompressed, reply->body, reply->body_bytes, &decompressed_bytes);
        body = (gs_slice){(const char *)decompressed, readable ? decompressed_bytes : 0};
    }
    read_http(answer, reply, body, unix_now_s);
}
