#include "transport_peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define GIVE_UP_MS 30000 /* a test that hangs ends by itself */

static void need(bool condition, const char *what) {
    if (!condition) {
        perror(what);
        exit(EXIT_FAILURE);
    }
}

bool peer_wait_readable(gs_peer *self, int fd, int timeout_ms) {
    struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = self->stop_pipe[0], .events = POLLIN}};
    int ready = poll(fds, 2, timeout_ms);
    return ready > 0 && fds[1].revents == 0;
}

bool peer_is_idle(gs_peer *self, int fd, int for_ms) {
    struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = self->stop_pipe[0], .events = POLLIN}};
    return poll(fds, 2, for_ms) == 0;
}

bool peer_read(gs_peer *self, int fd, void *to, size_t bytes) {
    for (size_t done = 0; done < bytes;) {
        if (!peer_wait_readable(self, fd, GIVE_UP_MS)) {
            return false;
        }
        ssize_t got = recv(fd, (char *)to + done, bytes - done, 0);
        if (got <= 0) {
            return false;
        }
        done += (size_t)got;
    }
    return true;
}

void peer_keep(gs_peer *self, const char *head, size_t head_bytes, const void *body, size_t body_bytes) {
    pthread_mutex_lock(&self->lock);
    if (head_bytes >= sizeof self->head) {
        head_bytes = sizeof self->head - 1;
    }
    memcpy(self->head, head, head_bytes);
    self->head[head_bytes] = '\0';
    free(self->body);
    self->body = malloc(body_bytes + 1);
    need(self->body != NULL, "malloc");
    memcpy(self->body, body, body_bytes);
    self->body_bytes = body_bytes;
    pthread_mutex_unlock(&self->lock);
    /* relaxed: a total; what it counts is under the lock */
    atomic_fetch_add_explicit(&self->requests, 1, memory_order_relaxed);
}

bool peer_read_request(gs_peer *self, int fd) {
    char head[8192];
    size_t length = 0;
    while (length < 4 || memcmp(head + length - 4, "\r\n\r\n", 4) != 0) {
        if (length == sizeof head - 1 || !peer_read(self, fd, head + length, 1)) {
            return false;
        }
        length++;
    }
    head[length] = '\0';
    const char *field = strcasestr(head, "\r\ncontent-length:");
    size_t body_bytes = field != NULL ? strtoul(field + 17, NULL, 10) : 0;
    uint8_t *body = malloc(body_bytes + 1);
    need(body != NULL, "malloc");
    bool complete = peer_read(self, fd, body, body_bytes);
    if (complete) {
        peer_keep(self, head, length, body, body_bytes);
    }
    free(body);
    return complete;
}

void peer_write(gs_peer *self, int fd, const void *bytes, size_t length) {
    for (size_t done = 0; done < length;) {
        struct pollfd fds[] = {{.fd = fd, .events = POLLOUT}, {.fd = self->stop_pipe[0], .events = POLLIN}};
        if (poll(fds, 2, GIVE_UP_MS) <= 0 || fds[1].revents != 0) {
            return;
        }
        ssize_t put = send(fd, (const char *)bytes + done, length - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put < 0 && errno != EAGAIN) {
            return;
        }
        done += put > 0 ? (size_t)put : 0;
    }
}

void peer_say(gs_peer *self, int fd, const char *text) {
    peer_write(self, fd, text, strlen(text));
}

void peer_wait_gone(gs_peer *self, int fd) {
    char forgotten[4096];
    while (peer_wait_readable(self, fd, GIVE_UP_MS) && recv(fd, forgotten, sizeof forgotten, 0) > 0) {
    }
}

void peer_reset(int fd) {
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

typedef struct connection {
    gs_peer *peer;
    int fd;
} connection;

static void *serve_one(void *context) {
    connection *self = context;
    self->peer->serve(self->peer, self->fd);
    close(self->fd);
    free(self);
    return NULL;
}

static void *accept_all(void *context) {
    gs_peer *self = context;
    intptr_t count = 0;
    while (count < PEER_MAX_CONNECTIONS && peer_wait_readable(self, self->listen_fd, GIVE_UP_MS)) {
        int fd = accept(self->listen_fd, NULL, NULL);
        if (fd < 0) {
            continue;
        }
        connection *accepted = malloc(sizeof *accepted);
        need(accepted != NULL, "malloc");
        *accepted = (connection){self, fd};
        /* relaxed: a total */
        atomic_fetch_add_explicit(&self->connections, 1, memory_order_relaxed);
        need(pthread_create(&self->servers[count++], NULL, serve_one, accepted) == 0, "pthread_create");
    }
    return (void *)count;
}

void peer_start(gs_peer *self, peer_serve serve, const char *unix_path) {
    memset(self, 0, sizeof *self);
    self->serve = serve;
    pthread_mutex_init(&self->lock, NULL);
    need(pipe(self->stop_pipe) == 0, "pipe");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un unix_address = {.sun_family = AF_UNIX};
    socklen_t address_bytes = sizeof address;
    self->listen_fd = socket(unix_path != NULL ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    need(self->listen_fd >= 0, "socket");
    if (unix_path != NULL) {
        strncpy(unix_address.sun_path, unix_path, sizeof unix_address.sun_path - 1);
        unlink(unix_path);
        need(bind(self->listen_fd, (struct sockaddr *)&unix_address, sizeof unix_address) == 0, "bind");
    } else {
        need(bind(self->listen_fd, (struct sockaddr *)&address, sizeof address) == 0, "bind");
        need(getsockname(self->listen_fd, (struct sockaddr *)&address, &address_bytes) == 0, "getsockname");
    }
    need(listen(self->listen_fd, 16) == 0, "listen");
    self->port = ntohs(address.sin_port);
    snprintf(self->url, sizeof self->url, "http://127.0.0.1:%u/v1/traces", self->port);
    need(pthread_create(&self->acceptor, NULL, accept_all, self) == 0, "pthread_create");
}

void peer_stop(gs_peer *self) {
    need(write(self->stop_pipe[1], "", 1) == 1, "write");
    void *count = NULL;
    pthread_join(self->acceptor, &count);
    for (intptr_t i = 0; i < (intptr_t)count; i++) {
        pthread_join(self->servers[i], NULL);
    }
    close(self->listen_fd);
    close(self->stop_pipe[0]);
    close(self->stop_pipe[1]);
    free(self->body);
    pthread_mutex_destroy(&self->lock);
}

bool peer_head_contains(gs_peer *self, const char *needle) {
    pthread_mutex_lock(&self->lock);
    bool found = strcasestr(self->head, needle) != NULL;
    pthread_mutex_unlock(&self->lock);
    return found;
}

bool peer_body_is(gs_peer *self, const void *body, size_t body_bytes) {
    pthread_mutex_lock(&self->lock);
    bool same = self->body != NULL && self->body_bytes == body_bytes && memcmp(self->body, body, body_bytes) == 0;
    pthread_mutex_unlock(&self->lock);
    return same;
}

size_t peer_copy_body(gs_peer *self, void *to, size_t room) {
    pthread_mutex_lock(&self->lock);
    size_t bytes = self->body_bytes < room ? self->body_bytes : room;
    memcpy(to, self->body, bytes);
    pthread_mutex_unlock(&self->lock);
    return bytes;
}

int peer_connections(gs_peer *self) {
    /* relaxed: a total, of connections that the caller has seen the effect of */
    return atomic_load_explicit(&self->connections, memory_order_relaxed);
}

int peer_requests(gs_peer *self) {
    /* relaxed: as above */
    return atomic_load_explicit(&self->requests, memory_order_relaxed);
}
