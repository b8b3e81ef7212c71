/* value_text.h - the text of Python strings, without a copy.
 *
 * Threads: as value_writer.h.
 */
#ifndef GS_VALUE_TEXT_H
#define GS_VALUE_TEXT_H

#include "value_writer.h"

/* A str that is not compact ASCII. True: it contains surrogates. */
bool gs_text_view_unusual(PyObject *string, gs_text *text);

/* The text of a str, valid as long as the str. */
static inline void gs_value_writer_view(gs_value_writer *self, PyObject *string, gs_text *text) {
    if (__builtin_expect(PyUnicode_IS_COMPACT_ASCII(string), 1)) {
        size_t bytes = (size_t)PyUnicode_GET_LENGTH(string);
        *text = (gs_text){.data = PyUnicode_DATA(string), .units = bytes, .bytes = bytes, .form = GS_TEXT_UTF8};
    } else if (gs_text_view_unusual(string, text)) {
        self->replaced++;
    }
}

/* The text of what protobuf takes for a string, str or UTF-8, else of str(object). A new reference to what owns the
 * text if that is not the object itself. */
PyObject *gs_value_writer_view_any(gs_value_writer *self, PyObject *object, gs_text *text);

#endif /* GS_VALUE_TEXT_H */
