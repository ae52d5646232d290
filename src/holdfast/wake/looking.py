"""The governor's answers to "who holds what, and why is the machine not down?".

Both need a look at all processes, which takes milliseconds or more: it runs in a thread, one at a
time. Whoever asks while one is under way gets the answer of the next: the one that runs may have
passed by what he wants to know of.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from holdfast.errors import Unsupported
from holdfast.wake import wire
from holdfast.wake.causes import explain, sentences, worst
from holdfast.wake.holders import scan
from holdfast.wake.saboteurs import in_a_sentence, saboteurs
from holdfast.wake.whereabouts import whereabouts
from holdfast.wake.wording import in_words, last_holder, last_known, whom

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.ipc import Request
    from holdfast.wake.hops import Hop, Hops
    from holdfast.wake.saboteurs import Saboteur
    from holdfast.wake.service import Service
    from holdfast.wake.tables import Caller, Held
    from holdfast.wake.whereabouts import Holding, Whereabouts

__all__ = ["Looking", "located"]

# So many wake leases are told in sentences; the oldest.
_TOLD_MAX: Final = 16
# So many hops of each are told: the answer for thousands of them must fit into a message.
_HOPS_MAX: Final = 16
# Of so many wake leases that are gone it is known by which pipe they were.
_GONE_MAX: Final = 256


class Looking:
    """Answers `WHY` and `WHERE`.

    Args:
        service: Whose wake leases are looked for.
        hops: What was said of them.
    """

    def __init__(self, service: Service, hops: Hops) -> None:
        self._service = service
        self._hops = hops
        self._waiting: list[tuple[Request, Callable[[_Picture], object]]] = []
        self._looking: asyncio.Task[None] | None = None
        self._gone: dict[int, int] = {}  # the inode of each lease that went through hands

    def gone(self, held: Held) -> None:
        """A wake lease is gone whose copies travelled: an attempt may have failed for it."""
        self._gone[held.number] = held.token.inode
        if len(self._gone) > _GONE_MAX:
            del self._gone[next(iter(self._gone))]

    def why(self, request: Request, caller: Caller) -> None:
        """Why the machine is not down, in sentences."""
        self._ask(request, self._reasons)

    def where(self, request: Request, caller: Caller) -> None:
        """Every wake lease, and who holds it now."""
        self._ask(request, self._all_located)

    def _ask(self, request: Request, answer: Callable[[_Picture], object]) -> None:
        self._waiting.append((request, answer))
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, []
                await self._answer(asked)
        finally:
            self._looking = None

    async def _answer(self, asked: Sequence[tuple[Request, Callable[[_Picture], object]]]) -> None:
        try:
            seen = await self._picture()
        except Exception as error:  # noqa: BLE001 - the answer to whoever has asked
            for request, _ in asked:
                request.fail(Unsupported(f"the processes cannot be looked at ({error!r})"))
            return
        for request, answer in asked:
            request.answer(answer(seen))

    async def _picture(self) -> _Picture:
        # What is waited for is held by ourselves, until it is granted.
        granted = [held for held in self._service.leases if held.granted_ns is not None]
        inodes = [held.token.inode for held in granted]
        likely = {held.requester.pid for held in granted} - {0}
        seen = await asyncio.to_thread(scan, inodes, first=sorted(likely))
        found: _Picture = {}
        for held in granted:
            trail = self._hops.trail(held.token.inode)
            if trail is not None:
                found[held.number] = whereabouts(trail, seen)  # not closed while we looked
        return found

    # -- the answers ------------------------------------------------------------------------------

    def _reasons(self, seen: _Picture) -> wire.Why:
        now_ns = self._service.now_ns()
        status = self._service.governor.status()
        lines = explain(replace(status, attempt=None), now_ns)
        # One line for each wake lease follows that of the governor: where we know more, it is ours.
        for at, lease in enumerate(status.wake_leases[:_TOLD_MAX], 1):
            where = seen.get(lease.lease_id)
            if where is not None:
                since_ns = lease.asked_ns if lease.granted_ns is None else lease.granted_ns
                words = in_words(where, lease.name, since_ns, now_ns)
                lines[at] = f"{words[:1].upper()}{words[1:]}."
        trouble = getattr(self._service.backend, "trouble", None)
        if trouble is not None:
            lines.append(f"The back-end {self._service.backend.name} is in trouble: {trouble}.")
        if status.attempt is not None:
            briefly = {number: whom(where, now_ns) for number, where in seen.items()}
            for lease in status.attempt.leases:
                if lease.lease_id in self._gone:
                    hops = self._hops.ended(self._gone[lease.lease_id])
                    briefly[lease.lease_id] = last_known(hops, now_ns)
            lines += sentences(status.attempt, now_ns, briefly)
        found = saboteurs(self._service.governor.attempts)
        lines += self._told(found, seen)
        pipelines = () if status.attempt is None else worst(status.attempt.pipelines)[:_TOLD_MAX]
        return wire.Why(
            lines,
            tuple(
                wire.Stopper(each.cause.value, each.name, each.by, each.times, each.of)
                for each in found
            ),
            tuple(
                wire.Checked(each.name, each.by, each.account, each.stranded, each.unknown)
                for each in pipelines
            ),
        )

    def _told(self, found: Sequence[Saboteur], seen: _Picture) -> list[str]:
        """Who stops one attempt after the other, and who had their wake leases."""
        holders = {}
        for number in {number for each in found for number in each.leases}:
            if number in self._gone:
                holders[number] = last_holder(self._hops.ended(self._gone[number]))
            elif number in seen:
                holders[number] = last_holder(seen[number].hops)
        return [in_a_sentence(each, holders) for each in found]

    def _all_located(self, seen: _Picture) -> wire.Where:
        return wire.Where([located(held, seen.get(held.number)) for held in self._service.leases])


_Picture = dict[int, "Whereabouts"]


def located(held: Held, where: Whereabouts | None) -> wire.Located:
    """One wake lease for who asks, and where it is; None: nobody has looked for it."""
    lease = held.on_the_wire()
    if where is None:
        return wire.Located(lease, "waiting" if lease.granted_ns is None else "unknown")
    return wire.Located(
        lease=lease,
        place=where.place.value,
        holders=tuple(_holder(holding) for holding in where.holdings),
        on_the_way=len(where.on_the_way),
        hiding=tuple(one.value for one in where.hiding),
        hops=tuple(_hop(hop) for hop in where.hops[-_HOPS_MAX:]),
    )


def _hop(hop: Hop) -> wire.LeaseHop:
    return wire.LeaseHop(
        sender=None if hop.sender is None else hop.sender.pid,
        receiver=None if hop.receiver is None else hop.receiver.pid,
        index=hop.index,
        sent_ns=hop.sent_ns,
        received_ns=hop.received_ns,
        released_ns=hop.released_ns,
        processed=hop.processed,
        processed_ns=hop.processed_ns,
    )


def _holder(holding: Holding) -> wire.LeaseHolder:
    holder = holding.holder
    return wire.LeaseHolder(
        pid=holder.pid,
        uid=holder.uid,
        command=holder.command,
        fds=holder.fds,
        state=holder.state.value,
        halt=None if holder.halt is None else holder.halt.value,
        announced=holding.announced,
        let_go=holding.let_go,
        heir_of=None if holding.heir_of is None else holding.heir_of.pid,
        index=holding.index,
        processed=None if holding.hop is None else holding.hop.processed,
        processed_ns=None if holding.hop is None else holding.hop.processed_ns,
    )
