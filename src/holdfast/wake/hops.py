"""How a baton travelled: what those who passed it on and took it over have said.

The kernel lets nobody see a descriptor change hands, so the library tells the governor, out of
band and after the fact: "I sent it", "I have received it", "I let it go", and for as long as one
holds on, "I have processed so many of its messages". Each report names the reporter by what the
kernel vouches for, its process. Reports come by different connections, and so in any order: a
receiver may be heard before the sender. A lease is known here by the inode of its pipe, which all
its copies share.

A report is a claim, not a fact: `holdfast.wake.whereabouts` holds it against what the descriptors
of all processes show.

Source: the first document of the project asks how the path of a baton can be observed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

__all__ = ["Hop", "Hops", "Process", "Trail"]


@dataclass(frozen=True, slots=True)
class Process:
    """Which process: its number, and when it started, because numbers are used again.

    Attributes:
        start_ticks: When it started, in clock ticks since boot; 0: nobody looked in time.
        session: Its session, by which orphans of its children are known again; 0: not known.
        command: What it is called, for people; may be empty.
    """

    pid: int
    start_ticks: int = 0
    session: int = field(default=0, compare=False)
    command: str = field(default="", compare=False)

    def is_same(self, other: Process) -> bool:
        """Whether it is that process, as far as is known of both."""
        known = self.start_ticks and other.start_ticks
        return self.pid == other.pid and (not known or self.start_ticks == other.start_ticks)


@dataclass(frozen=True, slots=True)
class Hop:
    """One copy of a wake lease, from hand to hand. What nobody has said is None.

    Attributes:
        number: Counts the reports of one lease from 0.
        index: The message that it goes with; the receiver holds on until it has processed it.
        sent_ns, received_ns, released_ns: When, in nanoseconds of CLOCK_BOOTTIME.
        processed: How many messages the receiver had processed when it last said so.
        processed_ns: When that was.
    """

    lease: int
    number: int
    sender: Process | None = None
    receiver: Process | None = None
    index: int | None = None
    sent_ns: int | None = None
    received_ns: int | None = None
    released_ns: int | None = None
    processed: int | None = None
    processed_ns: int | None = None

    @property
    def closed(self) -> bool:
        """Whether this copy is gone, by what was said."""
        return self.released_ns is not None

    def held_by(self, process: Process) -> bool:
        """Whether that process has received this copy and has it still, by what was said."""
        mine = self.receiver is not None and self.receiver.is_same(process)
        return mine and self.received_ns is not None and not self.closed


@dataclass(frozen=True, slots=True)
class Trail:
    """All that was said of one wake lease.

    Attributes:
        acquirer: Who acquired it; None: the kernel did not say.
        hops: Oldest first.
        forgotten: How many older ones there were no room for: whoever took it over with one of
            them did announce it.
        shared_by: Whose children hold it as well, and are meant to.
    """

    lease: int
    acquirer: Process | None
    acquired_ns: int
    hops: tuple[Hop, ...] = ()
    forgotten: int = 0
    shared_by: tuple[Process, ...] = ()


class Hops:
    """What was said of the wake leases that are held, and the last that was said of others.

    Every table is bounded: so many leases, so many hops of each, so many of those that ended.
    What belongs to an unknown lease is not kept, and of a known one the oldest closed hop makes
    room. Nothing here looks at a clock or at a process.

    Args:
        leases_max: Of more leases than that nothing is kept.
        hops_max: How many hops of one lease are kept.
        ended_max: How many hops of leases that ended are kept.
    """

    def __init__(
        self, *, leases_max: int = 4096, hops_max: int = 64, ended_max: int = 1024
    ) -> None:
        self._leases_max = leases_max
        self._hops_max = hops_max
        self._open: dict[int, _Open] = {}
        self._ended: deque[Hop] = deque(maxlen=ended_max)

    def opened(self, lease: int, acquirer: Process | None, at_ns: int) -> None:
        """A wake lease exists."""
        if lease in self._open or len(self._open) < self._leases_max:
            self._open[lease] = _Open(acquirer, at_ns)

    def closed(self, lease: int) -> bool:
        """Its last copy is gone, wherever it was; whether anything was said of its copies."""
        trail = self._open.pop(lease, None)
        if trail is None or not trail.hops:
            return False
        self._ended.extend(trail.hops)
        return True

    def sent(
        self,
        lease: int,
        sender: Process,
        at_ns: int,
        *,
        receiver: Process | None = None,
        index: int | None = None,
    ) -> Hop | None:
        """Somebody has sent a copy; to whom, if he knows that. None: the lease is not known."""
        trail = self._open.get(lease)
        if trail is None:
            return None
        for at, hop in enumerate(trail.hops):
            # Its receiver was quicker to say so.
            early = hop.sender is None and hop.received_ns is not None
            if early and _fits(hop, receiver, index):
                known = index if hop.index is None else hop.index
                trail.hops[at] = replace(hop, sender=sender, sent_ns=at_ns, index=known)
                return trail.hops[at]
        return self._add(trail, Hop(lease, 0, sender, receiver, index, sent_ns=at_ns))

    def received(
        self,
        lease: int,
        receiver: Process,
        at_ns: int,
        *,
        index: int | None = None,
        processed: int | None = None,
    ) -> Hop | None:
        """Somebody has received a copy. None: the lease is not known."""
        trail = self._open.get(lease)
        if trail is None:
            return None
        new = Hop(lease, 0, None, receiver, index, received_ns=at_ns, processed=processed)
        if processed is not None:
            new = replace(new, processed_ns=at_ns)
        for at, hop in enumerate(trail.hops):
            if hop.received_ns is None and hop.sent_ns is not None and _fits(hop, receiver, index):
                known = index if hop.index is None else hop.index
                trail.hops[at] = replace(
                    new, number=hop.number, sender=hop.sender, index=known, sent_ns=hop.sent_ns
                )
                return trail.hops[at]
        return self._add(trail, new)

    def progress(
        self, lease: int, holder: Process, processed: int, at_ns: int, *, index: int | None = None
    ) -> Hop | None:
        """Who has received a copy, and holds on to it, has processed so many messages.

        Returns:
            The hop; None: he was never said to have received one, or has let go of it.
        """
        trail = self._open.get(lease)
        if trail is None:
            return None
        for at, hop in reversed(list(enumerate(trail.hops))):
            if hop.held_by(holder) and _fits(hop, holder, index):
                trail.hops[at] = replace(hop, processed=processed, processed_ns=at_ns)
                return trail.hops[at]
        return None

    def released(self, lease: int, holder: Process, at_ns: int) -> Hop | None:
        """Somebody has let go of his copy. None: the lease is not known."""
        trail = self._open.get(lease)
        if trail is None:
            return None
        for at, hop in enumerate(trail.hops):
            if hop.held_by(holder):
                trail.hops[at] = replace(hop, released_ns=at_ns)
                return trail.hops[at]
        return self._add(trail, Hop(lease, 0, None, holder, released_ns=at_ns))

    def shared(self, lease: int, holder: Process) -> None:
        """Somebody lets all that he starts from now on inherit it, on purpose."""
        trail = self._open.get(lease)
        if trail is not None and len(trail.shared_by) < self._hops_max:
            trail.shared_by.setdefault((holder.pid, holder.start_ticks), holder)

    def trail(self, lease: int) -> Trail | None:
        """All that was said of this lease; None: it is not known."""
        found = self._open.get(lease)
        if found is None:
            return None
        return Trail(
            lease,
            found.acquirer,
            found.at_ns,
            tuple(found.hops),
            found.forgotten,
            tuple(found.shared_by.values()),
        )

    def ended(self, lease: int | None = None) -> tuple[Hop, ...]:
        """The last hops of leases that are gone, or of that one, oldest first."""
        return tuple(hop for hop in self._ended if lease is None or hop.lease == lease)

    def _add(self, trail: _Open, hop: Hop) -> Hop:
        if len(trail.hops) >= self._hops_max:
            closed = (at for at, each in enumerate(trail.hops) if each.closed)
            del trail.hops[next(closed, 0)]
            trail.forgotten += 1
        hop = replace(hop, number=trail.count)
        trail.count += 1
        trail.hops.append(hop)
        return hop


@dataclass(slots=True)
class _Open:
    acquirer: Process | None
    at_ns: int
    hops: list[Hop] = field(default_factory=list)
    count: int = 0
    forgotten: int = 0
    shared_by: dict[tuple[int, int], Process] = field(default_factory=dict)


def _fits(hop: Hop, receiver: Process | None, index: int | None) -> bool:
    """Whether both reports can be about one copy: nothing that both say differs."""
    other = hop.receiver is not None and receiver is not None and not hop.receiver.is_same(receiver)
    return not other and (hop.index is None or index is None or hop.index == index)
