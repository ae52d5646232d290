"""A wake lease in the hands of a program: one copy of its descriptor."""

from __future__ import annotations

import fcntl
import math
import os
import select
import time
import warnings
from typing import TYPE_CHECKING, Final, Protocol

from holdfast.closing import Closing
from holdfast.durations import seconds
from holdfast.errors import Closed, InvalidArgument, OutOfSpace
from holdfast.wake.token import is_orphaned, pipe_inode

if TYPE_CHECKING:
    from datetime import timedelta

    from holdfast.wake.whereabouts import Holder

__all__ = ["PROGRESS_S", "Reporter", "WakeLease"]

# How often the governor is told how far a holder is, at most. Most batons are gone before.
PROGRESS_S: Final = 0.5
_POLL_MAX_S: Final = 86_400.0


class Reporter(Protocol):
    """Who tells the governor how copies travel. It never raises: what is told is for people."""

    def hop(
        self,
        event: str,
        inode: int,
        *,
        pid: int | None = None,
        index: int | None = None,
        processed: int | None = None,
    ) -> None:
        """A copy was "sent" (to `pid`, if that is known), "received", "released", or is "shared".

        The last is said by who lets all that he starts inherit it, on purpose. Who holds on tells
        his "progress": how many messages he has `processed`, of the `index` that it goes with.
        """


class WakeLease(Closing):
    """While any copy of it is open anywhere, the machine does not go down.

    This is one copy, and `close` lets go of this one. It closes on exec; a child of a fork has a
    copy of its own until it ends. Not thread-safe in that nobody may use it while it is closed.

    Args:
        fd: The write end of the wake lease's pipe; it is this object's from now on.
        name: What the wake lease is for.
        reporter: Who tells the governor of its travels.
        received: Whether it came as a baton; its end is told then, too.
        checked: It is known to be what it must be: the governor has just given it.

    Raises:
        InvalidArgument: The descriptor is no write end of a pipe.
    """

    def __init__(
        self,
        fd: int,
        name: str,
        *,
        reporter: Reporter | None = None,
        received: bool = False,
        checked: bool = False,
    ) -> None:
        self._fd = -1
        self._inode = 0 if checked else pipe_inode(fd, os.O_WRONLY)
        self.name = name
        self.reporter = reporter
        self._received = received
        self._fd = fd

    @property
    def inode(self) -> int:
        """The inode of its pipe, by which all copies are known.

        Raises:
            Closed: This copy was closed before anybody asked.
        """
        if not self._inode:
            self._inode = pipe_inode(self.fileno(), os.O_WRONLY)
        return self._inode

    # Of most copies nothing is told: only an object that tells has these of its own.
    _told = -1
    _tell_again_s = 0.0

    @property
    def closed(self) -> bool:
        """Whether this copy was closed."""
        return self._fd < 0

    def fileno(self) -> int:
        """The descriptor. Poll it without events: POLLERR comes when the governor has gone.

        Raises:
            Closed: This copy was closed.
        """
        if self._fd < 0:
            raise Closed("this copy of the wake lease is closed", on=self.name)
        return self._fd

    def dup(self) -> WakeLease:
        """Another copy: the machine stays up until both are closed, and all others.

        Raises:
            Closed: This copy was closed.
            OutOfSpace: There are no descriptors left.
        """
        try:
            fd = fcntl.fcntl(self.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)
        except OSError as error:
            raise OutOfSpace(f"no copy can be made ({error.strerror})", on=self.name) from error
        return WakeLease(fd, self.name, reporter=self.reporter)

    def holders(self) -> tuple[Holder, ...]:
        """Which processes hold a copy now, by a look at the descriptors of all that we may see.

        A copy in a message that nobody has received is in no process.

        Raises:
            Closed: This copy was closed.
        """
        self.fileno()
        from holdfast.wake.holders import scan

        return scan([self.inode], first=[os.getpid()]).holders.get(self.inode, ())

    @property
    def orphaned(self) -> bool:
        """Whether the governor has gone: the wake lease forbids nothing any more.

        Raises:
            Closed: This copy was closed.
        """
        return is_orphaned(self.fileno())

    def wait_orphaned(self, timeout: float | timedelta | None = None) -> bool:
        """Wait until the governor has gone; False if `timeout` seconds passed first.

        Raises:
            Closed: This copy was closed.
        """
        limit = seconds(timeout, "timeout")
        poll = select.poll()
        poll.register(self.fileno(), 0)
        give_up = None if limit is None else time.monotonic() + limit
        while True:
            left_s = _POLL_MAX_S if give_up is None else give_up - time.monotonic()
            if poll.poll(math.ceil(min(max(left_s, 0.0), _POLL_MAX_S) * 1000)):
                return True
            if give_up is not None and time.monotonic() >= give_up:
                return False

    def progress(self, processed: int) -> None:
        """Tell the governor how many messages are processed, for who asks it why it waits.

        Of a baton that was received with the governor as its reporter; of any other copy nothing is
        told. Call it as often as you like: it is told twice a second at most, and only if it is
        another number. Nothing depends on it, and it never waits for an answer.

        Args:
            processed: How many, counted as the `index` that the baton was sent with.

        Raises:
            Closed: This copy was closed.
            InvalidArgument: It is negative.
        """
        self.fileno()
        if processed < 0:
            raise InvalidArgument(f"processed={processed} is negative", on=self.name)
        if processed == self._told or self.reporter is None or not self._received:
            return
        now_s = time.monotonic()
        if now_s >= self._tell_again_s:
            self._told, self._tell_again_s = processed, now_s + PROGRESS_S
            self.reporter.hop("progress", self.inode, processed=processed)

    def close(self) -> None:
        """Let go of this copy. Closing twice is harmless."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        os.close(fd)
        if self._received and self.reporter is not None:
            self.reporter.hop("released", self.inode)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            name = self.name
            os.close(self._fd)
            self._fd = -1
            warnings.warn(
                f"the wake lease {name!r} was not closed; until now the machine could not go down",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def __repr__(self) -> str:
        state = "closed" if self._fd < 0 else f"fd={self._fd}"
        return f"<WakeLease {self.name!r} {state}>"
