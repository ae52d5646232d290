"""The clock of the world, the clocks of its nodes, and how it runs."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import pytest

from holdfast.clock import Clock
from holdfast.errors import InvalidArgument
from holdfast.testing.world import Deadlock, Later, Livelock, OutOfTime, World

SECOND = 1_000_000_000


def faces(clock: Clock) -> tuple[int, int, int]:
    return clock.boottime_ns(), clock.monotonic_ns(), clock.realtime_ns()


def moved(clock: Clock, before: tuple[int, int, int]) -> tuple[int, ...]:
    return tuple(now - then for now, then in zip(faces(clock), before, strict=True))


def test_time_begins_at_zero_and_only_run_moves_it() -> None:
    world = World(1)
    assert world.now_ns == world.clock.boottime_ns() == world.clock.monotonic_ns() == 0
    world.run(5 * SECOND)
    assert world.now_ns == world.clock.boottime_ns() == 5 * SECOND
    world.run(3 * SECOND)
    assert world.now_ns == 5 * SECOND


def test_the_faces_of_a_node_differ_from_each_other_and_from_every_other_nodes() -> None:
    world = World(1)
    shown = [value for name in "abc" for value in faces(world.node(name).clock)]
    assert len({value // SECOND for value in [*shown, 0]}) == 10


@pytest.mark.parametrize("ppm", [0, 200, -200, 30_000.5])
def test_an_oscillator_drifts_on_all_faces(ppm: float) -> None:
    world = World(1)
    clock = world.node("a", drift_ppm=ppm).clock
    before = faces(clock)
    world.run(1000 * SECOND)
    assert moved(clock, before) == (round(1000 * SECOND * (1 + ppm / 1e6)),) * 3
    assert clock.drift_ppm == ppm


def test_a_drift_that_changes_changes_nothing_that_was() -> None:
    world = World(1)
    node = world.node("a", drift_ppm=100)
    before = faces(node.clock)
    world.run(10 * SECOND)
    node.drift(-100)
    assert moved(node.clock, before) == (10 * SECOND + 1_000_000,) * 3
    world.run(20 * SECOND)
    assert moved(node.clock, before) == (20 * SECOND,) * 3


def test_in_a_suspend_only_monotonic_stands_still() -> None:
    world = World(1)
    node = world.node("a")
    before = faces(node.clock)
    node.sleep(for_ns=7 * SECOND)
    world.run(5 * SECOND)
    assert moved(node.clock, before) == (5 * SECOND, 0, 5 * SECOND)
    world.run(10 * SECOND)
    assert moved(node.clock, before) == (10 * SECOND, 3 * SECOND, 10 * SECOND)


def test_while_a_node_is_stopped_all_its_clocks_go_on() -> None:
    world = World(1)
    node = world.node("a")
    before = faces(node.clock)
    node.pause()
    world.run(5 * SECOND)
    assert moved(node.clock, before) == (5 * SECOND,) * 3


def test_only_the_wall_clock_jumps() -> None:
    world = World(1)
    node = world.node("a")
    before = faces(node.clock)
    node.jump_realtime(-3600 * SECOND)
    assert moved(node.clock, before) == (0, 0, -3600 * SECOND)


@pytest.mark.parametrize("ppm", [0, 250])
def test_after_a_reboot_boottime_begins_at_zero_and_the_date_goes_on(ppm: float) -> None:
    world = World(1)
    node = world.node("a", drift_ppm=ppm)
    world.run(SECOND)
    before = faces(node.clock)
    node.crash()
    node.restart(reboot=True)
    assert faces(node.clock) == (0, 0, before[2])
    world.run(2 * SECOND)
    assert node.clock.boottime_ns() == node.clock.monotonic_ns() == SECOND + ppm * 1000


@pytest.mark.parametrize("ppm", [0, 317, -317, 123_456.789])
@pytest.mark.parametrize("face", ["boottime", "monotonic"])
def test_a_timer_never_fires_before_the_nodes_own_clock_says_so(ppm: float, face: Any) -> None:
    world = World(3, jitter_ns=0)
    node = world.node("a", drift_ppm=ppm, face=face)
    missed: list[int] = []
    for delay_ns in [0, 1, 2, 3, 999, 1001, SECOND + 7]:
        due_ns = node.now_ns() + delay_ns
        node.after(delay_ns).then(
            lambda _, due=due_ns: missed.append(node.now_ns() - due)  # type: ignore[misc]
        )
    world.run()
    assert len(missed) == 7
    assert all(0 <= late <= 1 for late in missed)  # and no later than its clock can tell


def test_a_name_is_one_word_and_stands_for_one_node() -> None:
    world = World(1)
    assert world.node("a") is world.node("a")
    for name in ("", "a b", " a"):
        with pytest.raises(InvalidArgument):
            world.node(name)


def test_a_stream_of_chance_is_its_own() -> None:
    first, second = World(7), World(7)
    first.rng("other").random()
    assert (
        first.rng("mine").random() == second.rng("mine").random() != World(8).rng("mine").random()
    )
    assert World(7).rng("mine").random() != World(7).rng("other").random()


def test_what_a_seed_means_never_changes() -> None:
    """A line that replays a seed must find the same run in another version of Python."""
    assert World(7).rng("mine").getrandbits(64) == 9_914_283_130_534_318_001


def test_a_run_ends_when_its_condition_holds() -> None:
    world = World(1)
    done: list[int] = []
    for second in range(10):
        world.at(second * SECOND, lambda second=second: done.append(second))  # type: ignore[misc]
    world.run(until=lambda: len(done) == 4)
    assert (done, world.now_ns) == ([0, 1, 2, 3], 3 * SECOND)
    world.run(until=lambda: True)
    assert len(done) == 4
    world.run()
    assert len(done) == 10


def test_a_condition_that_does_not_come_true_in_time_is_an_error() -> None:
    world = World(1)
    world.every(SECOND, lambda: None)
    with pytest.raises(OutOfTime, match="5000000000 ns have passed"):
        world.run(until=lambda: False, limit_ns=5 * SECOND)
    with pytest.raises(OutOfTime):
        world.run(limit_ns=5 * SECOND)


def test_if_nothing_is_scheduled_a_condition_can_never_come_true() -> None:
    world = World(1)
    world.after(SECOND, lambda: None)
    with pytest.raises(Deadlock, match="nothing is scheduled any more at 1000000000 ns"):
        world.run(until=lambda: False)


def test_a_deadlock_names_who_waits_for_what() -> None:
    world = World(1)

    def waits() -> Any:
        yield Later("the answer of the oracle")

    world.node("a").spawn(waits(), name="pilgrim")
    world.node("a").spawn(waits(), name="priest", daemon=True)
    with pytest.raises(Deadlock, match=r"who waits: pilgrim on a for the answer of the oracle$"):
        world.run()


def test_a_daemon_may_wait_for_ever() -> None:
    world = World(1)

    def waits() -> Any:
        yield Later("the end of days")

    world.node("a").spawn(waits(), daemon=True)
    world.run()


def test_time_that_stands_still_is_noticed() -> None:
    world = World(1)

    def again(_: object) -> None:
        world.scheduler.at(world.now_ns, again)

    again(None)
    with pytest.raises(Livelock):
        world.run(SECOND)


def test_what_is_to_happen_at_one_instant_happens_in_the_order_of_the_seed() -> None:
    orders = set()
    for seed in range(50):
        world = World(seed)
        order: list[int] = []
        for number in range(3):
            world.at(SECOND, functools.partial(order.append, number))
        world.run()
        orders.add(tuple(order))
    assert len(orders) == 6


def test_every_goes_on_until_the_world_is_healed() -> None:
    world = World(1)
    calls: list[int] = []
    world.every(SECOND, lambda: calls.append(world.now_ns))
    world.run(100 * SECOND)
    assert 60 < len(calls) < 140
    assert len({round((b - a) / 1e8) for a, b in itertools.pairwise(calls)}) > 5
    world.heal()
    before = len(calls)
    world.run()
    assert len(calls) == before
