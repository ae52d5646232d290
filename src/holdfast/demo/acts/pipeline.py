"""The players of the act `waking`, from inside: a governor, the head of a pipeline, its workers.

The head sends messages in bursts, and takes no wake lease for them. Only when the governor asks
whether the machine may go down does it take one, and each worker gets a copy, which it holds until
it has dealt with as many messages as were sent::

    governor                       head                       workers
      before_suspend ────────────▶ in flight? a wake lease
                                   a copy to each ══════════▶ work, work, work; close it
      down ◀─────────────────────────────────────────────────── the last copy is closed
      look: sent == processed, of all who live

What is sent and what is processed each notes for itself, outside of what is tested. At the instant
at which the machine goes down the governor's process compares: a message that was sent to somebody
alive by somebody alive, and is not dealt with by then, is stranded until the machine wakes.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from holdfast.errors import HoldfastError, NotFound, Unavailable
from holdfast.wake import (
    AsyncGovernor,
    Config,
    MessageChannel,
    MessageSource,
    SequenceClient,
    SequenceServer,
    Service,
    Simulated,
    connect_async,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from holdfast.demo.player import Part
    from holdfast.demo.tally import Row
    from holdfast.wake import Baton, Failed, Listener, Slept, WakeLease

__all__ = [
    "BOOK",
    "CAST",
    "GOVERNOR",
    "HEAD",
    "WORKERS",
    "now_ns",
    "play_governor",
    "play_head",
    "play_worker",
]

# Who has which row, of those that follow each other. The last is the book, which the stage writes.
GOVERNOR, HEAD = range(2)
WORKERS = (2, 3)
CAST = (GOVERNOR, HEAD, *WORKERS)
BOOK = len(CAST)

SLEEP_S = 0.003
CONFIG = Config(auto=True, linger_ns=5_000_000, backoff_ns=1_000_000, backoff_max_ns=8_000_000)
RETAIN_S = 60.0  # who has connected and is kept from the processor is waited for
BURST = (1, 20)
PAUSE_S = (0.005, 0.025)  # between two bursts
BURSTS = (1, 6)  # then nothing is sent until the machine was down, however busy it is
WORK_S = 0.0003  # for one message
LOOK_S = 0.02

# Words of the governor's row.
ENTRIES, CHECKED, STRANDED, LEASES = range(4)
FIRST_NS = 8  # and the words after it: when it first looked at each one's subscription

# Words of the head's row; a later life goes on in it.
SENT, TAKEN, ASKED, FLIGHT, LIVES, LIFE, RESTS = range(7)
SLOTS = 16
EPOCHS = 16  # and the words after it: which subscription each slot is for
COUNTS = EPOCHS + SLOTS  # and the words after it: how many messages it was sent

# Words of a worker's row: messages over all lives; then what it is subscribed to: the head's life,
# the epoch, how many messages of it are dealt with; whether it has a wake lease in its hands; and
# how often it was born. A saboteur notes that it keeps a copy.
DONE, OF, EPOCH, PROCESSED, HOLDING, BIRTHS, HOARDED = range(7)

# Words of the book: whether the play is over, whether who was told to hoard may begin, and the life
# of each of the cast; 0: is to die.
CURTAIN, HOARD, LIVE = range(3)


def now_ns() -> int:
    """The time by which everything in this act is noted."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


async def _until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - it depends on other processes, which set no event
        await asyncio.sleep(0.005)


def _path(part: Part, name: str) -> str:
    place = os.path.join(part.directory, "wake")
    os.makedirs(place, 0o700, exist_ok=True)
    return os.path.join(place, name)


async def _as_long_as_it_plays(part: Part, work: Coroutine[object, object, None]) -> None:
    """Work until the stage says stop, or the work fails."""
    task = asyncio.create_task(work)
    await _until(lambda: task.done() or not part.playing())
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


# -- the governor ---------------------------------------------------------------------------------


