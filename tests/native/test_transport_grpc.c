/* sources: transport.c answer.c answer_text.c compress.c ./transport_peer.c fork_gate.c */
/* libs: curl z */
/* gRPC against an HTTP/2 peer of a hundred lines: what arrives, answers of every shape, connections that end in every
 * way. The request's header block is Huffman-coded and is not read here; the Python tests check it with a real gRPC
 * server. */
#include "transport.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include <curl/curl.h>

#include "check.h"
#include "clock.h"
#include "transport_peer.h"

#define LONG_NS (20 * GS_NS_PER_S)

/* RFC 9113 */
enum frame_type {
    FRAME_DATA = 0,
    FRAME_HEADERS = 1,
    FRAME_RST = 3,
    FRAME_SETTINGS = 4,
    FRAME_PING = 6,
    FRAME_GOAWAY = 7,
    FRAME_WINDOW = 8
};
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, FRAME_HEAD_BYTES = 9, MESSAGE_MAX_BYTES = 5 << 20 };
enum { ERROR_NONE = 0, ERROR_INTERNAL = 2, ERROR_REFUSED_STREAM = 7 };

static gs_answer answer;

static void put_frame(gs_peer *self, int fd, enum frame_type type, uint8_t flags, uint32_t stream, const void *payload,
                      size_t payload_bytes) {
    uint8_t frame[FRAME_HEAD_BYTES + 2048] = {
        (uint8_t)(payload_bytes >> 16), (uint8_t)(payload_bytes >> 8), (uint8_t)payload_bytes, (uint8_t)type,  flags,
        (uint8_t)(stream >> 24),        (uint8_t)(stream >> 16),       (uint8_t)(stream >> 8), (uint8_t)stream};
    memcpy(frame + FRAME_HEAD_BYTES, payload, payload_bytes);
    peer_write(self, fd, frame, FRAME_HEAD_BYTES + payload_bytes);
}

static void put_window(gs_peer *self, int fd, uint32_t stream, uint32_t bytes) {
    uint8_t payload[4] = {(uint8_t)(bytes >> 24), (uint8_t)(bytes >> 16), (uint8_t)(bytes >> 8), (uint8_t)bytes};
    put_frame(self, fd, FRAME_WINDOW, 0, stream, payload, sizeof payload);
}

/* A header block of literals without Huffman coding or indexing; `fields` is "name: value\n" again and again. */
static void put_headers(gs_peer *self, int fd, uint32_t stream, bool last, const char *fields) {
    uint8_t block[1024];
    size_t used = 0;
    while (*fields != '\0') {
        const char *colon = strchr(fields + 1, ':'), *end = strchr(fields, '\n');
        size_t name_bytes = (size_t)(colon - fields), value_bytes = (size_t)(end - colon - 2);
        REQUIRE(name_bytes < 127 && value_bytes < 127 && used + name_bytes + value_bytes + 3 < sizeof block);
        block[used++] = 0;
        block[used++] = (uint8_t)name_bytes;
        memcpy(block + used, fields, name_bytes);
        used += name_bytes;
        block[used++] = (uint8_t)value_bytes;
        memcpy(block + used, colon + 2, value_bytes);
        used += value_bytes;
        fields = end + 1;
    }
    put_frame(self, fd, FRAME_HEADERS, (uint8_t)(END_HEADERS | (last ? END_STREAM : 0)), stream, block, used);
}

static void put_goaway(gs_peer *self, int fd, uint32_t last_stream) {
    uint8_t payload[8] = {0, 0, 0, (uint8_t)last_stream, 0, 0, 0, ERROR_NONE};
    put_frame(self, fd, FRAME_GOAWAY, 0, 0, payload, sizeof payload);
}

static void put_reset(gs_peer *self, int fd, uint32_t stream, uint8_t error) {
    uint8_t payload[4] = {0, 0, 0, error};
    put_frame(self, fd, FRAME_RST, 0, stream, payload, sizeof payload);
}

