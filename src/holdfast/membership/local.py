"""All that one engine knows: of itself, of the others, and of what is still to be told.

The engine's rooms (`inbound`, `outbound`, `standing`, `firing`) share one `Local`. Its fields have
no logic of their own; who changes what, and when, is said there.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from holdfast.errors import BroadcastFailed, InvalidArgument
from holdfast.membership.health import SCORE_MAX, Health
from holdfast.membership.identity import Identity, T
from holdfast.membership.kin import Kin
from holdfast.membership.member import Member, Members, State
from holdfast.membership.probe import Probe
from holdfast.membership.repairs import TIMED_REPAIRS, WIRE_REPAIRS, Repair
from holdfast.membership.sleep import Sleepers
from holdfast.membership.suspicion import Suspicions
from holdfast.membership.updates import Backlog, Items, Key

if TYPE_CHECKING:
    from random import Random

    from holdfast.membership.codec.base import Codec
    from holdfast.membership.config import Config
    from holdfast.membership.runtime import Runtime, TimedRuntime

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
        token: The generation of its timers; eight bits that wrap, unless a repair widens them.
        wire: Whether it has words that only kin understand.
        kin: Who has such words, too.
        notes: Those of them that are to be passed on.
        health: How much it trusts its own judgement.
        suspicions: Who is suspected by whom.
        sleepers: Who has said that it sleeps.
    """

    __slots__ = (
        "_enough",
        "_enough_for",
        "_runtime_type",
        "addr",
        "codec",
        "config",
        "connection",
        "handler",
        "health",
        "identity",
        "incarnation",
        "items",
        "kin",
        "members",
        "notes",
        "probe",
        "repairs",
        "rng",
        "sleepers",
        "suspicions",
        "token",
        "updates",
        "wire",
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
        self.rng = rng
        self.wire = bool(repairs & WIRE_REPAIRS)
        self.kin: Kin[T] = Kin(self.members)
        self.notes = Backlog()
        self.health = Health(SCORE_MAX if Repair.LOCAL_HEALTH in repairs else 0)
        self.suspicions: Suspicions[T] = Suspicions()
        self.sleepers: Sleepers[T] = Sleepers()
        # The last type of runtime that was found good; where no time is needed, all are.
        self._runtime_type: Any = None if repairs & TIMED_REPAIRS else object
        # How often an update is told for the size of the cluster, and up to what size that is so.
        self._enough = 0
        self._enough_for = 0 if Repair.ENOUGH_TRANSMISSIONS in repairs else None

    def me(self) -> Member[T]:
        """What the header of one's packets says of oneself."""
        return Member(self.identity, self.incarnation, State.ALIVE)

    def check(self, runtime: Runtime[T]) -> None:
        """See that the runtime can do what the repairs need.

        Raises:
            InvalidArgument: It cannot; nothing was done.
        """
        if type(runtime) is self._runtime_type or self._runtime_type is object:
            return
        if not callable(getattr(runtime, "now_ns", None)):
            names = ", ".join(sorted(one.name for one in self.repairs & TIMED_REPAIRS))
            raise InvalidArgument(
                f"this runtime does not know the time, which repairs need: {names}",
                on=type(runtime).__name__,
                hint="give it now_ns() (TimedRuntime), or use repairs=ALL_REPAIRS - TIMED_REPAIRS",
            )
        self._runtime_type = type(runtime)

    def now_ns(self, runtime: Runtime[T]) -> int:
        """The time, by a runtime that was checked."""
        return cast("TimedRuntime[T]", runtime).now_ns()

    def transmissions(self) -> int:
        """How often to tell what is new now.

        The setting is for a size that was expected; memberlist's rule for the size that is found,
        ``4 * ceil(log10(n + 1))``, is the least with `Repair.ENOUGH_TRANSMISSIONS`.
        """
        if self._enough_for is None:
            return self.config.max_transmissions
        size = self.members.num_active + 2  # oneself is not among them
        if not self._enough_for < 10 * size <= 10 * self._enough_for:
            power, digits = 10, 1
            while power < size:
                power, digits = 10 * power, digits + 1
            self._enough_for, self._enough = power, min(255, 4 * digits)
        return max(self._enough, self.config.max_transmissions)

    def become(self, identity: T) -> None:
        """Go on as another."""
        self.identity, self.addr = identity, identity.addr
        self.members.settled.clear()  # what was said of others may now be said of oneself
        if Repair.NO_RECORD_OF_ONESELF in self.repairs:
            self.members.forget(self.addr)

    def next_token(self) -> None:
        """Timers that were submitted before have no meaning any more."""
        self.token += 1
        if Repair.WIDE_TOKENS not in self.repairs:
            self.token &= 0xFF
        self.suspicions.clear()
