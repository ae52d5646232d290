"""What happens when a timer fires.

The way of a probe::

    t          ProbeRandomMember     judge the last probe; Ping the next member
    t + rtt    SendIndirectProbe     no Ack yet: PingReq to some others
                                     they send IndirectPing, get IndirectAck, send ForwardedAck
    t + period ProbeRandomMember     still nothing: the member is a suspect
    … + suspect_to_down_after        ChangeSuspectToDown: it has not refuted, so it is down
    … + remove_down_after            RemoveDown: forgotten

Every timer but `RemoveDown` has a token; with one that is not the present one it has no effect.

Source: the specification of the crate's behaviour, 5.3 and 5.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from holdfast.errors import IncompleteProbeCycle, NotConnected
from holdfast.membership.identity import T
from holdfast.membership.local import Connection, Local
from holdfast.membership.member import Member, State
from holdfast.membership.messages import Ping, PingReq, TurnUndead
from holdfast.membership.timers import (
    ChangeSuspectToDown,
    PeriodicAnnounce,
    PeriodicAnnounceDown,
    PeriodicGossip,
    ProbeRandomMember,
    RemoveDown,
    SendIndirectProbe,
    Timer,
)

if TYPE_CHECKING:
    from holdfast.membership.outbound import Outbound
    from holdfast.membership.runtime import Runtime
    from holdfast.membership.standing import Standing

__all__ = ["Firing"]

_TURN_UNDEAD = TurnUndead()


class Firing(Generic[T]):
    """Acts on timers."""

    __slots__ = ("_local", "_outbound", "_standing")

    def __init__(self, local: Local[T], outbound: Outbound[T], standing: Standing[T]) -> None:
        self._local = local
        self._outbound = outbound
        self._standing = standing

    def handle_timer(self, timer: Timer[T], runtime: Runtime[T]) -> None:
        """Act on one timer; `Membership.handle_timer` says what it raises."""
        if isinstance(timer, RemoveDown):
            self._local.members.remove_if_down(timer.member)
        elif timer.token != self._local.token:
            return
        elif isinstance(timer, ProbeRandomMember):
            self._probe(runtime)
        elif isinstance(timer, SendIndirectProbe):
            self._probe_indirectly(timer.member, runtime)
        elif isinstance(timer, ChangeSuspectToDown):
            self._declare_down(timer, runtime)
        elif self._local.connection is Connection.CONNECTED:
            self._repeat(timer, runtime)

    # -- the probe --------------------------------------------------------------------------------

    def _probe(self, runtime: Runtime[T]) -> None:
        local = self._local
        if local.connection is not Connection.CONNECTED:
            raise NotConnected("a probe fell due, and nobody is known any more")
        probe = local.probe
        incomplete = probe.incomplete
        if incomplete:
            probe.clear()
        else:
            self._judge(runtime)
        target = local.members.next_to_probe()
        if target is None:
            probe.clear()
        else:
            number = probe.begin(target)
            self._outbound.send(target.identity, Ping(number), runtime)
            runtime.submit_after(
                SendIndirectProbe(target.identity, local.token), local.config.probe_rtt_ns
            )
        runtime.submit_after(ProbeRandomMember(local.token), local.config.probe_period_ns)
        if incomplete:
            raise IncompleteProbeCycle(
                "a probe began before the indirect half of the last one",
                hint="fire timers that are due together in the order of their priority",
            )

    def _judge(self, runtime: Runtime[T]) -> None:
        """Suspect the last target if it has not answered."""
        local = self._local
        failed = local.probe.take_failed()
        if failed is None:
            return
        suspicion = Member(failed.identity, failed.incarnation, State.SUSPECT)
        summary = local.members.apply_existing(suspicion)
        if summary is None:
            return
        self._standing.after(summary, suspicion, runtime)
        # Also where it was a suspect before: then there are several timers, and the first decides.
        if summary.active:
            runtime.submit_after(
                ChangeSuspectToDown(failed.identity, failed.incarnation, local.token),
                local.config.suspect_to_down_after_ns,
            )

    def _probe_indirectly(self, member: T, runtime: Runtime[T]) -> None:
        local, probe = self._local, self._local.probe
        probe.indirect = True
        target = probe.target
        if target is None or target.identity != member or probe.succeeded:
            return
        if not local.members.is_active(member):
            return
        helpers = local.members.sample_active(
            local.config.num_indirect_probes, lambda other: other != member
        )
        for helper in helpers:
            probe.expect_helper(helper.identity)
            self._outbound.send(helper.identity, PingReq(member, probe.number), runtime)

    # -- the end of a suspicion -------------------------------------------------------------------

    def _declare_down(self, timer: ChangeSuspectToDown[T], runtime: Runtime[T]) -> None:
        local = self._local
        verdict = Member(timer.member, timer.incarnation, State.DOWN)
        summary = local.members.apply_existing(
            verdict, lambda known: known.incarnation == timer.incarnation
        )
        if summary is None:
            return
        self._standing.after(summary, verdict, runtime)
        self._standing.adjust_connection(runtime)
        # The crate says so to who has refuted, too (its fault 1).
        if local.config.notify_down_members:
            self._outbound.send(timer.member, _TURN_UNDEAD, runtime)

    # -- what repeats -----------------------------------------------------------------------------

    def _repeat(
        self,
        timer: PeriodicAnnounce | PeriodicAnnounceDown | PeriodicGossip,
        runtime: Runtime[T],
    ) -> None:
        local, config = self._local, self._local.config
        if isinstance(timer, PeriodicAnnounce):
            periodic, act = config.periodic_announce, self._outbound.announce_to_active
        elif isinstance(timer, PeriodicAnnounceDown):
            periodic = config.periodic_announce_to_down_members
            act = self._outbound.announce_to_down
        else:
            periodic, act = config.periodic_gossip, self._outbound.gossip
        if periodic is None:  # it was switched off
            return
        runtime.submit_after(timer, periodic.period_ns)
        if isinstance(timer, PeriodicGossip) and not (local.updates or local.items):
            return
        act(periodic.num_members, runtime)