class _Machine(Simulated):
    """Looks for stranded messages whenever it goes down."""

    def __init__(self, part: Part) -> None:
        super().__init__(SLEEP_S)
        self._row = part.row
        self._head = part.sibling(HEAD)
        self._workers = {number: part.sibling(number) for number in WORKERS}
        self._book = part.sibling(BOOK)
        self._seen: dict[tuple[int, int], int] = {}

    async def suspend(self, attempt: int) -> Slept | Failed:
        """Nothing forbids it any more: everything must have been dealt with."""
        self._row[ENTRIES] += 1
        for number, worker in self._workers.items():
            self._look_at(number, worker)
        return await super().suspend(attempt)

    def _look_at(self, number: int, worker: Row) -> None:
        """Compare, unless one of the two dies meanwhile: the stage says so before it kills."""
        before = self._lives(number, worker)
        life, epoch = before[-2:]
        slot = epoch % SLOTS
        its_own = (self._head[LIFE], self._head[EPOCHS + slot]) == (life, epoch)
        sent, processed = self._head[COUNTS + slot], worker[PROCESSED]
        if not (all(before) and its_own and sent) or self._lives(number, worker) != before:
            return
        self._row[STRANDED] += max(0, sent - processed)
        if (life, epoch) not in self._seen:
            self._row[FIRST_NS + number] = now_ns()
        self._row[CHECKED] += sent - self._seen.get((life, epoch), 0)
        self._seen[life, epoch] = sent

    def _lives(self, number: int, worker: Row) -> tuple[int, ...]:
        return self._book[LIVE + HEAD], self._book[LIVE + number], worker[OF], worker[EPOCH]


def play_governor(part: Part) -> None:
    """Let a simulated machine go down whenever nothing forbids it."""
    asyncio.run(_as_long_as_it_plays(part, _govern(part)))


async def _govern(part: Part) -> None:
    async with Service(_path(part, "governor"), _Machine(part), config=CONFIG) as service:
        async with connect_async(service.path) as governor:
            with await governor.acquire("before the play"):
                part.ready()
                await _until(part.begun)
        while True:
            part.row[LEASES] = service.governor.status().wake_lease_count
            await asyncio.sleep(LOOK_S)


# -- the head -------------------------------------------------------------------------------------


class _Counted:
    """The governor, as the head sees it; each wake lease is counted, outside of what is tested."""

    def __init__(self, governor: AsyncGovernor, row: Row) -> None:
        self._governor = governor
        self._row = row
        self.status = governor.status

    async def acquire(self, name: str) -> WakeLease:
        """One more."""
        wake_lease = await self._governor.acquire(name)
        self._row[TAKEN] += 1
        return wake_lease

    async def listen(
        self,
        before: Callable[[], Awaitable[object]],
        after: Callable[[], Awaitable[object]],
        *,
        name: str,
        on_sleep: Callable[[bool], object] | None = None,
    ) -> Listener:
        """As it is."""
        return await self._governor.listen(before, after, name=name, on_sleep=on_sleep)


def play_head(part: Part) -> None:
    """Send messages to the workers, without a wake lease as long as the machine is awake."""
    asyncio.run(_as_long_as_it_plays(part, _lead(part)))


async def _lead(part: Part) -> None:
    row = part.row
    row[LIVES] += 1
    life = row[LIVES]
    async with await _connected(part) as governor:
        counted = _Counted(governor, row)
        server = SequenceServer(counted, retain=RETAIN_S)
        with MessageSource(_path(part, f"head-{life}"), server) as source:
            for slot in range(SLOTS):
                row[EPOCHS + slot] = row[COUNTS + slot] = 0
            server.before_flush(lambda: _note_asked(part))
            row[LIFE] = life
            await source.wait_clients(len(WORKERS))
            await server.ready()
            part.ready()
            await _until(part.begun)
            while not part.sibling(BOOK)[CURTAIN]:
                await _send_bursts(part, source, counted)
            row[RESTS] = 1  # but it stays: who leaves cannot see to what he has sent
            await asyncio.Event().wait()


