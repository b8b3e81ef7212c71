#include "span_encoder.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "../core/otlp.h"
#include "scope_interner.h"
#include "sdk.h"
#include "span_writer.h"
#include "value_writer.h"

/* A larger scratch is given back to the allocator after use. */
#define KEPT_SCRATCH_BYTES ((size_t)1 << 20)
/* Before the body, filled last: the record's head, then tag and length of the `spans` field, both ending where the next
 * begins. The head moves to the front when a definition comes between. */
#define HEADROOM_BYTES     (sizeof(gs_span_record) + 1 + GS_VARINT_MAX_BYTES)
typedef struct gs_scratch {
    gs_wire wire;
    gs_wire definition;
    uint32_t kept_count;
    PyObject *kept[GS_WIRE_MAX_LENT];
    struct {
        gs_span_record record;
        gs_scope_definition definition;
    } head;
} gs_scratch;

struct gs_encoder {
    gs_sdk sdk;
    gs_scope_interner *scopes;
    _Atomic(gs_scratch *) scratch; /* NULL: in use */
};

static void free_scratch(gs_scratch *scratch) {
    if (scratch != NULL) {
        gs_wire_free(&scratch->wire);
        gs_wire_free(&scratch->definition);
        free(scratch);
    }
}

static gs_scratch *take_scratch(gs_encoder *self) {
    /* acquire, pairs with the exchange in give_scratch: what its last user wrote is ours to overwrite */
    gs_scratch *scratch = atomic_exchange_explicit(&self->scratch, NULL, memory_order_acquire);
    return scratch != NULL ? scratch : calloc(1, sizeof *scratch);
}

static void trim(gs_wire *wire) {
    if (wire->capacity_bytes > KEPT_SCRATCH_BYTES) {
        gs_wire_free(wire);
    }
}

static void give_scratch(gs_encoder *self, gs_scratch *scratch) {
    PyObject *kept[GS_WIRE_MAX_LENT];
    uint32_t kept_count = scratch->kept_count;
    memcpy(kept, scratch->kept, kept_count * sizeof kept[0]);
    scratch->kept_count = 0;
    trim(&scratch->wire);
    trim(&scratch->definition);
    /* acq_rel, pairs with the exchange in take_scratch, and with its like here: the next user may write */
    free_scratch(atomic_exchange_explicit(&self->scratch, scratch, memory_order_acq_rel));
    for (uint32_t i = 0; i < kept_count; i++) {
        Py_DECREF(kept[i]);
    }
}

/* A pair of objects that is not known by identity. Counts what is replaced in a definition whenever it is written. */
static gs_scope *intern_scope(gs_encoder *self, gs_scratch *scratch, gs_value_writer *span_writer, PyObject *resource,
                              PyObject *scope) {
    gs_value_writer writer = {.wire = &scratch->definition, .sdk = &self->sdk};
    gs_wire_reset(&scratch->definition, 0, GS_ENCODED_MAX_BYTES);
    gs_span_writer_resource(&writer, resource);
    size_t resource_bytes = gs_wire_position(&scratch->definition);
    gs_span_writer_scope(&writer, scope);
    span_writer->replaced += writer.replaced;
    if (scratch->definition.failed) {
        gs_wire_fail(&scratch->wire, scratch->definition.out_of_memory);
        return NULL;
    }
    const uint8_t *data = scratch->definition.start;
    size_t scope_bytes = gs_wire_position(&scratch->definition) - resource_bytes;
    gs_scope *interned =
        gs_scope_interner_add(self->scopes, resource, (gs_definition_fields){.data = data, .bytes = resource_bytes},
                              scope, (gs_definition_fields){.data = data + resource_bytes, .bytes = scope_bytes});
    if (interned == NULL) {
        gs_wire_fail(&scratch->wire, true);
    }
    return interned;
}

/* --- pieces --- */

static void add_piece(gs_encoded *encoded, const void *data, size_t bytes) {
    if (bytes != 0) {
        encoded->pieces[encoded->piece_count++] = (gs_piece){.data = data, .bytes = bytes};
        encoded->bytes += bytes;
    }
}

static void add_definition(gs_encoded *encoded, gs_scratch *scratch) {
    const gs_scope *scope = encoded->scope;
    const gs_resource *resource = scope->resource;
    size_t definition_bytes = sizeof scratch->head.definition + resource->fields.bytes + scope->fields.bytes;
    scratch->head.record = (gs_span_record){.scope_id = scope->id, .definition_bytes = (uint32_t)definition_bytes};
    scratch->head.definition = (gs_scope_definition){
        .resource_id = scope->id == GS_SCOPE_INLINE ? GS_SCOPE_INLINE : resource->id,
        .resource_bytes = (uint32_t)resource->fields.bytes,
        .scope_bytes = (uint32_t)scope->fields.bytes,
    };
    add_piece(encoded, &scratch->head, sizeof scratch->head);
    add_piece(encoded, resource->fields.data, resource->fields.bytes);
    add_piece(encoded, scope->fields.data, scope->fields.bytes);
}

