/* value_writer.h - Python values as OTLP's attributes, and as the text, number and id fields of its messages.
 *
 * Every function writes what upstream's encoder would make of the value; what cannot be carried is replaced and counted
 * (the table is in span_encoder.h). None fails: the wire does, when it is full (`wire->failed`).
 *
 * Objects are borrowed from a caller who keeps them alive; containers may change while they are written, by another
 * thread or by the Python code that unusual values run: what is read is then a mixture, never freed memory. Values that
 * are exact str, bytes, int, float, bool, None, list, tuple and dict run no Python code.
 *
 * Threads: a writer belongs to one thread at a time; the calls need the GIL, or to be attached, and no exception set.
 */
#ifndef GS_VALUE_WRITER_H
#define GS_VALUE_WRITER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../core/otlp.h"
#include "../core/wire.h"
#include "sdk.h"

/* A value whose text is at least so long is lent to the wire instead of copied: below it, copying is cheaper. */
#define GS_LEND_MIN_BYTES 4096u

typedef struct gs_value_writer {
    gs_wire *wire;
    const gs_sdk *sdk;
    uint64_t replaced;
    bool lending;
    uint32_t kept_count;
    PyObject *kept[GS_WIRE_MAX_LENT]; /* strong references to what has been lent; the caller drops them */
} gs_value_writer;

/* Writes the items of a mapping as KeyValues of this field: none for None. `value_depth`: see GS_OTLP_SPAN_VALUE_DEPTH.
 * */
void gs_value_writer_attributes(gs_value_writer *self, uint32_t field, PyObject *attributes, int value_depth);

/* Writes a string field: nothing for "" and None. */
void gs_value_writer_text(gs_value_writer *self, uint32_t field, PyObject *string);

/* What format(object) is, without a field around it. */
void gs_value_writer_formatted(gs_value_writer *self, PyObject *object);

/* The number, or the nearest to it in 0..max; 0 for None. */
uint64_t gs_value_writer_number(gs_value_writer *self, PyObject *number, uint64_t max);

/* The number as an enum's: nothing that is not an int32. 0 for None. */
int32_t gs_value_writer_enum(gs_value_writer *self, PyObject *number);

/* Writes an id of 8 or 16 bytes at `at`, big-endian. */
void gs_value_writer_id(gs_value_writer *self, uint8_t *at, PyObject *id, size_t bytes);

/* object.name, a new reference; NULL if there is none or it raised: no exception is left, one replaced value counted.
 * */
PyObject *gs_value_writer_get(gs_value_writer *self, PyObject *object, PyObject *name);

/* bool(object); false if that raises. */
bool gs_value_writer_is_true(gs_value_writer *self, PyObject *object);

/* Ends an exception of ours: no value came of it. KeyboardInterrupt is not ours: it is raised again later. */
void gs_value_writer_forget(gs_value_writer *self);

#endif /* GS_VALUE_WRITER_H */