static void put_answer(gs_peer *self, int fd, uint32_t stream, const char *message, size_t message_bytes) {
    put_headers(self, fd, stream, false, ":status: 200\ncontent-type: application/grpc\n");
    put_frame(self, fd, FRAME_DATA, 0, stream, message, message_bytes);
    put_headers(self, fd, stream, true, "grpc-status: 0\n");
}

/* The connection's beginning. */
static bool greet(gs_peer *self, int fd) {
    char preface[24];
    static const uint8_t settings[] = {0, 4, 0x7f, 0, 0, 0}; /* INITIAL_WINDOW_SIZE */
    if (!peer_read(self, fd, preface, sizeof preface) || memcmp(preface, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24) != 0) {
        return false;
    }
    put_frame(self, fd, FRAME_SETTINGS, 0, 0, settings, sizeof settings);
    put_window(self, fd, 0, 0x7f000000);
    return true;
}

/* Reads frames until a request has ended; its message is kept as the peer's body. 0: the connection has ended. */
static uint32_t read_call(gs_peer *self, int fd) {
    uint8_t head[FRAME_HEAD_BYTES];
    uint8_t *message = malloc(MESSAGE_MAX_BYTES);
    size_t message_bytes = 0;
    uint32_t ended = 0;
    while (ended == 0 && peer_read(self, fd, head, sizeof head)) {
        size_t payload_bytes = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        uint32_t stream = (uint32_t)head[5] << 24 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 8 | head[8];
        uint8_t *payload = message + message_bytes;
        if (message_bytes + payload_bytes > MESSAGE_MAX_BYTES || !peer_read(self, fd, payload, payload_bytes)) {
            break;
        }
        if (head[3] == FRAME_DATA) {
            message_bytes += payload_bytes;
        } else if (head[3] == FRAME_SETTINGS && (head[4] & ACK) == 0) {
            put_frame(self, fd, FRAME_SETTINGS, ACK, 0, "", 0);
        }
        if ((head[3] == FRAME_DATA || head[3] == FRAME_HEADERS) && (head[4] & END_STREAM) != 0) {
            ended = stream;
        }
    }
    if (ended != 0) {
        peer_keep(self, "", 0, message, message_bytes);
    }
    free(message);
    return ended;
}

static gs_transport *open_with(const gs_peer *peer, gs_compression compression) {
    gs_transport *transport = NULL;
    gs_transport_config config = {.protocol = GS_PROTOCOL_GRPC,
                                  .compression = compression,
                                  .url = peer->url,
                                  .verify_peer = true,
                                  .compression_level = 1};
    REQUIRE(gs_transport_open(&transport, &config, NULL, 0) == 0);
    return transport;
}

static gs_answer_kind send_bytes(gs_transport *transport, const void *body, size_t body_bytes) {
    memset(&answer, 0x55, sizeof answer);
    gs_transport_send(transport, body, body_bytes, gs_now_ns() + LONG_NS, &answer);
    return answer.kind;
}

static gs_answer_kind send_text(gs_transport *transport) {
    return send_bytes(transport, "text", 4);
}

/* -- what arrives -- */

static void serve_ok(gs_peer *self, int fd) {
    for (uint32_t stream = greet(self, fd) ? read_call(self, fd) : 0; stream != 0; stream = read_call(self, fd)) {
        put_answer(self, fd, stream, "\0\0\0\0\0", 5);
    }
}

static void calls_share_a_connection(void) {
    gs_peer peer;
    peer_start(&peer, serve_ok, NULL);
    gs_transport *transport = open_with(&peer, GS_COMPRESSION_NONE);
    for (int i = 0; i < 20; i++) {
        if (!CHECK_EQ(send_text(transport), GS_ANSWER_OK)) {
            printf("    %s\n", answer.text);
        }
        CHECK_EQ(answer.grpc_status, 0);
        CHECK_EQ(answer.http_status, 200);
        CHECK_EQ(answer.sent_bytes, 9);
        CHECK(peer_body_is(&peer, "\0\0\0\0\4text", 9));
    }
    CHECK_EQ(peer_requests(&peer), 20);
    CHECK_EQ(peer_connections(&peer), 1);
    gs_transport_close(transport);
    peer_stop(&peer);
}

