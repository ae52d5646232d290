"""One of the five hosts of the act `gathering`, from inside: a member, and perhaps the sampler.

It is a member of a cluster over UDP, on loopback, and stands by for a lease. Whoever holds the
lease samples: it commits the counters in ``/proc`` a hundred times a second, gated by the lease.
The way of a death::

    the cluster says MemberFailed       watch        noted, with the time, for everybody to see
      a hint: look at the lease now     stand_by     else one would look seldom
        its term is over                             claim it, and sample
        its term still runs                          wait for its end, however dead its holder is

A host does not take the cluster's word for more than a hint. The dead may only have been stopped,
and a lease is a promise to its holder until its term is over.
"""

from __future__ import annotations

import asyncio
import os
import time
import zlib
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

from holdfast import lease
from holdfast.demo import reign
from holdfast.demo.sample import SIZE, Host
from holdfast.errors import ClaimDenied, Conflict, LeaseLost, Unavailable
from holdfast.membership import Cluster, Config, MemberFailed, Periodic
from holdfast.state import Namespace

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.demo.player import Part
    from holdfast.demo.tally import Row
    from holdfast.lease import AsyncHeld, AsyncLeases
    from holdfast.state import State

__all__ = ["ALL", "CONFIG", "HOSTS", "TERM_S", "play_host"]

HOSTS = 5
ALL = (1 << HOSTS) - 1  # a view in which everybody is there: one bit for each host
LEASE = "sampler"
STATE = "hosts"
TERM_S = 2.0
PERIOD_S = 0.01  # from one sample to the next
PATIENCE_S = (2.5, 3.5)  # who hears of no death looks at the lease as seldom as that
LOOK_S = 0.05  # from one look at one's own view to the next
HANG_S = 30.0
AWAY_NS_MIN = 500_000_000  # who has not looked for as long was kept from the processor

# Quicker than `Config.local` would be, so that there is something to see within seconds. So a host
# that is kept from the processor for seconds is called dead: that is noted, and pardoned.
CONFIG = Config(
    probe_period_ns=250_000_000,
    probe_rtt_ns=100_000_000,
    num_indirect_probes=2,
    max_transmissions=6,
    suspect_to_down_after_ns=750_000_000,
    notify_down_members=True,
    periodic_announce=Periodic(5_000_000_000, 1),
    periodic_announce_to_down_members=Periodic(5_000_000_000, 1),
    periodic_gossip=Periodic(100_000_000, 3),
)
PARDON_NS = 10_000_000_000  # the longest suspicion, and the way back into all views

# Words of a host's row, after those of its reign; a later life goes on in it.
SAMPLES, FIRST_NS, CHECKS, OVERLAPS, REFUSED, PORT, UP_NS, LIVES, VIEW, PRINT, LOOKS, MISSING = (
    range(reign.WORDS, reign.WORDS + 12)
)
HINTS, DENIED, TOLD, SLANDERS, RECEIVED, CHANGED_NS = range(reign.WORDS + 12, reign.WORDS + 18)
HEARD_NS = 24  # and the words after it: when it last heard of the death of each host
# When it looked last, and when it came back to look after it was away; whether it stands by for the
# lease; and how often it found a live host dead or missing that may have been away.
THERE_NS, BACK_NS, STANDS, PARDONED = range(32, 36)

# Words of the book, a row that the stage writes: who is up for certain, one bit each, and whether
# the play is over, after which everybody leaves.
LIVE, CURTAIN = range(2)


def now_ns() -> int:
    """The time by which everything in this act is noted."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def away(row: Row, at_ns: int) -> bool:
    """Whether a host that is up is kept from the processor."""
    return row[THERE_NS] > 0 and at_ns > row[THERE_NS] + AWAY_NS_MIN


def play_host(part: Part) -> None:
    """Join the others, stand by, and sample when it is one's turn."""
    asyncio.run(_play(part))


