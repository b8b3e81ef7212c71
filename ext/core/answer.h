/* answer.h - what a collector answered, and what that means for the spans that were sent.
 *
 * A gs_reply collects the header lines and the body of one answer, bounded; gs_answer_read then says what it means, by
 * the OTLP specification 1.x ("Failures", "Partial success", for HTTP and for gRPC). Nothing here knows of sockets:
 * every byte that comes from outside is read here, and this file alone is what the fuzz targets need.
 *
 * | what came                                            | HTTP                    | gRPC                          |
 * |------------------------------------------------------|-------------------------|-------------------------------|
 * | accepted, rejected_spans > 0 of a partial success    | 2xx: OK                 | 0: OK                         |
 * | accepted, only a message                             | OK, and text: a warning | OK, and text: a warning       |
 * | transient                                            | 429, 502, 503, 504:     | 1, 4, 10, 11, 14, 15, and 8   |
 * |                                                      | RETRY                   | with a RetryInfo: RETRY       |
 * | when to come back                                    | Retry-After             | RetryInfo, in either trailer  |
 * | request too large                                    | 413: TOO_LARGE          | 8 or 11 whose message says    |
 * |                                                      |                         | so, HTTP 413: TOO_LARGE       |
 * | everything else                                      | REJECTED                | REJECTED                      |
 *
 * Where this differs from OpenTelemetry's Python exporters: they repeat after every RESOURCE_EXHAUSTED, and the
 * specification only allows it when the server says when; they take a 3xx for success; they know no partial success.
 * A gRPC answer without a grpc-status gets the one that gRPC assigns to its HTTP status ("HTTP to gRPC Status Code
 * Mapping").
 *
 * Texts come from outside: what is handed on is valid UTF-8, without control characters, without characters that break
 * lines or reorder text, cut between characters.
 *
 * Threads: plain values, one thread at a time. No allocation but zlib's, in answers that are compressed.
 */
#ifndef GS_ANSWER_H
#define GS_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum gs_protocol { GS_PROTOCOL_HTTP = 0, GS_PROTOCOL_GRPC } gs_protocol;

typedef enum gs_answer_kind {
    GS_ANSWER_OK = 0,      /* accepted; rejected_spans > 0: partial success, never to be repeated */
    GS_ANSWER_RETRY,       /* repeat after retry_after_ns, or after a backoff if that is < 0 */
    GS_ANSWER_STALE,       /* a reused connection was found dead before an answer: repeat at once, once */
    GS_ANSWER_TOO_LARGE,   /* 413, or RESOURCE_EXHAUSTED because of the message's size: split */
    GS_ANSWER_REJECTED,    /* permanent: do not repeat */
    GS_ANSWER_UNREACHABLE, /* no connection, or lost, or no trust in it (TLS): repeat after a backoff */
    GS_ANSWER_TIMEOUT,     /* the deadline came before the answer */
    GS_ANSWER_INTERRUPTED, /* gs_transport_interrupt */
} gs_answer_kind;

#define GS_ANSWER_TEXT_BYTES        256
#define GS_ANSWER_RETRY_AFTER_MAX_S INT64_C(86400) /* later than any export timeout: what is above is cut to this */

typedef struct gs_answer {
    gs_answer_kind kind;
    int http_status;                 /* 0: none came */
    int grpc_status;                 /* -1: none came, or not gRPC */
    int64_t retry_after_ns;          /* -1: the server did not say */
    int64_t rejected_spans;          /* partial success, >= 0; as the server says it, maybe more than were sent */
    uint64_t sent_bytes;             /* body as sent, after compression; 0: no connection */
    char text[GS_ANSWER_TEXT_BYTES]; /* reason, for people: printable UTF-8, NUL-terminated, may be empty */
} gs_answer;

#define GS_REPLY_HEAD_MAX_BYTES  (256u * 1024u)  /* all header lines together; more ends the transfer */
#define GS_REPLY_BODY_KEPT_BYTES (64u * 1024u)   /* of the body; the rest is counted and forgotten */
#define GS_REPLY_BODY_MAX_BYTES  (1024u * 1024u) /* more ends the transfer */
#define GS_REPLY_MESSAGE_BYTES   1024u
#define GS_REPLY_DETAILS_BYTES   8192u

typedef enum gs_body_type { GS_BODY_OTHER = 0, GS_BODY_PROTOBUF, GS_BODY_TEXT } gs_body_type;

/* A header's value, as it came, without the blanks around it; an over-long one is kept cut. */
#define GS_REPLY_FIELD(room) \
    struct {                 \
        uint32_t bytes;      \
        char value[room];    \
    }

typedef struct gs_reply {
    int http_status;      /* of the newest status line: 100 and 103 are replaced by what follows */
    int grpc_status;      /* -1: none came */
    bool head_complete;   /* the final header block has ended */
    bool overflowed;      /* a limit was passed, and the transfer was to end for it */
    bool content_encoded; /* content-encoding, other than identity */
    bool message_encoded; /* grpc-encoding, other than identity */
    gs_body_type body_type;
    size_t head_bytes; /* of all header blocks */
    size_t body_bytes; /* kept */
    size_t body_seen_bytes;
    GS_REPLY_FIELD(64) reason; /* "Not Found" */
    GS_REPLY_FIELD(64) retry_after;
    GS_REPLY_FIELD(64) date;
    GS_REPLY_FIELD(GS_REPLY_MESSAGE_BYTES) grpc_message;
    GS_REPLY_FIELD(512) retry_info;                      /* google.rpc.retryinfo-bin */
    GS_REPLY_FIELD(GS_REPLY_DETAILS_BYTES) grpc_details; /* grpc-status-details-bin */
    uint8_t body[GS_REPLY_BODY_KEPT_BYTES];
} gs_reply;

/* Nothing has come yet. Does not touch the large arrays. */
void gs_reply_clear(gs_reply *self);

/* One header line, status line, trailer or the empty line, with or without its CR LF. False: too much, end the
 * transfer. */
bool gs_reply_take_line(gs_reply *self, const char *line, size_t line_bytes);

/* The next piece of the body. False: too much, end the transfer. */
bool gs_reply_take_body(gs_reply *self, const uint8_t *data, size_t data_bytes);

/* True when what has come decides about the spans, whatever became of the connection afterwards: for HTTP a final
 * header block, for gRPC a grpc-status or a header block that says failure. */
bool gs_reply_is_decisive(const gs_reply *self, gs_protocol protocol);

/* True when the body is, or begins with, a complete gRPC message. */
bool gs_reply_has_message(const gs_reply *self);

/* Fills all of `answer` but sent_bytes with what the reply means. `unix_now_s` is used for a Retry-After that is a
 * date, when the reply has no Date of its own. */
void gs_answer_read(gs_answer *answer, const gs_reply *reply, gs_protocol protocol, int64_t unix_now_s);

/* An answer of the given kind, that nobody sent; `text` may be any bytes, NUL-terminated. */
void gs_answer_set(gs_answer *answer, gs_answer_kind kind, const char *text);

#endif /* GS_ANSWER_H */
