/* sources: exporter.c export_thread.c batch.c messages.c ring.c wake.c fork_gate.c */
/* timeout: 120 */
/* mutant: plain -DEXPORTER_FORGETS_FLUSH_FAILURE expect-fail */
/* The exporter on a transport that answers as told: what is counted, flushed, repeated, split, stopped and forked. */
#include "exporter.h"

#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "fake_transport.h"
#include "otlp.h"
#include "wire.h"

#define HOUR_NS (3600 * GS_NS_PER_S)

/* A record with one span field of `span_bytes` content; the definition of scope 1 goes with it. */
static gs_status push(gs_exporter *exporter, size_t span_bytes) {
    static const uint8_t resource_fields[] = {0x0a, 0x00};
    static const uint8_t scope_fields[] = {0x0a, 0x00};
    uint8_t field[16];
    gs_scope_definition definition = {
        .resource_id = 1, .resource_bytes = sizeof resource_fields, .scope_bytes = sizeof scope_fields};
    gs_span_record header = {.scope_id = 1,
                             .definition_bytes = sizeof definition + sizeof resource_fields + sizeof scope_fields};
    uint8_t *content = malloc(span_bytes + 1);
    /* Whatever a span is: the fake walks three levels and looks no deeper. */
    memset(content, 0x5a, span_bytes + 1);
    size_t field_bytes = (size_t)(gs_len_field_write(field, 2, span_bytes) - field);
    gs_piece pieces[] = {{&header, sizeof header},
                         {&definition, sizeof definition},
                         {resource_fields, sizeof resource_fields},
                         {scope_fields, sizeof scope_fields},
                         {field, field_bytes},
                         {content, span_bytes}};
    gs_status status = gs_exporter_try_push(exporter, pieces, sizeof pieces / sizeof pieces[0]);
    free(content);
    return status;
}

static void push_many(gs_exporter *exporter, int count) {
    for (int i = 0; i < count; i++) {
        CHECK_EQ(push(exporter, 100), GS_OK);
    }
}

static gs_exporter_config usual_config(void) {
    return (gs_exporter_config){.max_queue_spans = 2048,
                                .max_queue_bytes = 1 << 20,
                                .max_batch_spans = 512,
                                .max_request_bytes = 1 << 20,
                                .schedule_delay_ns = HOUR_NS,
                                .export_timeout_ns = 10 * GS_NS_PER_S,
                                .transport = {.url = "http://fake/v1/traces"}};
}

static gs_exporter *make(const gs_exporter_config *config) {
    gs_exporter *exporter = NULL;
    fake_reset();
    REQUIRE(gs_exporter_new(&exporter, config) == 0);
    return exporter;
}

static int64_t in_ms(int64_t ms) {
    return gs_deadline_after(gs_now_ns(), ms * GS_NS_PER_MS);
}

static uint64_t sum(const uint64_t *counts, size_t length) {
    uint64_t total = 0;
    for (size_t i = 0; i < length; i++) {
        total += counts[i];
    }
    return total;
}

static gs_exporter_stats check_books(gs_exporter *exporter) {
    gs_exporter_stats stats;
    gs_exporter_get_stats(exporter, &stats);
    CHECK_EQ(stats.ended,
             stats.exported + sum(stats.dropped, GS_DROP_REASONS) + sum(stats.failed, GS_FAIL_REASONS) + stats.queued);
    CHECK(!fake.malformed);
    return stats;
}

static void flush_sends_everything_in_batches(void) {
    gs_exporter_config config = usual_config();
    config.max_batch_spans = 100;
    config.max_queue_spans = 1000;
    gs_exporter *exporter = make(&config);
    push_many(exporter, 950);
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(10000), NULL, NULL), GS_OK);
    CHECK_EQ(fake_accepted(), 950);
    CHECK(fake.largest_spans <= 100);
    gs_exporter_stats stats = check_books(exporter);
    CHECK_EQ(stats.exported, 950);
    CHECK_EQ(stats.queued, 0);
    CHECK(stats.thread_cpu_ns > 0);
    gs_exporter_free(exporter);
    CHECK_EQ(fake.closed, 1);
}

