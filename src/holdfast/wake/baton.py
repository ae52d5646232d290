"""Baton passing: one message and the wake lease that goes with it, over a Unix stream socket.

``send(sock, data, wake_lease)`` and ``receive(sock)``, and the same for coroutines. Each message is
a frame, and its descriptor goes with the first byte of it (SCM_RIGHTS)::

    0  1   2      3        4         8            8 + name      8 + name + length
    ┌──────┬──────┬────────┬─────────┬────────────┬─────────────┐
    │ B7 1F│flags │  name  │ length  │ the name   │ the data    │
    └──────┴──────┴────────┴─────────┴────────────┴─────────────┘
              1: a wake lease is with it

A receiver never reads beyond the frame, so that a descriptor cannot be taken for that of another
one, in however many pieces both come. It never peeks: that would make a copy more each time.

**A baton is not lost in silence.** The frame says whether there is one, so that one that is missing
is an error: control data was cut off, or there was no room for a descriptor, or somebody on the way
read bytes and left the descriptor. After an error the two sides do not agree any more where a
message begins; close the socket.

The sender's copy stays open: in the instant of sending, the kernel makes another one, which lives
in the socket until it is received, and is closed with the socket if it never is.

A call for coroutines that is cancelled in the middle of a frame loses nothing: what is left of it
is kept with the socket, and the next call goes on with it.

Source: the seed on baton passing; unix(7).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import struct
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from holdfast.errors import InvalidArgument, WakeError
from holdfast.ipc import Descriptors, Truncated, close_all, send_some
from holdfast.ipc import receive as receive_bytes
from holdfast.ipc.peer import peer_pid
from holdfast.wake.lease import WakeLease

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.wake.lease import Reporter

__all__ = ["DATA_BYTES_MAX", "receive", "receive_async", "send", "send_async"]

DATA_BYTES_MAX: Final = 1 << 26
_MAGIC: Final = b"\xb7\x1f"
_HEAD: Final = struct.Struct("!2sBBI")
_WITH_BATON: Final = 1
_READ_BYTES: Final = 1 << 18
# More than one is an error, and must be seen to be one.
_DESCRIPTORS_MAX: Final = 4


def send(
    sock: socket.socket,
    data: bytes,
    wake_lease: WakeLease | None = None,
    *,
    index: int | None = None,
) -> None:
    """Send a message, and a copy of the wake lease with it; returns when all of it is sent.

    Args:
        sock: A connected Unix stream socket, blocking or not.
        data: The message, at most `DATA_BYTES_MAX` bytes.
        wake_lease: It stays open here: close it when you are done with it.
        index: The number of the message, for those who look where the baton is.

    Raises:
        InvalidArgument: The socket is of another kind, or the message is too long.
        Closed: The wake lease is closed.
        OSError: As of sendmsg(2); TimeoutError by the socket's time-out. A part of the message
            may have gone: close the socket then.
    """
    outgoing = _outgoing(sock)
    done = outgoing.begin(sock, _frame(data, wake_lease), wake_lease)
    while not done:
        _wait(sock, select.POLLOUT)
        done = outgoing.go_on(sock)
    _tell_sent(sock, wake_lease, index)


async def send_async(
    stream: socket.socket,
    data: bytes,
    wake_lease: WakeLease | None = None,
    *,
    index: int | None = None,
) -> None:
    """The same for coroutines; messages of several tasks go one after the other.

    Args:
        stream: A connected Unix stream socket that does not block (``setblocking(False)``). It
            cannot be an asyncio stream or transport: those do not carry descriptors.
        data: The message, at most `DATA_BYTES_MAX` bytes.
        wake_lease: It stays open here: close it when you are done with it.
        index: The number of the message, for those who look where the baton is.

    Raises:
        InvalidArgument: The socket is of another kind, or blocks, or the message is too long.
        Closed: The wake lease is closed.
        OSError: As of sendmsg(2). Close the socket then.
    """
    _check_async(stream)
    outgoing = _outgoing(stream)
    frame = _frame(data, wake_lease)
    async with outgoing.turn:
        done = outgoing.begin(stream, frame, wake_lease)
        while not done:
            loop = asyncio.get_running_loop()
            await _ready(stream, loop.add_writer, loop.remove_writer)
            done = outgoing.go_on(stream)
    _tell_sent(stream, wake_lease, index)


def receive(
    sock: socket.socket, *, governor: Reporter | None = None, bytes_max: int = DATA_BYTES_MAX
) -> tuple[bytes, WakeLease | None]:
    """The next message, and the wake lease that came with it, which is yours to close.

    Args:
        sock: A connected Unix stream socket, blocking or not.
        governor: Who is told that it was received, so that `why` knows where the baton is.
        bytes_max: A longer message is an error.

    Raises:
        EOFError: The other side has closed, and all messages were received.
        WakeError: No whole message came, or one without the wake lease that was sent with it; or
            what came is no such message. Close the socket then.
        InvalidArgument: The socket is of another kind.
        OSError: As of recvmsg(2); TimeoutError by the socket's time-out, after which another call
            goes on where this one stopped.
    """
    incoming = _incoming(sock)
    while True:
        try:
            if incoming.receive(sock, bytes_max):
                return incoming.take(governor)
        except (BlockingIOError, InterruptedError):
            _wait(sock, select.POLLIN)


async def receive_async(
    stream: socket.socket, *, governor: Reporter | None = None, bytes_max: int = DATA_BYTES_MAX
) -> tuple[bytes, WakeLease | None]:
    """The same for coroutines; of several tasks that wait, each gets whole messages.

    Args:
        stream: As of `send_async`.
        governor: Who is told that it was received, so that `why` knows where the baton is.
        bytes_max: A longer message is an error.

    Raises:
        EOFError: The other side has closed, and all messages were received.
        WakeError: See `receive`. Close the socket then.
        InvalidArgument: The socket is of another kind, or blocks.
        OSError: As of recvmsg(2).
    """
    _check_async(stream)
    incoming = _incoming(stream)
    async with incoming.turn:
        while True:
            try:
                if incoming.receive(stream, bytes_max):
                    return incoming.take(governor)
            except (BlockingIOError, InterruptedError):
                loop = asyncio.get_running_loop()
                await _ready(stream, loop.add_reader, loop.remove_reader)


# -- what is kept with a socket between two calls --------------------------------------------------


class _Outgoing:
    """Frames that are not sent yet: more than one only after a call was cancelled."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self._frames: list[tuple[memoryview, int]] = []  # each with its descriptor, a copy, or -1

    def begin(self, sock: socket.socket, frame: bytes, wake_lease: WakeLease | None) -> bool:
        """Send as much of a frame as goes now, after what is left; whether all has gone.

        Raises:
            Closed: The wake lease is closed.
            OSError: As of sendmsg(2).
        """
        fd = -1 if wake_lease is None else wake_lease.fileno()
        sent = 0
        if not self._frames:
            with contextlib.suppress(BlockingIOError, InterruptedError):
                sent = send_some(sock, frame, [] if fd < 0 else [fd])
            if sent == len(frame):
                return True
        # What waits has a copy of its own: the caller may close his meanwhile.
        self._frames.append((memoryview(frame)[sent:], -1 if sent or fd < 0 else os.dup(fd)))
        return False

    def go_on(self, sock: socket.socket) -> bool:
        """Send as much as goes now; whether all has gone.

        Raises:
            OSError: As of sendmsg(2).
        """
        while self._frames:
            frame, copy = self._frames[0]
            try:
                sent = send_some(sock, frame, [] if copy < 0 else [copy])
            except (BlockingIOError, InterruptedError):
                return False
            except OSError:
                self.close()
                raise
            if copy >= 0:
                os.close(copy)
            if sent < len(frame):
                self._frames[0] = (frame[sent:], -1)
            else:
                self._frames.pop(0)
        return True

    def close(self) -> None:
        frames, self._frames = self._frames, []
        close_all(copy for _, copy in frames if copy >= 0)

    def __del__(self) -> None:
        self.close()


