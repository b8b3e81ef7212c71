#include "answer_text.h"

#include <string.h>

#include "answer.h"
#include "clock.h"
#include "wire.h"

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

gs_slice gs_slice_of(const char *text) {
    return (gs_slice){text, strlen(text)};
}

gs_slice gs_slice_trimmed(gs_slice text) {
    while (text.length > 0 && is_blank(text.bytes[0])) {
        text.bytes++;
        text.length--;
    }
    while (text.length > 0 && is_blank(text.bytes[text.length - 1])) {
        text.length--;
    }
    return text;
}

bool gs_slice_starts(gs_slice text, const char *prefix) {
    size_t i = 0;
    for (; prefix[i] != '\0'; i++) {
        if (i >= text.length || lower(text.bytes[i]) != lower(prefix[i])) {
            return false;
        }
    }
    return true;
}

bool gs_slice_equals(gs_slice text, const char *other) {
    return strlen(other) == text.length && gs_slice_starts(text, other);
}

bool gs_slice_contains(gs_slice text, const char *needle) {
    for (; text.length > 0; text.bytes++, text.length--) {
        if (gs_slice_starts(text, needle)) {
            return true;
        }
    }
    return false;
}

/* -- UTF-8 -- */

#define REPLACEMENT 0xfffdu

/* Takes the next code point off `text`, which is not empty; REPLACEMENT for each byte that begins no valid one.
 * Source: Unicode 15, table 3-7. */
static uint32_t next_code_point(gs_slice *text) {
    const unsigned char *at = (const unsigned char *)text->bytes;
    uint32_t point = at[0];
    size_t length = point < 0x80                    ? 1
                    : point >= 0xc2 && point < 0xe0 ? 2
                    : (point & 0xf0) == 0xe0        ? 3
                    : point >= 0xf0 && point < 0xf5 ? 4
                                                    : 0;
    bool valid = length != 0 && length <= text->length;
    if (valid && length > 1) {
        point &= 0xffu >> (length + 1);
        for (size_t i = 1; i < length; i++) {
            valid = valid && (at[i] & 0xc0) == 0x80;
            point = point << 6 | (at[i] & 0x3fu);
        }
        valid = valid && !(length == 3 && (point < 0x800 || (point >= 0xd800 && point <= 0xdfff))) &&
                !(length == 4 && (point < 0x10000 || point > 0x10ffff));
    }
    size_t taken = valid ? length : 1;
    text->bytes += taken;
    text->length -= taken;
    return valid ? point : REPLACEMENT;
}

static bool is_unprintable(uint32_t point) {
    return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x061c || point == 0x200e || point == 0x200f ||
           (point >= 0x2028 && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069) || point == 0xfeff ||
           (point & 0xfffe) == 0xfffe;
}

static size_t put_code_point(char *to, uint32_t point) {
    unsigned char *at = (unsigned char *)to;
    if (point < 0x80) {
        at[0] = (unsigned char)point;
        return 1;
    }
    size_t length = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--) {
        at[i] = (unsigned char)(0x80u | (point & 0x3fu));
        point >>= 6;
    }
    at[0] = (unsigned char)((0xf00u >> length & 0xffu) | point);
    return length;
}

size_t gs_text_append(char *to, size_t used, size_t room, gs_slice from) {
    while (from.length > 0) {
        char encoded[4];
        uint32_t point = next_code_point(&from);
        size_t length = put_code_point(encoded, is_unprintable(point) ? ' ' : point);
        if (used + length >= room) {
            break;
        }
        memcpy(to + used, encoded, length);
        used += length;
    }
    to[used] = '\0';
    return used;
}

/* -- percent-encoding and base64 -- */

