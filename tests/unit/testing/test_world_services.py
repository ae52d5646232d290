"""Calls of something real, and what their callers hear."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from holdfast.errors import InvalidArgument, OutcomeUnknown, StaleRecord, Unavailable
from holdfast.lease.stores.memory import MemoryDatabase, MemoryStore
from holdfast.testing.world import Later, Service, ServiceFaults, World

SECOND = 1_000_000_000
QUICK = ServiceFaults(latency_ns=(1000, 1000))


class Bell:
    def __init__(self, world: World) -> None:
        self.world = world
        self.rung: list[int] = []

    def ring(self, times: int = 1, *, fails: bool = False) -> int:
        self.rung.append(self.world.now_ns)
        if fails:
            raise StaleRecord("cracked")
        return times


def call(faults: ServiceFaults, seed: int = 1) -> tuple[World, Service, Bell, Later[Any]]:
    world = World(seed)
    bell = Bell(world)
    service = world.service("tower", faults)
    return world, service, bell, service.call(world.node("a"), "ring", bell.ring, 3)


def test_a_call_is_applied_at_one_instant_between_request_and_answer() -> None:
    world, service, bell, later = call(QUICK)
    world.run(999)
    assert bell.rung == []
    world.run(1000)
    assert (bell.rung, later.settled) == ([1000], False)
    world.run(2000)
    assert later.result() == 3
    world.run()
    assert (service.counts["calls"], service.counts["applied"]) == (1, 1)


def test_what_the_real_thing_raises_is_an_answer_too() -> None:
    world = World(1)
    bell = Bell(world)
    later = world.service("tower").call(world.node("a"), "ring", bell.ring, fails=True)
    world.run()
    assert isinstance(later.error, StaleRecord)


def test_a_refused_call_was_surely_not_applied() -> None:
    world, service, bell, later = call(replace(QUICK, refuse=1.0))
    world.run()
    assert isinstance(later.error, Unavailable)
    assert (bell.rung, service.counts["refuse"]) == ([], 1)


def test_a_lost_request_was_not_applied_and_nobody_can_tell() -> None:
    world, service, bell, later = call(replace(QUICK, lose_request=1.0))
    world.run()
    assert isinstance(later.error, OutcomeUnknown)
    assert (bell.rung, service.counts["lose_request"], service.counts["unknown"]) == ([], 1, 1)


def test_a_lost_answer_was_applied_and_nobody_can_tell() -> None:
    world, service, bell, later = call(replace(QUICK, lose_answer=1.0, patience_ns=SECOND))
    world.run(SECOND - 1)
    assert not later.settled
    world.run()
    assert isinstance(later.error, OutcomeUnknown)
    assert (bell.rung, service.counts["lose_answer"]) == ([1000], 1)


def test_a_late_call_is_applied_after_its_caller_has_given_up() -> None:
    for seed in range(20):
        world, _, bell, later = call(replace(QUICK, late=1.0, late_ns=10 * SECOND), seed)
        world.run()
        assert isinstance(later.error, OutcomeUnknown)
        assert SECOND <= bell.rung[0] <= 11 * SECOND


def test_a_slow_call_can_outlast_its_callers_patience() -> None:
    outcomes = set()
    for seed in range(60):
        world, service, bell, later = call(replace(QUICK, slow=1.0, slow_ns=2 * SECOND), seed)
        world.run()
        assert len(bell.rung) == 1
        outcomes.add((later.error is None, bell.rung[0] > SECOND))
        assert service.counts["slow"] >= 1
    assert outcomes == {(True, False), (False, False), (False, True)}


def test_while_it_is_down_it_refuses_and_what_it_was_about_to_answer_is_lost() -> None:
    slow = replace(QUICK, latency_ns=(SECOND, SECOND), patience_ns=20 * SECOND)
    world, service, bell, first = call(slow)
    forgotten: list[int] = []
    service.on_restart = lambda: forgotten.append(world.now_ns)
    node = world.node("a")
    world.run(SECOND + SECOND // 2)
    service.restart(for_ns=5 * SECOND)
    second = service.call(node, "ring", bell.ring)
    world.run(6 * SECOND)
    third = service.call(node, "ring", bell.ring)
    world.run()
    assert isinstance(first.error, OutcomeUnknown)
    assert isinstance(second.error, Unavailable)
    assert third.result() == 1
    assert bell.rung == [SECOND, 7 * SECOND]
    assert forgotten == [SECOND + SECOND // 2]


def test_a_call_can_bring_it_down_before_or_after_it_is_applied() -> None:
    seen = set()
    for seed in range(30):
        world, service, bell, later = call(replace(QUICK, restart=1.0), seed)
        world.run(SECOND // 20)
        assert [service.down] == [True]
        world.run()
        assert not service.down
        seen.add((type(later.error), len(bell.rung)))
    assert seen == {(Unavailable, 0), (OutcomeUnknown, 1)}


def test_a_service_that_is_down_for_good_comes_back_when_it_is_started_or_healed() -> None:
    world, service, _, _ = call(QUICK)
    service.restart()
    world.run()
    assert [service.down] == [True]
    service.start()
    assert [service.down] == [False]
    service.restart()
    service.faults = replace(QUICK, refuse=1.0)
    world.heal()
    assert (service.down, service.faults) == (False, QUICK)


def test_a_restart_that_ends_does_not_end_the_next_one() -> None:
    world, service, _, _ = call(QUICK)
    service.restart(for_ns=SECOND)
    service.restart(for_ns=5 * SECOND)
    world.run(2 * SECOND)
    assert service.down


def test_a_caller_that_crashes_does_not_call_its_request_back() -> None:
    world, _, bell, _ = call(QUICK)
    world.node("a").crash()
    world.run()
    assert len(bell.rung) == 1


def test_the_exceptions_are_the_callers_choice() -> None:
    world = World(1)
    service = world.service(
        "disk", replace(QUICK, lose_answer=1.0), unknown=lambda text: TimeoutError(text)
    )
    later = service.call(world.node("a"), "write", lambda: None)
    world.run()
    assert isinstance(later.error, TimeoutError)


def test_it_serves_a_real_store_of_leases() -> None:
    world = World(1)
    store = MemoryStore(MemoryDatabase(world.clock))
    service = world.service("database")
    node = world.node("a")
    claimed = service.call(node, "claim", store.claim, "nightly", "me", 30 * SECOND)
    again = service.call(node, "claim", store.claim, "nightly", "you", 30 * SECOND)
    world.run()
    [winner] = [one for one in (claimed, again) if one.error is None]
    [loser] = [one for one in (claimed, again) if one.error is not None]
    assert winner.result().name == "nightly"
    assert isinstance(loser.error, StaleRecord)
    early = service.call(node, "expire", store.expire, "nightly")
    world.run(29 * SECOND)
    assert isinstance(early.error, StaleRecord)
    world.run(31 * SECOND)
    late = service.call(node, "expire", store.expire, "nightly")
    world.run()
    assert late.error is None


@pytest.mark.parametrize(
    "wrong", [{"refuse": 2.0}, {"late": -1.0}, {"latency_ns": (2, 1)}, {"restart_ns": (-1, 0)}]
)
def test_faults_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        ServiceFaults(**wrong)


def test_faults_can_be_drawn_and_every_mixture_comes_up() -> None:
    mixtures = set()
    for seed in range(400):
        faults = ServiceFaults.drawn(World(seed).rng("faults"), most=0.3)
        chances = (faults.refuse, faults.lose_request, faults.lose_answer, faults.late, faults.slow)
        assert all(chance <= 0.3 for chance in chances)
        assert faults.restart <= 0.03
        mixtures.add(tuple(chance > 0 for chance in (*chances, faults.restart)))
    assert len(mixtures) == 64
