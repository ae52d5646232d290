/* Handle: one subscription, seen from Python.  The base class of holdfast.state.State.
 *
 * The quick path of a read is: is anything out of the ordinary (`attention`)? look, copy, look again.
 * Out of the ordinary are a handle that is closed, one that a fork has copied, and one whose file
 * descriptor somebody waits on.
 */
#define _GNU_SOURCE
#include "native.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 64 /* attempts before a reader that is always overtaken sleeps */

int64_t hf_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now); /* in the vDSO: no system call */
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

const char *hf_reason(enum hf_result result) {
    switch (result) {
    case HF_CONFLICT:
        return "conflict";
    case HF_BUSY:
        return "busy";
    case HF_NO_SPACE:
        return "out_of_space";
    case HF_IS_DELETED:
        return "deleted";
    case HF_DAMAGED:
        return "damaged";
    case HF_TABLE_FULL:
        return "table_full";
    case HF_NEED_TABLE:
        return "need_table";
    default:
        return "unknown";
    }
}

PyObject *hf_handle_failed(struct handle *self, const char *reason, uint64_t started,
                           uint64_t current) {
    PyObject *result = PyObject_CallMethod((PyObject *)self, "_failed", "sKK", reason,
                                           (unsigned long long)started,
                                           (unsigned long long)current);
    if (result != NULL) {
        Py_DECREF(result);
        PyErr_Format(PyExc_SystemError, "_failed(%s) did not raise", reason);
    }
    return NULL;
}

/* Nothing that happened up to now shall make the file descriptor readable any more; what happens
 * from now on shall.  Drain first, then ask to be rung: the look that follows sees all that is older. */
static void quiet(struct handle *self) {
    if (hf_throttle_remaining(self) > 0) {
        return; /* quiet until then in any case */
    }
    char events[4096];
    while (self->inotify_fd >= 0 && read(self->inotify_fd, events, sizeof events) > 0) {
    }
    uint64_t expirations;
    if (read(self->timer_fd, &expirations, sizeof expirations) < 0 && errno != EAGAIN) {
        return; /* closed under us by close(): the look that follows says so */
    }
    hf_throttle_listen(self, true);
    hf_want(&self->region);
}

bool hf_handle_attached(struct handle *self) {
    if (self->status == FORKED) {
        PyObject *result = PyObject_CallMethod((PyObject *)self, "_reattach", NULL);
        if (result == NULL) {
            return false;
        }
        Py_DECREF(result);
    }
    if (self->status != ATTACHED) {
        hf_handle_failed(self, "closed", 0, 0);
        return false;
    }
    return true;
}

bool hf_handle_ready(struct handle *self) {
    if (!self->attention) {
        return true;
    }
    if (!hf_handle_attached(self)) {
        return false;
    }
    if (self->timer_fd >= 0) {
        quiet(self);
    }
    return true;
}

bool hf_handle_overtaken(struct handle *self, unsigned attempt) {
    self->overtaken++;
    if (attempt % PATIENCE != PATIENCE - 1) {
        return true;
    }
    struct timespec while_ = {.tv_nsec = 1000000};
    Py_BEGIN_ALLOW_THREADS
    nanosleep(&while_, NULL);
    Py_END_ALLOW_THREADS
    return PyErr_CheckSignals() == 0;
}

bool hf_handle_need_table(struct handle *self) {
    PyObject *result = PyObject_CallMethod((PyObject *)self, "_need_table", NULL);
    Py_XDECREF(result);
    return result != NULL;
}

bool hf_handle_look(struct handle *self, struct hf_look *look) {
    for (unsigned attempt = 0;; attempt++) {
        enum hf_result result = hf_look(&self->region, look);
        if (result == HF_OK) {
            return true;
        }
        if (result == HF_NEED_TABLE) {
            if (!hf_handle_need_table(self)) {
                return false;
            }
            continue;
        }
        if (result != HF_AGAIN) {
            hf_handle_failed(self, hf_reason(result), 0, 0);
            return false;
        }
        /* hf_look has made 64 attempts of its own */
        if (!hf_handle_overtaken(self, PATIENCE - 1)) {
            return false;
        }
    }
}

/* -- reading -------------------------------------------------------------------------------------- */