static void a_full_batch_is_sent_without_a_flush(void) {
    gs_exporter_config config = usual_config();
    config.max_batch_spans = 10;
    gs_exporter *exporter = make(&config);
    push_many(exporter, 10);
    CHECK(fake_wait_requests(1));
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(10000), NULL, NULL), GS_OK);
    CHECK_EQ(fake_accepted(), 10);
    gs_exporter_free(exporter);
}

static void bytes_for_a_full_request_are_sent_without_a_flush(void) {
    gs_exporter_config config = usual_config();
    config.max_request_bytes = 4096;
    gs_exporter *exporter = make(&config);
    CHECK_EQ(push(exporter, 2500), GS_OK);
    CHECK_EQ(push(exporter, 2500), GS_OK);
    CHECK(fake_wait_requests(1));
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(10000), NULL, NULL), GS_OK);
    CHECK_EQ(fake_accepted(), 2);
    CHECK_EQ(fake.largest_spans, 1);
    gs_exporter_free(exporter);
}

static void the_schedule_sends_a_single_span(void) {
    gs_exporter_config config = usual_config();
    config.schedule_delay_ns = 20 * GS_NS_PER_MS;
    gs_exporter *exporter = make(&config);
    push_many(exporter, 1);
    CHECK(fake_wait_requests(1));
    gs_exporter_free(exporter);
}

static void a_full_queue_drops_the_newest_and_counts(void) {
    gs_exporter_config config = usual_config();
    config.max_queue_spans = config.max_batch_spans = 8;
    gs_exporter *exporter = make(&config);
    fake_set_hang(true);
    push_many(exporter, 8);
    CHECK_EQ(push(exporter, 10), GS_FULL);
    CHECK_EQ(push(exporter, 10), GS_FULL);
    gs_exporter_stats stats = check_books(exporter);
    CHECK_EQ(stats.dropped[GS_DROP_QUEUE_FULL], 2);
    CHECK_EQ(stats.queued, 8);
    CHECK(gs_exporter_message_waiting(exporter));
    gs_message message;
    CHECK(gs_exporter_next_message(exporter, &message));
    CHECK_EQ(message.kind, GS_SAY_QUEUE_FULL);
    fake_set_hang(false);
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(10000), NULL, NULL), GS_OK);
    CHECK_EQ(fake_accepted(), 8);
    gs_exporter_free(exporter);
}

static void a_record_that_is_none_fails_the_flush_and_no_other_span(void) {
    gs_exporter_config config = usual_config();
    gs_exporter *exporter = make(&config);
    gs_span_record undefined = {.scope_id = 77};
    gs_piece piece = {&undefined, sizeof undefined};
    CHECK_EQ(gs_exporter_try_push(exporter, &piece, 1), GS_OK);
    push_many(exporter, 2);
    CHECK_EQ(gs_exporter_try_push(exporter, &piece, 1), GS_OK);
    push_many(exporter, 2);
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(10000), NULL, NULL), GS_FAILED);
    gs_exporter_stats stats = check_books(exporter);
    CHECK_EQ(stats.failed[GS_FAIL_INTERNAL], 2);
    CHECK_EQ(stats.exported, 4);
    gs_exporter_free(exporter);
}

static void a_span_that_can_never_fit_is_dropped_as_too_large(void) {
    gs_exporter_config config = usual_config();
    gs_exporter *exporter = make(&config);
    CHECK_EQ(push(exporter, (1 << 19) + 1), GS_TOO_LARGE);
    CHECK_EQ(check_books(exporter).dropped[GS_DROP_TOO_LARGE], 1);
    gs_exporter_free(exporter);
}

