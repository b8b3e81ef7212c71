/* sources: transport.c answer.c answer_text.c compress.c ./transport_peer.c fork_gate.c */
/* libs: curl z */
/* HTTP: what arrives, what is understood, and that nothing is sent twice. Faults and deadlines:
 * test_transport_faults.c. */
#include "transport.h"

#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include "check.h"
#include "clock.h"
#include "transport_peer.h"

#define LONG_NS (20 * GS_NS_PER_S) /* for what must not depend on time */
#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n"

static gs_answer answer;

static gs_transport *open_with(gs_transport_config config) {
    gs_transport *transport = NULL;
    char text[256] = "";
    config.verify_peer = true;
    config.compression_level = 1;
    if (!CHECK_EQ(gs_transport_open(&transport, &config, text, sizeof text), 0)) {
        printf("    %s\n", text);
        exit(EXIT_FAILURE);
    }
    return transport;
}

static gs_transport *open_plain(const gs_peer *peer) {
    return open_with((gs_transport_config){.url = peer->url});
}

static gs_answer_kind send_bytes(gs_transport *transport, const void *body, size_t body_bytes) {
    memset(&answer, 0x55, sizeof answer);
    gs_transport_send(transport, body, body_bytes, gs_now_ns() + LONG_NS, &answer);
    return answer.kind;
}

static gs_answer_kind send_text(gs_transport *transport, const char *body) {
    return send_bytes(transport, body, strlen(body));
}

static void serve_ok(gs_peer *self, int fd) {
    while (peer_read_request(self, fd)) {
        peer_say(self, fd, OK_HEAD "Content-Length: 0\r\n\r\n");
    }
}

/* -- what arrives -- */

static void request_arrives_as_it_was_given(void) {
    gs_peer peer;
    peer_start(&peer, serve_ok, NULL);
    static const gs_transport_header headers[] = {
        {"user-agent", "test/1"},
        {"X-Tenant", "a, b"},
        {"x-empty", ""},
        {"Content-Type", "text/plain"},
        {"Transfer-Encoding", "chunked"},
        {"Content-Length", "1"},
        {"Expect", "100-continue"},
    };
    gs_transport *transport = open_with((gs_transport_config){.url = peer.url, .headers = headers, .header_count = 7});
    CHECK_EQ(send_bytes(transport, "a\0b\xff", 4), GS_ANSWER_OK);
    CHECK_EQ(answer.http_status, 200);
    CHECK_EQ(answer.sent_bytes, 4);
    CHECK(peer_body_is(&peer, "a\0b\xff", 4));
    CHECK(peer_head_contains(&peer, "POST /v1/traces HTTP/1.1\r\n"));
    CHECK(peer_head_contains(&peer, "\r\ncontent-type: application/x-protobuf\r\n"));
    CHECK(peer_head_contains(&peer, "\r\ncontent-length: 4\r\n"));
    CHECK(peer_head_contains(&peer, "\r\nuser-agent: test/1\r\n"));
    CHECK(peer_head_contains(&peer, "\r\nx-tenant: a, b\r\n"));
    CHECK(peer_head_contains(&peer, "\r\nx-empty:"));
    CHECK(!peer_head_contains(&peer, "text/plain"));
    CHECK(!peer_head_contains(&peer, "transfer-encoding"));
    CHECK(!peer_head_contains(&peer, "expect"));
    CHECK(!peer_head_contains(&peer, "content-encoding"));
    gs_transport_close(transport);
    peer_stop(&peer);
}

static void connection_is_used_again(void) {
    gs_peer peer;
    peer_start(&peer, serve_ok, NULL);
    gs_transport *transport = open_plain(&peer);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(send_text(transport, i % 2 == 0 ? "" : "body"), GS_ANSWER_OK);
    }
    CHECK_EQ(peer_requests(&peer), 20);
    CHECK_EQ(peer_connections(&peer), 1);
    gs_transport_close(transport);
    peer_stop(&peer);
}

