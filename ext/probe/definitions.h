/* definitions.h - numbers for stacks, and what the numbers in a capture mean.
 *
 * Threads: the recorder's only. No Python is run and no GIL taken: pinned codes do not go away (codes.h).
 */
#ifndef GS_PROBE_DEFINITIONS_H
#define GS_PROBE_DEFINITIONS_H

#include <stddef.h>
#include <stdint.h>

#include "events.h"
#include "frames.h"

typedef struct gs_definitions gs_definitions;

/* NULL: no memory. */
gs_definitions *gs_definitions_new(void);
void gs_definitions_free(gs_definitions *self);

/* The number of a stack, defined if it is new; 0: no frames, or no memory. */
uint32_t gs_definitions_stack(gs_definitions *self, const gs_raw_frame *frames, size_t count);
uint32_t gs_definitions_stacks(const gs_definitions *self);
void gs_definitions_code(gs_definitions *self, const gs_code_copy *copy);
void gs_definitions_thread(gs_definitions *self, uint32_t thread, uint32_t native_id, uint64_t identity, uint8_t loop,
                           const char *name, size_t name_bytes);

/* The number of a text, a new one each time; 0: no memory. */
uint32_t gs_definitions_text(gs_definitions *self, const char *text, size_t bytes);

/* What has been defined since the last call, to be written before any event that uses it; then gs_definitions_clear. */
const uint8_t *gs_definitions_pending(const gs_definitions *self, size_t *bytes);
void gs_definitions_clear(gs_definitions *self);

#endif /* GS_PROBE_DEFINITIONS_H */
