#include "flight.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "chunk_writer.h"
#include "core/wire.h"

struct kept {
    struct kept *next;
    size_t bytes;
    bool is_events;
    uint8_t data[];
};

struct gs_flight {
    pthread_mutex_t lock;
    struct kept *first, *last;
    size_t events_bytes, definitions_bytes; /* as they are */
    size_t most_events_bytes, most_definitions_bytes;
};

gs_flight *gs_flight_new(size_t events_bytes, size_t definitions_bytes) {
    gs_flight *self = calloc(1, sizeof *self);
    if (self != NULL) {
        pthread_mutex_init(&self->lock, NULL);
        self->most_events_bytes = events_bytes;
        self->most_definitions_bytes = definitions_bytes;
    }
    return self;
}

static void forget_after(gs_flight *self, struct kept *first, bool all) {
    struct kept *before = first;
    while (before != NULL && before->next != NULL && (all || self->events_bytes > self->most_events_bytes)) {
        struct kept *kept = before->next;
        if (!all && !kept->is_events) {
            before = kept;
            continue;
        }
        before->next = kept->next;
        self->last = kept == self->last ? before : self->last;
        *(kept->is_events ? &self->events_bytes : &self->definitions_bytes) -= kept->bytes;
        free(kept);
    }
}

void gs_flight_free(gs_flight *self) {
    if (self != NULL) {
        forget_after(self, self->first, true);
        free(self->first);
        pthread_mutex_destroy(&self->lock);
        free(self);
    }
}

bool gs_flight_add(gs_flight *self, bool is_events, const void *header, size_t header_bytes, const void *payload,
                   size_t payload_bytes) {
    struct kept *kept = malloc(sizeof *kept + header_bytes + payload_bytes);
    if (kept == NULL) {
        return false;
    }
    kept->next = NULL;
    kept->bytes = header_bytes + payload_bytes;
    kept->is_events = is_events;
    memcpy(kept->data, header, header_bytes);
    memcpy(kept->data + header_bytes, payload, payload_bytes);
    pthread_mutex_lock(&self->lock);
    *(self->last == NULL ? &self->first : &self->last->next) = kept;
    self->last = kept;
    *(is_events ? &self->events_bytes : &self->definitions_bytes) += kept->bytes;
    forget_after(self, self->first, false);
    pthread_mutex_unlock(&self->lock);
    return true;
}

bool gs_flight_is_full(gs_flight *self) {
    pthread_mutex_lock(&self->lock);
    bool full = self->definitions_bytes > self->most_definitions_bytes;
    pthread_mutex_unlock(&self->lock);
    return full;
}

void gs_flight_clear(gs_flight *self) {
    pthread_mutex_lock(&self->lock);
    forget_after(self, self->first, true);
    pthread_mutex_unlock(&self->lock);
}

uint8_t *gs_flight_copy(gs_flight *self, size_t *bytes, uint32_t *chunks) {
    *bytes = 0;
    *chunks = 0;
    pthread_mutex_lock(&self->lock);
    uint8_t *copy = malloc(self->events_bytes + self->definitions_bytes + 1);
    for (const struct kept *kept = self->first; copy != NULL && kept != NULL; kept = kept->next) {
        memcpy(copy + *bytes, kept->data, kept->bytes);
        gs_fixed32_write(copy + *bytes + GS_CHUNK_NUMBER_OFFSET, (*chunks)++);
        *bytes += kept->bytes;
    }
    pthread_mutex_unlock(&self->lock);
    return copy;
}
