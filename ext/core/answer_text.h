/* answer_text.h - the notations that a collector's answer is written in: dates, base64, percent-encoding, protobuf,
 * UTF-8.
 *
 * All of it reads bytes from outside: each function takes a length, trusts nothing in the bytes, writes inside `room`,
 * and always ends.
 *
 * Threads: pure functions, any thread.
 */
#ifndef GS_ANSWER_TEXT_H
#define GS_ANSWER_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A string that is not ours and not terminated. */
typedef struct gs_slice {
    const char *bytes;
    size_t length;
} gs_slice;

gs_slice gs_slice_of(const char *text);
gs_slice gs_slice_trimmed(gs_slice text);               /* without blanks at both ends */
bool gs_slice_equals(gs_slice text, const char *other); /* ASCII case does not matter, here and below */
bool gs_slice_starts(gs_slice text, const char *prefix);
bool gs_slice_contains(gs_slice text, const char *needle);

/* Appends `from` to the NUL-terminated text at `to`, which holds `used` bytes and has room for `room`, NUL included:
 * valid UTF-8 is kept, what is not becomes U+FFFD, control characters, line breaks and bidirectional controls become
 * blanks. Cut between characters. Returns the new number of bytes used, < room. */
size_t gs_text_append(char *to, size_t used, size_t room, gs_slice from);

/* Writes `from` with %XX replaced by bytes to `to`, which has room for from.length bytes, and returns how many. */
size_t gs_percent_decode(char *to, gs_slice from);

/* Standard or URL-safe alphabet, padded or not. Returns false when it is not base64 or does not fit. */
bool gs_base64_decode(uint8_t *to, size_t room, gs_slice from, size_t *decoded_bytes);

/* Unix seconds of an HTTP date in any of the three formats of RFC 9110, 5.6.7; `unix_now_s` decides about the century
 * of the one with two digits. */
bool gs_http_date(gs_slice text, int64_t unix_now_s, int64_t *unix_s);

/* A Retry-After, in seconds or as a date, as nanoseconds from `unix_now_s`: 0 for the past, cut at
 * GS_ANSWER_RETRY_AFTER_MAX_S, -1 when it is neither. */
int64_t gs_retry_after(gs_slice text, int64_t unix_now_s);

/* One field of a protobuf message. */
typedef struct gs_field {
    uint32_t number;
    uint32_t wire_type;
    uint64_t value; /* varint or fixed */
    gs_slice bytes; /* length-delimited */
} gs_field;

/* Takes the next field off `message`. False at its end, and at the first byte that is no protobuf. */
bool gs_field_next(gs_slice *message, gs_field *field);

#endif /* GS_ANSWER_TEXT_H */
