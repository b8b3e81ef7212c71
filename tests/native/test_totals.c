/* sources: probe/totals.c probe/known_threads.c probe/thread_groups.c */
/* What events add up to: waits divided among holders, stalls with those who took most of them, threads by group. */
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

static gs_known_threads *threads;
static gs_group_totals group;

static gs_known_thread *thread(uint32_t number) {
    gs_known_thread *found = gs_known_threads_add(threads, number);
    REQUIRE(found != NULL);
    return found;
}

static void rename_to(uint32_t number, const char *name) {
    gs_known_thread *named = thread(number);
    free(named->name);
    named->name = strdup(name);
    gs_totals_named(named);
}

static void end(uint32_t number) {
    thread(number)->ended = true;
    gs_totals_ended(thread(number));
}

/* Threads a, b and c are known by name. */
static void start(void) {
    if (threads != NULL) {
        gs_totals_settle(0, true);
    }
    gs_known_threads_free(threads);
    threads = gs_known_threads_new();
    REQUIRE(threads != NULL && gs_totals_start(20 * MS, threads) == 0);
    rename_to(1, "a");
    rename_to(2, "b");
    rename_to(3, "c");
}

/* The number of a group; GS_GROUPS: there is none of that name. Its totals are in `group`. */
static uint32_t find(const char *name) {
    for (uint32_t i = 0; i < GS_GROUPS; i++) {
        if (gs_totals_group(i, &group) && strcmp(group.name, name) == 0) {
            return i;
        }
    }
    return GS_GROUPS;
}

static uint64_t waited_for(const char *waiter, const char *holder) {
    static gs_wait_totals waits[GS_MAX_WAITS];
    uint32_t of_waiter = find(waiter), of_holder = find(holder); /* GS_GROUPS: handing over */
    size_t count = gs_totals_waits(waits, GS_MAX_WAITS);
    uint64_t ns = 0;
    for (size_t i = 0; i < count; i++) {
        ns += waits[i].waiter == of_waiter && waits[i].holder == of_holder ? waits[i].waited_ns : 0;
    }
    return ns;
}

static uint64_t waited(uint32_t waiter, uint32_t holder) {
    static const char *const names[] = {"", "a", "b", "c"};
    return waited_for(names[waiter], names[holder]);
}

static uint64_t all_waited(void) {
    static gs_wait_totals waits[GS_MAX_WAITS];
    size_t count = gs_totals_waits(waits, GS_MAX_WAITS);
    uint64_t ns = 0;
    for (size_t i = 0; i < count; i++) {
        ns += waits[i].waited_ns;
    }
    return ns;
}

static void counters(uint32_t number, uint32_t takes, uint64_t held_ns, uint64_t waited_ns) {
    gs_event added = event(GS_EVENT_COUNTERS, number, 0, 0);
    added.count = takes;
    added.a = held_ns;
    added.b = waited_ns;
    gs_totals_add(&added, NULL);
}

static void holds(uint32_t number, uint64_t length_ns, uint32_t count) {
    gs_event added = event(GS_EVENT_HOLDS, number, 0, 0);
    added.count = count;
    added.a = gs_histogram_first(gs_histogram_bucket(length_ns));
    added.b = gs_histogram_limit(gs_histogram_bucket(length_ns));
    gs_totals_add(&added, NULL);
}

static void wait_is_divided_among_those_who_had_the_gil(void) {
    start();
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
        start();
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
    start();
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
    gs_raw_frame frame = {5, 0};
    start();
    gs_event sample = event(GS_EVENT_SAMPLE, 2, MS, MS);
    sample.count = GS_SAMPLE_HOLDS;
    sample.frames = 1;
    gs_totals_add(&sample, &frame);
    CHECK(thread(2)->open == NULL);
    CHECK(find("b") < GS_GROUPS);
    CHECK_EQ(group.iterations, 0);
}