static void transient_answers_are_repeated(void) {
    gs_exporter_config config = usual_config();
    gs_exporter *exporter = make(&config);
    fake_answer(GS_ANSWER_RETRY, 0, 0);
    fake_answer(GS_ANSWER_STALE, -1, 0);
    fake_answer(GS_ANSWER_RETRY, GS_NS_PER_MS, 0);
    push_many(exporter, 3);
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(10000), NULL, NULL), GS_OK);
    gs_exporter_stats stats = check_books(exporter);
    CHECK_EQ(stats.exported, 3);
    CHECK_EQ(stats.requests, 4);
    CHECK_EQ(stats.retries, 3);
    gs_exporter_free(exporter);
}

static void a_wait_beyond_the_export_timeout_fails_at_once(void) {
    gs_exporter_config config = usual_config();
    gs_exporter *exporter = make(&config);
    fake_answer(GS_ANSWER_RETRY, HOUR_NS, 0);
    push_many(exporter, 3);
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(10000), NULL, NULL), GS_FAILED);
    gs_exporter_stats stats = check_books(exporter);
    CHECK_EQ(stats.failed[GS_FAIL_TIMEOUT], 3);
    CHECK_EQ(stats.requests, 1);
    gs_exporter_free(exporter);
}

static void the_export_timeout_ends_a_hanging_request(void) {
    gs_exporter_config config = usual_config();
    config.export_timeout_ns = 30 * GS_NS_PER_MS;
    gs_exporter *exporter = make(&config);
    fake_set_hang(true);
    push_many(exporter, 3);
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(10000), NULL, NULL), GS_FAILED);
    CHECK_EQ(check_books(exporter).failed[GS_FAIL_TIMEOUT], 3);
    gs_exporter_free(exporter);
}

static void a_final_no_fails_the_flush_and_only_this_one(void) {
    gs_exporter_config config = usual_config();
    gs_exporter *exporter = make(&config);
    fake_answer(GS_ANSWER_REJECTED, -1, 0);
    push_many(exporter, 3);
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(10000), NULL, NULL), GS_FAILED);
    CHECK_EQ(check_books(exporter).failed[GS_FAIL_REJECTED], 3);
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(10000), NULL, NULL), GS_OK);
    push_many(exporter, 2);
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(10000), NULL, NULL), GS_OK);
    CHECK_EQ(check_books(exporter).exported, 2);
    gs_exporter_free(exporter);
}

static void a_partial_success_is_counted_and_not_repeated(void) {
    gs_exporter_config config = usual_config();
    gs_exporter *exporter = make(&config);
    fake_answer(GS_ANSWER_OK, -1, 2);
    push_many(exporter, 5);
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(10000), NULL, NULL), GS_FAILED);
    gs_exporter_stats stats = check_books(exporter);
    CHECK_EQ(stats.exported, 3);
    CHECK_EQ(stats.failed[GS_FAIL_PARTIAL], 2);
    CHECK_EQ(stats.requests, 1);
    gs_exporter_free(exporter);
}

static void a_request_that_is_too_large_is_split(void) {
    gs_exporter_config config = usual_config();
    gs_exporter *exporter = make(&config);
    fake.most_spans = 3;
    push_many(exporter, 20);
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(10000), NULL, NULL), GS_OK);
    gs_exporter_stats stats = check_books(exporter);
    CHECK_EQ(stats.exported, 20);
    CHECK_EQ(fake_accepted(), 20);
    CHECK(stats.splits >= 3);
    gs_exporter_free(exporter);
}

static void a_single_span_that_the_collector_finds_too_large_is_given_up(void) {
    gs_exporter_config config = usual_config();
    gs_exporter *exporter = make(&config);
    fake_answer(GS_ANSWER_TOO_LARGE, -1, 0); /* two spans */
    fake_answer(GS_ANSWER_TOO_LARGE, -1, 0); /* the first of them */
    push_many(exporter, 2);
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(10000), NULL, NULL), GS_FAILED);
    gs_exporter_stats stats = check_books(exporter);
    CHECK_EQ(stats.exported, 1);
    CHECK_EQ(stats.failed[GS_FAIL_TOO_LARGE], 1);
    gs_exporter_free(exporter);
}

