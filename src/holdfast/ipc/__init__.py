r"""Messages between processes of one machine: Varlink-shaped JSON over a Unix socket.

What passes is described in `messages`; descriptors travel beside it (`descriptors`), and the kernel
says who is on the other side (`peer`). This room knows nothing of what is talked about.

::

    Client ─ Line ─────┐                              ┌───── Server ─ SocketFile
     blocking          │   {"method": …, "id": 1}\0    │       accepts, checks the peer
                       ├──────────────────────────────┤
    connect() ─────────┘ ◀─ {"parameters": …, "id": 1}└───── Connection ─ Request ─▶ on_call
     a Connection, too: both sides may call
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.ipc.async_client import connect
    from holdfast.ipc.client import Client
    from holdfast.ipc.connection import Connection, Limits, OnAnswer
    from holdfast.ipc.descriptors import Descriptors, Truncated, close_all, receive, send_some
    from holdfast.ipc.messages import FRAME_BYTES_MAX, Frames, Garbage, Message
    from holdfast.ipc.peer import Peer
    from holdfast.ipc.request import Request
    from holdfast.ipc.server import Server
    from holdfast.ipc.socket_file import SocketFile

__all__ = [
    "FRAME_BYTES_MAX",
    "Client",
    "Connection",
    "Descriptors",
    "Frames",
    "Garbage",
    "Limits",
    "Message",
    "OnAnswer",
    "Peer",
    "Request",
    "Server",
    "SocketFile",
    "Truncated",
    "close_all",
    "connect",
    "receive",
    "send_some",
]

# asyncio takes longer to import than all of this: a program that blocks does not wait for it.
_WHERE = {
    "FRAME_BYTES_MAX": "messages",
    "Client": "client",
    "Connection": "connection",
    "Descriptors": "descriptors",
    "Frames": "messages",
    "Garbage": "messages",
    "Limits": "connection",
    "Message": "messages",
    "OnAnswer": "connection",
    "Peer": "peer",
    "Request": "request",
    "Server": "server",
    "SocketFile": "socket_file",
    "Truncated": "descriptors",
    "close_all": "descriptors",
    "connect": "async_client",
    "receive": "descriptors",
    "send_some": "descriptors",
}


def __getattr__(name: str) -> object:
    if name in _WHERE:
        return getattr(importlib.import_module(f"holdfast.ipc.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
