/* transport.h - one OTLP export request over HTTP/1.1 or gRPC, and what became of it.
 *
 * One libcurl easy handle in one multi handle, driven by one thread; `gs_transport_interrupt` alone may come from
 * another. One call of `gs_transport_send` is one attempt: repeating it is the exporter's business, the answer says
 * whether and when (answer.h has the table).
 *
 * One attempt puts the request on the wire at most once. libcurl by itself would repeat a request that a reused
 * connection swallowed; it is stopped before it does, and the answer is GS_ANSWER_STALE. A connection that is found
 * closed before anything was written is replaced silently: nothing was sent. After an attempt without an answer the
 * next one has a new connection.
 *
 * | what happened                                                        | kind                                  |
 * |----------------------------------------------------------------------|---------------------------------------|
 * | a complete answer; or its status and then the connection was lost,   | by the status, see answer.h           |
 * | the deadline came, or the rest was too large                         |                                       |
 * | reused connection closed or reset before the first byte of an answer | STALE                                 |
 * | no address, no connection, no proxy, connection lost, not HTTP       | UNREACHABLE                           |
 * | TLS: unknown, expired or wrong certificate, unreadable CA or key     | UNREACHABLE: certificates are renewed |
 * | file                                                                 | and mounted while a service runs, and |
 * |                                                                      | not one byte of the spans has left    |
 * | no complete status by the deadline, wherever it hangs                | TIMEOUT                               |
 * | gs_transport_interrupt                                               | INTERRUPTED                           |
 *
 * Nothing of the process is used but what the config says: no proxy or netrc from the environment, no cookies, no
 * redirects (3xx is a failure), no signals, no output.
 *
 * Threads: open/send/close by the exporter thread, without the GIL; interrupt by any thread between open and close.
 * The sending thread should have its signals blocked (SIGPIPE too: a TLS library may write to a closed socket).
 * Time: send returns within a few milliseconds of its deadline, also from a name server, a handshake or a peer that
 * hangs. A name look-up that outlasts the deadline goes on in a thread of libcurl's own, which ends with the look-up.
 * fork: in the child, gs_transport_abandon: the handles are leaked, since cleaning up would write to the parent's
 * connections. The sockets are close-on-exec.
 * libcurl: 7.80 or later, with HTTP/2 for gRPC; tried with 7.88.1 and 8.23.0. Before 8.1 it may forget a gRPC answer
 * that arrives in one piece with the end of its connection (GOAWAY or close): with its message it counts as accepted,
 * else as UNREACHABLE, so that spans may arrive twice but are not lost. Before 7.87 it waits for name look-ups beyond
 * the deadline.
 * Tests: tests/native/test_transport*.c, tests/fuzz.
 */
#ifndef GS_TRANSPORT_H
#define GS_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "answer.h"
#include "status.h"

/* "deflate" is what HTTP and gRPC call so: the zlib format (RFC 1950), not bare deflate. */
typedef enum gs_compression { GS_COMPRESSION_NONE = 0, GS_COMPRESSION_GZIP, GS_COMPRESSION_DEFLATE } gs_compression;

typedef struct gs_transport_header {
    const char *name; /* no CR, LF or NUL in either: checked by the caller */
    const char *value;
} gs_transport_header;

/* All strings are UTF-8, NUL-terminated, NULL for "not set"; gs_transport_open copies what it keeps. */
typedef struct gs_transport_config {
    gs_protocol protocol;
    gs_compression compression;
    const char *url; /* complete, with path: http(s)://host:port/v1/traces, or .../opentelemetry...TraceService/Export
                        for gRPC; a unix socket is given by unix_socket beside it */
    const char *unix_socket;
    const gs_transport_header *headers; /* user-agent is among them; those that the transport sets itself (content-type,
                                           content-encoding, content-length, te, grpc-* and what belongs to the
                                           connection) are passed over */
    size_t header_count;
    const char *ca_file; /* PEM; NULL: libcurl's own default */
    const char *client_certificate_file;
    const char *client_key_file;
    const char *proxy; /* NULL: none, whatever the environment says */
    bool verify_peer;
    int compression_level; /* 1..9 */
} gs_transport_config;

typedef struct gs_transport gs_transport;

/* 0 and *self, or an errno value and a text: EINVAL for a config that can never work, ENOMEM. Slow the first time (TLS
 * library set-up): call on the exporter thread. Files are not opened before they are needed. */
int gs_transport_open(gs_transport **self, const gs_transport_config *config, char *error_text,
                      size_t error_text_bytes);

/* Sends one ExportTraceServiceRequest of `body_bytes` bytes and fills `answer` by `deadline_ns`. No GIL. */
void gs_transport_send(gs_transport *self, const uint8_t *body, size_t body_bytes, int64_t deadline_ns,
                       gs_answer *answer);

/* Makes a running send, or else the next one, end at once with GS_ANSWER_INTERRUPTED; stays so. Any thread. */
void gs_transport_interrupt(gs_transport *self);

/* NULL is allowed, here and below. */
void gs_transport_close(gs_transport *self);
void gs_transport_abandon(gs_transport *self); /* after fork, in the child */

#endif /* GS_TRANSPORT_H */
