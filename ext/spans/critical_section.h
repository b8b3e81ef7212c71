/* critical_section.h - what free-threaded CPython needs around borrowed references, and other builds do not.
 *
 * GS_BEGIN_CRITICAL_SECTION(object) ... GS_END_CRITICAL_SECTION(), in one block: no other thread changes the object
 * between them, except while Python code that is called there waits.
 */
#ifndef GS_CRITICAL_SECTION_H
#define GS_CRITICAL_SECTION_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if PY_VERSION_HEX >= 0x030D0000
#define GS_BEGIN_CRITICAL_SECTION(object) Py_BEGIN_CRITICAL_SECTION(object)
#define GS_END_CRITICAL_SECTION()         Py_END_CRITICAL_SECTION()
#else
#define GS_BEGIN_CRITICAL_SECTION(object) {
#define GS_END_CRITICAL_SECTION()         }
#endif

/* A new reference to the item of an exact list; NULL and no exception behind its end. */
static inline PyObject *gs_list_item(PyObject *list, Py_ssize_t index) {
#ifdef Py_GIL_DISABLED
    PyObject *item = PyList_GetItemRef(list, index);
    if (item == NULL) {
        PyErr_Clear();
    }
    return item;
#else
    return index < PyList_GET_SIZE(list) ? Py_NewRef(PyList_GET_ITEM(list, index)) : NULL;
#endif
}

#endif /* GS_CRITICAL_SECTION_H */
