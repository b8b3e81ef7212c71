/* sources: probe/totals.c */
/* What events add up to: buckets, waits divided among holders, stalls with those who took most of them. */
#include "probe/totals.h"

#include "check.h"

#include <pthread.h>

#define MS INT64_C(1000000)

static gs_event event(gs_event_kind kind, uint32_t thread, int64_t start_ns, int64_t end_ns) {
    return (gs_event){
        .kind = (uint8_t)kind, .thread = thread, .start_ns = start_ns, .duration_ns = (uint64_t)(end_ns - start_ns)};
}

static void run(uint32_t thread, int64_t start_ns, int64_t end_ns, uint32_t code) {
    gs_raw_frame frame = {code, 0};
    gs_event added = event(GS_EVENT_RUN, thread, start_ns, end_ns);
    added.frames = code != 0;
    gs_totals_add(&added, &frame);
}

static void wait_in_loop(uint32_t thread, int64_t start_ns, int64_t end_ns) {
    gs_event added = event(GS_EVENT_WAIT, thread, start_ns, end_ns);
    added.flags = GS_WAIT_IN_LOOP;
    gs_totals_add(&added, NULL);
}

static void iteration(uint32_t thread, int64_t start_ns, int64_t end_ns, uint64_t cpu_ns, uint64_t wait_ns) {
    gs_event added = event(GS_EVENT_ITERATION, thread, start_ns, end_ns);
    added.a = cpu_ns;
    added.b = wait_ns;
    gs_totals_add(&added, NULL);
}

static uint64_t waited(uint32_t waiter, uint32_t holder) {
    gs_wait_totals waits[64];
    size_t count = gs_totals_waits(waits, 64);
    uint64_t ns = 0;
    for (size_t i = 0; i < count; i++) {
        ns += waits[i].waiter == waiter && waits[i].holder == holder ? waits[i].waited_ns : 0;
    }
    return ns;
}

static void every_value_is_in_one_bucket_and_known_to_two_percent(void) {
    uint64_t next = 0;
    uint32_t last = gs_histogram_bucket(UINT64_MAX);
    CHECK_EQ(last, GS_HISTOGRAM_BUCKETS - 1);
    for (uint32_t bucket = 0; bucket <= last; bucket++) {
        uint64_t limit = gs_histogram_limit(bucket);
        REQUIRE(gs_histogram_bucket(next) == bucket && gs_histogram_bucket(limit) == bucket);
        REQUIRE(limit - next <= next / 64);
        next = limit + 1;
    }
    CHECK_EQ(next, 0); /* past UINT64_MAX */
}

static void wait_is_divided_among_those_who_had_the_gil(void) {
    REQUIRE(gs_totals_start(20 * MS) == 0);
    run(2, 0, 10, 0);
    run(3, 15, 30, 0);
    run(1, 31, 40, 0); /* the waiter's own, after its wait */
    wait_in_loop(1, 5, 31);
    CHECK_EQ(waited(1, 2), 5);
    CHECK_EQ(waited(1, 3), 15);
    CHECK_EQ(waited(1, 0), 6);
    wait_in_loop(1, 5, 31);
    CHECK_EQ(waited(1, 2), 10);
    CHECK_EQ(waited(1, 1), 0);
}

static void waits_agree_with_a_count_of_every_nanosecond(void) {
    enum { MOMENTS = 2000 };
    static uint8_t holder[MOMENTS];
    uint64_t seed = 7;
    for (int round = 0; round < 50; round++) {
        REQUIRE(gs_totals_start(20 * MS) == 0);
        uint64_t expected[4] = {0};
        for (int at = 0; at < MOMENTS;) {
            seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
            int length = 1 + (int)((seed >> 33) % 60);
            uint8_t who = (uint8_t)((seed >> 50) % 3 + 1); /* 2 and 3 hold, 1 stands for nobody */
            for (int i = 0; i < length && at < MOMENTS; i++) {
                holder[at++] = who;
            }
        }
        for (int at = 0, start = 0; at <= MOMENTS; at++) {
            if (at == MOMENTS || holder[at] != holder[start]) {
                if (holder[start] > 1) {
                    run(holder[start], start, at, 0);
                }
                start = at;
            }
        }
        int from = (int)(seed % (MOMENTS / 2)), to = MOMENTS / 2 + (int)((seed >> 20) % (MOMENTS / 2));
        for (int at = from; at < to; at++) {
            expected[holder[at] > 1 ? holder[at] : 0]++;
        }
        wait_in_loop(1, from, to);
        CHECK_EQ(waited(1, 2), expected[2]);
        CHECK_EQ(waited(1, 3), expected[3]);
        CHECK_EQ(waited(1, 0), expected[0]);
    }
}

