"""The engine: one member of a cluster, without sockets, clocks and threads.

It is told of datagrams, of timers and of what the application wants, and says what shall be done
about it to a `Runtime`. Each call acts at once and in order; nothing happens between calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from holdfast.errors import BroadcastFailed, DataTooBig, InvalidArgument, MalformedPacket
from holdfast.membership import notes
from holdfast.membership.correspondence import Correspondence
from holdfast.membership.firing import Firing
from holdfast.membership.identity import T
from holdfast.membership.inbound import Inbound
from holdfast.membership.isolation import Isolation
from holdfast.membership.local import BroadcastHandler, Connection, Local, NoBroadcasts
from holdfast.membership.member import State
from holdfast.membership.outbound import Outbound
from holdfast.membership.repairs import ALL_REPAIRS, Repair
from holdfast.membership.standing import Standing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from holdfast.membership.codec.base import Codec
    from holdfast.membership.config import Config
    from holdfast.membership.member import Member
    from holdfast.membership.runtime import Runtime
    from holdfast.membership.timers import Timer

__all__ = ["Membership"]


class Membership(Generic[T]):
    """One member. Not thread-safe: one caller at a time.

    Args:
        identity: Who it is.
        config: Its settings.
        rng: Where chance comes from; the same seed and the same calls give the same effects.
        codec: What packets look like.
        repairs: What it does better than the crate; none: it is the crate.
        broadcast_handler: What to do with the application's own items; None: refuse them.

    Some repairs need the time: where `repairs` has one of `TIMED_REPAIRS`, every runtime must be a
    `TimedRuntime`, or `handle_data`, `handle_timer` and `apply_many` raise `InvalidArgument`.
    """

    __slots__ = ("_correspondence", "_firing", "_inbound", "_local", "_outbound", "_standing")

    def __init__(
        self,
        identity: T,
        config: Config,
        *,
        rng: Random,
        codec: Codec[T],
        repairs: frozenset[Repair] = ALL_REPAIRS,
        broadcast_handler: BroadcastHandler[T] | None = None,
    ) -> None:
        self._local: Local[T] = Local(
            identity,
            config,
            rng=rng,
            codec=codec,
            repairs=frozenset(repairs),
            handler=NoBroadcasts() if broadcast_handler is None else broadcast_handler,
        )
        self._outbound: Outbound[T] = Outbound(self._local)
        isolation: Isolation[T] = Isolation(self._local, self._outbound)
        self._standing: Standing[T] = Standing(self._local, self._outbound, isolation)
        self._correspondence: Correspondence[T] = Correspondence(
            self._local, self._outbound, self._standing
        )
        rooms = (self._local, self._outbound, self._standing, isolation, self._correspondence)
        self._inbound: Inbound[T] = Inbound(*rooms)
        self._firing: Firing[T] = Firing(*rooms)

    # -- what it knows ----------------------------------------------------------------------------

    @property
    def identity(self) -> T:
        """Who it is now; the engine may have renewed it (`Rejoin`)."""
        return self._local.identity

    @property
    def incarnation(self) -> int:
        """How often this identity has refuted."""
        return self._local.incarnation

    @property
    def connection(self) -> Connection:
        """Where it stands."""
        return self._local.connection

    @property
    def config(self) -> Config:
        """The present settings."""
        return self._local.config

    @property
    def repairs(self) -> frozenset[Repair]:
        """What it does better than the crate."""
        return self._local.repairs

    @property
    def num_members(self) -> int:
        """How many active members it knows; itself is not counted."""
        return self._local.members.num_active

    def members(self) -> list[Member[T]]:
        """The active members that it knows, in no order."""
        return [member for member in self._local.members if member.active]

    def membership_state(self) -> list[Member[T]]:
        """All that it remembers, those that are down too; what `apply_many` takes elsewhere."""
        return list(self._local.members)

    @property
    def updates_backlog(self) -> int:
        """How many updates are still to be told."""
        return len(self._local.updates)

    @property
    def broadcast_backlog(self) -> int:
        """How many items of the application are still to be told."""
        return len(self._local.items)

    # -- what comes in ----------------------------------------------------------------------------

    def handle_data(self, data: bytes, runtime: Runtime[T]) -> None:
        """Take one datagram in. It may be any bytes.

        Raises:
            DataTooBig: It is longer than ``max_packet_size``. Nothing was changed.
            MalformedPacket: It is no packet. Nothing was changed.
            DataFromOurselves: Its sender has one's own address. Nothing was changed.
            IndirectForOurselves: It asks to reach oneself. Its updates were applied.
            DecodeFailed: Its items are broken. All before them had its effect.
            BroadcastFailed: The handler refused an item. All but that had its effect.
            EncodeFailed: An answer has no form on the wire.
            InvalidArgument: The runtime does not know the time. Nothing was done.
        """
        self._local.check(runtime)
        self._inbound.handle_data(data if type(data) is bytes else bytes(data), runtime)

    def handle_timer(self, timer: Timer[T], runtime: Runtime[T]) -> None:
        """Take a timer back that was submitted to a runtime.

        Raises:
            NotConnected: A probe fell due, and nobody is known any more. Nothing was done.
            IncompleteProbeCycle: The timers of the last probe were not all fired. The next probe
                was begun all the same.
            EncodeFailed: A message has no form on the wire.
            InvalidArgument: The runtime does not know the time. Nothing was done.
        """
        self._local.check(runtime)
        self._firing.handle_timer(timer, runtime)

    def apply_many(
        self, members: Iterable[Member[T]], runtime: Runtime[T], *, broadcast: bool = True
    ) -> None:
        """Take in what is known from elsewhere, such as a saved list.

        Args:
            members: What to take in.
            runtime: Whom to tell what follows from it.
            broadcast: Whether to pass it on to others.

        Raises:
            EncodeFailed: A member has no form on the wire.
            InvalidArgument: The runtime does not know the time. Nothing was done.
        """
        self._local.check(runtime)
        members = list(members)
        self._standing.apply_many(members, runtime, broadcast=broadcast)
        if Repair.RESUME_SUSPICION in self._local.repairs:
            for member in members:
                if member.state is State.SUSPECT:
                    self._firing.resume_suspicion(member, runtime)

    # -- what the application wants ---------------------------------------------------------------

    def announce(self, dst: T, runtime: Runtime[T]) -> None:
        """Ask a member to be let in. Its generation need not be known, only its address.

        Raises:
            EncodeFailed: The identity has no form on the wire.
        """
        self._outbound.announce(dst, runtime)

    def gossip(self, runtime: Runtime[T]) -> None:
        """Tell some random members now what is to be told.

        Raises:
            EncodeFailed: An identity has no form on the wire.
        """
        self._outbound.gossip(self._local.config.num_indirect_probes, runtime)

    def broadcast(self, runtime: Runtime[T]) -> None:
        """Send the application's items now to some random members that may have them.

        Raises:
            EncodeFailed: An identity has no form on the wire.
        """
        self._outbound.broadcast(runtime)

    def add_broadcast(self, data: bytes) -> bool:
        """Have an item passed on with the packets to come, if the handler finds it new.

        Returns:
            False if the handler does not want it passed on.

        Raises:
            MalformedPacket: It is empty.
            DataTooBig: It is longer than a packet.
            InvalidArgument: It begins like an item of the engine's own (`notes`).
            BroadcastFailed: The handler refused it.
        """
        local = self._local
        if not data:
            raise MalformedPacket("an item cannot be empty")
        limit = local.config.max_packet_size
        if Repair.REFUSE_WHAT_NEVER_FITS in local.repairs:
            limit = self._outbound.room()
        if len(data) > limit:
            raise DataTooBig(
                f"an item of {len(data)} bytes is longer than a packet",
                hint=f"stay well below {limit} bytes: a header goes with it",
            )
        data = bytes(data)
        if local.wire and notes.is_note(data):
            raise InvalidArgument(
                f"an item of the application cannot begin with {notes.MAGIC!r}",
                hint="engines talk to each other by such items",
            )
        try:
            key = local.handler.receive_item(data, None)
        except BroadcastFailed:
            raise
        except Exception as error:
            raise BroadcastFailed(f"the item was refused: {error}") from error
        if key is None:
            return False
        local.items.add(key, data, local.transmissions())
        return True

    def change_identity(self, identity: T, runtime: Runtime[T]) -> None:
        """Go on as another; `Active` follows once somebody knows the new identity.

        Raises:
            SameIdentity: It is the present one; nothing was done.
            EncodeFailed: An identity has no form on the wire.
        """
        self._standing.change_identity(identity, runtime)

    def reuse_down_identity(self) -> None:
        """Go on with the identity that was declared down, and forget that it was.

        The others have not forgotten, before their ``remove_down_after_ns`` is over.

        Raises:
            NotUndead: It was not declared down; nothing was done.
        """
        self._standing.reuse_down_identity()

    def leave_cluster(self, runtime: Runtime[T]) -> None:
        """Tell the others that one is gone. `change_identity` and an announce lead back.

        Raises:
            EncodeFailed: An identity has no form on the wire.
        """
        self._standing.leave_cluster(runtime)

    def set_config(self, config: Config) -> None:
        """Go on with other settings, as far as that is possible while running.

        Raises:
            InvalidConfig: One of them cannot change (`Config.check_change`); nothing was done.
        """
        local = self._local
        local.config.check_change(config)
        local.config = config
        if Repair.REFUSE_WHAT_NEVER_FITS in local.repairs:
            local.updates.discard_longer(self._outbound.room())
            local.items.discard_longer(self._outbound.room())

    def announce_sleep(self, runtime: Runtime[T], *, at_most_ns: int = 3_600_000_000_000) -> None:
        """Say that this machine goes to sleep: kin do not suspect it until it is back.

        Members of the crate do not understand it. Without `Repair.SLEEP` nothing is done.

        Args:
            runtime: What sends it.
            at_most_ns: After so many nanoseconds it is a member like any other, asleep or not; no
                member waits for longer than a day.

        Raises:
            InvalidArgument: `at_most_ns` is not positive, or the runtime does not know the time.
            EncodeFailed: The identity has no form on the wire.
        """
        if at_most_ns <= 0:
            raise InvalidArgument(f"at_most_ns={at_most_ns}", hint="use a positive int")
        if Repair.SLEEP in self._local.repairs:
            self._local.check(runtime)
            self._correspondence.announce_sleep(at_most_ns, runtime)

    def resumed(self, runtime: Runtime[T]) -> None:
        """Say that this machine has slept, and is back: one round trip, and nobody suspects it.

        It is harmless where it has not slept. Without `Repair.SLEEP` nothing is done.

        Args:
            runtime: What sends it.

        Raises:
            InvalidArgument: The runtime does not know the time. Nothing was done.
            EncodeFailed: The identity has no form on the wire.
        """
        if Repair.SLEEP in self._local.repairs:
            self._local.check(runtime)
            self._correspondence.resumed(runtime)
