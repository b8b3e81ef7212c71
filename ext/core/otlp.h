/* otlp.h - what lies in a ring record, the numbers of OTLP's fields, and the writers of its smallest messages.
 *
 * A record is a gs_span_record, then `definition_bytes` bytes of scope definition, then the bytes of one finished
 * `spans` field (number 2) of opentelemetry.proto.trace.v1.ScopeSpans: tag, length, Span. So batching and splitting
 * are concatenation.
 *
 * A definition is a gs_scope_definition, then `resource_bytes` bytes: the fields `resource` (1) and `schema_url` (3) of
 * ResourceSpans; then `scope_bytes` bytes: the fields `scope` (1) and `schema_url` (3) of ScopeSpans. The first record
 * that names a scope carries its definition; the consumer keeps it. A record with the scope GS_SCOPE_INLINE always
 * carries one, and nothing is kept: for producers that have defined too many.
 */
#ifndef GS_OTLP_H
#define GS_OTLP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "wire.h"

#define GS_SCOPE_INLINE UINT32_C(0)
#define GS_SCOPE_MAX    UINT32_C(65535) /* scope and resource ids are 1..GS_SCOPE_MAX, given out in ascending order */

typedef struct gs_span_record {
    uint32_t scope_id;
    uint32_t definition_bytes; /* 0: defined by an earlier record */
} gs_span_record;

typedef struct gs_scope_definition {
    uint32_t resource_id; /* 1..GS_SCOPE_MAX; GS_SCOPE_INLINE: known by nothing else */
    uint32_t resource_bytes;
    uint32_t scope_bytes;
} gs_scope_definition;

/* Field numbers. Source: opentelemetry-proto, the files named; unchanged since 1.0 (Span.flags: 1.1, Link.flags: 1.1).
 * */

/* trace/v1/trace.proto */
enum { GS_RESOURCE_SPANS_RESOURCE = 1, GS_RESOURCE_SPANS_SCHEMA_URL = 3 };
enum { GS_SCOPE_SPANS_SCOPE = 1, GS_SCOPE_SPANS_SPANS = 2, GS_SCOPE_SPANS_SCHEMA_URL = 3 };
enum {
    GS_SPAN_TRACE_ID = 1,
    GS_SPAN_SPAN_ID = 2,
    GS_SPAN_TRACE_STATE = 3,
    GS_SPAN_PARENT_SPAN_ID = 4,
    GS_SPAN_NAME = 5,
    GS_SPAN_KIND = 6,
    GS_SPAN_START_TIME = 7,
    GS_SPAN_END_TIME = 8,
    GS_SPAN_ATTRIBUTES = 9,
    GS_SPAN_DROPPED_ATTRIBUTES = 10,
    GS_SPAN_EVENTS = 11,
    GS_SPAN_DROPPED_EVENTS = 12,
    GS_SPAN_LINKS = 13,
    GS_SPAN_DROPPED_LINKS = 14,
    GS_SPAN_STATUS = 15,
    GS_SPAN_FLAGS = 16,
};
enum { GS_EVENT_TIME = 1, GS_EVENT_NAME = 2, GS_EVENT_ATTRIBUTES = 3, GS_EVENT_DROPPED_ATTRIBUTES = 4 };
enum {
    GS_LINK_TRACE_ID = 1,
    GS_LINK_SPAN_ID = 2,
    GS_LINK_ATTRIBUTES = 4,
    GS_LINK_DROPPED_ATTRIBUTES = 5,
    GS_LINK_FLAGS = 6,
};
enum { GS_STATUS_MESSAGE = 2, GS_STATUS_CODE = 3 };
#define GS_SPAN_FLAGS_HAS_IS_REMOTE UINT32_C(0x100)
#define GS_SPAN_FLAGS_IS_REMOTE     UINT32_C(0x200)

/* resource/v1/resource.proto, common/v1/common.proto */
enum { GS_RESOURCE_ATTRIBUTES = 1 };
enum {
    GS_INSTRUMENTATION_SCOPE_NAME = 1,
    GS_INSTRUMENTATION_SCOPE_VERSION = 2,
    GS_INSTRUMENTATION_SCOPE_ATTRIBUTES = 3
};
enum { GS_KEY_VALUE_KEY = 1, GS_KEY_VALUE_VALUE = 2 };
enum { GS_ARRAY_VALUE_VALUES = 1, GS_KEY_VALUE_LIST_VALUES = 1 };
enum {
    GS_ANY_VALUE_STRING = 1,
    GS_ANY_VALUE_BOOL = 2,
    GS_ANY_VALUE_INT = 3,
    GS_ANY_VALUE_DOUBLE = 4,
    GS_ANY_VALUE_ARRAY = 5,
    GS_ANY_VALUE_KVLIST = 6,
    GS_ANY_VALUE_BYTES = 7,
};

