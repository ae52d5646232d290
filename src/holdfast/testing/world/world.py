"""`World`: a clock, chance, nodes and what lies between them, all of it from one seed."""

from __future__ import annotations

import hashlib
from random import Random
from typing import TYPE_CHECKING

from holdfast.errors import InvalidArgument
from holdfast.testing.world.clock import NodeClock, WorldClock
from holdfast.testing.world.failures import Deadlock, OutOfTime
from holdfast.testing.world.network import Network
from holdfast.testing.world.node import Node
from holdfast.testing.world.scheduler import Scheduler
from holdfast.testing.world.service import Service, ServiceFaults, unavailable, unknown
from holdfast.testing.world.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.testing.world.clock import Face

__all__ = ["World", "stream"]

JITTER_NS = 50_000

LIMIT_NS = 3_600_000_000_000  # an hour: for runs that say nothing else


def stream(seed: int, name: str) -> Random:
    """A generator of its own for each name: the same in every process and version of Python."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return Random(int.from_bytes(digest[:16], "big"))


class World:
    """Everything that a simulation consists of. Nothing in it is real, and nothing is by chance.

    Args:
        seed: Decides all that the scenario leaves open.
        jitter_ns: Each step of a node comes up to so much later than it could, so that steps of
            different nodes come in another order under another seed.
        keep: How many lines of the trace are kept for the report.
        sink: Is called with every line of the trace.

    Attributes:
        clock: True time, a `holdfast.clock.Clock`; only for what needs to know better than nodes.
        network: Between the nodes.
        nodes: By name, in the order in which they were made.
        services: By name.
        trace: What has happened.
        scheduler: What will happen.
    """

    def __init__(
        self,
        seed: int,
        *,
        jitter_ns: int = JITTER_NS,
        keep: int = 200,
        sink: Callable[[str], None] | None = None,
    ) -> None:
        self.seed = seed
        self.jitter_ns = jitter_ns
        self._streams: dict[str, Random] = {}
        self.scheduler = Scheduler(self.rng("order"))
        self.clock = WorldClock(self.scheduler)
        self.trace = Trace(self.clock.boottime_ns, keep=keep, sink=sink)
        self.scheduler.between = self.trace.flush
        self.nodes: dict[str, Node] = {}
        self.services: dict[str, Service] = {}
        self.network = Network(self)
        self.healed = False

    @property
    def now_ns(self) -> int:
        """Virtual time since the world began."""
        return self.scheduler.now_ns

    def rng(self, name: str) -> Random:
        """The stream of chance of that name. What one draws does not shift what another does."""
        rng = self._streams.get(name)
        if rng is None:
            rng = self._streams[name] = stream(self.seed, name)
        return rng

    def node(
        self,
        name: str,
        *,
        drift_ppm: float = 0.0,
        jitter_ns: int | None = None,
        face: Face = "boottime",
    ) -> Node:
        """The node of that name, made at the first call.

        Args:
            name: One word.
            drift_ppm: How fast its oscillator is, in parts per million.
            jitter_ns: Instead of the world's.
            face: On which face of its clock its timers run, `Sleep` of its scripts too.
        """
        node = self.nodes.get(name)
        if node is None:
            if not name or name.split() != [name]:
                raise InvalidArgument(f"the name of a node is one word, not {name!r}")
            clock = NodeClock(self.scheduler, self.rng(f"clock:{name}"), drift_ppm=drift_ppm)
            jitter_ns = self.jitter_ns if jitter_ns is None else jitter_ns
            node = self.nodes[name] = Node(self, name, clock, jitter_ns=jitter_ns, face=face)
        return node

    def service(
        self,
        name: str,
        faults: ServiceFaults | None = None,
        *,
        unavailable: Callable[[str], BaseException] = unavailable,
        unknown: Callable[[str], BaseException] = unknown,
    ) -> Service:
        """The service of that name, made at the first call.

        Args:
            name: One word.
            faults: How calls fare; None: they only take a while.
            unavailable: Makes the exception for "it was surely not done" from a sentence.
            unknown: Makes the exception for "nothing may be inferred" from a sentence.
        """
        service = self.services.get(name)
        if service is None:
            faults = ServiceFaults() if faults is None else faults
            service = self.services[name] = Service(
                self, name, faults, unavailable=unavailable, unknown=unknown
            )
        return service

    # -- time -------------------------------------------------------------------------------------

    def at(self, when_ns: int, action: Callable[[], object]) -> None:
        """Call ``action()`` at an instant of virtual time: the scenario's own hand in the game."""
        self.scheduler.at(max(when_ns, self.now_ns), lambda _: action())

    def after(self, delay_ns: int, action: Callable[[], object]) -> None:
        """Call ``action()`` after so long."""
        self.at(self.now_ns + delay_ns, action)

    def every(self, mean_ns: int, action: Callable[[], object], *, name: str = "every") -> None:
        """Call ``action()`` again and again until `heal`, at random, `mean_ns` apart on average."""
        rng = self.rng(name)

        def again(_: object) -> None:
            if not self.healed:
                action()
                self.scheduler.at(self.now_ns + int(rng.random() * 2 * mean_ns), again)

        self.scheduler.at(self.now_ns + int(rng.random() * 2 * mean_ns), again)

    def run(
        self,
        until: int | Callable[[], bool] | None = None,
        *,
        limit_ns: int = LIMIT_NS,
    ) -> None:
        """Let things happen.

        Args:
            until: An instant, which is reached even if nothing happens any more; or a condition,
                looked at after every step; or None: as long as there is anything to happen.
            limit_ns: At most so long from now; an instant is a limit of its own.

        Raises:
            OutOfTime: The limit has passed first.
            Deadlock: Nothing is scheduled, and the condition does not hold; or, with None, some
                script that is no daemon still waits.
        """
        scheduler = self.scheduler
        if isinstance(until, int):
            scheduler.run(until)
            scheduler.now_ns = max(scheduler.now_ns, until)
            return
        if until is not None and until():
            return
        if scheduler.run(self.now_ns + limit_ns, until):
            return
        if scheduler.next_ns() is not None:
            raise OutOfTime(
                f"{limit_ns} ns have passed, up to {self.now_ns} ns, and it is not yet so; "
                f"who waits: {self._who_waits()}"
            )
        if until is not None or any(self._waiting()):
            raise Deadlock(
                f"nothing is scheduled any more at {self.now_ns} ns; who waits: {self._who_waits()}"
            )

    def heal(self, *, restart: bool = False) -> None:
        """End all faults: of network and services, pauses, stalls, sleep, and what `every` calls.

        Clocks go on to drift, and what is late in a service still comes.

        Args:
            restart: Restart the nodes that have crashed, too.
        """
        self.healed = True
        self.trace.say("heal")
        self.network.heal()
        for service in self.services.values():
            service.heal()
        for node in self.nodes.values():
            node.stall(0)
            node.resume()
            node.wake()
            if restart:
                node.restart()

    # -- reports ----------------------------------------------------------------------------------

    @property
    def events(self) -> int:
        """How many steps have run."""
        return self.scheduler.events

    def counts(self) -> dict[str, int]:
        """The faults that were injected, by name: a run that injected none proves nothing."""
        counts = self.network.counts()
        for service in self.services.values():
            for name, count in sorted(service.counts.items()):
                counts[f"{service.name}.{name}"] = count
        return counts

    def _waiting(self) -> list[str]:
        return [
            f"{process.name} on {node.name} for {process.waits_for}"
            for node in self.nodes.values()
            for process in node.processes.values()
            if not process.daemon
        ]

    def _who_waits(self) -> str:
        return "; ".join(self._waiting()) or "nobody"

    def __repr__(self) -> str:
        return f"<World seed={self.seed} at {self.now_ns} ns, {self.events} steps>"
