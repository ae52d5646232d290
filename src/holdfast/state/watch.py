"""The descriptor that becomes readable when a state changes.

An epoll descriptor with two things in it:

* an inotify descriptor that watches the state's file. A committer who finds that somebody waits
  writes one byte of it with write(2): that is an event; a store through the mapping is none
  (inotify(7)). When a committer is killed before it could do so, the kernel closes the file for it,
  and that is an event too: no death can swallow a change.
* a timer, which says again what a look has silenced too early, and which, where the machine has no
  inotify instance left (128 a user by default) or the bell may not be written, looks every 5 ms.

The queue cannot overflow: there is one watch, equal events merge, and a full queue is readable too.
"""

from __future__ import annotations

import errno
import math
import os
import select
import threading
from typing import TYPE_CHECKING, Literal

from holdfast._native import kernel

if TYPE_CHECKING:
    from holdfast.state.core import native

__all__ = ["EVENTS", "POLL_NS", "Watch", "add_file", "new_instance", "watch_file"]

POLL_NS = 5_000_000  # between two looks where nothing better can be had

# A committer rings by write(2); the files of one that dies are closed by the kernel. The tests take
# the second notice away and see it missed.
EVENTS = kernel.IN_MODIFY | kernel.IN_CLOSE_WRITE

_NO_INSTANCE = {errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOMEM}


class Watch:
    """The descriptors by which one handle is watched.

    Attributes:
        method: "inotify", or "timer" where that could not be had.
    """

    __slots__ = ("_closing", "_epoll", "_inotify_fd", "_lock", "_timer_fd", "_waiting", "method")

    method: Literal["inotify", "timer"]

    def __init__(self, handle: native.Handle, state_fd: int, *, bell: bool) -> None:
        self._lock = threading.Lock()
        self._waiting = 0
        self._closing = False
        self._inotify_fd = watch_file(state_fd) if bell else -1
        self.method = "inotify" if self._inotify_fd >= 0 else "timer"
        self._timer_fd = kernel.timerfd_create(
            kernel.CLOCK_BOOTTIME, kernel.TFD_CLOEXEC | kernel.TFD_NONBLOCK
        )
        self._epoll = select.epoll()
        self._epoll.register(self._timer_fd, select.EPOLLIN)
        if self._inotify_fd >= 0:
            self._epoll.register(self._inotify_fd, select.EPOLLIN)
        else:
            self.fire()
        handle._watched(self._epoll.fileno(), self._inotify_fd, self._timer_fd)

    def fire(self) -> None:
        """Make the descriptor readable now, until the next look."""
        interval_ns = 0 if self._inotify_fd >= 0 else POLL_NS
        kernel.timerfd_settime(self._timer_fd, 0, 1, interval_ns)

    def fileno(self) -> int:
        """The epoll descriptor: readable when there may be something new."""
        return self._epoll.fileno()

    def wait(self, timeout_s: float | None) -> bool:
        """Wait until the descriptor is readable; False when the time is over, or it was closed."""
        with self._lock:
            if self.closing():
                return False
            self._waiting += 1
        try:
            poll = select.poll()
            poll.register(self._epoll.fileno(), select.POLLIN)
            # Rounded up, not to return a moment too early; and no longer than poll(2) can.
            limit = None if timeout_s is None else math.ceil(min(timeout_s * 1000, 2**31 - 1))
            ready = bool(poll.poll(limit))
        finally:
            with self._lock:
                self._waiting -= 1
                closing = self.closing()
                last = closing and self._waiting == 0
            if last:
                self.abandon()
        return not closing and (ready or limit == 2**31 - 1)

    def closing(self) -> bool:
        """Whether close() was called, be it in another thread."""
        return self._closing

    def close(self) -> None:
        """Give the descriptors back; threads that wait are woken, and the last of them does it."""
        with self._lock:
            self._closing = True
            if self._waiting:
                self.fire()
                return
        self.abandon()

    def abandon(self) -> None:
        """Give the descriptors back at once: nobody waits, or this is a fork's child."""
        self._epoll.close()
        for fd in (self._inotify_fd, self._timer_fd):
            if fd >= 0:
                os.close(fd)
        self._inotify_fd = self._timer_fd = -1


def new_instance() -> int:
    """An inotify descriptor, or -1 if this user has as many as allowed."""
    try:
        return kernel.inotify_init1(kernel.IN_CLOEXEC | kernel.IN_NONBLOCK)
    except OSError as error:
        if error.errno in _NO_INSTANCE:
            return -1
        raise


def watch_file(state_fd: int) -> int:
    """An inotify descriptor that watches a state's file, or -1 if there is none to be had."""
    fd = new_instance()
    if fd < 0:
        return -1
    if add_file(fd, state_fd) < 0:
        os.close(fd)
        return -1
    return fd


def add_file(inotify_fd: int, state_fd: int) -> int:
    """Watch a state's file, too; the number that its events will have, or -1 if no more can be."""
    try:
        # By descriptor: the file that is mapped, whatever has its name by now.
        return kernel.inotify_add_watch(inotify_fd, f"/proc/self/fd/{state_fd}", EVENTS)
    except OSError as error:
        if error.errno in _NO_INSTANCE:
            return -1
        raise