static void flush_comes_back_at_its_deadline(void) {
    gs_exporter_config config = usual_config();
    gs_exporter *exporter = make(&config);
    fake_set_hang(true);
    push_many(exporter, 3);
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(30), NULL, NULL), GS_TIMEOUT);
    CHECK_EQ(check_books(exporter).queued, 3);
    fake_set_hang(false);
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(10000), NULL, NULL), GS_OK);
    gs_exporter_free(exporter);
}

static void shutdown_sends_what_is_queued(void) {
    gs_exporter_config config = usual_config();
    gs_exporter *exporter = make(&config);
    push_many(exporter, 700);
    CHECK_EQ(gs_exporter_shutdown(exporter, in_ms(10000), NULL, NULL), GS_OK);
    CHECK_EQ(fake_accepted(), 700);
    CHECK_EQ(push(exporter, 10), GS_STOPPED);
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(10), NULL, NULL), GS_STOPPED);
    CHECK_EQ(gs_exporter_shutdown(exporter, in_ms(10), NULL, NULL), GS_STOPPED);
    gs_exporter_stats stats = check_books(exporter);
    CHECK_EQ(stats.dropped[GS_DROP_SHUTDOWN], 1);
    gs_exporter_free(exporter);
}

static void shutdown_gives_up_at_its_deadline_and_says_so(void) {
    gs_exporter_config config = usual_config();
    config.max_batch_spans = 2;
    gs_exporter *exporter = make(&config);
    fake_set_hang(true);
    push_many(exporter, 5);
    CHECK_EQ(gs_exporter_shutdown(exporter, in_ms(30), NULL, NULL), GS_FAILED);
    gs_exporter_stats stats = check_books(exporter);
    CHECK_EQ(stats.failed[GS_FAIL_SHUTDOWN], 5);
    CHECK_EQ(stats.queued, 0);
    gs_exporter_free(exporter);
    CHECK_EQ(fake.closed, 1);
}

static bool ask_twice(void *context) {
    return ++*(int *)context < 2;
}

static void a_wait_can_be_broken_off(void) {
    gs_exporter_config config = usual_config();
    gs_exporter *exporter = make(&config);
    int asked = 0;
    fake_set_hang(true);
    push_many(exporter, 3);
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(60000), ask_twice, &asked), GS_TIMEOUT);
    CHECK_EQ(asked, 2);
    asked = 0;
    CHECK_EQ(gs_exporter_shutdown(exporter, in_ms(60000), ask_twice, &asked), GS_FAILED);
    CHECK_EQ(asked, 2);
    CHECK_EQ(check_books(exporter).failed[GS_FAIL_SHUTDOWN], 3);
    gs_exporter_free(exporter);
}

static void shutdown_ends_a_backoff(void) {
    gs_exporter_config config = usual_config();
    gs_exporter *exporter = make(&config);
    for (int i = 0; i < 6; i++) {
        fake_answer(GS_ANSWER_RETRY, 5 * GS_NS_PER_S, 0);
    }
    config.max_batch_spans = 2;
    push_many(exporter, 3);
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(20), NULL, NULL), GS_TIMEOUT);
    CHECK_EQ(gs_exporter_shutdown(exporter, in_ms(50), NULL, NULL), GS_FAILED);
    CHECK_EQ(check_books(exporter).failed[GS_FAIL_SHUTDOWN], 3);
    gs_exporter_free(exporter);
}

static void a_transport_that_cannot_be_opened_loses_nothing_uncounted(void) {
    gs_exporter_config config = usual_config();
    gs_exporter *exporter = make(&config);
    fake.open_error = EINVAL;
    (void)push(exporter, 10);
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(10000), NULL, NULL) == GS_OK, 0);
    (void)push(exporter, 10);
    gs_exporter_stats stats = check_books(exporter);
    CHECK_EQ(stats.ended, 2);
    CHECK_EQ(stats.exported, 0);
    CHECK_EQ(gs_exporter_shutdown(exporter, in_ms(1000), NULL, NULL) == GS_TIMEOUT, 0);
    gs_exporter_free(exporter);
}