static void compressed_message_says_so(void) {
    static uint8_t body[4u << 20], message[MESSAGE_MAX_BYTES], plain[4u << 20];
    static const size_t sizes[] = {100, sizeof body, 70000, 1000};
    for (size_t i = 0; i < sizeof body; i++) {
        body[i] = (uint8_t)(i * i >> 9);
    }
    for (int gzip = 0; gzip < 2; gzip++) {
        gs_peer peer;
        peer_start(&peer, serve_ok, NULL);
        gs_transport *transport = open_with(&peer, gzip ? GS_COMPRESSION_GZIP : GS_COMPRESSION_DEFLATE);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            CHECK_EQ(send_bytes(transport, body, sizes[i]), GS_ANSWER_OK);
            size_t bytes = peer_copy_body(&peer, message, sizeof message);
            CHECK_EQ(bytes, answer.sent_bytes);
            CHECK_EQ(message[0], 1);
            CHECK_EQ((size_t)message[1] << 24 | (size_t)message[2] << 16 | (size_t)message[3] << 8 | message[4],
                     bytes - 5);
            z_stream stream = {
                .next_in = message + 5, .avail_in = (uInt)bytes - 5, .next_out = plain, .avail_out = sizeof plain};
            CHECK_EQ(inflateInit2(&stream, gzip ? 15 + 16 : 15), Z_OK);
            CHECK_EQ(inflate(&stream, Z_FINISH), Z_STREAM_END);
            CHECK_EQ(stream.total_out, sizes[i]);
            CHECK_MEM_EQ(plain, body, sizes[i]);
            inflateEnd(&stream);
        }
        /* what does not shrink is sent as it is, and says that */
        CHECK_EQ(send_text(transport), GS_ANSWER_OK);
        CHECK(peer_body_is(&peer, "\0\0\0\0\4text", 9));
        CHECK_EQ(peer_connections(&peer), 1);
        gs_transport_close(transport);
        peer_stop(&peer);
    }
}

/* -- what is understood -- */

static void serve_shapes(gs_peer *self, int fd) {
    uint32_t stream = greet(self, fd) ? read_call(self, fd) : 0;
    put_answer(self, fd, stream, "\0\0\0\0\4\x0a\x02\x08\x09", 9);
    stream = read_call(self, fd);
    put_headers(self, fd, stream, true,
                ":status: 200\ncontent-type: application/grpc\ngrpc-status: 14\ngrpc-message: not%20now\n"
                "google.rpc.retryinfo-bin: CgIIBQ==\n");
    stream = read_call(self, fd);
    put_headers(self, fd, stream, false, ":status: 200\n");
    put_headers(self, fd, stream, true,
                "grpc-status: 8\ngrpc-status-details-bin: "
                "CgA\ngrpc-message: Received message larger than max (5 vs. 4)\n");
    stream = read_call(self, fd);
    put_headers(self, fd, stream, true, ":status: 503\n");
    stream = read_call(self, fd);
    put_headers(self, fd, stream, false, ":status: 200\n");
    put_frame(self, fd, FRAME_DATA, END_STREAM, stream, "\0\0\0\0\0", 5);
    stream = read_call(self, fd);
    put_headers(self, fd, stream, false, ":status: 404\n");
    put_frame(self, fd, FRAME_DATA, END_STREAM, stream, "<html>", 6);
    peer_wait_gone(self, fd);
}

