"""Processes that take leases from each other and are killed and stopped at random; and a checker.

Run as a program it is the nursery: it forks workers, which note what they were promised in a file,
one line for each event, and does to them what the scenario says. The checkers read the file.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from holdfast.errors import Conflict, LeaseLost, StaleRecord
from holdfast.lease import Record
from holdfast.lease.stores.local import LocalStore
from holdfast.state import Namespace

MS = 1_000_000
WORKERS = 4
NAMES = [f"n{i}" for i in range(5)]

Note = Callable[..., None]


def now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def promised(note: Note, kind: str, record: Record, before_ns: int, asked_ns: int) -> None:
    end_ns = record.start_ns + record.duration_ns
    assert end_ns >= before_ns + asked_ns, "the promise is shorter than it was asked for"
    note(kind, record.name, record.epoch, record.holder, before_ns, now_ns(), end_ns)


# -- what workers do ------------------------------------------------------------------------------


def take_and_leave(store: LocalStore, chance: random.Random, note: Note) -> None:
    """One turn of a worker: claim, extend now and then, release or walk away."""
    name, holder = chance.choice(NAMES), str(os.getpid())
    before_ns, asked_ns = now_ns(), chance.randrange(1, 15) * MS
    try:
        record = store.claim(name, holder, asked_ns)
    except StaleRecord:
        for late in store.overdue():
            with suppress(StaleRecord):
                store.expire(late)
        return
    promised(note, "claimed", record, before_ns, asked_ns)
    for _ in range(chance.randrange(4)):
        before_ns, asked_ns = now_ns(), chance.randrange(1, 15) * MS
        try:
            record = store.extend(record, asked_ns)
        except StaleRecord:
            note("lost", name, record.epoch)
            return
        promised(note, "extended", record, before_ns, asked_ns)
    if chance.random() < 0.5:
        note("releasing", name, record.epoch)
        store.release(record)


def count_under_a_lease(
    store: LocalStore, chance: random.Random, note: Note, *, gated: bool
) -> None:
    """One turn of a worker: while it believes to hold the lease, it counts, and writes by whom."""
    counter = store._states.subscribe("counter", "rw", type="<qq")
    try:
        record = store.claim("job", str(os.getpid()), 10 * MS)
    except StaleRecord:
        for late in store.overdue():
            with suppress(StaleRecord):
                store.expire(late)
        store.wait_changed(0.002, name="job")
        return
    for _ in range(chance.randrange(500)):
        try:
            with counter.transaction() as txn:
                if gated:
                    store.gate(record, txn)
                value = txn.value[0] + 1
                txn.value = (value, record.epoch)
        except LeaseLost:
            note("refused", record.epoch)
            return
        except Conflict:
            continue
        note("counted", value, record.epoch)
        if chance.random() < 0.01:
            with suppress(StaleRecord):
                record = store.extend(record, 10 * MS)
    if chance.random() < 0.5:
        store.release(record)


TURNS: dict[str, Callable[[LocalStore, random.Random, Note], None]] = {
    "leases": take_and_leave,
    "gated": lambda *args: count_under_a_lease(*args, gated=True),
    "ungated": lambda *args: count_under_a_lease(*args, gated=False),
}


# -- the nursery ----------------------------------------------------------------------------------


def fork_worker(scenario: str, directory: str, log_fd: int, seed: int) -> int:
    pid = os.fork()
    if pid:
        return pid

    def note(*words: object) -> None:
        os.write(log_fd, " ".join(map(str, words)).encode() + b"\n")  # O_APPEND: whole lines

    try:
        chance = random.Random(seed)
        with LocalStore(directory) as store:
            while True:
                TURNS[scenario](store, chance, note)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the test must hear of it
        note("died", repr(error).replace("\n", " "))
    finally:
        os._exit(1)


def nursery(scenario: str, directory: str, log: str, seconds: float, seed: int) -> None:
    """Kill and stop workers for so long; each that is killed is replaced."""
    chance = random.Random(seed)
    log_fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    seeds = iter(range(seed, seed + 10**9))
    workers = [fork_worker(scenario, directory, log_fd, next(seeds)) for _ in range(WORKERS)]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(chance.uniform(0, 0.02))
        at = chance.randrange(WORKERS)
        if scenario != "leases" and chance.random() < 0.7:
            os.kill(workers[at], signal.SIGSTOP)
            time.sleep(0.02)  # twice its term
            os.kill(workers[at], signal.SIGCONT)
            continue
        os.kill(workers[at], signal.SIGKILL)
        os.waitpid(workers[at], 0)
        os.write(log_fd, b"killed\n")
        workers[at] = fork_worker(scenario, directory, log_fd, next(seeds))
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.write(log_fd, b"killed\n")


# -- checking -------------------------------------------------------------------------------------


@dataclass
class Promises:
    """What workers were promised of one holding."""

    name: str
    epoch: int
    holder: str
    before_ns: int
    after_ns: int
    end_ns: int
    released: bool = False


@dataclass
class History:
    """What the lines of the leases' scenario tell."""

    holdings: list[Promises] = field(default_factory=list)
    kills: int = 0
    extended: int = 0

    @classmethod
    def read(cls, log: Path) -> History:
        self = cls()
        found: dict[tuple[str, int], Promises] = {}
        released = set()
        lines = [line.split(" ") for line in log.read_text().splitlines()]
        for kind, *words in lines:
            assert kind != "died", words
            self.kills += kind == "killed"
            if kind in {"claimed", "extended"}:
                name, epoch, holder, before_ns, after_ns, end_ns = words
                key = name, int(epoch)
                new = Promises(*key, holder, int(before_ns), int(after_ns), int(end_ns))
                old = found.setdefault(key, new)
                assert old.holder == holder, "two holders under one epoch"
                assert (kind == "claimed") == (old is new), "claimed twice under one epoch"
                assert new.end_ns >= old.end_ns, "a promise was shortened"
                old.end_ns = new.end_ns
                self.extended += kind == "extended"
            elif kind == "releasing":
                released.add((words[0], int(words[1])))
        for key, promises in found.items():
            promises.released = key in released
        self.holdings = sorted(found.values(), key=lambda one: one.before_ns)
        return self

    def takeovers(self) -> Iterator[tuple[Promises, Promises]]:
        """Each holding with the next one that is known of the same lease."""
        by_name = defaultdict(list)
        for one in sorted(self.holdings, key=lambda one: one.epoch):
            by_name[one.name].append(one)
        for holdings in by_name.values():
            yield from pairwise(holdings)

    def check(self) -> int:
        """See that the promises were kept; how many leases were taken over without a release."""
        epochs = [one.epoch for one in self.holdings]
        assert len(set(epochs)) == len(epochs), "an epoch was given twice"
        greatest, over = 0, sorted(self.holdings, key=lambda one: one.after_ns)
        for one in self.holdings:
            while over[0].after_ns < one.before_ns:
                greatest = max(greatest, over.pop(0).epoch)
            assert one.epoch > greatest, "an epoch is less than one of a claim that was over"
        taken = 0
        for old, new in self.takeovers():
            if not old.released:
                assert new.after_ns > old.end_ns, f"{old} was broken by {new}"
                taken += 1
        return taken


@dataclass
class Count:
    """What the lines of the counters' scenarios tell."""

    counted: dict[int, int] = field(default_factory=dict)  # value → epoch
    kills: int = 0
    refused: int = 0
    twice: int = 0

    @classmethod
    def read(cls, log: Path) -> Count:
        self = cls()
        for kind, *words in (line.split(" ") for line in log.read_text().splitlines()):
            assert kind != "died", words
            self.kills += kind == "killed"
            self.refused += kind == "refused"
            if kind == "counted":
                self.twice += int(words[0]) in self.counted
                self.counted[int(words[0])] = int(words[1])
        return self

    @property
    def holdings(self) -> set[int]:
        """The epochs under which somebody has counted."""
        return set(self.counted.values())

    def by_others(self) -> int:
        """How often somebody has counted after a successor of his: he held nothing then."""
        epochs = [epoch for _, epoch in sorted(self.counted.items())]
        return sum(later < earlier for earlier, later in pairwise(epochs))


def last_count(directory: Path) -> int:
    with Namespace(directory) as namespace, namespace.subscribe("counter", type="<qq") as counter:
        return int(counter.value[0])


if __name__ == "__main__":
    nursery(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]), int(sys.argv[5]))
