#include "span_writer.h"

#include <string.h>

#include "../core/otlp.h"

/* Fields of fixed size at the start of a span: trace_id, span_id, parent_span_id, flags, kind, start and end time. */
#define FIXED_FIELDS_BYTES (18 + 10 + 10 + 6 + 2 + 9 + 9)

void gs_span_view_drop(gs_span_view *view) {
    for (size_t i = 0; i < GS_SLOT_COUNT; i++) {
        Py_XDECREF(view->slots[i]);
    }
}

/* Upstream calls get_span_context(); a stand-in may have the property alone. A new reference, or NULL and no exception.
 * */
static PyObject *get_context(const gs_sdk *sdk, PyObject *span) {
    PyObject *context = PyObject_CallMethodNoArgs(span, sdk->names.get_span_context);
    if (context == NULL) {
        PyErr_Clear();
        context = PyObject_GetAttr(span, sdk->public_names[GS_SLOT_CONTEXT]);
        PyErr_Clear();
    }
    return context;
}

/* GS_ENCODE_OK: it is; GS_ENCODE_NOT_SAMPLED; GS_ENCODE_FAILED: it does not say. */
static gs_encode_status check_sampled(gs_value_writer *writer, PyObject *context) {
    const gs_sdk *sdk = writer->sdk;
    if (Py_TYPE(context) == sdk->span_context) {
        PyObject *flags = PyTuple_GET_ITEM(context, GS_CONTEXT_TRACE_FLAGS);
        if (Py_TYPE(flags) == sdk->trace_flags) {
            int overflow = 0;
            long long bits = PyLong_AsLongLongAndOverflow(flags, &overflow);
            return overflow == 0 && (bits & 1) != 0 ? GS_ENCODE_OK : GS_ENCODE_NOT_SAMPLED;
        }
    }
    if (context == Py_None || !gs_value_writer_is_true(writer, context)) {
        return GS_ENCODE_NOT_SAMPLED;
    }
    gs_encode_status status = GS_ENCODE_FAILED;
    PyObject *flags = gs_value_writer_get(writer, context, sdk->names.trace_flags);
    PyObject *sampled = flags == NULL ? NULL : gs_value_writer_get(writer, flags, sdk->names.sampled);
    if (sampled != NULL) {
        status = gs_value_writer_is_true(writer, sampled) ? GS_ENCODE_OK : GS_ENCODE_NOT_SAMPLED;
    }
    Py_XDECREF(sampled);
    Py_XDECREF(flags);
    return status;
}

gs_encode_status gs_span_view_read(gs_span_view *view, gs_value_writer *writer, PyObject *span) {
    const gs_sdk *sdk = writer->sdk;
    memset(view, 0, sizeof *view);
    view->exact = Py_TYPE(span) == sdk->readable_span;
    PyObject *const *names = view->exact ? sdk->private_slots : sdk->public_names;
    PyObject *context = view->exact ? PyObject_GetAttr(span, names[GS_SLOT_CONTEXT]) : get_context(sdk, span);
    if (context == NULL) {
        PyErr_Clear();
        return GS_ENCODE_FAILED;
    }
    view->slots[GS_SLOT_CONTEXT] = context;
    gs_encode_status status = check_sampled(writer, context);
    if (status != GS_ENCODE_OK) {
        return status;
    }
    for (size_t i = 0; i < GS_SLOT_COUNT; i++) {
        if (i != GS_SLOT_CONTEXT) {
            PyObject *value = gs_value_writer_get(writer, span, names[i]);
            view->slots[i] = value != NULL ? value : Py_NewRef(Py_None);
        }
    }
    return GS_ENCODE_OK;
}

/* An attribute as a count of dropped things. */
static uint64_t read_count(gs_value_writer *writer, PyObject *object, PyObject *name) {
    PyObject *count = gs_value_writer_get(writer, object, name);
    uint64_t result = count == NULL ? 0 : gs_value_writer_number(writer, count, UINT32_MAX);
    Py_XDECREF(count);
    return result;
}

/* What `container`, read from a slot of one of the SDK's exact types, has dropped: nothing unless it is a bounded one.
 * */
static uint64_t read_dropped(gs_value_writer *writer, PyObject *container, const PyTypeObject *bounded) {
    return Py_TYPE(container) == bounded ? read_count(writer, container, writer->sdk->names.dropped) : 0;
}

