"""Who is on the other side of a Unix socket, as the kernel says: SO_PEERCRED and SO_PEERPIDFD.

The facts are those of the instant of connect(2). A pid may belong to another process by now; where
the kernel gives a descriptor of the process itself (Linux 6.5), `Peer.ended` knows better.
Sources: unix(7), pidfd_open(2).
"""

from __future__ import annotations

import os
import select
import socket
import struct
from contextlib import suppress
from typing import Final

from holdfast.closing import Closing

__all__ = ["Peer", "peer_pid"]

# Not yet named by the socket module; the numbers of all architectures but four old ones.
_SO_PEERGROUPS: Final = getattr(socket, "SO_PEERGROUPS", 59)
_SO_PEERPIDFD: Final = getattr(socket, "SO_PEERPIDFD", 77)
_CREDENTIALS: Final = struct.Struct("=iII")
_GROUPS_BYTES: Final = 1024  # the most that the socket module hands out: 256 groups


class Peer(Closing):
    """The process that connected.

    Attributes:
        pid: Its process id, as seen from here; 0 if it cannot be seen.
        uid: Its effective user id then.
        gid: Its effective group id then.
    """

    __slots__ = ("_groups", "_pidfd", "gid", "pid", "uid")

    def __init__(self, sock: socket.socket) -> None:
        self._pidfd = -1
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        self.pid, self.uid, self.gid = _CREDENTIALS.unpack(raw)
        self._groups = frozenset({self.gid})
        with suppress(OSError):
            more = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
            self._groups |= {number for (number,) in struct.iter_unpack("=I", more)}
        with suppress(OSError):  # an old kernel, or the process has ended
            self._pidfd = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)

    def in_group(self, gid: int) -> bool:
        """Whether it belongs to the group, by its effective or a supplementary one."""
        return gid in self._groups

    def ended(self) -> bool | None:
        """Whether the process has ended; None: this kernel cannot say."""
        if self._pidfd < 0:
            return None
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Give back the descriptor of the process."""
        pidfd, self._pidfd = self._pidfd, -1
        if pidfd >= 0:
            os.close(pidfd)

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Peer pid={self.pid} uid={self.uid} gid={self.gid}>"


def peer_pid(sock: socket.socket) -> int:
    """The process id of who is on the other side, or was when it connected; 0: not to be seen."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid: int = _CREDENTIALS.unpack(raw)[0]
    return pid
