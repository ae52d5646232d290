"""Leases in storms, behind delays, with sleep, with lost clocks, on a grid, over long terms.

Each scenario is a function of a World, and takes ``without``: the name of a safeguard that is
switched off while it runs (`tests.simulation.lease_safeguards`). With all safeguards none of them
may fail; without one, the explorer finds a seed.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.lease.keeper import DRIFT_PPM
from holdfast.lease.scripts import expire_overdue
from holdfast.testing.world import Node, Service, ServiceFaults, Sleep, World
from tests.simulation.lease_place import Believer, Place
from tests.simulation.lease_safeguards import switched_off
from tests.simulation.lease_site import SECOND, Site, Steps, Use

# What the margin of a deadline is for: a holder that is slow, and a store's clock that is fast, as
# whoever advances it is. It covers both together.
SLOW_PPM = FAST_PPM = DRIFT_PPM // 2
# How long a lease may stay as it is when all is well again: the term, the step, the longest pauses
# of who waits, and what a holder does with it at most. What was late still comes in this time.
BOUND_NS = 40 * SECOND

STORM = ServiceFaults(
    refuse=0.03,
    lose_request=0.02,
    lose_answer=0.04,
    late=0.02,
    late_ns=6 * SECOND,
    patience_ns=2 * SECOND,
    slow=0.08,
    slow_ns=2 * SECOND,
    restart=0.004,
)
DELAYS = ServiceFaults(slow=0.5, slow_ns=3 * SECOND, patience_ns=4 * SECOND)
TICKS = ServiceFaults(
    lose_answer=0.1,
    lose_request=0.05,
    late=0.02,
    late_ns=SECOND,
    patience_ns=SECOND // 5,
    slow=0.1,
    slow_ns=SECOND // 5,
)


def storms(world: World, *, without: str | None = None, gated: bool = True) -> None:
    """Everything at once: three to five nodes count under two leases while all goes wrong."""
    names = ("n", "m")
    with switched_off(without):
        rng = world.rng("scenario")
        duration_ns = rng.randrange(2 * SECOND, 6 * SECOND)
        place = Place(world, fast_ppm=FAST_PPM, gated=gated)
        store = world.service("store", STORM)
        nodes = [
            world.node(f"s{number}", drift_ppm=rng.randrange(-SLOW_PPM, FAST_PPM + 1))
            for number in range(rng.randrange(3, 6))
        ]
        for node in nodes:
            node.start(lambda node: Site(place, store, node, names, duration_ns).start())
        world.every(3 * SECOND, lambda: _strike(place, nodes, [store]))
        world.run(30 * SECOND)
        _settles(world, place, names)


def delays(world: World, *, without: str | None = None, gated: bool = True) -> None:
    """Half of the calls from afar are slow, and those who are there are stopped or cut off.

    The clock does not suffer: its updater is near. It removes nothing, so that others do.
    """
    with switched_off(without):
        place = Place(world, fast_ppm=FAST_PPM, gated=gated)
        near = world.service("near")
        updater = Site(place, near, world.node("near", drift_ppm=FAST_PPM), (), 1)
        updater.start(work=False, expire=False)
        nodes = [world.node(f"s{number}", drift_ppm=-SLOW_PPM * number / 2) for number in range(3)]
        paths = [world.service(f"from-{node.name}", DELAYS) for node in nodes[:2]]
        ways = {node.name: way for node, way in zip(nodes, [*paths, near], strict=True)}
        for node in nodes:
            node.start(
                lambda node: Site(place, ways[node.name], node, ("n",), 3 * SECOND).start(
                    tick=False
                )
            )
        world.every(2 * SECOND, lambda: _strike(place, nodes[:2], paths, ("pause", "store")))
        world.run(40 * SECOND)
        _settles(world, place, ("n",))


def sleepers(world: World, *, without: str | None = None) -> None:
    """Machines that are suspended while they hold leases, and nothing else."""
    with switched_off(without):
        rng = world.rng("scenario")
        place, store = Place(world), world.service("store")
        nodes = [
            world.node(f"s{number}", drift_ppm=-rng.randrange(SLOW_PPM)) for number in range(3)
        ]
        for node in nodes:
            node.start(lambda node: Site(place, store, node, ("n",), 3 * SECOND).start())
        world.every(2 * SECOND, lambda: rng.choice(nodes).sleep(rng.randrange(8 * SECOND)))
        world.run(30 * SECOND)
        _settles(world, place, ("n",))


def ticks(world: World, *, without: str | None = None) -> None:
    """Many who advance the clock, quickly, over bad ways, and are stopped all the time."""
    with switched_off(without):
        rng = world.rng("scenario")
        place, store = Place(world), world.service("store", TICKS)
        nodes = [world.node(f"s{number}") for number in range(4)]
        for node in nodes:
            site = Site(place, store, node, (), 1, interval_ns=SECOND // 10)
            site.start(work=False)
        world.every(SECOND // 2, lambda: rng.choice(nodes).pause(rng.randrange(SECOND)))
        world.run(20 * SECOND)
        _settles(world, place, ())


def rebirths(world: World, *, without: str | None = None) -> None:
    """The clock's record is lost and counts from zero again, while leases are held."""
    with switched_off(without):
        rng = world.rng("scenario")
        place, store = Place(world), world.service("store", ServiceFaults(lose_answer=0.05))
        place.set_clock(3_600 * SECOND)
        nodes = [world.node(f"s{number}") for number in range(3)]
        for node in nodes:
            node.start(lambda node: Site(place, store, node, ("n",), 3 * SECOND).start())
        world.every(8 * SECOND, place.rebirth)
        world.every(3 * SECOND, lambda: rng.choice(nodes).crash(rng.randrange(4 * SECOND)))
        world.run(30 * SECOND)
        place.rebirth()
        rng.choice(nodes).crash()
        _settles(world, place, ("n",))


