"""Members in storms, and in the one misfortune that each repair is for.

Each scenario is a function of a World, and takes ``without``: the name of a repair that is switched
off. With all repairs none of them may fail; without the one that it is for, the explorer finds a
seed. `membership_site.Place` checks after each step what may never be; what is said here is what
comes about in the end, within a bound that is computed from the settings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from holdfast.errors import DataTooBig
from holdfast.membership import Config, Member, Node, Periodic, Repair, State
from holdfast.membership.anti_entropy import PERIODS
from holdfast.membership.isolation import PERIODS_MAX
from holdfast.membership.suspicion import MOST_TIMES
from holdfast.testing.world import Link, World
from tests.simulation.membership_site import SECOND, Place, Site

PERIOD_NS = SECOND
SUSPECT_NS = 4 * SECOND
# By how much the longest sleep that is announced is longer than the sleep itself.
SLEEP_MORE_NS = 5 * SECOND
# A little more than the preset says at once, so that a run is shorter.
SMALL = replace(
    Config.lan(8),
    periodic_announce=Periodic(10 * SECOND, 1),
    periodic_announce_to_down_members=Periodic(5 * SECOND, 2),
    periodic_gossip=Periodic(SECOND // 2, 3),
)
# Nothing but probes, and what travels with them.
BARE = replace(Config.simple(), probe_period_ns=PERIOD_NS, suspect_to_down_after_ns=SUSPECT_NS)


def detection_ns(members: int, config: Config = SMALL) -> int:
    """When all know of a death, at the latest, where nothing is lost.

    Somebody probes the dead within two rounds, waits the longest suspicion, and the news passes.
    Each probe may take a period more for each failure that was one's own.
    """
    rounds_ns = 2 * 2 * members * config.probe_period_ns
    return rounds_ns + MOST_TIMES * config.suspect_to_down_after_ns + PERIODS * PERIOD_NS


def healing_ns(members: int, config: Config = SMALL) -> int:
    """When all know all again, at the latest, after the last fault.

    A wrong verdict that was under way falls; those that are isolated call; each that was thought to
    be down is called by somebody, and comes back under a new identity; lists are compared.
    """
    calls = config.periodic_announce_to_down_members
    called_ns = members * (calls.period_ns if calls else PERIODS_MAX * PERIOD_NS)
    woken_ns = 9 * SECOND + SLEEP_MORE_NS  # one may have died in its sleep
    return detection_ns(members, config) + called_ns + PERIODS_MAX * PERIOD_NS + woken_ns


def storms(
    world: World, *, without: str | None = None, members: int = 6, seconds: int = 25
) -> None:
    """Everything at once: loss, echoes, delays, cuts one way and both, stops, crashes, sleep."""
    rng = world.rng("scenario")
    # In a crowd, the engines are not looked at after each step.
    place = Place(world, SMALL, without=without, watch=members <= 64)
    names = [f"m{number}" for number in range(members)]
    # Where nearly all are slow, it takes them longer than the bound to be sure.
    slow = rng.sample(names, rng.randrange(members // 3 + 1))
    for name in names:
        # Whoever comes back asks another than itself.
        join, slow_ns = names[name == names[0]], 3 * SECOND // 2 if name in slow else 0
        place.start(name, join=join, slow_ns=slow_ns)
    world.run(until=3 * SECOND)
    world.network.link = Link.drawn(rng)

    def strike() -> None:
        node = world.node(rng.choice(names))
        for_ns = rng.choice([SECOND // 2, 3 * SECOND, 9 * SECOND])
        match rng.randrange(6):
            case 0:
                node.pause(for_ns)
            case 1:
                _sleep(place, node.name, for_ns, says=rng.random() < 0.7)
            case 2:
                node.crash(for_ns)
            case 3:
                world.network.partition(rng.sample(names, members // 2), for_ns=for_ns)
            case 4:
                world.network.cut([node.name], rng.sample(names, 2), for_ns=for_ns)
            case 5:
                _rename(place, node.name)

    world.every(2 * SECOND, strike)
    world.run(until=seconds * SECOND)
    world.heal(restart=True)
    dead = rng.choice(names[1:])
    world.node(dead).crash()
    _quiet(place)


def two(world: World, *, without: str | None = None) -> None:
    """Two members, or four alone, that have lost each other: they find each other again."""
    rng = world.rng("scenario")
    tells = rng.random() < 0.5
    place = Place(world, replace(SMALL, notify_down_members=tells), without=without)
    names = [f"m{number}" for number in range(rng.choice([2, 4]))]
    _together(place, names)
    for name in names:
        world.network.partition([name])
    alone = _all(place, lambda site: site.engine.num_members == 0)
    world.run(until=alone, limit_ns=detection_ns(4))
    world.run(until=world.now_ns + rng.randrange(40) * SECOND)
    world.heal()
    world.run(until=place.agreed, limit_ns=healing_ns(len(names)))


def renewals(world: World, *, without: str | None = None) -> None:
    """Members that take new identities, with what they say about it lost."""
    rng = world.rng("scenario")
    # Half of all lost for so long can part the four into pairs, each sure that the other is dead.
    # Only who calls the dead finds them again, and nothing that is periodic must help otherwise.
    config = replace(
        BARE,
        notify_down_members=True,
        periodic_announce_to_down_members=Periodic(5 * SECOND, 2),
    )
    place = Place(world, config, without=without)
    names = [f"m{number}" for number in range(4)]
    _together(place, names)
    world.network.link = Link(loss=0.5)
    for _ in range(6):
        _rename(place, rng.choice(names))
        world.run(until=world.now_ns + rng.randrange(3 * SECOND))
    world.heal()
    world.run(until=place.agreed, limit_ns=healing_ns(4, config))


def many_lives(world: World, *, without: str | None = None) -> None:
    """A member that takes so many new identities that the generations of its timers come round."""
    place = Place(world, SMALL, without=without)
    names = [f"m{number}" for number in range(3)]
    _together(place, names)
    world.run(until=world.now_ns + world.rng("scenario").randrange(PERIOD_NS))
    for _ in range(256):
        _rename(place, "m1")
    world.run(until=world.now_ns + 5 * PERIOD_NS)
    world.run(until=place.agreed, limit_ns=healing_ns(3))


def refuted(world: World, *, without: str | None = None) -> None:
    """Suspicions that are wrong, and refuted: nobody has to go on as another."""
    place = Place(world, SMALL, without=without)
    names = [f"m{number}" for number in range(6)]
    _together(place, names)
    world.network.link = Link(loss=0.3)
    world.run(until=world.now_ns + 20 * SECOND)
    world.heal()
    world.run(until=place.agreed, limit_ns=healing_ns(6))


def stops(world: World, *, without: str | None = None) -> None:
    """A member that is stopped again and again takes nobody's silence for its own."""
    rng = world.rng("scenario")
    names = [f"m{number}" for number in range(5)]

    def seen(site: Site) -> None:
        for member in site.engine.members():
            if member.state is State.SUSPECT and member.identity.addr != place.address("m0"):
                place.broken(f"accused: {site.name} suspects {member.identity}, which answers")

    place = Place(world, SMALL, without=without, seen=seen)
    _together(place, names)
    # Answers are often on their way when it is stopped, and wait in its mailbox when it goes on.
    world.network.link = Link(latency_ns=(100_000_000, 200_000_000))
    world.every(3 * SECOND, lambda: world.node("m0").pause(rng.randrange(3 * SECOND)))
    world.run(until=world.now_ns + 40 * SECOND)
    world.heal()
    world.run(until=place.agreed, limit_ns=healing_ns(5))


