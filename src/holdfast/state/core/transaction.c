/* Transaction: a private copy, and one attempt to make it the newest version.
 *
 * A transaction holds nothing that anybody else could wait for: a page of this process' own memory
 * (which its handle keeps for the next one, K60) and the number of the version it started from.  The
 * copy is made at once and not page by page on first touch: 4 KiB cost some 27 ns, a page fault 230
 * times that, and a fault would copy a later version (K62).
 *
 * The page is kept twice, to work on and as at the start: a transaction that changed nothing is an
 * abort (K45), and only a comparison can tell.
 */
#include "native.h"

#include <string.h>

/* -- Page ------------------------------------------------------------------------------------------- */

static struct page *page_new(struct handle *handle, uint32_t size) {
    struct page *self = (struct page *)PyType_GenericAlloc(handle->module->page_type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->size = size;
    self->readonly = !handle->writable;
    self->data = PyMem_Malloc(2 * (size_t)size);
    if (self->data == NULL) {
        Py_DECREF(self);
        PyErr_NoMemory();
        return NULL;
    }
    return self;
}

static uint8_t *as_at_start(const struct page *page) { return page->data + page->size; }

/* Let go of the memoryview given out as `data`.  Ours may stay for the next transaction if nobody else
 * has it; otherwise whoever has it must see that it is over: they get ValueError, and where it cannot
 * be released (something was built on it), memory that is nobody's (K42). */
static void withdraw_memory(struct page *page, bool keep) {
    if (page->memory == NULL || (keep && Py_REFCNT(page->memory) == 1)) {
        return;
    }
    PyObject *memory = page->memory;
    page->memory = NULL;
    if (Py_REFCNT(memory) > 1) {
        PyObject *released = PyObject_CallMethod(memory, "release", NULL);
        if (released == NULL) {
            PyErr_Clear(); /* BufferError: still exported */
        }
        Py_XDECREF(released);
    }
    Py_DECREF(memory);
}

/* Drop a page; it and its memoryview hold each other. */
void hf_page_drop(struct page *page) {
    if (page != NULL) {
        withdraw_memory(page, false);
        Py_DECREF((PyObject *)page);
    }
}

static bool page_changed(const struct page *page) {
    return memcmp(page->data, as_at_start(page), page->size) != 0;
}

static void page_dealloc(PyObject *object) {
    PyMem_Free(((struct page *)object)->data);
    hf_free(object);
}

static int page_getbuffer(PyObject *object, Py_buffer *buffer, int flags) {
    struct page *self = (struct page *)object;
    if (PyBuffer_FillInfo(buffer, object, self->data, (Py_ssize_t)self->size, self->readonly,
                          flags) < 0) {
        return -1;
    }
    self->exports++;
    return 0;
}

static void page_releasebuffer(PyObject *object, Py_buffer *Py_UNUSED(buffer)) {
    ((struct page *)object)->exports--;
}

static PyType_Slot page_slots[] = {
    {Py_tp_doc, "Private memory of a transaction."},
    {Py_tp_dealloc, page_dealloc},
    {Py_bf_getbuffer, page_getbuffer},
    {Py_bf_releasebuffer, page_releasebuffer},
    {0, NULL},
};

PyType_Spec hf_page_spec = {
    .name = "holdfast.state.core.native.Page",
    .basicsize = sizeof(struct page),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = page_slots,
};

/* -- beginning and ending ----------------------------------------------------------------------------- */

/* A page for `size` bytes: the handle's spare one if it will do. */
static struct page *take_page(struct handle *handle, uint32_t size) {
    struct page *page = handle->spare;
    handle->spare = NULL;
    if (page != NULL && page->size != size) {
        hf_page_drop(page);
        page = NULL;
    }
    if (page == NULL) {
        page = page_new(handle, size);
    }
    return page;
}

/* Keep a page for the next transaction, unless somebody still looks at it: then it is theirs. */
static void give_page(struct handle *handle, struct page *page) {
    withdraw_memory(page, true);
    bool own = page->memory != NULL;
    if (handle->spare == NULL && page->exports == own && Py_REFCNT((PyObject *)page) == 1 + own) {
        handle->spare = page;
    } else {
        hf_page_drop(page);
    }
}

PyObject *hf_handle_transaction(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct handle *handle = (struct handle *)object;
    if (!hf_handle_ready(handle)) {
        return NULL;
    }
    struct page *page = NULL;
    struct hf_look look;
    for (unsigned attempt = 0;; attempt++) {
        if (!hf_handle_look(handle, &look)) {
            break;
        }
        if (page == NULL || page->size != look.size) {
            hf_page_drop(page);
            page = take_page(handle, look.size);
            if (page == NULL) {
                return NULL;
            }
        }
        if (hf_copy(&handle->region, &look, as_at_start(page), 0, look.size)) {
            struct transaction *self =
                (struct transaction *)PyType_GenericAlloc(handle->module->transaction_type, 0);
            if (self == NULL) {
                break;
            }
            memcpy(page->data, as_at_start(page), look.size);
            Py_INCREF((PyObject *)handle);
            self->handle = handle;
            self->page = page;
            self->version = handle->seen = look.version;
            self->active = true;
            handle->active++;
            return (PyObject *)self;
        }
        if (!hf_handle_overtaken(handle, attempt)) {
            break;
        }
    }
    hf_page_drop(page);
    return NULL;
}

static int end(struct transaction *self) {
    self->active = false;
    give_page(self->handle, self->page);
    self->page = NULL;
    return hf_handle_transaction_ended(self->handle);
}

/* End with the exception that is set. */
static PyObject *end_raising(struct transaction *self) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (end(self) < 0) {
        PyErr_Clear(); /* the first exception is the one that tells why */
    }
    PyErr_Restore(type, value, traceback);
    return NULL;
}