async def _play(part: Part) -> None:
    path = os.path.join(part.directory, STATE)
    async with AsyncExitStack() as stack:
        namespace = stack.enter_context(Namespace(path))
        leases = await stack.enter_async_context(lease.open_async(f"local:?dir={path}"))
        cluster = await _join(part)
        stack.push_async_callback(cluster.leave, linger=0.1)
        host = _Host(part, cluster, leases, namespace.subscribe(STATE, "rw", size=SIZE))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(host.watch()), group.create_task(host.look())]
            await _until(lambda: part.row[VIEW] == ALL or _stray(part) or not part.playing())
            part.ready()
            await _until(part.begun)
            if "hang" in part.sabotage and part.number == 0:
                host.hang()
            else:
                tasks.append(group.create_task(host.stand_by()))
            await _until(lambda: not part.playing())
            for task in tasks:
                task.cancel()


async def _join(part: Part) -> Cluster:
    """A running member, at the address of its last life, unless somebody else has that now."""
    row = part.row
    others = [part.sibling(number) for number in range(HOSTS) if number != part.number]
    first = part.sibling(0)
    await _until(lambda: not part.number or first[PORT] or not part.playing())
    row[LIVES] += 1
    row[VIEW] = 0  # what was seen in the last life
    seeds = [] if _stray(part) else [f"127.0.0.1:{other[PORT]}" for other in others if other[PORT]]
    for port in (0,) if _stray(part) else (row[PORT], 0):
        name = f"host{part.number}"
        cluster = Cluster(name, bind=f"127.0.0.1:{port}", join=seeds, config=CONFIG)
        try:
            await cluster.start()
        except Unavailable:
            if not port:
                raise
        else:
            break
    row[PORT] = int(cluster.address.rpartition(":")[2])
    row[UP_NS] = now_ns()
    return cluster


async def _until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - it depends on other processes, which set no event
        await asyncio.sleep(0.01)


def _stray(part: Part) -> bool:
    return "stray" in part.sabotage and part.row[LIVES] > 1