/* protobuf implementations refuse messages nested deeper than this, the outermost included (C++, Java, upb: 100). */
#define GS_OTLP_MAX_DEPTH        100
/* Depth of the AnyValue of an attribute: ExportTraceServiceRequest, ResourceSpans, ScopeSpans, Span, KeyValue,
 * AnyValue; one more in an event or a link. For a resource, or a scope, it is less; one limit is kept for all. */
#define GS_OTLP_SPAN_VALUE_DEPTH 6

/* Text as its owner keeps it, and its length as UTF-8. A code unit takes 1, 2 or 4 bytes and is one code point; or the
 * text is UTF-8 already. Surrogates are no characters: they are written as U+FFFD, which has the same length. */
typedef enum gs_text_form {
    GS_TEXT_UTF8 = 0, /* ASCII included */
    GS_TEXT_UCS1 = 1,
    GS_TEXT_UCS2 = 2,
    GS_TEXT_UCS4 = 4,
} gs_text_form;

typedef struct gs_text {
    const void *data;
    size_t units; /* code units at `data` */
    size_t bytes; /* as UTF-8 */
    gs_text_form form;
} gs_text;

/* Sets `bytes` of a text of the other forms. True: it contains surrogates. */
bool gs_text_measure(gs_text *text);
/* Writes the `bytes` bytes of a text that is not GS_TEXT_UTF8. */
uint8_t *gs_text_transcode(uint8_t *at, const gs_text *text);
/* True if the bytes are what protobuf takes for a string: shortest forms, no surrogates, at most U+10FFFF. */
bool gs_text_is_utf8(const uint8_t *data, size_t bytes);

/* A copy that is fast for the short runs that attributes consist of; the areas do not overlap. */
static inline uint8_t *gs_bytes_write(uint8_t *at, const void *data, size_t bytes) {
    const uint8_t *from = data;
    uint64_t head, tail;
    if (bytes >= 8 && bytes <= 32) {
        /* Two, or two times two, moves that overlap where the length is no multiple. */
        uint64_t second, third;
        size_t middle = bytes > 16 ? 8 : 0;
        memcpy(&head, from, 8);
        memcpy(&second, from + middle, 8);
        memcpy(&third, from + bytes - 8 - middle, 8);
        memcpy(&tail, from + bytes - 8, 8);
        memcpy(at, &head, 8);
        memcpy(at + middle, &second, 8);
        memcpy(at + bytes - 8 - middle, &third, 8);
        memcpy(at + bytes - 8, &tail, 8);
        return at + bytes;
    }
    if (bytes < 8) {
        if (bytes >= 4) {
            uint32_t first, last;
            memcpy(&first, from, 4);
            memcpy(&last, from + bytes - 4, 4);
            memcpy(at, &first, 4);
            memcpy(at + bytes - 4, &last, 4);
        } else if (bytes != 0) {
            uint8_t first = from[0], middle = from[bytes / 2], last = from[bytes - 1];
            at[0] = first;
            at[bytes / 2] = middle;
            at[bytes - 1] = last;
        }
        return at + bytes;
    }
    memcpy(at, data, bytes);
    return at + bytes;
}

static inline uint8_t *gs_text_write(uint8_t *at, const gs_text *text) {
    return __builtin_expect(text->form == GS_TEXT_UTF8, 1) ? gs_bytes_write(at, text->data, text->bytes)
                                                           : gs_text_transcode(at, text);
}

/* An AnyValue without values inside. Its oneof has presence: zero, false and "" are written. */
typedef struct gs_scalar {
    uint8_t field; /* GS_ANY_VALUE_*, 0: an AnyValue that is empty */
    union {
        gs_text text;    /* STRING, BYTES */
        uint64_t number; /* BOOL, INT, DOUBLE: its bits */
    };
} gs_scalar;

