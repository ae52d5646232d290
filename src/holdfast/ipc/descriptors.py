"""Descriptors beside bytes: SCM_RIGHTS, with the care that it needs.

- `socket.recv_fds` of the standard library makes descriptors that children inherit, whatever flags
  it is given (CPython issue 128881). Here is recvmsg(2) itself, with MSG_CMSG_CLOEXEC.
- Control data that did not fit is cut off, and the kernel closes what was in it, as it does where
  the process has no number left for a descriptor: MSG_CTRUNC. That is an error here, and what did
  come is closed; a descriptor that is lost in silence is a promise that is lost.
- One sendmsg(2) carries one frame, so that `messages.Frames` can tell whose descriptors are whose.

Sources: unix(7), recvmsg(2), cmsg(3).
"""

from __future__ import annotations

import array
import os
import socket
from typing import TYPE_CHECKING, Final

from holdfast.closing import Closing
from holdfast.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["DESCRIPTORS_MAX", "Descriptors", "Truncated", "close_all", "receive", "send_some"]

# SCM_MAX_FD: the kernel takes no more with one message.
DESCRIPTORS_MAX: Final = 253

# As plain numbers: arithmetic with the module's enumerations costs as much as a system call.
_CLOEXEC: Final = int(socket.MSG_CMSG_CLOEXEC)
_TRUNCATED: Final = int(socket.MSG_CTRUNC)
_NOSIGNAL: Final = int(socket.MSG_NOSIGNAL)
_ROOMS: Final = [socket.CMSG_SPACE(number * 4) for number in range(DESCRIPTORS_MAX + 1)]


class Truncated(OSError):
    """Descriptors were sent to us and could not be delivered. Those that came are closed."""


class Descriptors(Closing):
    """Descriptors that came with a message. Who takes one owns it; the rest is closed."""

    __slots__ = ("_left",)

    def __init__(self, descriptors: Iterable[int] = ()) -> None:
        self._left = list(descriptors)

    def __len__(self) -> int:
        return len(self._left)

    def take(self) -> int:
        """The next one; whoever takes it closes it.

        Raises:
            InvalidArgument: There is none left.
        """
        if not self._left:
            raise InvalidArgument("a descriptor was to come with this message, and none did")
        return self._left.pop(0)

    def close(self) -> None:
        """Close those that nobody took."""
        if self._left:
            left, self._left = self._left, []
            close_all(left)

    def __del__(self) -> None:
        self.close()  # who was interrupted with them in his hands must not keep them for ever


def close_all(descriptors: Iterable[int]) -> None:
    """Close each of them; one that is closed already is passed over."""
    for descriptor in descriptors:
        try:  # noqa: SIM105 - `suppress` takes longer than the call
            os.close(descriptor)
        except OSError:
            pass


def send_some(
    sock: socket.socket, data: bytes | memoryview, descriptors: Sequence[int] = ()
) -> int:
    """Send bytes, and the descriptors with the first of them; how many bytes went.

    Once any byte went, so did all descriptors: the rest is sent without.

    Raises:
        OSError: As of sendmsg(2); nothing went.
    """
    if not descriptors:
        return sock.send(data, _NOSIGNAL)
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
    return sock.sendmsg([data], [rights], _NOSIGNAL)


def receive(
    sock: socket.socket, length: int, *, descriptors_max: int = DESCRIPTORS_MAX, flags: int = 0
) -> tuple[bytes, list[int]]:
    """One read: bytes (none: the other side has closed), and the descriptors that came with them.

    The descriptors are close-on-exec and the caller's to close.

    Raises:
        Truncated: Descriptors were cut off.
        OSError: As of recvmsg(2).
    """
    data, control, told, _ = sock.recvmsg(length, _ROOMS[descriptors_max], flags | _CLOEXEC)
    if not control and not told & _TRUNCATED:
        return data, []
    came: list[int] = []
    for level, kind, content in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i")
            # What was cut off in the middle of a number is none.
            numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
            came.extend(numbers)
    if told & _TRUNCATED:
        close_all(came)
        raise Truncated(f"descriptors were cut off from a message; {len(came)} had come")
    return data, came
