/* The module holdfast.state.core.native: types and two functions on files. */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void hf_free(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

/* -- files ------------------------------------------------------------------------------------------ */

static PyObject *native_header(PyObject *Py_UNUSED(module), PyObject *args, PyObject *kwargs) {
    static char *names[] = {"name",        "size",       "page_size", "flags",
                            "incarnation", "created_ns", NULL};
    const char *name;
    const char *incarnation;
    Py_ssize_t name_length, incarnation_length;
    unsigned int size, page_size, flags;
    unsigned long long created_ns;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y#IIIy#K", names, &name, &name_length, &size,
                                     &page_size, &flags, &incarnation, &incarnation_length,
                                     &created_ns)) {
        return NULL;
    }
    if (name_length < 1 || name_length > (Py_ssize_t)HF_NAME_MAX || incarnation_length != 16 ||
        size < 1 || size > page_size) {
        PyErr_SetString(PyExc_ValueError, "header(): name, size or incarnation out of range");
        return NULL;
    }
    struct hf_header header;
    memset(&header, 0, sizeof header);
    hf_format(&header, name, (uint32_t)name_length, size, page_size, flags,
              (const uint8_t *)incarnation, created_ns);
    return PyBytes_FromStringAndSize((const char *)&header, sizeof header);
}

/* What a file says it is; the first thing that is wrong with it, or None. */
static const char *misfit(const struct hf_header *header, ssize_t got, uint32_t page_size) {
    const struct hf_constants *constants = &header->constants;
    if (got < (ssize_t)sizeof *header || constants->magic != HF_MAGIC) {
        return "foreign";
    }
    if (constants->endian != HF_ENDIAN) {
        return "endian";
    }
    if (constants->layout != HF_LAYOUT) {
        return "layout";
    }
    if (constants->page_size != page_size) {
        return "page_size";
    }
    if (constants->slots != HF_SLOTS) {
        return "slots";
    }
    if (constants->checksum != hf_checksum(header) || header->name_length < 1 ||
        header->name_length > HF_NAME_MAX || constants->first_capacity < HF_LINE ||
        constants->first_capacity > page_size || constants->first_capacity % HF_LINE != 0) {
        return "damaged";
    }
    return NULL;
}