PyObject *hf_newest_sample(struct handle *self, struct hf_look *look) {
    PyObject *bytes = NULL;
    uint32_t size = 0;
    for (unsigned attempt = 0;; attempt++) {
        if (!hf_handle_look(self, look)) {
            break;
        }
        if (bytes == NULL || look->size != size) {
            Py_XDECREF(bytes);
            size = look->size;
            bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
            if (bytes == NULL) {
                break;
            }
        }
        if (hf_copy(&self->region, look, PyBytes_AsString(bytes), 0, size)) {
            self->seen = look->version;
            return bytes;
        }
        if (!hf_handle_overtaken(self, attempt)) {
            break;
        }
    }
    Py_XDECREF(bytes);
    return NULL;
}

/* One consistent snapshot as bytes, and in *look what it is of: the newest, or what a throttled handle
 * may show. */
static PyObject *sample(struct handle *self, struct hf_look *look) {
    return self->throttle_ns > 0 ? hf_throttled_sample(self, look) : hf_newest_sample(self, look);
}

static PyObject *handle_read(PyObject *object, PyObject *const *args, Py_ssize_t count,
                             PyObject *names) {
    struct handle *self = (struct handle *)object;
    PyObject *fallback = Py_None;
    Py_ssize_t named = names == NULL ? 0 : PyTuple_Size(names);
    if (count + named == 1) {
        fallback = args[0];
    }
    if (count + named > 1 ||
        (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, 0), "default"))) {
        PyErr_SetString(PyExc_TypeError, "read() takes at most one argument, 'default'");
        return NULL;
    }
    if (!hf_handle_ready(self)) {
        return NULL;
    }
    struct hf_look look;
    PyObject *bytes = sample(self, &look);
    if (bytes != NULL && fallback != Py_None && !(look.flags & HF_WRITTEN)) {
        Py_DECREF(bytes);
        Py_INCREF(fallback);
        return fallback;
    }
    return bytes;
}

static PyObject *readinto_throttled(struct handle *self, const Py_buffer *buffer) {
    struct hf_look look;
    PyObject *bytes = hf_throttled_sample(self, &look);
    if (bytes == NULL) {
        return NULL;
    }
    PyObject *result = NULL;
    if (buffer->len < (Py_ssize_t)look.size) {
        hf_handle_failed(self, "short_buffer", (uint64_t)buffer->len, look.size);
    } else {
        memcpy(buffer->buf, PyBytes_AsString(bytes), look.size);
        result = PyLong_FromUnsignedLong(look.size);
    }
    Py_DECREF(bytes);
    return result;
}

static PyObject *handle_readinto(PyObject *object, PyObject *argument) {
    struct handle *self = (struct handle *)object;
    Py_buffer buffer;
    if (PyObject_GetBuffer(argument, &buffer, PyBUF_WRITABLE) < 0) {
        return NULL;
    }
    PyObject *result = NULL;
    struct hf_look look;
    bool attached = hf_handle_attached(self);
    for (unsigned attempt = 0; attached && hf_handle_look(self, &look); attempt++) {
        if (buffer.len < (Py_ssize_t)look.size) {
            /* Before the descriptor is made quiet: what could not be shown is still news. */
            hf_handle_failed(self, "short_buffer", (uint64_t)buffer.len, look.size);
            break;
        }
        if (attempt == 0 && self->attention) {
            hf_handle_ready(self); /* it is attached, so this only makes it quiet; look again */
            if (self->throttle_ns > 0) {
                result = readinto_throttled(self, &buffer);
                break;
            }
            continue;
        }
        if (hf_copy(&self->region, &look, buffer.buf, 0, look.size)) {
            self->seen = look.version;
            result = PyLong_FromUnsignedLong(look.size);
            break;
        }
        if (!hf_handle_overtaken(self, attempt)) {
            break;
        }
    }
    PyBuffer_Release(&buffer);
    return result;
}

PyObject *hf_sample_tuple(PyObject *bytes, const struct hf_look *look) {
    return Py_BuildValue("NKLiO", bytes, (unsigned long long)look->version,
                         (long long)look->time_ns, (int)look->pid,
                         look->flags & HF_WRITTEN ? Py_True : Py_False);
}

static PyObject *handle_sample(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct handle *self = (struct handle *)object;
    struct hf_look look;
    PyObject *bytes = hf_handle_ready(self) ? sample(self, &look) : NULL;
    return bytes == NULL ? NULL : hf_sample_tuple(bytes, &look);
}

static PyObject *handle_look(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct handle *self = (struct handle *)object;
    struct hf_look look;
    if ((self->attention && !hf_handle_attached(self)) || !hf_handle_look(self, &look)) {
        return NULL;
    }
    return Py_BuildValue("IKLiO", look.size, (unsigned long long)look.version,
                         (long long)look.time_ns, (int)look.pid,
                         look.flags & HF_WRITTEN ? Py_True : Py_False);
}

