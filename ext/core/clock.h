/* clock.h - monotonic nanoseconds, and deadlines that do not overflow.
 *
 * A deadline is an absolute CLOCK_MONOTONIC time in nanoseconds; GS_NEVER is later than every clock reading.
 * Threads: any, with or without the GIL; async-signal-safe.
 */
#ifndef GS_CLOCK_H
#define GS_CLOCK_H

#include <stdint.h>
#include <time.h>

#define GS_NS_PER_US INT64_C(1000)
#define GS_NS_PER_MS INT64_C(1000000)
#define GS_NS_PER_S  INT64_C(1000000000)
#define GS_NEVER     INT64_MAX

static inline int64_t gs_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * GS_NS_PER_S + now.tv_nsec;
}

/* The deadline `span_ns` after `now_ns`; a negative span is one that has passed already. */
static inline int64_t gs_deadline_after(int64_t now_ns, int64_t span_ns) {
    if (span_ns <= 0) {
        return now_ns;
    }
    return span_ns > GS_NEVER - now_ns ? GS_NEVER : now_ns + span_ns;
}

static inline int64_t gs_earlier(int64_t deadline_ns, int64_t other_ns) {
    return deadline_ns < other_ns ? deadline_ns : other_ns;
}

/* For pthread_cond_timedwait on a condition made with CLOCK_MONOTONIC, and for futex deadlines. */
static inline struct timespec gs_timespec(int64_t at_ns) {
    struct timespec at = {.tv_sec = (time_t)(at_ns / GS_NS_PER_S), .tv_nsec = (long)(at_ns % GS_NS_PER_S)};
    return at;
}

#endif /* GS_CLOCK_H */
