"""A failure detector without input or output, small, and of the shape of a SWIM engine.

Every period a member pings one peer, in turn. If no answer comes in time the peer is a suspect, and
if nobody speaks for it until the suspicion ends, it is down. Every message carries all that its
sender knows. Who hears that he is suspected or down says that he is alive, in a higher incarnation.

What is known of a member is a pair, and only a greater one replaces it::

    (incarnation, standing)        standing: ALIVE < SUSPECT < DOWN

The machine asks its `Runtime` for everything. `scenario` puts it into the World, with a checker
that watches from outside; ``without`` takes one safeguard away:

=============  =====================================================================
`precedence`   the last word counts, whether it is greater or not
`refutation`   nobody contradicts
`suspicion`    a suspect stays one: nobody is ever down
=============  =====================================================================
"""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from holdfast.testing.world import Link, Node, World

SECOND = 1_000_000_000
PERIOD_NS = SECOND
ANSWER_NS = SECOND // 5
SUSPICION_NS = 3 * SECOND


class Standing(enum.IntEnum):
    """What is believed of a member."""

    ALIVE = 0
    SUSPECT = 1
    DOWN = 2


Known = tuple[int, Standing]


@dataclass(frozen=True)
class Probe:
    """A timer: ping the next one."""


@dataclass(frozen=True)
class AnswerIsLate:
    """A timer: the ping of that number had no answer yet."""

    peer: str
    number: int


@dataclass(frozen=True)
class SuspicionEnds:
    """A timer: nobody has spoken for the suspect."""

    peer: str
    known: Known


@dataclass(frozen=True)
class Changed:
    """A notification: this is believed of a peer from now on."""

    peer: str
    known: Known


class Runtime(Protocol):
    """What the machine wants of the world."""

    def notify(self, notification: Changed) -> None: ...

    def send_to(self, member: str, data: bytes) -> None: ...

    def submit_after(self, timer: Any, delay_ns: int) -> Any: ...


class Detector:
    """One member."""

    def __init__(self, me: str, peers: Sequence[str], *, without: str | None = None) -> None:
        self.me = me
        self.incarnation = 0
        self.known: dict[str, Known] = dict.fromkeys(peers, (0, Standing.ALIVE))
        self._peers = list(peers)
        self._without = without
        self._turn = 0
        self._number = 0
        self._waiting: dict[str, int] = {}

    def start(self, runtime: Runtime, delay_ns: int) -> None:
        """Ping for the first time after so long."""
        runtime.submit_after(Probe(), delay_ns)

    def handle_timer(self, timer: object, runtime: Runtime) -> None:
        """A timer of ours is due."""
        match timer:
            case Probe():
                runtime.submit_after(Probe(), PERIOD_NS)
                self._probe(runtime)
            case AnswerIsLate(peer, number):
                incarnation, standing = self.known[peer]
                if self._waiting.get(peer) == number and standing is Standing.ALIVE:
                    self._learn(peer, (incarnation, Standing.SUSPECT), runtime)
            case SuspicionEnds(peer, known):
                if self.known[peer] == known and self._without != "suspicion":
                    self._learn(peer, (known[0], Standing.DOWN), runtime)

    def handle_data(self, data: bytes, runtime: Runtime) -> None:
        """Somebody has said something."""
        message = json.loads(data)
        source, number = message["from"], message["number"]
        for peer, (incarnation, standing) in message["known"].items():
            self._hear(peer, (incarnation, Standing(standing)), runtime)
        if message["answer"]:
            if self._waiting.get(source) == number:
                del self._waiting[source]
        else:
            runtime.send_to(source, self._message(number, answer=True))

    def _probe(self, runtime: Runtime) -> None:
        peer = self._peers[self._turn % len(self._peers)]  # those that are down, too: they may live
        self._turn += 1
        self._number += 1
        self._waiting[peer] = self._number
        runtime.send_to(peer, self._message(self._number, answer=False))
        runtime.submit_after(AnswerIsLate(peer, self._number), ANSWER_NS)

    def _hear(self, peer: str, known: Known, runtime: Runtime) -> None:
        if peer != self.me:
            if known > self.known[peer] or self._without == "precedence":
                self._learn(peer, known, runtime)
        elif known >= (self.incarnation, Standing.SUSPECT) and self._without != "refutation":
            self.incarnation = known[0] + 1

    def _learn(self, peer: str, known: Known, runtime: Runtime) -> None:
        if known == self.known[peer]:
            return
        self.known[peer] = known
        runtime.notify(Changed(peer, known))
        if known[1] is Standing.SUSPECT:
            runtime.submit_after(SuspicionEnds(peer, known), SUSPICION_NS)

    def _message(self, number: int, *, answer: bool) -> bytes:
        known = self.known | {self.me: (self.incarnation, Standing.ALIVE)}
        message = {"from": self.me, "number": number, "answer": answer, "known": known}
        return json.dumps(message).encode()


