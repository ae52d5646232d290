"""What kin say to each other: accusations, sleep, and what their lists look like.

::

    a probe has failed      accuse          ─▶ ACCUSE, passed on   shortens others' suspicions
    before the machine sleeps  announce_sleep ─▶ SLEEP, passed on  nobody suspects it
    after it has slept      resumed         ─▶ a higher incarnation, at once
    every ten periods       exchange        ─▶ DIGEST, to one      STATE, where lists differ

What is passed on goes with the packets of the protocol, to kin only (`kin`), as often as an update
does; what is for one member goes in a packet of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from holdfast.errors import MalformedPacket
from holdfast.membership import notes
from holdfast.membership.anti_entropy import PERIODS, Comparison, is_news
from holdfast.membership.identity import T
from holdfast.membership.local import Connection, Local
from holdfast.membership.member import Member, State
from holdfast.membership.repairs import Repair
from holdfast.membership.suspicion import WANTED
from holdfast.membership.timers import ChangeSuspectToDown, PeriodicExchange

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.membership.outbound import Outbound
    from holdfast.membership.runtime import Runtime
    from holdfast.membership.standing import Standing

__all__ = ["Correspondence"]

_SECOND_NS = 1_000_000_000
# How many kin hear of a sleep, or of its end, at once and directly; all others from them.
_TOLD_AT_ONCE = 16
# Of how many accusers news is passed on; more would shorten no suspicion.
_ACCUSERS_MAX = WANTED + 1


class Correspondence(Generic[T]):
    """Takes notes in, passes them on, and writes them."""

    __slots__ = ("_comparison", "_local", "_outbound", "_readers", "_standing")

    def __init__(self, local: Local[T], outbound: Outbound[T], standing: Standing[T]) -> None:
        self._local = local
        self._outbound = outbound
        self._standing = standing
        self._comparison: Comparison[T] = Comparison(local.codec, local.members)
        readers: dict[int, tuple[Repair, Callable[[bytes, T, Runtime[T]], None]]] = {
            notes.Kind.ACCUSE: (Repair.SUSPICION_CONFIRMATION, self._on_accuse),
            notes.Kind.SLEEP: (Repair.SLEEP, self._on_sleep),
            notes.Kind.DIGEST: (Repair.ANTI_ENTROPY, self._on_digest),
            notes.Kind.STATE: (Repair.ANTI_ENTROPY, self._on_state),
        }
        self._readers = {
            kind: on for kind, (mends, on) in readers.items() if mends in local.repairs
        }

    def receive(self, item: bytes, src: T, runtime: Runtime[T]) -> None:
        """Take one note in.

        Raises:
            MalformedPacket: It cannot be read; it had no effect.
        """
        self._local.kin.add(src)
        if len(item) <= len(notes.MAGIC):
            raise MalformedPacket("a note without a kind", on=str(src))
        reader = self._readers.get(item[len(notes.MAGIC)])
        if reader is not None:
            reader(item, src, runtime)

    # -- accusations ------------------------------------------------------------------------------

    def accuse(self, suspect: Member[T]) -> None:
        """One's own probe of `suspect` has failed: have it passed on that this is so."""
        local = self._local
        if Repair.SUSPICION_CONFIRMATION in local.repairs:
            item = notes.accuse(local.codec, suspect, local.me())
            self._pass_on((notes.Kind.ACCUSE, suspect.identity.addr, local.addr), item)

    def _on_accuse(self, item: bytes, _src: T, runtime: Runtime[T]) -> None:
        local = self._local
        suspect, accuser = notes.read_accuse(local.codec, item)
        if suspect.state is not State.SUSPECT:
            raise MalformedPacket("an accusation of somebody who is no suspect")
        if accuser.identity.addr == local.addr:
            return
        if suspect.identity.addr == local.addr:
            if suspect.identity == local.identity and suspect.incarnation >= local.incarnation:
                self._standing.apply(suspect, runtime)
            return
        known = local.members.get(suspect.identity.addr)
        if (
            known is None
            or known.identity != suspect.identity
            or known.state is State.DOWN
            or known.incarnation > suspect.incarnation
        ):
            return
        self._tidy()
        suspicion = local.suspicions.of(suspect.identity, suspect.incarnation)
        if accuser.identity in suspicion.accusers or len(suspicion.accusers) >= _ACCUSERS_MAX:
            return
        suspicion.accusers.add(accuser.identity)
        local.kin.add(accuser.identity)
        key = (notes.Kind.ACCUSE, suspect.identity.addr, accuser.identity.addr)
        self._pass_on(key, item)
        if suspicion.mine:
            timer = ChangeSuspectToDown(suspect.identity, suspect.incarnation, local.token)
            delay_ns = max(0, suspicion.deadline_ns() - local.now_ns(runtime))
            runtime.submit_after(timer, delay_ns)

    def _tidy(self) -> None:
        local = self._local
        if len(local.suspicions) > local.members.num_active:
            members = local.members

            def still(who: T, incarnation: int) -> bool:
                known = members.get(who.addr)
                return known == Member(who, incarnation, State.SUSPECT)

            local.suspicions.keep(still)

    # -- sleep ------------------------------------------------------------------------------------

    def announce_sleep(self, at_most_ns: int, runtime: Runtime[T]) -> None:
        """Say that this machine goes to sleep, for so long at most."""
        local = self._local
        if local.connection is not Connection.CONNECTED:
            return
        seconds = min(max(1, -(-at_most_ns // _SECOND_NS)), 0xFFFFFFFF)
        item = notes.sleep(local.codec, local.me(), seconds)
        self._pass_on((notes.Kind.SLEEP, local.addr), item)
        for kin in local.kin.sample(_TOLD_AT_ONCE, local.rng):
            self._outbound.send_note(kin, item, runtime)

    def _on_sleep(self, item: bytes, _src: T, runtime: Runtime[T]) -> None:
        local = self._local
        sleeper, seconds = notes.read_sleep(local.codec, item)
        identity, incarnation, _state = sleeper
        known = local.members.get(identity.addr)
        if (
            known is None
            or known.identity != identity
            or known.state is State.DOWN
            or known.incarnation > incarnation
        ):
            return
        now_ns = local.now_ns(runtime)
        if local.sleepers.fell_asleep(identity, incarnation, now_ns, seconds * _SECOND_NS):
            local.kin.add(identity)
            local.suspicions.end(identity)
            self._pass_on((notes.Kind.SLEEP, identity.addr), item)

    def resumed(self, runtime: Runtime[T]) -> None:
        """Say that this machine is awake, by an incarnation that is above every suspicion."""
        local = self._local
        local.notes.discard((notes.Kind.SLEEP, local.addr))
        if local.connection is Connection.UNDEAD:
            return
        local.probe.clear()  # its answer has come in one's sleep, or never will
        local.suspicions.clear()
        if not self._standing.raise_incarnation(local.incarnation, runtime):
            return
        self._outbound.gossip(max(_TOLD_AT_ONCE, local.config.num_indirect_probes), runtime)
        self._outbound.announce_to_active(1, runtime)  # what has happened meanwhile: a feed

    # -- comparing lists --------------------------------------------------------------------------

    def exchange(self, timer: PeriodicExchange, runtime: Runtime[T]) -> None:
        """Send one of kin what one's list looks like."""
        local = self._local
        runtime.submit_after(timer, PERIODS * local.config.probe_period_ns)
        for kin in local.kin.sample(1, local.rng):
            item = notes.digest(self._comparison.digest(local.me()), answer=True)
            self._outbound.send_note(kin, item, runtime)

    def _on_digest(self, item: bytes, src: T, runtime: Runtime[T]) -> None:
        local, me = self._local, self._local.me()
        theirs = notes.read_digest(item)
        parts = self._comparison.differing(me, theirs.parts)
        if not parts:
            return
        answer = [notes.digest(self._comparison.digest(me), answer=False)] if theirs.answer else []
        # The header, the lengths of both items, and what a note begins with.
        used = self._outbound.header_length(src) + sum(map(len, answer)) + 16
        space = local.config.max_packet_size - used
        told = self._comparison.state(me, parts, space, local.rng)
        # The state first: whoever reads both compares when he has applied it.
        self._outbound.send_notes(src, [notes.state(told), *answer], runtime)

    def _on_state(self, item: bytes, _src: T, runtime: Runtime[T]) -> None:
        local = self._local
        updates = [
            update
            for update in notes.read_state(local.codec, item)
            if is_news(update, local.members)
        ]
        self._standing.apply_many(updates, runtime, broadcast=True)

    def _pass_on(self, key: tuple[object, ...], item: bytes) -> None:
        self._local.notes.add(key, item, self._local.transmissions())
