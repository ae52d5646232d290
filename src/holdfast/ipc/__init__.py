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

from holdfast.ipc.async_client import connect
from holdfast.ipc.client import Client
from holdfast.ipc.connection import Connection, Limits, OnAnswer, Request
from holdfast.ipc.descriptors import Descriptors, Truncated, close_all, receive, send_some
from holdfast.ipc.failures import METHOD_NOT_FOUND
from holdfast.ipc.messages import FRAME_BYTES_MAX, Frames, Garbage, Message
from holdfast.ipc.peer import Peer
from holdfast.ipc.server import Server
from holdfast.ipc.socket_file import SocketFile

__all__ = [
    "FRAME_BYTES_MAX",
    "METHOD_NOT_FOUND",
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
