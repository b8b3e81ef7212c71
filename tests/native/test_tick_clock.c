/* sources: probe/tick_clock.c */
/* variants: plain asan */
/* The counter's time, against the clock's. Where the kernel does not trust the counter all of it is the clock's. */
#include "probe/tick_clock.h"

#include <time.h>

#include "check.h"
#include "core/clock.h"

/* What measuring the counter for 10 ms may be wrong by in a millisecond, and the readings themselves: a twentieth of it. */
#define ERROR_NS GS_NS_PER_US

/* Says the time for that long: never earlier than before, and within two readings of the clock. */
static void is_right_for(gs_tick_clock *clock, int64_t span_ns) {
    int64_t last_ns = clock->last_ns;
    for (int64_t end_ns = gs_now_ns() + span_ns; gs_now_ns() < end_ns;) {
        int64_t before_ns = gs_now_ns();
        int64_t said_ns = gs_tick_clock_ns(clock);
        int64_t after_ns = gs_now_ns();
        REQUIRE(said_ns >= last_ns);
        REQUIRE(said_ns >= before_ns - ERROR_NS && said_ns <= after_ns + ERROR_NS);
        last_ns = said_ns;
    }
}

static void says_what_the_clock_says(void) {
    gs_tick_clock clock;
    gs_tick_clock_init(&clock);
    is_right_for(&clock, 100 * GS_NS_PER_MS);
    CHECK_EQ(clock.is_usable, clock.ns_per_tick != 0);
}

static void says_what_the_clock_says_after_a_long_rest(void) {
    gs_tick_clock clock;
    gs_tick_clock_init(&clock);
    is_right_for(&clock, 30 * GS_NS_PER_MS);
    struct timespec rest = gs_timespec(1200 * GS_NS_PER_MS); /* longer than what is compared */
    nanosleep(&rest, NULL);
    is_right_for(&clock, 30 * GS_NS_PER_MS);
}

static void reads_the_clock_where_the_counter_is_not_trusted(void) {
    gs_tick_clock clock = {.is_usable = false};
    is_right_for(&clock, 30 * GS_NS_PER_MS);
    CHECK_EQ(clock.far_ticks, 0);
}

/* A machine that is moved to another one while it runs. */
static void counter_that_changes_its_speed_is_measured_again(void) {
    gs_tick_clock clock;
    gs_tick_clock_init(&clock);
    is_right_for(&clock, 30 * GS_NS_PER_MS);
    uint64_t right = clock.ns_per_tick;
    if (right == 0) {
        return; /* not trusted here: there is no speed */
    }
    clock.ns_per_tick += right / 50;
    clock.far_ticks = ((uint64_t)GS_NS_PER_MS << 32) / (right + 1);
    int64_t last_ns = 0;
    for (int64_t end_ns = gs_now_ns() + 30 * GS_NS_PER_MS; gs_now_ns() < end_ns;) {
        int64_t said_ns = gs_tick_clock_ns(&clock);
        REQUIRE(said_ns >= last_ns);
        /* 2 % of a millisecond, once. */
        REQUIRE(said_ns <= gs_now_ns() + 20 * GS_NS_PER_US + ERROR_NS);
        last_ns = said_ns;
    }
    is_right_for(&clock, 30 * GS_NS_PER_MS);
    CHECK(clock.ns_per_tick <= right + right / 1000);
}

/* A core whose counter is behind: the difference is a number beyond all bounds. */
static void counter_that_goes_back_is_not_believed(void) {
    gs_tick_clock clock;
    gs_tick_clock_init(&clock);
    is_right_for(&clock, 30 * GS_NS_PER_MS);
    clock.anchor_ticks += UINT64_C(1) << 40;
    is_right_for(&clock, 30 * GS_NS_PER_MS);
}

CHECK_MAIN(CHECK_TEST(says_what_the_clock_says), CHECK_TEST(says_what_the_clock_says_after_a_long_rest),
           CHECK_TEST(reads_the_clock_where_the_counter_is_not_trusted),
           CHECK_TEST(counter_that_changes_its_speed_is_measured_again),
           CHECK_TEST(counter_that_goes_back_is_not_believed))
