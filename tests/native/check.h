/* Checks for the C tests of ext/core: a few macros and a main that counts.
 *
 *     static void push_when_full_returns_full(void) {
 *         CHECK_EQ(gs_ring_try_push(ring, ...), GS_RING_FULL);
 *     }
 *     CHECK_MAIN(CHECK_TEST(push_when_full_returns_full), ...)
 *
 * A failed CHECK is reported and the test goes on; a failed REQUIRE ends the program. The program fails when a check
 * failed, when it made no check at all, or when one of its tests made none. Arguments name the tests to run; `--list`
 * prints the names.
 *
 * Threads: every macro may be used from every thread. The counters are relaxed, so they add no ordering that
 * ThreadSanitizer could see, but on x86 each is a locked instruction: in a stress loop count mismatches in a local
 * and check once at the end, or the checks hide the race that they look for.
 */
#ifndef GS_TESTS_CHECK_H
#define GS_TESTS_CHECK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_MAX_REPORTS 20

struct check_test {
    const char *name;
    void (*run)(void);
};

static _Atomic unsigned long check_count;
static _Atomic unsigned long check_failures;

static inline bool check_record(bool passed, const char *file, int line, const char *what) {
    /* relaxed: totals, read after the test's threads have been joined */
    atomic_fetch_add_explicit(&check_count, 1, memory_order_relaxed);
    if (!passed) {
        /* relaxed: as above */
        unsigned long earlier = atomic_fetch_add_explicit(&check_failures, 1, memory_order_relaxed);
        if (earlier < CHECK_MAX_REPORTS) {
            printf("%s:%d: check failed: %s\n", file, line, what);
            fflush(stdout);
        }
    }
    return passed;
}

static inline bool check_equal(const char *file, int line, const char *what, long long actual, long long expected) {
    bool passed = check_record(actual == expected, file, line, what);
    if (!passed) {
        printf("    actual   %lld (0x%llx)\n    expected %lld (0x%llx)\n", actual, (unsigned long long)actual, expected,
               (unsigned long long)expected);
        fflush(stdout);
    }
    return passed;
}

static inline void check_print_bytes(const char *label, const unsigned char *bytes, size_t length) {
    printf("    %s", label);
    for (size_t i = 0; i < length && i < 64; i++) {
        printf(" %02x", bytes[i]);
    }
    printf("%s\n", length > 64 ? " ..." : "");
}

static inline bool check_equal_bytes(const char *file, int line, const char *what, const void *actual,
                                     const void *expected, size_t length) {
    bool passed = check_record(length == 0 || memcmp(actual, expected, length) == 0, file, line, what);
    if (!passed) {
        check_print_bytes("actual  ", actual, length);
        check_print_bytes("expected", expected, length);
        fflush(stdout);
    }
    return passed;
}

static inline bool check_equal_strings(const char *file, int line, const char *what, const char *actual,
                                       const char *expected) {
    bool same = actual != NULL && expected != NULL ? strcmp(actual, expected) == 0 : actual == expected;
    bool passed = check_record(same, file, line, what);
    if (!passed) {
        printf("    actual   %s\n    expected %s\n", actual != NULL ? actual : "NULL",
               expected != NULL ? expected : "NULL");
        fflush(stdout);
    }
    return passed;
}

/* All are expressions: true when the check passed. */
#define CHECK(condition) check_record(condition, __FILE__, __LINE__, #condition)
/* Integers and enums, compared as 64 bits: UINT64_MAX equals -1. */
#define CHECK_EQ(actual, expected) \
    check_equal(__FILE__, __LINE__, #actual " == " #expected, (long long)(actual), (long long)(expected))
#define CHECK_STR_EQ(actual, expected) \
    check_equal_strings(__FILE__, __LINE__, #actual " == " #expected, actual, expected)
#define CHECK_MEM_EQ(actual, expected, length) \
    check_equal_bytes(__FILE__, __LINE__, #actual " == " #expected, actual, expected, length)
#define REQUIRE(condition)                                                           \
    do {                                                                             \
        if (!check_record(condition, __FILE__, __LINE__, "required: " #condition)) { \
            exit(EXIT_FAILURE);                                                      \
        }                                                                            \
    } while (0)

static inline bool check_is_chosen(const char *name, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            return true;
        }
    }
    return argc <= 1;
}

/* Returns the program's exit status. */
static inline int check_run(const struct check_test *tests, size_t test_count, int argc, char **argv) {
    bool listing = argc == 2 && strcmp(argv[1], "--list") == 0;
    for (size_t i = 0; i < test_count; i++) {
        if (listing) {
            printf("%s\n", tests[i].name);
            continue;
        }
        if (!check_is_chosen(tests[i].name, argc, argv)) {
            continue;
        }
        printf("%s\n", tests[i].name);
        fflush(stdout);
        /* relaxed: no test thread runs here, nor at the loads below */
        unsigned long before = atomic_load_explicit(&check_count, memory_order_relaxed);
        tests[i].run();
        /* relaxed: as above */
        if (atomic_load_explicit(&check_count, memory_order_relaxed) == before) {
            check_record(false, __FILE__, __LINE__, "the test checks something");
        }
    }
    if (listing) {
        return EXIT_SUCCESS;
    }
    /* relaxed: as above, here and in the next line */
    unsigned long checks = atomic_load_explicit(&check_count, memory_order_relaxed);
    unsigned long failures = atomic_load_explicit(&check_failures, memory_order_relaxed);
    if (failures != 0) {
        printf("%lu failed\n", failures);
    }
    printf("%lu checks\n", checks);
    return checks != 0 && failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#define CHECK_TEST(function) {#function, function}
#define CHECK_MAIN(...)                                                                        \
    int main(int argc, char **argv) {                                                          \
        static const struct check_test check_tests[] = {__VA_ARGS__};                          \
        return check_run(check_tests, sizeof check_tests / sizeof check_tests[0], argc, argv); \
    }

#endif