static int hex_digit(char c) {
    c = lower(c);
    return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t gs_percent_decode(char *to, gs_slice from) {
    size_t written = 0;
    for (size_t i = 0; i < from.length; i++) {
        int high = from.length - i > 2 ? hex_digit(from.bytes[i + 1]) : -1;
        int low = from.length - i > 2 ? hex_digit(from.bytes[i + 2]) : -1;
        if (from.bytes[i] == '%' && high >= 0 && low >= 0) {
            to[written++] = (char)(unsigned char)(high * 16 + low);
            i += 2;
        } else {
            to[written++] = from.bytes[i];
        }
    }
    return written;
}

static int base64_digit(char c) {
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (is_digit(c)) {
        return c - '0' + 52;
    }
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

bool gs_base64_decode(uint8_t *to, size_t room, gs_slice from, size_t *decoded_bytes) {
    for (int padding = 0; padding < 2 && from.length > 0 && from.bytes[from.length - 1] == '='; padding++) {
        from.length--;
    }
    if (from.length % 4 == 1 || from.length / 4 * 3 + 2 > room) {
        return false;
    }
    size_t written = 0;
    uint32_t bits = 0;
    for (size_t i = 0; i < from.length; i++) {
        int digit = base64_digit(from.bytes[i]);
        if (digit < 0) {
            return false;
        }
        bits = bits << 6 | (uint32_t)digit;
        if (i % 4 != 0) {
            to[written++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
        }
    }
    *decoded_bytes = written;
    return true;
}

/* -- dates -- */

/* What is left of a date; `ok` turns false at the first thing that does not fit, and stays so. */
typedef struct date_reader {
    gs_slice rest;
    bool ok;
} date_reader;

static void expect(date_reader *self, const char *literal) {
    size_t length = strlen(literal);
    self->ok = self->ok && self->rest.length >= length && memcmp(self->rest.bytes, literal, length) == 0;
    if (self->ok) {
        self->rest.bytes += length;
        self->rest.length -= length;
    }
}

static int64_t number(date_reader *self, size_t digits, bool blank_first) {
    int64_t value = 0;
    self->ok = self->ok && self->rest.length >= digits;
    for (size_t i = 0; self->ok && i < digits; i++) {
        char c = self->rest.bytes[i];
        self->ok = is_digit(c) || (blank_first && i == 0 && c == ' ');
        value = value * 10 + (is_digit(c) ? c - '0' : 0);
    }
    if (self->ok) {
        self->rest.bytes += digits;
        self->rest.length -= digits;
    }
    return value;
}

/* The position of one of `count` names of three letters, from 0. */
static int64_t name(date_reader *self, const char *names, size_t count) {
    for (size_t i = 0; self->ok && self->rest.length >= 3 && i < count; i++) {
        if (memcmp(self->rest.bytes, names + 3 * i, 3) == 0) {
            self->rest.bytes += 3;
            self->rest.length -= 3;
            return (int64_t)i;
        }
    }
    self->ok = false;
    return 0;
}

static int64_t month(date_reader *self) {
    return name(self, "JanFebMarAprMayJunJulAugSepOctNovDec", 12) + 1;
}

static int64_t time_of_day(date_reader *self) {
    int64_t hour = number(self, 2, false);
    expect(self, ":");
    int64_t minute = number(self, 2, false);
    expect(self, ":");
    int64_t second = number(self, 2, false);
    self->ok = self->ok && hour < 24 && minute < 60 && second <= 60;
    return hour * 3600 + minute * 60 + second;
}

/* Days from 1970-01-01 to a day of the proleptic Gregorian calendar, year >= 0: whole years counted from a 1st of
 * March, so that the leap day is a year's last. */
static int64_t days_since_epoch(int64_t year, int64_t month_of_year, int64_t day) {
    int64_t y = month_of_year > 2 ? year : year - 1;
    int64_t months_from_march = (month_of_year + 9) % 12;
    int64_t leap_days = y >= 0 ? y / 4 - y / 100 + y / 400 : -1;
    return y * 365 + leap_days + (months_from_march * 153 + 2) / 5 + day - 1 - 719468;
}

static bool is_leap(int64_t year) {
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int64_t year_of(int64_t unix_s) {
    int64_t year = 1970 + unix_s / (365 * 86400);
    while (year > 0 && days_since_epoch(year, 1, 1) * 86400 > unix_s) {
        year--;
    }
    return year;
}

bool gs_http_date(gs_slice text, int64_t unix_now_s, int64_t *unix_s) {
    static const char days_of_month[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    date_reader reader = {gs_slice_trimmed(text), true};
    int64_t year = 0, month_of_year = 0, day = 0, seconds = 0;
    name(&reader, "MonTueWedThuFriSatSun", 7);
    if (reader.ok && gs_slice_starts(reader.rest, ", ")) { /* Sun, 06 Nov 1994 08:49:37 GMT */
        expect(&reader, ", ");
        day = number(&reader, 2, false);
        expect(&reader, " ");
        month_of_year = month(&reader);
        expect(&reader, " ");
        year = number(&reader, 4, false);
        expect(&reader, " ");
        seconds = time_of_day(&reader);
        expect(&reader, " GMT");
    } else if (reader.ok && gs_slice_starts(reader.rest, " ")) { /* Sun Nov  6 08:49:37 1994 */
        expect(&reader, " ");
        month_of_year = month(&reader);
        expect(&reader, " ");
        day = number(&reader, 2, true);
        expect(&reader, " ");
        seconds = time_of_day(&reader);
        expect(&reader, " ");
        year = number(&reader, 4, false);
    } else { /* Sunday, 06-Nov-94 08:49:37 GMT */
        while (reader.rest.length > 0 && lower(reader.rest.bytes[0]) >= 'a' && lower(reader.rest.bytes[0]) <= 'z') {
            reader.rest.bytes++;
            reader.rest.length--;
        }
        expect(&reader, ", ");
        day = number(&reader, 2, false);
        expect(&reader, "-");
        month_of_year = month(&reader);
        expect(&reader, "-");
        year = number(&reader, 2, false);
        expect(&reader, " ");
        seconds = time_of_day(&reader);
        expect(&reader, " GMT");
        /* The year with these digits that is not more than 50 years ahead. */
        int64_t this_year = year_of(unix_now_s);
        year += this_year / 100 * 100;
        year += year > this_year + 50 ? -100 : year <= this_year - 50 ? 100 : 0;
    }
    if (!reader.ok || reader.rest.length != 0 || day < 1 ||
        day > days_of_month[month_of_year - 1] + (month_of_year == 2 && is_leap(year))) {
        return false;
    }
    *unix_s = days_since_epoch(year, month_of_year, day) * 86400 + seconds;
    return true;
}

int64_t gs_retry_after(gs_slice text, int64_t unix_now_s) {
    text = gs_slice_trimmed(text);
    int64_t seconds = 0;
    size_t digits = 0;
    while (digits < text.length && is_digit(text.bytes[digits])) {
        seconds = seconds < GS_ANSWER_RETRY_AFTER_MAX_S ? seconds * 10 + (text.bytes[digits] - '0') : seconds;
        digits++;
    }
    if (digits == 0 || digits != text.length) {
        if (!gs_http_date(text, unix_now_s, &seconds)) {
            return -1;
        }
        seconds -= unix_now_s;
    }
    seconds = seconds < 0 ? 0 : seconds;
    return (seconds < GS_ANSWER_RETRY_AFTER_MAX_S ? seconds : GS_ANSWER_RETRY_AFTER_MAX_S) * GS_NS_PER_S;
}

/* -- protobuf -- */

static bool take_varint(gs_slice *message, uint64_t *value) {
    *value = 0;
    for (unsigned shift = 0; shift < 70 && message->length > 0; shift += 7) {
        unsigned char byte = (unsigned char)message->bytes[0];
        message->bytes++;
        message->length--;
        *value |= shift < 64 ? (uint64_t)(byte & 0x7f) << shift : 0;
        if (byte < 0x80) {
            return true;
        }
    }
    return false;
}

bool gs_field_next(gs_slice *message, gs_field *field) {
    uint64_t tag = 0;
    *field = (gs_field){0};
    if (!take_varint(message, &tag) || tag >> 3 == 0 || tag > UINT32_MAX) {
        return false;
    }
    field->number = (uint32_t)(tag >> 3);
    field->wire_type = (uint32_t)(tag & 7);
    size_t fixed_bytes = field->wire_type == GS_WIRE_FIXED64 ? 8 : 4;
    switch (field->wire_type) {
    case GS_WIRE_VARINT: return take_varint(message, &field->value);
    case GS_WIRE_LEN:
        if (!take_varint(message, &field->value) || field->value > message->length) {
            return false;
        }
        field->bytes = (gs_slice){message->bytes, (size_t)field->value};
        break;
    case GS_WIRE_FIXED64:
    case GS_WIRE_FIXED32:
        if (message->length < fixed_bytes) {
            return false;
        }
        for (size_t i = fixed_bytes; i > 0; i--) {
            field->value = field->value << 8 | (unsigned char)message->bytes[i - 1];
        }
        field->bytes.length = fixed_bytes;
        break;
    default: return false; /* groups: no message that we read has one */
    }
    message->bytes += field->bytes.length;
    message->length -= field->bytes.length;
    if (field->wire_type != GS_WIRE_LEN) {
        field->bytes.length = 0;
    }
    return true;
}
