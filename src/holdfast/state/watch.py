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
import os
import select
from typing import TYPE_CHECKING, Literal

from holdfast._native import kernel

if TYPE_CHECKING:
    from holdfast.state.core import native

__all__ = ["EVENTS", "POLL_NS", "Watch"]

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

    __slots__ = ("_epoll", "_inotify_fd", "_timer_fd", "method")

    method: Literal["inotify", "timer"]

    def __init__(self, handle: native.Handle, state_fd: int, *, bell: bool) -> None:
        self._inotify_fd = _watch_file(state_fd) if bell else -1
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
        handle._watched(self._inotify_fd, self._timer_fd)  # noqa: SLF001 - one object, two languages

    def fire(self) -> None:
        """Make the descriptor readable now, until the next look."""
        interval_ns = 0 if self._inotify_fd >= 0 else POLL_NS
        kernel.timerfd_settime(self._timer_fd, 0, 1, interval_ns)

    def fileno(self) -> int:
        """The epoll descriptor: readable when there may be something new."""
        return self._epoll.fileno()

    def close(self) -> None:
        """Give the descriptors back."""
        self._epoll.close()
        for fd in (self._inotify_fd, self._timer_fd):
            if fd >= 0:
                os.close(fd)
        self._inotify_fd = self._timer_fd = -1


def _watch_file(state_fd: int) -> int:
    try:
        fd = kernel.inotify_init1(kernel.IN_CLOEXEC | kernel.IN_NONBLOCK)
    except OSError as error:
        if error.errno in _NO_INSTANCE:
            return -1
        raise
    try:
        # By descriptor: the file that is mapped, whatever has its name by now.
        kernel.inotify_add_watch(fd, f"/proc/self/fd/{state_fd}", EVENTS)
    except OSError as error:
        os.close(fd)
        if error.errno in _NO_INSTANCE:
            return -1
        raise
    return fd
