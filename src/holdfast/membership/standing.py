"""Where this member stands in the cluster, and what an update does to that.

::

                     first active member
    DISCONNECTED ───────────────────────────▶ CONNECTED
        ▲   ▲  ◀───────────────────────────     │
        │   │        last active member gone     │
        │   └───── renewed identity ◀────────────┤ declared down
        │                                        ▼
        └── change_identity, reuse ─────────── UNDEAD

Becoming connected starts the timers, in this order: probe, announce, announce to the down, gossip.
Leaving CONNECTED, or changing the identity, raises the token, so that they have no meaning.

The effects of one update come in one order: it is queued for others, then (if the member is not
active now) the timer that forgets it, then `Rename`, then `MemberUp` or `MemberDown`.

Source: the specification of the crate's behaviour, 1.3, 5.1 and 5.5 to 5.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from holdfast.errors import NotUndead, SameIdentity
from holdfast.membership import anti_entropy
from holdfast.membership.identity import T
from holdfast.membership.local import Connection, Local
from holdfast.membership.member import INCARNATION_MAX, Conflict, Member, State, Summary
from holdfast.membership.notifications import (
    Active,
    Defunct,
    Idle,
    MemberDown,
    MemberUp,
    Rejoin,
    Rename,
)
from holdfast.membership.repairs import Repair
from holdfast.membership.timers import (
    PeriodicAnnounce,
    PeriodicAnnounceDown,
    PeriodicExchange,
    PeriodicGossip,
    ProbeRandomMember,
    RemoveDown,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.membership.isolation import Isolation
    from holdfast.membership.outbound import Outbound
    from holdfast.membership.runtime import Runtime

__all__ = ["Standing"]


class Standing(Generic[T]):
    """Applies updates, to the list of members and to oneself."""

    __slots__ = ("_isolation", "_local", "_outbound", "_refuses")

    def __init__(self, local: Local[T], outbound: Outbound[T], isolation: Isolation[T]) -> None:
        self._local = local
        self._outbound = outbound
        self._isolation = isolation
        self._refuses = Repair.REFUSE_WHAT_NEVER_FITS in local.repairs

    # -- updates ----------------------------------------------------------------------------------

    def apply_many(
        self, updates: Iterable[Member[T]], runtime: Runtime[T], *, broadcast: bool
    ) -> None:
        """Apply updates, one after the other, and see whether anybody active is left."""
        for update in updates:
            self.apply(update, runtime, broadcast=broadcast)
        self.adjust_connection(runtime)

    def apply(
        self,
        update: Member[T],
        runtime: Runtime[T],
        *,
        broadcast: bool = True,
        encoded: bytes | None = None,
    ) -> Summary[T] | None:
        """Apply one update: it may be about oneself, about one's past, or about another member.

        Returns:
            What the list made of it; None if it was not about another member.
        """
        local = self._local
        identity = update.identity
        addr = identity.addr
        if addr == local.addr:
            if identity == local.identity:
                self._hear_of_oneself(update, runtime)
            elif Repair.NO_RECORD_OF_ONESELF in local.repairs:
                if broadcast and update.state is not State.DOWN:
                    self._outbound.tell_down(identity)
            else:
                # Somebody remembers who was here before: whatever he says, that one is no more.
                past = Member(identity, 0, State.DOWN)
                self.after(local.members.apply(past, addr), past, runtime, broadcast=broadcast)
            return None
        summary = local.members.apply(update, addr)
        if summary.applied:
            self.after(summary, update, runtime, broadcast=broadcast, encoded=encoded)
        return summary

    def after(
        self,
        summary: Summary[T],
        update: Member[T],
        runtime: Runtime[T],
        *,
        broadcast: bool = True,
        encoded: bytes | None = None,
    ) -> None:
        """What follows from an update that the list has taken in."""
        if not summary.applied:
            return
        identity = update.identity
        if broadcast:
            local = self._local
            if encoded is None:
                encoded = local.codec.encode_member(update)
            if not self._refuses or len(encoded) <= self._outbound.room():
                local.updates.add(identity.addr, encoded, local.transmissions())
        if self._local.sleepers:
            self._awake(update, summary)
        if not summary.active:
            runtime.submit_after(RemoveDown(identity), self._local.config.remove_down_after_ns)
        if summary.conflict is Conflict.REPLACED:
            assert summary.replaced is not None
            runtime.notify(Rename(summary.replaced, identity))
        if summary.turned:
            runtime.notify(MemberUp(identity) if summary.active else MemberDown(identity))

    def _awake(self, update: Member[T], summary: Summary[T]) -> None:
        """Whoever is alive at a higher incarnation sleeps no more, and who is down neither."""
        sleepers = self._local.sleepers
        if update.state is State.DOWN:
            sleepers.forget(update.identity)
        else:
            sleepers.heard(update.identity, update.incarnation)
        if summary.replaced is not None:
            sleepers.forget(summary.replaced)

    def adjust_connection(self, runtime: Runtime[T]) -> None:
        """Connect with the first active member, disconnect with the last."""
        local = self._local
        if local.connection is Connection.DISCONNECTED:
            if local.members.num_active:
                self._connect(runtime)
            else:
                self._isolation.begins(runtime)
        elif local.connection is Connection.CONNECTED and not local.members.num_active:
            local.connection = Connection.DISCONNECTED
            local.next_token()
            local.probe.clear()
            runtime.notify(Idle())
            self._isolation.begins(runtime)

    def _connect(self, runtime: Runtime[T]) -> None:
        local, config = self._local, self._local.config
        local.connection = Connection.CONNECTED
        token = local.token
        runtime.submit_after(ProbeRandomMember(token), config.probe_period_ns)
        if config.periodic_announce is not None:
            runtime.submit_after(PeriodicAnnounce(token), config.periodic_announce.period_ns)
        if config.periodic_announce_to_down_members is not None:
            runtime.submit_after(
                PeriodicAnnounceDown(token), config.periodic_announce_to_down_members.period_ns
            )
        if config.periodic_gossip is not None:
            runtime.submit_after(PeriodicGossip(token), config.periodic_gossip.period_ns)
        if Repair.ANTI_ENTROPY in local.repairs:
            runtime.submit_after(
                PeriodicExchange(token), anti_entropy.PERIODS * config.probe_period_ns
            )
        runtime.notify(Active())

    # -- about oneself ----------------------------------------------------------------------------

    def _hear_of_oneself(self, update: Member[T], runtime: Runtime[T]) -> None:
        if update.state is State.SUSPECT:
            self._refute(update.incarnation, runtime)
        elif update.state is State.DOWN:
            self.hear_of_own_end(runtime)

    def _refute(self, incarnation: int, runtime: Runtime[T]) -> None:
        # The refutation is one's incarnation, which every packet carries: the gossip only makes
        # sure that there are packets, also where the suspicion was an old one.
        local = self._local
        if incarnation >= local.incarnation:
            local.health.worse()
        if self.raise_incarnation(incarnation, runtime):
            self._outbound.gossip(local.config.num_indirect_probes, runtime)

    def raise_incarnation(self, incarnation: int, runtime: Runtime[T]) -> bool:
        """Have an incarnation above that one. Returns False if there is none: this is the end."""
        local = self._local
        highest = max(incarnation, local.incarnation)
        if highest == INCARNATION_MAX:
            self.hear_of_own_end(runtime)  # there is no higher incarnation to refute with
            return False
        if incarnation >= local.incarnation:
            local.incarnation = highest + 1
        return True

    def hear_of_own_end(self, runtime: Runtime[T]) -> None:
        """The present identity is down: come back under a new one, or be undead."""
        present = self._local.identity
        renewed = present.renew()
        if renewed is not None and renewed != present and renewed.win_addr_conflict(present):
            self._go_on_as(renewed, runtime)
            runtime.notify(Rejoin(renewed))
            self._start_again(runtime)
        else:
            self._become_undead(runtime)

    def _become_undead(self, runtime: Runtime[T]) -> None:
        local = self._local
        local.connection = Connection.UNDEAD
        local.probe.clear()
        local.next_token()
        runtime.notify(Defunct())

    def change_identity(self, identity: T, runtime: Runtime[T]) -> None:
        """Go on as another, and tell that the old identity is down.

        Raises:
            SameIdentity: It is the present one; nothing was done.
        """
        local = self._local
        if identity == local.identity:
            raise SameIdentity(
                "the new identity is the present one", on=str(identity), hint="renew() makes one"
            )
        self._go_on_as(identity, runtime)
        self._start_again(runtime)

    def _start_again(self, runtime: Runtime[T]) -> None:
        """Start the timers, where the crate waits for a packet; or call, if nobody is left."""
        if Repair.TIMERS_AFTER_RENEWAL in self._local.repairs:
            self.adjust_connection(runtime)
        else:
            self._isolation.begins(runtime)

    def _go_on_as(self, identity: T, runtime: Runtime[T]) -> None:
        local = self._local
        old, was_undead = local.identity, local.connection is Connection.UNDEAD
        local.become(identity)
        self._reset()
        if not was_undead:  # if it was, everybody knows
            self._outbound.tell_down(old)
        self._outbound.gossip(local.config.num_indirect_probes, runtime)

    def reuse_down_identity(self) -> None:
        """Go on with the identity that was declared down.

        Raises:
            NotUndead: It was not; nothing was done.
        """
        if self._local.connection is not Connection.UNDEAD:
            raise NotUndead("the present identity is not down", on=str(self._local.identity))
        self._reset()

    def _reset(self) -> None:
        local = self._local
        local.connection = Connection.DISCONNECTED
        local.incarnation = 0
        local.next_token()
        local.probe.clear()

    def leave_cluster(self, runtime: Runtime[T]) -> None:
        """Tell that one is down, and be undead."""
        local = self._local
        self._outbound.tell_down(local.identity)
        self._outbound.gossip(local.config.num_indirect_probes, runtime)
        self._become_undead(runtime)
