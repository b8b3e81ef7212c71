#include "definitions.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "chunk_writer.h"
#include "codes.h"
#include "core/wire.h"

#define KIND_CODE   1u
#define KIND_STACK  2u
#define KIND_THREAD 3u
#define KIND_TEXT   4u

#define CODES       (GS_PINNED_CODES + GS_COPIED_CODES + 1u)
#define MAX_STACKS  (1u << 20)
#define LINES_KEPT  (1u << 14)
#define DEEP        1u
#define FIRST_SLOTS 4096u

struct known_stack {
    uint64_t hash; /* of its codes and lines */
    uint32_t number;
};

struct known_line {
    gs_raw_frame frame;
    uint32_t line;
};

struct gs_definitions {
    gs_wire pending;
    bool defined[CODES];
    struct known_stack *stacks; /* open addressing; slots is a power of two */
    uint32_t slots;
    uint32_t stack_count;
    uint32_t text_count;
    struct known_line lines[LINES_KEPT];
};

gs_definitions *gs_definitions_new(void) {
    gs_definitions *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return NULL;
    }
    self->slots = FIRST_SLOTS;
    self->stacks = calloc(self->slots, sizeof *self->stacks);
    if (self->stacks == NULL) {
        free(self);
        return NULL;
    }
    gs_definitions_clear(self);
    return self;
}

void gs_definitions_free(gs_definitions *self) {
    if (self != NULL) {
        gs_wire_free(&self->pending);
        free(self->stacks);
        free(self);
    }
}

/* Where a definition begins; its payload's length is written by end_definition. */
static size_t begin_definition(gs_definitions *self, uint8_t kind, size_t room) {
    gs_wire *wire = &self->pending;
    if (!gs_wire_reserve(wire, room + 5)) {
        return 0;
    }
    size_t start = (size_t)(wire->at - wire->start);
    *wire->at = kind;
    wire->at += 5;
    return start;
}

static void end_definition(gs_definitions *self, size_t start) {
    gs_wire *wire = &self->pending;
    gs_fixed32_write(wire->start + start + 1, (uint32_t)((size_t)(wire->at - wire->start) - start - 5));
}

static void put_u16(gs_wire *wire, size_t value) {
    *wire->at++ = (uint8_t)value;
    *wire->at++ = (uint8_t)(value >> 8);
}

static void put_u32(gs_wire *wire, uint32_t value) {
    wire->at = gs_fixed32_write(wire->at, value);
}

static void put_text(gs_wire *wire, const char *text, size_t bytes) {
    put_u16(wire, bytes);
    memcpy(wire->at, text, bytes);
    wire->at += bytes;
}

void gs_definitions_code(gs_definitions *self, const gs_code_copy *copy) {
    size_t name_bytes = strlen(copy->name), file_bytes = strlen(copy->file);
    size_t start = begin_definition(self, KIND_CODE, 16 + name_bytes + file_bytes);
    if (self->pending.failed || copy->number >= CODES) {
        return;
    }
    put_u32(&self->pending, copy->number);
    put_u32(&self->pending, (uint32_t)copy->first_line);
    put_u32(&self->pending, copy->flags);
    put_text(&self->pending, copy->name, name_bytes);
    put_text(&self->pending, copy->file, file_bytes);
    end_definition(self, start);
    self->defined[copy->number] = true;
}

void gs_definitions_thread(gs_definitions *self, uint32_t thread, uint32_t native_id, uint64_t identity, uint8_t loop,
                           const char *name, size_t name_bytes) {
    size_t start = begin_definition(self, KIND_THREAD, 20 + name_bytes);
    if (self->pending.failed) {
        return;
    }
    put_u32(&self->pending, thread);
    put_u32(&self->pending, native_id);
    self->pending.at = gs_fixed64_write(self->pending.at, identity);
    put_u16(&self->pending, loop);
    put_text(&self->pending, name, name_bytes);
    end_definition(self, start);
}

