/* What the files of the Python binding share.
 *
 *   mapping.c      a file mapped into memory, and how it survives a fork
 *   handle.c       Handle: the base of holdfast.state.State; reading
 *   subscription.c Handle: how a subscription begins and ends
 *   transaction.c  Page, Transaction: committing
 *   view.c         View: a look into shared memory, and whether it was untorn
 *   native.c       the module
 *
 * The limited API (3.11), multi-phase initialisation, heap types, no mutable globals.  The binding
 * holds the GIL throughout: every operation is shorter than giving it up and taking it again.
 * Messages for people are Python's business: C calls `_failed(reason, started, current)` of the
 * handle, which raises.
 */
#ifndef HOLDFAST_STATE_NATIVE_H
#define HOLDFAST_STATE_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "protocol.h"

struct module {
    PyTypeObject *mapping_type;
    PyTypeObject *handle_type;
    PyTypeObject *page_type;
    PyTypeObject *transaction_type;
    PyTypeObject *view_type;
};

/* A mapping of a file.  Views keep it alive after their handle was closed. */
struct mapping {
    PyObject_HEAD
    uint8_t *base;
    size_t length;
    bool writable;
};

/* Private memory of one transaction: what it changes, and what it started from. */
struct page {
    PyObject_HEAD
    uint8_t *data;    /* size bytes to work on, then size bytes as at the start */
    PyObject *memory; /* the memoryview given out as `data`, or NULL */
    uint32_t size;
    bool readonly;
    Py_ssize_t exports; /* buffers given out, that of `memory` included */
};

enum status { DETACHED, ATTACHED, FORKED };

struct handle {
    PyObject_HEAD
    struct hf_region region;
    struct module *module;
    struct mapping *mapping;
    struct mapping *bell;  /* or NULL */
    struct mapping *table; /* or NULL */
    struct page *spare;    /* for the next transaction: starting one allocates no memory */
    enum status status;
    bool attention; /* not attached, or watched: the quick path is not enough */
    bool writable;
    int inotify_fd; /* -1: not watched this way */
    int timer_fd;   /* -1: not watched */
    uint32_t active; /* transactions under way; they outlive the closing of their handle */
    uint64_t seen;  /* the newest version that this handle has shown */
    uint64_t overtaken;
    uint64_t commits;
    uint64_t conflicts;
};

struct transaction {
    PyObject_HEAD
    struct handle *handle;
    struct page *page;
    uint64_t version; /* that it started from; once committed, that it made */
    bool active;
};

extern PyType_Spec hf_mapping_spec;
extern PyType_Spec hf_handle_spec;
extern PyType_Spec hf_page_spec;
extern PyType_Spec hf_transaction_spec;
extern PyType_Spec hf_view_spec;

/* Make a handle ready for one look: after a fork subscribe again, quiet its file descriptor.
 * False: an exception is set. */
bool hf_handle_ready(struct handle *self);

/* Find the current version, waiting out whoever overtakes us.  False: an exception is set. */
bool hf_handle_look(struct handle *self, struct hf_look *look);

/* Note that commits overtook a copy; after many in a row sleep a little.  False: a signal handler
 * raised. */
bool hf_handle_overtaken(struct handle *self, unsigned attempt);

/* Raise what `result` means for people.  Always NULL. */
PyObject *hf_handle_failed(struct handle *self, const char *reason, uint64_t started,
                           uint64_t current);
const char *hf_reason(enum hf_result result);

/* The transaction has ended; a handle that was closed meanwhile may let go now. */
int hf_handle_transaction_ended(struct handle *self);

PyObject *hf_handle_transaction(PyObject *self, PyObject *unused);
PyObject *hf_handle_view(PyObject *self, PyObject *unused);

PyObject *hf_handle_attach(PyObject *self, PyTypeObject *defining_class, PyObject *const *args,
                           Py_ssize_t count, PyObject *names);
PyObject *hf_handle_detach(PyObject *self, PyObject *unused);
PyObject *hf_handle_forked(PyObject *self, PyObject *unused);
PyObject *hf_handle_watched(PyObject *self, PyObject *args);
PyObject *hf_handle_audit(PyObject *self, PyObject *unused);
PyObject *hf_handle_enlist(PyObject *self, PyObject *unused);

void hf_page_drop(struct page *page);

PyObject *hf_quick(PyObject *module, PyObject *type);

int64_t hf_now_ns(void);

/* Free an object of a heap type: its memory, then the reference to its type. */
void hf_free(PyObject *self);

#endif
