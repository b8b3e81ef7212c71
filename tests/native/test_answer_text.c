/* sources: answer_text.c */
/* The notations of an answer, each with its table: dates, base64, percent-encoding, UTF-8, protobuf fields. */
#include "answer_text.h"

#include <stdio.h>
#include <time.h>

#include "answer.h"
#include "check.h"
#include "clock.h"
#include "wire.h"

#define NOW_S INT64_C(784111777) /* Sun, 06 Nov 1994 08:49:37 GMT */

static int64_t date(const char *text) {
    int64_t unix_s = -1;
    return gs_http_date(gs_slice_of(text), NOW_S, &unix_s) ? unix_s : INT64_MIN;
}

static void date_formats_give_the_same_second(void) {
    CHECK_EQ(date("Sun, 06 Nov 1994 08:49:37 GMT"), NOW_S);
    CHECK_EQ(date("Sunday, 06-Nov-94 08:49:37 GMT"), NOW_S);
    CHECK_EQ(date("Sun Nov  6 08:49:37 1994"), NOW_S);
    CHECK_EQ(date("  Sun, 06 Nov 1994 08:49:37 GMT\t"), NOW_S);
    CHECK_EQ(date("Thu, 01 Jan 1970 00:00:00 GMT"), 0);
    CHECK_EQ(date("Sat, 31 Dec 2016 23:59:60 GMT"), 1483228800); /* a leap second */
    CHECK_EQ(date("Thu, 29 Feb 2024 00:00:00 GMT"), 1709164800);
    CHECK_EQ(date("Tue, 29 Feb 2000 00:00:00 GMT"), 951782400);
}

static void two_digit_years_are_within_fifty_years(void) {
    CHECK_EQ(date("Thursday, 01-Jan-70 00:00:00 GMT"), 0);
    CHECK_EQ(date("Friday, 01-Jan-44 00:00:00 GMT"), 2335219200); /* 2044 */
    CHECK_EQ(date("Monday, 01-Jan-45 00:00:00 GMT"), -788918400); /* 1945 */
}

static void date_agrees_with_the_c_library(void) {
    for (int64_t unix_s = -86400 * 366; unix_s < INT64_C(4102444800) * 2; unix_s += 86400 * 13 + 3607) {
        char text[64];
        time_t at = (time_t)unix_s;
        struct tm parts;
        gmtime_r(&at, &parts);
        strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
        if (!CHECK_EQ(date(text), unix_s)) {
            printf("    %s\n", text);
        }
        strftime(text, sizeof text, "%a %b %e %H:%M:%S %Y", &parts);
        CHECK_EQ(date(text), unix_s);
    }
}

static void no_date_is_refused(void) {
    static const char *const texts[] = {
        "",
        "Sun",
        "Sun,",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 GMTx",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 29 Feb 1994 08:49:37 GMT",
        "Thu, 29 Feb 1900 08:49:37 GMT",
        "Sun, 06 Nuv 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov -994 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov  6 08:49:37 1994 GMT",
        "Xyz, 06 Nov 1994 08:49:37 GMT",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (!CHECK_EQ(date(texts[i]), INT64_MIN)) {
            printf("    %s\n", texts[i]);
        }
        /* nor any beginning of a good one */
    }
    static const char good[] = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (size_t length = 0; length < sizeof good - 1; length++) {
        int64_t unix_s = 0;
        CHECK(!gs_http_date((gs_slice){good, length}, NOW_S, &unix_s));
    }
}

static void retry_after_is_never_negative_nor_absurd(void) {
    static const struct {
        const char *text;
        int64_t seconds;
    } table[] = {
        {"0", 0},
        {"1", 1},
        {" 120 ", 120},
        {"00000000000000000000000007", 7},
        {"86399", 86399},
        {"86400", GS_ANSWER_RETRY_AFTER_MAX_S},
        {"99999999999999999999999999999999", GS_ANSWER_RETRY_AFTER_MAX_S},
        {"Sun, 06 Nov 1994 08:49:36 GMT", 0},
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Sun, 06 Nov 1994 08:50:37 GMT", 60},
        {"Fri, 31 Dec 9999 23:59:59 GMT", GS_ANSWER_RETRY_AFTER_MAX_S},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (!CHECK_EQ(gs_retry_after(gs_slice_of(table[i].text), NOW_S), table[i].seconds * GS_NS_PER_S)) {
            printf("    %s\n", table[i].text);
        }
    }
    static const char *const not[] = {"", "-1", "+1", "1.5", "1 2", "soon", "0x10", "1e3"};
    for (size_t i = 0; i < sizeof not/ sizeof not[0]; i++) {
        CHECK_EQ(gs_retry_after(gs_slice_of(not[i]), NOW_S), -1);
    }
}

