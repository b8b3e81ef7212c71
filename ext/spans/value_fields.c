/* The fields of OTLP messages that are not attributes: text, numbers, ids; and reading without raising. */
#include <limits.h>

#include "value_text.h"
#include "value_writer.h"

void gs_value_writer_forget(gs_value_writer *self) {
    self->replaced++;
    if (PyErr_Occurred() != NULL && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        PyErr_SetInterrupt();
    }
    PyErr_Clear();
}

PyObject *gs_value_writer_get(gs_value_writer *self, PyObject *object, PyObject *name) {
    PyObject *value = PyObject_GetAttr(object, name);
    if (value == NULL) {
        gs_value_writer_forget(self);
    }
    return value;
}

bool gs_value_writer_is_true(gs_value_writer *self, PyObject *object) {
    int truth = PyObject_IsTrue(object);
    if (truth < 0) {
        gs_value_writer_forget(self);
    }
    return truth > 0;
}

/* --- text --- */

bool gs_text_view_unusual(PyObject *string, gs_text *text) {
#if PY_VERSION_HEX < 0x030C0000
    if (PyUnicode_READY(string) < 0) {
        PyErr_Clear();
        *text = (gs_text){.data = ""};
        return true;
    }
#endif
    text->data = PyUnicode_DATA(string);
    text->units = (size_t)PyUnicode_GET_LENGTH(string);
    text->form = PyUnicode_IS_ASCII(string) ? GS_TEXT_UTF8 : (gs_text_form)PyUnicode_KIND(string);
    return gs_text_measure(text);
}

PyObject *gs_value_writer_view_any(gs_value_writer *self, PyObject *object, gs_text *text) {
    *text = (gs_text){.data = "", .form = GS_TEXT_UTF8};
    if (PyUnicode_Check(object)) {
        gs_value_writer_view(self, object, text);
        return NULL;
    }
    PyObject *owner;
    if (PyBytes_Check(object)) {
        const char *data = PyBytes_AS_STRING(object);
        Py_ssize_t bytes = PyBytes_GET_SIZE(object);
        if (gs_text_is_utf8((const uint8_t *)data, (size_t)bytes)) {
            *text = (gs_text){.data = data, .units = (size_t)bytes, .bytes = (size_t)bytes, .form = GS_TEXT_UTF8};
            return NULL;
        }
        owner = PyUnicode_DecodeUTF8(data, bytes, "replace");
    } else {
        owner = PyObject_Str(object);
    }
    if (owner == NULL) {
        gs_value_writer_forget(self);
        return NULL;
    }
    self->replaced++;
    uint64_t replaced = self->replaced;
    gs_value_writer_view(self, owner, text);
    self->replaced = replaced;
    return owner;
}

void gs_value_writer_text(gs_value_writer *self, uint32_t field, PyObject *string) {
    gs_text text;
    if (PyUnicode_CheckExact(string)) {
        gs_value_writer_view(self, string, &text);
        gs_otlp_write_text(self->wire, field, &text);
    } else if (string != Py_None) {
        PyObject *owner = gs_value_writer_view_any(self, string, &text);
        gs_otlp_write_text(self->wire, field, &text);
        Py_XDECREF(owner);
    }
}

void gs_value_writer_formatted(gs_value_writer *self, PyObject *object) {
    PyObject *string = PyUnicode_CheckExact(object) ? Py_NewRef(object) : PyObject_Format(object, NULL);
    if (string == NULL) {
        gs_value_writer_forget(self);
        return;
    }
    gs_text text;
    gs_value_writer_view(self, string, &text);
    if (gs_wire_reserve(self->wire, text.bytes)) {
        self->wire->at = gs_text_write(self->wire->at, &text);
    }
    Py_DECREF(string);
}

/* --- numbers --- */

/* As PyLong_AsUnsignedLongLong, which up to CPython 3.12 goes byte by byte where this one goes digit by digit. */
static uint64_t as_uint64(PyObject *index) {
#if ULONG_MAX == UINT64_MAX
    return PyLong_AsUnsignedLong(index);
#else
    return PyLong_AsUnsignedLongLong(index);
#endif
}

