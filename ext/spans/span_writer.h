/* span_writer.h - a span, its resource and its scope as the fields of OTLP's messages.
 *
 * One of the SDK's own ReadableSpan, and what it consists of, is read through private slots (sdk.h). Everything else,
 * such as a subclass or a stand-in, is read as upstream's encoder reads it: through its properties, whatever they do.
 *
 * Threads: as value_writer.h.
 */
#ifndef GS_SPAN_WRITER_H
#define GS_SPAN_WRITER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

#include "sdk.h"
#include "span_encoder.h"
#include "value_writer.h"

/* What is read of a span; strong references, none of them NULL once it has been read. */
typedef struct gs_span_view {
    PyObject *slots[GS_SLOT_COUNT];
    bool exact; /* an SDK's own ReadableSpan */
} gs_span_view;

/* GS_ENCODE_OK; GS_ENCODE_NOT_SAMPLED; GS_ENCODE_FAILED: there is no context. A slot that cannot be read is None. The
 * caller drops the view in any case. */
gs_encode_status gs_span_view_read(gs_span_view *view, gs_value_writer *writer, PyObject *span);
void gs_span_view_drop(gs_span_view *view);

/* Writes the content of the Span message. */
void gs_span_writer_body(gs_value_writer *writer, PyObject *span, const gs_span_view *view);

/* Writes the fields `resource` and `schema_url` of ResourceSpans. */
void gs_span_writer_resource(gs_value_writer *writer, PyObject *resource);
/* Writes the fields `scope` and `schema_url` of ScopeSpans. */
void gs_span_writer_scope(gs_value_writer *writer, PyObject *scope);

#endif /* GS_SPAN_WRITER_H */
