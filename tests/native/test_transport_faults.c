/* sources: transport.c answer.c answer_text.c compress.c ./transport_peer.c fork_gate.c */
/* libs: curl z */
/* A send ends by its deadline, or at once when it is interrupted, wherever the other side hangs; what a broken answer
 * is taken for. */
#include "transport.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "transport_peer.h"

#define LONG_NS  (20 * GS_NS_PER_S)
#define SHORT_NS (150 * GS_NS_PER_MS)
/* How late a send may be: what a busy machine, or a sanitizer, may keep a thread from running. A send that waits for
 * the other side instead of the clock is late by seconds. */
#define LATE_NS  (500 * GS_NS_PER_MS)

static gs_answer answer;

static gs_transport *open_with(gs_transport_config config) {
    gs_transport *transport = NULL;
    char text[256] = "";
    config.compression_level = 1; /* verify_peer: no, so that no CA file is needed on the way to a hanging handshake */
    REQUIRE(gs_transport_open(&transport, &config, text, sizeof text) == 0);
    return transport;
}

static gs_transport *open_plain(const gs_peer *peer) {
    return open_with((gs_transport_config){.url = peer->url});
}

static gs_answer_kind send_for(gs_transport *transport, const void *body, size_t body_bytes, int64_t span_ns) {
    memset(&answer, 0x55, sizeof answer);
    int64_t before_ns = gs_now_ns();
    gs_transport_send(transport, body, body_bytes, before_ns + span_ns, &answer);
    CHECK(gs_now_ns() - before_ns < LATE_NS + (span_ns > 0 ? span_ns : 0));
    return answer.kind;
}

static gs_answer_kind send_short(gs_transport *transport) {
    gs_answer_kind kind = send_for(transport, "x", 1, SHORT_NS);
    CHECK_EQ(answer.retry_after_ns, -1);
    return kind;
}

static gs_answer_kind send_long(gs_transport *transport) {
    return send_for(transport, "x", 1, LONG_NS);
}

/* -- name look-ups that hang: libcurl's call of getaddrinfo comes here -- */

static pthread_mutex_t resolver_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t resolver_changed = PTHREAD_COND_INITIALIZER;
static bool resolver_hangs;
static int resolvers_running;

int getaddrinfo(const char *restrict node, const char *restrict service, const struct addrinfo *restrict hints,
                struct addrinfo **restrict found) {
    (void)node, (void)service, (void)hints, (void)found;
    pthread_mutex_lock(&resolver_lock);
    resolvers_running++;
    pthread_cond_broadcast(&resolver_changed);
    while (resolver_hangs) {
        pthread_cond_wait(&resolver_changed, &resolver_lock);
    }
    resolvers_running--;
    pthread_cond_broadcast(&resolver_changed);
    pthread_mutex_unlock(&resolver_lock);
    return EAI_NONAME;
}

static void set_resolver_hangs(bool hangs) {
    pthread_mutex_lock(&resolver_lock);
    resolver_hangs = hangs;
    pthread_cond_broadcast(&resolver_changed);
    pthread_mutex_unlock(&resolver_lock);
}

/* One look-up may be several calls. */
static void wait_for_resolvers(bool running) {
    pthread_mutex_lock(&resolver_lock);
    while ((resolvers_running > 0) != running) {
        pthread_cond_wait(&resolver_changed, &resolver_lock);
    }
    pthread_mutex_unlock(&resolver_lock);
}

static void name_server_that_hangs_times_out(void) {
    set_resolver_hangs(true);
    gs_transport *transport = open_with((gs_transport_config){.url = "http://collector.invalid:4318/v1/traces"});
    CHECK_EQ(send_short(transport), GS_ANSWER_TIMEOUT);
    CHECK_EQ(answer.sent_bytes, 0);
    CHECK_STR_EQ(answer.text, "no connection before the deadline");
    CHECK_EQ(send_short(transport), GS_ANSWER_TIMEOUT);
    int64_t before_ns = gs_now_ns();
    gs_transport_close(transport);
    CHECK(gs_now_ns() - before_ns < LATE_NS);
    set_resolver_hangs(false);
    wait_for_resolvers(false);
}