static void answers_of_every_shape_are_understood(void) {
    gs_peer peer;
    peer_start(&peer, serve_shapes, NULL);
    gs_transport *transport = open_with(&peer, GS_COMPRESSION_NONE);
    CHECK_EQ(send_text(transport), GS_ANSWER_OK);
    CHECK_EQ(answer.rejected_spans, 9);
    CHECK_EQ(send_text(transport), GS_ANSWER_RETRY); /* trailers only */
    CHECK_EQ(answer.grpc_status, 14);
    CHECK_EQ(answer.retry_after_ns, 5 * GS_NS_PER_S);
    CHECK_STR_EQ(answer.text, "UNAVAILABLE: not now");
    CHECK_EQ(send_text(transport), GS_ANSWER_TOO_LARGE);
    CHECK_EQ(send_text(transport), GS_ANSWER_RETRY);
    CHECK_EQ(answer.grpc_status, -1);
    CHECK_EQ(answer.http_status, 503);
    CHECK_EQ(send_text(transport), GS_ANSWER_REJECTED);
    CHECK_STR_EQ(answer.text, "HTTP 200, without a grpc-status");
    CHECK_EQ(send_text(transport), GS_ANSWER_REJECTED);
    CHECK_EQ(answer.http_status, 404);
    CHECK_EQ(peer_connections(&peer), 1);
    gs_transport_close(transport);
    peer_stop(&peer);
}

/* -- connections that end -- */

static void serve_one_and_goaway(gs_peer *self, int fd) {
    uint32_t stream = greet(self, fd) ? read_call(self, fd) : 0;
    put_answer(self, fd, stream, "\0\0\0\0\0", 5);
    put_goaway(self, fd, stream);
    peer_wait_gone(self, fd);
}

static void serve_one_and_close(gs_peer *self, int fd) {
    uint32_t stream = greet(self, fd) ? read_call(self, fd) : 0;
    put_answer(self, fd, stream, "\0\0\0\0\0", 5);
    shutdown(fd, SHUT_WR); /* a close would reset the connection, since the client's SETTINGS are not read yet */
    peer_wait_gone(self, fd);
}

/* OK: the end was seen before the request was written. STALE: the request was written behind it. BROKEN: versions of
 * libcurl before 8.1 may forget an answer that comes together with the end; then the transport must not call it one. */
static void connection_ended_behind_an_answer_is_replaced(void) {
    static const peer_serve serves[] = {serve_one_and_goaway, serve_one_and_close};
    bool may_break = curl_version_info(CURLVERSION_NOW)->version_num < 0x080100;
    for (size_t i = 0; i < 2; i++) {
        gs_peer peer;
        peer_start(&peer, serves[i], NULL);
        gs_transport *transport = open_with(&peer, GS_COMPRESSION_NONE);
        int answered = 0, stale = 0, broken = 0;
        for (int call = 0; call < 40; call++) {
            gs_answer_kind kind = send_text(transport);
            answered += kind == GS_ANSWER_OK;
            stale += kind == GS_ANSWER_STALE;
            broken += kind == GS_ANSWER_UNREACHABLE && may_break;
            if (kind == GS_ANSWER_UNREACHABLE) {
                CHECK_STR_EQ(answer.text, "the answer broke off");
            }
        }
        CHECK_EQ(answered + stale + broken, 40);
        CHECK(stale <= 20); /* after each comes a new connection */
        CHECK_EQ(peer_requests(&peer), answered + broken);
        gs_transport_close(transport);
        peer_stop(&peer);
    }
}

static void serve_one_and_lose_the_next(gs_peer *self, int fd) {
    static _Atomic int round;
    uint32_t stream = greet(self, fd) ? read_call(self, fd) : 0;
    put_answer(self, fd, stream, "\0\0\0\0\0", 5);
    stream = read_call(self, fd);
    if (stream == 0) {
        return;
    }
    switch (round++ % 4) {
    case 0: peer_reset(fd); break;
    case 1: break; /* closed */
    case 2:
        put_goaway(self, fd, 1);
        peer_wait_gone(self, fd);
        break;
    default:
        put_reset(self, fd, stream, ERROR_REFUSED_STREAM);
        peer_wait_gone(self, fd);
        break;
    }
}