/* An attribute, a new reference; None where there is none. */
static PyObject *get_or_none(gs_value_writer *writer, PyObject *object, PyObject *name) {
    PyObject *value = gs_value_writer_get(writer, object, name);
    return value != NULL ? value : Py_NewRef(Py_None);
}

/* --- parts of a span --- */

static void write_trace_state(gs_value_writer *writer, PyObject *trace_state) {
    const gs_sdk *sdk = writer->sdk;
    gs_wire *wire = writer->wire;
    if (trace_state == Py_None) {
        return;
    }
    if (Py_TYPE(trace_state) == sdk->trace_state) {
        PyObject *dict = PyObject_GetAttr(trace_state, sdk->names.dict);
        bool empty = dict != NULL && PyDict_CheckExact(dict) && PyDict_Size(dict) == 0;
        Py_XDECREF(dict);
        PyErr_Clear();
        if (empty) {
            return;
        }
    }
    PyObject *items = PyObject_CallMethodNoArgs(trace_state, sdk->names.items);
    PyObject *pairs = items == NULL ? NULL : PySequence_Tuple(items);
    Py_XDECREF(items);
    if (pairs == NULL) {
        gs_value_writer_forget(writer);
        return;
    }
    gs_wire_mark mark = {0};
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(pairs) && !wire->failed; i++) {
        PyObject *pair = PySequence_Tuple(PyTuple_GET_ITEM(pairs, i));
        if (pair == NULL || PyTuple_GET_SIZE(pair) != 2 || !gs_wire_reserve(wire, 2)) {
            gs_value_writer_forget(writer);
            Py_XDECREF(pair);
            continue;
        }
        if (mark.offset == 0) {
            mark = gs_wire_open(wire, GS_SPAN_TRACE_STATE);
        } else {
            *wire->at++ = ',';
        }
        gs_value_writer_formatted(writer, PyTuple_GET_ITEM(pair, 0));
        if (gs_wire_reserve(wire, 1)) {
            *wire->at++ = '=';
        }
        gs_value_writer_formatted(writer, PyTuple_GET_ITEM(pair, 1));
        Py_DECREF(pair);
    }
    if (mark.offset != 0) {
        gs_wire_close(wire, mark);
    }
    Py_DECREF(pairs);
}

/* Tag, length and bytes of an id. */
static uint8_t *write_id_field(gs_value_writer *writer, uint8_t *at, uint32_t field, PyObject *id, size_t bytes) {
    at = gs_len_field_write(at, field, bytes);
    gs_value_writer_id(writer, at, id, bytes);
    return at + bytes;
}

/* Item `item` of a context, or its property of that name; a new reference. */
static PyObject *context_item(gs_value_writer *writer, PyObject *context, Py_ssize_t item, PyObject *name) {
    return Py_TYPE(context) == writer->sdk->span_context ? Py_NewRef(PyTuple_GET_ITEM(context, item))
                                                         : get_or_none(writer, context, name);
}

static uint32_t span_flags(gs_value_writer *writer, PyObject *parent) {
    PyObject *is_remote = context_item(writer, parent, GS_CONTEXT_IS_REMOTE, writer->sdk->names.is_remote);
    bool remote = gs_value_writer_is_true(writer, is_remote);
    Py_DECREF(is_remote);
    return GS_SPAN_FLAGS_HAS_IS_REMOTE | (remote ? GS_SPAN_FLAGS_IS_REMOTE : 0);
}

static uint8_t span_kind(gs_value_writer *writer, const PyObject *kind) {
    for (uint8_t i = 0; i < GS_SPAN_KINDS; i++) {
        if (kind == writer->sdk->span_kinds[i]) {
            return (uint8_t)(i + 1);
        }
    }
    writer->replaced++;
    return 0;
}

static uint8_t *write_fixed64_field(uint8_t *at, uint32_t field, uint64_t value) {
    return value == 0 ? at : gs_fixed64_write(gs_tag_write(at, field, GS_WIRE_FIXED64), value);
}

/* Ids, flags, kind and times. All is read before the first byte is written: reading may run Python code, not grow the
 * wire. */
