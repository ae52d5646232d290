"""A net of sessions without sockets and clock, for their tests."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from holdfast.membership import Codec, Config, Node, Postcard, talk
from holdfast.membership.changes import (
    Change,
    Missed,
)
from holdfast.membership.session import Session

S = 1_000_000_000
MS = 1_000_000
CODEC = Postcard(Node)
LINGER_NS = 150 * MS

Address = tuple[str, int]


class Net:
    """Sessions by address, time, and a wire that can be cut. Datagrams arrive one ms later."""

    def __init__(self, seed: int = 7, codec: Codec[Node] = CODEC) -> None:
        self.rng = Random(seed)
        self.codec = codec
        self.now_ns = 0
        self.nodes: dict[Address, Session] = {}
        self.told: dict[Address, list[Change]] = {}
        self.looked_up: list[str] = []
        self.names: dict[str, list[Address]] = {}
        self.flying: list[tuple[int, Address, Address, bytes]] = []
        self.cut: Callable[[Address, Address], bool] = lambda _source, _to: False
        self.sent: list[tuple[Address, Address, bytes]] = []

    def add(
        self,
        name: str,
        port: int,
        *seeds: str,
        tags: dict[str, str] | None = None,
        marked: bool = True,
        config: Config | None = None,
    ) -> Session:
        born_ns = 1_700_000_000 * S + self.now_ns
        node = Node("10.0.0.1", port, talk.generation(born_ns, marked=marked))
        session = Session(
            name,
            node,
            config or Config.local(),
            rng=Random(f"{name} {port} {self.rng.random()}"),
            codec=self.codec,
            seeds=seeds,
            tags=tags,
            marked=marked,
        )
        self.nodes[node.addr] = session
        self.told[node.addr] = []
        session.start(self.now_ns)
        self.carry_out(node.addr)
        return session

    def kill(self, session: Session) -> None:
        del self.nodes[session.engine.identity.addr]

    def carry_out(self, addr: Address) -> None:
        session = self.nodes[addr]
        while True:
            effects = session.take()
            self.told[addr] += effects.changes
            for to, data in effects.sends:
                self.sent.append((addr, to, data))
                if not self.cut(addr, to):
                    self.flying.append((self.now_ns + MS, addr, to, data))
            self.looked_up += effects.resolve
            for seed in effects.resolve:
                session.resolved(seed, self.names.get(seed, []), self.now_ns)
            if not (effects.resolve or effects.sends or effects.changes):
                return

    def run(self, seconds: float) -> None:
        end = self.now_ns + round(seconds * S)
        while True:
            due = [time for session in self.nodes.values() if (time := session.next_due())]
            times = due + [flight[0] for flight in self.flying]
            if not times or min(times) > end:
                break
            self.now_ns = max(self.now_ns, min(times))
            landing = [flight for flight in self.flying if flight[0] <= self.now_ns]
            self.flying = [flight for flight in self.flying if flight[0] > self.now_ns]
            for _, source, to, data in landing:
                if to in self.nodes:
                    self.nodes[to].handle_data(data, source, self.now_ns)
                    self.carry_out(to)
            for addr, session in list(self.nodes.items()):
                next_due = session.next_due()
                if next_due is not None and next_due <= self.now_ns:
                    session.handle_timers(self.now_ns)
                    self.carry_out(addr)
        self.now_ns = end

    def changes(self, session: Session) -> list[tuple[str, str]]:
        told = self.told[session.engine.identity.addr]
        return [
            (type(change).__name__, change.member.name)
            for change in told
            if not isinstance(change, Missed)
        ]


def names(session: Session) -> list[str]:
    return sorted(member.name for member in session.members())
