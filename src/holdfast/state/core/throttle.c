/* Throttled handles: "not updated more than once every R seconds" (K56).
 *
 *   P1  two different versions are never shown less than R apart;
 *   P2  the first look shows the newest;
 *   P3  a look R or more after the last change that was shown, shows the newest;
 *   P4  versions never go back;
 *   P5  the last of a burst is always shown, and the descriptor becomes readable at t + R for it, not
 *       before;
 *   P6  transactions that may write are never throttled: they would always conflict.
 *
 * The rate belongs to the handle; nothing of it is in shared memory.  Time is sampled at the moment of a
 * look, not on a fixed grid: to a reader who only compares looks the two are the same (K72).
 */
#define _GNU_SOURCE
#include "native.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>

static int64_t now_ns(const struct handle *self) {
    return self->pretended_ns >= 0 ? self->pretended_ns : hf_now_ns();
}

/* How long it is until another version may be shown; 0: now. */
int64_t hf_throttle_remaining(const struct handle *self) {
    if (self->throttle_ns <= 0 || self->held == NULL) {
        return 0;
    }
    int64_t remaining = self->shown_at_ns + self->throttle_ns - now_ns(self);
    return remaining > 0 ? remaining : 0;
}

/* Whether rings shall make the descriptor readable. */
void hf_throttle_listen(struct handle *self, bool listen) {
    if (self->inotify_fd >= 0 && self->listens != listen) {
        struct epoll_event event = {
            .events = listen ? EPOLLIN : 0,
            .data.fd = self->inotify_fd,
        };
        epoll_ctl(self->epoll_fd, EPOLL_CTL_MOD, self->inotify_fd, &event);
        self->listens = listen;
    }
}

/* Set the timer to an instant of CLOCK_BOOTTIME; where rings cannot be had it goes on from there. */
static void fire_at(const struct handle *self, int64_t at_ns) {
    struct itimerspec at = {
        .it_value = {.tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000},
        .it_interval = {.tv_nsec = self->inotify_fd >= 0 ? 0 : 5000000}, /* POLL_NS of watch.py */
    };
    timerfd_settime(self->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

/* The descriptor shall be readable when the next change may be shown, and not before.  If nothing has
 * come by then, the look that finds out listens for rings again. */
void hf_throttle_hold_off(struct handle *self) {
    if (self->timer_fd < 0) {
        return;
    }
    if (hf_throttle_remaining(self) > 0) {
        hf_throttle_listen(self, false);
        fire_at(self, self->shown_at_ns + self->throttle_ns);
    } else {
        fire_at(self, 1); /* long ago, that is at once */
    }
}

PyObject *hf_throttled_sample(struct handle *self, struct hf_look *look) {
    if (hf_throttle_remaining(self) == 0) {
        uint64_t shown = self->held == NULL ? NEVER_SEEN : self->held_look.version;
        struct hf_look newest;
        PyObject *bytes = hf_newest_sample(self, &newest);
        if (bytes == NULL) {
            return NULL;
        }
        Py_XDECREF(self->held);
        self->held = bytes;
        self->held_look = newest;
        if (newest.version != shown) {
            self->shown_at_ns = now_ns(self);
            hf_throttle_hold_off(self);
        }
    } else {
        struct hf_look newest; /* a deleted state is not shown any longer */
        if (!hf_handle_look(self, &newest)) {
            return NULL;
        }
    }
    *look = self->held_look;
    Py_INCREF(self->held);
    return self->held;
}

PyObject *hf_handle_remaining(PyObject *object, PyObject *Py_UNUSED(unused)) {
    return PyLong_FromLongLong(hf_throttle_remaining((struct handle *)object));
}

PyObject *hf_handle_pretend(PyObject *object, PyObject *argument) {
    long long pretended_ns = PyLong_AsLongLong(argument);
    if (pretended_ns == -1 && PyErr_Occurred()) {
        return NULL;
    }
    ((struct handle *)object)->pretended_ns = pretended_ns;
    Py_RETURN_NONE;
}