static bool decompresses_to(gs_peer *peer, int window_bits, const uint8_t *expected, size_t expected_bytes) {
    uint8_t *compressed = malloc(expected_bytes + 64);
    uint8_t *plain = malloc(expected_bytes + 64);
    z_stream stream = {.next_in = compressed, .next_out = plain, .avail_out = (uInt)expected_bytes + 64};
    stream.avail_in = (uInt)peer_copy_body(peer, compressed, expected_bytes + 64);
    bool same = inflateInit2(&stream, window_bits) == Z_OK && inflate(&stream, Z_FINISH) == Z_STREAM_END &&
                stream.total_out == expected_bytes && memcmp(plain, expected, expected_bytes) == 0;
    inflateEnd(&stream);
    free(compressed);
    free(plain);
    return same;
}

static void compressed_body_is_what_it_says(void) {
    static const size_t sizes[] = {200, 4u << 20, 70000, 300, 1u << 20};
    static uint8_t body[4u << 20];
    for (size_t i = 0; i < sizeof body; i++) {
        body[i] = (uint8_t)(i * i >> 9);
    }
    for (int gzip = 0; gzip < 2; gzip++) {
        gs_peer peer;
        peer_start(&peer, serve_ok, NULL);
        gs_compression compression = gzip ? GS_COMPRESSION_GZIP : GS_COMPRESSION_DEFLATE;
        gs_transport *transport = open_with((gs_transport_config){.url = peer.url, .compression = compression});
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            CHECK_EQ(send_bytes(transport, body, sizes[i]), GS_ANSWER_OK);
            CHECK(answer.sent_bytes < sizes[i]);
            CHECK(decompresses_to(&peer, gzip ? 15 + 16 : 15, body, sizes[i]));
            CHECK(peer_head_contains(&peer,
                                     gzip ? "\r\ncontent-encoding: gzip\r\n" : "\r\ncontent-encoding: deflate\r\n"));
        }
        CHECK_EQ(peer_connections(&peer), 1);
        gs_transport_close(transport);
        peer_stop(&peer);
    }
}

static void body_that_does_not_shrink_is_sent_plain(void) {
    static uint8_t body[300000];
    uint32_t state = 1;
    for (size_t i = 0; i < sizeof body; i++) {
        state = state * 1664525u + 1013904223u;
        body[i] = (uint8_t)(state >> 24);
    }
    gs_peer peer;
    peer_start(&peer, serve_ok, NULL);
    gs_transport *transport = open_with((gs_transport_config){.url = peer.url, .compression = GS_COMPRESSION_GZIP});
    static const size_t sizes[] = {0, 1, 30, sizeof body};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        CHECK_EQ(send_bytes(transport, body, sizes[i]), GS_ANSWER_OK);
        CHECK_EQ(answer.sent_bytes, sizes[i]);
        CHECK(peer_body_is(&peer, body, sizes[i]));
        CHECK(!peer_head_contains(&peer, "content-encoding"));
    }
    gs_transport_close(transport);
    peer_stop(&peer);
}

static void unix_socket_is_used(void) {
    gs_peer peer;
    static const char path[] = "transport.sock"; /* the harness runs each test in a directory of its own */
    peer_start(&peer, serve_ok, path);
    gs_transport *transport =
        open_with((gs_transport_config){.url = "http://collector/v1/traces", .unix_socket = path});
    CHECK_EQ(send_text(transport, "x"), GS_ANSWER_OK);
    CHECK_EQ(send_text(transport, "x"), GS_ANSWER_OK);
    CHECK(peer_head_contains(&peer, "\r\nhost: collector\r\n"));
    CHECK_EQ(peer_connections(&peer), 1);
    gs_transport_close(transport);
    peer_stop(&peer);
    unlink(path);
}

static void environment_is_not_asked(void) {
    gs_peer peer;
    peer_start(&peer, serve_ok, NULL);
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    gs_transport *transport = open_plain(&peer);
    CHECK_EQ(send_text(transport, "x"), GS_ANSWER_OK);
    gs_transport_close(transport);
    /* nor about exceptions from a proxy that was given */
    setenv("no_proxy", "*", 1);
    transport = open_with((gs_transport_config){.url = "http://collector.invalid:4318/v1/traces", .proxy = peer.url});
    CHECK_EQ(send_text(transport, "x"), GS_ANSWER_OK);
    CHECK(peer_head_contains(&peer, "POST http://collector.invalid:4318/v1/traces HTTP/1.1\r\n"));
    gs_transport_close(transport);
    unsetenv("http_proxy");
    unsetenv("all_proxy");
    unsetenv("no_proxy");
    peer_stop(&peer);
}

