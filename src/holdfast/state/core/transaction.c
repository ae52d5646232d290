/* Transaction: a private copy, and one attempt to make it the newest version.
 *
 * A transaction holds nothing that anybody else could wait for: a page of this process' own memory
 * (which its handle keeps for the next one, K60) and the number of the version it started from.  The
 * copy is made at once and not page by page on first touch: 4 KiB cost some 27 ns, a page fault 230
 * times that, and a fault would copy a later version (K62).
 */
#include "native.h"

#include <string.h>

/* -- beginning and ending ----------------------------------------------------------------------------- */

static PyObject *begin(struct handle *handle, struct page *page, uint64_t version) {
    struct transaction *self =
        (struct transaction *)PyType_GenericAlloc(handle->module->transaction_type, 0);
    if (self == NULL) {
        hf_page_drop(page);
        return NULL;
    }
    memcpy(page->data, hf_page_start(page), page->size);
    Py_INCREF((PyObject *)handle);
    self->handle = handle;
    self->page = page;
    self->version = version;
    self->active = true;
    handle->active++;
    return (PyObject *)self;
}

/* A read-only transaction on a throttled handle is a look like any other (K56). */
static PyObject *begin_throttled(struct handle *handle) {
    struct hf_look look;
    PyObject *bytes = hf_throttled_sample(handle, &look);
    struct page *page = bytes == NULL ? NULL : hf_page_take(handle, look.size);
    if (page != NULL) {
        memcpy(hf_page_start(page), PyBytes_AsString(bytes), look.size);
    }
    Py_XDECREF(bytes);
    return page == NULL ? NULL : begin(handle, page, look.version);
}

PyObject *hf_handle_transaction(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct handle *handle = (struct handle *)object;
    if (!hf_handle_ready(handle)) {
        return NULL;
    }
    if (handle->throttle_ns > 0 && !handle->writable) {
        return begin_throttled(handle);
    }
    struct page *page = NULL;
    struct hf_look look;
    for (unsigned attempt = 0; hf_handle_look(handle, &look); attempt++) {
        if (page == NULL || page->size != look.size) {
            hf_page_drop(page);
            page = hf_page_take(handle, look.size);
            if (page == NULL) {
                return NULL;
            }
        }
        if (hf_copy(&handle->region, &look, hf_page_start(page), 0, look.size)) {
            if (handle->throttle_ns <= 0) {
                handle->seen = look.version;
            }
            return begin(handle, page, look.version);
        }
        if (!hf_handle_overtaken(handle, attempt)) {
            break;
        }
    }
    hf_page_drop(page);
    return NULL;
}

int hf_transaction_end(struct transaction *self) {
    self->active = false;
    PyObject *others = self->others;
    self->others = NULL;
    for (Py_ssize_t i = 0; others != NULL && i < PyList_Size(others); i++) {
        struct transaction *part = (struct transaction *)PyList_GetItem(others, i);
        if (part->active && hf_transaction_end(part) < 0) {
            PyErr_Clear(); /* the files of a closed handle: the kernel lets go of them */
        }
    }
    Py_XDECREF(others);
    hf_page_give(self->handle, self->page);
    self->page = NULL;
    return hf_handle_transaction_ended(self->handle);
}

/* End with the exception that is set. */
PyObject *hf_transaction_end_raising(struct transaction *self) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (hf_transaction_end(self) < 0) {
        PyErr_Clear(); /* the first exception is the one that tells why */
    }
    PyErr_Restore(type, value, traceback);
    return NULL;
}

PyObject *hf_transaction_refuse(struct transaction *self) {
    return hf_handle_failed(self->handle, "ended", self->version, self->version);
}

/* -- committing ------------------------------------------------------------------------------------- */

/* A fork copies open transactions too: the child's commits like any other, under its own number.  Only
 * one whose handle was closed before cannot: nobody is there to subscribe again. */
bool hf_transaction_can_publish(struct transaction *self) {
    struct handle *handle = self->handle;
    if (handle->mapping == NULL) {
        hf_handle_failed(handle, "closed", 0, 0);
        return false;
    }
    return handle->status != FORKED || hf_handle_ready(handle);
}

static PyObject *commit(struct transaction *self, bool force) {
    struct handle *handle = self->handle;
    struct page *page = self->page;
    uint64_t version = self->version;
    if (page->readonly || !(force || hf_page_changed(page))) {
        return hf_transaction_end(self) < 0 ? NULL : PyLong_FromUnsignedLongLong(version);
    }
    if (!hf_transaction_can_publish(self)) {
        return hf_transaction_end_raising(self);
    }
    struct hf_commit what = {
        .started = self->version,
        .data = page->data,
        .size = page->size,
        .flags = HF_WRITTEN,
        .time_ns = hf_now_ns(),
    };
    enum hf_result result;
    while ((result = hf_publish(&handle->region, &what, &version)) == HF_NEED_TABLE) {
        if (!hf_handle_need_table(handle)) {
            return hf_transaction_end_raising(self);
        }
    }
    if (result == HF_OK) {
        handle->commits++;
        self->version = version;
        return hf_transaction_end(self) < 0 ? NULL : PyLong_FromUnsignedLongLong(version);
    }
    handle->conflicts += result == HF_CONFLICT;
    hf_handle_failed(handle, hf_reason(result), what.started, version);
    return hf_transaction_end_raising(self);
}