static bool is_news(const struct handle *self, uint64_t version) {
    return self->seen == NEVER_SEEN ? version != 0 : version != self->seen;
}

static PyObject *handle_changed(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct handle *self = (struct handle *)object;
    struct hf_look look;
    if ((self->attention && !hf_handle_attached(self)) || !hf_handle_look(self, &look)) {
        return NULL;
    }
    if (self->throttle_ns > 0 && hf_throttle_remaining(self) > 0) {
        Py_RETURN_FALSE;
    }
    if (self->timer_fd >= 0 && !is_news(self, look.version)) {
        /* Whatever made the descriptor readable was no change.  If one comes between the two looks,
         * its bell may have been silenced: say it again by the timer. */
        quiet(self);
        if (!hf_handle_look(self, &look)) {
            return NULL;
        }
        if (is_news(self, look.version) && self->inotify_fd >= 0) {
            struct itimerspec at_once = {.it_value = {.tv_nsec = 1}};
            timerfd_settime(self->timer_fd, 0, &at_once, NULL);
        }
    }
    return PyBool_FromLong(is_news(self, look.version));
}

static PyObject *handle_counters(PyObject *object, PyObject *Py_UNUSED(unused)) {
    struct handle *self = (struct handle *)object;
    unsigned owned = 0;
    for (unsigned i = 0; self->mapping != NULL && i < HF_SLOTS; i++) {
        /* relaxed: a figure for people */
        owned += 0 != atomic_load_explicit(&self->region.header->owner[i], memory_order_relaxed);
    }
    return Py_BuildValue("KKKI", (unsigned long long)self->commits,
                         (unsigned long long)self->conflicts, (unsigned long long)self->overtaken,
                         owned);
}

/* -- properties --------------------------------------------------------------------------------------- */

enum fact { FACT_VERSION, FACT_SIZE, FACT_WRITTEN };

static PyObject *handle_fact(PyObject *object, void *closure) {
    struct handle *self = (struct handle *)object;
    struct hf_look look;
    if ((self->attention && !hf_handle_attached(self)) || !hf_handle_look(self, &look)) {
        return NULL;
    }
    switch ((enum fact)(intptr_t)closure) {
    case FACT_VERSION:
        return PyLong_FromUnsignedLongLong(look.version);
    case FACT_SIZE:
        return PyLong_FromUnsignedLong(look.size);
    default:
        return PyBool_FromLong(look.flags & HF_WRITTEN);
    }
}

static PyObject *handle_closed(PyObject *object, void *Py_UNUSED(closure)) {
    return PyBool_FromLong(((struct handle *)object)->status == DETACHED);
}

static void handle_dealloc(PyObject *object) {
    struct handle *self = (struct handle *)object;
    hf_page_drop(self->spare);
    Py_XDECREF(self->held);
    Py_XDECREF((PyObject *)self->mapping);
    Py_XDECREF((PyObject *)self->bell);
    Py_XDECREF((PyObject *)self->table);
    hf_free(object);
}

int hf_handle_transaction_ended(struct handle *self) {
    self->active--;
    if (self->active == 0 && self->status == DETACHED) {
        PyObject *result = PyObject_CallMethod((PyObject *)self, "_let_go", NULL);
        Py_XDECREF(result);
        return result == NULL ? -1 : 0;
    }
    return 0;
}

