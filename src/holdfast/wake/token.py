"""What a wake lease is made of: a pipe, whose read end the governor keeps.

The kernel hangs up the read end when the last copy of the write end is closed, wherever it was: in
a process, in its child, in a message that nobody has received. Nothing else does that, and so:

- not a socketpair, where one holder's shutdown(2) would look like the release by all;
- what a holder writes into the pipe is never read. It neither hides a hang-up nor looks like one;
  when the pipe is full, only the writer notices;
- one hang-up is final. A process of the same user could open the write end anew by /proc/PID/fd;
  the read end is closed at once, and what was made so forbids nothing.

The other way round, a holder whose pipe has no reader any more sees POLLERR: the governor has gone.

Sources: pipe(7), poll(2), proc_pid_fd(5).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import stat
from typing import Final

from holdfast.closing import Closing
from holdfast.errors import InvalidArgument, OutOfSpace

__all__ = ["Pipes", "Token", "TokenWatch", "is_orphaned", "pipe_inode"]

_EVENTS_MAX: Final = 64


class Token(Closing):
    """The read end of a wake lease's pipe.

    Attributes:
        inode: By which all copies of the wake lease are known.
    """

    __slots__ = ("_fd", "inode")

    def __init__(self, fd: int, inode: int) -> None:
        self._fd = fd
        self.inode = inode

    @classmethod
    def make(cls) -> tuple[Token, int]:
        """A new pipe: the token, and the write end, which is the caller's. Both close on exec.

        Raises:
            OutOfSpace: There are no descriptors left.
        """
        try:
            reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise OutOfSpace(
                f"no pipe for a wake lease ({error.strerror})",
                hint="close some, or raise the governor's limit of descriptors",
            ) from error
        return cls(reading, os.fstat(reading).st_ino), writing

    @classmethod
    def adopt(cls, fd: int) -> Token:
        """Somebody else's read end, which is the token's from now on, also if this fails.

        Raises:
            InvalidArgument: It is not the read end of a pipe: it might never hang up.
        """
        try:
            return cls(fd, pipe_inode(fd, os.O_RDONLY))
        except BaseException:
            os.close(fd)
            raise

    def fileno(self) -> int:
        """The read end."""
        return self._fd

    def hung_up(self) -> bool:
        """Whether the last copy of the write end is closed."""
        poll = select.poll()
        poll.register(self._fd, 0)  # POLLHUP comes unasked
        return any(events & select.POLLHUP for _, events in poll.poll(0))

    def close(self) -> None:
        """Close the read end: what copies there are forbid nothing, and notice it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class TokenWatch(Closing):
    """Tells which of many tokens have hung up.

    It is a descriptor itself (epoll(7)), readable when one has, so that an event loop watches one
    for all. No token is asked whether it can be read: what is in a pipe is of no interest.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._tokens: dict[int, Token] = {}

    def __len__(self) -> int:
        return len(self._tokens)

    def fileno(self) -> int:
        """Readable when a token has hung up."""
        return self._epoll.fileno()

    def add(self, token: Token) -> None:
        """Watch this one, too."""
        fd = token.fileno()
        self._epoll.register(fd, 0)
        self._tokens[fd] = token

    def discard(self, token: Token) -> None:
        """Do not watch it any more; do this before it is closed."""
        if self._tokens.pop(token.fileno(), None) is not None:
            self._epoll.unregister(token.fileno())

    def hung_up(self) -> list[Token]:
        """Those that have, or none; they are not watched any more. Does not wait."""
        found = []
        events = _EVENTS_MAX
        while events == _EVENTS_MAX:
            events = 0
            for fd, _ in self._epoll.poll(0, _EVENTS_MAX):
                token = self._tokens[fd]
                self.discard(token)
                found.append(token)
                events += 1
        return found

    def close(self) -> None:
        """Stop watching. The tokens are left alone."""
        self._tokens.clear()
        self._epoll.close()


class Pipes(Closing):
    """Pipes for wake leases, watched already; one is made in advance.

    To make and watch a pipe takes as long as everything else that an acquire needs. So it is done
    after the answer to the one before.

    Args:
        watch: Where their tokens are watched.
    """

    def __init__(self, watch: TokenWatch) -> None:
        self._watch = watch
        self._spare: tuple[Token, int] | None = None

    def take(self) -> tuple[Token, int]:
        """A pipe: its token, and the write end, which is the caller's.

        Raises:
            OutOfSpace: There are no descriptors left.
        """
        spare, self._spare = self._spare, None
        return self._make() if spare is None else spare

    def put_back(self, token: Token, writing: int) -> None:
        """It was not needed, and no copy of it is outside."""
        self._drop()
        self._spare = token, writing

    def refill(self) -> None:
        """Make one in advance, unless there is one, or there are no descriptors left."""
        if self._spare is None:
            with contextlib.suppress(OutOfSpace):
                self._spare = self._make()

    def close(self) -> None:
        """Close the one made in advance. What was taken is left alone."""
        self._drop()

    def _make(self) -> tuple[Token, int]:
        token, writing = Token.make()
        try:
            self._watch.add(token)
        except BaseException:
            token.close()
            os.close(writing)
            raise
        return token, writing

    def _drop(self) -> None:
        spare, self._spare = self._spare, None
        if spare is not None:
            token, writing = spare
            self._watch.discard(token)
            token.close()
            os.close(writing)


def pipe_inode(fd: int, mode: int) -> int:
    """The inode of the pipe that a descriptor is an end of.

    Args:
        fd: The descriptor.
        mode: The end that it must be: os.O_RDONLY or os.O_WRONLY.

    Raises:
        InvalidArgument: It is not that end of a pipe.
    """
    try:
        facts = os.fstat(fd)
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        is_pipe = stat.S_ISFIFO(facts.st_mode)
        if is_pipe and mode == os.O_RDONLY:
            # One with a name in a file system could be opened by others, and then never hangs up.
            is_pipe = os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:")
    except OSError as error:
        raise InvalidArgument(f"no descriptor ({error.strerror})", on=str(fd)) from error
    if not is_pipe or flags & os.O_ACCMODE != mode or flags & os.O_PATH:
        end = "read" if mode == os.O_RDONLY else "write"
        raise InvalidArgument(f"descriptor {fd} is not the {end} end of a pipe")
    return facts.st_ino


def is_orphaned(fd: int) -> bool:
    """Whether the read end of this write end is closed: the governor has gone."""
    poll = select.poll()
    poll.register(fd, 0)  # POLLERR comes unasked
    return any(events & select.POLLERR for _, events in poll.poll(0))
