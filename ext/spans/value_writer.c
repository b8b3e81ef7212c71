#include "value_writer.h"

#include "critical_section.h"
#include "value_text.h"

/* Containers that are being written, innermost first: one that contains itself is cut there. */
typedef struct enclosing {
    PyObject *container;
    const struct enclosing *outer;
} enclosing;

typedef enum shape { SHAPE_SCALAR, SHAPE_SEQUENCE, SHAPE_MAPPING } shape;

static void write_any_value(gs_value_writer *self, uint32_t field, PyObject *value, int depth, const enclosing *outer);

static void scalar_of_string(gs_value_writer *self, PyObject *string, gs_scalar *scalar) {
    scalar->field = GS_ANY_VALUE_STRING;
    gs_value_writer_view(self, string, &scalar->text);
}

static void scalar_of_literal(gs_scalar *scalar, const char *literal) {
    size_t bytes = strlen(literal);
    scalar->field = GS_ANY_VALUE_STRING;
    scalar->text = (gs_text){.data = literal, .units = bytes, .bytes = bytes, .form = GS_TEXT_UTF8};
}

static void scalar_of_bytes(PyObject *value, gs_scalar *scalar) {
    size_t bytes = (size_t)PyBytes_GET_SIZE(value);
    scalar->field = GS_ANY_VALUE_BYTES;
    scalar->text = (gs_text){.data = PyBytes_AS_STRING(value), .units = bytes, .bytes = bytes, .form = GS_TEXT_UTF8};
}

static void scalar_of_double(PyObject *value, gs_scalar *scalar) {
    double number = PyFloat_AS_DOUBLE(value);
    scalar->field = GS_ANY_VALUE_DOUBLE;
    memcpy(&scalar->number, &number, sizeof number);
}

/* The string that stands for a value without an AnyValue of its own; a new reference to it, or NULL: the AnyValue is
 * empty. */
static PyObject *scalar_of_substitute(gs_value_writer *self, PyObject *string, gs_scalar *scalar) {
    if (string == NULL) {
        gs_value_writer_forget(self);
        scalar->field = 0;
        return NULL;
    }
    uint64_t replaced = self->replaced + 1;
    scalar_of_string(self, string, scalar);
    self->replaced = replaced;
    return string;
}

/* A new reference to what owns the scalar's text, or NULL if that is nothing, or the value itself. */
static PyObject *scalar_of_int(gs_value_writer *self, PyObject *value, gs_scalar *scalar) {
    int overflow = 0;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (__builtin_expect(overflow == 0, 1)) {
        scalar->field = GS_ANY_VALUE_INT;
        scalar->number = (uint64_t)number;
        return NULL;
    }
    PyObject *digits = PyNumber_ToBase(value, 10);
    if (digits == NULL) { /* sys.set_int_max_str_digits */
        PyErr_Clear();
        digits = PyNumber_ToBase(value, 16);
    }
    return scalar_of_substitute(self, digits, scalar);
}

static shape unusual_shape(gs_value_writer *self, PyObject *value, gs_scalar *scalar, PyObject **owner) {
    if (PyUnicode_Check(value)) {
        scalar_of_string(self, value, scalar);
        return SHAPE_SCALAR;
    }
    if (PyLong_Check(value)) {
        *owner = scalar_of_int(self, value, scalar);
        return SHAPE_SCALAR;
    }
    if (PyFloat_Check(value)) {
        scalar_of_double(value, scalar);
        return SHAPE_SCALAR;
    }
    if (PyBytes_Check(value)) {
        scalar_of_bytes(value, scalar);
        return SHAPE_SCALAR;
    }
    /* What only says that it is a str, such as a mock, would pass for a sequence below. */
    if (PyObject_IsInstance(value, self->sdk->scalar_types) == 0) {
        int is_sequence = PyObject_IsInstance(value, self->sdk->sequence_abc);
        if (is_sequence > 0) {
            return SHAPE_SEQUENCE;
        }
        if (is_sequence == 0 && PyObject_IsInstance(value, self->sdk->mapping_abc) > 0) {
            return SHAPE_MAPPING;
        }
    }
    PyErr_Clear();
    *owner = scalar_of_substitute(self, PyObject_Str(value), scalar);
    return SHAPE_SCALAR;
}

/* What the value is, in upstream's order: bool before int, str and bytes before sequences. `*owner` as scalar_of_int.
 * */
static inline shape shape_of(gs_value_writer *self, PyObject *value, gs_scalar *scalar, PyObject **owner) {
    const PyTypeObject *type = Py_TYPE(value);
    if (type == &PyUnicode_Type) {
        scalar_of_string(self, value, scalar);
    } else if (type == &PyLong_Type) {
        *owner = scalar_of_int(self, value, scalar);
    } else if (type == &PyFloat_Type) {
        scalar_of_double(value, scalar);
    } else if (type == &PyBool_Type) {
        scalar->field = GS_ANY_VALUE_BOOL;
        scalar->number = value == Py_True;
    } else if (value == Py_None) {
        scalar->field = 0;
    } else if (type == &PyBytes_Type) {
        scalar_of_bytes(value, scalar);
    } else if (type == &PyTuple_Type || type == &PyList_Type) {
        return SHAPE_SEQUENCE;
    } else if (type == &PyDict_Type) {
        return SHAPE_MAPPING;
    } else {
        return unusual_shape(self, value, scalar, owner);
    }
    return SHAPE_SCALAR;
}

