"""The network between nodes: it delays, loses, doubles and reorders, and it can be cut.

Every message travels by itself, as a datagram does: two of one sender may overtake each other as
far as their delays allow. What is on its way is bounded, as it is in every network.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from holdfast.testing.world.world import World

__all__ = ["Cut", "Link", "Network"]

IN_FLIGHT_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Link:
    """How messages fare from one node to another. Probabilities are from 0 to 1.

    Attributes:
        latency_ns: Each takes from the first to the second, evenly spread.
        loss: How probably one is lost.
        duplicate: How probably one comes twice, with two latencies.
        reorder: How probably one is held back, by up to `reorder_ns` more.
        reorder_ns: See there.
    """

    latency_ns: tuple[int, int] = (200_000, 2_000_000)
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_ns: int = 100_000_000

    def __post_init__(self) -> None:
        low_ns, high_ns = self.latency_ns
        if not 0 <= low_ns <= high_ns or self.reorder_ns < 0:
            raise InvalidArgument(f"no latency: {self.latency_ns}, {self.reorder_ns} ns")
        for chance in (self.loss, self.duplicate, self.reorder):
            if not 0 <= chance <= 1:
                raise InvalidArgument(f"no probability: {chance}")

    @classmethod
    def drawn(cls, rng: Random, *, most: float = 0.2) -> Link:
        """A link by chance: each fault is absent half of the time, else up to so probable.

        Many seeds with faults of one mixture see less than many mixtures do.
        """
        return cls(loss=_drawn(rng, most), duplicate=_drawn(rng, most), reorder=_drawn(rng, most))

    def healed(self) -> Link:
        """The same without faults."""
        return Link(self.latency_ns)


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """A partition, to be taken back by `Network.mend`."""

    ways: tuple[tuple[str, str], ...]


class Network:
    """What the nodes of a world send each other.

    Attributes:
        link: How messages fare where no other link was set.
        sent: How many messages were given to it.
        arrived: How many came to a node, duplicates included.
        lost: How many were lost by chance.
        cut_off: How many were sent across a partition.
        doubled: How many came twice.
        reordered: How many were held back.
        refused: How many were too many at once, or went to nobody.
        missed: How many came to a node that could not take them.
    """

    def __init__(self, world: World) -> None:
        self.link = Link()
        self.sent = self.arrived = self.lost = self.cut_off = 0
        self.doubled = self.reordered = self.refused = self.missed = 0
        self._world = world
        self._nodes = world.nodes
        self._scheduler = world.scheduler
        self._chance = world.rng("network").random
        self._links: dict[tuple[str, str], Link] = {}
        self._cuts: list[Cut] = []
        self._cut_ways: frozenset[tuple[str, str]] = frozenset()
        self._leaving = 0  # on their way, or arrived: those that were not lost

    @property
    def in_flight(self) -> int:
        """How many are on their way."""
        return self._leaving - self.arrived

    def counts(self) -> dict[str, int]:
        """The faults that were injected, by name."""
        names = ("lost", "cut_off", "doubled", "reordered", "refused", "missed")
        return {f"network.{name}": getattr(self, name) for name in names}

    # -- faults -----------------------------------------------------------------------------------

    def set_link(self, link: Link, *, source: str | None = None, to: str | None = None) -> None:
        """From now on messages of `source` to `to` fare so; None: of all others, to all others."""
        names = list(self._nodes)
        sources = names if source is None else [source]
        targets = names if to is None else [to]
        for way in itertools.product(sources, targets):
            self._links[way] = link
        self._note(f"link {source or 'all'} {to or 'all'}")

    def cut(self, source: Iterable[str], to: Iterable[str], for_ns: int | None = None) -> Cut:
        """Cut one way: what `source` sends to `to` is lost, what they send back arrives.

        Args:
            source: Names of nodes.
            to: Names of nodes.
            for_ns: Mended after so long; None: when `mend` or `heal` is called.
        """
        ways = tuple(itertools.product(_names(source), _names(to)))
        return self._cut(ways, for_ns)

    def partition(
        self, group: Iterable[str], others: Iterable[str] | None = None, for_ns: int | None = None
    ) -> Cut:
        """Cut both ways, between a group and others; None: all nodes that are not in the group."""
        here = _names(group)
        if others is None:
            there = [name for name in self._nodes if name not in here]
        else:
            there = _names(others)
        ways = (*itertools.product(here, there), *itertools.product(there, here))
        return self._cut(ways, for_ns)

    def mend(self, cut: Cut) -> None:
        """Take one cut back. Harmless if it was mended before."""
        if any(one is cut for one in self._cuts):
            self._cuts = [one for one in self._cuts if one is not cut]
            self._count_ways()
            self._note("mended")

    def heal(self) -> None:
        """No cuts and no faults any more; latencies stay."""
        self._cuts.clear()
        self._count_ways()
        self.link = self.link.healed()
        self._links = {way: link.healed() for way, link in self._links.items()}
        self._note("healed")

    # -- messages ---------------------------------------------------------------------------------

    def send(self, source: str, to: str, data: Any) -> None:
        """Send a message on its way. It arrives later, once, twice or never."""
        self.sent += 1
        way = (source, to)
        if way in self._cut_ways:
            self.cut_off += 1
            self._lost("cut off", way)
            return
        node = self._nodes.get(to)
        if node is None or self._leaving - self.arrived >= IN_FLIGHT_MAX:
            self.refused += 1
            self._lost("refused", way)
            return
        link = self.link
        if self._links:
            link = self._links.get(way, link)
        chance = self._chance
        low_ns, high_ns = link.latency_ns
        delay_ns = low_ns + int(chance() * (high_ns - low_ns + 1))
        if link.loss or link.duplicate or link.reorder:
            if chance() < link.loss:
                self.lost += 1
                self._lost("lost", way)
                return
            if chance() < link.reorder:
                self.reordered += 1
                delay_ns += int(chance() * link.reorder_ns)
            if chance() < link.duplicate:
                self.doubled += 1
                self._leaving += 1
                again_ns = low_ns + int(chance() * (high_ns - low_ns + 1))
                now_ns = self._scheduler.now_ns
                self._scheduler.at(now_ns + again_ns, node.deliver, (source, data))
        self._leaving += 1
        scheduler = self._scheduler
        when_ns = scheduler.now_ns + delay_ns
        letter = (source, data)
        scheduler.push((when_ns, scheduler.chance(), scheduler.count(), node.deliver, letter))

    # -- inside -----------------------------------------------------------------------------------

    def _cut(self, ways: tuple[tuple[str, str], ...], for_ns: int | None) -> Cut:
        cut = Cut(ways)
        self._cuts.append(cut)
        self._count_ways()
        self._note("cut " + " ".join(f"{source}>{to}" for source, to in ways[:8]))
        if for_ns is not None:
            self._scheduler.at(self._scheduler.now_ns + for_ns, self.mend, cut)
        return cut

    def _count_ways(self) -> None:
        # Only ever asked for one way: the order of a set is never looked at.
        self._cut_ways = frozenset(way for cut in self._cuts for way in cut.ways)

    def _lost(self, how: str, way: tuple[str, str]) -> None:
        self._world.trace.add(f"{self._scheduler.now_ns} {way[0]} {how} {way[1]}")

    def _note(self, what: str) -> None:
        self._world.trace.add(f"{self._scheduler.now_ns} - network {what}")


def _drawn(rng: Random, most: float) -> float:
    return rng.random() * most if rng.random() < 0.5 else 0.0


def _names(names: Iterable[str]) -> list[str]:
    # One name, too: a string would otherwise be taken for its letters.
    return [names] if isinstance(names, str) else list(names)
