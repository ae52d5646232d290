/* View: shared memory itself, for those who want no copy.
 *
 * A pointer cannot be both stable and live (K37).  A view's address is good as long as the view exists;
 * its content is version `version` until that version's slot is used again, HF_SLOTS - 1 commits later
 * if nobody else commits.  So: use it, then ask check().  Nothing is pinned, so a reader that is stopped
 * or killed over a view costs nobody anything.
 */
#include "native.h"

struct view {
    PyObject_HEAD
    struct mapping *mapping;
    PyObject *held; /* of a throttled handle: the bytes that it shows, instead of shared memory */
    struct hf_region region;
    struct hf_look look;
};

PyObject *hf_handle_view(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct handle *handle = (struct handle *)object;
    struct hf_look look;
    PyObject *held = NULL;
    if (!hf_handle_ready(handle)) {
        return NULL;
    }
    if (handle->throttle_ns > 0) {
        held = hf_throttled_sample(handle, &look);
        if (held == NULL) {
            return NULL;
        }
    } else if (!hf_handle_look(handle, &look)) {
        return NULL;
    }
    struct view *self = (struct view *)PyType_GenericAlloc(handle->module->view_type, 0);
    if (self == NULL) {
        Py_XDECREF(held);
        return NULL;
    }
    self->held = held;
    Py_INCREF((PyObject *)handle->mapping);
    self->mapping = handle->mapping;
    self->region = handle->region;
    self->look = look;
    handle->seen = look.version;
    return (PyObject *)self;
}

static void view_dealloc(PyObject *object) {
    Py_XDECREF((PyObject *)((struct view *)object)->mapping);
    Py_XDECREF(((struct view *)object)->held);
    hf_free(object);
}

static int view_getbuffer(PyObject *object, Py_buffer *buffer, int flags) {
    struct view *self = (struct view *)object;
    void *bytes = self->held != NULL ? (void *)PyBytes_AsString(self->held)
                                     : (void *)(self->mapping->base + self->look.offset);
    return PyBuffer_FillInfo(buffer, object, bytes, (Py_ssize_t)self->look.size, 1, flags);
}

static Py_ssize_t view_length(PyObject *object) {
    return (Py_ssize_t)((struct view *)object)->look.size;
}

static PyObject *view_check(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct view *self = (struct view *)object;
    return PyBool_FromLong(self->held != NULL || hf_still(&self->region, &self->look));
}

static PyObject *view_memoryview(PyObject *object, void *Py_UNUSED(closure)) {
    return PyMemoryView_FromObject(object);
}

static PyObject *view_version(PyObject *object, void *Py_UNUSED(closure)) {
    return PyLong_FromUnsignedLongLong(((struct view *)object)->look.version);
}

static PyMethodDef view_methods[] = {
    {"check", view_check, METH_NOARGS,
     "check()\n--\n\n"
     "Whether everything read through this view so far was version `version`, untorn (K37)."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef view_properties[] = {
    {"memoryview", view_memoryview, NULL, "A read-only memoryview of the shared bytes.", NULL},
    {"version", view_version, NULL, "The version that the bytes are of, while check() holds.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot view_slots[] = {
    {Py_tp_doc,
     "A look into shared memory without a copy: a buffer (and `memoryview`), read-only.\n\n"
     "Valid for ever as memory, as content only as long as check() says so."},
    {Py_tp_dealloc, view_dealloc},
    {Py_tp_methods, view_methods},
    {Py_tp_getset, view_properties},
    {Py_bf_getbuffer, view_getbuffer},
    {Py_sq_length, view_length},
    {0, NULL},
};

PyType_Spec hf_view_spec = {
    .name = "holdfast.state.View",
    .basicsize = sizeof(struct view),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = view_slots,
};
