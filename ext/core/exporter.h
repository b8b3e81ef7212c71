/* exporter.h - the thread that takes spans from the ring and sends them: batch, send, retry, count, flush, stop, fork.
 *
 * Any number of application threads push finished `spans` fields (otlp.h); one native thread, started by the first push,
 * makes export requests of them and frees them in the ring when their fate is known. It never takes the GIL.
 *
 * | function                            | who                        | may block                           |
 * |-------------------------------------|----------------------------|-------------------------------------|
 * | new, free                           | one thread, once           | free: as shutdown with no time left |
 * | try_push, drop, message_waiting     | any, with the GIL          | never                               |
 * | flush, shutdown                     | any, *without* the GIL     | until the deadline                  |
 * | stats, next_message                 | any, with or without       | for the length of a copy            |
 * | observe                             | any, with or without       | never                               |
 *
 * Every span that was ended is in exactly one of `exported`, `dropped[reason]`, `failed[reason]` and `queued` of a gs_exporter_stats.
 *
 * fork: the child's exporter is empty, counts from zero, and has no thread until its first push; what the parent had
 * queued is the parent's to send. pthread_atfork does this, so forks that Python does not see are covered. Mappings, locks
 * and curl handles of the parent are left as they are in the child, never cleaned up.
 */
#ifndef GS_EXPORTER_H
#define GS_EXPORTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "export_observer.h"
#include "messages.h"
#include "status.h"
#include "transport.h"

typedef enum gs_drop_reason {
    GS_DROP_QUEUE_FULL = 0, /* max_queue_spans or max_queue_bytes */
    GS_DROP_TOO_LARGE,      /* larger than the ring can ever take */
    GS_DROP_SHUTDOWN,       /* ended after shutdown */
    GS_DROP_ENCODING,       /* not a span that can be encoded */
    GS_DROP_NO_MEMORY,
    GS_DROP_REASONS,
} gs_drop_reason;

typedef enum gs_fail_reason {
    GS_FAIL_REJECTED = 0, /* the collector's final no, for the request */
    GS_FAIL_PARTIAL,      /* rejected_spans of a partial success */
    GS_FAIL_TIMEOUT,      /* the export timeout, retries included */
    GS_FAIL_UNREACHABLE,  /* no connection, all through the retries */
    GS_FAIL_TOO_LARGE,    /* one span alone is more than the collector takes */
    GS_FAIL_SHUTDOWN,     /* the shutdown's time ran out */
    GS_FAIL_INTERNAL,     /* no memory for the request; no thread could be started */
    GS_FAIL_REASONS,
} gs_fail_reason;

typedef struct gs_exporter_config {
    uint32_t max_queue_spans;
    uint64_t max_queue_bytes; /* address space of the ring */
    uint32_t max_batch_spans;
    uint64_t max_request_bytes; /* before compression; one larger span is sent alone */
    int64_t schedule_delay_ns;
    int64_t export_timeout_ns; /* one export with all its retries */
    gs_transport_config transport;
} gs_exporter_config;

typedef struct gs_exporter_stats {
    uint64_t ended;
    uint64_t exported;
    uint64_t dropped[GS_DROP_REASONS];
    uint64_t failed[GS_FAIL_REASONS];
    uint64_t queued; /* in the ring, those being sent included */
    uint64_t queued_bytes;
    uint64_t requests; /* attempts */
    uint64_t retries;
    uint64_t splits;
    uint64_t request_bytes; /* bodies before compression */
    uint64_t sent_bytes;    /* bodies as sent */
    uint64_t thread_cpu_ns; /* CPU time of the native thread, 0 before it starts */
    uint64_t
        replaced_values; /* values that OTLP cannot carry, replaced: counted by the encoder through gs_exporter_replaced */
} gs_exporter_stats;

typedef struct gs_exporter gs_exporter;

/* One piece of a record; pieces are copied one after the other. */
typedef struct gs_piece {
    const void *data;
    size_t bytes;
} gs_piece;

/* 0, EINVAL, ENOMEM. Starts nothing. */
int gs_exporter_new(gs_exporter **self, const gs_exporter_config *config);
void gs_exporter_free(gs_exporter *self);

/* Counts a span as ended and puts its record (otlp.h) into the ring, or counts it as dropped. GS_OK; GS_FULL; GS_TOO_LARGE; GS_STOPPED. */
gs_status gs_exporter_try_push(gs_exporter *self, const gs_piece *pieces, size_t piece_count);
/* Counts a span as ended and dropped, by a caller that could not make a record of it. */
void gs_exporter_drop(gs_exporter *self, gs_drop_reason reason);
void gs_exporter_replaced(gs_exporter *self, uint64_t values);

/* How many times this process has come out of a fork since the exporter was made: what the caller has interned (scope
 * ids) holds for one generation. */
uint32_t gs_exporter_generation(const gs_exporter *self);

/* Asked ten times a second by a call that waits, with no lock held; false ends the wait as its deadline would. */
typedef bool (*gs_keep_waiting)(void *context);

/* GS_OK: every span pushed before the call was accepted by the collector; GS_FAILED: all done, some not accepted;
 * GS_TIMEOUT; GS_STOPPED: after shutdown. keep_waiting may be NULL, here and below. */
gs_status gs_exporter_flush(gs_exporter *self, int64_t deadline_ns, gs_keep_waiting keep_waiting, void *context);

/* Takes no more spans, sends what is queued until the deadline, counts the rest as failed, ends the thread. GS_OK: all
 * of it was accepted; GS_FAILED: not all; GS_TIMEOUT: so, and the thread is stuck in a call that cannot be interrupted;
 * GS_STOPPED: was begun before. But for GS_TIMEOUT the thread is gone on return. */
gs_status gs_exporter_shutdown(gs_exporter *self, int64_t deadline_ns, gs_keep_waiting keep_waiting, void *context);

/* Of all exporters of the process, from now on. */
void gs_exporter_observe(gs_export_observer observer);

void gs_exporter_get_stats(gs_exporter *self, gs_exporter_stats *stats);
/* What the native thread has to say; Python logs it. */
bool gs_exporter_message_waiting(const gs_exporter *self);
bool gs_exporter_next_message(gs_exporter *self, gs_message *message);

#endif /* GS_EXPORTER_H */