def deaf(world: World, *, without: str | None = None) -> None:
    """A member hears nobody for a while, and is heard: it persuades nobody that all are down."""
    rng = world.rng("scenario")
    place = Place(world, SMALL, without=without)
    names = [f"m{number}" for number in range(6)]
    _together(place, names)
    world.run(until=world.now_ns + 11 * PERIOD_NS)  # they know each other to be kin
    for name in names[1:]:
        world.network.cut([name], ["m0"], for_ns=10 * SECOND + rng.randrange(2 * SECOND))
    world.run(until=world.now_ns + 25 * SECOND)
    # That nobody hears from m0 what he asked for is true. That all others are silent is not.
    for observer, identity in place.downs:
        if identity.addr != place.address("m0"):
            place.broken(f"believed: {observer} has declared {identity} down")


def bad_line(world: World, *, without: str | None = None) -> None:
    """A member with a bad line probes more patiently, and accuses fewer."""
    suspected = 0

    def seen(site: Site) -> None:
        nonlocal suspected
        if site.name == "m0":
            mine = sum(1 for one in site.engine._local.suspicions._of.values() if one.mine)
            suspected += max(0, mine - counts["mine"])
            counts["mine"] = mine

    counts = {"mine": 0}
    place = Place(world, SMALL, without=without, seen=seen)
    names = [f"m{number}" for number in range(8)]
    _together(place, names)
    world.network.set_link(Link(loss=0.75), source="m0")
    world.network.set_link(Link(loss=0.75), to="m0")
    world.run(until=world.now_ns + 25 * PERIOD_NS)
    if suspected > 8:
        place.broken(f"impatient: m0 has suspected others {suspected} times in 25 periods")


