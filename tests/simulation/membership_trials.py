"""Two trials of whole clusters, for tests and for benchmarks.

`slow_members`: some members fire their timers and send up to a while late; nobody dies, nothing is
lost. Whoever is declared down, or has to take a new identity, was wronged (bar 10 of the design;
Lifeguard, section V, has the experiment).

`idle`: nothing happens at all. How long that takes is what a simulation costs (bar 12).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from holdfast.membership import ALL_REPAIRS, Config, Member, Repair, State
from holdfast.testing.world import World
from tests.simulation.membership_site import SECOND, Place


@dataclass(frozen=True)
class Wronged:
    """What came of a trial of live members.

    Attributes:
        members: How many there were.
        slow: How many of them were slow.
        identities: How many identities were declared down by anybody, or given up.
        healthy: How many of these were of members that were not slow.
        verdicts: How often anybody declared one down.
        renamed: How often one took a new identity.
    """

    members: int
    slow: int
    identities: int
    healthy: int
    verdicts: int
    renamed: int


def cluster(
    world: World, members: int, config: Config, repairs: frozenset[Repair], slow: dict[str, int]
) -> Place:
    """Members that know each other from the start, and do not begin all at once."""
    place = Place(world, config, watch=False)
    place.repairs = repairs
    names = [f"m{number}" for number in range(members)]
    for name in names:
        place.start(name, slow_ns=slow.get(name, 0))
    everybody = [Member(site.engine.identity, 0, State.ALIVE) for site in place.sites.values()]
    rng = world.rng("start")
    for number, site in enumerate(place.sites.values()):
        others = everybody[:number] + everybody[number + 1 :]
        world.after(
            rng.randrange(config.probe_period_ns),
            lambda site=site, others=others: site.step(  # type: ignore[misc]
                lambda: site.engine.apply_many(others, site, broadcast=False)
            ),
        )
    return place


def slow_members(
    seed: int,
    *,
    members: int = 50,
    periods: int = 60,
    part: float = 0.2,
    late_ns: int = 3 * SECOND // 2,
    repairs: frozenset[Repair] = ALL_REPAIRS,
) -> Wronged:
    """Run `members` for so many periods, a part of them slow, and count who is wronged."""
    world = World(seed)
    config = Config.lan(members)
    names = [f"m{number}" for number in range(members)]
    chosen = Random(seed).sample(names, round(part * members))
    place = cluster(world, members, config, repairs, dict.fromkeys(chosen, late_ns))
    world.run(until=periods * config.probe_period_ns)
    slow = {place.address(name) for name in chosen}
    wronged = {identity for _, identity in place.downs} | place.given_up
    return Wronged(
        members=members,
        slow=len(slow),
        identities=len(wronged),
        healthy=sum(1 for one in wronged if one.addr not in slow),
        verdicts=len(place.downs),
        renamed=place.renamed,
    )


def idle(
    seed: int,
    *,
    members: int = 1024,
    periods: int = 60,
    repairs: frozenset[Repair] = ALL_REPAIRS,
    gossip: bool = True,
) -> World:
    """Run `members` for so many periods without a fault; all know each other from the start."""
    world = World(seed)
    config = Config.lan(members)
    if not gossip:
        config = replace(config, periodic_gossip=None)
    cluster(world, members, config, repairs, {})
    world.run(until=periods * config.probe_period_ns)
    return world
