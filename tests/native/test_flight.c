/* sources: probe/flight.c */
/* Chunks in memory: what is forgotten first, what never, and what a copy of them looks like. */
#include "probe/flight.h"

#include "check.h"

#include <pthread.h>

#define HEADER 24u

static bool add(gs_flight *flight, bool is_events, char name, size_t payload_bytes) {
    char header[HEADER] = {0};
    char payload[256];
    memset(payload, name, sizeof payload);
    return gs_flight_add(flight, is_events, header, sizeof header, payload, payload_bytes);
}

/* The first letters of the payloads that are left, all of the same size, in order. */
static void left(gs_flight *flight, size_t payload_bytes, char *names) {
    size_t bytes = 0;
    uint32_t chunks = 0;
    uint8_t *copy = gs_flight_copy(flight, &bytes, &chunks);
    REQUIRE(copy != NULL);
    CHECK_EQ(bytes, chunks * (HEADER + payload_bytes));
    for (uint32_t i = 0; i < chunks; i++) {
        const uint8_t *chunk = copy + i * (HEADER + payload_bytes);
        CHECK_EQ(chunk[20], i); /* numbered anew */
        names[i] = (char)chunk[HEADER];
    }
    names[chunks] = '\0';
    free(copy);
}

static void oldest_events_go_first_and_definitions_stay(void) {
    char names[32];
    gs_flight *flight = gs_flight_new(3 * (HEADER + 100), 1000);
    REQUIRE(flight != NULL);
    for (const char *name = "mDaDbcDde"; *name != '\0'; name++) {
        REQUIRE(add(flight, *name >= 'a' && *name <= 'e', *name, 100));
    }
    left(flight, 100, names);
    CHECK_STR_EQ(names, "mDDcDde");
    CHECK(!gs_flight_is_full(flight));
    for (int i = 0; i < 6; i++) {
        REQUIRE(add(flight, false, 'D', 100));
    }
    CHECK(gs_flight_is_full(flight));
    gs_flight_clear(flight);
    CHECK(!gs_flight_is_full(flight));
    REQUIRE(add(flight, true, 'a', 100));
    left(flight, 100, names);
    CHECK_STR_EQ(names, "ma");
    gs_flight_free(flight);
}

static void *copy_often(void *flight) {
    for (int i = 0; i < 300; i++) {
        size_t bytes = 0;
        uint32_t chunks = 0;
        uint8_t *copy = gs_flight_copy(flight, &bytes, &chunks);
        if (copy == NULL || bytes != chunks * (HEADER + 50)) {
            free(copy);
            return flight;
        }
        free(copy);
    }
    return NULL;
}

static void copies_are_whole_while_chunks_come_and_go(void) {
    gs_flight *flight = gs_flight_new(5 * (HEADER + 50), 1000);
    REQUIRE(flight != NULL && add(flight, false, 'm', 50));
    pthread_t thread;
    void *failed = flight;
    REQUIRE(pthread_create(&thread, NULL, copy_often, flight) == 0);
    for (int i = 0; i < 3000; i++) {
        REQUIRE(add(flight, true, 'e', 50));
    }
    REQUIRE(pthread_join(thread, &failed) == 0);
    CHECK(failed == NULL);
    gs_flight_free(flight);
    gs_flight_free(NULL);
}

CHECK_MAIN(CHECK_TEST(oldest_events_go_first_and_definitions_stay),
           CHECK_TEST(copies_are_whole_while_chunks_come_and_go))