static void name_that_does_not_exist_is_unreachable(void) {
    gs_transport *transport = open_with((gs_transport_config){.url = "http://collector.invalid:4318/v1/traces"});
    CHECK_EQ(send_long(transport), GS_ANSWER_UNREACHABLE);
    CHECK(strstr(answer.text, "collector.invalid") != NULL);
    gs_transport_close(transport);
}

/* -- peers that hang -- */

static void serve_silence(gs_peer *self, int fd) {
    peer_wait_gone(self, fd);
}

static void serve_deaf(gs_peer *self, int fd) {
    (void)fd;
    peer_wait_readable(self, self->stop_pipe[0], -1); /* until it is stopped */
}

static void serve_dripping_head(gs_peer *self, int fd) {
    if (peer_read_request(self, fd)) {
        for (const char *at =
                 "HTTP/1.1 200 OK\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
             *at != '\0'; at++) {
            peer_write(self, fd, at, 1);
            if (!peer_is_idle(self, fd, 10)) { /* the client has closed */
                return;
            }
        }
        peer_wait_gone(self, fd);
    }
}

static void serve_dripping_body(gs_peer *self, int fd) {
    if (peer_read_request(self, fd)) {
        peer_say(self, fd, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        do {
            peer_write(self, fd, "x", 1);
        } while (peer_is_idle(self, fd, 10));
    }
}

static void peer_that_hangs_times_out(void) {
    static uint8_t large[32u << 20];
    static const struct {
        peer_serve serve;
        bool https, grpc;
        size_t body_bytes;
        const char *text;
    } table[] = {
        {serve_silence, false, false, 1, "no answer before the deadline"},
        {serve_silence, false, true, 1, "no answer before the deadline"},
        {serve_silence, true, false, 1, "no connection before the deadline"}, /* the TLS handshake hangs */
        {serve_silence, true, true, 1, "no connection before the deadline"},
        {serve_deaf, false, false, sizeof large, "no answer before the deadline"},
        {serve_deaf, false, true, sizeof large / 16, "no answer before the deadline"},
        {serve_dripping_head, false, false, 1, "no answer before the deadline"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        gs_peer peer;
        char url[64];
        peer_start(&peer, table[i].serve, NULL);
        snprintf(url, sizeof url, "http%s://127.0.0.1:%u/v1/traces", table[i].https ? "s" : "", peer.port);
        gs_transport *transport = open_with(
            (gs_transport_config){.url = url, .protocol = table[i].grpc ? GS_PROTOCOL_GRPC : GS_PROTOCOL_HTTP});
        if (!CHECK_EQ(send_for(transport, large, table[i].body_bytes, SHORT_NS), GS_ANSWER_TIMEOUT)) {
            printf("    row %zu: %s\n", i, answer.text);
        }
        CHECK_STR_EQ(answer.text, table[i].text);
        gs_transport_close(transport);
        peer_stop(&peer);
    }
}

static void proxy_that_hangs_times_out(void) {
    gs_peer peer;
    peer_start(&peer, serve_silence, NULL);
    gs_transport *transport =
        open_with((gs_transport_config){.url = "https://collector.invalid/v1/traces", .proxy = peer.url});
    CHECK_EQ(send_short(transport), GS_ANSWER_TIMEOUT);
    CHECK_STR_EQ(answer.text, "no connection before the deadline");
    gs_transport_close(transport);
    peer_stop(&peer);
}

/* A socket that nobody accepts from, with its queue full, drops what comes: as an address behind a firewall does. */
static void connection_that_is_never_answered_times_out(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_bytes = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), clients[4];
    REQUIRE(bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 0) == 0);
    REQUIRE(getsockname(listener, (struct sockaddr *)&address, &address_bytes) == 0);
    for (size_t i = 0; i < 4; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        int result = connect(clients[i], (struct sockaddr *)&address, sizeof address);
        REQUIRE(result == 0 || clients[i] >= 0);
    }
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/v1/traces", ntohs(address.sin_port));
    gs_transport *transport = open_with((gs_transport_config){.url = url});
    CHECK_EQ(send_short(transport), GS_ANSWER_TIMEOUT);
    CHECK_STR_EQ(answer.text, "no connection before the deadline");
    gs_transport_close(transport);
    for (size_t i = 0; i < 4; i++) {
        close(clients[i]);
    }
    close(listener);
}

