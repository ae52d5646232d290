"""Membership: who is there, by SWIM, without a server and without any input or output of its own.

`Membership` is one member. It is handed datagrams and timers, and says to a `Runtime` what to send,
what to be reminded of, and what has changed; sockets and clocks are the driver's. Packets are
those of the Rust crate foca 1.0, byte for byte, so that nodes of both kinds form one cluster.

The way of a packet::

    engine.handle_data(data, runtime)       engine.py
      Inbound.handle_data                   inbound.py     checks, in order; then effects, in order
        codec.decode_header                 codec/         straight-line code, made for the identity
        codec.split_members                 codec/         one regular expression skips old news
        Standing.apply                      standing.py    about oneself, one's past, or another
          Members.apply                     member.py      the table of states; conflicts
        Outbound.send                       outbound.py    the answer, with what is to be told
          Backlog.take                      updates.py     told least often first
      runtime.send_to, notify, submit_after runtime.py     the seam

The way of a probe::

    t            ProbeRandomMember          firing.py      judge the last probe, Ping the next
                 Ack ──▶ Probe.receive_ack  probe.py
    t + rtt      SendIndirectProbe          firing.py      no answer: others ask for us (PingReq)
    t + period   ProbeRandomMember                         still none: Suspect, and the news of it
    + a while    ChangeSuspectToDown                       not refuted: Down
    + a day      RemoveDown                                forgotten

The way of a refutation: a member hears that it is a suspect (``Standing.apply``) and raises its
incarnation; every packet of it carries that number, and Alive at a higher one clears the suspicion.

`Cluster` is a member on a real network: asyncio, a socket, names and tags. Its way of a datagram is
drawn in ``cluster/``; what it decides besides the protocol is in ``session.py``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from holdfast.membership.codec.base import Codec
from holdfast.membership.codec.bincode import Bincode
from holdfast.membership.codec.postcard import Postcard
from holdfast.membership.config import Config, Periodic
from holdfast.membership.engine import Membership
from holdfast.membership.identity import Identity, Node
from holdfast.membership.local import BroadcastHandler, Connection
from holdfast.membership.member import Member, State
from holdfast.membership.messages import (
    Ack,
    Announce,
    Broadcast,
    Feed,
    ForwardedAck,
    Gossip,
    Header,
    IndirectAck,
    IndirectPing,
    Message,
    Ping,
    PingReq,
    TurnUndead,
)
from holdfast.membership.notifications import (
    Active,
    Defunct,
    Idle,
    MemberDown,
    MemberUp,
    Notification,
    Rejoin,
    Rename,
)
from holdfast.membership.repairs import ALL_REPAIRS, TIMED_REPAIRS, WIRE_REPAIRS, Repair
from holdfast.membership.runtime import AccumulatingRuntime, Runtime, TimedRuntime
from holdfast.membership.timers import (
    CallAgain,
    ChangeSuspectToDown,
    PeriodicAnnounce,
    PeriodicAnnounceDown,
    PeriodicExchange,
    PeriodicGossip,
    ProbeRandomMember,
    RemoveDown,
    SendIndirectProbe,
    Timer,
)
from holdfast.membership.updates import Key
from holdfast.membership.widths import (
    I8,
    I16,
    I32,
    I64,
    I128,
    U8,
    U16,
    U32,
    U64,
    U128,
    IpAddr,
    SocketAddr,
)

if TYPE_CHECKING:
    from holdfast.membership.changes import (
        Change,
        ClusterEvent,
        ClusterMember,
        MemberFailed,
        MemberJoined,
        MemberLeft,
        MemberUpdated,
        Missed,
    )
    from holdfast.membership.cluster import Changes, Cluster, look
    from holdfast.membership.why import Why

__all__ = [
    "ALL_REPAIRS",
    "I8",
    "I16",
    "I32",
    "I64",
    "I128",
    "TIMED_REPAIRS",
    "U8",
    "U16",
    "U32",
    "U64",
    "U128",
    "WIRE_REPAIRS",
    "AccumulatingRuntime",
    "Ack",
    "Active",
    "Announce",
    "Bincode",
    "Broadcast",
    "BroadcastHandler",
    "CallAgain",
    "Change",
    "ChangeSuspectToDown",
    "Changes",
    "Cluster",
    "ClusterEvent",
    "ClusterMember",
    "Codec",
    "Config",
    "Connection",
    "Defunct",
    "Feed",
    "ForwardedAck",
    "Gossip",
    "Header",
    "Identity",
    "Idle",
    "IndirectAck",
    "IndirectPing",
    "IpAddr",
    "Key",
    "Member",
    "MemberDown",
    "MemberFailed",
    "MemberJoined",
    "MemberLeft",
    "MemberUp",
    "MemberUpdated",
    "Membership",
    "Message",
    "Missed",
    "Node",
    "Notification",
    "Periodic",
    "PeriodicAnnounce",
    "PeriodicAnnounceDown",
    "PeriodicExchange",
    "PeriodicGossip",
    "Ping",
    "PingReq",
    "Postcard",
    "ProbeRandomMember",
    "Rejoin",
    "RemoveDown",
    "Rename",
    "Repair",
    "Runtime",
    "SendIndirectProbe",
    "SocketAddr",
    "State",
    "TimedRuntime",
    "Timer",
    "TurnUndead",
    "Why",
    "look",
]

_CHANGES = "holdfast.membership.changes"
_CLUSTER = "holdfast.membership.cluster"
_LATE = {
    "Change": _CHANGES,
    "Changes": _CLUSTER,
    "Cluster": _CLUSTER,
    "ClusterEvent": _CHANGES,
    "ClusterMember": _CHANGES,
    "MemberFailed": _CHANGES,
    "MemberJoined": _CHANGES,
    "MemberLeft": _CHANGES,
    "MemberUpdated": _CHANGES,
    "Missed": _CHANGES,
    "Why": "holdfast.membership.why",
    "look": _CLUSTER,
}


def __getattr__(name: str) -> object:
    # asyncio takes longer to import than all of this: only those who use it wait for it.
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
