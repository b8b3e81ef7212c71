/* messages.h - what a thread without Python has to say, kept until Python fetches it; at most one of a kind every 20 s.
 *
 * | function | who                             | may block                    |
 * |----------|---------------------------------|------------------------------|
 * | say      | the exporter thread             | for the length of a copy     |
 * | try_say  | any, also with the GIL          | never: may lose the message  |
 * | waiting  | any, also with the GIL          | never: one relaxed load      |
 * | try_next | any, also with the GIL          | never: may return false      |
 *
 * fork: gs_messages_init again in the child.
 */
#ifndef GS_MESSAGES_H
#define GS_MESSAGES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum gs_message_kind {
    GS_SAY_QUEUE_FULL = 0,
    GS_SAY_NO_START,
    GS_SAY_RETRY,
    GS_SAY_FAILED,
    GS_SAY_PARTIAL,
    GS_SAY_SPLIT,
    GS_MESSAGE_KINDS,
} gs_message_kind;

typedef enum gs_message_level {
    GS_MESSAGE_DEBUG = 10,
    GS_MESSAGE_WARNING = 30,
    GS_MESSAGE_ERROR = 40
} gs_message_level;

typedef struct gs_message {
    gs_message_kind kind;
    gs_message_level level; /* as Python's logging counts them */
    uint32_t suppressed;    /* of this kind, between the one before and this one */
    char text[384];         /* UTF-8, one line */
} gs_message;

typedef struct gs_message_slot {
    int64_t quiet_until_ns;
    uint32_t suppressed;
    bool pending;
    gs_message message;
} gs_message_slot;

typedef struct gs_messages {
    pthread_mutex_t lock;
    _Atomic bool waiting;
    gs_message_slot slots[GS_MESSAGE_KINDS];
} gs_messages;

void gs_messages_init(gs_messages *self);

__attribute__((format(printf, 4, 5))) void gs_messages_say(gs_messages *self, gs_message_kind kind,
                                                           gs_message_level level, const char *format, ...);
__attribute__((format(printf, 4, 5))) void gs_messages_try_say(gs_messages *self, gs_message_kind kind,
                                                               gs_message_level level, const char *format, ...);

bool gs_messages_waiting(const gs_messages *self);
bool gs_messages_try_next(gs_messages *self, gs_message *message);

#endif /* GS_MESSAGES_H */
