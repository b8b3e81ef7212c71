/* histogram.h - how often each length of time came: log-linear, 64 buckets for every doubling, so a length is known to 1.6 %.
 *
 * From 0 to 2.4 hours; what is longer is counted as that.
 * Threads: plain values, any thread.
 */
#ifndef GS_PROBE_HISTOGRAM_H
#define GS_PROBE_HISTOGRAM_H

#include <stdint.h>

#define GS_HISTOGRAM_BITS    6u
#define GS_HISTOGRAM_BUCKETS 2432u

typedef struct gs_histogram {
    uint64_t count[GS_HISTOGRAM_BUCKETS];
} gs_histogram;

/* In the hooks' hot path. */
static inline uint32_t gs_histogram_bucket(uint64_t value) {
    /* The first two doublings are exact, and need no branch: a bit more there changes nothing. */
    uint32_t shift = 63u - (uint32_t)__builtin_clzll(value | (1u << GS_HISTOGRAM_BITS)) - GS_HISTOGRAM_BITS;
    uint32_t bucket = (shift << GS_HISTOGRAM_BITS) + (uint32_t)(value >> shift);
    return bucket < GS_HISTOGRAM_BUCKETS ? bucket : GS_HISTOGRAM_BUCKETS - 1;
}

/* The smallest value of a bucket. */
static inline uint64_t gs_histogram_first(uint32_t bucket) {
    if (bucket < (2u << GS_HISTOGRAM_BITS)) {
        return bucket;
    }
    uint32_t shift = (bucket >> GS_HISTOGRAM_BITS) - 1;
    return (uint64_t)(bucket - (shift << GS_HISTOGRAM_BITS)) << shift;
}

/* The largest value of a bucket, as if there were one more behind the last. */
static inline uint64_t gs_histogram_limit(uint32_t bucket) {
    return gs_histogram_first(bucket + 1) - 1;
}

#endif /* GS_PROBE_HISTOGRAM_H */