static void call_lost_on_a_reused_connection_is_stale(void) {
    gs_peer peer;
    peer_start(&peer, serve_one_and_lose_the_next, NULL);
    gs_transport *transport = open_with(&peer, GS_COMPRESSION_NONE);
    for (int round = 0; round < 4; round++) {
        CHECK_EQ(send_text(transport), GS_ANSWER_OK);
        if (!CHECK_EQ(send_text(transport), GS_ANSWER_STALE)) {
            printf("    round %d: %s\n", round, answer.text);
        }
        CHECK_EQ(peer_requests(&peer), 2 * round + 2);
        CHECK_EQ(peer_connections(&peer), round + 1);
    }
    gs_transport_close(transport);
    peer_stop(&peer);
}

static void serve_failures(gs_peer *self, int fd) {
    static _Atomic int round;
    int now = round++;
    if (now == 0) { /* speaks no HTTP/2 */
        peer_say(self, fd, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        peer_wait_gone(self, fd);
        return;
    }
    uint32_t stream = greet(self, fd) ? read_call(self, fd) : 0;
    if (now == 1) {
        put_reset(self, fd, stream, ERROR_INTERNAL);
    } else if (now == 2) { /* breaks off inside the message */
        put_headers(self, fd, stream, false, ":status: 200\n");
        put_frame(self, fd, FRAME_DATA, 0, stream, "\0\0\0\0\4\x0a", 6);
        return;
    } else if (now == 3) {
        put_frame(self, fd, FRAME_HEADERS, END_HEADERS, stream, "\xff\xff\xff\xff\xff\xff", 6); /* no HPACK */
    } else if (now == 4) {
        put_reset(self, fd, stream, ERROR_REFUSED_STREAM);
    } else {
        peer_reset(fd);
        return;
    }
    peer_wait_gone(self, fd);
}

static void failure_on_a_new_connection_is_unreachable(void) {
    gs_peer peer;
    peer_start(&peer, serve_failures, NULL);
    for (int round = 0; round < 6; round++) {
        gs_transport *transport = open_with(&peer, GS_COMPRESSION_NONE);
        gs_transport_send(transport, (const uint8_t *)"x", 1, gs_now_ns() + GS_NS_PER_S, &answer);
        /* Newer versions of libcurl wait for more after bytes that are no HTTP/2. */
        bool is_noise = round == 0 || round == 3;
        if (!CHECK(answer.kind == GS_ANSWER_UNREACHABLE || (is_noise && answer.kind == GS_ANSWER_TIMEOUT))) {
            printf("    round %d: %d %s\n", round, (int)answer.kind, answer.text);
        }
        CHECK(answer.text[0] != '\0');
        CHECK_EQ(peer_connections(&peer), round + 1);
        gs_transport_close(transport);
    }
    peer_stop(&peer);
}

static void serve_nothing_after_first(gs_peer *self, int fd) {
    uint32_t stream = greet(self, fd) ? read_call(self, fd) : 0;
    put_answer(self, fd, stream, "\0\0\0\0\0", 5);
    peer_wait_gone(self, fd);
}

static void call_after_a_timeout_has_a_connection_of_its_own(void) {
    gs_peer peer;
    peer_start(&peer, serve_nothing_after_first, NULL);
    gs_transport *transport = open_with(&peer, GS_COMPRESSION_NONE);
    for (int round = 0; round < 3; round++) {
        CHECK_EQ(send_text(transport), GS_ANSWER_OK);
        gs_transport_send(transport, (const uint8_t *)"x", 1, gs_now_ns() + 50 * GS_NS_PER_MS, &answer);
        CHECK_EQ(answer.kind, GS_ANSWER_TIMEOUT);
    }
    gs_transport_close(transport);
    peer_stop(&peer);
}

CHECK_MAIN(CHECK_TEST(calls_share_a_connection), CHECK_TEST(compressed_message_says_so),
           CHECK_TEST(answers_of_every_shape_are_understood), CHECK_TEST(connection_ended_behind_an_answer_is_replaced),
           CHECK_TEST(call_lost_on_a_reused_connection_is_stale),
           CHECK_TEST(failure_on_a_new_connection_is_unreachable),
           CHECK_TEST(call_after_a_timeout_has_a_connection_of_its_own))