static PyObject *commit_all(struct transaction *self, bool force) {
    return self->others == NULL ? commit(self, force) : hf_joint_commit(self, force);
}

static PyObject *transaction_commit(PyObject *object, PyObject *const *args, Py_ssize_t count,
                                    PyObject *names) {
    struct transaction *self = (struct transaction *)object;
    Py_ssize_t named = names == NULL ? 0 : PyTuple_Size(names);
    if (count > 0 || named > 1 ||
        (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, 0), "force"))) {
        PyErr_SetString(PyExc_TypeError, "commit() takes one keyword argument, 'force'");
        return NULL;
    }
    int force = named == 1 ? PyObject_IsTrue(args[0]) : 0;
    if (force < 0) {
        return NULL;
    }
    if (!self->active || self->joined) {
        return hf_transaction_refuse(self);
    }
    return commit_all(self, force != 0);
}

static PyObject *transaction_abort(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct transaction *self = (struct transaction *)object;
    if (!self->active || self->joined) {
        return hf_transaction_refuse(self);
    }
    if (hf_transaction_end(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *transaction_enter(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct transaction *self = (struct transaction *)object;
    if (!self->active || self->joined) {
        return hf_transaction_refuse(self);
    }
    Py_INCREF(object);
    return object;
}

static PyObject *transaction_exit(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    struct transaction *self = (struct transaction *)object;
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "__exit__() takes 3 arguments");
        return NULL;
    }
    if (self->active && args[0] == Py_None) {
        PyObject *version = commit_all(self, false);
        if (version == NULL) {
            return NULL;
        }
        Py_DECREF(version);
    } else if (self->active && hf_transaction_end(self) < 0) {
        return NULL;
    }
    Py_RETURN_FALSE;
}

static PyObject *transaction_write(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    struct transaction *self = (struct transaction *)object;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "write() takes two arguments, offset and data");
        return NULL;
    }
    Py_ssize_t offset = PyLong_AsSsize_t(args[0]);
    Py_buffer bytes;
    if ((offset == -1 && PyErr_Occurred()) ||
        PyObject_GetBuffer(args[1], &bytes, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    PyObject *result = NULL;
    if (!self->active) {
        hf_transaction_refuse(self);
    } else if (self->page->readonly) {
        hf_handle_failed(self->handle, "read_only", 0, 0);
    } else if (offset < 0 || bytes.len > (Py_ssize_t)self->page->size - offset) {
        hf_handle_failed(self->handle, "out_of_bounds", (uint64_t)offset, (uint64_t)bytes.len);
    } else {
        memcpy(self->page->data + offset, bytes.buf, (size_t)bytes.len);
        result = Py_None;
        Py_INCREF(result);
    }
    PyBuffer_Release(&bytes);
    return result;
}

/* -- properties --------------------------------------------------------------------------------------- */

static PyObject *transaction_data(PyObject *object, void *Py_UNUSED(closure)) {
    struct transaction *self = (struct transaction *)object;
    if (!self->active) {
        return hf_transaction_refuse(self);
    }
    struct page *page = self->page;
    if (page->memory == NULL) {
        page->memory = PyMemoryView_FromObject((PyObject *)page);
    }
    Py_XINCREF(page->memory);
    return page->memory;
}

static PyObject *transaction_version(PyObject *object, void *Py_UNUSED(closure)) {
    return PyLong_FromUnsignedLongLong(((struct transaction *)object)->version);
}

static PyObject *transaction_active(PyObject *object, void *Py_UNUSED(closure)) {
    return PyBool_FromLong(((struct transaction *)object)->active);
}

static PyObject *transaction_value(PyObject *object, void *Py_UNUSED(closure)) {
    struct transaction *self = (struct transaction *)object;
    if (!self->active) {
        return hf_transaction_refuse(self);
    }
    return PyObject_CallMethod((PyObject *)self->handle, "_decoded", "y#", self->page->data,
                               (Py_ssize_t)self->page->size);
}

static int transaction_set_value(PyObject *object, PyObject *value, void *Py_UNUSED(closure)) {
    struct transaction *self = (struct transaction *)object;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "a transaction's value cannot be deleted");
        return -1;
    }
    if (!self->active) {
        hf_transaction_refuse(self);
        return -1;
    }
    if (self->page->readonly) {
        hf_handle_failed(self->handle, "read_only", 0, 0);
        return -1;
    }
    PyObject *bytes = PyObject_CallMethod((PyObject *)self->handle, "_encoded", "(O)", value);
    if (bytes == NULL) {
        return -1;
    }
    /* _encoded has seen to it that they fit the state as it is; the page may be of an older size. */
    Py_ssize_t size = PyBytes_Size(bytes);
    int failed = size < 0;
    if (!failed && size > (Py_ssize_t)self->page->size) {
        hf_handle_failed(self->handle, "out_of_bounds", 0, (uint64_t)size);
        failed = 1;
    }
    if (!failed) {
        memcpy(self->page->data, PyBytes_AsString(bytes), (size_t)size);
    }
    Py_DECREF(bytes);
    return failed ? -1 : 0;
}

