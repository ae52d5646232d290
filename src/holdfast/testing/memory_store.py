"""What the processes of a simulation share: states, their versions, and who is subscribed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.state import Snapshot

if TYPE_CHECKING:
    import asyncio

    from holdfast.clock import Clock

__all__ = ["Process", "Record", "Store", "Subscription", "Version"]


class StillClock:
    """The clock of a simulation that was given none: time stands still."""

    def boottime_ns(self) -> int:
        """Always zero."""
        return 0

    def monotonic_ns(self) -> int:
        """Always zero."""
        return 0

    def realtime_ns(self) -> int:
        """Always zero."""
        return 0


@dataclass(frozen=True, slots=True)
class Version:
    """One version of one state; never modified."""

    data: bytes
    number: int = 0
    written: bool = False
    time_ns: int = 0
    pid: int = 0

    def snapshot(self, incarnation: str) -> Snapshot:
        """The same for the public."""
        return Snapshot(self.data, self.number, incarnation, self.time_ns, self.pid)


@dataclass(eq=False, slots=True)
class Process:
    """A simulated process: the subscriptions of a dead one count no more."""

    pid: int
    alive: bool = True


@dataclass(eq=False, slots=True)
class Subscription:
    """What the kernel knows of a handle: that it is there, and whose it is."""

    process: Process


@dataclass(eq=False, slots=True)
class Record:
    """One incarnation of a state: what in shared memory is a file."""

    name: str
    incarnation: str
    created_ns: int
    retained: bool
    newest: Version
    deleted: bool = False
    subscriptions: list[Subscription] = field(default_factory=list)
    waiting: list[asyncio.Event] = field(default_factory=list)

    def publish(self, version: Version) -> None:
        """Make it the newest and wake whoever waits."""
        self.newest = version
        self.ring()

    def ring(self) -> None:
        """Wake whoever waits for a change."""
        for event in list(self.waiting):
            event.set()

    def anybody(self, *, but: Subscription | None = None, beside: Process | None = None) -> bool:
        """Whether a living process is subscribed, save for one subscription or one process."""
        return any(
            one.process.alive and one is not but and one.process is not beside
            for one in self.subscriptions
        )


class Store:
    """A directory of states, without a directory."""

    def __init__(self, clock: Clock | None, rng: random.Random | None) -> None:
        self.clock: Clock = StillClock() if clock is None else clock
        self.records: dict[str, Record] = {}
        self._rng = random.Random(0) if rng is None else rng
        self._processes = 0

    def start_process(self) -> Process:
        """A process; they are numbered from 1."""
        self._processes += 1
        return Process(self._processes)

    def create(self, name: str, size: int, *, retained: bool) -> Record:
        """A new incarnation of a state, in place of any older one."""
        record = Record(
            name=name,
            incarnation=f"{self._rng.getrandbits(128):032x}",
            created_ns=self.clock.realtime_ns(),
            retained=retained,
            newest=Version(bytes(size)),
        )
        self.records[name] = record
        return record

    def withdraw(self, record: Record, subscription: Subscription) -> None:
        """Somebody unsubscribes; the last one takes a state that is not retained with him."""
        record.subscriptions.remove(subscription)
        if not record.retained and not record.anybody():
            self.forget(record)

    def forget(self, record: Record) -> None:
        """Take the state away, unless another has its name by now."""
        if self.records.get(record.name) is record:
            del self.records[record.name]
