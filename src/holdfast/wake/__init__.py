"""Wake leases: what keeps the machine from going down before the work in flight is done.

The **governor** decides when the machine may go down. A **wake lease** is the write end of a pipe
whose read end the governor keeps: while any copy of it is open anywhere, in a process or in a
message that nobody has received, the machine stays up. Copies are made by `WakeLease.dup`, by
fork, and by sending one along with data as a **baton** (`send`, `receive`); the kernel closes those
of a process that dies.

The way of an acquire::

    governor.acquire("upload")            client.py       or async_client.py
      {"method": "…wake.Acquire", …}      ipc/            JSON and a NUL, over a Unix socket
        Calls._acquire                    serving.py      makes the pipe
          Governor.acquire                governor/       pure; when it may be held: Grant
        Calls.grant                       serving.py      the answer, and the write end beside it
      WakeLease                           lease.py        the descriptor, in your hands
    wake_lease.close()                                    the last copy: the kernel hangs up
      TokenWatch.hung_up                  token.py        epoll, one descriptor for all
        Governor.lease_closed             governor/       nothing forbids a suspend any more

The way of a suspend::

    governor.suspend()                    client.py
      Governor.suspend_requested          governor/       once no wake lease exists: Call
        before_suspend of each listener   listening.py    its answer lets the suspend go on
      GoDown                              governor/       all answered, nothing forbids it
        Backend.suspend                   backends/       simulated, logind, command
      Governor.backend_done               governor/       back again: Call
        after_resume of each listener     listening.py
      Answer                              service.py      to who asked

`serve` runs a governor. `causes` puts into words why the machine did not go down, and `holders`
finds who holds a wake lease now.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.wake.async_client import AsyncGovernor, connect_async
    from holdfast.wake.backends import Backend, BackendHost
    from holdfast.wake.backends.command import Command
    from holdfast.wake.backends.logind import Logind
    from holdfast.wake.backends.simulated import Simulated
    from holdfast.wake.baton import receive, receive_async, send, send_async
    from holdfast.wake.client import Governor, Status, connect
    from holdfast.wake.lease import WakeLease
    from holdfast.wake.listening import Listener
    from holdfast.wake.model import Config, Failed, OnTimeout, Slept
    from holdfast.wake.places import from_environment, socket_path, to_environment
    from holdfast.wake.service import Service, serve
    from holdfast.wake.strategies.interlock import Interlock
    from holdfast.wake.strategies.retained import RetainedWakeLease
    from holdfast.wake.strategies.send_tracker import MessageSendTracker
    from holdfast.wake.strategies.sequence_client import Baton, SequenceClient
    from holdfast.wake.strategies.sequence_relay import SequenceRelay
    from holdfast.wake.strategies.sequence_server import SequenceServer
    from holdfast.wake.strategies.socket_channel import (
        BatonSource,
        BatonSubscription,
        MessageChannel,
        MessageSource,
    )
    from holdfast.wake.whereabouts import Holder
    from holdfast.wake.wire import Lease, LeaseHolder, LeaseHop, Located, WakeEvent

__all__ = [
    "AsyncGovernor",
    "Backend",
    "BackendHost",
    "Baton",
    "BatonSource",
    "BatonSubscription",
    "Command",
    "Config",
    "Failed",
    "Governor",
    "Holder",
    "Interlock",
    "Lease",
    "LeaseHolder",
    "LeaseHop",
    "Listener",
    "Located",
    "Logind",
    "MessageChannel",
    "MessageSendTracker",
    "MessageSource",
    "OnTimeout",
    "RetainedWakeLease",
    "SequenceClient",
    "SequenceRelay",
    "SequenceServer",
    "Service",
    "Simulated",
    "Slept",
    "Status",
    "WakeEvent",
    "WakeLease",
    "connect",
    "connect_async",
    "from_environment",
    "receive",
    "receive_async",
    "send",
    "send_async",
    "serve",
    "socket_path",
    "to_environment",
]

# Where each name is: a program that blocks need not wait for asyncio to be imported, nor one that
# has a back-end of its own for the others.
_WHERE = {
    "AsyncGovernor": "async_client",
    "Backend": "backends",
    "BackendHost": "backends",
    "Baton": "strategies.sequence_client",
    "BatonSource": "strategies.socket_channel",
    "BatonSubscription": "strategies.socket_channel",
    "Command": "backends.command",
    "Config": "model",
    "Failed": "model",
    "Governor": "client",
    "Holder": "whereabouts",
    "Interlock": "strategies.interlock",
    "Lease": "wire",
    "LeaseHolder": "wire",
    "LeaseHop": "wire",
    "Listener": "listening",
    "Located": "wire",
    "Logind": "backends.logind",
    "MessageChannel": "strategies.socket_channel",
    "MessageSendTracker": "strategies.send_tracker",
    "MessageSource": "strategies.socket_channel",
    "OnTimeout": "model",
    "RetainedWakeLease": "strategies.retained",
    "SequenceClient": "strategies.sequence_client",
    "SequenceRelay": "strategies.sequence_relay",
    "SequenceServer": "strategies.sequence_server",
    "Service": "service",
    "Simulated": "backends.simulated",
    "Slept": "model",
    "Status": "client",
    "WakeEvent": "wire",
    "WakeLease": "lease",
    "connect": "client",
    "connect_async": "async_client",
    "from_environment": "places",
    "receive": "baton",
    "receive_async": "baton",
    "send": "baton",
    "send_async": "baton",
    "serve": "service",
    "socket_path": "places",
    "to_environment": "places",
}


def __getattr__(name: str) -> object:
    if name in _WHERE:
        return getattr(importlib.import_module(f"holdfast.wake.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