static void write_fixed_fields(gs_value_writer *writer, const gs_span_view *view) {
    const gs_sdk *sdk = writer->sdk;
    gs_wire *wire = writer->wire;
    PyObject *context = view->slots[GS_SLOT_CONTEXT];
    PyObject *parent = view->slots[GS_SLOT_PARENT];
    if (!gs_wire_reserve(wire, FIXED_FIELDS_BYTES)) {
        return;
    }
    PyObject *trace_id = context_item(writer, context, GS_CONTEXT_TRACE_ID, sdk->names.trace_id);
    PyObject *span_id = context_item(writer, context, GS_CONTEXT_SPAN_ID, sdk->names.span_id);
    uint8_t *at = write_id_field(writer, wire->at, GS_SPAN_TRACE_ID, trace_id, 16);
    at = write_id_field(writer, at, GS_SPAN_SPAN_ID, span_id, 8);
    Py_DECREF(span_id);
    Py_DECREF(trace_id);
    uint32_t flags = GS_SPAN_FLAGS_HAS_IS_REMOTE;
    if (parent != Py_None && gs_value_writer_is_true(writer, parent)) {
        PyObject *parent_id = context_item(writer, parent, GS_CONTEXT_SPAN_ID, sdk->names.span_id);
        at = write_id_field(writer, at, GS_SPAN_PARENT_SPAN_ID, parent_id, 8);
        flags = span_flags(writer, parent);
        Py_DECREF(parent_id);
    }
    at = gs_fixed32_write(gs_tag_write(at, GS_SPAN_FLAGS, GS_WIRE_FIXED32), flags);
    uint8_t kind = span_kind(writer, view->slots[GS_SLOT_KIND]);
    if (kind != 0) {
        at = gs_tag_write(at, GS_SPAN_KIND, GS_WIRE_VARINT);
        *at++ = kind;
    }
    uint64_t start_time = gs_value_writer_number(writer, view->slots[GS_SLOT_START_TIME], UINT64_MAX);
    uint64_t end_time = gs_value_writer_number(writer, view->slots[GS_SLOT_END_TIME], UINT64_MAX);
    at = write_fixed64_field(at, GS_SPAN_START_TIME, start_time);
    wire->at = write_fixed64_field(at, GS_SPAN_END_TIME, end_time);
}

static void write_status(gs_value_writer *writer, PyObject *status) {
    const gs_sdk *sdk = writer->sdk;
    if (status == Py_None) {
        return;
    }
    bool exact = Py_TYPE(status) == sdk->status;
    PyObject *code = get_or_none(writer, status, exact ? sdk->names.private_status_code : sdk->names.status_code);
    PyObject *message = get_or_none(writer, status, exact ? sdk->names.private_description : sdk->names.description);
    int32_t number = -1;
    for (int32_t i = 0; i < GS_STATUS_CODES && number < 0; i++) {
        number = code == sdk->status_codes[i] ? i : -1;
    }
    if (number < 0) {
        PyObject *value = get_or_none(writer, code, sdk->names.value);
        number = gs_value_writer_enum(writer, value);
        Py_DECREF(value);
    }
    gs_wire_mark mark = gs_wire_open(writer->wire, GS_SPAN_STATUS);
    gs_value_writer_text(writer, GS_STATUS_MESSAGE, message);
    gs_otlp_write_varint(writer->wire, GS_STATUS_CODE, (uint64_t)(int64_t)number);
    gs_wire_close(writer->wire, mark);
    Py_DECREF(message);
    Py_DECREF(code);
}

static void write_event(gs_value_writer *writer, PyObject *event) {
    const gs_sdk *sdk = writer->sdk;
    bool exact = Py_TYPE(event) == sdk->event;
    PyObject *const *names = exact ? sdk->private_slots : sdk->public_names;
    PyObject *name = get_or_none(writer, event, names[GS_SLOT_NAME]);
    PyObject *time = get_or_none(writer, event, exact ? sdk->names.private_timestamp : sdk->names.timestamp);
    PyObject *attributes = get_or_none(writer, event, names[GS_SLOT_ATTRIBUTES]);
    uint64_t dropped = exact ? read_dropped(writer, attributes, sdk->bounded_attributes)
                             : read_count(writer, event, sdk->names.dropped_attributes);
    gs_wire_mark mark = gs_wire_open(writer->wire, GS_SPAN_EVENTS);
    gs_otlp_write_fixed64(writer->wire, GS_EVENT_TIME, gs_value_writer_number(writer, time, UINT64_MAX));
    gs_value_writer_text(writer, GS_EVENT_NAME, name);
    gs_value_writer_attributes(writer, GS_EVENT_ATTRIBUTES, attributes, GS_OTLP_SPAN_VALUE_DEPTH + 1);
    gs_otlp_write_varint(writer->wire, GS_EVENT_DROPPED_ATTRIBUTES, dropped);
    gs_wire_close(writer->wire, mark);
    Py_DECREF(attributes);
    Py_DECREF(time);
    Py_DECREF(name);
}

