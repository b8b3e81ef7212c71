/* wire.h - protobuf primitives, and a bounded, growable buffer that messages are written into.
 *
 * The functions that take `at` write at that address and return the address behind what they wrote; the caller has made
 * room. Those that take a gs_wire make room themselves when their comment says so.
 *
 * A nested message whose length is not known beforehand is written between gs_wire_open and gs_wire_close: one byte is
 * kept for the length, and what was written moves up when the length needs more. Lengths are minimal varints, always.
 *
 * A large run of bytes that somebody else keeps alive can be lent instead of copied (gs_wire_lend): the message then
 * consists of pieces, which gs_wire_piece lists in order. Everything here counts lent bytes as if they were copied.
 *
 * The first write that finds no room sets `failed` and everything after it is void: callers check once, at the end.
 *
 * Threads: a gs_wire belongs to one thread at a time. No allocation once the buffer has grown to what is written.
 * Source: protobuf.dev/programming-guides/encoding
 */
#ifndef GS_WIRE_H
#define GS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define GS_WIRE_VARINT           0u
#define GS_WIRE_FIXED64          1u
#define GS_WIRE_LEN              2u
#define GS_WIRE_FIXED32          5u
#define GS_WIRE_TAG(field, type) (((uint32_t)(field) << 3) | (type))
#define GS_VARINT_MAX_BYTES      10u

/* 1..10 */
static inline size_t gs_varint_size(uint64_t value) {
    /* ceil(bits / 7) without a division: (bits * 9 + 64) / 64 agrees for bits 1..64. */
    unsigned bits = 64u - (unsigned)__builtin_clzll(value | 1u);
    return (bits * 9u + 64u) >> 6;
}

static inline uint8_t *gs_varint_write(uint8_t *at, uint64_t value) {
    while (value >= 0x80u) {
        *at++ = (uint8_t)(value | 0x80u);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

static inline uint8_t *gs_tag_write(uint8_t *at, uint32_t field, uint32_t type) {
    return gs_varint_write(at, GS_WIRE_TAG(field, type));
}

/* Tag and length of a length-delimited field; the `bytes` bytes themselves follow. */
static inline uint8_t *gs_len_field_write(uint8_t *at, uint32_t field, uint64_t bytes) {
    return gs_varint_write(gs_tag_write(at, field, GS_WIRE_LEN), bytes);
}

/* Size of a length-delimited field as a whole. */
static inline uint64_t gs_len_field_size(uint32_t field, uint64_t bytes) {
    return gs_varint_size(GS_WIRE_TAG(field, GS_WIRE_LEN)) + gs_varint_size(bytes) + bytes;
}

static inline uint8_t *gs_fixed32_write(uint8_t *at, uint32_t value) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap32(value);
#endif
    memcpy(at, &value, sizeof value);
    return at + sizeof value;
}

static inline uint8_t *gs_fixed64_write(uint8_t *at, uint64_t value) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    memcpy(at, &value, sizeof value);
    return at + sizeof value;
}

/* What a message is written into. All zero is an empty buffer that may grow to nothing: gs_wire_reset says the limit.
 * */
#define GS_WIRE_MAX_LENT 16u

typedef struct gs_wire_lent {
    const void *data;
    size_t bytes;
    size_t offset; /* in the buffer: the lent bytes come before the byte at this offset */
} gs_wire_lent;

typedef struct gs_wire {
    uint8_t *start;
    uint8_t *at;
    uint8_t *end;          /* == start once failed, so that no write finds room */
    size_t capacity_bytes; /* of `start` */
    size_t limit_bytes;    /* of the message, lent bytes included */
    size_t lent_bytes;
    uint32_t lent_count;
    bool failed;
    bool out_of_memory; /* why it failed; else the limit */
    gs_wire_lent lent[GS_WIRE_MAX_LENT];
} gs_wire;

/* The buffer is empty, except for `headroom_bytes` that the caller fills later; keeps its memory. */
static inline void gs_wire_reset(gs_wire *self, size_t headroom_bytes, size_t limit_bytes) {
    self->at = self->start;
    self->end = self->start;
    self->limit_bytes = limit_bytes;
    self->lent_bytes = 0;
    self->lent_count = 0;
    self->failed = false;
    self->out_of_memory = false;
    if (self->capacity_bytes > headroom_bytes) {
        self->at += headroom_bytes;
        self->end += self->capacity_bytes;
    }
}

