/* Beginning and ending a subscription, and what a fork and a waiter mean for it: the part of Handle that
 * only namespace.py, handle.py and watch.py call. */
#include "native.h"

#include <unistd.h>

static void settle_attention(struct handle *self) {
    self->attention = self->status != ATTACHED || self->timer_fd >= 0;
}

static void replace(struct mapping **place, PyObject *value) {
    struct mapping *old = *place;
    if (value == Py_None) {
        *place = NULL;
    } else {
        Py_INCREF(value);
        *place = (struct mapping *)value;
    }
    Py_XDECREF((PyObject *)old);
}

PyObject *hf_handle_attach(PyObject *object, PyTypeObject *defining_class,
                               PyObject *const *args, Py_ssize_t count, PyObject *names) {
    struct handle *self = (struct handle *)object;
    struct module *module = PyType_GetModuleState(defining_class);
    if (count != 5 || names != NULL || module == NULL) {
        PyErr_SetString(PyExc_TypeError, "_attach() takes 5 positional arguments");
        return NULL;
    }
    for (int i = 1; i <= 3; i++) {
        if (!(i > 1 && args[i] == Py_None) && Py_TYPE(args[i]) != module->mapping_type) {
            PyErr_SetString(PyExc_TypeError, "_attach(): a Mapping is required");
            return NULL;
        }
    }
    long fd = PyLong_AsLong(args[0]);
    int writable = PyObject_IsTrue(args[4]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    replace(&self->mapping, args[1]);
    replace(&self->bell, args[2]);
    replace(&self->table, args[3]);
    self->module = module;
    self->writable = writable == 1;
    self->region = (struct hf_region){
        .header = (struct hf_header *)self->mapping->base,
        .table = self->table == NULL ? NULL : (struct hf_descriptor *)self->table->base,
        .bell = self->bell == NULL ? NULL : (struct hf_bell *)self->bell->base,
        .length = (uint32_t)self->mapping->length,
        .fd = (int)fd,
        .pid = (int32_t)getpid(),
    };
    self->inotify_fd = self->timer_fd = -1;
    self->status = ATTACHED;
    settle_attention(self);
    Py_RETURN_NONE;
}

PyObject *hf_handle_detach(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct handle *self = (struct handle *)object;
    self->status = DETACHED;
    self->inotify_fd = self->timer_fd = -1;
    settle_attention(self);
    if (self->active == 0) {
        replace(&self->mapping, Py_None);
        replace(&self->bell, Py_None);
        replace(&self->table, Py_None);
    }
    return PyBool_FromLong(self->active == 0);
}

PyObject *hf_handle_forked(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct handle *self = (struct handle *)object;
    if (self->status == ATTACHED) {
        self->status = FORKED;
    }
    self->inotify_fd = self->timer_fd = -1;
    settle_attention(self);
    Py_RETURN_NONE;
}

PyObject *hf_handle_watched(PyObject *object, PyObject *args) {
    struct handle *self = (struct handle *)object;
    int inotify_fd;
    int timer_fd;
    if (!PyArg_ParseTuple(args, "ii", &inotify_fd, &timer_fd)) {
        return NULL;
    }
    self->inotify_fd = inotify_fd;
    self->timer_fd = timer_fd;
    settle_attention(self);
    hf_want(&self->region);
    Py_RETURN_NONE;
}

PyObject *hf_handle_audit(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct handle *self = (struct handle *)object;
    enum hf_result result = hf_audit(&self->region);
    if (result == HF_OK) {
        Py_RETURN_NONE;
    }
    return PyUnicode_FromString(hf_reason(result));
}

PyObject *hf_handle_enlist(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct handle *self = (struct handle *)object;
    if (!self->writable) {
        PyErr_SetString(PyExc_ValueError, "readers have no number");
        return NULL;
    }
    /* relaxed: only the number matters, and that no two get the same */
    uint64_t number = atomic_fetch_add_explicit(&self->region.header->next_subscriber, 1,
                                                memory_order_relaxed);
    self->region.number = number;
    return PyLong_FromUnsignedLongLong(number);
}