async def _send_bursts(part: Part, source: MessageSource, counted: _Counted) -> None:
    """Some, until the machine is down; in this play nobody sends too much for that to happen."""
    machine, book = part.sibling(GOVERNOR), part.sibling(BOOK)
    entries = machine[ENTRIES]
    for _ in range(part.chance.randint(*BURSTS)):
        for _ in range(part.chance.randint(*BURST)):
            await _send(part, source, counted)
        await asyncio.sleep(part.chance.uniform(*PAUSE_S))
    await _until(lambda: machine[ENTRIES] > entries or book[CURTAIN])


async def _connected(part: Part) -> AsyncGovernor:
    while True:
        try:
            return await connect_async(_path(part, "governor"))
        except (NotFound, Unavailable):  # it is not up yet
            await asyncio.sleep(0.01)


async def _send(part: Part, source: MessageSource, counted: _Counted) -> None:
    """One message to each worker; counted when it is said that no suspend can strand it."""
    row = part.row
    if "greedy" in part.sabotage:
        (await counted.acquire("a message")).close()
    trackers = [subscriber.tracker for subscriber in source.subscribers()]
    await source.send(row[SENT].to_bytes(8, "little"))
    for tracker in trackers:
        if tracker.closed:
            continue  # the worker is dead
        slot = tracker.epoch % SLOTS
        if row[EPOCHS + slot] != tracker.epoch:
            row[COUNTS + slot] = 0
            row[EPOCHS + slot] = tracker.epoch
        row[COUNTS + slot] += 1
        row[SENT] += 1


def _note_asked(part: Part) -> None:
    """The governor asks. How much is there that would be stranded if nobody did anything?"""
    row = part.row
    row[ASKED] += 1
    for number in WORKERS:
        worker = part.sibling(number)
        slot = worker[EPOCH] % SLOTS
        if (worker[OF], worker[EPOCH]) == (row[LIFE], row[EPOCHS + slot]):
            row[FLIGHT] += max(0, row[COUNTS + slot] - worker[PROCESSED])


# -- the workers ----------------------------------------------------------------------------------


class _Watched:
    """A channel; what the saboteurs do with a baton is done here."""

    def __init__(self, channel: MessageChannel, part: Part) -> None:
        self._channel = channel
        self._part = part
        self._hoard: list[object] = []

    async def receive_baton(self, processed: int) -> Baton | None:
        """The next one; note that it is there."""
        while (baton := await self._channel.receive_baton(processed)) is not None:
            self._part.row[HOLDING] = 1
            if "hoard" in self._part.sabotage and self._part.sibling(BOOK)[HOARD]:
                self._part.row[HOARDED] = 1
                self._hoard.append(baton.wake_lease.dup())
            if "loose" not in self._part.sabotage:
                return baton
            baton.wake_lease.close()
        return None


def play_worker(part: Part) -> None:
    """Deal with the messages of whichever head is there; know nothing of suspends."""
    part.row[BIRTHS] += 1
    if "barren" in part.sabotage and part.row[BIRTHS] > 1:
        return
    asyncio.run(_as_long_as_it_plays(part, _serve_heads(part)))


async def _serve_heads(part: Part) -> None:
    head = part.sibling(HEAD)
    while True:
        life = head[LIFE]
        with suppress(HoldfastError, OSError):  # it has just died, or is not born yet
            channel = await MessageChannel.connect(_path(part, f"head-{life}"))
            try:
                await _serve(part, channel, life)
            finally:
                await channel.close()
        await asyncio.sleep(0.005)


async def _serve(part: Part, channel: MessageChannel, life: int) -> None:
    row = part.row
    row[EPOCH] = 0
    row[PROCESSED] = row[HOLDING] = 0
    row[OF] = life
    row[EPOCH] = channel.epoch
    with SequenceClient(_Watched(channel, part)) as batons:
        batons.run()
        part.ready()
        async for _ in channel.messages():
            time.sleep(WORK_S)  # noqa: ASYNC251 - it is the work
            row[PROCESSED] += 1
            row[DONE] += 1
            batons.process_message()
            row[HOLDING] = batons.holding
            await asyncio.sleep(0)