static void stall_names_those_who_took_most_of_it(void) {
    gs_stall stall;
    REQUIRE(gs_totals_start(20 * MS) == 0);
    run(2, 10 * MS, 15 * MS, 21);
    run(3, 15 * MS, 31 * MS, 31);
    wait_in_loop(1, 10 * MS, 31 * MS);
    run(2, 32 * MS, 37 * MS, 21);
    wait_in_loop(1, 32 * MS, 37 * MS);
    iteration(1, 9 * MS, 40 * MS, 4 * MS, 26 * MS);
    REQUIRE(gs_totals_next_stall(&stall, 0)); /* of the loop's first iteration */
    CHECK(!gs_totals_next_stall(&stall, 0));
    CHECK_EQ(stall.thread, 1);
    CHECK_EQ(stall.duration_ns, 31 * MS);
    CHECK_EQ(stall.on_cpu_ns, 4 * MS);
    CHECK_EQ(stall.gil_wait_ns, 26 * MS);
    REQUIRE(stall.holder_count == 2);
    CHECK_EQ(stall.holders[0].thread, 3);
    CHECK_EQ(stall.holders[0].ns, 16 * MS);
    CHECK_EQ(stall.holders[0].frames[0].code, 31);
    CHECK_EQ(stall.holders[1].ns, 10 * MS); /* two holds in one place are one line */
    CHECK_EQ(stall.own.frame_count, 0);
    iteration(1, 50 * MS, 90 * MS, 40 * MS, 0);
    REQUIRE(gs_totals_next_stall(&stall, 0));
    CHECK_EQ(stall.holder_count, 0); /* nothing is left of the one before */
}

static void thread_that_is_sampled_with_the_gil_is_no_loop(void) {
    static gs_loop_totals loops[GS_MAX_LOOPS];
    gs_raw_frame frame = {5, 0};
    REQUIRE(gs_totals_start(20 * MS) == 0);
    gs_event sample = event(GS_EVENT_SAMPLE, 2, MS, MS);
    sample.count = GS_SAMPLE_HOLDS;
    sample.frames = 1;
    gs_totals_add(&sample, &frame);
    CHECK_EQ(gs_totals_loops(loops, GS_MAX_LOOPS), 0);
}

static void own_stack_of_a_stall_is_where_it_was_longest(void) {
    gs_stall stall;
    gs_raw_frame frame = {5, 0};
    REQUIRE(gs_totals_start(20 * MS) == 0);
    iteration(1, 0, MS, 0, 0);
    gs_event blocked = event(GS_EVENT_BLOCKED, 1, MS, 31 * MS);
    blocked.frames = 1;
    blocked.a = (uint64_t)(10 * MS); /* of which it waited for the GIL */
    gs_totals_add(&blocked, &frame);
    gs_event sample = event(GS_EVENT_SAMPLE, 1, 32 * MS, 32 * MS);
    sample.count = GS_SAMPLE_HOLDS;
    sample.frames = 1;
    sample.b = (uint64_t)(2 * MS);
    frame.code = 6;
    gs_totals_add(&sample, &frame);
    iteration(1, MS, 40 * MS, 0, (uint64_t)(10 * MS));
    REQUIRE(gs_totals_next_stall(&stall, 0));
    REQUIRE(stall.own.frame_count == 1);
    CHECK_EQ(stall.own.frames[0].code, 5);
    CHECK_EQ(stall.own.ns, 20 * MS);
}

static void stalls_that_nobody_fetches_are_counted_oldest_first(void) {
    gs_stall stall;
    REQUIRE(gs_totals_start(20 * MS) == 0);
    for (int i = 0; i < 20; i++) {
        iteration(1, i * 100 * MS, i * 100 * MS + 30 * MS, 0, 0);
    }
    CHECK_EQ(gs_totals_stalls_forgotten(), 4);
    for (int i = 4; i < 20; i++) {
        REQUIRE(gs_totals_next_stall(&stall, 0));
        CHECK_EQ(stall.start_ns, i * 100 * MS);
    }
    CHECK(!gs_totals_next_stall(&stall, 0));
    static gs_loop_totals loops[GS_MAX_LOOPS];
    REQUIRE(gs_totals_loops(loops, GS_MAX_LOOPS) == 1);
    CHECK_EQ(loops[0].stalls, 20);
    CHECK_EQ(loops[0].stall_ns, 20 * 30 * MS);
    CHECK_EQ(loops[0].iteration_lengths.count[gs_histogram_bucket(30 * MS)], 20);
}

static void *fetch(void *stall) {
    return gs_totals_next_stall(stall, INT64_MAX) ? stall : NULL;
}

static void fetcher_wakes_for_a_stall_and_when_it_is_told_to(void) {
    static gs_stall stall;
    pthread_t thread;
    void *fetched = NULL;
    REQUIRE(gs_totals_start(20 * MS) == 0);
    REQUIRE(pthread_create(&thread, NULL, fetch, &stall) == 0);
    iteration(1, 0, 30 * MS, 0, 0);
    REQUIRE(pthread_join(thread, &fetched) == 0);
    CHECK(fetched == &stall);
    CHECK_EQ(stall.duration_ns, 30 * MS);
    REQUIRE(pthread_create(&thread, NULL, fetch, &stall) == 0);
    int tries = 0;
    do {
        gs_totals_wake_all(); /* before it waits, it means nothing */
        struct timespec moment = {.tv_nsec = 1000000};
        nanosleep(&moment, NULL);
    } while (pthread_tryjoin_np(thread, &fetched) != 0 && ++tries < 10000);
    CHECK(fetched == NULL);
}

CHECK_MAIN(CHECK_TEST(every_value_is_in_one_bucket_and_known_to_two_percent),
           CHECK_TEST(wait_is_divided_among_those_who_had_the_gil),
           CHECK_TEST(waits_agree_with_a_count_of_every_nanosecond), CHECK_TEST(stall_names_those_who_took_most_of_it),
           CHECK_TEST(thread_that_is_sampled_with_the_gil_is_no_loop),
           CHECK_TEST(own_stack_of_a_stall_is_where_it_was_longest),
           CHECK_TEST(stalls_that_nobody_fetches_are_counted_oldest_first),
           CHECK_TEST(fetcher_wakes_for_a_stall_and_when_it_is_told_to))
