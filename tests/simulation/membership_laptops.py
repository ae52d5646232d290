"""Sessions on machines that sleep, or start with a wrong date, in the World.

A `Laptop` drives a session as `Cluster` does: its timer stands still with the machine, whose clocks
really part; and whenever it wakes it reads, compares them, and fires what is due.

`laptops` takes the names of safeguards that are left out; each is missed:

=========  ========================================================================================
says       the sleep is announced
silent     whoever has announced it says nothing else until it is back
finds      the clocks are compared, so that a sleep is over though nobody says it
=========  ========================================================================================

`wrong_dates` takes ``without="leaps"``: whoever is refused again and again does not leap ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from holdfast.membership import Config, Node, Periodic, Postcard, talk
from holdfast.membership.changes import MemberFailed
from holdfast.membership.lives import Lives
from holdfast.membership.rest import Rest
from holdfast.membership.session import Session
from holdfast.testing.world import Link, World
from holdfast.testing.world import Node as Machine
from holdfast.timers import TimerEntry

SECOND = 1_000_000_000
CODEC = Postcard(Node)
CONFIG = replace(Config.lan(8), periodic_gossip=Periodic(SECOND // 5, 3))
LINGER_NS = 3 * SECOND // 10
LOOK_NS = 10 * SECOND
FIRST = "l0"


class Broken(AssertionError):
    """A promise was not kept."""


class Talkative(Rest):
    """A machine that announces its sleep, and goes on talking."""

    @property
    def resting(self) -> bool:
        return False


class Creeping(Lives):
    """A life that is refused once for each millisecond."""

    def refused(self, renewed: Node, now_ns: int) -> Node | None:
        super().refused(renewed, now_ns)
        return None


class Laptop:
    """One session, driven as by `Cluster`."""

    def __init__(
        self,
        node: Machine,
        told: Callable[[str, object], None],
        without: str,
        seed: str | None,
    ) -> None:
        self.node = node
        self.name = node.name
        self._told = told
        self._finds = without != "finds"
        clock = node.clock
        ip, port = address(node.name)
        self.session = Session(
            node.name,
            Node(ip, port, talk.generation(clock.realtime_ns(), marked=True)),
            CONFIG,
            rng=node.world.rng(f"session:{node.name}"),
            codec=CODEC,
            seeds=() if seed is None else ("{}:{}".format(*address(seed)),),
        )
        if without == "silent":
            self.session._rest = Talkative()
        if without == "leaps":
            self.session._lives = Creeping()
        self._wake: TimerEntry | None = None
        self._compare()
        self.session.start(clock.boottime_ns())
        self.carry_out()

    def on_timer(self, _timer: Any) -> None:
        self._wake = None
        self._compare()
        self.session.handle_timers(self.node.clock.boottime_ns())
        self.carry_out()

    def on_message(self, source: str, data: Any) -> None:
        self.session.handle_data(data, address(source), self.node.clock.boottime_ns())
        self._compare()
        self.carry_out()

    def _compare(self) -> None:
        if self._finds:
            now_ns = self.node.clock.boottime_ns()
            slept_ns = now_ns - self.node.clock.monotonic_ns()
            self.session.clocks(slept_ns, slept_ns, now_ns)

    def carry_out(self) -> None:
        effects = self.session.take()
        for (ip, _), data in effects.sends:
            self.node.send_to("l" + ip.rpartition(".")[2], data)
        for change in effects.changes:
            self._told(self.name, change)
        due_ns = self.session.next_due()
        if due_ns is None:
            return
        left_ns = max(0, min(due_ns - self.node.clock.boottime_ns(), LOOK_NS))
        if self._wake is None or self.node.now_ns() + left_ns < self._wake.due_ns:
            if self._wake is not None:
                self.node.cancel(self._wake)
            self._wake = self.node.submit_after("wake", left_ns)

    def prepare_sleep(self, at_most_ns: int) -> None:
        self.session.prepare_sleep(self.node.clock.boottime_ns(), at_most_ns, LINGER_NS)
        self.carry_out()


def address(name: str) -> tuple[str, int]:
    """Of the node of that name."""
    return f"10.0.0.{name[1:]}", 7946


def laptops(world: World, *, without: str = "", members: int = 6) -> None:
    """Machines that sleep one after the other, or were only about to: nobody misses any of them."""
    rng = world.rng("scenario")
    names = [f"l{number}" for number in range(members)]
    sites: dict[str, Laptop] = {}

    def told(observer: str, change: object) -> None:
        if isinstance(change, MemberFailed):
            broken(world, f"taken for dead: {observer} misses {change.member.name}")

    for name in names:
        node = world.node(name, face="monotonic")
        sites[name] = Laptop(node, told, without, None if name == FIRST else FIRST)
        node.attach(sites[name])
    world.network.link = Link(latency_ns=(SECOND // 1000, SECOND // 50), reorder=0.1)

    def together() -> bool:
        return all(len(site.session.members()) == members for site in sites.values())

    world.run(until=together, limit_ns=20 * SECOND)
    world.run(until=world.now_ns + 15 * SECOND)  # they know each other to be kin
    for _ in range(4):
        sleeper = sites[rng.choice(names)]
        was = sleeper.session.counts["resumed"]
        for_ns = rng.randrange(20, 40) * SECOND
        if without != "says":
            sleeper.prepare_sleep(for_ns + 30 * SECOND)
        # What else is to be done before a machine sleeps takes its time.
        world.run(until=world.now_ns + LINGER_NS + rng.randrange(6 * SECOND))
        really = rng.random() < 0.8
        if really:
            sleeper.node.sleep(for_ns)
            world.run(until=world.now_ns + for_ns)
            limit_ns = LOOK_NS
        else:
            limit_ns = for_ns + 31 * SECOND  # the bound that was announced
            if without in ("says", "silent"):
                continue  # it does not wait for anything
        back(world, sleeper, was, limit_ns)
        world.run(until=world.now_ns + rng.randrange(5) * SECOND)
    world.run(until=world.now_ns + 10 * SECOND)
    if not together():
        broken(world, "apart: some do not know all")


def wrong_dates(world: World, *, without: str = "", members: int = 5) -> None:
    """Machines crash, and start again with another date: each is let in, after few packets."""
    rng = world.rng("scenario")
    names = [f"l{number}" for number in range(members)]
    sites: dict[str, Laptop] = {}

    def setup(node: Machine) -> None:
        seed = names[1] if node.name == FIRST else FIRST  # whoever comes back asks another one
        sites[node.name] = Laptop(node, lambda _name, _change: None, without, seed)
        node.attach(sites[node.name])

    for name in names:
        world.node(name, face="monotonic").start(setup)
    world.network.link = Link(loss=rng.choice([0, 0.1]), latency_ns=(SECOND // 1000, SECOND // 100))

    def together() -> bool:
        present = [site.session.members() for site in sites.values()]
        return all(sorted(one.name for one in members) == names for members in present)

    world.run(until=together, limit_ns=60 * SECOND)
    for _ in range(4):
        node = world.node(rng.choice(names))
        node.crash()
        world.run(until=world.now_ns + rng.choice([0, 2, 30]) * SECOND)
        node.jump_realtime(rng.choice([-1, 1]) * rng.randrange(1, 100_000) ** 2 * SECOND)
        before = world.network.sent
        node.restart()
        world.run(until=world.now_ns + 3 * SECOND)
        if world.network.sent - before > 100 * members:
            broken(world, f"flooded: {world.network.sent - before} packets in three seconds")
        world.run(until=together, limit_ns=60 * SECOND)


def back(world: World, sleeper: Laptop, was: int, limit_ns: int) -> None:
    """It finds by itself that it is awake."""
    end_ns = world.now_ns + limit_ns
    while sleeper.session.counts["resumed"] == was:
        if world.now_ns > end_ns:
            broken(world, f"not back: {sleeper.name} does not find that it is awake")
        world.run(until=world.now_ns + SECOND)


def broken(world: World, what: str) -> None:
    """A promise is not kept."""
    world.trace.say(what)
    raise Broken(what)