def unheard(world: World, *, without: str | None = None) -> None:
    """A suspect of whom nobody has much to tell hears it from who probes it."""
    rng = world.rng("scenario")
    config = replace(BARE, max_transmissions=1, suspect_to_down_after_ns=8 * PERIOD_NS)
    place = Place(world, config, without=without)
    place.repairs -= {Repair.ENOUGH_TRANSMISSIONS, Repair.ANTI_ENTROPY}
    names = ["m0", "m1", "m2"]
    _together(place, names)
    world.run(until=world.now_ns + rng.randrange(4 * PERIOD_NS))
    # m2 hears, and is not heard, until somebody suspects it.
    cut = world.network.cut(["m2"], ["m0", "m1"])

    def is_suspect() -> bool:
        known = [place.sites[name].engine._local.members.get(place.address("m2")) for name in names]
        return any(one is not None and one.state is State.SUSPECT for one in known)

    world.run(until=is_suspect, limit_ns=detection_ns(3))
    world.network.mend(cut)
    world.run(until=world.now_ns + 30 * PERIOD_NS)
    if place.downs:
        place.broken("unheard: {} has declared {} down".format(*place.downs[0]))


def split_views(world: World, *, without: str | None = None) -> None:
    """Two who are known to one member only, after all its news was told: they get known."""
    place = Place(world, BARE, without=without)
    names = [f"m{number}" for number in range(4)]
    _together(place, names)
    world.run(until=world.now_ns + 8 * PERIOD_NS)
    # As after a restart with a list that was saved, which nobody else has.
    stranger = place.start("m4")
    place.sites["m0"].step(
        lambda: place.sites["m0"].engine.apply_many(
            [Member(stranger.engine.identity, 0, State.ALIVE)],
            place.sites["m0"],
            broadcast=False,
        )
    )
    world.run(until=place.agreed, limit_ns=6 * PERIODS * PERIOD_NS)


