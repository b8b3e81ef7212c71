#include "sdk.h"

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

static PyObject *import_attribute(const char *module_name, const char *name) {
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL) {
        return NULL;
    }
    PyObject *attribute = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    return attribute;
}

/* A reference to the type if `instance` is an instance of exactly it and has each of the slots; else NULL and no
 * exception. */
static PyTypeObject *type_with_slots(PyObject *type, PyObject *instance, PyObject *const *slots, size_t slot_count) {
    bool known = instance != NULL && PyType_Check(type) && Py_TYPE(instance) == (PyTypeObject *)type;
    for (size_t i = 0; known && i < slot_count; i++) {
        PyObject *value = PyObject_GetAttr(instance, slots[i]);
        known = value != NULL;
        Py_XDECREF(value);
    }
    PyErr_Clear();
    return known ? (PyTypeObject *)Py_NewRef(type) : NULL;
}

/* As type_with_slots, for an instance that `format` makes, and with `slots[0]` holding exactly a `content` (NULL:
 * anything). */
static int load_type(PyTypeObject **loaded, const char *module, const char *name, PyTypeObject *content,
                     PyObject *const *slots, size_t slot_count, const char *format, ...) {
    PyObject *type = import_attribute(module, name);
    if (type == NULL) {
        return -1;
    }
    va_list arguments;
    va_start(arguments, format);
    PyObject *positional = Py_VaBuildValue(format, arguments);
    va_end(arguments);
    PyObject *instance = positional == NULL ? NULL : PyObject_CallObject(type, positional);
    Py_XDECREF(positional);
    if (instance != NULL && content != NULL) {
        PyObject *first = PyObject_GetAttr(instance, slots[0]);
        bool expected = first != NULL && Py_TYPE(first) == content;
        Py_XDECREF(first);
        if (!expected) {
            Py_CLEAR(instance);
        }
    }
    PyErr_Clear();
    *loaded = type_with_slots(type, instance, slots, slot_count);
    Py_XDECREF(instance);
    Py_DECREF(type);
    return 0;
}