static inline void gs_wire_free(gs_wire *self) {
    free(self->start);
    memset(self, 0, sizeof *self);
}

static inline bool gs_wire_fail(gs_wire *self, bool out_of_memory) {
    if (!self->failed) {
        self->failed = true;
        self->out_of_memory = out_of_memory;
    }
    self->at = self->start;
    self->end = self->start;
    return false;
}

/* The slow half of gs_wire_reserve: at least doubles the memory. */
__attribute__((noinline, unused)) static bool gs_wire_grow(gs_wire *self, size_t bytes) {
    size_t used_bytes = (size_t)(self->at - self->start);
    if (self->failed) {
        return false;
    }
    /* The limit exceeds no size_t, the sum might. */
    if (bytes > self->limit_bytes || used_bytes + self->lent_bytes > self->limit_bytes - bytes) {
        return gs_wire_fail(self, false);
    }
    size_t capacity_bytes = self->capacity_bytes * 2;
    if (capacity_bytes < used_bytes + bytes) {
        capacity_bytes = used_bytes + bytes;
    }
    if (capacity_bytes < 1024) {
        capacity_bytes = 1024;
    }
    uint8_t *start = realloc(self->start, capacity_bytes);
    if (start == NULL) {
        return gs_wire_fail(self, true);
    }
    self->start = start;
    self->at = start + used_bytes;
    self->end = start + capacity_bytes;
    self->capacity_bytes = capacity_bytes;
    return true;
}

/* True if `bytes` may be written at `at`; false: the buffer has failed. Addresses in the buffer are void after it. */
static inline bool gs_wire_reserve(gs_wire *self, size_t bytes) {
    return __builtin_expect((size_t)(self->end - self->at) >= bytes, 1) || gs_wire_grow(self, bytes);
}

/* Bytes of the message so far, from an arbitrary origin: differences count. */
static inline size_t gs_wire_position(const gs_wire *self) {
    return (size_t)(self->at - self->start) + self->lent_bytes;
}

/* The message continues with `bytes` bytes at `data`, which stay valid and unchanged until the message is used up.
 * False: no more can be lent, copy it. */
static inline bool gs_wire_lend(gs_wire *self, const void *data, size_t bytes) {
    if (self->failed || self->lent_count == GS_WIRE_MAX_LENT) {
        return false;
    }
    size_t position = gs_wire_position(self);
    if (bytes > self->limit_bytes || position > self->limit_bytes - bytes) {
        gs_wire_fail(self, false);
        return true;
    }
    gs_wire_lent *lent = &self->lent[self->lent_count++];
    lent->data = data;
    lent->bytes = bytes;
    lent->offset = (size_t)(self->at - self->start);
    self->lent_bytes += bytes;
    return true;
}

/* Where an unfinished length-delimited field began. */
typedef struct gs_wire_mark {
    size_t offset;     /* of its first content byte in the buffer, as long as its length takes one byte */
    size_t lent_bytes; /* lent before it */
} gs_wire_mark;

/* Begins a length-delimited field. Makes room. */
static inline gs_wire_mark gs_wire_open(gs_wire *self, uint32_t field) {
    if (gs_wire_reserve(self, 2 * GS_VARINT_MAX_BYTES)) {
        self->at = gs_tag_write(self->at, field, GS_WIRE_LEN) + 1;
    }
    return (gs_wire_mark){.offset = (size_t)(self->at - self->start), .lent_bytes = self->lent_bytes};
}

/* Ends the field that was begun last and not ended. Makes room. */
static inline void gs_wire_close(gs_wire *self, gs_wire_mark mark) {
    if (__builtin_expect(self->failed, 0)) {
        return;
    }
    size_t own_bytes = (size_t)(self->at - self->start) - mark.offset;
    size_t content_bytes = own_bytes + (self->lent_bytes - mark.lent_bytes);
    size_t shift = gs_varint_size(content_bytes) - 1;
    if (shift != 0) {
        if (!gs_wire_reserve(self, shift)) {
            return;
        }
        memmove(self->start + mark.offset + shift, self->start + mark.offset, own_bytes);
        self->at += shift;
        for (uint32_t i = self->lent_count; i-- > 0 && self->lent[i].offset >= mark.offset;) {
            /* A run lent just before the field has the offset of its tag, which is smaller. */
            self->lent[i].offset += shift;
        }
    }
    gs_varint_write(self->start + mark.offset - 1, content_bytes);
}

#endif /* GS_WIRE_H */
