/* batch.h - from ring records to ExportTraceServiceRequest messages, by concatenation.
 *
 * A batch holds pointers into ring records (otlp.h), in ring order, and knows every scope definition that it has been
 * shown. Any run of its spans can be built into a request, grouped by resource and scope in order of first appearance, as
 * upstream's encoder groups them: so splitting a batch is building shorter runs.
 *
 * Threads: one at a time (the exporter thread). Memory: the body buffer is reused, and given back when a request was far
 * larger than usual. fork: the child makes a new one.
 */
#ifndef GS_BATCH_H
#define GS_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

typedef struct gs_batch gs_batch;

/* 0 or ENOMEM. A batch of at most `max_spans` (>= 1). */
int gs_batch_new(gs_batch **self, uint32_t max_spans);
void gs_batch_free(gs_batch *self);

/* Forgets the spans, keeps the scope definitions. */
void gs_batch_clear(gs_batch *self);

/* Adds the span of a record, which must stay where it is until the batch is cleared. GS_FULL: max_spans are in, or the
 * request would be larger than `max_request_bytes` and this is not its only span (nothing is added); GS_FAILED: not a
 * valid record, or of a scope never defined; GS_NO_MEMORY. */
gs_status gs_batch_add(gs_batch *self, const uint8_t *record, size_t record_bytes, uint64_t max_request_bytes);

uint32_t gs_batch_spans(const gs_batch *self);

/* The request for the spans first .. first + count - 1 (count >= 1, in range). The body is valid until the next build, clear or
 * free. GS_OK or GS_NO_MEMORY. */
gs_status gs_batch_build(gs_batch *self, uint32_t first, uint32_t count, const uint8_t **body, size_t *body_bytes);

#endif /* GS_BATCH_H */
