/* Beginning and ending a subscription, what a fork and a waiter mean for it, and the rare changes: the part
 * of Handle that only the Python half calls. */
#include "native.h"

#include <string.h>
#include <unistd.h>

static void settle_attention(struct handle *self) {
    self->attention = self->status != ATTACHED || self->timer_fd >= 0 || self->throttle_ns > 0;
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

PyObject *hf_handle_attach(PyObject *object, PyTypeObject *defining_class, PyObject *const *args,
                           Py_ssize_t count, PyObject *names) {
    struct handle *self = (struct handle *)object;
    struct module *module = PyType_GetModuleState(defining_class);
    if (count != 6 || names != NULL || module == NULL) {
        PyErr_SetString(PyExc_TypeError, "_attach() takes 6 positional arguments");
        return NULL;
    }
    for (int i = 1; i <= 3; i++) {
        bool optional = i > 1 || self->mapping != NULL;
        if (!(optional && args[i] == Py_None) && Py_TYPE(args[i]) != module->mapping_type) {
            PyErr_SetString(PyExc_TypeError, "_attach(): a Mapping is required");
            return NULL;
        }
    }
    int fd = (int)PyLong_AsLong(args[0]);
    int writable = PyObject_IsTrue(args[4]);
    unsigned long long device, inode;
    if (PyErr_Occurred() || !PyArg_ParseTuple(args[5], "KK", &device, &inode)) {
        return NULL;
    }
    if (args[1] != Py_None) {
        replace(&self->mapping, args[1]);
    } else if (!hf_mapping_renew(self->mapping, fd)) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    replace(&self->bell, args[2]);
    replace(&self->table, args[3]);
    self->module = module;
    self->writable = writable == 1;
    self->directory[0] = device;
    self->directory[1] = inode;
    self->region = (struct hf_region){
        .header = (struct hf_header *)self->mapping->base,
        .table = self->table == NULL ? NULL : (struct hf_table *)self->table->base,
        .bell = self->bell == NULL ? NULL : (struct hf_bell *)self->bell->base,
        .length = (uint32_t)self->mapping->length,
        .fd = fd,
        .pid = (int32_t)getpid(),
    };
    self->epoll_fd = self->inotify_fd = self->timer_fd = -1;
    self->pretended_ns = -1;
    if (args[1] != Py_None) {
        self->seen = NEVER_SEEN; /* a fork's child goes on where its parent was */
    }
    self->status = ATTACHED;
    settle_attention(self);
    Py_RETURN_NONE;
}

PyObject *hf_handle_use_table(PyObject *object, PyObject *table) {
    struct handle *self = (struct handle *)object;
    if (Py_TYPE(table) != self->module->mapping_type) {
        PyErr_SetString(PyExc_TypeError, "_use_table(): a Mapping is required");
        return NULL;
    }
    replace(&self->table, table);
    self->region.table = (struct hf_table *)self->table->base;
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
    if (self->mapping != NULL && !hf_mapping_forget(self->mapping)) {
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    if (self->status == ATTACHED) {
        self->status = FORKED;
    } else {
        replace(&self->mapping, Py_None); /* closed: its transactions cannot subscribe again */
    }
    self->inotify_fd = self->timer_fd = -1;
    settle_attention(self);
    Py_RETURN_NONE;
}

PyObject *hf_handle_watched(PyObject *object, PyObject *args) {
    struct handle *self = (struct handle *)object;
    int epoll_fd, inotify_fd, timer_fd;
    if (!PyArg_ParseTuple(args, "iii", &epoll_fd, &inotify_fd, &timer_fd)) {
        return NULL;
    }
    self->epoll_fd = epoll_fd;
    self->inotify_fd = inotify_fd;
    self->timer_fd = timer_fd;
    self->listens = true;
    settle_attention(self);
    hf_want(&self->region);
    if (hf_throttle_remaining(self) > 0) {
        hf_throttle_hold_off(self);
    }
    Py_RETURN_NONE;
}

PyObject *hf_handle_want(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct handle *self = (struct handle *)object;
    if (!hf_handle_attached(self)) {
        return NULL;
    }
    hf_want(&self->region);
    Py_RETURN_NONE;
}

PyObject *hf_handle_throttle(PyObject *object, PyObject *argument) {
    struct handle *self = (struct handle *)object;
    long long interval_ns = PyLong_AsLongLong(argument);
    if ((interval_ns == -1 && PyErr_Occurred()) || !hf_handle_attached(self)) {
        return NULL;
    }
    self->throttle_ns = interval_ns;
    settle_attention(self);
    if (interval_ns <= 0) {
        Py_CLEAR(self->held);
    }
    hf_throttle_hold_off(self); /* the time that was set no longer holds */
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

/* -- changes that are no transactions ---------------------------------------------------------------------- */

/* A change of size is a commit like any other, made from the newest version: it can be overtaken and
 * then tries again.  K23: it does not count as writing.  K25: what was written never shrinks. */
PyObject *hf_handle_resize(PyObject *object, PyObject *argument) {
    struct handle *self = (struct handle *)object;
    unsigned long size = PyLong_AsUnsignedLong(argument);
    if (size == (unsigned long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    if (!hf_handle_attached(self)) {
        return NULL;
    }
    uint32_t page_size = self->region.header->constants.page_size;
    if (!self->writable) {
        return hf_handle_failed(self, "read_only", 0, 0);
    }
    if (size < 1 || size > page_size) {
        return hf_handle_failed(self, "bad_size", size, page_size);
    }
    uint8_t *data = PyMem_Malloc(page_size);
    if (data == NULL) {
        return PyErr_NoMemory();
    }
    PyObject *done = NULL;
    for (unsigned attempt = 0;; attempt++) {
        struct hf_look look;
        if (!hf_handle_look(self, &look)) {
            break;
        }
        if (look.size == size) {
            done = PyLong_FromUnsignedLongLong(look.version);
            break;
        }
        if ((look.flags & HF_WRITTEN) && size < look.size) {
            hf_handle_failed(self, "shrinks", size, look.size);
            break;
        }
        memset(data, 0, size);
        uint32_t kept = look.size < size ? look.size : (uint32_t)size;
        if (hf_copy(&self->region, &look, data, 0, kept)) {
            struct hf_commit commit = {
                .started = look.version,
                .data = data,
                .size = (uint32_t)size,
                .flags = look.flags & HF_WRITTEN,
                .time_ns = hf_now_ns(),
            };
            uint64_t version;
            enum hf_result result = hf_publish(&self->region, &commit, &version);
            if (result == HF_OK) {
                done = PyLong_FromUnsignedLongLong(version);
                break;
            }
            if (result == HF_NEED_TABLE && hf_handle_need_table(self)) {
                continue;
            }
            if (result == HF_NEED_TABLE) {
                break; /* and the exception of _need_table stands */
            }
            if (result != HF_CONFLICT) {
                hf_handle_failed(self, hf_reason(result), look.version, version);
                break;
            }
        }
        if (!hf_handle_overtaken(self, attempt)) {
            break;
        }
    }
    PyMem_Free(data);
    return done;
}

PyObject *hf_handle_mark_deleted(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct handle *self = (struct handle *)object;
    if (!hf_handle_attached(self)) {
        return NULL;
    }
    if (!self->writable) {
        return hf_handle_failed(self, "read_only", 0, 0);
    }
    enum hf_result result = hf_delete(&self->region);
    while (result == HF_NEED_TABLE) {
        if (!hf_handle_need_table(self)) {
            return NULL;
        }
        result = hf_delete(&self->region);
    }
    if (result != HF_OK) {
        return hf_handle_failed(self, hf_reason(result), 0, 0);
    }
    Py_RETURN_NONE;
}
