/* Transactions and snapshots of several states, on top of hf_publish_several.
 *
 * The first state's transaction leads; the others are parts of it, with a private copy each, and end
 * with it.  What a transaction has copied is of one moment: whenever a state is added, the earlier ones
 * are seen to be still at the versions that were copied, or the transaction fails at once (K69).
 */
#include "native.h"

#include <string.h>

static Py_ssize_t count_others(const struct transaction *self) {
    return self->others == NULL ? 0 : PyList_Size(self->others);
}

/* Member number i; 0 is the one that leads. */
static struct transaction *member(struct transaction *self, Py_ssize_t i) {
    return i == 0 ? self : (struct transaction *)PyList_GetItem(self->others, i - 1);
}

static struct transaction *find(struct transaction *self, PyObject *state) {
    for (Py_ssize_t i = 0; i <= count_others(self); i++) {
        struct transaction *part = member(self, i);
        if ((PyObject *)part->handle == state) {
            return part;
        }
    }
    return NULL;
}

/* Whether the state is a member already, through whatever handle: two slots of one state in one commit
 * would each abort the other. */
static bool is_member(struct transaction *self, const struct handle *state) {
    for (Py_ssize_t i = 0; i <= count_others(self); i++) {
        const struct hf_constants *theirs = &member(self, i)->handle->region.header->constants;
        const struct hf_constants *ours = &state->region.header->constants;
        if (memcmp(theirs->incarnation, ours->incarnation, sizeof ours->incarnation) == 0) {
            return true;
        }
    }
    return false;
}

PyObject *hf_joint_part(PyObject *object, PyObject *state) {
    struct transaction *self = (struct transaction *)object;
    if (!self->active) {
        return hf_transaction_refuse(self);
    }
    struct transaction *part = find(self, state);
    if (part == NULL) {
        return hf_handle_failed(self->handle, "not_a_member", 0, 0);
    }
    Py_INCREF((PyObject *)part);
    return (PyObject *)part;
}

/* Whether every member but the last is still at the version that was copied; if not, all has ended and
 * Conflict is set. */
static bool all_of_one_moment(struct transaction *self) {
    for (Py_ssize_t i = 0; i < count_others(self); i++) {
        struct transaction *part = member(self, i);
        struct hf_look look;
        bool looked = hf_handle_look(part->handle, &look);
        if (looked && look.version == part->version) {
            continue;
        }
        if (looked) {
            part->handle->conflicts++;
            hf_handle_failed(part->handle, "conflict", part->version, look.version);
        }
        hf_transaction_end_raising(self);
        return false;
    }
    return true;
}

/* A throttled handle that may not write shows what was, not what is: it would conflict with itself. */
static bool shows_old(const struct handle *handle) {
    return handle->throttle_ns > 0 && !handle->writable;
}

PyObject *hf_joint_add(PyObject *object, PyObject *state) {
    struct transaction *self = (struct transaction *)object;
    struct handle *handle = self->handle;
    if (!self->active || self->joined) {
        return hf_transaction_refuse(self);
    }
    if (!PyObject_TypeCheck(state, handle->module->handle_type)) {
        PyErr_SetString(PyExc_TypeError, "add() takes a State");
        return NULL;
    }
    if (!hf_handle_attached((struct handle *)state)) {
        return NULL;
    }
    const uint64_t *directory = ((struct handle *)state)->directory;
    if (directory[0] != handle->directory[0] || directory[1] != handle->directory[1]) {
        return hf_handle_failed((struct handle *)state, "elsewhere", 0, 0);
    }
    if (is_member(self, (struct handle *)state)) {
        return hf_handle_failed((struct handle *)state, "member_already", 0, 0);
    }
    if (shows_old(handle) || shows_old((struct handle *)state)) {
        return hf_handle_failed((struct handle *)state, "throttled", 0, 0);
    }
    if (count_others(self) + 1 >= (Py_ssize_t)HF_PARTICIPANTS) {
        return hf_handle_failed((struct handle *)state, "too_many", HF_PARTICIPANTS, 0);
    }
    if (self->others == NULL && (self->others = PyList_New(0)) == NULL) {
        return NULL;
    }
    PyObject *part = hf_handle_transaction(state, NULL);
    if (part == NULL) {
        return NULL;
    }
    if (PyList_Append(self->others, part) < 0) {
        Py_DECREF(part);
        return NULL;
    }
    ((struct transaction *)part)->joined = true;
    if (!all_of_one_moment(self)) {
        Py_DECREF(part);
        return NULL;
    }
    return part;
}

PyObject *hf_joint_begin(PyObject *module, PyObject *states) {
    struct module *types = PyModule_GetState(module);
    Py_ssize_t count = PyTuple_Check(states) ? PyTuple_Size(states) : 0;
    if (count < 1 || !PyObject_TypeCheck(PyTuple_GetItem(states, 0), types->handle_type)) {
        PyErr_SetString(PyExc_TypeError, "begin() takes a tuple of states");
        return NULL;
    }
    PyObject *txn = hf_handle_transaction(PyTuple_GetItem(states, 0), NULL);
    for (Py_ssize_t i = 1; txn != NULL && i < count; i++) {
        PyObject *part = hf_joint_add(txn, PyTuple_GetItem(states, i));
        if (part == NULL) {
            Py_CLEAR(txn); /* which aborts what is active of it */
        }
        Py_XDECREF(part);
    }
    return txn;
}