/* Bytes of the AnyValue's content. */
static inline size_t gs_scalar_size(const gs_scalar *scalar) {
    switch (scalar->field) {
    case GS_ANY_VALUE_STRING:
    case GS_ANY_VALUE_BYTES: return 1 + gs_varint_size(scalar->text.bytes) + scalar->text.bytes;
    case GS_ANY_VALUE_BOOL: return 2;
    case GS_ANY_VALUE_INT: return 1 + gs_varint_size(scalar->number);
    case GS_ANY_VALUE_DOUBLE: return 9;
    default: return 0;
    }
}

static inline bool gs_scalar_is_text(const gs_scalar *scalar) {
    return scalar->field == GS_ANY_VALUE_STRING || scalar->field == GS_ANY_VALUE_BYTES;
}

/* The AnyValue's content; of a text, what comes before the text itself. */
static inline uint8_t *gs_scalar_write_head(uint8_t *at, const gs_scalar *scalar) {
    switch (scalar->field) {
    case GS_ANY_VALUE_STRING:
    case GS_ANY_VALUE_BYTES: return gs_len_field_write(at, scalar->field, scalar->text.bytes);
    case GS_ANY_VALUE_BOOL:
    case GS_ANY_VALUE_INT: return gs_varint_write(gs_tag_write(at, scalar->field, GS_WIRE_VARINT), scalar->number);
    case GS_ANY_VALUE_DOUBLE: return gs_fixed64_write(gs_tag_write(at, scalar->field, GS_WIRE_FIXED64), scalar->number);
    default: return at;
    }
}

/* Longest head of any length-delimited field of ours, and of all heads of a key-value pair together. */
#define GS_OTLP_FIELD_HEAD_BYTES     (2u + GS_VARINT_MAX_BYTES)
#define GS_OTLP_KEY_VALUE_HEAD_BYTES (4u * GS_OTLP_FIELD_HEAD_BYTES)

/* Writes field `field`, a KeyValue with this key and this value, and makes room; of a value that is text its last
 * `text.bytes` bytes are left to the caller when `leave_text`: they come next. */
static inline void gs_otlp_write_key_value(gs_wire *wire, uint32_t field, const gs_text *key, const gs_scalar *value,
                                           bool leave_text) {
    size_t value_bytes = gs_scalar_size(value);
    size_t own_bytes = GS_OTLP_KEY_VALUE_HEAD_BYTES + key->bytes + (leave_text ? 0 : value_bytes);
    if (!gs_wire_reserve(wire, own_bytes)) {
        return;
    }
    uint64_t content_bytes =
        gs_len_field_size(GS_KEY_VALUE_KEY, key->bytes) + gs_len_field_size(GS_KEY_VALUE_VALUE, value_bytes);
    if (key->bytes == 0) {
        content_bytes -= 2; /* proto3: a string of its default is left out */
    }
    uint8_t *at = gs_len_field_write(wire->at, field, content_bytes);
    if (key->bytes != 0) {
        at = gs_text_write(gs_len_field_write(at, GS_KEY_VALUE_KEY, key->bytes), key);
    }
    at = gs_scalar_write_head(gs_len_field_write(at, GS_KEY_VALUE_VALUE, value_bytes), value);
    if (gs_scalar_is_text(value) && !leave_text) {
        at = gs_text_write(at, &value->text);
    }
    wire->at = at;
}

/* Writes field `field`, an AnyValue: as gs_otlp_write_key_value. */
static inline void gs_otlp_write_any_value(gs_wire *wire, uint32_t field, const gs_scalar *value, bool leave_text) {
    size_t value_bytes = gs_scalar_size(value);
    if (!gs_wire_reserve(wire, GS_OTLP_KEY_VALUE_HEAD_BYTES + (leave_text ? 0 : value_bytes))) {
        return;
    }
    uint8_t *at = gs_scalar_write_head(gs_len_field_write(wire->at, field, value_bytes), value);
    if (gs_scalar_is_text(value) && !leave_text) {
        at = gs_text_write(at, &value->text);
    }
    wire->at = at;
}

/* Writes a string field, unless it is empty; makes room. */
void gs_otlp_write_text(gs_wire *wire, uint32_t field, const gs_text *text);
/* Writes a varint field, a fixed64 field, unless it is 0; makes room. */
void gs_otlp_write_varint(gs_wire *wire, uint32_t field, uint64_t value);
void gs_otlp_write_fixed64(gs_wire *wire, uint32_t field, uint64_t value);

#endif /* GS_OTLP_H */