static void write_link(gs_value_writer *writer, PyObject *link) {
    const gs_sdk *sdk = writer->sdk;
    bool exact = Py_TYPE(link) == sdk->link;
    PyObject *const *names = exact ? sdk->private_slots : sdk->public_names;
    PyObject *context = get_or_none(writer, link, names[GS_SLOT_CONTEXT]);
    PyObject *attributes = get_or_none(writer, link, names[GS_SLOT_ATTRIBUTES]);
    uint64_t dropped = exact ? read_dropped(writer, attributes, sdk->bounded_attributes)
                             : read_count(writer, link, sdk->names.dropped_attributes);
    PyObject *trace_id = context_item(writer, context, GS_CONTEXT_TRACE_ID, sdk->names.trace_id);
    PyObject *span_id = context_item(writer, context, GS_CONTEXT_SPAN_ID, sdk->names.span_id);
    bool has_context = gs_value_writer_is_true(writer, context);
    uint32_t flags = has_context ? span_flags(writer, context) : GS_SPAN_FLAGS_HAS_IS_REMOTE;
    gs_wire_mark mark = gs_wire_open(writer->wire, GS_SPAN_LINKS);
    if (gs_wire_reserve(writer->wire, FIXED_FIELDS_BYTES)) {
        uint8_t *at = write_id_field(writer, writer->wire->at, GS_LINK_TRACE_ID, trace_id, 16);
        at = write_id_field(writer, at, GS_LINK_SPAN_ID, span_id, 8);
        writer->wire->at = gs_fixed32_write(gs_tag_write(at, GS_LINK_FLAGS, GS_WIRE_FIXED32), flags);
    }
    gs_value_writer_attributes(writer, GS_LINK_ATTRIBUTES, attributes, GS_OTLP_SPAN_VALUE_DEPTH + 1);
    gs_otlp_write_varint(writer->wire, GS_LINK_DROPPED_ATTRIBUTES, dropped);
    gs_wire_close(writer->wire, mark);
    Py_DECREF(span_id);
    Py_DECREF(trace_id);
    Py_DECREF(attributes);
    Py_DECREF(context);
}

/* Events or links: what iterating over them gives, as far as it comes. */
static void write_each(gs_value_writer *writer, PyObject *items,
                       void (*write)(gs_value_writer *writer, PyObject *item)) {
    const gs_sdk *sdk = writer->sdk;
    if (items == Py_None || (PyTuple_CheckExact(items) && PyTuple_GET_SIZE(items) == 0)) {
        return;
    }
    PyObject *deque = NULL;
    if (Py_TYPE(items) == sdk->bounded_list) {
        deque = gs_value_writer_get(writer, items, sdk->names.deque);
        if (deque != NULL && Py_TYPE(deque) == sdk->deque && Py_SIZE(deque) == 0) {
            Py_DECREF(deque);
            return;
        }
    } else if (!gs_value_writer_is_true(writer, items)) {
        return;
    }
    PyObject *iterator = PyObject_GetIter(deque != NULL ? deque : items);
    PyObject *item;
    while (iterator != NULL && !writer->wire->failed && (item = PyIter_Next(iterator)) != NULL) {
        write(writer, item);
        Py_DECREF(item);
    }
    if (PyErr_Occurred() != NULL) {
        gs_value_writer_forget(writer);
    }
    Py_XDECREF(iterator);
    Py_XDECREF(deque);
}

