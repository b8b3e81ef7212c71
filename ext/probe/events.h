/* events.h - what the hooks hand to the recorder, in the layout of the capture file (docs/capture.md).
 *
 * A record in the recorder's ring is a gs_event, followed by `frames` gs_raw_frame, innermost first. The recorder makes
 * a stack of the frames, writes its number into `stack`, and appends the event to the file as it is.
 *
 * Threads: plain values, any thread.
 */
#ifndef GS_PROBE_EVENTS_H
#define GS_PROBE_EVENTS_H

#include <assert.h>
#include <stdint.h>

typedef enum gs_event_kind {
    GS_EVENT_RUN = 1,
    GS_EVENT_WAIT = 2,
    GS_EVENT_ITERATION = 3,
    GS_EVENT_SAMPLE = 4,
    GS_EVENT_BLOCKED = 5,
    GS_EVENT_COLLECTION = 6,
    GS_EVENT_SCHEDULE = 7,
    GS_EVENT_COUNTERS = 8,
    GS_EVENT_LOST = 9,
    GS_EVENT_HOLDS =
        10, /* in the ring: `frames` gs_bucket_count follow, of each of which the recorder makes one event */
    GS_EVENT_EXPORT = 11,
    GS_EVENT_SPANS = 12,
    GS_EVENT_TASK = 13, /* in the ring: `count` bytes of text follow, which the recorder defines */
    /* Never in a file: the recorder makes definitions of them. */
    GS_EVENT_THREAD = 128, /* count: gs_loop_kind; a: pthread identity; b: native thread id */
    GS_EVENT_NAME = 129,   /* `count` bytes of text follow */
    GS_EVENT_CODE = 130,   /* a gs_code_copy follows */
    GS_EVENT_ENDED = 131,  /* the last event of a thread, but for a run that ends late */
} gs_event_kind;

#define GS_RUN_CONTENDED   1u
#define GS_RUN_FORCED      2u
#define GS_RUN_UNFINISHED  4u
#define GS_WAIT_IN_LOOP    1u
#define GS_WAIT_WAS_FORCED 2u

typedef enum gs_sample_state { GS_SAMPLE_HOLDS = 1, GS_SAMPLE_WAITS = 2, GS_SAMPLE_NEITHER = 3 } gs_sample_state;
typedef enum gs_lost_reason { GS_LOST_RING_FULL = 1, GS_LOST_NO_MEMORY = 2, GS_LOST_WRITE_FAILED = 3 } gs_lost_reason;
typedef enum gs_spans_state {
    GS_SPANS_QUEUED = 1,
    GS_SPANS_EXPORTED = 2,
    GS_SPANS_DROPPED = 3,
    GS_SPANS_FAILED = 4
} gs_spans_state;
typedef enum gs_loop_kind { GS_LOOP_NONE = 0, GS_LOOP_ASYNCIO = 1, GS_LOOP_UVLOOP = 2 } gs_loop_kind;

typedef struct gs_event {
    uint8_t kind;
    uint8_t flags;
    uint16_t frames; /* in the ring only; zero in the file */
    uint32_t thread;
    int64_t start_ns;
    uint64_t duration_ns;
    uint32_t stack;
    uint32_t count;
    uint64_t a;
    uint64_t b;
} gs_event;

static_assert(sizeof(gs_event) == 48, "the file's layout");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file's byte order is the machine's");

/* `position` is the byte offset of the instruction in the code (as PyCode_Addr2Line takes it); for a code that the
 * sampler copied (codes.h) the line itself. */
typedef struct gs_raw_frame {
    uint32_t code;
    int32_t position;
} gs_raw_frame;

#define GS_MAX_FRAMES 128u

/* Of a histogram (histogram.h): what has come since it was told before. */
typedef struct gs_bucket_count {
    uint32_t bucket;
    uint32_t count;
} gs_bucket_count;

#endif /* GS_PROBE_EVENTS_H */
