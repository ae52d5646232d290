/* Page: the private memory of a transaction.
 *
 * Its handle keeps it for the next transaction (K60), with the memoryview that gives it out: to make
 * one anew each time would take a third of a small transaction's time.
 *
 * It is kept twice, to work on and as at the start: a transaction that changed nothing is an abort
 * (K45), and only a comparison can tell.
 */
#include "native.h"

#include <string.h>

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

static int is_shared(PyObject *object, void *Py_UNUSED(arg)) { return Py_REFCNT(object) > 1; }

/* Whether we are the only one who has the memoryview or anything made from it.  Slices and casts do not
 * refer to it but share the buffer behind it, which the memoryview shows to the garbage collector. */
static bool nobody_else_has(PyObject *memory) {
    traverseproc traverse = (traverseproc)PyType_GetSlot(Py_TYPE(memory), Py_tp_traverse);
    return Py_REFCNT(memory) == 1 && traverse != NULL && traverse(memory, is_shared, NULL) == 0;
}

/* Let go of the memoryview given out as `data`.  Ours may stay for the next transaction if nobody else
 * has it; otherwise whoever has it must see that it is over: they get ValueError, and where it cannot
 * be released (something was built on it), memory that is nobody's (K42). */
static void withdraw_memory(struct page *page, bool keep) {
    if (page->memory == NULL || (keep && nobody_else_has(page->memory))) {
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

bool hf_page_changed(const struct page *page) {
    return memcmp(page->data, hf_page_start(page), page->size) != 0;
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

/* A page for `size` bytes: the handle's spare one if it will do. */
struct page *hf_page_take(struct handle *handle, uint32_t size) {
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
void hf_page_give(struct handle *handle, struct page *page) {
    withdraw_memory(page, true);
    bool own = page->memory != NULL;
    if (handle->spare == NULL && page->exports == own && Py_REFCNT((PyObject *)page) == 1 + own) {
        handle->spare = page;
    } else {
        hf_page_drop(page);
    }
}
