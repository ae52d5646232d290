/* A file mapped into memory.
 *
 * A fork copies the mapping into the child, and with it a reference to the parent's open file: while
 * the child lives, the kernel would neither drop the dead parent's locks nor tell watchers that it
 * has gone.  So the child puts empty private memory in its place (forget), at the same address so
 * that a view taken before the fork reads zeros and not a fault, and maps the file anew on first use
 * (renew).
 */
#define _GNU_SOURCE
#include "native.h"

#include <sys/mman.h>

static int protection(const struct mapping *self) {
    return self->writable ? PROT_READ | PROT_WRITE : PROT_READ;
}

static PyObject *mapping_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"fd", "length", "writable", NULL};
    int fd;
    Py_ssize_t length;
    int writable;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "inp", names, &fd, &length, &writable)) {
        return NULL;
    }
    if (length <= 0) {
        PyErr_SetString(PyExc_ValueError, "length must be positive");
        return NULL;
    }
    struct mapping *self = (struct mapping *)PyType_GenericAlloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->writable = writable != 0;
    void *base = mmap(NULL, (size_t)length, protection(self), MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
        PyErr_SetFromErrno(PyExc_OSError);
        Py_DECREF(self);
        return NULL;
    }
    self->base = base;
    self->length = (size_t)length;
    return (PyObject *)self;
}

static void mapping_dealloc(PyObject *object) {
    struct mapping *self = (struct mapping *)object;
    if (self->base != NULL) {
        munmap(self->base, self->length);
    }
    hf_free(object);
}

bool hf_mapping_forget(struct mapping *self) {
    return mmap(self->base, self->length, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                0) != MAP_FAILED;
}

bool hf_mapping_renew(struct mapping *self, int fd) {
    return mmap(self->base, self->length, protection(self), MAP_SHARED | MAP_FIXED, fd, 0) !=
           MAP_FAILED;
}

static PyType_Slot mapping_slots[] = {
    {Py_tp_doc, "Mapping(fd, length, writable): a file's first bytes, shared with all who map it."},
    {Py_tp_new, mapping_new},
    {Py_tp_dealloc, mapping_dealloc},
    {0, NULL},
};

PyType_Spec hf_mapping_spec = {
    .name = "holdfast.state.core.native.Mapping",
    .basicsize = sizeof(struct mapping),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = mapping_slots,
};