/* A new reference to an int: the object itself, or its index; NULL and forgotten if it has none. */
static PyObject *to_int(gs_value_writer *self, PyObject *number) {
    PyObject *index = PyNumber_Index(number);
    if (index == NULL) {
        gs_value_writer_forget(self);
    }
    return index;
}

static bool is_negative(PyObject *index) {
    int overflow = 0;
    long long value = PyLong_AsLongLongAndOverflow(index, &overflow);
    return overflow < 0 || (overflow == 0 && value < 0);
}

uint64_t gs_value_writer_number(gs_value_writer *self, PyObject *number, uint64_t max) {
    if (number == Py_None) {
        return 0;
    }
    PyObject *index = PyLong_CheckExact(number) ? Py_NewRef(number) : to_int(self, number);
    if (index == NULL) {
        return 0;
    }
    uint64_t value = as_uint64(index);
    bool failed = value == UINT64_MAX && PyErr_Occurred() != NULL;
    if (failed) {
        gs_value_writer_forget(self);
        value = is_negative(index) ? 0 : max;
    } else if (value > max) {
        self->replaced++;
        value = max;
    }
    Py_DECREF(index);
    return value;
}

int32_t gs_value_writer_enum(gs_value_writer *self, PyObject *number) {
    PyObject *index = number == Py_None ? NULL : to_int(self, number);
    if (index == NULL) {
        return 0;
    }
    int overflow = 0;
    long long value = PyLong_AsLongLongAndOverflow(index, &overflow);
    Py_DECREF(index);
    if (overflow != 0 || value < INT32_MIN || value > INT32_MAX) {
        self->replaced++;
        return 0;
    }
    return (int32_t)value;
}

/* True: `index`, an int, fits into the bytes. No exception is left. */
static bool write_big_endian(uint8_t *at, PyObject *index, size_t bytes) {
    bool fits;
    if (bytes == sizeof(uint64_t)) {
        uint64_t value = as_uint64(index);
        fits = value != UINT64_MAX || PyErr_Occurred() == NULL;
        for (size_t i = 0; i < sizeof value; i++) {
            at[i] = (uint8_t)(value >> (56 - 8 * i)); /* compilers make one swap of it */
        }
    } else {
#if PY_VERSION_HEX >= 0x030D0000
        const int flags =
            Py_ASNATIVEBYTES_BIG_ENDIAN | Py_ASNATIVEBYTES_UNSIGNED_BUFFER | Py_ASNATIVEBYTES_REJECT_NEGATIVE;
        Py_ssize_t needed = PyLong_AsNativeBytes(index, at, (Py_ssize_t)bytes, flags);
        fits = needed >= 0 && (size_t)needed <= bytes;
#else
        fits = _PyLong_AsByteArray((PyLongObject *)index, at, bytes, 0, 0) == 0;
#endif
    }
    if (!fits) {
        PyErr_Clear();
    }
    return fits;
}

static void write_unusual_id(gs_value_writer *self, uint8_t *at, PyObject *id, size_t bytes) {
    PyObject *index = to_int(self, id);
    if (index == NULL) {
        memset(at, 0, bytes);
        return;
    }
    if (!write_big_endian(at, index, bytes)) {
        self->replaced++;
        PyObject *ones =
            PyLong_FromString(bytes == 8 ? "FFFFFFFFFFFFFFFF" : "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", NULL, 16);
        PyObject *low = ones == NULL ? NULL : PyNumber_And(index, ones);
        if (low == NULL || !PyLong_Check(low) || !write_big_endian(at, low, bytes)) {
            PyErr_Clear();
            memset(at, 0, bytes);
        }
        Py_XDECREF(low);
        Py_XDECREF(ones);
    }
    Py_DECREF(index);
}

void gs_value_writer_id(gs_value_writer *self, uint8_t *at, PyObject *id, size_t bytes) {
    if (!PyLong_CheckExact(id) || !write_big_endian(at, id, bytes)) {
        write_unusual_id(self, at, id, bytes);
    }
}
