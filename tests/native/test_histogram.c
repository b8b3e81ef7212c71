/* sources: */
/* Lengths by bucket, against the lengths themselves. */
#include "probe/histogram.h"

#include "check.h"

static uint64_t seed = 7;

static uint64_t random_number(void) {
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return seed >> 11;
}

static void every_value_is_in_one_bucket_and_known_to_two_percent(void) {
    uint64_t next = 0;
    for (uint32_t bucket = 0; bucket < GS_HISTOGRAM_BUCKETS; bucket++) {
        uint64_t limit = gs_histogram_limit(bucket);
        REQUIRE(gs_histogram_first(bucket) == next);
        REQUIRE(gs_histogram_bucket(next) == bucket && gs_histogram_bucket(limit) == bucket);
        REQUIRE(limit - next <= next / 64);
        next = limit + 1;
    }
    CHECK_EQ(next, INT64_C(1) << 43);
    CHECK_EQ(gs_histogram_bucket(next), GS_HISTOGRAM_BUCKETS - 1);
    CHECK_EQ(gs_histogram_bucket(UINT64_MAX), GS_HISTOGRAM_BUCKETS - 1);
}

static int by_value(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

static void quantiles_agree_with_a_sorted_array(void) {
    enum { VALUES = 20000 };
    static uint64_t values[VALUES];
    static gs_histogram histogram;
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = random_number() >> (random_number() % 40 + 10); /* of every size */
        histogram.count[gs_histogram_bucket(values[i])]++;
    }
    qsort(values, VALUES, sizeof *values, by_value);
    uint64_t below = 0;
    for (uint32_t bucket = 0; bucket < GS_HISTOGRAM_BUCKETS; bucket++) {
        uint64_t count = histogram.count[bucket];
        if (count > 0) {
            REQUIRE(values[below] >= gs_histogram_first(bucket));
            REQUIRE(values[below + count - 1] <= gs_histogram_limit(bucket));
        }
        below += count;
    }
    CHECK_EQ(below, VALUES);
}

CHECK_MAIN(CHECK_TEST(every_value_is_in_one_bucket_and_known_to_two_percent),
           CHECK_TEST(quantiles_agree_with_a_sorted_array))