#define METHOD(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef handle_methods[] = {
    {"read", METHOD(handle_read), METH_FASTCALL | METH_KEYWORDS,
     "read(default=None)\n--\n\n"
     "The newest version as bytes: one consistent snapshot, without a lock or a system call.\n\n"
     "A state that nobody has written reads as zeros, or as `default` where one is given (K34).\n"
     "Raises Closed, Deleted, Damaged."},
    {"readinto", handle_readinto, METH_O,
     "readinto(buffer)\n--\n\n"
     "Copy the newest version into a writable buffer of at least `size` bytes; the number copied.\n\n"
     "Raises InvalidArgument if the buffer is too short, Closed, Deleted, Damaged."},
    {"view", hf_handle_view, METH_NOARGS,
     "view()\n--\n\n"
     "A View into shared memory, without a copy: use it, then ask its check() (K37)."},
    {"changed", handle_changed, METH_NOARGS,
     "changed()\n--\n\n"
     "Whether a version newer than the last that this handle has shown is published (K54).\n\n"
     "No system call, unless fileno() or wait() was used on this handle."},
    {"transaction", hf_handle_transaction, METH_NOARGS,
     "transaction()\n--\n\n"
     "Start a Transaction on a private copy of the newest version (K39).  Never waits for anybody.\n\n"
     "As a context manager it commits at the end, and aborts if the body raises.  On a read-only\n"
     "handle it is a frozen view (K40)."},
    {"_sample", handle_sample, METH_NOARGS, "(data, version, time_ns, pid, written) of one moment."},
    {"_look", handle_look, METH_NOARGS,
     "(size, version, time_ns, pid, written) of one moment; nothing counts as shown by it."},
    {"_resize", hf_handle_resize, METH_O, "Commit a change of size; the version that has it."},
    {"_mark_deleted", hf_handle_mark_deleted, METH_NOARGS, "Set the deleted bit and wake watchers."},
    {"_attach", METHOD(hf_handle_attach), METH_METHOD | METH_FASTCALL | METH_KEYWORDS,
     "_attach(fd, mapping, bell, table, writable, directory)"},
    {"_use_table", hf_handle_use_table, METH_O, "Look at this table of several-state commits."},
    {"_detach", hf_handle_detach, METH_NOARGS,
     "Refuse further use; True if nothing is under way any more and the files may be closed."},
    {"_forked", hf_handle_forked, METH_NOARGS, "This process is a fork's child: subscribe before use."},
    {"_watched", hf_handle_watched, METH_VARARGS,
     "_watched(epoll_fd, inotify_fd, timer_fd): -1 for none."},
    {"_want", hf_handle_want, METH_NOARGS, "Ask to be rung at the next change."},
    {"_throttle", hf_handle_throttle, METH_O, "Show changes at most every so many nanoseconds."},
    {"_remaining", hf_handle_remaining, METH_NOARGS,
     "Nanoseconds until a throttled handle shows the next change."},
    {"_pretend", hf_handle_pretend, METH_O, "For tests: the time that throttling goes by, or -1."},
    {"_audit", hf_handle_audit, METH_NOARGS, "None for a sound file, else what is wrong."},
    {"_enlist", hf_handle_enlist, METH_NOARGS, "Take the next subscriber number."},
    {"_counters", handle_counters, METH_NOARGS, "(commits, conflicts, overtaken, slots owned)"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef handle_properties[] = {
    {"version", handle_fact, NULL,
     "Number of the newest version, 0 before the first commit.  Looking at it shows nothing.",
     (void *)FACT_VERSION},
    {"size", handle_fact, NULL, "Size of the newest version in bytes.", (void *)FACT_SIZE},
    {"written", handle_fact, NULL, "Whether anybody has ever committed data (K24).",
     (void *)FACT_WRITTEN},
    {"closed", handle_closed, NULL, "Whether this handle was closed.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* CPython specialises the call of a C method only where the object's class is exactly the one that the
 * method was defined for; for a subclass every call takes the general way, a fifth slower for a read.
 * So the methods that are called a million times a second are defined for the subclass again. */
PyObject *hf_quick(PyObject *Py_UNUSED(module), PyObject *argument) {
    static const char *const quick[] = {"read", "readinto", "view", "changed", "transaction"};
    if (!PyType_Check(argument)) {
        PyErr_SetString(PyExc_TypeError, "quick() takes a class");
        return NULL;
    }
    for (PyMethodDef *method = handle_methods; method->ml_name != NULL; method++) {
        for (size_t i = 0; i < sizeof quick / sizeof *quick; i++) {
            if (strcmp(method->ml_name, quick[i]) != 0) {
                continue;
            }
            PyObject *descriptor = PyDescr_NewMethod((PyTypeObject *)argument, method);
            if (descriptor == NULL ||
                PyObject_SetAttrString(argument, method->ml_name, descriptor) < 0) {
                Py_XDECREF(descriptor);
                return NULL;
            }
            Py_DECREF(descriptor);
        }
    }
    Py_INCREF(argument);
    return argument;
}

static PyType_Slot handle_slots[] = {
    {Py_tp_doc, "One subscription to one state; see holdfast.state.State."},
    {Py_tp_dealloc, handle_dealloc},
    {Py_tp_methods, handle_methods},
    {Py_tp_getset, handle_properties},
    {0, NULL},
};

PyType_Spec hf_handle_spec = {
    .name = "holdfast.state.core.native.Handle",
    .basicsize = sizeof(struct handle),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = handle_slots,
};
