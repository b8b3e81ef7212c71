/* sdk.h - what the encoder knows of the OpenTelemetry SDK that is installed: its types, and where they keep what we
 * read.
 *
 * The SDK's classes are read through their private slots, which costs a tenth of their properties. Each class is looked
 * at once, when the encoder is made: if an instance does not have the slots with what is expected in them (a later SDK,
 * or an earlier one), its type stays NULL here, no object is ever taken for one of it, and its properties are read
 * instead.
 *
 * Tried with opentelemetry-sdk 1.25.0 and 1.45.2.
 *
 * Threads: immutable between load and unload; the calls need the GIL, or to be attached.
 */
#ifndef GS_SDK_H
#define GS_SDK_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Attribute names: field, private slot, public name. */
#define GS_SPAN_SLOTS(X)                       \
    X(CONTEXT, "_context", "context")          \
    X(NAME, "_name", "name")                   \
    X(KIND, "_kind", "kind")                   \
    X(PARENT, "_parent", "parent")             \
    X(START_TIME, "_start_time", "start_time") \
    X(END_TIME, "_end_time", "end_time")       \
    X(ATTRIBUTES, "_attributes", "attributes") \
    X(EVENTS, "_events", "events")             \
    X(LINKS, "_links", "links")                \
    X(STATUS, "_status", "status")             \
    X(RESOURCE, "_resource", "resource")       \
    X(SCOPE, "_instrumentation_scope", "instrumentation_scope")
#define GS_OTHER_NAMES(X)                       \
    X(dict, "_dict")                            \
    X(deque, "_dq")                             \
    X(dropped, "dropped")                       \
    X(private_timestamp, "_timestamp")          \
    X(timestamp, "timestamp")                   \
    X(private_status_code, "_status_code")      \
    X(status_code, "status_code")               \
    X(private_description, "_description")      \
    X(description, "description")               \
    X(value, "value")                           \
    X(items, "items")                           \
    X(get_span_context, "get_span_context")     \
    X(trace_id, "trace_id")                     \
    X(span_id, "span_id")                       \
    X(is_remote, "is_remote")                   \
    X(trace_flags, "trace_flags")               \
    X(trace_state, "trace_state")               \
    X(sampled, "sampled")                       \
    X(dropped_attributes, "dropped_attributes") \
    X(dropped_events, "dropped_events")         \
    X(dropped_links, "dropped_links")           \
    X(schema_url, "schema_url")                 \
    X(version, "version")

enum {
#define X(field, private_name, public_name) GS_SLOT_##field,
    GS_SPAN_SLOTS(X)
#undef X
        GS_SLOT_COUNT
};

/* Items of the tuple that a SpanContext is. */
enum {
    GS_CONTEXT_TRACE_ID = 0,
    GS_CONTEXT_SPAN_ID,
    GS_CONTEXT_IS_REMOTE,
    GS_CONTEXT_TRACE_FLAGS,
    GS_CONTEXT_TRACE_STATE,
};

#define GS_SPAN_KINDS   5
#define GS_STATUS_CODES 3

typedef struct gs_sdk {
    /* exact types with known slots; NULL: not known, use the properties */
    PyTypeObject *readable_span;
    PyTypeObject *span_context;
    PyTypeObject *trace_flags;
    PyTypeObject *trace_state;
    PyTypeObject *bounded_attributes;
    PyTypeObject *bounded_list;
    PyTypeObject *event;
    PyTypeObject *link;
    PyTypeObject *status;
    PyTypeObject *deque;
    PyObject *sequence_abc;
    PyObject *mapping_abc;
    PyObject *scalar_types;              /* (str, int, float, bytes) */
    PyObject *span_kinds[GS_SPAN_KINDS]; /* INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER: OTLP's number is one more */
    PyObject *status_codes[GS_STATUS_CODES]; /* UNSET, OK, ERROR, with OTLP's numbers */
    PyObject *private_slots[GS_SLOT_COUNT];
    PyObject *public_names[GS_SLOT_COUNT];
    struct {
#define X(name, text) PyObject *name;
        GS_OTHER_NAMES(X)
#undef X
    } names;
} gs_sdk;

/* 0; -1 and a Python exception: no SDK, or no memory. */
int gs_sdk_load(gs_sdk *self);
/* Drops what load has got, also after it failed; `self` was all zero before load. */
void gs_sdk_unload(gs_sdk *self);

#endif /* GS_SDK_H */