/* True: the scalar's text, which `holder` owns, is long enough to be lent, and can be. */
static inline bool can_lend(const gs_value_writer *self, const gs_scalar *scalar, PyObject *holder) {
    /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): a scalar that is text has its text set */
    return gs_scalar_is_text(scalar) && scalar->text.bytes >= GS_LEND_MIN_BYTES && self->lending && holder != NULL &&
           scalar->text.form == GS_TEXT_UTF8 && self->kept_count < GS_WIRE_MAX_LENT &&
           (PyUnicode_CheckExact(holder) || PyBytes_CheckExact(holder));
}

static void lend(gs_value_writer *self, const gs_scalar *scalar, PyObject *holder) {
    if (gs_wire_lend(self->wire, scalar->text.data, scalar->text.bytes)) {
        self->kept[self->kept_count++] = Py_NewRef(holder);
    }
}

static void write_item(gs_value_writer *self, PyObject *item, int depth, const enclosing *outer) {
    write_any_value(self, GS_ARRAY_VALUE_VALUES, item, depth, outer);
}

/* An exact list or tuple is read by index, anything else iterated over. */
static void write_items(gs_value_writer *self, PyObject *sequence, int depth, const enclosing *outer) {
    const gs_wire *wire = self->wire;
    if (PyTuple_CheckExact(sequence)) {
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(sequence) && !wire->failed; i++) {
            write_item(self, PyTuple_GET_ITEM(sequence, i), depth, outer);
        }
        return;
    }
    if (PyList_CheckExact(sequence)) {
        PyObject *item;
        for (Py_ssize_t i = 0; !wire->failed && (item = gs_list_item(sequence, i)) != NULL; i++) {
            write_item(self, item, depth, outer);
            Py_DECREF(item);
        }
        return;
    }
    PyObject *iterator = PyObject_GetIter(sequence);
    PyObject *item;
    while (iterator != NULL && !wire->failed && (item = PyIter_Next(iterator)) != NULL) {
        write_item(self, item, depth, outer);
        Py_DECREF(item);
    }
    if (PyErr_Occurred() != NULL) {
        gs_value_writer_forget(self);
    }
    Py_XDECREF(iterator);
}

/* A KeyValue whose key is `key` of an attribute, or str(key) in a mapping that is a value. */
static inline void write_key_value(gs_value_writer *self, uint32_t field, PyObject *key, PyObject *value, int depth,
                                   const enclosing *outer);

/* An exact dict; its items may change meanwhile. */
static void write_dict(gs_value_writer *self, uint32_t field, PyObject *dict, int depth, const enclosing *outer) {
    PyObject *key, *value;
    Py_ssize_t position = 0;
    GS_BEGIN_CRITICAL_SECTION(dict);
    Py_ssize_t left = PyDict_Size(dict); /* else a dict that grows might never end */
    while (left-- > 0 && !self->wire->failed && PyDict_Next(dict, &position, &key, &value)) {
        Py_INCREF(key);
        Py_INCREF(value);
        write_key_value(self, field, key, value, depth, outer);
        Py_DECREF(value);
        Py_DECREF(key);
    }
    GS_END_CRITICAL_SECTION();
}

static void write_mapping(gs_value_writer *self, uint32_t field, PyObject *mapping, int depth, const enclosing *outer) {
    if (PyDict_CheckExact(mapping)) {
        write_dict(self, field, mapping, depth, outer);
        return;
    }
    PyObject *items = PyObject_CallMethodNoArgs(mapping, self->sdk->names.items);
    PyObject *iterator = items == NULL ? NULL : PyObject_GetIter(items);
    PyObject *item;
    bool broken = iterator == NULL; /* ends at the first that is no pair: there may be no end of them */
    while (!broken && !self->wire->failed && (item = PyIter_Next(iterator)) != NULL) {
        PyObject *pair = PySequence_Tuple(item);
        broken = pair == NULL || PyTuple_GET_SIZE(pair) != 2;
        if (!broken) {
            write_key_value(self, field, PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1), depth, outer);
        }
        Py_XDECREF(pair);
        Py_DECREF(item);
    }
    if (broken || PyErr_Occurred() != NULL) {
        gs_value_writer_forget(self);
    }
    Py_XDECREF(iterator);
    Py_XDECREF(items);
}

/* True: the container's values would lie too deep, or within themselves. */
static bool is_too_deep(PyObject *container, int item_depth, const enclosing *outer) {
    if (item_depth > GS_OTLP_MAX_DEPTH) {
        return true;
    }
    for (; outer != NULL; outer = outer->outer) {
        if (outer->container == container) {
            return true;
        }
    }
    return false;
}