static void deadline_that_is_over_sends_nothing(void) {
    gs_peer peer;
    peer_start(&peer, serve_silence, NULL);
    gs_transport *transport = open_plain(&peer);
    CHECK_EQ(send_for(transport, "x", 1, 0), GS_ANSWER_TIMEOUT);
    CHECK_EQ(send_for(transport, "x", 1, -GS_NS_PER_S), GS_ANSWER_TIMEOUT);
    CHECK_EQ(answer.sent_bytes, 0);
    CHECK_EQ(peer_connections(&peer), 0);
    gs_transport_close(transport);
    peer_stop(&peer);
}

static void status_decides_though_the_body_hangs(void) {
    gs_peer peer;
    peer_start(&peer, serve_dripping_body, NULL);
    gs_transport *transport = open_plain(&peer);
    CHECK_EQ(send_short(transport), GS_ANSWER_OK);
    CHECK_EQ(answer.http_status, 200);
    gs_transport_close(transport);
    peer_stop(&peer);
}

/* -- broken answers on a new connection -- */

static const char *canned;
static size_t canned_bytes;

static void serve_canned_and_close(gs_peer *self, int fd) {
    if (peer_read_request(self, fd)) {
        peer_write(self, fd, canned, canned_bytes);
    }
}

static void broken_answer_is_unreachable_or_decided(void) {
    static const struct {
        const char *answer;
        gs_answer_kind kind;
    } table[] = {
        {"", GS_ANSWER_UNREACHABLE},
        {"HTT", GS_ANSWER_UNREACHABLE},
        {"HTTP/1.1 200 OK\r\nContent-Le", GS_ANSWER_UNREACHABLE},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", GS_ANSWER_OK},
        {"HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nab", GS_ANSWER_RETRY},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", GS_ANSWER_OK},
        {"HTTP/1.1 100 Continue\r\n\r\n", GS_ANSWER_UNREACHABLE},
        {"SSH-2.0-OpenSSH_9.2p1\r\n", GS_ANSWER_UNREACHABLE},
        {"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", GS_ANSWER_UNREACHABLE},
        {"HTTP/9.9 200 OK\r\n\r\n", GS_ANSWER_UNREACHABLE},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        gs_peer peer;
        canned = table[i].answer;
        canned_bytes = i == 8 ? 24 : strlen(canned);
        peer_start(&peer, serve_canned_and_close, NULL);
        gs_transport *transport = open_plain(&peer);
        if (!CHECK_EQ(send_long(transport), table[i].kind)) {
            printf("    row %zu: %s\n", i, answer.text);
        }
        CHECK_EQ(peer_connections(&peer), 1);
        CHECK_EQ(peer_requests(&peer), 1);
        gs_transport_close(transport);
        peer_stop(&peer);
    }
}

static void serve_endless_head(gs_peer *self, int fd) {
    if (peer_read_request(self, fd)) {
        peer_say(self, fd, "HTTP/1.1 200 OK\r\n");
        for (int i = 0; i < 40000 && peer_is_idle(self, fd, 0); i++) {
            peer_say(self, fd,
                     "X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n");
        }
        peer_wait_gone(self, fd);
    }
}

