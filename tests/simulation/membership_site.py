"""Members in the World: an engine on each node, and a place that watches them from outside.

What no engine may do, faults or no faults, is checked after each of its steps:

===============  ==================================================================================
invented         somebody is in a list who never was
own address      a member is in its own list
raised           an incarnation is higher than its owner ever had it
resurrected      an identity that was down is active again
forced           a member takes a new identity, and nobody ever had the old one as down
silent           a member knows somebody active, and does not probe
unbounded        a queue is longer than its bound
half applied     a packet that could not be read has changed something
misused          the engine says that its driver has made a mistake
===============  ==================================================================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from holdfast.errors import (
    DataFromOurselves,
    DecodeFailed,
    IndirectForOurselves,
    MalformedPacket,
    MembershipError,
)
from holdfast.membership import (
    ALL_REPAIRS,
    Config,
    Connection,
    MemberDown,
    Membership,
    Node,
    Notification,
    Postcard,
    Rejoin,
    Repair,
    State,
    Timer,
)
from holdfast.testing.world import Node as Machine
from holdfast.testing.world import World
from holdfast.timers import TimerEntry, TimerQueue

SECOND = 1_000_000_000
CODEC = Postcard(Node)
# What a driver meets and may ignore: somebody mistakes us for another.
HARMLESS = (DataFromOurselves, IndirectForOurselves)


class Broken(AssertionError):
    """A promise was not kept."""


def repairs_without(name: str | None) -> frozenset[Repair]:
    """All repairs but the one of that name; None: all; ``"all"``: none."""
    if name == "all":
        return frozenset()
    return ALL_REPAIRS if name is None else ALL_REPAIRS - {Repair(name)}


class Place:
    """All members of a world, and what was seen of them.

    Attributes:
        downs: Who was declared down by whom while it ran: (observer, identity).
        renamed: How often a member had to take a new identity.
        given_up: The identities that were given up so.
        buried: The identities that anybody ever had as down, also in a life that is over: what it
            said then may be heard after its crash.
    """

    def __init__(
        self,
        world: World,
        config: Config,
        *,
        without: str | None = None,
        watch: bool = True,
        seen: Callable[[Site], None] | None = None,
    ) -> None:
        self.world = world
        self.config = config
        self.repairs = repairs_without(without)
        self.watch = watch
        self.sites: dict[str, Site] = {}
        self.highest: dict[Node, int] = {}  # every identity that ever was, and its incarnation
        self.generations: Counter[str] = Counter()
        self.downs: list[tuple[str, Node]] = []
        self.renamed = 0
        self.given_up: set[Node] = set()
        self.buried: set[Node] = set()
        self.errors: Counter[str] = Counter()
        self._seen = seen

    @staticmethod
    def address(name: str) -> tuple[str, int]:
        number = int(name[1:])
        return f"10.0.{number // 250}.{number % 250 + 1}", 7946

    def identity(self, name: str) -> Node:
        """A new one of that name."""
        self.generations[name] += 1
        return Node(*self.address(name), 1000 * self.generations[name])

    def start(
        self,
        name: str,
        *,
        join: str | None = None,
        config: Config | None = None,
        slow_ns: int = 0,
        handler: Any = None,
        knows: Callable[[], list[Any]] | None = None,
    ) -> Site:
        """A member on the node of that name, and again after each of its crashes."""
        settings = self.config if config is None else config

        def setup(node: Machine) -> None:
            site = Site(self, node, self.identity(name), settings, slow_ns, handler)
            self.sites[name] = site
            node.attach(site)
            if knows is not None:
                site.step(lambda: site.engine.apply_many(knows(), site, broadcast=False))
            if join is not None:
                site.join(join)

        self.world.node(name).start(setup)
        return self.sites[name]

    # -- what is there ----------------------------------------------------------------------------

    def running(self) -> list[Site]:
        """The members whose nodes have not crashed."""
        return [s for n, s in self.sites.items() if not self.world.node(n).crashed]

    def agreed(self) -> bool:
        """Whether each that runs has all that run on its list as active, and nobody else.

        Some may be suspects: a slow member always is somebody's.
        """
        running = self.running()
        if any(site.engine.num_members != len(running) - 1 for site in running):
            return False
        there = {site.engine.identity for site in running}
        return all(
            {m.identity for m in site.engine.members()} == there - {site.engine.identity}
            for site in running
        )

    # -- what happens -----------------------------------------------------------------------------

    def stepped(self, site: Site) -> None:
        """An engine has done something."""
        engine = site.engine
        known = self.highest.get(engine.identity, -1)
        self.highest[engine.identity] = max(known, engine.incarnation)
        if self.watch:
            self._check(site)
        if self._seen is not None:
            self._seen(site)

    def _check(self, site: Site) -> None:
        engine, name = site.engine, site.name
        version = engine._local.members.version
        if engine.num_members and engine.connection is Connection.DISCONNECTED:
            self.broken(f"silent: {name} knows somebody and does not probe")
        if engine.updates_backlog > len(self.highest) or len(engine._local.notes) > 6 * (
            len(self.sites) + 1
        ):
            self.broken(f"unbounded: {name} has {engine.updates_backlog} updates to tell")
        if version == site.version:
            return
        site.version = version
        for member in engine.membership_state():
            identity, incarnation, state = member
            if identity not in self.highest:
                self.broken(f"invented: {name} knows {identity}")
            if identity.addr == engine.identity.addr:
                self.broken(f"own address: {name} has {identity} on its list")
            if incarnation > self.highest[identity]:
                self.broken(f"raised: {name} knows {identity} at {incarnation}")
            if state is State.DOWN:
                site.buried.add(identity)
                self.buried.add(identity)
            elif identity in site.buried:
                self.broken(f"resurrected: {name} knows {identity} as {state.name}")

    def notified(self, site: Site, notification: Notification[Node]) -> None:
        """An engine tells its user something."""
        match notification:
            case MemberDown(identity):
                self.downs.append((site.name, identity))
            case Rejoin():
                self.renamed += 1
                self.given_up.add(site.previous)
                if self.watch:
                    self._forced(site)

    def _forced(self, site: Site) -> None:
        old = site.previous
        if old not in self.buried:
            self.broken(f"forced: {site.name} gives {old} up, which nobody ever had as down")

    def broken(self, what: str) -> None:
        """A promise is not kept."""
        self.world.trace.say(what)
        raise Broken(what)


class Site:
    """One member: the machine of its node, and the runtime of its engine.

    Args:
        place: Watches it.
        node: Where it runs.
        identity: Who it is.
        config: Its settings.
        slow_ns: It fires timers, and sends, up to so much late.
        handler: For items of the application.
    """

    def __init__(
        self,
        place: Place,
        node: Machine,
        identity: Node,
        config: Config,
        slow_ns: int,
        handler: Any,
    ) -> None:
        self.place = place
        self.node = node
        self.name = node.name
        self.previous = identity  # before the step that is under way
        self.buried: set[Node] = set()
        self.version = -1
        self.engine: Membership[Node] = Membership(
            identity,
            config,
            rng=node.world.rng(f"engine:{node.name}"),
            codec=CODEC,
            repairs=place.repairs,
            broadcast_handler=handler,
        )
        place.highest[identity] = 0
        self._slow_ns = slow_ns
        self._chance = node.world.rng(f"slow:{node.name}")
        self._queue: TimerQueue[Timer[Node]] = TimerQueue()
        self._wake: TimerEntry | None = None
        self._busy_until_ns = 0

    # -- the machine of the node ------------------------------------------------------------------

    def on_timer(self, timer: Any) -> None:
        if timer != "wake":
            self.step(lambda: self.engine.handle_timer(timer, self))
            return
        self._wake = None
        # Between two looks at its timers it is busy with something else, for up to `slow_ns`.
        self._busy_until_ns = self.node.now_ns() + self._chance.randrange(self._slow_ns)
        while (due := self._queue.pop_due(self.node.now_ns())) is not None:
            fired = due[1]
            self.step(lambda fired=fired: self.engine.handle_timer(fired, self))  # type: ignore[misc]
        self._sleep_on()

    def on_message(self, source: str, data: Any) -> None:
        self.step(lambda: self.engine.handle_data(data, self))

    def step(self, action: Callable[[], object]) -> None:
        """Have the engine do one thing, and look at it."""
        self.previous = self.engine.identity
        version = self.engine._local.members.version
        try:
            action()
        except HARMLESS as error:
            self.place.errors[type(error).__name__] += 1
        except (MalformedPacket, DecodeFailed) as error:
            self.place.errors[type(error).__name__] += 1
            if self.place.watch and version != self.engine._local.members.version:
                self.place.broken(f"half applied: {self.name} has read half a packet")
        except MembershipError as error:
            self.place.broken(f"misused: {self.name} raises {type(error).__name__}: {error}")
        self.place.stepped(self)

    def join(self, name: str) -> None:
        """Ask a member to be let in, again and again until somebody is known."""
        if not self.engine.num_members and self.place.sites.get(self.name) is self:
            contact = Node(*self.place.address(name), 1)
            self.step(lambda: self.engine.announce(contact, self))
            self.node.world.after(2 * SECOND, lambda: self.join(name))

    # -- the runtime of the engine ----------------------------------------------------------------

    def notify(self, notification: Notification[Node], /) -> None:
        self.node.notify(type(notification).__name__)
        self.place.notified(self, notification)

    def send_to(self, member: Node, data: bytes, /) -> None:
        name = f"m{_number(member)}"
        if not self._slow_ns:
            self.node.send_to(name, data)
            return
        late_ns = self._chance.randrange(self._slow_ns)
        life = self.node.life
        self.node.world.after(
            late_ns, lambda: self.node.send_to(name, data) if self.node.life == life else None
        )

    def submit_after(self, timer: Timer[Node], delay_ns: int, /) -> None:
        if not self._slow_ns:
            self.node.submit_after(timer, delay_ns, priority=timer.priority)
            return
        self._queue.add(self.node.now_ns() + delay_ns, timer, priority=timer.priority)
        self._sleep_on()

    def now_ns(self) -> int:
        return self.node.now_ns()

    def _sleep_on(self) -> None:
        due_ns = self._queue.next_due()
        if due_ns is None:
            return
        # All that are due by then are fired together, in their order.
        wake_ns = max(due_ns, self._busy_until_ns)
        if self._wake is not None:
            if self._wake.due_ns <= wake_ns:
                return
            self.node.cancel(self._wake)
        self._wake = self.node.submit_after("wake", max(0, wake_ns - self.node.now_ns()))


def _number(node: Node) -> int:
    _, _, high, low = node.ip.split(".")
    return int(high) * 250 + int(low) - 1