/* The content of an AnyValue that is a container. */
static void write_container(gs_value_writer *self, PyObject *value, shape kind, int depth, const enclosing *outer) {
    /* ArrayValue, AnyValue; KeyValueList, KeyValue, AnyValue */
    int item_depth = depth + (kind == SHAPE_SEQUENCE ? 2 : 3);
    if (is_too_deep(value, item_depth, outer)) {
        gs_scalar ellipsis;
        scalar_of_literal(&ellipsis, "...");
        gs_otlp_write_text(self->wire, GS_ANY_VALUE_STRING, &ellipsis.text);
        self->replaced++;
        return;
    }
    const enclosing here = {.container = value, .outer = outer};
    gs_wire_mark mark = gs_wire_open(self->wire, kind == SHAPE_SEQUENCE ? GS_ANY_VALUE_ARRAY : GS_ANY_VALUE_KVLIST);
    if (kind == SHAPE_SEQUENCE) {
        write_items(self, value, item_depth, &here);
    } else {
        write_mapping(self, GS_KEY_VALUE_LIST_VALUES, value, item_depth, &here);
    }
    gs_wire_close(self->wire, mark);
}

static void write_any_value(gs_value_writer *self, uint32_t field, PyObject *value, int depth, const enclosing *outer) {
    gs_scalar scalar;
    PyObject *owner = NULL;
    shape kind = shape_of(self, value, &scalar, &owner);
    if (kind == SHAPE_SCALAR) {
        PyObject *holder = owner != NULL ? owner : value;
        bool lending = can_lend(self, &scalar, holder);
        gs_otlp_write_any_value(self->wire, field, &scalar, lending);
        if (lending) {
            lend(self, &scalar, holder);
        }
        Py_XDECREF(owner);
        return;
    }
    gs_wire_mark mark = gs_wire_open(self->wire, field);
    write_container(self, value, kind, depth, outer);
    gs_wire_close(self->wire, mark);
}

static void write_container_key_value(gs_value_writer *self, uint32_t field, const gs_text *key, PyObject *value,
                                      shape kind, int depth, const enclosing *outer) {
    gs_wire_mark key_value = gs_wire_open(self->wire, field);
    gs_otlp_write_text(self->wire, GS_KEY_VALUE_KEY, key);
    gs_wire_mark any_value = gs_wire_open(self->wire, GS_KEY_VALUE_VALUE);
    write_container(self, value, kind, depth, outer);
    gs_wire_close(self->wire, any_value);
    gs_wire_close(self->wire, key_value);
}

/* A key that is no exact str: protobuf's rules for an attribute's, str() for one in a mapping. */
static PyObject *view_unusual_key(gs_value_writer *self, PyObject *key, gs_text *text, bool in_value) {
    if (!in_value) {
        return gs_value_writer_view_any(self, key, text);
    }
    PyObject *string = PyObject_Str(key);
    if (string == NULL) {
        gs_value_writer_forget(self);
        *text = (gs_text){.data = "", .form = GS_TEXT_UTF8};
        return NULL;
    }
    gs_value_writer_view(self, string, text);
    return string;
}

static inline void write_key_value(gs_value_writer *self, uint32_t field, PyObject *key, PyObject *value, int depth,
                                   const enclosing *outer) {
    gs_text text;
    PyObject *key_owner = NULL;
    if (__builtin_expect(PyUnicode_CheckExact(key), 1)) {
        gs_value_writer_view(self, key, &text);
    } else {
        key_owner = view_unusual_key(self, key, &text, outer != NULL);
    }
    gs_scalar scalar;
    PyObject *owner = NULL;
    shape kind = shape_of(self, value, &scalar, &owner);
    if (__builtin_expect(kind == SHAPE_SCALAR, 1)) {
        PyObject *holder = owner != NULL ? owner : value;
        bool lending = can_lend(self, &scalar, holder);
        gs_otlp_write_key_value(self->wire, field, &text, &scalar, lending);
        if (lending) {
            lend(self, &scalar, holder);
        }
    } else {
        write_container_key_value(self, field, &text, value, kind, depth, outer);
    }
    Py_XDECREF(owner);
    Py_XDECREF(key_owner);
}

void gs_value_writer_attributes(gs_value_writer *self, uint32_t field, PyObject *attributes, int value_depth) {
    if (attributes == Py_None) {
        return;
    }
    if (Py_TYPE(attributes) == self->sdk->bounded_attributes) {
        PyObject *dict = gs_value_writer_get(self, attributes, self->sdk->names.dict);
        if (dict != NULL) {
            write_mapping(self, field, dict, value_depth, NULL);
            Py_DECREF(dict);
        }
    } else if (gs_value_writer_is_true(self, attributes)) {
        write_mapping(self, field, attributes, value_depth, NULL);
    }
}