/* -- committing ------------------------------------------------------------------------------------- */

/* Fill in what each member contributes; the number of those that are changed. */
static unsigned describe(struct transaction *self, bool force, struct hf_member *members) {
    unsigned changed = 0;
    int64_t now_ns = hf_now_ns();
    for (Py_ssize_t i = 0; i <= count_others(self); i++) {
        struct transaction *part = member(self, i);
        bool writes = !part->page->readonly && (force || hf_page_changed(part->page));
        members[i] = (struct hf_member){
            .region = &part->handle->region,
            .commit =
                {
                    .started = part->version,
                    .data = part->page->data,
                    .size = part->page->size,
                    .flags = writes ? HF_WRITTEN : HF_IDENTITY,
                    .time_ns = now_ns,
                },
        };
        changed += writes;
    }
    return changed;
}

static bool all_ready(struct transaction *self) {
    for (Py_ssize_t i = 0; i <= count_others(self); i++) {
        struct transaction *part = member(self, i);
        if (!hf_transaction_can_publish(part) ||
            (part->handle->region.table == NULL && !hf_handle_need_table(part->handle))) {
            return false;
        }
    }
    return true;
}

static PyObject *succeed(struct transaction *self, const struct hf_member *members) {
    for (Py_ssize_t i = 0; i <= count_others(self); i++) {
        struct transaction *part = member(self, i);
        part->handle->commits += members[i].version != part->version;
        part->version = members[i].version;
    }
    uint64_t version = self->version;
    return hf_transaction_end(self) < 0 ? NULL : PyLong_FromUnsignedLongLong(version);
}

PyObject *hf_joint_commit(struct transaction *self, bool force) {
    struct hf_member members[HF_PARTICIPANTS];
    unsigned count = (unsigned)count_others(self) + 1;
    if (describe(self, force, members) == 0) {
        uint64_t version = self->version;
        return hf_transaction_end(self) < 0 ? NULL : PyLong_FromUnsignedLongLong(version);
    }
    if (!all_ready(self)) {
        return hf_transaction_end_raising(self);
    }
    unsigned failed = 0;
    enum hf_result result;
    for (int attempt = 0;; attempt++) {
        result = hf_publish_several(self->handle->region.table, members, count, &failed);
        if (result != HF_TABLE_FULL || attempt > 0) {
            break;
        }
        PyObject *cleared = PyObject_CallMethod((PyObject *)self->handle, "_clear_table", NULL);
        if (cleared == NULL) {
            return hf_transaction_end_raising(self);
        }
        Py_DECREF(cleared);
    }
    if (result == HF_OK) {
        return succeed(self, members);
    }
    struct transaction *part = member(self, (Py_ssize_t)failed);
    part->handle->conflicts += result == HF_CONFLICT;
    hf_handle_failed(part->handle, hf_reason(result), part->version, members[failed].version);
    return hf_transaction_end_raising(self);
}

/* -- snapshots ---------------------------------------------------------------------------------------- */

/* Copy every state; then see that none has moved on meanwhile: there was a moment, between the copies
 * and the second look, at which all of them were current.  */
static PyObject *sample_all(PyObject *states, Py_ssize_t count, uint64_t *versions) {
    PyObject *samples = PyList_New(count);
    for (Py_ssize_t i = 0; samples != NULL && i < count; i++) {
        struct handle *handle = (struct handle *)PyTuple_GetItem(states, i);
        struct hf_look look;
        PyObject *bytes = hf_handle_ready(handle) ? hf_newest_sample(handle, &look) : NULL;
        PyObject *sample = bytes == NULL ? NULL : hf_sample_tuple(bytes, &look);
        if (sample == NULL || PyList_SetItem(samples, i, sample) < 0) {
            Py_CLEAR(samples);
        } else {
            versions[i] = look.version;
        }
    }
    return samples;
}

PyObject *hf_joint_snapshot(PyObject *module, PyObject *states) {
    struct module *types = PyModule_GetState(module);
    Py_ssize_t count = PyTuple_Check(states) ? PyTuple_Size(states) : -1;
    uint64_t versions[HF_PARTICIPANTS];
    if (count < 0 || count > (Py_ssize_t)HF_PARTICIPANTS) {
        PyErr_SetString(PyExc_TypeError, "snapshot() takes a tuple of at most 64 states");
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *state = PyTuple_GetItem(states, i);
        if (!PyObject_TypeCheck(state, types->handle_type)) {
            PyErr_SetString(PyExc_TypeError, "snapshot() takes states");
            return NULL;
        }
        if (((struct handle *)state)->throttle_ns > 0) {
            return hf_handle_failed((struct handle *)state, "throttled", 0, 0);
        }
    }
    for (unsigned attempt = 0;; attempt++) {
        PyObject *samples = sample_all(states, count, versions);
        if (samples == NULL) {
            return NULL;
        }
        Py_ssize_t same = 0;
        for (; same < count; same++) {
            struct hf_look look;
            if (!hf_handle_look((struct handle *)PyTuple_GetItem(states, same), &look)) {
                Py_DECREF(samples);
                return NULL;
            }
            if (look.version != versions[same]) {
                break;
            }
        }
        if (same == count) {
            return samples;
        }
        Py_DECREF(samples);
        if (!hf_handle_overtaken((struct handle *)PyTuple_GetItem(states, same), attempt)) {
            return NULL;
        }
    }
}
