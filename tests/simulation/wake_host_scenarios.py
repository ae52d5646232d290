"""Wake leases on one host: pipelines that are killed and fork, callbacks, failures, own sleeps.

Each scenario is a function of a World, and takes ``without``: the name of a safeguard that is
switched off while it runs (`tests.simulation.wake_host_safeguards`). With all of them none may
fail; without one, the explorer finds a seed.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Any

from holdfast.testing.world import Host, Program, World
from holdfast.wake.model import Slept
from tests.simulation.wake_host_governor import MS, SECOND, Place
from tests.simulation.wake_host_programs import Listener, Pipeline, Player, Sampler, User
from tests.simulation.wake_host_safeguards import switched_off

# When all is quiet the host goes down within this: the longest time-out of a listener before and
# after, the longest pause between attempts, the longest sleep but one, the work that is left, and
# the time until somebody asks again.
BOUND_NS = 60 * SECOND


def pipelines(world: World, *, without: str | None = None) -> None:
    """Events travel with their batons through stages that are killed, fork, and are crowded."""
    with switched_off(without):
        place = place_in(world)
        place.governor.long = 0.2
        pipeline = Pipeline(place, crowded=0.2)
        rng = world.rng("scenario")
        world.every(400 * MS, pipeline.event, name="events")
        world.every(SECOND // 2, lambda: pipeline.strike(rng), name="strikes")
        world.run(15 * SECOND)
        quiet(world, place)


def callbacks(world: World, *, without: str | None = None) -> None:
    """Listeners that are slow, hang, hold leases, play, are killed and come back at any moment."""
    with switched_off(without):
        place = place_in(world)
        rng = world.rng("scenario")
        all_habits = ("quick", "slow", "hold", "hold-and-drop", "play")
        kinds: list[dict[str, Any]] = [
            {"habits": all_habits},
            {"habits": ("quick", "slow", "hold")},
            {"timeout_ns": SECOND, "then": "go_on", "habits": (*all_habits, "hang")},
            {"timeout_ns": SECOND, "then": "abort", "habits": (*all_habits, "hang")},
            {"timeout_ns": SECOND, "then": "evict", "habits": (*all_habits, "hang")},
        ]
        for number in range(rng.randrange(2, 5)):
            program = place.host.program(f"listener{number}", jitter_ns=2 * MS)
            kind = kinds[number] if number < 2 else rng.choice(kinds)
            program.node.start(partial(_listener, place, program, kind))
        player = place.host.program("player")
        player.node.start(lambda _: Player(place, player))
        world.every(2 * SECOND, lambda: _strike(place, rng), name="strikes")
        world.every(2 * SECOND, lambda: _pause(place, rng), name="pauses")
        world.run(20 * SECOND)
        quiet(world, place)


def failures(world: World, *, without: str | None = None) -> None:
    """A back-end that fails most of the time."""
    with switched_off(without):
        place = place_in(world)
        place.governor.fails = 0.97
        listener = place.host.program("listener0")
        listener.node.start(lambda _: Listener(place, listener, habits=("quick",)))
        world.run(30 * SECOND)
        place.governor.fails = 0.0
        quiet(world, place)


def latecomers(world: World, *, without: str | None = None) -> None:
    """Somebody asks every few milliseconds, and half of the sleeps last until he is heard."""
    with switched_off(without):
        place = place_in(world)
        place.governor.long = 0.5
        sampler = place.host.program("sampler", jitter_ns=2 * MS)
        sampler.node.start(lambda _: Sampler(place, sampler))
        world.run(3600 * SECOND)
        quiet(world, place)


def own_sleeps(world: World, *, without: str | None = None) -> None:
    """The machine goes down of itself, and does not wait for ever."""
    with switched_off(without):
        place = place_in(world, user=False)
        pipeline = Pipeline(place)
        listener = place.host.program("listener0", jitter_ns=2 * MS)
        listener.node.start(lambda _: Listener(place, listener))
        world.every(600 * MS, pipeline.event, name="events")
        machine = OwnSleeps(place)
        world.after(SECOND, machine.begin)
        world.run(30 * SECOND)
        world.heal()
        before = place.counts["ready"]
        world.run(until=lambda: place.counts["ready"] > before + 1, limit_ns=BOUND_NS)


class OwnSleeps:
    """Somebody else who suspends the host: tells the governor, waits a while, and does it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.world = place.world
        self.governor = place.governor
        self.began_ns = self.patience_ns = 0
        self.rng = place.world.rng("machine")

    def begin(self) -> None:
        self.began_ns = self.world.now_ns
        self.patience_ns = self.rng.choice([SECOND // 2, 5 * SECOND])
        self.governor.ready = False
        node = self.governor.node
        node.soon(lambda _: self.governor.do(self.governor.governor.sleep_begins(node.now_ns())))
        self.world.after(10 * MS, self.look)

    def look(self) -> None:
        late = self.world.now_ns - self.began_ns > self.patience_ns
        if not self.governor.ready and not late:
            self.world.after(10 * MS, self.look)
            return
        self.place.counts["ready" if self.governor.ready else "overrun"] += 1
        if self.governor.ready:
            self.governor.check_copies()
            self.place.check_work()
        self.place.host.power.go_down(self.rng.randrange(MS, 2 * SECOND), self.ended)

    def ended(self, slept_ns: int) -> None:
        self.governor.node.submit_after(("sleep-ended", Slept(slept_ns)), 0)
        self.world.after(self.rng.randrange(SECOND, 3 * SECOND), self.begin)


def place_in(world: World, *, user: bool = True) -> Place:
    place = Place(world, Host(world))
    if user:
        program = place.host.program("user", jitter_ns=2 * MS)
        program.node.start(lambda _: User(place, program))
    return place


def quiet(world: World, place: Place) -> None:
    """No faults and no events any more: nothing is left behind, and the host goes down."""
    place.host.power.wake()
    world.heal(restart=True)
    place.governor.long = 0.0
    governor = place.governor.governor
    before = place.host.power.suspends

    def settled() -> bool:
        status = governor.status()
        return not status.wake_lease_count and place.host.power.suspends > before + 1

    world.run(until=settled, limit_ns=BOUND_NS)
    assert not [lease for lease in place.governor.leases.values() if lease.writing is None]


def _listener(place: Place, program: Program, kind: dict[str, Any], _: object) -> None:
    Listener(place, program, **kind)


def _strike(place: Place, rng: Random) -> None:
    """Kill a listener."""
    alive = Listener.of(place)
    if alive and not place.host.power.down:
        place.counts["killed"] += 1
        rng.choice(alive).program.kill(rng.randrange(SECOND))


def _pause(place: Place, rng: Random) -> None:
    """The governor stands still for a while, and what fell due comes late."""
    if not place.host.power.down:
        place.counts["pauses"] += 1
        place.governor.node.pause(rng.randrange(SECOND // 2))
