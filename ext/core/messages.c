#include "messages.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"

/* Upstream's DuplicateFilter lets the same record through once in 20 s. */
#define QUIET_NS (20 * GS_NS_PER_S)

void gs_messages_init(gs_messages *self) {
    memset(self, 0, sizeof *self);
    pthread_mutex_init(&self->lock, NULL);
}

/* lock held */
__attribute__((format(printf, 4, 0))) static void put(gs_messages *self, gs_message_kind kind, gs_message_level level,
                                                      const char *format, va_list arguments) {
    gs_message_slot *slot = &self->slots[kind];
    int64_t now_ns = gs_now_ns();
    if (slot->pending || now_ns < slot->quiet_until_ns) {
        slot->suppressed++;
        return;
    }
    slot->quiet_until_ns = gs_deadline_after(now_ns, QUIET_NS);
    slot->message.kind = kind;
    slot->message.level = level;
    slot->message.suppressed = slot->suppressed;
    slot->suppressed = 0;
    (void)vsnprintf(slot->message.text, sizeof slot->message.text, format, arguments);
    slot->pending = true;
    /* relaxed: a hint to look; the message itself is published by the lock. */
    atomic_store_explicit(&self->waiting, true, memory_order_relaxed);
}

void gs_messages_say(gs_messages *self, gs_message_kind kind, gs_message_level level, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&self->lock);
    put(self, kind, level, format, arguments);
    pthread_mutex_unlock(&self->lock);
    va_end(arguments);
}

void gs_messages_try_say(gs_messages *self, gs_message_kind kind, gs_message_level level, const char *format, ...) {
    if (pthread_mutex_trylock(&self->lock) != 0) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    put(self, kind, level, format, arguments);
    va_end(arguments);
    pthread_mutex_unlock(&self->lock);
}

bool gs_messages_waiting(const gs_messages *self) {
    /* relaxed: a hint to look; a message that is missed now is found at the next look. */
    return atomic_load_explicit(&self->waiting, memory_order_relaxed);
}

bool gs_messages_try_next(gs_messages *self, gs_message *message) {
    if (pthread_mutex_trylock(&self->lock) != 0) {
        return false;
    }
    bool found = false;
    bool more = false;
    for (int kind = 0; kind < GS_MESSAGE_KINDS; kind++) {
        gs_message_slot *slot = &self->slots[kind];
        if (slot->pending && !found) {
            *message = slot->message;
            slot->pending = false;
            found = true;
        } else if (slot->pending) {
            more = true;
        }
    }
    /* relaxed: a hint, set and cleared under the lock only. */
    atomic_store_explicit(&self->waiting, more, memory_order_relaxed);
    pthread_mutex_unlock(&self->lock);
    return found;
}
