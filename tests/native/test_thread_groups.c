/* sources: probe/thread_groups.c */
/* Names of groups of threads. */
#include "probe/thread_groups.h"

#include "check.h"

#define REPLACED "\xef\xbf\xbd"

static gs_thread_groups groups;

static const char *name_of(const char *name) {
    gs_thread_groups_init(&groups);
    return groups.names[gs_thread_groups_of(&groups, name)];
}

static void number_at_the_end_is_a_star(void) {
    CHECK_STR_EQ(name_of("MainThread"), "MainThread");
    CHECK_STR_EQ(name_of("ThreadPoolExecutor-0_3"), "ThreadPoolExecutor-0_*");
    CHECK_STR_EQ(name_of("asyncio_12"), "asyncio_*");
    CHECK_STR_EQ(name_of("Thread-7"), "Thread-*");
    CHECK_STR_EQ(name_of("Thread-7 (work)"), "Thread-* (work)");
    CHECK_STR_EQ(name_of("Thread-7 (work-8)"), "Thread-* (work-8)");
    CHECK_STR_EQ(name_of("http2 reader"), "http2 reader");
    CHECK_STR_EQ(name_of("42"), "*");
    CHECK_STR_EQ(name_of(""), "(unnamed)");
}

static void what_a_terminal_would_obey_is_replaced(void) {
    CHECK_STR_EQ(name_of("a\nb\x1b[2J\x7f"), "a" REPLACED "b" REPLACED "[2J" REPLACED);
    CHECK_STR_EQ(name_of("\xc2\x9f\xc2\xa0"), REPLACED "\xc2\xa0"); /* U+009F, U+00A0 */
    CHECK_STR_EQ(name_of("\xe2\x80\xa8\xe2\x80\xae\xe2\x80\xaf"), REPLACED REPLACED "\xe2\x80\xaf"); /* U+2028 U+202E */
    CHECK_STR_EQ(name_of("\xe2\x81\xa6\xe2\x81\xa9\xe2\x81\xaa"), REPLACED REPLACED "\xe2\x81\xaa"); /* U+2066 U+2069 */
    CHECK_STR_EQ(name_of("\xef\xbf\xbe\xef\xbf\xbd"), REPLACED REPLACED);                            /* U+FFFE */
    CHECK_STR_EQ(name_of("\xc3\xa9\xf0\x9f\x98\x80"
                         "1"),
                 "\xc3\xa9\xf0\x9f\x98\x80*");
}

static void long_name_is_cut_between_characters(void) {
    char name[4 * GS_NAME_BYTES];
    for (size_t i = 0; i < GS_NAME_BYTES; i++) {
        name[i] = '\n';
    }
    name[GS_NAME_BYTES] = '\0';
    CHECK_EQ(strlen(name_of(name)), GS_NAME_BYTES / 3 * 3);
}

static void names_beyond_the_limit_are_others(void) {
    char name[16];
    gs_thread_groups_init(&groups);
    uint32_t first = 0;
    for (uint32_t i = 0; i < 2 * GS_GROUPS; i++) {
        (void)snprintf(name, sizeof name, "%ux", i);
        uint32_t group = gs_thread_groups_of(&groups, name);
        first = i == 0 ? group : first;
        CHECK_EQ(group, i < GS_GROUP_OTHERS - 1 ? i + 1 : GS_GROUP_OTHERS);
    }
    CHECK_EQ(gs_thread_groups_of(&groups, "0x"), first);
    CHECK_EQ(gs_thread_groups_of(&groups, "new"), GS_GROUP_OTHERS);
    CHECK_EQ(gs_thread_groups_of(&groups, ""), GS_GROUP_UNNAMED);
}

CHECK_MAIN(CHECK_TEST(number_at_the_end_is_a_star), CHECK_TEST(what_a_terminal_would_obey_is_replaced),
           CHECK_TEST(long_name_is_cut_between_characters), CHECK_TEST(names_beyond_the_limit_are_others))
