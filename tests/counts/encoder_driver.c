/* Drives ext/spans without ring and exporter: for instruction counts, and for tests that must see single records.
 *
 * encode(span, generation, pushed) -> (status, record bytes, values replaced, carries a definition)
 * repeat(span, times)              -> bytes of the last record; encodes and ends, nothing else
 * reset()                          -> a new encoder: nothing interned
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "spans/span_encoder.h"

static gs_encoder *encoder;

static PyObject *driver_reset(PyObject *module, PyObject *unused) {
    (void)module;
    (void)unused;
    gs_encoder_free(encoder);
    encoder = NULL;
    if (gs_encoder_new(&encoder) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *driver_encode(PyObject *module, PyObject *args) {
    PyObject *span;
    unsigned int generation = 0;
    int pushed = 1;
    (void)module;
    if (!PyArg_ParseTuple(args, "O|Ip", &span, &generation, &pushed)) {
        return NULL;
    }
    gs_encoded encoded;
    gs_encode_status status = gs_encoder_begin(encoder, span, generation, &encoded);
    if (PyErr_Occurred() != NULL) {
        Py_FatalError("an exception is set after gs_encoder_begin");
    }
    if (status != GS_ENCODE_OK) {
        return Py_BuildValue("iOKO", (int)status, Py_None, 0ULL, Py_False);
    }
    PyObject *record = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)encoded.bytes);
    char *at = record == NULL ? NULL : PyBytes_AS_STRING(record);
    for (size_t i = 0; at != NULL && i < encoded.piece_count; i++) {
        memcpy(at, encoded.pieces[i].data, encoded.pieces[i].bytes);
        at += encoded.pieces[i].bytes;
    }
    unsigned long long replaced = encoded.replaced;
    PyObject *defines = encoded.defines_scope ? Py_True : Py_False;
    gs_encoder_end(encoder, &encoded, pushed != 0);
    if (record == NULL) {
        return NULL;
    }
    return Py_BuildValue("iNKO", (int)status, record, replaced, defines);
}

static PyObject *driver_repeat(PyObject *module, PyObject *args) {
    PyObject *span;
    Py_ssize_t times;
    size_t bytes = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "On", &span, &times)) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < times; i++) {
        gs_encoded encoded;
        if (gs_encoder_begin(encoder, span, 0, &encoded) == GS_ENCODE_OK) {
            bytes = encoded.bytes;
            gs_encoder_end(encoder, &encoded, true);
        }
    }
    return PyLong_FromSize_t(bytes);
}

static PyMethodDef methods[] = {
    {"reset", driver_reset, METH_NOARGS, NULL},
    {"encode", driver_encode, METH_VARARGS, NULL},
    {"repeat", driver_repeat, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "encoder_driver",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit_encoder_driver(void) {
    if (gs_encoder_new(&encoder) < 0) {
        return NULL;
    }
    return PyModule_Create(&definition);
}