static PyObject *native_examine(PyObject *Py_UNUSED(module), PyObject *args) {
    int fd;
    unsigned int page_size;
    if (!PyArg_ParseTuple(args, "iI", &fd, &page_size)) {
        return NULL;
    }
    struct hf_header header;
    memset(&header, 0, sizeof header);
    ssize_t got;
    do {
        got = pread(fd, &header, sizeof header, 0);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    const char *problem = misfit(&header, got, page_size);
    if (problem != NULL) {
        return Py_BuildValue("(sIy#y#KIIO)", problem, header.constants.layout, "", (Py_ssize_t)0,
                             "", (Py_ssize_t)0, 0ULL, 0u, 0u, Py_False);
    }
    uint64_t head = atomic_load_explicit(&header.head, memory_order_relaxed); /* a private copy */
    return Py_BuildValue("(zIy#y#KIIO)", NULL, header.constants.layout, header.name,
                         (Py_ssize_t)header.name_length,
                         (const char *)header.constants.incarnation, (Py_ssize_t)16,
                         (unsigned long long)header.constants.created_ns, header.constants.flags,
                         hf_mapping_length(page_size, header.constants.first_capacity),
                         head & HF_HEAD_DELETED ? Py_True : Py_False);
}

static PyObject *native_file_size(PyObject *Py_UNUSED(module), PyObject *args) {
    unsigned int size;
    if (!PyArg_ParseTuple(args, "I", &size)) {
        return NULL;
    }
    uint32_t capacity = (size + HF_LINE - 1) / HF_LINE * HF_LINE;
    return PyLong_FromUnsignedLong(HF_HEADER_SIZE + HF_SLOTS * capacity);
}

/* -- clearing up after several-state committers that were killed ------------------------------------ */

static struct mapping *as_mapping(PyObject *module, PyObject *object) {
    struct module *state = PyModule_GetState(module);
    if (Py_TYPE(object) != state->mapping_type) {
        PyErr_SetString(PyExc_TypeError, "a Mapping is required");
        return NULL;
    }
    return (struct mapping *)object;
}

static PyObject *native_note_descriptors(PyObject *module, PyObject *object) {
    struct mapping *table = as_mapping(module, object);
    if (table == NULL) {
        return NULL;
    }
    uint64_t noted[HF_DESCRIPTORS];
    hf_note_descriptors((struct hf_table *)table->base, noted);
    return PyBytes_FromStringAndSize((const char *)noted, sizeof noted);
}

static PyObject *native_named_commit(PyObject *module, PyObject *object) {
    struct mapping *state = as_mapping(module, object);
    if (state == NULL) {
        return NULL;
    }
    return PyLong_FromUnsignedLongLong(hf_named_commit((const struct hf_header *)state->base));
}

static PyObject *native_free_descriptors(PyObject *module, PyObject *args) {
    PyObject *object, *list;
    const char *bytes;
    Py_ssize_t length;
    if (!PyArg_ParseTuple(args, "Oy#O!", &object, &bytes, &length, &PyList_Type, &list)) {
        return NULL;
    }
    struct mapping *table = as_mapping(module, object);
    uint64_t noted[HF_DESCRIPTORS];
    if (table == NULL || length != (Py_ssize_t)sizeof noted) {
        PyErr_SetString(PyExc_ValueError, "noted: what note_descriptors() gave is required");
        return NULL;
    }
    memcpy(noted, bytes, sizeof noted);
    Py_ssize_t count = PyList_Size(list);
    uint64_t *named = PyMem_Malloc(sizeof *named * (size_t)(count + 1));
    if (named == NULL) {
        return PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        named[i] = PyLong_AsUnsignedLongLong(PyList_GetItem(list, i));
    }
    if (!PyErr_Occurred()) {
        hf_free_descriptors((struct hf_table *)table->base, noted, named, (size_t)count);
    }
    PyMem_Free(named);
    if (PyErr_Occurred()) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef native_methods[] = {
    {"header", (PyCFunction)(void (*)(void))native_header, METH_VARARGS | METH_KEYWORDS,
     "The header of a fresh state as bytes, to be written at offset 0 of a zeroed file."},
    {"examine", native_examine, METH_VARARGS,
     "examine(fd, page_size): (problem or None, layout, name, incarnation, created_ns, flags,\n"
     "mapping length, deleted) of a state's file, without touching it."},
    {"file_size", native_file_size, METH_VARARGS,
     "file_size(size): bytes of a fresh state's file for states of that size."},
    {"begin", hf_joint_begin, METH_O,
     "begin(states): a transaction on all of them; Conflict if they cannot be had of one moment."},
    {"snapshot", hf_joint_snapshot, METH_O,
     "snapshot(states): (data, version, time_ns, pid, written) of each, all of one moment."},
    {"note_descriptors", native_note_descriptors, METH_O,
     "note_descriptors(table): which commits are under way, to be given to free_descriptors."},
    {"named_commit", native_named_commit, METH_O,
     "named_commit(mapping): the commit that a mapped state's head names, or 0."},
    {"free_descriptors", native_free_descriptors, METH_VARARGS,
     "free_descriptors(table, noted, named): free those noted that no head names."},
    {"quick", hf_quick, METH_O, "Class decorator: make calls of a Handle's subclass as quick as its."},
    {NULL, NULL, 0, NULL},
};

/* -- the module --------------------------------------------------------------------------------------- */

static PyTypeObject *add_type(PyObject *module, PyType_Spec *spec) {
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (type == NULL || PyModule_AddType(module, (PyTypeObject *)type) < 0) {
        Py_XDECREF(type);
        return NULL;
    }
    return (PyTypeObject *)type;
}

static int native_exec(PyObject *module) {
    struct module *state = PyModule_GetState(module);
    state->mapping_type = add_type(module, &hf_mapping_spec);
    state->handle_type = state->mapping_type ? add_type(module, &hf_handle_spec) : NULL;
    state->page_type = state->handle_type ? add_type(module, &hf_page_spec) : NULL;
    state->transaction_type = state->page_type ? add_type(module, &hf_transaction_spec) : NULL;
    state->view_type = state->transaction_type ? add_type(module, &hf_view_spec) : NULL;
    if (state->view_type == NULL) {
        return -1;
    }
    return PyModule_AddIntConstant(module, "LAYOUT", HF_LAYOUT) < 0 ||
                   PyModule_AddIntConstant(module, "SLOTS", HF_SLOTS) < 0 ||
                   PyModule_AddIntConstant(module, "NAME_MAX", HF_NAME_MAX) < 0 ||
                   PyModule_AddIntConstant(module, "RETAIN", HF_RETAIN) < 0 ||
                   PyModule_AddIntConstant(module, "BELL_SIZE", HF_BELL_SIZE) < 0 ||
                   PyModule_AddIntConstant(module, "TABLE_SIZE",
                                           sizeof(struct hf_table)) < 0 ||
                   PyModule_AddObject(module, "LOCK_READERS",
                                      PyLong_FromLongLong(HF_LOCK_READERS)) < 0 ||
                   PyModule_AddObject(module, "LOCK_WRITERS",
                                      PyLong_FromLongLong(HF_LOCK_WRITERS)) < 0 ||
                   PyModule_AddObject(module, "LOCK_LENGTH",
                                      PyLong_FromLongLong(HF_LOCK_LENGTH)) < 0
               ? -1
               : 0;
}

static int native_traverse(PyObject *module, visitproc visit, void *arg) {
    struct module *state = PyModule_GetState(module);
    Py_VISIT(state->mapping_type);
    Py_VISIT(state->handle_type);
    Py_VISIT(state->page_type);
    Py_VISIT(state->transaction_type);
    Py_VISIT(state->view_type);
    return 0;
}

static int native_clear(PyObject *module) {
    struct module *state = PyModule_GetState(module);
    Py_CLEAR(state->mapping_type);
    Py_CLEAR(state->handle_type);
    Py_CLEAR(state->page_type);
    Py_CLEAR(state->transaction_type);
    Py_CLEAR(state->view_type);
    return 0;
}

static PyModuleDef_Slot native_module_slots[] = {
    {Py_mod_exec, native_exec},
    {0, NULL},
};

static struct PyModuleDef native_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "holdfast.state.core.native",
    .m_doc = "Shared state: the lock-free core (see layout.h and protocol.h beside it).",
    .m_size = sizeof(struct module),
    .m_methods = native_methods,
    .m_slots = native_module_slots,
    .m_traverse = native_traverse,
    .m_clear = native_clear,
};

PyMODINIT_FUNC PyInit_native(void) { return PyModuleDef_Init(&native_module); }