static void serve_no_tunnel(gs_peer *self, int fd) {
    while (peer_read_request(self, fd)) {
        peer_say(self, fd, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
    }
}

static void tunnel_that_is_refused_is_no_answer(void) {
    gs_peer peer;
    peer_start(&peer, serve_no_tunnel, NULL);
    gs_transport *transport =
        open_with((gs_transport_config){.url = "https://collector.invalid:4318/v1/traces", .proxy = peer.url});
    CHECK_EQ(send_text(transport, "x"), GS_ANSWER_UNREACHABLE);
    CHECK_EQ(answer.http_status, 0);
    CHECK_EQ(answer.sent_bytes, 0);
    CHECK(peer_head_contains(&peer, "CONNECT collector.invalid:4318 HTTP/1.1\r\n"));
    gs_transport_close(transport);
    peer_stop(&peer);
}

/* -- what is understood -- */

static void serve_statuses(gs_peer *self, int fd) {
    static const char *const answers[] = {
        "HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: /v1/traces\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n" OK_HEAD "Content-Length: 4\r\n\r\n\x0a\x02\x08\x05",
        OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\n\x0a\x02\r\n2\r\n\x08\x06\r\n0\r\n\r\n",
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nwrong",
    };
    for (size_t i = 0; i < sizeof answers / sizeof answers[0] && peer_read_request(self, fd); i++) {
        peer_say(self, fd, answers[i]);
    }
    peer_wait_gone(self, fd);
}

static void answers_are_understood_on_one_connection(void) {
    gs_peer peer;
    peer_start(&peer, serve_statuses, NULL);
    gs_transport *transport = open_plain(&peer);
    CHECK_EQ(send_text(transport, "1"), GS_ANSWER_RETRY);
    CHECK_EQ(answer.retry_after_ns, 3 * GS_NS_PER_S);
    CHECK_EQ(send_text(transport, "2"), GS_ANSWER_TOO_LARGE);
    CHECK_EQ(send_text(transport, "3"), GS_ANSWER_REJECTED);
    CHECK_EQ(answer.http_status, 302);
    CHECK_EQ(peer_requests(&peer), 3); /* not followed */
    CHECK_EQ(send_text(transport, "4"), GS_ANSWER_OK);
    CHECK_EQ(answer.rejected_spans, 5);
    CHECK_EQ(send_text(transport, "5"), GS_ANSWER_OK);
    CHECK_EQ(answer.rejected_spans, 6);
    CHECK_EQ(send_text(transport, "6"), GS_ANSWER_REJECTED);
    CHECK_STR_EQ(answer.text, "HTTP 400 Bad Request: wrong");
    CHECK_EQ(peer_connections(&peer), 1);
    gs_transport_close(transport);
    peer_stop(&peer);
}

/* -- nothing is sent twice -- */

static void serve_one_then_reset(gs_peer *self, int fd) {
    if (peer_read_request(self, fd)) {
        peer_say(self, fd, OK_HEAD "Content-Length: 0\r\n\r\n");
        peer_read_request(self, fd);
        peer_reset(fd);
    }
}

static void serve_one_then_close(gs_peer *self, int fd) {
    if (peer_read_request(self, fd)) {
        peer_say(self, fd, OK_HEAD "Content-Length: 0\r\n\r\n");
        peer_read_request(self, fd);
    }
}

static void request_lost_on_a_reused_connection_is_stale(void) {
    static const peer_serve serves[] = {serve_one_then_reset, serve_one_then_close};
    static uint8_t large[1u << 20];
    for (size_t i = 0; i < 2; i++) {
        gs_peer peer;
        peer_start(&peer, serves[i], NULL);
        gs_transport *transport = open_plain(&peer);
        for (int round = 0; round < 3; round++) {
            CHECK_EQ(send_text(transport, "new connection"), GS_ANSWER_OK);
            CHECK_EQ(send_bytes(transport, large, round == 2 ? sizeof large : 100), GS_ANSWER_STALE);
            CHECK_EQ(answer.http_status, 0);
            CHECK_EQ(peer_requests(&peer), 2 * round + 2);
            CHECK_EQ(peer_connections(&peer), round + 1);
        }
        gs_transport_close(transport);
        peer_stop(&peer);
    }
}

static void serve_close_after_answer(gs_peer *self, int fd) {
    if (peer_read_request(self, fd)) {
        peer_say(self, fd, OK_HEAD "Content-Length: 0\r\n\r\n");
    }
}

static void connection_closed_while_idle_is_replaced(void) {
    gs_peer peer;
    peer_start(&peer, serve_close_after_answer, NULL);
    gs_transport *transport = open_plain(&peer);
    int answered = 0, stale = 0;
    for (int i = 0; i < 50; i++) {
        gs_answer_kind kind = send_text(transport, "x");
        /* OK: seen closed before the request was written. STALE: written into the close. Nothing else may come of it.
         * */
        answered += kind == GS_ANSWER_OK;
        stale += kind == GS_ANSWER_STALE;
    }
    CHECK_EQ(answered + stale, 50);
    CHECK(answered >= 25); /* after each STALE comes a new connection */
    CHECK_EQ(peer_requests(&peer), answered);
    gs_transport_close(transport);
    peer_stop(&peer);
}

static void child_of_a_fork_leaves_the_connection_alone(void) {
    gs_peer peer;
    peer_start(&peer, serve_ok, NULL);
    gs_transport *transport = open_plain(&peer);
    CHECK_EQ(send_text(transport, "before"), GS_ANSWER_OK);
    pid_t child = fork();
    if (child == 0) {
        gs_transport_abandon(transport);
        _exit(7);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    CHECK_EQ(send_text(transport, "after"), GS_ANSWER_OK);
    CHECK_EQ(peer_connections(&peer), 1);
    gs_transport_close(transport);
    peer_stop(&peer);
}

/* -- set-up -- */

static void url_that_can_never_work_is_refused(void) {
    static const char *const urls[] = {NULL,          "",           "localhost:4318", "ftp://localhost/", "http://",
                                       "http://a b/", "file:///etc"};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        gs_transport *transport = (gs_transport *)&answer;
        gs_transport_config config = {.url = urls[i]};
        char text[64] = "";
        CHECK_EQ(gs_transport_open(&transport, &config, text, sizeof text), EINVAL);
        CHECK(transport == NULL);
        CHECK(text[0] != '\0');
        CHECK_EQ(gs_transport_open(&transport, &config, NULL, 0), EINVAL);
    }
    gs_transport_close(NULL);
    gs_transport_abandon(NULL);
}

static void nobody_there_is_unreachable(void) {
    gs_peer peer;
    peer_start(&peer, serve_ok, NULL);
    gs_transport *transport = open_plain(&peer);
    peer_stop(&peer);
    CHECK_EQ(send_text(transport, "x"), GS_ANSWER_UNREACHABLE);
    CHECK_EQ(answer.sent_bytes, 0);
    CHECK(strstr(answer.text, "127.0.0.1") != NULL);
    gs_transport_close(transport);
}

CHECK_MAIN(CHECK_TEST(request_arrives_as_it_was_given), CHECK_TEST(connection_is_used_again),
           CHECK_TEST(compressed_body_is_what_it_says), CHECK_TEST(body_that_does_not_shrink_is_sent_plain),
           CHECK_TEST(unix_socket_is_used), CHECK_TEST(environment_is_not_asked),
           CHECK_TEST(tunnel_that_is_refused_is_no_answer), CHECK_TEST(answers_are_understood_on_one_connection),
           CHECK_TEST(request_lost_on_a_reused_connection_is_stale),
           CHECK_TEST(connection_closed_while_idle_is_replaced),
           CHECK_TEST(child_of_a_fork_leaves_the_connection_alone), CHECK_TEST(url_that_can_never_work_is_refused),
           CHECK_TEST(nobody_there_is_unreachable))