static int load_names(gs_sdk *self) {
    const struct {
        PyObject **name;
        const char *text;
    } names[] = {
#define X(field, private_name, public_name) \
    {&self->private_slots[GS_SLOT_##field], private_name}, {&self->public_names[GS_SLOT_##field], public_name},
        GS_SPAN_SLOTS(X)
#undef X
#define X(field, text) {&self->names.field, text},
            GS_OTHER_NAMES(X)
#undef X
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        *names[i].name = PyUnicode_InternFromString(names[i].text);
        if (*names[i].name == NULL) {
            return -1;
        }
    }
    return 0;
}

static int load_members(PyObject **members, size_t count, const char *enumeration, const char *const *names) {
    PyObject *type = import_attribute("opentelemetry.trace", enumeration);
    for (size_t i = 0; type != NULL && i < count; i++) {
        members[i] = PyObject_GetAttrString(type, names[i]);
        if (members[i] == NULL) {
            Py_CLEAR(type);
        }
    }
    int result = type == NULL ? -1 : 0;
    Py_XDECREF(type);
    return result;
}

/* A SpanContext is known if it is a tuple whose items are what its properties say. */
static int load_span_context(gs_sdk *self) {
    PyObject *type = import_attribute("opentelemetry.trace", "SpanContext");
    PyObject *flags = import_attribute("opentelemetry.trace", "TraceFlags");
    if (type == NULL || flags == NULL || !PyType_Check(flags)) {
        Py_XDECREF(type);
        Py_XDECREF(flags);
        return -1;
    }
    if (PyType_IsSubtype((PyTypeObject *)flags, &PyLong_Type)) {
        self->trace_flags = (PyTypeObject *)Py_NewRef(flags);
    }
    PyObject *const items[] = {
        [GS_CONTEXT_TRACE_ID] = self->names.trace_id,       [GS_CONTEXT_SPAN_ID] = self->names.span_id,
        [GS_CONTEXT_IS_REMOTE] = self->names.is_remote,     [GS_CONTEXT_TRACE_FLAGS] = self->names.trace_flags,
        [GS_CONTEXT_TRACE_STATE] = self->names.trace_state,
    };
    PyObject *instance = PyObject_CallFunction(type, "iiON", 2, 3, Py_True, PyObject_CallFunction(flags, "i", 1));
    bool known = instance != NULL && Py_TYPE(instance) == (PyTypeObject *)type && PyTuple_Check(instance) &&
                 PyTuple_GET_SIZE(instance) > GS_CONTEXT_TRACE_STATE;
    for (Py_ssize_t i = 0; known && i <= GS_CONTEXT_TRACE_STATE; i++) {
        PyObject *value = PyObject_GetAttr(instance, items[i]);
        known = value != NULL && value == PyTuple_GET_ITEM(instance, i);
        Py_XDECREF(value);
    }
    PyErr_Clear();
    if (known) {
        self->span_context = (PyTypeObject *)Py_NewRef(type);
    }
    Py_XDECREF(instance);
    Py_DECREF(type);
    Py_DECREF(flags);
    return 0;
}

static int load_readable_span(gs_sdk *self) {
    PyObject *type = import_attribute("opentelemetry.sdk.trace", "ReadableSpan");
    PyObject *resource_type = import_attribute("opentelemetry.sdk.resources", "Resource");
    if (type == NULL || resource_type == NULL) {
        Py_XDECREF(type);
        Py_XDECREF(resource_type);
        return -1;
    }
    /* With a resource of its own: without one the SDK would start looking for what it runs on. */
    PyObject *instance = NULL;
    PyObject *resource = PyObject_CallMethod(resource_type, "get_empty", NULL);
    PyObject *positional = Py_BuildValue("(s)", "");
    PyObject *named = resource == NULL ? NULL : Py_BuildValue("{sO}", "resource", resource);
    if (positional != NULL && named != NULL) {
        instance = PyObject_Call(type, positional, named);
    }
    PyErr_Clear();
    self->readable_span = type_with_slots(type, instance, self->private_slots, GS_SLOT_COUNT);
    Py_XDECREF(instance);
    Py_XDECREF(named);
    Py_XDECREF(positional);
    Py_XDECREF(resource);
    Py_DECREF(resource_type);
    Py_DECREF(type);
    return 0;
}

int gs_sdk_load(gs_sdk *self) {
    static const char *const kinds[GS_SPAN_KINDS] = {"INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"};
    static const char *const codes[GS_STATUS_CODES] = {"UNSET", "OK", "ERROR"};
    if (load_names(self) < 0 || load_members(self->span_kinds, GS_SPAN_KINDS, "SpanKind", kinds) < 0 ||
        load_members(self->status_codes, GS_STATUS_CODES, "StatusCode", codes) < 0) {
        return -1;
    }
    self->sequence_abc = import_attribute("collections.abc", "Sequence");
    self->mapping_abc = import_attribute("collections.abc", "Mapping");
    self->scalar_types = PyTuple_Pack(4, &PyUnicode_Type, &PyLong_Type, &PyFloat_Type, &PyBytes_Type);
    self->deque = (PyTypeObject *)import_attribute("collections", "deque");
    if (self->sequence_abc == NULL || self->mapping_abc == NULL || self->scalar_types == NULL || self->deque == NULL) {
        return -1;
    }
    PyObject *const *slots = self->private_slots;
    PyObject *const list[] = {self->names.deque, self->names.dropped};
    PyObject *const event[] = {slots[GS_SLOT_NAME], self->names.private_timestamp, slots[GS_SLOT_ATTRIBUTES]};
    PyObject *const link[] = {slots[GS_SLOT_CONTEXT], slots[GS_SLOT_ATTRIBUTES]};
    PyObject *const status[] = {self->names.private_status_code, self->names.private_description};
    PyObject *const attributes[] = {self->names.dict, self->names.dropped};
    if (load_readable_span(self) < 0 || load_span_context(self) < 0 ||
        load_type(&self->trace_state, "opentelemetry.trace", "TraceState", NULL, &self->names.dict, 1, "()") < 0 ||
        load_type(&self->bounded_attributes, "opentelemetry.attributes", "BoundedAttributes", NULL, attributes, 2,
                  "()") < 0 ||
        load_type(&self->bounded_list, "opentelemetry.sdk.util", "BoundedList", self->deque, list, 2, "(i)", 1) < 0 ||
        load_type(&self->event, "opentelemetry.sdk.trace", "Event", &PyUnicode_Type, event, 3, "(sOi)", "", Py_None,
                  0) < 0 ||
        load_type(&self->link, "opentelemetry.trace", "Link", NULL, link, 2, "(O)", Py_None) < 0 ||
        load_type(&self->status, "opentelemetry.trace", "Status", NULL, status, 2, "()") < 0) {
        return -1;
    }
    return 0;
}

void gs_sdk_unload(gs_sdk *self) {
    /* All of it is pointers to objects. */
    PyObject *held[sizeof *self / sizeof(PyObject *)];
    static_assert(sizeof held == sizeof *self, "gs_sdk consists of references");
    memcpy(held, self, sizeof held);
    memset(self, 0, sizeof *self);
    for (size_t i = 0; i < sizeof held / sizeof held[0]; i++) {
        Py_XDECREF(held[i]);
    }
}