class _Incoming:
    """What has come of the next frame."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self._parts: list[bytes] = []
        self._head: tuple[int, int, int] | None = None
        self._missing = _HEAD.size
        self._came: list[int] = []

    def receive(self, sock: socket.socket, bytes_max: int) -> bool:
        """Read a part; whether the frame is whole.

        Raises:
            EOFError, WakeError, OSError: See `receive`.
        """
        begun = self._missing != _HEAD.size or self._head is not None
        try:
            data, came = receive_bytes(
                sock, min(self._missing, _READ_BYTES), descriptors_max=_DESCRIPTORS_MAX
            )
        except Truncated as error:
            self.close()
            raise _broken("a wake lease was cut off from its message") from error
        self._came += came
        if not data:
            self.close()
            if not begun:
                raise EOFError("the other side has closed the socket")
            raise _broken("the other side has closed in the middle of a message")
        if came and begun:
            self.close()
            raise _broken("a descriptor came in the middle of a message")
        self._parts.append(data)
        self._missing -= len(data)
        if self._missing == 0 and self._head is None:
            self._read_head(bytes_max)
        return self._missing == 0 and self._head is not None

    def _read_head(self, bytes_max: int) -> None:
        magic, flags, name, length = _HEAD.unpack(b"".join(self._parts))
        wanted = flags & _WITH_BATON
        if magic != _MAGIC or flags & ~_WITH_BATON or bool(name) != bool(wanted):
            self.close()
            raise _broken("what came is no message of this kind")
        if length > bytes_max:
            self.close()
            raise _broken(f"a message of {length} bytes, more than {bytes_max}")
        if len(self._came) != wanted:
            came = len(self._came)
            self.close()
            raise _broken(f"{came} descriptors came with a message that was sent with {wanted}")
        self._parts.clear()
        self._head = (flags, name, length)
        self._missing = name + length

    def take(self, governor: Reporter | None) -> tuple[bytes, WakeLease | None]:
        """The message, which is whole; the next one begins."""
        assert self._head is not None
        _, name_bytes, _ = self._head
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._head, self._missing = None, _HEAD.size
        if not name_bytes:
            return body, None
        with Descriptors(self._came) as came:
            self._came = []
            name = body[:name_bytes].decode(errors="replace")
            try:
                fd = came.take()
                wake_lease = WakeLease(fd, name, reporter=governor, received=True)
            except InvalidArgument as error:
                close_all([fd])
                raise _broken(f"what came with a message is no wake lease ({error})") from error
        if governor is not None:
            governor.hop("received", wake_lease.inode)
        return body[name_bytes:], wake_lease

    def close(self) -> None:
        came, self._came = self._came, []
        close_all(came)

    def __del__(self) -> None:
        self.close()


_all_outgoing: WeakKeyDictionary[socket.socket, _Outgoing] = WeakKeyDictionary()
_all_incoming: WeakKeyDictionary[socket.socket, _Incoming] = WeakKeyDictionary()


def _outgoing(sock: socket.socket) -> _Outgoing:
    found = _all_outgoing.get(_checked(sock))
    if found is None:
        found = _all_outgoing[sock] = _Outgoing()
    return found


def _incoming(sock: socket.socket) -> _Incoming:
    found = _all_incoming.get(_checked(sock))
    if found is None:
        found = _all_incoming[sock] = _Incoming()
    return found


def _checked(sock: socket.socket) -> socket.socket:
    if not isinstance(sock, socket.socket):
        raise InvalidArgument(
            f"a {type(sock).__name__} cannot carry wake leases",
            hint="give the socket itself: asyncio's streams do not carry descriptors",
        )
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise InvalidArgument(
            "wake leases travel over Unix stream sockets only", on=repr(sock.family)
        )
    return sock


def _check_async(sock: socket.socket) -> None:
    if _checked(sock).gettimeout() != 0:
        raise InvalidArgument("this socket blocks the event loop", hint="setblocking(False)")


def _frame(data: bytes, wake_lease: WakeLease | None) -> bytes:
    if len(data) > DATA_BYTES_MAX:
        raise InvalidArgument(f"a message of {len(data)} bytes, more than {DATA_BYTES_MAX}")
    if wake_lease is None:
        return _HEAD.pack(_MAGIC, 0, 0, len(data)) + data
    name = wake_lease.name.encode(errors="replace")[:255] or b"?"
    return _HEAD.pack(_MAGIC, _WITH_BATON, len(name), len(data)) + name + data


def _broken(what: str) -> WakeError:
    return WakeError(what, hint="close the socket; the sender has to begin anew")


def _tell_sent(sock: socket.socket, wake_lease: WakeLease | None, index: int | None) -> None:
    if wake_lease is not None and wake_lease.reporter is not None:
        pid = peer_pid(sock)
        # Of a socketpair, both ends say who made it.
        known = pid if pid not in {0, os.getpid()} else None
        wake_lease.reporter.hop("sent", wake_lease.inode, pid=known, index=index)


def _wait(sock: socket.socket, events: int) -> None:
    # A socket with a time-out has waited already, and raised TimeoutError.
    poll = select.poll()
    poll.register(sock.fileno(), events)
    poll.poll()


async def _ready(
    sock: socket.socket,
    add: Callable[[int, Callable[[], object]], object],
    remove: Callable[[int], object],
) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ready() -> None:
        if not future.done():
            future.set_result(None)

    fd = sock.fileno()
    add(fd, ready)
    try:
        await future
    finally:
        remove(fd)
