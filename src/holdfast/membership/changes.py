"""What a cluster tells its users: members with their names, and what becomes of them.

The engine speaks of identities. People speak of names: a `ClusterMember` has both, and a change is
told about it once, in an order that a reader can rely on::

    MemberJoined ─▶ (MemberUpdated …) ─▶ MemberLeft or MemberFailed

Nobody is told to have left or failed who was not told to have joined.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TypeAlias

from holdfast.membership.identity import Node  # noqa: TC001 - the manual reads the annotations

__all__ = [
    "BACKLOG_MAX",
    "Change",
    "ClusterEvent",
    "ClusterMember",
    "MemberFailed",
    "MemberJoined",
    "MemberLeft",
    "MemberUpdated",
    "Missed",
    "Reader",
]

# So many changes wait for a reader that does not read; then the oldest go.
BACKLOG_MAX = 1024


@dataclass(frozen=True, slots=True)
class ClusterMember:
    """One member, as this one knows it now.

    Attributes:
        name: What it calls itself; its address, where it has not said so. Names need not differ.
        address: ``host:port``.
        node: Its identity: address, port and generation.
        state: "alive" or "suspect"; in the change that tells of its end "left" or "failed".
        incarnation: How often it has refuted a suspicion.
        tags: What it says about itself.
        me: Whether it is the member that was asked.
    """

    name: str
    address: str
    node: Node
    state: str = "alive"
    incarnation: int = 0
    tags: dict[str, str] = field(default_factory=dict, hash=False)
    me: bool = False


@dataclass(frozen=True, slots=True)
class MemberJoined:
    """A member is there."""

    member: ClusterMember


@dataclass(frozen=True, slots=True)
class MemberUpdated:
    """Its name, its tags or its identity are others now; it may have been started anew."""

    member: ClusterMember
    before: ClusterMember


@dataclass(frozen=True, slots=True)
class MemberLeft:
    """It has said that it goes."""

    member: ClusterMember


@dataclass(frozen=True, slots=True)
class MemberFailed:
    """It did not answer, and did not refute in time; or it has gone without a word."""

    member: ClusterMember


@dataclass(frozen=True, slots=True)
class ClusterEvent:
    """Somebody has called ``broadcast(name, payload)``. It is told once; it may be lost."""

    member: ClusterMember
    name: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Missed:
    """The reader was slow: so many changes before the next one are gone. Ask ``members()``."""

    count: int


Change: TypeAlias = MemberJoined | MemberUpdated | MemberLeft | MemberFailed | ClusterEvent | Missed


class Reader:
    """The changes that one reader has not read yet; bounded, the oldest go first."""

    __slots__ = ("_changes", "_limit", "_missed")

    def __init__(self, limit: int = BACKLOG_MAX) -> None:
        self._changes: deque[Change] = deque()
        self._limit = limit
        self._missed = 0

    def __len__(self) -> int:
        return len(self._changes) + (self._missed > 0)

    def put(self, change: Change) -> None:
        """Keep a change for later."""
        if len(self._changes) >= self._limit:
            self._changes.popleft()
            self._missed += 1
        self._changes.append(change)

    def take(self) -> Change | None:
        """The oldest change, after the count of those that are gone; None: there is none."""
        if self._missed:
            missed, self._missed = self._missed, 0
            return Missed(missed)
        return self._changes.popleft() if self._changes else None
