/* flight.h - the last seconds of a recording that has no file: chunks in memory, written out when they are asked for.
 *
 * Metadata and definitions are kept, events are forgotten, oldest first, when they take more than their budget. What is
 * written is a capture like any other.
 *
 * Threads: add and clear by the recorder thread, write by any; one lock, not held while writing.
 */
#ifndef GS_PROBE_FLIGHT_H
#define GS_PROBE_FLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct gs_flight gs_flight;

/* NULL: no memory. */
gs_flight *gs_flight_new(size_t events_bytes, size_t definitions_bytes);
void gs_flight_free(gs_flight *self);

/* A chunk with its header. `is_events`: may be forgotten. False: no memory. */
bool gs_flight_add(gs_flight *self, bool is_events, const void *header, size_t header_bytes, const void *payload,
                   size_t payload_bytes);
/* Definitions have outgrown their budget: the recorder clears, and defines everything that is used from then on. */
bool gs_flight_is_full(gs_flight *self);
/* Forgets all but the first chunk, which is the metadata. */
void gs_flight_clear(gs_flight *self);

/* A complete copy of the chunks, back to back, numbered anew; to be freed by the caller. NULL: no memory. */
uint8_t *gs_flight_copy(gs_flight *self, size_t *bytes, uint32_t *chunks);

#endif /* GS_PROBE_FLIGHT_H */