static PyObject *transaction_repr(PyObject *object) {
    struct transaction *self = (struct transaction *)object;
    return PyUnicode_FromFormat("<Transaction of %R version=%llu %s>", self->handle,
                                (unsigned long long)self->version,
                                self->active ? "active" : "ended");
}

static void transaction_dealloc(PyObject *object) {
    struct transaction *self = (struct transaction *)object;
    if (self->active) {
        hf_transaction_end_raising(self); /* raising or not: nobody is left to be told */
    }
    Py_XDECREF((PyObject *)self->handle);
    hf_free(object);
}

#define METHOD(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef transaction_methods[] = {
    {"commit", METHOD(transaction_commit), METH_FASTCALL | METH_KEYWORDS,
     "commit(*, force=False)\n--\n\n"
     "Make the private copy the newest version; the version's number.\n\n"
     "A copy that was not changed is not committed, and then nothing can conflict (K45); with\n"
     "force=True it is.  The transaction has ended whatever comes of it (K44).\n"
     "Raises Conflict (somebody has committed since the start; nothing was written), Deleted, Busy,\n"
     "OutOfSpace, InvalidArgument (it had ended).\n\n"
     "With several members it commits all of them at one instant, or none; the number is that of the\n"
     "state it was started on."},
    {"abort", transaction_abort, METH_NOARGS,
     "abort()\n--\n\n"
     "Throw the private copy away.  Always succeeds on an active transaction (K43); InvalidArgument\n"
     "on one that has ended."},
    {"add", hf_joint_add, METH_O,
     "add(state)\n--\n\n"
     "Make another state a member: it commits together with the others, or none does (K68).\n\n"
     "Returns the member's part, which is also self[state].  A member that is not changed is a\n"
     "condition: the commit fails if it has moved.  At most 64 members, all of one directory.\n"
     "Raises Conflict at once if an earlier member has moved on (K69): the transaction has ended.\n"
     "InvalidArgument: it is a member already, lies elsewhere, or there are too many."},
    {"write", METHOD(transaction_write), METH_FASTCALL,
     "write(offset, data)\n--\n\n"
     "Copy bytes into the private copy.  InvalidArgument if they do not fit."},
    {"__enter__", transaction_enter, METH_NOARGS, NULL},
    {"__exit__", METHOD(transaction_exit), METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef transaction_properties[] = {
    {"data", transaction_data, NULL,
     "The private copy as a memoryview, writable unless the handle is read-only; valid until the\n"
     "transaction ends.",
     NULL},
    {"version", transaction_version, NULL,
     "The version that the transaction started from; once committed, the version that it made.",
     NULL},
    {"active", transaction_active, NULL, "Whether it can still be committed or aborted.", NULL},
    {"value", transaction_value, transaction_set_value,
     "The private copy as a value of the type that the state was subscribed with; assign to change\n"
     "it.  Raises InvalidArgument without a type, or if the value does not fit.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot transaction_slots[] = {
    {Py_tp_doc,
     "One attempt to change a state: a private copy, and a commit that may fail.\n\n"
     "Nothing that it does is seen by anybody before commit() has succeeded, and nobody is made to\n"
     "wait meanwhile.  Transactions are independent, nested or not: each has a copy of its own, and\n"
     "an inner commit is a commit like any other, so that the outer one then conflicts (K11).\n\n"
     "As a context manager it commits when its body ends and aborts when the body raises.  It\n"
     "outlives the closing of its state's handle."},
    {Py_tp_dealloc, transaction_dealloc},
    {Py_tp_repr, transaction_repr},
    {Py_tp_methods, transaction_methods},
    {Py_tp_getset, transaction_properties},
    {Py_mp_subscript, hf_joint_part},
    {0, NULL},
};

PyType_Spec hf_transaction_spec = {
    .name = "holdfast.state.Transaction",
    .basicsize = sizeof(struct transaction),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = transaction_slots,
};
