"""A connection to a service, for coroutines."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Final

from holdfast.errors import HoldfastError, Unavailable, Unsupported
from holdfast.ipc.client import ANSWER_BYTES_MAX
from holdfast.ipc.connection import Connection, Limits
from holdfast.ipc.socket_file import address_of, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.ipc.request import Request

__all__ = ["connect"]

_LIMITS: Final = Limits(frame_bytes=ANSWER_BYTES_MAX)
_AGAIN_S: Final = 0.01


async def connect(
    path: str,
    *,
    on_call: Callable[[Request], object] | None = None,
    on_closed: Callable[[Connection, str], object] | None = None,
    service: str = "service",
    gone: type[HoldfastError] = Unavailable,
) -> Connection:
    """Connect to the service at `path`.

    Args:
        path: Its socket.
        on_call: Called with each call that the service makes; None: it is told that there is
            nothing to call.
        on_closed: Called once when the connection has ended.
        service: What it is called in messages.
        gone: The class of the error when it cannot answer any more.

    Raises:
        NotFound, Unavailable, NotPermitted, InvalidArgument: See `socket_file.refused`.
    """
    where = os.path.abspath(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(0)
        # A full backlog is EAGAIN on a Unix socket, and no event tells of its end (connect(2)).
        while True:
            try:
                with address_of(where) as address:
                    sock.connect(address)
                break
            except BlockingIOError:
                await asyncio.sleep(_AGAIN_S)
    except OSError as error:
        sock.close()
        raise refused(error, where, service) from error
    except BaseException:
        sock.close()
        raise
    return Connection(sock, on_call or _nothing, on_closed=on_closed, limits=_LIMITS, gone=gone)


def _nothing(request: Request) -> None:
    raise Unsupported("nothing can be called on this side", on=request.method)
