"""The place where simulated leases live, and those who watch that no promise is broken there.

The place is a real `MemoryDatabase` behind a service of the World. Whatever is applied to it is
compared with what stood there before, in true time, which no node knows:

- a record changes only as the rules say: no hand-over in place, no term made shorter, and none
  extended by anybody but its holder
- epochs grow from holding to holding of a name, and no epoch is given twice
- what is pinned does not expire
- an expiry comes strictly after the promise: after the start of the last call that was applied, and
  the duration that it asked for
- at the instant of a hand-over nobody believes in what is taken away; and nobody begins to believe
  in what stands no more
- the clock gains at most the real time between two readings, and one step
- a claim that was denied has left nothing behind
- the counter of a lease has the number of writes that were acknowledged, give or take those whose
  outcome nobody knows
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from holdfast.errors import LeaseLost, StaleRecord
from holdfast.lease import Reading, Record, global_clock
from holdfast.lease.keeper import Keeper
from holdfast.lease.stores.memory import MemoryDatabase, MemoryStore
from holdfast.testing.world import Later, Node, Service, World

MILLION = 1_000_000


class Broken(AssertionError):
    """A promise was broken."""


@dataclass(eq=False)
class Believer:
    """A keeper on a node, and the clock by which it believes."""

    node: Node
    keeper: Keeper
    now_ns: Callable[[], int]
    life: int

    @property
    def alive(self) -> bool:
        return self.life == self.node.life and not self.keeper.over

    @property
    def believes(self) -> bool:
        return self.alive and self.now_ns() < self.keeper.deadline_ns


class Place:
    """What all nodes share.

    Args:
        world: Where.
        fast_ppm: By how much the fastest oscillator is fast; the store's clock may be, too.
        gated: Whether writes to the counters require the lease; else they only hope for it.
    """

    def __init__(self, world: World, *, fast_ppm: int = 0, gated: bool = True) -> None:
        self.world = world
        self.database = MemoryDatabase()
        self.fast_ppm = fast_ppm
        self.gated = gated
        self.believers: list[Believer] = []
        self.claims: Counter[str] = Counter()  # by name
        # How holdings ended, and what workers met; among the counts that `explore` adds up.
        self.endings: Counter[str] = world.service("place").counts
        self.counters: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.acknowledged: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.locks: Counter[tuple[str, int]] = Counter()  # transactions that gate, by holding
        self.births = 1
        self.broken: list[str] = []
        self._promised_ns: dict[int, int] = {}  # by epoch, in true time
        self._made_ns: dict[str, int] = {}  # when a holder's record was made
        self._epochs: dict[str, int] = {}  # the last of each name
        self._given: set[int] = set()
        self._waiting: dict[str, list[Later[None]]] = {}
        self._lowest_lead = 0
        self._chance = world.rng("place").random

    def open(self) -> MemoryStore:
        """A connection."""
        return MemoryStore(self.database)

    def fail(self, what: str) -> None:
        """Stop the world: raised outside of the call, which would take it for an answer."""
        self.world.trace.say(what)
        self.broken.append(what)
        self.world.at(self.world.now_ns, self.check_kept)

    def check_kept(self) -> None:
        """No promise was broken so far."""
        if self.broken:
            raise Broken(self.broken[0])

    # -- calls ------------------------------------------------------------------------------------

    def call(
        self, path: Service, node: Node, operation: str, do: Callable[[], Any], duration_ns: int
    ) -> Any:
        """Have something done here; `duration_ns` is what it asks for, 0 for no promise."""
        began_ns = self.world.now_ns
        return path.call(node, operation, self._apply, operation, do, began_ns, duration_ns)

    def _apply(self, operation: str, do: Callable[[], Any], began_ns: int, duration_ns: int) -> Any:
        before, reading = dict(self.database.held), self.database.read_clock()
        try:
            answer = do()
        finally:
            after = self.database.held
            for _, name in sorted(before.keys() | after.keys()):
                key = ("default", name)
                if before.get(key) != after.get(key):
                    self._changed(operation, name, before.get(key), after.get(key))
            if self.database.read_clock() != reading:
                self._ticked(reading, self.database.read_clock())
        for one in answer if isinstance(answer, list) else [answer]:
            if duration_ns and isinstance(one, Record):
                # What the fastest oscillator makes of the duration, in true time.
                until_ns = began_ns + duration_ns * MILLION // (MILLION + self.fast_ppm)
                self._promised_ns[one.epoch] = max(until_ns, self._promised_ns.get(one.epoch, 0))
        return answer

    def waiting(self, store: MemoryStore, name: str) -> Later[None]:
        """Settled when that lease is another than the store's picture shows, or not at all."""
        later: Later[None] = Later(f"a change of {name}")
        if store.records().get(name) != self.database.held.get(("default", name)):
            later.resolve(None)
        elif self._chance() < 0.5:  # notices get lost: looking must be enough
            self._waiting.setdefault(name, []).append(later)
        return later

    # -- what must never be -----------------------------------------------------------------------

    def _changed(
        self, operation: str, name: str, before: Record | None, after: Record | None
    ) -> None:
        now_ns = self.world.now_ns
        if before is not None and after is not None:
            if (before.holder, before.epoch) != (after.holder, after.epoch):
                self.fail(f"{name} was handed over in place, by {operation}")
            if before.era == after.era and before.end_in(before.era) > after.end_in(after.era):
                self.fail(f"the term of {name} was made shorter, by {operation}")
        elif after is not None:
            if after.epoch <= self._epochs.get(name, 0) or after.epoch in self._given:
                self.fail(f"epoch {after.epoch} of {name} follows {self._epochs.get(name)}")
            self._epochs[name] = after.epoch
            self._given.add(after.epoch)
            self._made_ns[after.holder] = now_ns
            self.claims[name] += 1
        else:
            assert before is not None
            self.endings[operation] += 1
            if operation == "expire" and before.pins:
                self.fail(f"{name} was removed, and it is pinned")
            promised_ns = self._promised_ns.get(before.epoch, 0)
            if operation == "expire" and now_ns <= promised_ns:
                self.fail(f"{name} was removed {promised_ns - now_ns} ns before its time")
        for one in self.believers:
            if one.keeper.record.name == name:
                self.check(one)
        for later in self._waiting.pop(name, []):
            later.resolve(None)

    def _ticked(self, before: Reading, after: Reading) -> None:
        """How far the clock leads real time: it may rise by a step above its lowest, in an era."""
        real = self.world.now_ns * (MILLION + self.fast_ppm)
        self._lowest_lead = min(self._lowest_lead, before.now_ns * MILLION - real)
        if after.now_ns * MILLION - real > self._lowest_lead + after.step_ns * MILLION:
            self.fail("the clock runs faster than real time")

    def check(self, one: Believer) -> None:
        """Who believes has it."""
        mine = one.keeper.record
        current = self.database.held.get(("default", mine.name))
        if one.believes and (
            current is None or (current.holder, current.epoch) != (mine.holder, mine.epoch)
        ):
            whose = "nobody" if current is None else current.holder
            self.fail(f"{one.node.name} believes that it holds {mine.name}, and {whose} does")

    def check_extended(self, asked: Record, answer: object) -> None:
        """Who asked for it has got it: nobody lengthens another's term."""
        if isinstance(answer, Record) and answer.epoch != asked.epoch:
            self.fail(f"{asked.holder} has extended the term of {answer.holder}")

    def believe(self, one: Believer) -> None:
        """Somebody begins to believe, and whoever stopped is forgotten."""
        self.believers = [other for other in self.believers if other.alive]
        self.believers.append(one)
        self.check(one)

    def denied(self, name: str, holder: str, claimed_ns: int, looked_ns: int) -> None:
        """A claim was denied: it has left nothing behind, unless by a request that came later.

        That is, after the last look; and there was a look after the last claim.
        """
        current = self.database.held.get(("default", name))
        if current is not None and current.holder == holder:
            if looked_ns >= self._made_ns[holder] or looked_ns < claimed_ns:
                self.fail(f"{holder} was told that {name} is not his, and it is")
            self.endings["came later"] += 1

    # -- what the leases are for ------------------------------------------------------------------

    def stands(self, record: Record) -> bool:
        """Whether that holding stands."""
        current = self.database.held.get(("default", record.name))
        return current is not None and (current.holder, current.epoch) == (
            record.holder,
            record.epoch,
        )

    def read(self, record: Record) -> int:
        """The number that is counted, for whoever is going to write the next one."""
        if self.gated and not self.stands(record):
            raise LeaseLost("it is not yours any more", on=record.name)
        return self.counters[record.name]

    def write(self, record: Record, number: int) -> None:
        """Write the next one, as a transaction that is gated."""
        if self.gated and not self.stands(record):
            self.endings["fenced"] += 1
            raise LeaseLost("it is not yours any more", on=record.name)
        self.counters[record.name] = number

    def check_counters(self) -> None:
        """No write was lost that somebody was told of, and none was made up."""
        for name, sent in sorted(self.sent.items()):
            least = self.acknowledged[name]
            most = sent - self.refused[name]
            if not least <= self.counters[name] <= most:
                raise Broken(f"{name} was counted to {self.counters[name]}, not {least} to {most}")

    # -- transactions that last -------------------------------------------------------------------

    def begin(self, record: Record) -> None:
        """Lock the record of its holder, as the gate of a database does."""
        if not self.stands(record):
            raise LeaseLost("it is not yours any more", on=record.name)
        self.locks[record.name, record.epoch] += 1

    def commit(self, record: Record) -> None:
        """Let go of it."""
        self.locks[record.name, record.epoch] -= 1

    def removable(self, record: Record) -> None:
        """A removal does not wait for transactions that gate: it is refused."""
        if self.locks[record.name, record.epoch]:
            raise StaleRecord("a transaction holds on to it", on=record.name)

    # -- what befalls it --------------------------------------------------------------------------

    def pin(self, name: str, for_ns: int) -> None:
        """Somebody pins a lease for so long."""
        store = self.open()
        store.pin(name, "maintenance")
        self.world.after(for_ns, lambda: store.unpin(name, "maintenance"))

    def set_clock(self, now_ns: int) -> None:
        """As if it had run for so long."""
        newborn = global_clock.newborn("1")
        self.database.move_clock(Reading(now_ns, newborn.era, newborn.step_ns))
        self._lowest_lead = now_ns * MILLION

    def check_clock_went_on(self, before: Reading) -> None:
        """It is well, and so the clock passes."""
        reading = self.database.read_clock()
        if reading.era == before.era and reading.now_ns <= before.now_ns:
            raise Broken("the clock stands still, and everything is well")

    def rebirth(self) -> None:
        """The clock's record is lost and made anew."""
        self.births += 1
        self.database.move_clock(global_clock.newborn(f"{self.births}"))
        self._lowest_lead = -self.world.now_ns * (MILLION + self.fast_ppm)
        self.world.trace.say("the clock is made anew")