void gs_span_writer_body(gs_value_writer *writer, PyObject *span, const gs_span_view *view) {
    const gs_sdk *sdk = writer->sdk;
    gs_wire *wire = writer->wire;
    PyObject *const *slots = view->slots;
    write_fixed_fields(writer, view);
    PyObject *trace_state =
        context_item(writer, slots[GS_SLOT_CONTEXT], GS_CONTEXT_TRACE_STATE, sdk->names.trace_state);
    write_trace_state(writer, trace_state);
    Py_DECREF(trace_state);
    gs_value_writer_text(writer, GS_SPAN_NAME, slots[GS_SLOT_NAME]);
    gs_value_writer_attributes(writer, GS_SPAN_ATTRIBUTES, slots[GS_SLOT_ATTRIBUTES], GS_OTLP_SPAN_VALUE_DEPTH);
    write_each(writer, slots[GS_SLOT_EVENTS], write_event);
    write_each(writer, slots[GS_SLOT_LINKS], write_link);
    write_status(writer, slots[GS_SLOT_STATUS]);
    uint64_t attributes, events, links;
    if (view->exact) {
        attributes = read_dropped(writer, slots[GS_SLOT_ATTRIBUTES], sdk->bounded_attributes);
        events = read_dropped(writer, slots[GS_SLOT_EVENTS], sdk->bounded_list);
        links = read_dropped(writer, slots[GS_SLOT_LINKS], sdk->bounded_list);
    } else {
        attributes = read_count(writer, span, sdk->names.dropped_attributes);
        events = read_count(writer, span, sdk->names.dropped_events);
        links = read_count(writer, span, sdk->names.dropped_links);
    }
    gs_otlp_write_varint(wire, GS_SPAN_DROPPED_ATTRIBUTES, attributes);
    gs_otlp_write_varint(wire, GS_SPAN_DROPPED_EVENTS, events);
    gs_otlp_write_varint(wire, GS_SPAN_DROPPED_LINKS, links);
}

/* --- scopes --- */

void gs_span_writer_resource(gs_value_writer *writer, PyObject *resource) {
    const gs_sdk *sdk = writer->sdk;
    PyObject *attributes = get_or_none(writer, resource, sdk->public_names[GS_SLOT_ATTRIBUTES]);
    PyObject *schema_url = get_or_none(writer, resource, sdk->names.schema_url);
    gs_wire_mark mark = gs_wire_open(writer->wire, GS_RESOURCE_SPANS_RESOURCE);
    gs_value_writer_attributes(writer, GS_RESOURCE_ATTRIBUTES, attributes, GS_OTLP_SPAN_VALUE_DEPTH);
    gs_wire_close(writer->wire, mark);
    gs_value_writer_text(writer, GS_RESOURCE_SPANS_SCHEMA_URL, schema_url);
    Py_DECREF(schema_url);
    Py_DECREF(attributes);
}

void gs_span_writer_scope(gs_value_writer *writer, PyObject *scope) {
    const gs_sdk *sdk = writer->sdk;
    if (scope == Py_None || !gs_value_writer_is_true(writer, scope)) {
        gs_wire_close(writer->wire, gs_wire_open(writer->wire, GS_SCOPE_SPANS_SCOPE));
        return;
    }
    PyObject *name = get_or_none(writer, scope, sdk->public_names[GS_SLOT_NAME]);
    PyObject *version = get_or_none(writer, scope, sdk->names.version);
    PyObject *attributes = PyObject_GetAttr(scope, sdk->public_names[GS_SLOT_ATTRIBUTES]);
    if (attributes == NULL) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear(); /* opentelemetry-sdk 1.25 knows no attributes of scopes: nothing is lost */
        } else {
            gs_value_writer_forget(writer);
        }
        attributes = Py_NewRef(Py_None);
    }
    PyObject *schema_url = get_or_none(writer, scope, sdk->names.schema_url);
    gs_wire_mark mark = gs_wire_open(writer->wire, GS_SCOPE_SPANS_SCOPE);
    gs_value_writer_text(writer, GS_INSTRUMENTATION_SCOPE_NAME, name);
    gs_value_writer_text(writer, GS_INSTRUMENTATION_SCOPE_VERSION, version);
    gs_value_writer_attributes(writer, GS_INSTRUMENTATION_SCOPE_ATTRIBUTES, attributes, GS_OTLP_SPAN_VALUE_DEPTH);
    gs_wire_close(writer->wire, mark);
    gs_value_writer_text(writer, GS_SCOPE_SPANS_SCHEMA_URL, schema_url);
    Py_DECREF(schema_url);
    Py_DECREF(attributes);
    Py_DECREF(version);
    Py_DECREF(name);
}
