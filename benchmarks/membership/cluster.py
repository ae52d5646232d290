"""Members in the World: an engine on each node, and what can be seen of them from outside."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from holdfast.membership import (
    Config,
    Member,
    MemberDown,
    Membership,
    Node,
    Notification,
    Ping,
    Postcard,
    Rejoin,
    Repair,
    State,
    Timer,
)
from holdfast.testing.world import World
from holdfast.timers import TimerQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.testing.world import Node as Machine

__all__ = ["CODEC", "SECOND", "Cluster", "Site", "identities"]

SECOND = 1_000_000_000
CODEC = Postcard(Node)
_PORT = 7946
_GENERATION = 1_800_000_000_000  # as `Cluster` makes them: milliseconds, of January of 2027


def identities(members: int) -> list[Node]:
    """So many identities, each with an address of its own."""
    return [Node(f"10.0.{n // 250}.{n % 250 + 1}", _PORT, _GENERATION) for n in range(members)]


class Site:
    """One member: the machine of its node, and the runtime of its engine.

    Args:
        cluster: Is told what happens.
        node: Where it runs.
        identity: Who it is.
        late_ns: It fires timers, and sends, up to so much late.
    """

    def __init__(self, cluster: Cluster, node: Machine, identity: Node, late_ns: int) -> None:
        self.node = node
        self.now_ns = node.now_ns
        self._cluster = cluster
        self._late_ns = late_ns
        self._chance = node.world.rng(f"late:{node.name}")
        self._queue: TimerQueue[Timer[Node]] = TimerQueue()
        self._wakes_ns: int | None = None
        self._identity = identity
        self.engine: Membership[Node] = Membership(
            identity,
            cluster.config,
            rng=node.world.rng(f"engine:{node.name}"),
            codec=CODEC,
            repairs=cluster.repairs,
        )

    # -- the machine of the node ------------------------------------------------------------------

    def on_timer(self, timer: Any) -> None:
        if timer is not None:
            self.engine.handle_timer(timer, self)
            self._cluster.fired(self)
            return
        self._wakes_ns = None
        while (due := self._queue.pop_due(self.now_ns())) is not None:
            self.engine.handle_timer(due[1], self)
            self._cluster.fired(self)
        self._sleep_on()

    def on_message(self, _: str, data: bytes) -> None:
        self.engine.handle_data(data, self)

    # -- the runtime of the engine ----------------------------------------------------------------

    def notify(self, notification: Notification[Node], /) -> None:
        if isinstance(notification, MemberDown):
            self._cluster.declared_down(notification.member)
        elif isinstance(notification, Rejoin):
            self._cluster.renamed.append(self._identity)
            self._identity = notification.identity

    def send_to(self, member: Node, data: bytes, /) -> None:
        cluster = self._cluster
        cluster.bytes += len(data)
        name = cluster.names[member.addr]
        if name in cluster.deaths:
            cluster.sent_to_the_dead(name, data)
        if not self._late_ns:
            self.node.send_to(name, data)
            return
        late_ns = self._chance.randrange(self._late_ns)
        life = self.node.life
        self.node.world.after(
            late_ns, lambda: self.node.send_to(name, data) if self.node.life == life else None
        )

    def submit_after(self, timer: Timer[Node], delay_ns: int, /) -> None:
        if not self._late_ns:
            self.node.submit_after(timer, delay_ns, priority=timer.priority)
            return
        self._queue.add(self.now_ns() + delay_ns, timer, priority=timer.priority)
        self._sleep_on()

    def _sleep_on(self) -> None:
        """Sleep until the next timer is due, and longer; two are never fired out of order."""
        due_ns = self._queue.next_due()
        if due_ns is None or (self._wakes_ns is not None and self._wakes_ns <= due_ns):
            return
        wakes_ns = due_ns + self._chance.randrange(self._late_ns)
        if self._wakes_ns is None or wakes_ns < self._wakes_ns:
            self._wakes_ns = wakes_ns
            self.node.submit_after(None, max(0, wakes_ns - self.now_ns()))


class Cluster:
    """Members that know each other from the start, and begin at random within one period.

    Args:
        seed: Decides all that is by chance.
        members: How many.
        repairs: What their engines do better than the crate.
        config: Their settings; None: the preset for a network, and so many members.
        late: How many of them are slow, and by how much at most, in nanoseconds.

    Attributes:
        sites: The members, by the names of their nodes.
        deaths: When each that has died did so, in nanoseconds of the world's clock.
        pinged: When each of these was pinged first after that.
        suspected: When somebody suspected it first.
        downs: When each identity was declared down, by one member after the other.
        renamed: The identities that were given up, because somebody said that they are down.
        bytes: How many were sent, as the contents of datagrams.
    """

    def __init__(
        self,
        seed: int,
        members: int,
        repairs: frozenset[Repair],
        config: Config | None = None,
        late: tuple[int, int] = (0, 0),
    ) -> None:
        self.config = Config.lan(members) if config is None else config
        self.repairs = repairs
        self.period_ns = self.config.probe_period_ns
        self.world = World(seed)
        self.sites: dict[str, Site] = {}
        self.names: dict[object, str] = {}
        self.deaths: dict[str, int] = {}
        self.pinged: dict[str, int] = {}
        self.suspected: dict[str, int] = {}
        self.downs: defaultdict[Node, list[int]] = defaultdict(list)
        self.renamed: list[Node] = []
        self.bytes = 0
        self._unsuspected: dict[str, Node] = {}
        rng = self.world.rng("start")
        everybody = identities(members)
        self.slow = set(self.world.rng("slow").sample(everybody, late[0]))
        known = [Member(identity, 0, State.ALIVE) for identity in everybody]
        for number, identity in enumerate(everybody):
            node = self.world.node(f"m{number}")
            self.names[identity.addr] = node.name
            late_ns = late[1] if identity in self.slow else 0
            site = self.sites[node.name] = Site(self, node, identity, late_ns)
            node.attach(site)
            # The same objects for all: a thousand lists of a thousand members are small then.
            others = known[:number] + known[number + 1 :]
            self.world.at(rng.randrange(self.period_ns), _apply(site, others))

    def run(self, periods: float) -> None:
        """Let so many periods of the probe pass."""
        self.world.run(until=self.world.now_ns + round(periods * self.period_ns))

    def run_until(self, holds: Callable[[], bool], periods: float) -> int | None:
        """Until it holds, looked at ten times a period; when it did, or None: not in that time."""
        until_ns = self.world.now_ns + round(periods * self.period_ns)
        while not holds():
            if self.world.now_ns >= until_ns:
                return None
            self.run(0.1)
        return self.world.now_ns

    def kill(self, name: str) -> None:
        """End a member without a word."""
        self.deaths[name] = self.world.now_ns
        self._unsuspected[name] = self.sites[name].engine.identity
        self.world.node(name).crash()

    @property
    def living(self) -> list[Site]:
        return [site for name, site in self.sites.items() if name not in self.deaths]

    def agreed(self) -> bool:
        """Whether all that live know all that live to be alive, and nobody else."""
        living = self.living
        there = {site.engine.identity for site in living}
        return all(
            site.engine.num_members == len(there) - 1
            and {m.identity for m in site.engine.members() if m.state is State.ALIVE}
            == there - {site.engine.identity}
            for site in living
        )

    # -- what the members report ------------------------------------------------------------------

    def sent_to_the_dead(self, name: str, data: bytes) -> None:
        """Somebody sends a packet to a node that has died."""
        if name not in self.pinged and isinstance(CODEC.decode_header(data)[0].message, Ping):
            self.pinged[name] = self.world.now_ns

    def fired(self, site: Site) -> None:
        """A member has handled a timer: does it suspect one who has died?"""
        for name, identity in list(self._unsuspected.items()):
            known = site.engine._local.members.get(identity.addr)
            if known is not None and known.state is not State.ALIVE:
                self.suspected[name] = self.world.now_ns
                del self._unsuspected[name]

    def declared_down(self, identity: Node) -> None:
        """Somebody declares a member down."""
        self.downs[identity].append(self.world.now_ns)


def _apply(site: Site, others: list[Member[Node]]) -> Callable[[], None]:
    return lambda: site.engine.apply_many(others, site, broadcast=False)