def few_words(world: World, *, without: str | None = None) -> None:
    """A cluster that has grown beyond what its settings were for: news still reaches all, soon.

    Each of 11 tells it eight times, to others at random. One of them is left out in 1 of 400 runs
    (SWIM, section 4.1, has the formula), and finds out by itself.
    """
    rng = world.rng("scenario")
    config = replace(SMALL, max_transmissions=1, periodic_announce=None)
    place = Place(world, config, without=without)
    names = [f"m{number}" for number in range(12)]
    _together(place, names)
    world.run(until=world.now_ns + 3 * PERIOD_NS)
    leaver = place.sites[rng.choice(names[1:])]
    leaver.step(lambda: leaver.engine.leave_cluster(leaver))
    world.node(leaver.name).crash()

    def nearly() -> bool:
        return sum(site.engine.num_members > 10 for site in place.running()) <= 1

    world.run(until=nearly, limit_ns=3 * PERIOD_NS)
    world.run(until=place.agreed, limit_ns=detection_ns(12))


def saved_list(world: World, *, without: str | None = None) -> None:
    """A list is loaded in which the dead are suspects: they have their time, and then are down."""
    place = Place(world, BARE, without=without)
    names = [f"m{number}" for number in range(9)]
    _together(place, names)
    dead = place.sites["m3"].engine.identity
    world.node("m3").crash()
    world.node("m0").crash()
    loaded = [
        Member(site.engine.identity, 0, State.SUSPECT if name == "m3" else State.ALIVE)
        for name, site in place.sites.items()
        if name != "m0"
    ]
    mine = place.start("m9", knows=lambda: loaded)

    def buried() -> bool:
        known = mine.engine._local.members.get(dead.addr)
        return known is not None and known.state is State.DOWN

    world.run(until=buried, limit_ns=SUSPECT_NS + PERIOD_NS // 4)


def own_past(world: World, *, without: str | None = None) -> None:
    """A member that comes back with a saved list on which it is itself, in its past life."""
    rng = world.rng("scenario")
    place = Place(world, SMALL, without=without)
    names = [f"m{number}" for number in range(4)]
    saved = [Member(Node(*place.address(name), 1000), 0, State.ALIVE) for name in names]
    place.start("m0", knows=lambda: saved if world.node("m0").life else [])
    for name in names[1:]:
        place.start(name, join="m0")
    world.run(until=place.agreed, limit_ns=10 * SECOND)
    world.node("m0").crash(for_ns=rng.randrange(8 * SECOND))
    world.run(until=world.now_ns + 9 * SECOND)
    world.run(until=place.agreed, limit_ns=healing_ns(4))


class _Keys:
    """A handler that passes on whatever is new."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()

    def receive_item(self, data: bytes, sender: Node | None, /) -> Any:
        if data in self.seen:
            return None
        self.seen.add(data)
        return _Key()

    def should_add_broadcast_data(self, member: Node, /) -> bool:
        return True


class _Key:
    def invalidates(self, other: object, /) -> bool:
        return False


def items(world: World, *, without: str | None = None) -> None:
    """Items of all lengths: each is refused, or told and done with."""
    rng = world.rng("scenario")
    place = Place(world, SMALL, without=without)
    names = [f"m{number}" for number in range(4)]
    for name in names:
        place.start(name, join=None if name == "m0" else "m0", handler=_Keys())
    world.run(until=place.agreed, limit_ns=10 * SECOND)
    for number in range(12):
        site = place.sites[rng.choice(names)]
        length = rng.choice([20, 700, rng.randrange(1300, 1401)])
        item = number.to_bytes(2, "big") * (length // 2)
        site.step(lambda site=site, item=item: _offer(site, item))  # type: ignore[misc]
        world.run(until=world.now_ns + rng.randrange(SECOND))
    world.run(
        until=_all(place, lambda site: site.engine.broadcast_backlog == 0),
        limit_ns=30 * PERIOD_NS,
    )


def torn_packets(world: World, *, without: str | None = None) -> None:
    """Datagrams that arrive cut short: one that is broken has no effect at all."""
    rng = world.rng("scenario")
    place = Place(world, SMALL, without=without)
    names = [f"m{number}" for number in range(5)]
    for name in names:
        place.start(name, join=None if name == "m0" else "m0", handler=_Keys())
    for site in place.sites.values():
        site.on_message = _tearing(site, rng)  # type: ignore[assignment,method-assign]
    for number in range(30):
        site = place.sites[rng.choice(names)]
        site.step(lambda site=site, n=number: _offer(site, b"item%d" % n))  # type: ignore[misc]
        _rename(place, rng.choice(names))
        world.run(until=world.now_ns + rng.randrange(SECOND))
    assert place.errors["MalformedPacket"] + place.errors["DecodeFailed"], "nothing was torn"


def naps(world: World, *, without: str | None = None) -> None:
    """A machine sleeps: nobody takes it for dead, and it is back in one round trip."""
    rng = world.rng("scenario")
    place = Place(world, SMALL, without=without)
    names = [f"m{number}" for number in range(6)]
    _together(place, names)
    world.run(until=world.now_ns + 11 * PERIOD_NS)  # they know each other to be kin
    for_ns = rng.randrange(20, 40) * SECOND
    _sleep(place, "m2", for_ns, says=True)
    world.run(until=world.now_ns + for_ns + 1_000_000 + 10_000_000)
    if place.downs:
        place.broken("taken for dead: {} has declared {} down".format(*place.downs[0]))
    back = Member(place.sites["m2"].engine.identity, 1, State.ALIVE)
    others = [site for site in place.running() if site.name != "m2"]
    if not all(back in site.engine.members() for site in others):
        place.broken("not back: m2 is not yet alive to all after 10 ms")


# -- what they share ------------------------------------------------------------------------------


def _together(place: Place, names: list[str]) -> None:
    """All of them are there, and know each other."""
    for name in names:
        place.start(name, join=None if name == names[0] else names[0])
    bound_ns = 3 * len(names) * PERIOD_NS + PERIODS * PERIOD_NS
    place.world.run(until=place.agreed, limit_ns=bound_ns)


def _all(place: Place, holds: Callable[[Site], bool]) -> Callable[[], bool]:
    return lambda: all(holds(site) for site in place.running())


def _sleep(place: Place, name: str, for_ns: int, *, says: bool) -> None:
    node, world = place.world.node(name), place.world
    if not node.running:
        return
    site = place.sites[name]
    if says:
        at_most_ns = for_ns + SLEEP_MORE_NS
        site.step(lambda: site.engine.announce_sleep(site, at_most_ns=at_most_ns))
    node.sleep(for_ns)

    def back() -> None:
        if place.sites[name] is site and node.running and says:
            site.step(lambda: site.engine.resumed(site))

    world.after(for_ns + 1_000_000, back)


def _rename(place: Place, name: str) -> None:
    if place.world.node(name).running:
        site = place.sites[name]
        renewed = site.engine.identity.renew()
        assert renewed is not None
        place.highest[renewed] = 0
        site.step(lambda: site.engine.change_identity(renewed, site))


def _offer(site: Site, item: bytes) -> None:
    try:
        site.engine.add_broadcast(item)
    except DataTooBig:
        site.place.errors["DataTooBig"] += 1


def _tearing(site: Site, rng: Any) -> Callable[[str, bytes], None]:
    whole = site.on_message

    def torn(source: str, data: bytes) -> None:
        whole(source, data[: -rng.randrange(1, 6)] if rng.random() < 0.3 else data)

    return torn


def _quiet(place: Place) -> None:
    """When nothing happens any more there is soon nothing to tell, and all know the same."""
    told = _all(place, lambda site: site.engine.updates_backlog == 0)
    limit_ns = healing_ns(len(place.sites))
    if len(place.sites) <= 16:
        place.world.run(until=lambda: told() and place.agreed(), limit_ns=limit_ns)
        return
    # In a crowd a slow one is always suspected by somebody; and to look at all of them after each
    # step would take long.
    for _ in range(limit_ns // PERIOD_NS):
        place.world.run(until=place.world.now_ns + PERIOD_NS)
        if place.agreed():
            return
    place.broken(f"{limit_ns} ns have passed, and it is not yet so")