def grid(world: World, *, without: str | None = None) -> None:
    """Time in quarters of a second, and calls that take none: what is not later is at once."""
    with switched_off(without):
        place, store = Place(world), world.service("store", ServiceFaults(latency_ns=(0, 0)))
        for number in range(3):
            node = world.node(f"s{number}", jitter_ns=0)
            site = Site(place, store, node, ("n",), 3 * SECOND, renew=None)
            site.start(work=False)
            first_ns = world.rng("scenario").randrange(8) * SECOND // 4
            site.spawn(_on_the_grid(site, first_ns))
        world.run(40 * SECOND)
        assert place.endings["expire"], "nothing has run out"
        place.check_kept()


def _on_the_grid(site: Site, first_ns: int) -> Steps:
    yield Sleep(first_ns)
    while True:
        one = yield from site.claiming("n", 0)
        yield Sleep((4 if one is None else 16) * SECOND // 4)


def long_terms(world: World, *, without: str | None = None) -> None:
    """A term so long that half a second of the clock's does not hide how oscillators differ."""
    duration_ns = 600 * SECOND
    quick = ServiceFaults(latency_ns=(1_000, 5_000))
    with switched_off(without):
        slow_ppm = world.rng("scenario").randrange(DRIFT_PPM + 1)
        fast_ppm = DRIFT_PPM - slow_ppm
        place, store = Place(world, fast_ppm=fast_ppm), world.service("store", quick)
        slow = world.node("slow", drift_ppm=-slow_ppm, jitter_ns=0)
        fast = world.node("fast", drift_ppm=fast_ppm, jitter_ns=0)
        # Only the fast one advances the clock, and removes in the end what has run out.
        updater = Site(place, store, fast, (), 1, interval_ns=450_000_000)
        updater.start(work=False, expire=False)
        world.run(2 * SECOND + world.rng("scenario").randrange(SECOND))
        holder = Site(place, store, slow, ("n",), duration_ns, renew=None)
        holder.spawn(holder.claiming("n", None))
        world.run(duration_ns)
        updater.spawn(_expiring())
        world.run(until=lambda: place.endings["expire"] > 0, limit_ns=10 * SECOND)
        place.check_kept()


def _expiring() -> Steps:
    while True:
        yield from expire_overdue()
        yield Sleep(SECOND // 100)


def gates(world: World, *, without: str | None = None) -> None:
    """A holder that is not renewed, and opens its next transactions before it ends the last ones.

    Whoever waits for the lease gets it within a bound: from its deadline on the holder opens no
    more. The row alone would stand as long as there is always one transaction that holds on to it.
    So what the look at the deadline is for is that the lease is handed over, and that nobody acts
    who was told that he has lost it. No write would go wrong without it: while the row stands,
    nobody else can have the lease.
    """
    with switched_off(without):
        place, store = Place(world), world.service("store")
        busy, other = world.node("busy"), world.node("other")
        site = Site(place, store, busy, ("n",), 3 * SECOND, renew=None)
        site.start(work=False)
        site.spawn(_overlapping(site, world.rng("scenario").randrange(3, 6)))
        waiting = Site(place, store, other, ("n",), 3 * SECOND)
        waiting.start(work=False)
        world.run(until=lambda: place.claims["n"] > 0, limit_ns=5 * SECOND)
        waiting.spawn(waiting.claiming("n", None))
        world.run(until=lambda: place.claims["n"] > 1, limit_ns=10 * SECOND)
        place.check_kept()


def _overlapping(site: Site, workers: int) -> Steps:
    one = yield from site.claiming("n", None)
    for _ in range(workers):
        site.spawn(_transactions(site, one))
        yield Sleep(site.rng.randrange(SECOND // 4))


def _transactions(site: Site, one: Believer) -> Steps:
    while site.may_gate(one):
        yield Use("begin", one.keeper.record)
        yield Sleep(SECOND // 2 + site.rng.randrange(SECOND // 2))
        yield Use("commit", one.keeper.record)


# -- what they share ------------------------------------------------------------------------------

STRIKES = ("pause", "pause", "sleep", "crash", "reboot", "drift", "jump", "store", "pin")


def _strike(
    place: Place, nodes: Sequence[Node], paths: Sequence[Service], kinds: Sequence[str] = STRIKES
) -> None:
    world = place.world
    rng = world.rng("strikes")
    node = rng.choice(nodes)
    for_ns = rng.choice([SECOND // 2, 3 * SECOND, 8 * SECOND])
    match rng.choice(kinds):
        case "pause":
            node.pause(for_ns)
        case "sleep":
            node.sleep(for_ns)
        case "crash":
            node.crash(for_ns)
        case "reboot":
            node.crash()
            world.after(for_ns, lambda: node.restart(reboot=True))
        case "drift":
            node.drift(rng.randrange(-SLOW_PPM, FAST_PPM + 1))
        case "jump":
            node.jump_realtime(rng.choice([-1, 1]) * 3_600 * SECOND)
        case "pin":
            place.pin("n", for_ns)
        case _:
            rng.choice(paths).restart(for_ns)


def _settles(world: World, place: Place, names: Sequence[str]) -> None:
    """All is well again: every lease is handed on within the bound, and the clock goes on."""
    world.heal(restart=True)
    claims, reading = dict(place.claims), place.database.read_clock()
    world.run(
        until=lambda: all(place.claims[name] > claims.get(name, 0) for name in names),
        limit_ns=BOUND_NS,
    )
    world.run(world.now_ns + 5 * SECOND)
    place.check_clock_went_on(reading)
    place.check_counters()
    place.check_kept()
