/* thread_groups.h - threads by name, few enough to be kept for ever and to be labels of metrics.
 *
 * A group's name is that of its threads with a number at its end as `*` ("asyncio_12", "Thread-7 (work)"), and with U+FFFD
 * for what a terminal, a log or a metrics text would obey. There are at most so many; threads beyond them are "(others)".
 *
 * Threads: one at a time; the caller locks.
 */
#ifndef GS_PROBE_THREAD_GROUPS_H
#define GS_PROBE_THREAD_GROUPS_H

#include <stdint.h>

#define GS_NAME_BYTES 256u
#define GS_GROUPS     65u

typedef enum gs_special_group {
    GS_GROUP_UNNAMED = 0,
    GS_GROUP_OTHERS = GS_GROUPS - 1,
} gs_special_group;

typedef struct gs_thread_groups {
    char names[GS_GROUPS][GS_NAME_BYTES + 1]; /* "": not used yet */
} gs_thread_groups;

void gs_thread_groups_init(gs_thread_groups *self);
/* The group of a thread's name, which is UTF-8; it is there from now on. */
uint32_t gs_thread_groups_of(gs_thread_groups *self, const char *name);

#endif /* GS_PROBE_THREAD_GROUPS_H */
