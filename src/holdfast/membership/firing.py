"""What happens when a timer fires.

The way of a probe::

    t          ProbeRandomMember     judge the last probe; Ping the next member
    t + rtt    SendIndirectProbe     no Ack yet: PingReq to some others
                                     they send IndirectPing, get IndirectAck, send ForwardedAck
    t + period ProbeRandomMember     still nothing: the member is a suspect
    … + suspect_to_down_after        ChangeSuspectToDown: it has not refuted, so it is down
    … + remove_down_after            RemoveDown: forgotten

Every timer but `RemoveDown` has a token; with one that is not the present one it has no effect.

How the repairs change it: a slow member takes longer for each step (`health`), one that was stopped
gives no verdict (`stall`), the time to refute depends on who else suspects (`suspicion`), and whom
to leave alone `sleep` says.

Source: the specification of the crate's behaviour, 5.3 and 5.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from holdfast.errors import IncompleteProbeCycle, NotConnected
from holdfast.membership.identity import T
from holdfast.membership.local import Connection, Local
from holdfast.membership.member import Member, State
from holdfast.membership.messages import Ping, PingReq, TurnUndead
from holdfast.membership.repairs import Repair
from holdfast.membership.stall import POSTPONED_MAX, SLACK_PART, StallWatch
from holdfast.membership.suspicion import WANTED
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

if TYPE_CHECKING:
    from holdfast.membership.correspondence import Correspondence
    from holdfast.membership.isolation import Isolation
    from holdfast.membership.outbound import Outbound
    from holdfast.membership.runtime import Runtime
    from holdfast.membership.standing import Standing

__all__ = ["Firing"]

_TURN_UNDEAD = TurnUndead()


class Firing(Generic[T]):
    """Acts on timers."""

    __slots__ = (
        "_confirmed",
        "_correspondence",
        "_isolation",
        "_local",
        "_outbound",
        "_stalls",
        "_standing",
        "_watch",
    )

    def __init__(
        self,
        local: Local[T],
        outbound: Outbound[T],
        standing: Standing[T],
        isolation: Isolation[T],
        correspondence: Correspondence[T],
    ) -> None:
        self._local = local
        self._outbound = outbound
        self._standing = standing
        self._isolation = isolation
        self._correspondence = correspondence
        self._watch = StallWatch()
        self._stalls = Repair.STALL_DETECTION in local.repairs
        self._confirmed = Repair.SUSPICION_CONFIRMATION in local.repairs

    def handle_timer(self, timer: Timer[T], runtime: Runtime[T]) -> None:
        """Act on one timer; `Membership.handle_timer` says what it raises."""
        if isinstance(timer, RemoveDown):
            self._forget(timer, runtime)
        elif timer.token != self._local.token:
            return
        elif isinstance(timer, ProbeRandomMember):
            self._probe(runtime)
        elif isinstance(timer, SendIndirectProbe):
            self._probe_indirectly(timer.member, runtime)
        elif isinstance(timer, ChangeSuspectToDown):
            self._end_suspicion(timer, runtime)
        elif isinstance(timer, CallAgain):
            self._isolation.call(timer, runtime)
        elif self._local.connection is Connection.CONNECTED:
            self._repeat(timer, runtime)

    # -- the probe --------------------------------------------------------------------------------

    def _probe(self, runtime: Runtime[T]) -> None:
        local = self._local
        if local.connection is not Connection.CONNECTED:
            raise NotConnected("a probe fell due, and nobody is known any more")
        probe = local.probe
        incomplete = probe.incomplete
        if self._is_late(ProbeRandomMember, runtime):
            local.health.worse()
        if self._watch.ends() or incomplete:
            probe.clear()
        else:
            self._judge(runtime)
        target = self._next_target(runtime)
        rtt_ns = local.health.scaled(local.config.probe_rtt_ns)
        period_ns = local.health.scaled(local.config.probe_period_ns)
        if target is None:
            probe.clear()
        else:
            number = probe.begin(target)
            self._outbound.send(target.identity, Ping(number), runtime)
            runtime.submit_after(SendIndirectProbe(target.identity, local.token), rtt_ns)
            self._expect(SendIndirectProbe, rtt_ns, runtime)
        runtime.submit_after(ProbeRandomMember(local.token), period_ns)
        self._expect(ProbeRandomMember, period_ns, runtime)
        if incomplete:
            raise IncompleteProbeCycle(
                "a probe began before the indirect half of the last one",
                hint="fire timers that are due together in the order of their priority",
            )

    def _judge(self, runtime: Runtime[T]) -> None:
        """Suspect the last target if it has not answered."""
        local = self._local
        if local.probe.target is not None and local.probe.succeeded:
            local.health.better()
        failed = local.probe.take_failed()
        if failed is None or self._asleep(failed.identity, runtime):
            return
        known = local.members.get(failed.identity.addr)
        if known is not None and known.state is State.ALIVE and known.identity == failed.identity:
            local.health.worse()
        suspicion = Member(failed.identity, failed.incarnation, State.SUSPECT)
        summary = local.members.apply_existing(suspicion)
        if summary is None:
            return
        self._standing.after(summary, suspicion, runtime)
        if summary.active:
            self._begin_suspicion(suspicion, runtime)
            if self._confirmed and local.suspicions.get(failed.identity, failed.incarnation):
                self._correspondence.accuse(suspicion)

    def _next_target(self, runtime: Runtime[T]) -> Member[T] | None:
        local = self._local
        target = local.members.next_to_probe()
        if local.sleepers:
            for _ in range(local.members.num_active):
                if target is None or not self._asleep(target.identity, runtime):
                    return target
                target = local.members.next_to_probe()
            return None
        return target

    def _asleep(self, identity: T, runtime: Runtime[T]) -> bool:
        local = self._local
        return identity in local.sleepers and local.sleepers.asleep(identity, local.now_ns(runtime))

    def _slack_ns(self) -> int:
        return self._local.health.scaled(self._local.config.probe_rtt_ns) // SLACK_PART

    def _expect(self, kind: type, delay_ns: int, runtime: Runtime[T]) -> None:
        if self._stalls:
            local = self._local
            self._watch.expect(kind, local.token, local.now_ns(runtime) + delay_ns)

    def _is_late(self, kind: type, runtime: Runtime[T]) -> bool:
        if not self._stalls:
            return False
        local = self._local
        return self._watch.fires(kind, local.token, local.now_ns(runtime), self._slack_ns())

    def _probe_indirectly(self, member: T, runtime: Runtime[T]) -> None:
        local, probe = self._local, self._local.probe
        self._is_late(SendIndirectProbe, runtime)
        probe.indirect = True
        target = probe.target
        if target is None or target.identity != member or probe.succeeded:
            return
        if not local.members.is_active(member):
            return
        helpers = local.members.sample_active(
            local.config.num_indirect_probes,
            lambda other: other != member and other not in local.sleepers,
        )
        for helper in helpers:
            probe.expect_helper(helper.identity)
            self._outbound.send(helper.identity, PingReq(member, probe.number), runtime)

    # -- a suspicion ------------------------------------------------------------------------------

    def resume_suspicion(self, suspicion: Member[T], runtime: Runtime[T]) -> None:
        """A suspect that comes from elsewhere has its time from now on (`RESUME_SUSPICION`)."""
        if self._local.members.get(suspicion.identity.addr) == suspicion:
            self._begin_suspicion(suspicion, runtime)

    def _begin_suspicion(self, suspicion: Member[T], runtime: Runtime[T]) -> None:
        local = self._local
        identity, incarnation, _state = suspicion
        delay_ns = local.config.suspect_to_down_after_ns
        if self._confirmed or self._stalls:
            known = local.members.get(identity.addr)
            if known is None or known.identity != identity or known.incarnation > incarnation:
                return  # it has shown itself since the probe began
            running = local.suspicions.of(identity, incarnation)
            if running.mine:
                return
            now_ns = local.now_ns(runtime)
            enough = self._confirmed and local.kin.active_besides(identity) >= WANTED
            running.begin(now_ns, delay_ns, WANTED if enough else 0)
            delay_ns = max(0, running.deadline_ns() - now_ns)
        # In the crate also where it was a suspect before: of several timers, the first decides.
        runtime.submit_after(ChangeSuspectToDown(identity, incarnation, local.token), delay_ns)

    def _end_suspicion(self, timer: ChangeSuspectToDown[T], runtime: Runtime[T]) -> None:
        """Declare the suspect down, if its time is really over."""
        local = self._local
        if self._confirmed or self._stalls:
            running = local.suspicions.get(timer.member, timer.incarnation)
            if running is None or not running.mine:
                return
            now_ns = local.now_ns(runtime)
            early_ns = running.deadline_ns() - now_ns
            if early_ns > self._slack_ns():
                return  # there is a later timer
            if early_ns > 0:
                runtime.submit_after(timer, early_ns)
                return
            late = -early_ns > self._slack_ns() and running.postponed < POSTPONED_MAX
            if self._stalls and late:
                local.health.worse()
                running.postpone(now_ns + local.config.probe_rtt_ns)
                runtime.submit_after(timer, local.config.probe_rtt_ns)
                return
            local.suspicions.end(timer.member)
        if not self._asleep(timer.member, runtime):
            self._declare_down(timer, runtime)

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
        if Repair.ACCUSE_ONLY_THE_DOWN in local.repairs:
            known = local.members.get(timer.member.addr)
            if known is None or known.active or known.identity != timer.member:
                return
        # The crate says so to who has refuted, too (its fault 1).
        if local.config.notify_down_members:
            self._outbound.send(timer.member, _TURN_UNDEAD, runtime)

    def _forget(self, timer: RemoveDown[T], runtime: Runtime[T]) -> None:
        if self._isolation.lasts:  # whoever is forgotten is not called any more
            runtime.submit_after(timer, self._local.config.remove_down_after_ns)
        else:
            self._local.members.remove_if_down(timer.member)

    # -- what repeats -----------------------------------------------------------------------------

    def _repeat(
        self,
        timer: PeriodicAnnounce | PeriodicAnnounceDown | PeriodicGossip | PeriodicExchange,
        runtime: Runtime[T],
    ) -> None:
        if isinstance(timer, PeriodicExchange):
            self._correspondence.exchange(timer, runtime)
            return
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
        if isinstance(timer, PeriodicGossip) and not (local.updates or local.items or local.notes):
            return
        act(periodic.num_members, runtime)