uint32_t gs_definitions_text(gs_definitions *self, const char *text, size_t bytes) {
    size_t start = begin_definition(self, KIND_TEXT, 6 + bytes);
    if (self->pending.failed) {
        return 0;
    }
    put_u32(&self->pending, ++self->text_count);
    put_text(&self->pending, text, bytes);
    end_definition(self, start);
    return self->text_count;
}

static uint64_t mixed(uint64_t hash, uint64_t value) {
    hash ^= value;
    hash *= UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 29;
}

/* The line of a frame, whose code is defined after it. */
static uint32_t line_of(gs_definitions *self, const gs_raw_frame *frame) {
    uint64_t hash = mixed(frame->code, (uint32_t)frame->position);
    struct known_line *known = &self->lines[hash % LINES_KEPT];
    if (known->frame.code != frame->code || known->frame.position != frame->position) {
        gs_code_copy code;
        uint32_t line = 0;
        if (!gs_frames_describe(frame, &code, &line)) {
            return (uint32_t)frame->position; /* the sampler's: defined when it was copied */
        }
        if (!self->defined[frame->code]) {
            gs_definitions_code(self, &code);
        }
        known->frame = *frame;
        known->line = line;
    }
    return known->line;
}

static bool grow_stacks(gs_definitions *self) {
    struct known_stack *old = self->stacks;
    struct known_stack *larger = calloc(self->slots * (size_t)2, sizeof *larger);
    if (larger == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < self->slots; i++) {
        if (old[i].number != 0) {
            uint32_t at = (uint32_t)old[i].hash & (self->slots * 2 - 1);
            while (larger[at].number != 0) {
                at = (at + 1) & (self->slots * 2 - 1);
            }
            larger[at] = old[i];
        }
    }
    free(old);
    self->stacks = larger;
    self->slots *= 2;
    return true;
}

uint32_t gs_definitions_stack(gs_definitions *self, const gs_raw_frame *frames, size_t count) {
    if (count == 0) {
        return 0;
    }
    uint32_t lines[GS_MAX_FRAMES];
    uint64_t hash = count;
    for (size_t i = 0; i < count; i++) {
        lines[i] = line_of(self, &frames[i]);
        hash = mixed(hash, (uint64_t)frames[i].code << 32 | lines[i]);
    }
    uint32_t at = (uint32_t)hash & (self->slots - 1);
    /* Two stacks with one hash of 64 bits would be taken for one: among a million stacks once in 40 million recordings. */
    for (; self->stacks[at].number != 0; at = (at + 1) & (self->slots - 1)) {
        if (self->stacks[at].hash == hash) {
            return self->stacks[at].number;
        }
    }
    if (self->stack_count == MAX_STACKS) {
        return 0;
    }
    size_t start = begin_definition(self, KIND_STACK, 8 + 8 * count);
    if (self->pending.failed) {
        return 0;
    }
    uint32_t number = ++self->stack_count;
    put_u32(&self->pending, number);
    put_u16(&self->pending, count);
    put_u16(&self->pending, count == GS_MAX_FRAMES ? DEEP : 0);
    for (size_t i = 0; i < count; i++) {
        put_u32(&self->pending, frames[i].code);
        put_u32(&self->pending, lines[i]);
    }
    end_definition(self, start);
    self->stacks[at] = (struct known_stack){hash, number};
    if (self->stack_count > self->slots / 4 * 3) {
        grow_stacks(self);
    }
    return number;
}

uint32_t gs_definitions_stacks(const gs_definitions *self) {
    return self->stack_count;
}

const uint8_t *gs_definitions_pending(const gs_definitions *self, size_t *bytes) {
    *bytes = self->pending.failed ? 0 : (size_t)(self->pending.at - self->pending.start);
    return self->pending.start;
}

void gs_definitions_clear(gs_definitions *self) {
    gs_wire_reset(&self->pending, 0, GS_CHUNK_MAX_BYTES);
}
