"""All that one engine knows: of itself, of the others, and of what is still to be told.

The engine's rooms (`inbound`, `outbound`, `standing`, `firing`) share one `Local`. Its fields have
no logic of their own; who changes what, and when, is said there.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from holdfast.errors import BroadcastFailed
from holdfast.membership.identity import Identity, T
from holdfast.membership.member import Members
from holdfast.membership.probe import Probe
from holdfast.membership.updates import Backlog, Items, Key

if TYPE_CHECKING:
    from random import Random

    from holdfast.membership.codec.base import Codec
    from holdfast.membership.config import Config
    from holdfast.membership.repairs import Repair

__all__ = ["BroadcastHandler", "Connection", "Local", "NoBroadcasts"]

T_contra = TypeVar("T_contra", bound=Identity, contravariant=True)


class BroadcastHandler(Protocol[T_contra]):
    """What the application does with its own items, which travel with the engine's packets."""

    def receive_item(self, data: bytes, sender: T_contra | None, /) -> Key | None:
        """Take one item in.

        Args:
            data: The item, as it was given to ``add_broadcast`` somewhere.
            sender: Who passed it on, not who made it; None: it was made here.

        Returns:
            A key if it is new and shall be passed on; None if it is known or old.

        Raises:
            Exception: Whatever it raises refuses the item, and comes out as `BroadcastFailed`.
        """
        ...

    def should_add_broadcast_data(self, member: T_contra, /) -> bool:
        """Whether packets to `member` may carry items."""
        ...


class NoBroadcasts(Generic[T]):
    """The handler of an application that has no items: it refuses every one."""

    def receive_item(self, data: bytes, sender: T | None, /) -> Key | None:
        """Refuse it."""
        raise BroadcastFailed(
            "there is no broadcast handler", hint="give broadcast_handler= to Membership"
        )

    def should_add_broadcast_data(self, member: T, /) -> bool:
        """There is nothing to add."""
        return False


class Connection(enum.Enum):
    """Where this member stands; `standing` has the drawing."""

    DISCONNECTED = "disconnected"
    CONNECTED = "connected"
    UNDEAD = "undead"


class Local(Generic[T]):
    """One member's knowledge.

    Attributes:
        identity: Who it is; `become` changes it.
        addr: Its address.
        incarnation: How often it has refuted, at most 65535.
        connection: Where it stands.
        token: The generation of its timers, eight bits that wrap.
    """

    __slots__ = (
        "addr",
        "codec",
        "config",
        "connection",
        "handler",
        "identity",
        "incarnation",
        "items",
        "members",
        "probe",
        "repairs",
        "token",
        "updates",
    )

    def __init__(
        self,
        identity: T,
        config: Config,
        *,
        rng: Random,
        codec: Codec[T],
        repairs: frozenset[Repair],
        handler: BroadcastHandler[T],
    ) -> None:
        self.identity = identity
        self.addr = identity.addr
        self.incarnation = 0
        self.config = config
        self.connection = Connection.DISCONNECTED
        self.token = 0
        self.members: Members[T] = Members(rng)
        self.probe: Probe[T] = Probe()
        self.updates = Backlog()
        self.items = Items()
        self.codec = codec
        self.handler = handler
        self.repairs = repairs

    def become(self, identity: T) -> None:
        """Go on as another."""
        self.identity, self.addr = identity, identity.addr
        self.members.settled.clear()  # what was said of others may now be said of oneself

    def next_token(self) -> None:
        """Timers that were submitted before have no meaning any more."""
        self.token = (self.token + 1) & 0xFF
