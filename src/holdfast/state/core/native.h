/* What the files of the Python binding share.
 *
 *   mapping.c      a file mapped into memory, and how it survives a fork
 *   handle.c       Handle: the base of holdfast.state.State; reading
 *   subscription.c Handle: how a subscription begins and ends
 *   page.c         Page: the private memory of a transaction
 *   transaction.c  Transaction: committing
 *   joint.c        transactions and snapshots of several states
 *   throttle.c     handles that show no more than so many changes a second
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

#define NEVER_SEEN UINT64_MAX

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
    int epoll_fd;   /* of the two below */
    int inotify_fd; /* -1: not watched this way */
    int timer_fd;   /* -1: not watched */
    bool listens;   /* whether rings make the descriptor readable */
    uint64_t directory[2]; /* device and inode of the namespace's directory */
    uint32_t active; /* transactions under way; they outlive the closing of their handle */
    uint64_t seen;  /* the newest version that this handle has shown, or NEVER_SEEN */
    int64_t throttle_ns; /* 0: shows every version */
    int64_t shown_at_ns; /* throttled: when it showed a new version last */
    int64_t pretended_ns; /* for tests: the time that throttling goes by; -1: the clock's */
    PyObject *held;      /* throttled: the bytes it shows, or NULL */
    struct hf_look held_look; /* and what they are of */
    uint64_t overtaken;
    uint64_t commits;
    uint64_t conflicts;
};

struct transaction {
    PyObject_HEAD
    struct handle *handle;
    struct page *page;
    PyObject *others; /* list of the further states' transactions, or NULL */
    uint64_t version; /* that it started from; once committed, that it made */
    bool active;
    bool joined; /* one of another's `others`: ends with it */
};

/* Put private zeros in a mapping's place, or map a file there again; false: errno is set. */
bool hf_mapping_forget(struct mapping *self);
bool hf_mapping_renew(struct mapping *self, int fd);

extern PyType_Spec hf_mapping_spec;
extern PyType_Spec hf_handle_spec;
extern PyType_Spec hf_page_spec;
extern PyType_Spec hf_transaction_spec;
extern PyType_Spec hf_view_spec;

/* Make a handle ready for one look: after a fork subscribe again, quiet its file descriptor.
 * False: an exception is set. */
bool hf_handle_ready(struct handle *self);

/* Subscribed, after a fork again.  False: an exception is set. */
bool hf_handle_attached(struct handle *self);

/* One consistent snapshot as bytes, and in *look what it is of. */
PyObject *hf_newest_sample(struct handle *self, struct hf_look *look);

/* (data, version, time_ns, pid, written); takes the reference to the bytes. */
PyObject *hf_sample_tuple(PyObject *bytes, const struct hf_look *look);

/* The same for a throttled handle: the newest, or the one it showed last if that is not long ago. */
PyObject *hf_throttled_sample(struct handle *self, struct hf_look *look);
int64_t hf_throttle_remaining(const struct handle *self);
void hf_throttle_listen(struct handle *self, bool listen);
void hf_throttle_hold_off(struct handle *self);
PyObject *hf_handle_throttle(PyObject *self, PyObject *interval_ns);
PyObject *hf_handle_remaining(PyObject *self, PyObject *unused);
PyObject *hf_handle_pretend(PyObject *self, PyObject *now_ns);
PyObject *hf_handle_want(PyObject *self, PyObject *unused);
PyObject *hf_handle_resize(PyObject *self, PyObject *size);
PyObject *hf_handle_mark_deleted(PyObject *self, PyObject *unused);

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

/* A page for `size` bytes of the handle's state; to be given back, or dropped. */
struct page *hf_page_take(struct handle *handle, uint32_t size);
void hf_page_give(struct handle *handle, struct page *page);
void hf_page_drop(struct page *page);
bool hf_page_changed(const struct page *page);
static inline uint8_t *hf_page_start(const struct page *page) { return page->data + page->size; }

/* What transaction.c and joint.c know of each other. */
int hf_transaction_end(struct transaction *self);
PyObject *hf_transaction_end_raising(struct transaction *self);
PyObject *hf_transaction_refuse(struct transaction *self);
bool hf_transaction_can_publish(struct transaction *self);
PyObject *hf_joint_begin(PyObject *module, PyObject *states);
PyObject *hf_joint_add(PyObject *self, PyObject *state);
PyObject *hf_joint_part(PyObject *self, PyObject *state);
PyObject *hf_joint_commit(struct transaction *self, bool force);
PyObject *hf_joint_snapshot(PyObject *module, PyObject *states);

/* Look at the table of several-state commits from now on.  False: an exception is set. */
bool hf_handle_need_table(struct handle *self);
PyObject *hf_handle_view(PyObject *self, PyObject *unused);

PyObject *hf_handle_attach(PyObject *self, PyTypeObject *defining_class, PyObject *const *args,
                           Py_ssize_t count, PyObject *names);
PyObject *hf_handle_detach(PyObject *self, PyObject *unused);
PyObject *hf_handle_use_table(PyObject *self, PyObject *table);
PyObject *hf_handle_forked(PyObject *self, PyObject *unused);
PyObject *hf_handle_watched(PyObject *self, PyObject *args);
PyObject *hf_handle_audit(PyObject *self, PyObject *unused);
PyObject *hf_handle_enlist(PyObject *self, PyObject *unused);

PyObject *hf_quick(PyObject *module, PyObject *type);

int64_t hf_now_ns(void);

/* Free an object of a heap type: its memory, then the reference to its type. */
void hf_free(PyObject *self);

#endif