static void serve_endless_body(gs_peer *self, int fd) {
    static const char zeros[65536];
    if (peer_read_request(self, fd)) {
        peer_say(self, fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while (peer_is_idle(self, fd, 0)) {
            peer_write(self, fd, zeros, sizeof zeros);
        }
    }
}

static void endless_answer_is_ended(void) {
    gs_peer peer;
    peer_start(&peer, serve_endless_head, NULL);
    gs_transport *transport = open_plain(&peer);
    gs_answer_kind kind = send_long(transport);
    /* Our limit, or the one that newer versions of libcurl have themselves. */
    CHECK(kind == GS_ANSWER_REJECTED || kind == GS_ANSWER_UNREACHABLE);
    gs_transport_close(transport);
    peer_stop(&peer);
    peer_start(&peer, serve_endless_body, NULL);
    transport = open_plain(&peer);
    CHECK_EQ(send_long(transport), GS_ANSWER_OK);
    gs_transport_close(transport);
    peer_stop(&peer);
}

/* -- interrupt -- */

static void *interrupt(void *context) {
    gs_transport_interrupt(context);
    return NULL;
}

static void interrupt_before_a_send_is_kept(void) {
    gs_peer peer;
    peer_start(&peer, serve_silence, NULL);
    gs_transport *transport = open_plain(&peer);
    gs_transport_interrupt(transport);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(send_long(transport), GS_ANSWER_INTERRUPTED);
    }
    CHECK_EQ(peer_connections(&peer), 0);
    gs_transport_close(transport);
    peer_stop(&peer);
}

/* The interrupt comes at every moment of a send, by chance: before it, between two polls, in one. */
static void interrupt_ends_a_send_at_any_moment(void) {
    gs_peer peer;
    peer_start(&peer, serve_silence, NULL);
    for (int i = 0; i < 300; i++) {
        gs_transport *transport = open_plain(&peer);
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, interrupt, transport) == 0);
        for (volatile int spin = 0; spin < (i % 30) * 1000; spin++) {
        }
        int64_t before_ns = gs_now_ns();
        gs_answer_kind kind = send_long(transport);
        pthread_join(thread, NULL);
        CHECK_EQ(kind, GS_ANSWER_INTERRUPTED);
        CHECK(gs_now_ns() - before_ns < LATE_NS);
        gs_transport_close(transport);
    }
    peer_stop(&peer);
}

static void *interrupt_when_connected(void *context) {
    void **arguments = context;
    while (peer_connections(arguments[1]) == 0) {
        usleep(100);
    }
    gs_transport_interrupt(arguments[0]);
    return NULL;
}

static void interrupt_ends_a_wait_for_the_answer(void) {
    gs_peer peer;
    peer_start(&peer, serve_silence, NULL);
    gs_transport *transport = open_plain(&peer);
    pthread_t thread;
    void *arguments[] = {transport, &peer};
    REQUIRE(pthread_create(&thread, NULL, interrupt_when_connected, arguments) == 0);
    CHECK_EQ(send_long(transport), GS_ANSWER_INTERRUPTED);
    pthread_join(thread, NULL);
    gs_transport_close(transport);
    peer_stop(&peer);
}

static void *interrupt_when_resolving(void *context) {
    wait_for_resolvers(true);
    gs_transport_interrupt(context);
    return NULL;
}

static void interrupt_ends_a_name_look_up(void) {
    set_resolver_hangs(true);
    gs_transport *transport = open_with((gs_transport_config){.url = "http://collector.invalid:4318/v1/traces"});
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, interrupt_when_resolving, transport) == 0);
    int64_t before_ns = gs_now_ns();
    CHECK_EQ(send_long(transport), GS_ANSWER_INTERRUPTED);
    pthread_join(thread, NULL);
    gs_transport_close(transport);
    CHECK(gs_now_ns() - before_ns < LATE_NS);
    set_resolver_hangs(false);
    wait_for_resolvers(false);
}

CHECK_MAIN(CHECK_TEST(name_server_that_hangs_times_out), CHECK_TEST(name_that_does_not_exist_is_unreachable),
           CHECK_TEST(peer_that_hangs_times_out), CHECK_TEST(proxy_that_hangs_times_out),
           CHECK_TEST(connection_that_is_never_answered_times_out), CHECK_TEST(deadline_that_is_over_sends_nothing),
           CHECK_TEST(status_decides_though_the_body_hangs), CHECK_TEST(broken_answer_is_unreachable_or_decided),
           CHECK_TEST(endless_answer_is_ended), CHECK_TEST(interrupt_before_a_send_is_kept),
           CHECK_TEST(interrupt_ends_a_send_at_any_moment), CHECK_TEST(interrupt_ends_a_wait_for_the_answer),
           CHECK_TEST(interrupt_ends_a_name_look_up))