static void invalid_settings_are_refused(void) {
    gs_exporter *exporter = NULL;
    gs_exporter_config config = usual_config();
    config.max_batch_spans = config.max_queue_spans + 1;
    CHECK_EQ(gs_exporter_new(&exporter, &config), EINVAL);
    config = usual_config();
    config.max_queue_bytes = 7;
    CHECK_EQ(gs_exporter_new(&exporter, &config), EINVAL);
    config = usual_config();
    config.transport.url = NULL;
    CHECK_EQ(gs_exporter_new(&exporter, &config), EINVAL);
}

static void nothing_is_started_before_the_first_span(void) {
    gs_exporter_config config = usual_config();
    gs_exporter *exporter = make(&config);
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(1000), NULL, NULL), GS_OK);
    CHECK_EQ(gs_exporter_shutdown(exporter, in_ms(1000), NULL, NULL), GS_OK);
    CHECK_EQ(fake.opened, 0);
    gs_exporter_free(exporter);
}

/* In the child: 0 if everything is as it should be, else the number of the check that failed. */
static int in_child(gs_exporter *exporter, uint64_t abandoned) {
    gs_exporter_stats stats;
    gs_exporter_get_stats(exporter, &stats);
    if (gs_exporter_generation(exporter) != 1 || stats.ended != 0 || stats.queued != 0 || stats.exported != 0) {
        return 1;
    }
    if (fake.abandoned != abandoned) {
        return 2;
    }
    /* The parent's threads may have held the fake's lock. */
    pthread_mutex_init(&fake.lock, NULL);
    fake_reset();
    for (int i = 0; i < 4; i++) {
        if (push(exporter, 50) != GS_OK) {
            return 3;
        }
    }
    if (gs_exporter_flush(exporter, in_ms(10000), NULL, NULL) != GS_OK || fake_accepted() != 4) {
        return 4;
    }
    gs_exporter_get_stats(exporter, &stats);
    if (stats.ended != 4 || stats.exported != 4) {
        return 5;
    }
    gs_exporter_free(exporter);
    return 0;
}

static void check_fork(gs_exporter *exporter, uint64_t abandoned) {
    pid_t child = fork();
    if (child == 0) {
        _exit(in_child(exporter, abandoned));
    }
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
}

static void a_forked_child_starts_empty_and_works(void) {
    gs_exporter_config config = usual_config();
    gs_exporter *exporter = make(&config);
    check_fork(exporter, 0);
    fake_set_hang(true);
    push_many(exporter, 5);
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(20), NULL, NULL), GS_TIMEOUT);
#if !defined(__SANITIZE_THREAD__) /* ThreadSanitizer cannot start threads in the child of a process with threads */
    check_fork(exporter, 1);
#endif
    fake_set_hang(false);
    CHECK_EQ(gs_exporter_flush(exporter, in_ms(10000), NULL, NULL), GS_OK);
    CHECK_EQ(fake_accepted(), 5);
    CHECK_EQ(gs_exporter_generation(exporter), 0);
    check_books(exporter);
    gs_exporter_free(exporter);
}

enum { PUSHERS = 3, PUSHES_AFTER_STOP = 100 };

/* Returns the number of spans it pushed: until the exporter is stopped, and some more. */
static void *push_all_the_time(void *argument) {
    uintptr_t pushed = 0;
    for (int after = 0; after < PUSHES_AFTER_STOP;) {
        after += push(argument, pushed % 400) == GS_STOPPED;
        pushed++;
    }
    return (void *)pushed;
}

static void *flush_all_the_time(void *argument) {
    for (int i = 0; i < 200; i++) {
        gs_exporter_stats stats;
        (void)gs_exporter_flush(argument, in_ms(1000), NULL, NULL);
        gs_exporter_get_stats(argument, &stats);
    }
    return NULL;
}

