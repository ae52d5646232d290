"""A service at a Unix socket: accepts whom it may, and hands their calls to one function."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from holdfast.closing import Closing
from holdfast.errors import HoldfastError, NotPermitted, Unavailable
from holdfast.ipc.connection import Connection, Limits
from holdfast.ipc.failures import to_wire
from holdfast.ipc.messages import encode_failure
from holdfast.ipc.peer import Peer
from holdfast.ipc.socket_file import SocketFile

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from holdfast.ipc.request import Request

__all__ = ["Server"]

log = logging.getLogger("holdfast.ipc")

CONNECTIONS_MAX: Final = 1024
BACKLOG: Final = 128
# Of this machine, not of who wants to connect: try again when there may be room.
_NO_ROOM: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PAUSE_S: Final = 0.1


class Server(Closing):
    """A service on the running event loop, until it is closed.

    Processes of the same user and of root may connect; with `group`, also those of the group.

    Args:
        path: Where the socket is made; see `SocketFile`.
        on_call: Called with each call of anybody.
        on_opened: Called with each new connection.
        on_closed: Called with each connection that has ended, and the reason.
        group: Who else may connect.
        limits: What one connection may ask of us.
        connections_max: More are refused.
        backlog: How many the kernel keeps for us.
        start: Whether to accept at once; else `start` does. Who connects before waits till then.

    Raises:
        AlreadyExists, NotPermitted, InvalidArgument: See `SocketFile`.
    """

    def __init__(
        self,
        path: str,
        on_call: Callable[[Request], object],
        *,
        on_opened: Callable[[Connection], object] | None = None,
        on_closed: Callable[[Connection, str], object] | None = None,
        group: str | int | None = None,
        limits: Limits | None = None,
        connections_max: int = CONNECTIONS_MAX,
        backlog: int = BACKLOG,
        start: bool = True,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_call = on_call
        self._on_opened = on_opened
        self._on_closed = on_closed
        self._limits = limits
        self._connections_max = connections_max
        self._file = SocketFile(path, group=group, backlog=backlog)
        self._resume: asyncio.TimerHandle | None = None
        self._closed = False
        self.path = self._file.path
        self.connections: set[Connection] = set()
        if start:
            self.start()

    def start(self) -> None:
        """Accept connections."""
        self._resume = None
        self._loop.add_reader(self._file.socket.fileno(), self._acceptable)

    def _acceptable(self) -> None:
        try:
            sock, _ = self._file.socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            # The connection stays in the backlog, so that the socket stays readable: without a
            # pause we would ask again at once, and for ever.
            log.warning("no connection can be accepted for now: %s", error.strerror)
            self._loop.remove_reader(self._file.socket.fileno())
            self._resume = self._loop.call_later(_PAUSE_S, self.start)
            return
        try:
            peer = Peer(sock)
        except OSError:
            sock.close()
            return
        refusal = self._refusal(peer)
        if refusal is not None:
            _refuse(sock, peer, refusal)
            return
        connection = Connection(
            sock, self._on_call, on_closed=self._ended, limits=self._limits, peer=peer
        )
        self.connections.add(connection)
        if self._on_opened is not None:
            self._on_opened(connection)

    def _refusal(self, peer: Peer) -> HoldfastError | None:
        gid = self._file.gid
        known = peer.uid in {0, os.geteuid()} or (gid is not None and peer.in_group(gid))
        if not known:
            return NotPermitted(
                f"uid {peer.uid} may not use this socket", on=self.path, hint="ask for its group"
            )
        if len(self.connections) >= self._connections_max:
            return Unavailable(
                f"all {self._connections_max} connections are taken",
                on=self.path,
                hint="close some, or try again later",
            )
        return None

    def _ended(self, connection: Connection, reason: str) -> None:
        self.connections.discard(connection)
        log.debug("%r has ended: %s", connection.peer, reason)
        if self._on_closed is not None:
            self._on_closed(connection, reason)

    def close(self) -> None:
        """End all connections, and remove the socket."""
        if self._closed:
            return
        self._closed = True
        if self._resume is not None:
            self._resume.cancel()
        self._loop.remove_reader(self._file.socket.fileno())
        self._file.close()
        for connection in list(self.connections):
            connection.close()


def _refuse(sock: socket.socket, peer: Peer, error: HoldfastError) -> None:
    name, said = to_wire(error)
    with sock, peer, suppress(OSError):
        sock.settimeout(0)
        sock.send(encode_failure(name, said))
