"""What becomes of messages between nodes."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.errors import InvalidArgument
from holdfast.testing.world import Link, World
from holdfast.testing.world.network import IN_FLIGHT_MAX

SECOND = 1_000_000_000


class Ear:
    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def on_timer(self, timer: Any) -> None: ...

    def on_message(self, source: str, data: Any) -> None:
        self.heard.append((source, data))


def ears(world: World, names: str) -> dict[str, Ear]:
    found = {name: Ear() for name in names}
    for name, ear in found.items():
        world.node(name).attach(ear)
    return found


def send(world: World, count: int = 1000, source: str = "a", to: str = "b") -> None:
    for number in range(count):
        world.network.send(source, to, number)


def test_without_faults_everything_arrives_once_within_the_latency() -> None:
    world = World(1)
    ear = ears(world, "ab")["b"]
    world.network.link = Link(latency_ns=(5, 7))
    send(world)
    assert world.network.in_flight == 1000
    world.run(4)
    assert ear.heard == []
    world.run(7)
    assert sorted(data for _, data in ear.heard) == list(range(1000))
    assert world.network.in_flight == 0
    assert {source for source, _ in ear.heard} == {"a"}


def test_some_are_lost_doubled_and_held_back() -> None:
    world = World(1)
    ear = ears(world, "ab")["b"]
    world.network.link = Link((0, 0), loss=0.2, duplicate=0.3, reorder=0.1, reorder_ns=SECOND)
    send(world, 10_000)
    world.run(0)
    at_once = len(ear.heard)
    world.run()
    network = world.network
    assert 1800 < network.lost < 2200
    assert 2200 < network.doubled < 2600
    assert 700 < network.reordered < 900
    assert len(ear.heard) == network.arrived == 10_000 - network.lost + network.doubled
    assert len(ear.heard) - at_once == network.reordered
    assert network.in_flight == 0


def test_a_link_of_its_own() -> None:
    world = World(1)
    found = ears(world, "abc")
    world.network.set_link(Link(loss=1.0), source="a", to="b")
    send(world, 10, "a", "b")
    send(world, 10, "b", "a")
    send(world, 10, "a", "c")
    world.run()
    assert [len(found[name].heard) for name in "abc"] == [10, 0, 10]


def test_a_cut_is_one_way_and_a_partition_two() -> None:
    world = World(1)
    found = ears(world, "abc")
    cut = world.network.cut("a", "b")
    send(world, 1, "a", "b")
    send(world, 1, "b", "a")
    world.run()
    assert [len(found[name].heard) for name in "abc"] == [1, 0, 0]
    world.network.mend(cut)
    world.network.mend(cut)
    assert sum("mended" in line for line in world.trace.lines) == 1
    world.network.partition("a")
    for source, to in [("a", "b"), ("b", "a"), ("a", "c"), ("c", "a"), ("b", "c"), ("c", "b")]:
        send(world, 1, source, to)
    world.run()
    assert [len(found[name].heard) for name in "abc"] == [1, 1, 1]
    assert world.network.cut_off == 5


def test_cuts_that_overlap_end_each_for_itself() -> None:
    world = World(1)
    ear = ears(world, "ab")["b"]
    world.network.partition(["a"], ["b"], for_ns=SECOND)
    world.network.cut(["a"], ["b"], for_ns=3 * SECOND)
    world.run(2 * SECOND)
    send(world, 1)
    world.run(4 * SECOND)
    send(world, 1)
    world.run()
    assert (len(ear.heard), world.network.cut_off) == (1, 1)


def test_healing_ends_every_fault_of_the_network() -> None:
    world = World(1)
    ear = ears(world, "ab")["b"]
    world.network.link = Link(loss=0.5)
    world.network.set_link(Link(loss=1.0, duplicate=1.0, latency_ns=(3, 3)), source="a")
    world.network.partition("a", for_ns=SECOND)
    world.heal()
    send(world, 100)
    world.run(3)
    assert len(ear.heard) == 100
    assert world.network.link == Link()
    world.run()


def test_links_can_be_drawn_and_every_mixture_comes_up() -> None:
    links = [Link.drawn(World(seed).rng("faults"), most=0.3) for seed in range(100)]
    assert len({(link.loss > 0, link.duplicate > 0, link.reorder > 0) for link in links}) == 8
    assert 0.2 < max(link.loss for link in links) <= 0.3


def test_what_goes_to_nobody_is_refused() -> None:
    world = World(1)
    ears(world, "a")
    send(world, 3, to="nobody")
    assert (world.network.refused, world.network.in_flight) == (3, 0)


def test_what_is_on_its_way_is_bounded() -> None:
    world = World(1)
    ears(world, "ab")
    send(world, IN_FLIGHT_MAX + 7)
    assert (world.network.refused, world.network.in_flight) == (7, IN_FLIGHT_MAX)


@pytest.mark.parametrize(
    "wrong",
    [{"loss": 1.1}, {"duplicate": -0.1}, {"latency_ns": (2, 1)}, {"latency_ns": (-1, 1)}],
)
def test_a_link_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        Link(**wrong)


def test_the_trace_shows_what_was_said_and_not_where_it_lies_in_memory() -> None:
    world = World(1)
    ears(world, "ab")
    world.network.send("a", "b", b"hello")
    world.network.send("a", "b", object())
    world.run()
    said = {line.split(" ", 1)[1] for line in world.trace.lines}
    assert said == {"b hears a 5 907060870", "b hears a object"}
