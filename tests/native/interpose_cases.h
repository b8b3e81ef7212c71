/* The cases of test_interpose*.c: slots of the test program itself, swapped and put back. */
#ifndef GS_TESTS_INTERPOSE_CASES_H
#define GS_TESTS_INTERPOSE_CASES_H

#include "probe/interpose.h"

#include "check.h"

#include <dlfcn.h>
#include <sys/types.h>
#include <unistd.h>

static gs_slots slots;
static int diverted;

static pid_t our_getppid(void) {
    diverted++;
    return 7;
}

static gs_slots other_slots;

/* Another tool, which passes calls on. */
static pid_t other_getppid(void) {
    pid_t (*next)(void) = (pid_t (*)(void))gs_interpose_next(&other_slots, (void *)other_getppid, NULL);
    return next() + 1;
}

static bool hook_this_program(const gs_object *object, void *found) {
    uintptr_t inside = (uintptr_t)our_getppid;
    if (inside < object->start || inside >= object->end) {
        return false;
    }
    *(size_t *)found = gs_interpose(&slots, object, "getppid", (void *)our_getppid, dlsym(RTLD_DEFAULT, "getppid"));
    return true;
}

static size_t hook(void) {
    size_t found = 0;
    gs_objects_visit(hook_this_program, &found);
    return found;
}

/* A call of its own each time: without a PLT a compiler may read the slot once for several calls in one function. */
static __attribute__((noinline)) pid_t called(void) {
    return getppid();
}

static void diverted_call_comes_to_us_and_goes_back(void) {
    pid_t parent = called();
    REQUIRE(hook() >= 1);
    CHECK_EQ(called(), 7);
    CHECK_EQ(diverted, 1);
    CHECK(gs_interpose_next(&slots, (void *)our_getppid, NULL) == dlsym(RTLD_DEFAULT, "getppid"));
    gs_interpose_undo(&slots);
    CHECK_EQ(called(), parent);
    CHECK_EQ(slots.count, 0);
}

static void hooking_twice_diverts_once(void) {
    size_t found = hook();
    size_t count = slots.count;
    CHECK_EQ(hook(), found);
    CHECK_EQ(slots.count, count);
    gs_interpose_undo(&slots);
    CHECK(called() != 7);
}

static void a_thousand_rounds_leave_everything_as_it_was(void) {
    pid_t parent = called();
    for (int i = 0; i < 1000; i++) {
        hook();
        gs_interpose_undo(&slots);
    }
    CHECK_EQ(called(), parent);
    CHECK_EQ(slots.count, 0);
}

static bool hook_as_another_tool(const gs_object *object, void *found) {
    uintptr_t inside = (uintptr_t)our_getppid;
    if (inside < object->start || inside >= object->end) {
        return false;
    }
    /* Ours lies in the object that has the slot, and so looks like a slot that is not bound yet. */
    *(size_t *)found = gs_interpose(&other_slots, object, "getppid", (void *)other_getppid, (void *)our_getppid);
    return true;
}

static void another_tools_hook_on_top_of_ours_survives_our_going_and_coming(void) {
    size_t found = 0;
    REQUIRE(hook() >= 1);
    gs_objects_visit(hook_as_another_tool, &found);
    REQUIRE(found >= 1);
    CHECK_EQ(called(), 8);
    gs_interpose_undo(&slots);
    CHECK_EQ(called(), 8); /* ours goes on passing calls through */
    CHECK_EQ(slots.count, found);
    CHECK_EQ(hook(), found); /* and is there already: on top of the other it would call itself */
    CHECK_EQ(called(), 8);
    CHECK_EQ(slots.count, found);
    gs_interpose_undo(&other_slots);
    CHECK_EQ(called(), 7);
    gs_interpose_undo(&slots);
    CHECK(called() != 7);
    CHECK_EQ(slots.count, 0);
}

static void unknown_symbol_has_no_slot(void) {
    size_t before = slots.count;
    CHECK_EQ(gs_interpose_next(&slots, (void *)other_getppid, NULL) == NULL, 1);
    CHECK_EQ(slots.count, before);
}

static void loading_a_library_is_seen(void) {
    unsigned long long before = gs_objects_loaded();
    void *library = dlopen("libz.so.1", RTLD_NOW);
    CHECK_EQ(gs_objects_loaded() > before, library != NULL);
    if (library != NULL) {
        dlclose(library);
    }
}

CHECK_MAIN(CHECK_TEST(diverted_call_comes_to_us_and_goes_back), CHECK_TEST(hooking_twice_diverts_once),
           CHECK_TEST(a_thousand_rounds_leave_everything_as_it_was),
           CHECK_TEST(another_tools_hook_on_top_of_ours_survives_our_going_and_coming),
           CHECK_TEST(unknown_symbol_has_no_slot), CHECK_TEST(loading_a_library_is_seen))

#endif /* GS_TESTS_INTERPOSE_CASES_H */