static void base64_is_decoded(void) {
    static const struct {
        const char *encoded;
        const char *decoded;
    } table[] = {
        {"", ""},
        {"Zg==", "f"},
        {"Zg", "f"},
        {"Zm8=", "fo"},
        {"Zm8", "fo"},
        {"Zm9v", "foo"},
        {"Zm9vYg==", "foob"},
        {"Zm9vYmFy", "foobar"},
        {"-_-_", "\xfb\xff\xbf"},
        {"+/+/", "\xfb\xff\xbf"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        uint8_t decoded[16];
        size_t bytes = 99;
        CHECK(gs_base64_decode(decoded, sizeof decoded, gs_slice_of(table[i].encoded), &bytes));
        CHECK_EQ(bytes, strlen(table[i].decoded));
        CHECK_MEM_EQ(decoded, table[i].decoded, strlen(table[i].decoded));
    }
    uint8_t small[5];
    size_t bytes = 0;
    static const char *const not[] = {"Z", "Zm9vY", "Zm9v!", "Zm 9v", "Zg===", "Zm9vYmFyZm9v", "Zg==,Zg=="};
    for (size_t i = 0; i < sizeof not/ sizeof not[0]; i++) {
        if (!CHECK(!gs_base64_decode(small, sizeof small, gs_slice_of(not[i]), &bytes))) {
            printf("    %s\n", not[i]);
        }
    }
}

static void percent_encoding_is_decoded(void) {
    static const struct {
        const char *encoded;
        const char *decoded;
    } table[] = {
        {"", ""},   {"a b", "a b"}, {"%41%6a%6A", "Ajj"}, {"100%", "100%"}, {"%4", "%4"},
        {"%", "%"}, {"%%41", "%A"}, {"%zz", "%zz"},       {"%4g", "%4g"},   {"%2541", "%41"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char decoded[16];
        size_t bytes = gs_percent_decode(decoded, gs_slice_of(table[i].encoded));
        CHECK_EQ(bytes, strlen(table[i].decoded));
        CHECK_MEM_EQ(decoded, table[i].decoded, strlen(table[i].decoded));
    }
}

#define BAD "\xef\xbf\xbd"

static void text_is_made_printable(void) {
    static const struct {
        const char *from;
        size_t bytes;
        const char *to;
    } table[] = {
        {"plain", 5, "plain"},
        {"a\0b", 3, "a b"},
        {"a\r\nb\tc\x1b[0m\x7f", 11, "a  b c [0m "},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"\xc2\x85", 2, " "},                  /* NEL, a C1 control */
        {"\xe2\x80\xa8\xe2\x80\xae", 6, "  "}, /* line separator, right-to-left override */
        {"\x80", 1, BAD},
        {"\xc0\xaf", 2, BAD BAD}, /* overlong */
        {"\xe0\x80\xaf", 3, BAD BAD BAD},
        {"\xf0\x80\x80\xaf", 4, BAD BAD BAD BAD},
        {"\xed\xa0\x80", 3, BAD BAD BAD}, /* surrogate */
        {"\xf4\x90\x80\x80", 4, BAD BAD BAD BAD},
        {"\xf5\x80", 2, BAD BAD},
        {"\xe2\x82", 2, BAD BAD}, /* breaks off */
        {"\xe2"
         "A",
         2, BAD "A"},
        {"\xff\xfe", 2, BAD BAD},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char to[64];
        size_t used = gs_text_append(to, 0, sizeof to, (gs_slice){table[i].from, table[i].bytes});
        CHECK_STR_EQ(to, table[i].to);
        CHECK_EQ(used, strlen(table[i].to));
    }
}

static void text_is_cut_between_characters(void) {
    char to[8];
    memset(to, 'x', sizeof to);
    CHECK_EQ(gs_text_append(to, 0, sizeof to, gs_slice_of("\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac")), 6);
    CHECK_STR_EQ(to, "\xe2\x82\xac\xe2\x82\xac");
    CHECK_EQ(gs_text_append(to, 6, sizeof to, gs_slice_of("ab")), 7);
    CHECK_STR_EQ(to, "\xe2\x82\xac\xe2\x82\xac"
                     "a");
    CHECK_EQ(gs_text_append(to, 7, sizeof to, gs_slice_of("b")), 7);
    CHECK_EQ(gs_text_append(to, 0, 1, gs_slice_of("b")), 0);
    CHECK_STR_EQ(to, "");
}

static void fields_are_taken_in_order(void) {
    static const char bytes[] = "\x08\x96\x01"
                                "\x12\x02hi"
                                "\x19\1\0\0\0\0\0\0\x80"
                                "\x25\2\0\0\0"
                                "\xf8\xff\xff\xff\x0f\x01";
    gs_slice message = {bytes, sizeof bytes - 1};
    gs_field field;
    CHECK(gs_field_next(&message, &field));
    CHECK(field.number == 1 && field.wire_type == GS_WIRE_VARINT && field.value == 150);
    CHECK(gs_field_next(&message, &field));
    CHECK(field.number == 2 && field.wire_type == GS_WIRE_LEN && gs_slice_equals(field.bytes, "hi"));
    CHECK(gs_field_next(&message, &field));
    CHECK(field.number == 3 && field.wire_type == GS_WIRE_FIXED64 && field.value == UINT64_C(0x8000000000000001));
    CHECK(gs_field_next(&message, &field));
    CHECK(field.number == 4 && field.wire_type == GS_WIRE_FIXED32 && field.value == 2);
    CHECK(gs_field_next(&message, &field));
    CHECK(field.number == (1u << 29) - 1 && field.value == 1);
    CHECK(!gs_field_next(&message, &field));
    CHECK_EQ(message.length, 0);
}

static void no_field_is_refused(void) {
    static const struct {
        const char *bytes;
        size_t length;
    } table[] = {
        {"", 0},
        {"\x00\x01", 2},                                          /* field 0 */
        {"\x0b", 1},                                              /* a group */
        {"\x0e\x01", 2},                                          /* wire type 6 */
        {"\x08", 1},                                              /* no value */
        {"\x08\x80", 2},                                          /* a varint that breaks off */
        {"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12}, /* one that is too long */
        {"\x12\x03hi", 4},
        {"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01hi", 13},
        {"\x19"
         "1234567",
         8},
        {"\x25"
         "123",
         4},
        {"\x80\x80\x80\x80\x80\x01\x01", 7}, /* a tag beyond 32 bits */
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        gs_slice message = {table[i].bytes, table[i].length};
        gs_field field;
        if (!CHECK(!gs_field_next(&message, &field))) {
            printf("    row %zu\n", i);
        }
    }
}

static void slices_compare_without_case(void) {
    CHECK(gs_slice_equals(gs_slice_of("Retry-After"), "retry-after"));
    CHECK(!gs_slice_equals(gs_slice_of("retry-afte"), "retry-after"));
    CHECK(!gs_slice_equals(gs_slice_of("retry-after2"), "retry-after"));
    CHECK(gs_slice_contains(gs_slice_of("xx LARGER than max"), "larger than"));
    CHECK(!gs_slice_contains(gs_slice_of("larger tha"), "larger than"));
    CHECK(!gs_slice_contains((gs_slice){NULL, 0}, "a"));
    CHECK_EQ(gs_slice_trimmed(gs_slice_of(" \t \r\n")).length, 0);
}

CHECK_MAIN(CHECK_TEST(date_formats_give_the_same_second), CHECK_TEST(two_digit_years_are_within_fifty_years),
           CHECK_TEST(date_agrees_with_the_c_library), CHECK_TEST(no_date_is_refused),
           CHECK_TEST(retry_after_is_never_negative_nor_absurd), CHECK_TEST(base64_is_decoded),
           CHECK_TEST(percent_encoding_is_decoded), CHECK_TEST(text_is_made_printable),
           CHECK_TEST(text_is_cut_between_characters), CHECK_TEST(fields_are_taken_in_order),
           CHECK_TEST(no_field_is_refused), CHECK_TEST(slices_compare_without_case))
