"""The checkers of simulated leases: each of them sees what it is for.

What the ablations do not bring about is done by hand here, to the records of the place.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import pytest

from holdfast.errors import LeaseLost, StaleRecord
from holdfast.lease import Reading, Record
from holdfast.lease.keeper import Keeper
from holdfast.lease.stores.memory import MemoryStore
from holdfast.testing.world import ServiceFaults, World
from tests.simulation.lease_place import Believer, Broken, Place

SECOND = 1_000_000_000
KEY = ("default", "n")


class Stand:
    """A place with one lease, held by "me", and a way on which nothing goes wrong."""

    def __init__(self, *, gated: bool = True) -> None:
        self.world = World(1)
        self.place = Place(self.world, gated=gated)
        self.path = self.world.service("store", ServiceFaults())
        self.node = self.world.node("s0")
        self.store: MemoryStore = self.place.open()
        self.does("claim", lambda: self.store.claim("n", "me", SECOND), SECOND)

    @property
    def record(self) -> Record:
        return self.place.database.held[KEY]

    def does(self, operation: str, do: Callable[[], object], duration_ns: int = 0) -> None:
        self.place.call(self.path, self.node, operation, do, duration_ns)
        self.world.run(self.world.now_ns + SECOND // 10)

    def put(self, record: Record | None) -> None:
        """Whatever the rules say about it."""
        if record is None:
            del self.place.database.held[KEY]
        else:
            self.place.database.held[KEY] = record

    def tick(self, by_ns: int) -> None:
        before = self.place.database.read_clock()
        self.place.database.move_clock(replace(before, now_ns=before.now_ns + by_ns))


def test_what_the_rules_allow_is_not_complained_of() -> None:
    stand = Stand()
    held = stand.record
    stand.does("extend", lambda: stand.store.extend(held, 2 * SECOND), 2 * SECOND)
    stand.does("advance", lambda: stand.tick(SECOND // 10))
    stand.does("release", lambda: stand.store.release(stand.record))
    stand.does("claim", lambda: stand.store.claim("n", "another", SECOND), SECOND)
    stand.place.check_kept()
    stand.place.check_counters()
    assert stand.place.endings == {"release": 1}


def test_a_hand_over_in_place_is_seen() -> None:
    stand = Stand()
    with pytest.raises(Broken, match="handed over in place"):
        stand.does("claim", lambda: stand.put(replace(stand.record, holder="another")))


def test_a_shortened_term_is_seen() -> None:
    stand = Stand()
    with pytest.raises(Broken, match="made shorter"):
        stand.does("extend", lambda: stand.put(replace(stand.record, duration_ns=SECOND // 2)))


@pytest.mark.parametrize("epoch", [0, -1])
def test_an_epoch_that_does_not_grow_is_seen(epoch: int) -> None:
    stand = Stand()
    stand.does("release", lambda: stand.store.release(stand.record))
    stand.does("claim", lambda: stand.store.claim("n", "another", SECOND), SECOND)
    stand.does("release", lambda: stand.store.release(stand.record))
    stand.place.database.epoch = 1 + epoch
    with pytest.raises(Broken, match="follows 2"):
        stand.does("claim", lambda: stand.store.claim("n", "me", SECOND), SECOND)


def test_an_epoch_that_another_name_had_is_seen() -> None:
    stand = Stand()
    stand.place.database.epoch = 0
    with pytest.raises(Broken, match="epoch 1 of m"):
        stand.does("claim", lambda: stand.store.claim("m", "me", SECOND), SECOND)


def test_a_removal_before_its_time_is_seen_to_the_nanosecond() -> None:
    for late_ns in (0, 1):
        stand = Stand()
        promised_ns = next(iter(stand.place._promised_ns.values()))
        assert promised_ns == SECOND  # the call began at zero
        stand.world.run(promised_ns + late_ns)
        stand.put(None)
        stand.place._changed("expire", "n", stand.store.records()["n"], None)
        if late_ns:
            stand.place.check_kept()
        else:
            with pytest.raises(Broken, match="0 ns before its time"):
                stand.place.check_kept()


def test_the_removal_of_what_is_pinned_is_seen() -> None:
    stand = Stand()
    stand.place.pin("n", 100 * SECOND)
    assert stand.record.pins
    stand.world.run(9 * SECOND)
    with pytest.raises(Broken, match="pinned"):
        stand.does("expire", lambda: stand.put(None))


def test_belief_in_what_stands_no_more_is_seen_up_to_the_deadline() -> None:
    for waited_ns in (0, SECOND):
        stand = Stand()
        clock = stand.node.clock.boottime_ns
        keeper = Keeper(stand.record, clock(), SECOND, None)
        stand.place.believe(Believer(stand.node, keeper, clock, stand.node.life))
        stand.place.check_kept()
        stand.world.run(stand.world.now_ns + waited_ns)
        if waited_ns:
            stand.does("release", functools.partial(stand.put, None))
        else:
            with pytest.raises(Broken, match="s0 believes that it holds n, and nobody does"):
                stand.does("release", functools.partial(stand.put, None))


def test_who_has_crashed_believes_nothing() -> None:
    stand = Stand()
    keeper = Keeper(stand.record, stand.node.clock.boottime_ns(), SECOND, None)
    one = Believer(stand.node, keeper, stand.node.clock.boottime_ns, stand.node.life)
    assert one.believes
    stand.node.crash()
    assert not one.believes


def test_a_clock_that_runs_ahead_is_seen() -> None:
    """By more than a step; and what it was late by before is no excuse."""
    stand = Stand()
    stand.world.run(10 * SECOND)
    for _ in range(5):
        stand.does("advance", lambda: stand.tick(SECOND // 10))
    stand.does("advance", lambda: stand.tick(SECOND // 2))
    with pytest.raises(Broken, match="faster than real time"):
        stand.does("advance", lambda: stand.tick(SECOND // 5))


def test_a_clock_that_stands_still_is_seen() -> None:
    stand = Stand()
    with pytest.raises(Broken, match="stands still"):
        stand.place.check_clock_went_on(stand.place.database.read_clock())
    stand.place.check_clock_went_on(Reading(5, "another"))


def test_a_term_that_another_has_extended_is_seen() -> None:
    stand = Stand()
    stand.place.check_extended(stand.record, stand.record)
    stand.place.check_extended(stand.record, StaleRecord("it is not yours"))
    stand.place.check_kept()
    stand.place.check_extended(replace(stand.record, holder="old", epoch=7), stand.record)
    with pytest.raises(Broken, match="old has extended the term of me"):
        stand.place.check_kept()


def test_a_denial_of_what_is_held_is_seen_unless_it_came_later() -> None:
    for claimed_ns, looked_ns in ((0, SECOND), (SECOND, 0)):
        stand = Stand()
        stand.place.denied("n", "me", claimed_ns, looked_ns)
        with pytest.raises(Broken, match="is not his, and it is"):
            stand.place.check_kept()
    stand = Stand()
    stand.place.denied("n", "me", 0, 0)  # it was made after the look
    stand.place.denied("n", "another", 0, SECOND)
    stand.place.check_kept()


@pytest.mark.parametrize(("counted", "right"), [(4, False), (5, True), (7, True), (8, False)])
def test_the_counter_is_held_to_what_was_acknowledged(counted: int, right: bool) -> None:
    """Ten were sent, five acknowledged, three refused; of two nobody knows."""
    place = Stand().place
    place.sent["n"], place.acknowledged["n"], place.refused["n"] = 10, 5, 3
    place.counters["n"] = counted
    if right:
        place.check_counters()
    else:
        with pytest.raises(Broken, match=f"counted to {counted}, not 5 to 7"):
            place.check_counters()


def test_the_gate_lets_only_the_holding_pass() -> None:
    stand = Stand()
    held = stand.record
    stand.place.write(held, 1)
    stand.put(replace(held, epoch=9))
    for use in (stand.place.read, stand.place.begin, lambda record: stand.place.write(record, 2)):
        with pytest.raises(LeaseLost):
            use(held)
    assert stand.place.counters["n"] == 1
    open_to_all = Stand(gated=False).place
    open_to_all.write(replace(held, epoch=9), 2)
    assert open_to_all.counters["n"] == 2
