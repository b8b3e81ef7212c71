/* transport_peer.h - a collector on a loopback or unix socket, that behaves or misbehaves as a test tells it to.
 *
 * One thread accepts, and each connection is served by the test's function on a thread of its own; whatever that
 * function waits for ends when the peer is stopped. What the newest request contained is kept and read under a lock.
 */
#ifndef GS_TESTS_TRANSPORT_PEER_H
#define GS_TESTS_TRANSPORT_PEER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct gs_peer gs_peer;

#define PEER_MAX_CONNECTIONS 1024 /* in the life of a peer */

/* Serves one accepted connection; the peer closes it afterwards. */
typedef void (*peer_serve)(gs_peer *self, int fd);

struct gs_peer {
    peer_serve serve;
    int listen_fd;
    int stop_pipe[2];
    pthread_t acceptor;
    pthread_t servers[PEER_MAX_CONNECTIONS]; /* acceptor only, until it has ended */
    char url[160];                           /* http://127.0.0.1:PORT/v1/traces */
    uint16_t port;
    _Atomic int connections;
    _Atomic int requests; /* that were read to their end */

    pthread_mutex_t lock; /* of what follows: the last request */
    char head[8192];
    uint8_t *body;
    size_t body_bytes;
};

/* Listens on a free port, or at unix_path if that is not NULL. Ends the program when it cannot. */
void peer_start(gs_peer *self, peer_serve serve, const char *unix_path);
void peer_stop(gs_peer *self);

/* On the peer's thread. All give up when the peer is stopped or the client is gone. */
bool peer_read(gs_peer *self, int fd, void *to, size_t bytes);
bool peer_read_request(gs_peer *self, int fd); /* HTTP/1.1 with a Content-Length */
void peer_keep(gs_peer *self, const char *head, size_t head_bytes, const void *body, size_t body_bytes);
void peer_write(gs_peer *self, int fd, const void *bytes, size_t length);
void peer_say(gs_peer *self, int fd, const char *text);
bool peer_wait_readable(gs_peer *self, int fd, int timeout_ms); /* false: stopped, or the time is over */
bool peer_is_idle(gs_peer *self, int fd, int for_ms);           /* for so long neither readable nor stopped */
void peer_wait_gone(gs_peer *self, int fd);                     /* reads and forgets until the client closes */
void peer_reset(int fd);                                        /* the close that follows sends a reset */

/* On the test's thread: whether the last request's head contains `needle`, and whether its body is this one. */
bool peer_head_contains(gs_peer *self, const char *needle);
bool peer_body_is(gs_peer *self, const void *body, size_t body_bytes);
size_t peer_copy_body(gs_peer *self, void *to, size_t room);
int peer_connections(gs_peer *self);
int peer_requests(gs_peer *self);

#endif
