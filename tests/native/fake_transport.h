/* A transport that answers as a test has told it to, in place of transport.c: include it in one C file of the program.
 *
 * Before each answer it counts the spans in the body by walking the message's fields, so that what reaches the
 * "collector" is counted independently of what the exporter believes.
 */
#ifndef GS_TESTS_FAKE_TRANSPORT_H
#define GS_TESTS_FAKE_TRANSPORT_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "transport.h"

struct gs_transport {
    bool interrupted;
};

#define FAKE_MAX_SCRIPT 16

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    gs_answer script[FAKE_MAX_SCRIPT]; /* the first answers; then OK */
    size_t script_length, script_at;
    uint64_t most_spans; /* more in one request: GS_ANSWER_TOO_LARGE; 0: any number */
    bool hang;           /* until interrupted, released or timed out */
    int open_error;
    uint64_t requests, accepted_spans, largest_spans;
    uint64_t opened, closed, abandoned;
    bool malformed;
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static uint64_t fake_varint(const uint8_t **at, const uint8_t *end) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (*at == end) {
            fake.malformed = true;
            return 0;
        }
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return value;
        }
    }
    fake.malformed = true;
    return 0;
}

/* Counts the fields `path[0]` / `path[1]` / ... of nested length-delimited fields. */
static uint64_t fake_count(const uint8_t *at, size_t bytes, const uint32_t *path, size_t depth) {
    const uint8_t *end = at + bytes;
    uint64_t count = 0;
    while (at < end && !fake.malformed) {
        uint64_t tag = fake_varint(&at, end);
        uint64_t length = fake_varint(&at, end);
        if ((tag & 7) != 2 || length > (uint64_t)(end - at)) {
            fake.malformed = true;
            return count;
        }
        if (tag >> 3 == path[0]) {
            count += depth == 1 ? 1 : fake_count(at, (size_t)length, path + 1, depth - 1);
        }
        at += length;
    }
    return count;
}

static void fake_reset(void) {
    pthread_mutex_lock(&fake.lock);
    fake.script_length = fake.script_at = 0;
    fake.most_spans = fake.requests = fake.accepted_spans = fake.largest_spans = 0;
    fake.opened = fake.closed = fake.abandoned = 0;
    fake.hang = fake.malformed = false;
    fake.open_error = 0;
    pthread_mutex_unlock(&fake.lock);
}

static void fake_answer(gs_answer_kind kind, int64_t retry_after_ns, int64_t rejected_spans) {
    pthread_mutex_lock(&fake.lock);
    fake.script[fake.script_length++] = (gs_answer){
        .kind = kind, .grpc_status = -1, .retry_after_ns = retry_after_ns, .rejected_spans = rejected_spans};
    pthread_mutex_unlock(&fake.lock);
}

static void fake_set_hang(bool hang) {
    pthread_mutex_lock(&fake.lock);
    fake.hang = hang;
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.lock);
}

static uint64_t fake_accepted(void) {
    pthread_mutex_lock(&fake.lock);
    uint64_t accepted = fake.accepted_spans;
    pthread_mutex_unlock(&fake.lock);
    return accepted;
}

/* Waits until `requests` requests have arrived, at most 10 s. */
static bool fake_wait_requests(uint64_t requests) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    pthread_mutex_lock(&fake.lock);
    while (fake.requests < requests && pthread_cond_timedwait(&fake.changed, &fake.lock, &until) == 0) {
    }
    bool arrived = fake.requests >= requests;
    pthread_mutex_unlock(&fake.lock);
    return arrived;
}

int gs_transport_open(gs_transport **self, const gs_transport_config *config, char *error_text,
                      size_t error_text_bytes) {
    (void)config;
    pthread_mutex_lock(&fake.lock);
    int error = fake.open_error;
    fake.opened++;
    pthread_mutex_unlock(&fake.lock);
    if (error != 0) {
        (void)snprintf(error_text, error_text_bytes, "told to fail");
        return error;
    }
    *self = calloc(1, sizeof **self);
    return *self == NULL ? ENOMEM : 0;
}

void gs_transport_send(gs_transport *self, const uint8_t *body, size_t body_bytes, int64_t deadline_ns,
                       gs_answer *answer) {
    static const uint32_t spans_path[] = {1, 2, 2};
    pthread_mutex_lock(&fake.lock);
    uint64_t spans = fake_count(body, body_bytes, spans_path, 3);
    fake.requests++;
    fake.largest_spans = spans > fake.largest_spans ? spans : fake.largest_spans;
    pthread_cond_broadcast(&fake.changed);
    *answer = (gs_answer){.kind = GS_ANSWER_OK, .grpc_status = -1, .retry_after_ns = -1, .sent_bytes = body_bytes};
    while (fake.hang && !self->interrupted && gs_now_ns() < deadline_ns) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 5 * GS_NS_PER_MS;
        until.tv_sec += until.tv_nsec / GS_NS_PER_S;
        until.tv_nsec %= GS_NS_PER_S;
        pthread_cond_timedwait(&fake.changed, &fake.lock, &until);
    }
    if (self->interrupted) {
        answer->kind = GS_ANSWER_INTERRUPTED;
    } else if (gs_now_ns() >= deadline_ns) {
        answer->kind = GS_ANSWER_TIMEOUT;
    } else if (fake.most_spans > 0 && spans > fake.most_spans) {
        answer->kind = GS_ANSWER_TOO_LARGE;
    } else if (fake.script_at < fake.script_length) {
        *answer = fake.script[fake.script_at++];
    }
    if (answer->kind == GS_ANSWER_OK) {
        fake.accepted_spans += spans - (uint64_t)answer->rejected_spans;
    }
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.lock);
}

void gs_transport_interrupt(gs_transport *self) {
    pthread_mutex_lock(&fake.lock);
    self->interrupted = true;
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.lock);
}

void gs_transport_close(gs_transport *self) {
    pthread_mutex_lock(&fake.lock);
    fake.closed++;
    pthread_mutex_unlock(&fake.lock);
    free(self);
}

void gs_transport_abandon(gs_transport *self) {
    (void)self;
    fake.abandoned++; /* after fork, in the child: one thread, and the lock may be held by one that is gone */
}

#endif /* GS_TESTS_FAKE_TRANSPORT_H */