static PyObject *refuse_ended(struct transaction *self) {
    return hf_handle_failed(self->handle, "ended", self->version, self->version);
}

/* -- committing ------------------------------------------------------------------------------------- */

/* A fork copies open transactions too: the child's commits like any other, under its own number. */
static bool can_publish(struct handle *handle) {
    return handle->status != FORKED || hf_handle_ready(handle);
}

static PyObject *commit(struct transaction *self, bool force) {
    struct handle *handle = self->handle;
    struct page *page = self->page;
    uint64_t version = self->version;
    if (page->readonly || !(force || page_changed(page))) {
        return end(self) < 0 ? NULL : PyLong_FromUnsignedLongLong(version);
    }
    if (!can_publish(handle)) {
        return end_raising(self);
    }
    struct hf_commit what = {
        .started = self->version,
        .data = page->data,
        .size = page->size,
        .flags = HF_WRITTEN,
        .time_ns = hf_now_ns(),
    };
    enum hf_result result = hf_publish(&handle->region, &what, &version);
    if (result == HF_OK) {
        handle->commits++;
        self->version = version;
        return end(self) < 0 ? NULL : PyLong_FromUnsignedLongLong(version);
    }
    handle->conflicts += result == HF_CONFLICT;
    hf_handle_failed(handle, hf_reason(result), what.started, version);
    return end_raising(self);
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
    return self->active ? commit(self, force != 0) : refuse_ended(self);
}

static PyObject *transaction_abort(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct transaction *self = (struct transaction *)object;
    if (!self->active) {
        return refuse_ended(self);
    }
    if (end(self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *transaction_enter(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct transaction *self = (struct transaction *)object;
    if (!self->active) {
        return refuse_ended(self);
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
        PyObject *version = commit(self, false);
        if (version == NULL) {
            return NULL;
        }
        Py_DECREF(version);
    } else if (self->active && end(self) < 0) {
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
        refuse_ended(self);
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
        return refuse_ended(self);
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
        return refuse_ended(self);
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
        refuse_ended(self);
        return -1;
    }
    if (self->page->readonly) {
        hf_handle_failed(self->handle, "read_only", 0, 0);
        return -1;
    }
    PyObject *bytes = PyObject_CallMethod((PyObject *)self->handle, "_encoded", "O", value);
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
        end_raising(self); /* raising or not: nobody is left to be told */
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
     "OutOfSpace, InvalidArgument (it had ended)."},
    {"abort", transaction_abort, METH_NOARGS,
     "abort()\n--\n\n"
     "Throw the private copy away.  Always succeeds on an active transaction (K43); InvalidArgument\n"
     "on one that has ended."},
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
    {0, NULL},
};

PyType_Spec hf_transaction_spec = {
    .name = "holdfast.state.Transaction",
    .basicsize = sizeof(struct transaction),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = transaction_slots,
};
