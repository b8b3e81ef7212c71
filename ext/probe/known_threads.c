#include "known_threads.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Power of two; with a quarter of them free, a look-up takes a step or two. */
#define PLACES 4096u

struct gs_known_threads {
    uint32_t count;
    uint32_t last_number;
    gs_known_thread places[PLACES];
};

static_assert(GS_KNOWN_THREADS < PLACES, "a look-up ends at a free place");

gs_known_threads *gs_known_threads_new(void) {
    return calloc(1, sizeof(gs_known_threads));
}

void gs_known_threads_free(gs_known_threads *self) {
    for (uint32_t at = 0; self != NULL && at < PLACES; at++) {
        free(self->places[at].name);
    }
    free(self);
}

/* The place of a thread, or the free one that it would get: neighbours by number are neighbours here. */
static uint32_t place_of(const gs_known_threads *self, uint32_t number) {
    uint32_t at = number % PLACES;
    while (self->places[at].number != 0 && self->places[at].number != number) {
        at = (at + 1) % PLACES;
    }
    return at;
}

/* Frees a place, and moves up those behind it that would not be found past a free one. */
static void forget(gs_known_threads *self, uint32_t free_at) {
    free(self->places[free_at].name);
    self->places[free_at] = (gs_known_thread){0};
    self->count--;
    for (uint32_t at = (free_at + 1) % PLACES; self->places[at].number != 0; at = (at + 1) % PLACES) {
        uint32_t wanted = self->places[at].number % PLACES;
        if ((at - wanted) % PLACES >= (at - free_at) % PLACES) {
            self->places[free_at] = self->places[at];
            self->places[at] = (gs_known_thread){0};
            free_at = at;
        }
    }
}

/* Of the threads up to a number those that have ended. */
static void forget_ended(gs_known_threads *self, uint32_t last_number) {
    uint32_t at = 0;
    while (at < PLACES) {
        const gs_known_thread *thread = &self->places[at];
        if (thread->number != 0 && thread->number <= last_number && thread->ended) {
            forget(self, at); /* another one may be here now */
        } else {
            at++;
        }
    }
}

gs_known_thread *gs_known_threads_find(const gs_known_threads *self, uint32_t number) {
    const gs_known_thread *found = &self->places[place_of(self, number)];
    return number != 0 && found->number == number ? (gs_known_thread *)found : NULL;
}

gs_known_thread *gs_known_threads_add(gs_known_threads *self, uint32_t number) {
    gs_known_thread *found = gs_known_threads_find(self, number);
    if (found != NULL) {
        return found;
    }
    if (self->count == GS_KNOWN_THREADS) {
        /* Those that came last may still be told of. */
        forget_ended(self, self->last_number - GS_KNOWN_THREADS / 4);
    }
    if (self->count == GS_KNOWN_THREADS) {
        forget_ended(self, UINT32_MAX);
    }
    if (self->count == GS_KNOWN_THREADS) {
        return NULL;
    }
    self->count++;
    self->last_number = number > self->last_number ? number : self->last_number;
    found = &self->places[place_of(self, number)];
    found->number = number;
    return found;
}

gs_known_thread *gs_known_threads_next(gs_known_threads *self, const gs_known_thread *before) {
    uint32_t at = before == NULL ? 0 : (uint32_t)(before - self->places) + 1;
    while (at < PLACES && self->places[at].number == 0) {
        at++;
    }
    return at < PLACES ? &self->places[at] : NULL;
}