class Host:
    """Puts a detector on a node: the runtime of the one, the machine of the other."""

    def __init__(self, node: Node, detector: Detector, checker: Checker) -> None:
        self.node = node
        self.detector = detector
        self._checker = checker
        checker.forget(node.name)
        detector.start(self, node.world.rng("start").randrange(PERIOD_NS))

    def on_timer(self, timer: Any) -> None:
        self.detector.handle_timer(timer, self)

    def on_message(self, source: str, data: Any) -> None:
        self.detector.handle_data(data, self)

    def notify(self, notification: Changed) -> None:
        incarnation, standing = notification.known
        self.node.notify(f"{notification.peer} {standing.name} {incarnation}")
        self._checker.changed(self.node.name, notification)

    def send_to(self, member: str, data: bytes) -> None:
        self.node.send_to(member, data)

    def submit_after(self, timer: Any, delay_ns: int) -> Any:
        return self.node.submit_after(timer, delay_ns)


class Checker:
    """Sees everybody from outside, and what nobody may do."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], Known] = {}

    def forget(self, observer: str) -> None:
        """It was started again, and knows nothing."""
        self._seen = {pair: known for pair, known in self._seen.items() if pair[0] != observer}

    def changed(self, observer: str, change: Changed) -> None:
        """Nobody rises again in the incarnation in which he fell."""
        before = self._seen.get((observer, change.peer), (0, Standing.ALIVE))
        assert change.known > before, f"{observer} on {change.peer}: {before}, then {change.known}"
        self._seen[observer, change.peer] = change.known


def scenario(world: World, *, members: int = 5, without: str | None = None) -> None:
    """Faults for a while; then everybody agrees on who is there, within a bound."""
    checker = Checker()
    names = [f"m{number}" for number in range(members)]
    rng = world.rng("faults")

    def setup(node: Node) -> None:
        peers = [name for name in names if name != node.name]
        node.attach(Host(node, Detector(node.name, peers, without=without), checker))

    for name in names:
        world.node(name, drift_ppm=rng.uniform(-500, 500)).start(setup)
    world.network.link = Link(loss=0.1, duplicate=0.1, reorder=0.1, reorder_ns=2 * SECOND)

    def fault() -> None:
        node = world.node(rng.choice(names))
        span_ns = rng.randrange(8 * SECOND)
        match rng.randrange(5):
            case 0:
                node.pause(span_ns)
            case 1:
                node.sleep(span_ns)
            case 2:
                node.crash(span_ns)
            case 3:
                world.network.partition([node.name], for_ns=span_ns)
            case 4:
                world.network.cut([node.name], rng.sample(names, 2), for_ns=span_ns)

    world.every(3 * SECOND, fault)
    world.run(until=40 * SECOND)
    world.heal(restart=True)
    world.node("m0").crash()

    def agreed() -> bool:
        machines = [world.node(name).machine for name in names[1:]]
        return all(
            isinstance(host, Host)
            and all(
                (known[1] is Standing.DOWN) if peer == "m0" else (known[1] is Standing.ALIVE)
                for peer, known in host.detector.known.items()
            )
            for host in machines
        )

    # Everybody has pinged everybody twice, a suspicion has ended, and the news is everywhere.
    world.run(until=agreed, limit_ns=3 * members * PERIOD_NS + 2 * SUSPICION_NS)