class _Host:
    def __init__(self, part: Part, cluster: Cluster, leases: AsyncLeases, state: State) -> None:
        self._part = part
        self._row = part.row
        self._book: Row = part.sibling(HOSTS)  # the row after ours is the stage's
        self._others = [part.sibling(n) for n in range(HOSTS) if n != part.number]
        self._cluster = cluster
        self._leases = leases
        self._state = state
        self._counters = Host()
        self._hint = asyncio.Event()
        self._seen = 0  # whoever was ever in a view
        self._dead = ""  # of whose death the hint tells
        self._received = part.row[RECEIVED]  # in earlier lives

    # -- the member -------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Note every end that the cluster tells, and pass it on as a hint."""
        row, book, sabotage = self._row, self._book, self._part.sabotage
        async for change in self._cluster.changes():
            self.note_view()
            deaf = "deafened" in sabotage and self._part.number % 2
            if not isinstance(change, MemberFailed) or book[CURTAIN] or deaf:
                continue
            number = _number(change.member.name)
            row[TOLD] += 1
            wrong = book[LIVE] >> number & 1
            row[PARDONED if wrong and self._pardoned() else SLANDERS] += wrong
            row[HEARD_NS + number] = now_ns()
            if "unheeded" not in sabotage:
                self._dead = change.member.name
                self._hint.set()

    async def look(self) -> None:
        """Look all the time whether whoever lives is there."""
        while True:
            self.note_view()
            await asyncio.sleep(LOOK_S)

    def note_view(self) -> None:
        """Note who is there; nobody may be missing who was there before, and lives."""
        self._note_presence()
        members = self._cluster.members()
        view = 0
        for member in members:
            view |= 1 << _number(member.name)
        row, book = self._row, self._book
        # The stage strikes a host off the book before it does anything to it: what was seen before
        # the book was read cannot be the work of the stage.
        missing = self._seen & book[LIVE] & ~view
        if missing and not book[CURTAIN]:
            row[PARDONED if self._pardoned() else MISSING] += missing.bit_count()
        self._seen |= view
        row[LOOKS] += 1
        shape = zlib.crc32(repr(sorted(str(member.node) for member in members)).encode())
        if (row[VIEW], row[PRINT]) != (view, shape):
            row[VIEW], row[PRINT], row[CHANGED_NS] = view, shape, now_ns()
        row[RECEIVED] = self._received + self._cluster.counts.get("received", 0)

    def _note_presence(self) -> None:
        """Note that it has the processor, and whether that was so all the time."""
        row, now = self._row, now_ns()
        live = self._book[LIVE] >> self._part.number & 1  # else it was stopped by the stage
        if live and away(row, now):
            row[BACK_NS] = now
        row[THERE_NS] = now

    def _pardoned(self) -> bool:
        """Whether some live host was kept from the processor lately: who called, or was called.

        Nobody can tell from such a one that it lives; it is as if it had been stopped.
        """
        if "hang" in self._part.sabotage:
            return False  # it is to be seen
        now, live = now_ns(), self._book[LIVE]
        rows = [self._part.sibling(number) for number in range(HOSTS) if live >> number & 1]
        return any(away(row, now) or now < row[BACK_NS] + PARDON_NS for row in rows)

    def hang(self) -> None:
        """Told to: do not answer, until somebody has noticed. It has the processor all the time."""
        limit = time.monotonic() + HANG_S
        while not any(other[SLANDERS] + other[MISSING] for other in self._others):
            if not self._part.playing() or time.monotonic() > limit:
                return
            self._note_presence()
            time.sleep(0.01)

    # -- the lease --------------------------------------------------------------------------------

    async def stand_by(self) -> None:
        """Claim the lease when there is a reason to believe that it is free, and sample."""
        part, row = self._part, self._row
        hinted = False
        while True:
            if hinted and "trusting" in part.sabotage:
                await self._sample(None)
            holder = f"host{part.number}.{os.getpid()}"
            try:
                async with self._leases.hold(LEASE, holder=holder, duration=TERM_S, wait=0) as held:
                    await self._sample(held)
            except ClaimDenied as denied:
                row[STANDS] = 1
                if hinted and (denied.holder or "").startswith(f"{self._dead}."):
                    row[DENIED] += 1
                    hinted = False
                    await self._leases.wait_until_expired(LEASE, timeout=TERM_S)
                    continue
            hinted = await self._hinted()

    async def _hinted(self) -> bool:
        """Whether a death is the reason to look at the lease; it may just be time again."""
        patience = None
        if "unheeded" not in self._part.sabotage:
            patience = self._part.chance.uniform(*PATIENCE_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._hint.wait()
        hinted = self._hint.is_set()
        self._hint.clear()
        self._row[HINTS] += hinted
        return hinted

    async def _sample(self, held: AsyncHeld | None) -> None:
        """Sample for as long as the lease is held; without one, as only a saboteur does."""
        row = self._row
        token = held.fencing_token if held else 1 + max(row[reign.TOKEN] for row in self._others)
        row[FIRST_NS] = 0
        reign.begin(row, token, now_ns())
        while True:
            asked_ns = now_ns()
            try:
                if held is not None:
                    held.check()
                row[CHECKS] += 1
                row[OVERLAPS] += reign.overlaps(row, self._others, asked_ns)
                with self._state.transaction() as txn:
                    if held is not None:
                        await held.gate(txn)
                    sample = self._counters.sample(txn.version + 1, token, os.getpid(), asked_ns)
                    txn.data[:] = sample.pack()
                row[SAMPLES] += 1
                if not row[FIRST_NS]:
                    row[FIRST_NS] = now_ns()
            except LeaseLost:
                row[REFUSED] += 1
                return
            except Conflict:
                pass  # somebody has taken over; the clock will say so
            await asyncio.sleep(PERIOD_S)


def _number(name: str) -> int:
    """Which host that is; a number that no host has for anybody else."""
    digit = name.removeprefix("host")
    return int(digit) if digit.isdigit() and int(digit) < HOSTS else HOSTS