/* The wire holds headroom and body: fills the headroom and lists the pieces. */
static void finish(gs_encoded *encoded, gs_scratch *scratch) {
    gs_wire *wire = &scratch->wire;
    size_t body_bytes = gs_wire_position(wire) - HEADROOM_BYTES;
    size_t start = HEADROOM_BYTES - 1 - gs_varint_size(body_bytes);
    gs_len_field_write(wire->start + start, GS_SCOPE_SPANS_SPANS, body_bytes);
    if (encoded->defines_scope) {
        add_definition(encoded, scratch);
    } else {
        const gs_span_record record = {.scope_id = encoded->scope->id, .definition_bytes = 0};
        start -= sizeof record;
        memcpy(wire->start + start, &record, sizeof record);
    }
    for (uint32_t i = 0; i < wire->lent_count; i++) {
        const gs_wire_lent *lent = &wire->lent[i];
        add_piece(encoded, wire->start + start, lent->offset - start);
        add_piece(encoded, lent->data, lent->bytes);
        start = lent->offset;
    }
    add_piece(encoded, wire->start + start, (size_t)(wire->at - wire->start) - start);
}

/* --- the encoder --- */

int gs_encoder_new(gs_encoder **self) {
    gs_encoder *encoder = calloc(1, sizeof *encoder);
    if (encoder == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    encoder->scopes = gs_scope_interner_new();
    if (encoder->scopes == NULL) {
        PyErr_NoMemory();
    }
    if (encoder->scopes == NULL || gs_sdk_load(&encoder->sdk) < 0) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        gs_encoder_free(encoder);
        PyErr_Restore(type, value, traceback);
        return -1;
    }
    *self = encoder;
    return 0;
}

void gs_encoder_free(gs_encoder *self) {
    if (self != NULL) {
        gs_scope_interner_free(self->scopes);
        gs_sdk_unload(&self->sdk);
        /* relaxed: nobody else is left */
        free_scratch(atomic_load_explicit(&self->scratch, memory_order_relaxed));
        free(self);
    }
}

gs_encode_status gs_encoder_begin(gs_encoder *self, PyObject *span, uint32_t generation, gs_encoded *encoded) {
    gs_span_view view;
    gs_value_writer writer = {.sdk = &self->sdk, .lending = true};
    encoded->piece_count = 0;
    encoded->bytes = 0;
    encoded->replaced = 0;
    encoded->defines_scope = false;
    encoded->generation = generation;
    encoded->scratch = NULL;
    encoded->scope = NULL;
    gs_encode_status status = gs_span_view_read(&view, &writer, span);
    if (status != GS_ENCODE_OK) {
        gs_span_view_drop(&view);
        return status;
    }
    gs_scratch *scratch = take_scratch(self);
    if (scratch == NULL) {
        gs_span_view_drop(&view);
        return GS_ENCODE_NO_MEMORY;
    }
    writer.wire = &scratch->wire;
    gs_wire_reset(&scratch->wire, HEADROOM_BYTES, GS_ENCODED_MAX_BYTES);
    if (scratch->wire.capacity_bytes == 0 && gs_wire_reserve(&scratch->wire, HEADROOM_BYTES)) {
        gs_wire_reset(&scratch->wire, HEADROOM_BYTES, GS_ENCODED_MAX_BYTES);
    }
    PyObject *resource = view.slots[GS_SLOT_RESOURCE];
    PyObject *scope = view.slots[GS_SLOT_SCOPE];
    encoded->scope = gs_scope_interner_find(self->scopes, resource, scope, generation);
    if (encoded->scope == NULL) {
        encoded->scope = intern_scope(self, scratch, &writer, resource, scope);
    }
    gs_span_writer_body(&writer, span, &view);
    gs_span_view_drop(&view);

    memcpy(scratch->kept, writer.kept, writer.kept_count * sizeof writer.kept[0]);
    scratch->kept_count = writer.kept_count;
    encoded->replaced = writer.replaced;
    encoded->scratch = scratch;
    if (!scratch->wire.failed) {
        encoded->defines_scope = encoded->scope->id == GS_SCOPE_INLINE || !gs_scope_is_told(encoded->scope, generation);
        finish(encoded, scratch);
        if (encoded->bytes <= GS_ENCODED_MAX_BYTES) {
            return GS_ENCODE_OK;
        }
    }
    status = scratch->wire.out_of_memory ? GS_ENCODE_NO_MEMORY : GS_ENCODE_TOO_LARGE;
    gs_encoder_end(self, encoded, false);
    return status;
}

void gs_encoder_end(gs_encoder *self, gs_encoded *encoded, bool pushed) {
    if (pushed && encoded->defines_scope && encoded->scope->id != GS_SCOPE_INLINE) {
        gs_scope_set_told(encoded->scope, encoded->generation);
    }
    gs_scope_release(encoded->scope);
    encoded->scope = NULL;
    give_scratch(self, encoded->scratch);
}
