"""The eleven messages and the header that every packet begins with.

=== ============== ================================ ========= ======== ======================
tag message        what it says                     updates   items    answer
=== ============== ================================ ========= ======== ======================
0   Ping           are you there?                   backlog   yes      Ack
1   Ack            I am                             backlog   yes
2   PingReq        is that one there?               backlog   yes      IndirectPing to target
3   IndirectPing   are you there, asks the origin   backlog   yes      IndirectAck
4   IndirectAck    tell the target, I am            backlog   yes      ForwardedAck to target
5   ForwardedAck   the origin is there              backlog   yes
6   Announce       let me in                        -         -        Feed
7   Feed           these are there                  members   yes
8   Gossip         this is new                      backlog   yes
9   Broadcast      items of the application         -         yes
10  TurnUndead     you were declared down           -         -
=== ============== ================================ ========= ======== ======================

Tags are those of the crate, where messages are the variants of an enum in this order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeAlias

from holdfast.membership.identity import T

__all__ = [
    "KINDS",
    "WITH_ITEMS",
    "WITH_UPDATES",
    "Ack",
    "Announce",
    "Broadcast",
    "Feed",
    "ForwardedAck",
    "Gossip",
    "Header",
    "IndirectAck",
    "IndirectPing",
    "Message",
    "Ping",
    "PingReq",
    "TurnUndead",
]


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there? The answer is an `Ack` of the same number."""

    number: int


@dataclass(frozen=True, slots=True)
class Ack:
    """I am there: the answer to a `Ping`."""

    number: int


@dataclass(frozen=True, slots=True)
class PingReq(Generic[T]):
    """Ask `target` for me, by an `IndirectPing`: it did not answer me in time."""

    target: T
    number: int


@dataclass(frozen=True, slots=True)
class IndirectPing(Generic[T]):
    """Are you there? `origin` wants to know, and I pass the answer on."""

    origin: T
    number: int


@dataclass(frozen=True, slots=True)
class IndirectAck(Generic[T]):
    """I am there; tell `target`, who asked you to ask."""

    target: T
    number: int


@dataclass(frozen=True, slots=True)
class ForwardedAck(Generic[T]):
    """`origin` has answered me: it is there."""

    origin: T
    number: int


@dataclass(frozen=True, slots=True)
class Announce:
    """Let me in. It reaches any identity at the address; the answer is a `Feed`."""


@dataclass(frozen=True, slots=True)
class Feed:
    """Some of the members that I know to be active."""


@dataclass(frozen=True, slots=True)
class Gossip:
    """What I have heard lately."""


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Items of the application, and no updates."""


@dataclass(frozen=True, slots=True)
class TurnUndead:
    """You were declared down, and I still hear you."""


Message: TypeAlias = (
    Ping
    | Ack
    | PingReq[T]
    | IndirectPing[T]
    | IndirectAck[T]
    | ForwardedAck[T]
    | Announce
    | Feed
    | Gossip
    | Broadcast
    | TurnUndead
)

# The index is the tag on the wire.
KINDS = (
    Ping,
    Ack,
    PingReq,
    IndirectPing,
    IndirectAck,
    ForwardedAck,
    Announce,
    Feed,
    Gossip,
    Broadcast,
    TurnUndead,
)
WITH_UPDATES: frozenset[type] = frozenset(KINDS) - {Announce, Broadcast, TurnUndead}
WITH_ITEMS: frozenset[type] = frozenset(KINDS) - {Announce, TurnUndead}


class Header(NamedTuple, Generic[T]):
    """What every packet begins with.

    Attributes:
        src: Who sent it. Answers go to this identity, and not to where the datagram came from.
        src_incarnation: The sender's incarnation: every packet refutes older suspicions.
        dst: For whom it is.
        message: What it says.
    """

    src: T
    src_incarnation: int
    dst: T
    message: Message[T]