static void concurrent_pushes_flushes_and_a_shutdown_keep_the_books(void) {
    gs_exporter_config config = usual_config();
    config.max_queue_spans = 300;
    config.max_batch_spans = 64;
    config.max_queue_bytes = 64 << 10;
    config.schedule_delay_ns = GS_NS_PER_MS;
    gs_exporter *exporter = make(&config);
    pthread_t threads[PUSHERS + 1];
    for (int i = 0; i < PUSHERS; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, push_all_the_time, exporter) == 0);
    }
    REQUIRE(pthread_create(&threads[PUSHERS], NULL, flush_all_the_time, exporter) == 0);
    REQUIRE(fake_wait_requests(20));
    CHECK(gs_exporter_shutdown(exporter, in_ms(10000), NULL, NULL) != GS_TIMEOUT);
    uint64_t pushed = 0;
    for (int i = 0; i < PUSHERS; i++) {
        void *by_thread = NULL;
        pthread_join(threads[i], &by_thread);
        pushed += (uintptr_t)by_thread;
    }
    pthread_join(threads[PUSHERS], NULL);
    gs_exporter_stats stats = check_books(exporter);
    CHECK_EQ(stats.ended, pushed);
    CHECK_EQ(stats.dropped[GS_DROP_SHUTDOWN], PUSHERS * PUSHES_AFTER_STOP);
    CHECK_EQ(stats.exported, fake_accepted());
    CHECK_EQ(stats.queued, 0);
    gs_exporter_free(exporter);
}

static void messages_of_a_kind_are_limited(void) {
    gs_exporter_config config = usual_config();
    gs_exporter *exporter = make(&config);
    for (int i = 0; i < 3; i++) {
        fake_answer(GS_ANSWER_REJECTED, -1, 0);
        push_many(exporter, 1);
        CHECK_EQ(gs_exporter_flush(exporter, in_ms(10000), NULL, NULL), GS_FAILED);
    }
    gs_message message;
    CHECK(gs_exporter_next_message(exporter, &message));
    CHECK_EQ(message.kind, GS_SAY_FAILED);
    CHECK_EQ(message.level, GS_MESSAGE_ERROR);
    CHECK(!gs_exporter_next_message(exporter, &message));
    CHECK(!gs_exporter_message_waiting(exporter));
    gs_exporter_free(exporter);
}

CHECK_MAIN(CHECK_TEST(flush_sends_everything_in_batches), CHECK_TEST(a_full_batch_is_sent_without_a_flush),
           CHECK_TEST(bytes_for_a_full_request_are_sent_without_a_flush), CHECK_TEST(the_schedule_sends_a_single_span),
           CHECK_TEST(a_full_queue_drops_the_newest_and_counts),
           CHECK_TEST(a_span_that_can_never_fit_is_dropped_as_too_large),
           CHECK_TEST(a_record_that_is_none_fails_the_flush_and_no_other_span),
           CHECK_TEST(transient_answers_are_repeated), CHECK_TEST(a_wait_beyond_the_export_timeout_fails_at_once),
           CHECK_TEST(the_export_timeout_ends_a_hanging_request),
           CHECK_TEST(a_final_no_fails_the_flush_and_only_this_one),
           CHECK_TEST(a_partial_success_is_counted_and_not_repeated), CHECK_TEST(a_request_that_is_too_large_is_split),
           CHECK_TEST(a_single_span_that_the_collector_finds_too_large_is_given_up),
           CHECK_TEST(flush_comes_back_at_its_deadline), CHECK_TEST(shutdown_sends_what_is_queued),
           CHECK_TEST(shutdown_gives_up_at_its_deadline_and_says_so), CHECK_TEST(shutdown_ends_a_backoff),
           CHECK_TEST(a_wait_can_be_broken_off), CHECK_TEST(a_transport_that_cannot_be_opened_loses_nothing_uncounted),
           CHECK_TEST(invalid_settings_are_refused), CHECK_TEST(nothing_is_started_before_the_first_span),
           CHECK_TEST(a_forked_child_starts_empty_and_works),
           CHECK_TEST(concurrent_pushes_flushes_and_a_shutdown_keep_the_books),
           CHECK_TEST(messages_of_a_kind_are_limited))