static void own_stack_of_a_stall_is_where_it_was_longest(void) {
    gs_stall stall;
    gs_raw_frame frame = {5, 0};
    start();
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

static void sample_without_the_gil_is_the_own_stack_until_more_is_known(void) {
    gs_stall stall;
    gs_raw_frame frame = {5, 0};
    start();
    iteration(1, 0, MS, 0, 0);
    gs_event sample = event(GS_EVENT_SAMPLE, 1, 20 * MS, 20 * MS);
    sample.count = GS_SAMPLE_NEITHER;
    sample.frames = 1;
    sample.b = (uint64_t)(19 * MS);
    gs_totals_add(&sample, &frame);
    iteration(1, MS, 40 * MS, 0, 0);
    REQUIRE(gs_totals_next_stall(&stall, 0));
    REQUIRE(stall.own.frame_count == 1); /* nothing else comes where there is no GIL */
    CHECK_EQ(stall.own.frames[0].code, 5);
    gs_totals_add(&sample, &frame);
    gs_event blocked = event(GS_EVENT_BLOCKED, 1, 60 * MS, 70 * MS);
    blocked.frames = 1;
    frame.code = 6;
    gs_totals_add(&blocked, &frame);
    iteration(1, 41 * MS, 80 * MS, 0, 0);
    REQUIRE(gs_totals_next_stall(&stall, 0));
    CHECK_EQ(stall.own.frames[0].code, 6);
    CHECK_EQ(stall.own.ns, 10 * MS);
}

static void stalls_that_nobody_fetches_are_counted_oldest_first(void) {
    gs_stall stall;
    start();
    for (int i = 0; i < 20; i++) {
        iteration(1, i * 100 * MS, i * 100 * MS + 30 * MS, 0, 0);
    }
    CHECK_EQ(gs_totals_stalls_forgotten(), 4);
    for (int i = 4; i < 20; i++) {
        REQUIRE(gs_totals_next_stall(&stall, 0));
        CHECK_EQ(stall.start_ns, i * 100 * MS);
    }
    CHECK(!gs_totals_next_stall(&stall, 0));
    REQUIRE(find("a") < GS_GROUPS);
    CHECK_EQ(group.stalls, 20);
    CHECK_EQ(group.stall_ns, 20 * 30 * MS);
    CHECK_EQ(group.iteration_lengths.count[gs_histogram_bucket(30 * MS)], 20);
}

static void *fetch(void *stall) {
    return gs_totals_next_stall(stall, INT64_MAX) ? stall : NULL;
}

static void fetcher_wakes_for_a_stall_and_when_it_is_told_to(void) {
    static gs_stall stall;
    pthread_t thread;
    void *fetched = NULL;
    start();
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

static void thread_without_a_name_counts_when_it_has_one(void) {
    start();
    (void)thread(4);
    counters(4, 3, 30, 7);
    holds(4, 10, 3);
    run(4, 0, 10, 0);
    wait_in_loop(1, 0, 10);
    CHECK_EQ(all_waited(), 0);
    CHECK_EQ(find("late"), GS_GROUPS);
    rename_to(4, "late");
    gs_totals_settle(0, false);
    REQUIRE(find("late") < GS_GROUPS);
    CHECK_EQ(group.takes, 3);
    CHECK_EQ(group.held_ns, 30);
    CHECK_EQ(group.waited_ns, 7);
    CHECK_EQ(group.hold_lengths.count[10], 3);
    CHECK_EQ(waited_for("a", "late"), 10);
}

static void thread_that_gets_no_name_is_unnamed_after_two_seconds(void) {
    start();
    (void)thread(4);
    counters(4, 3, 30, 7);
    run(4, 0, 10, 0);
    wait_in_loop(1, 0, 10);
    gs_totals_settle(1999 * MS, false);
    CHECK_EQ(find("(unnamed)"), GS_GROUPS);
    gs_totals_settle(2000 * MS, false);
    find("(unnamed)");
    CHECK_EQ(group.takes, 3);
    CHECK_EQ(waited_for("a", "(unnamed)"), 10);
}

static void renamed_thread_leaves_what_it_did_where_it_was(void) {
    start();
    counters(1, 3, 30, 7);
    rename_to(1, "other");
    counters(1, 5, 50, 8);
    find("a");
    CHECK_EQ(group.takes, 3);
    CHECK_EQ(group.held_ns, 30);
    find("other");
    CHECK_EQ(group.takes, 2);
    CHECK_EQ(group.held_ns, 20);
    CHECK_EQ(group.waited_ns, 1);
}

static void takes_of_a_thread_go_on_where_their_counter_wraps(void) {
    start();
    counters(1, UINT32_MAX, 0, 0);
    counters(1, 4, 0, 0);
    find("a");
    CHECK_EQ(group.takes, UINT64_C(0x100000004));
}

static void forced_runs_and_waits_are_counted_with_their_lengths(void) {
    start();
    gs_event forced = event(GS_EVENT_RUN, 2, 0, 5 * MS);
    forced.flags = GS_RUN_FORCED;
    gs_totals_add(&forced, NULL);
    wait_in_loop(1, 0, 5 * MS);
    find("b");
    CHECK_EQ(group.forced, 1);
    find("a");
    CHECK_EQ(group.forced, 0);
    CHECK_EQ(group.wait_lengths.count[gs_histogram_bucket(5 * MS)], 1);
}

/* Each takes the GIL twice, holds it for 30 ns, and waits for 5 ns for a thread that is there all the time. */
static void threads_that_come_and_go_are_counted_exactly_in_bounded_memory(void) {
    enum { COMING = 200000, LIVING = 100 };
    char name[32];
    start();
    rename_to(70000, "before"); /* numbers are not dense */
    for (uint32_t number = 4; number < 4 + COMING + LIVING; number++) {
        if (number < 4 + COMING) {
            REQUIRE(gs_known_threads_add(threads, number) != NULL);
            if (number % 4 != 0) {
                (void)snprintf(name, sizeof name, "pool-%u_%u", number % 3, number);
                rename_to(number, name);
            }
            int64_t start_ns = 10 * (int64_t)number;
            run(2, start_ns, start_ns + 5, 0);
            gs_event waits = event(GS_EVENT_WAIT, number, start_ns, start_ns + 5);
            gs_totals_add(&waits, NULL);
            counters(number, 1, 10, 5);
            holds(number, 10, 1);
        }
        if (number >= 4 + LIVING && number - LIVING != 70000) {
            counters(number - LIVING, 2, 30, 5);
            holds(number - LIVING, 20, 1);
            end(number - LIVING);
        }
    }
    gs_totals_settle(0, true);
    uint64_t takes = 0, held_ns = 0, single_holds = 0;
    for (uint32_t i = 0; i < GS_GROUPS; i++) {
        if (!gs_totals_group(i, &group)) {
            continue;
        }
        takes += group.takes;
        held_ns += group.held_ns;
        single_holds += group.hold_lengths.count[10] + group.hold_lengths.count[20];
    }
    CHECK_EQ(takes, 2 * COMING - 1); /* but for 70000, which has not ended */
    CHECK_EQ(held_ns, 30 * COMING - 20);
    CHECK_EQ(single_holds, 2 * COMING - 1);
    CHECK_EQ(all_waited(), 5 * COMING);
    CHECK_EQ(waited_for("(unnamed)", "b"), 5 * (COMING / 4 - 1));
    uint32_t known = 0;
    for (gs_known_thread *at = gs_known_threads_next(threads, NULL); at != NULL;
         at = gs_known_threads_next(threads, at)) {
        known++;
        CHECK(at->early == NULL);
    }
    CHECK(known <= GS_KNOWN_THREADS);
    CHECK(gs_known_threads_find(threads, 1) != NULL); /* it lives */
}

static void waits_of_more_unnamed_threads_than_there_is_room_for_are_counted_at_once(void) {
    enum { MANY = 2000 };
    start();
    for (uint32_t number = 4; number < 4 + MANY; number++) {
        (void)thread(number);
        run(number, 10 * number, 10 * number + 3, 0);
        wait_in_loop(1, 10 * number, 10 * number + 3);
    }
    uint64_t before = all_waited();
    CHECK(before > 0);
    gs_totals_settle(2000 * MS, false);
    CHECK_EQ(all_waited(), 3 * MANY);
    CHECK(before < 3 * MANY);
    find("a");
    CHECK_EQ(group.wait_lengths.count[3], MANY);
}

CHECK_MAIN(CHECK_TEST(wait_is_divided_among_those_who_had_the_gil),
           CHECK_TEST(waits_agree_with_a_count_of_every_nanosecond), CHECK_TEST(stall_names_those_who_took_most_of_it),
           CHECK_TEST(thread_that_is_sampled_with_the_gil_is_no_loop),
           CHECK_TEST(own_stack_of_a_stall_is_where_it_was_longest),
           CHECK_TEST(sample_without_the_gil_is_the_own_stack_until_more_is_known),
           CHECK_TEST(stalls_that_nobody_fetches_are_counted_oldest_first),
           CHECK_TEST(fetcher_wakes_for_a_stall_and_when_it_is_told_to),
           CHECK_TEST(thread_without_a_name_counts_when_it_has_one),
           CHECK_TEST(thread_that_gets_no_name_is_unnamed_after_two_seconds),
           CHECK_TEST(renamed_thread_leaves_what_it_did_where_it_was),
           CHECK_TEST(takes_of_a_thread_go_on_where_their_counter_wraps),
           CHECK_TEST(forced_runs_and_waits_are_counted_with_their_lengths),
           CHECK_TEST(threads_that_come_and_go_are_counted_exactly_in_bounded_memory),
           CHECK_TEST(waits_of_more_unnamed_threads_than_there_is_room_for_are_counted_at_once))
