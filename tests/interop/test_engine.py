"""Our engine without repairs, and the crate's: the same packets, timers and calls, step by step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from holdfast.membership import (
    Ack,
    Announce,
    ChangeSuspectToDown,
    Config,
    ForwardedAck,
    Header,
    Member,
    Node,
    Periodic,
    PeriodicAnnounce,
    PeriodicAnnounceDown,
    PeriodicGossip,
    Ping,
    PingReq,
    ProbeRandomMember,
    RemoveDown,
    SendIndirectProbe,
    State,
    Timer,
)
from tests.interop.building import PATIENCE_S
from tests.interop.driver import Answer, Driver
from tests.interop.pair import Pair
from tests.interop.test_codecs import mutated
from tests.interop.words import (
    CODECS,
    ERRORS,
    MESSAGES,
    NOTIFICATIONS,
    TIMERS,
    Settings,
    node,
    timer_text,
    value,
)

pytestmark = pytest.mark.timeout(PATIENCE_S)

MS = 1_000_000
PORTS = (8000, 8001, 8002, 300, 301, 7)
HOSTS = ("127.0.0.1", "::1")
SITES = [(HOSTS[n % 2], port) for n, port in enumerate(PORTS)]
OWN_SITE = ("127.0.0.1", 9000)
INCARNATIONS = (0, 0, 0, 1, 1, 2, 3, 250, 65534, 65535)


class Story:
    """Random steps for a pair of engines, most of them such as could really happen."""

    def __init__(self, pair: Pair, rng: Random, *, everybody: bool) -> None:
        self.pair = pair
        self.rng = rng
        self._everybody = everybody
        self._asked: list[tuple[Node, bytes]] = []
        self.seen: Counter[str] = Counter()
        self._kinds: list[tuple[int, Callable[[], Answer]]] = [
            (30, self.packet),
            (25, self.answer),
            (25, self.timer),
            (4, self.stale_timer),
            (5, self.broken_packet),
            (5, self.apply),
            (2, lambda: pair.announce(self.somebody())),
            (3, pair.gossip),
            (2, pair.broadcast),
            (4, lambda: pair.add(self.item())),
            (1, self.change),
            (1, pair.leave),
            (2, pair.reuse),
            (1, self.set),
        ]

    def step(self) -> None:
        """One of them."""
        [(_, act)] = self.rng.choices(self._kinds, [weight for weight, _ in self._kinds])
        answer = act()
        self._asked += [(node(to), data) for to, data in answer.sent]
        del self._asked[:-12]
        self.seen[f"error {answer.error}"] += 1
        for line in answer.effects:
            kind, what, *_ = line.split()
            if kind == "send":
                header, _ = self.pair.codec.decode_header(bytes.fromhex(line.split()[2]))
                what = type(header.message).__name__
            elif kind == "timer":
                what = line.split()[2]
            elif kind == "item":
                what = "received"
            self.seen[f"{kind} {what}"] += 1

    # -- whom and what ----------------------------------------------------------------------------

    def somebody(self) -> Node:
        """A member that is known, mostly."""
        known = self.pair.ours.membership_state()
        if known and self.rng.random() < 0.7:
            return self.rng.choice(known).identity
        host, port = self.rng.choice(SITES)
        return Node(host, port, self.rng.randrange(4))

    def anybody(self) -> Node:
        """Somebody, or oneself now or in another life."""
        chance = self.rng.random()
        if chance < 0.1:
            return self.pair.ours.identity
        if chance < 0.15:
            return Node(*OWN_SITE, self.rng.randrange(6))
        return self.somebody()

    def incarnation(self, whose: Node) -> int:
        """One near to what is known."""
        if whose == self.pair.ours.identity and self.rng.random() < 0.7:
            return min(65535, max(0, self.pair.ours.incarnation + self.rng.randint(-1, 1)))
        for member in self.pair.ours.membership_state():
            if member.identity == whose and self.rng.random() < 0.7:
                return min(65535, max(0, member.incarnation + self.rng.randint(-1, 1)))
        return self.rng.choice(INCARNATIONS)

    def update(self) -> Member[Node]:
        whose = self.anybody()
        state = self.rng.choice([State.ALIVE, State.ALIVE, State.SUSPECT, State.DOWN])
        if whose.addr == OWN_SITE and state is State.DOWN and self.rng.random() < 0.5:
            state = State.SUSPECT
        return Member(whose, self.incarnation(whose), state)

    def item(self) -> bytes:
        size = self.rng.choice([0, 1, 2, 3, 3, 5, 5, 5, 20, 30])
        return bytes([self.rng.randrange(3), self.rng.randrange(8)])[:size] + b"x" * (size - 2)

    def frame(self, header: Header[Node]) -> bytes:
        """A packet with updates and items as they come."""
        codec, rng = self.pair.codec, self.rng
        data = codec.encode_header(header)
        name = type(header.message).__name__
        if name in ("Announce", "TurnUndead"):
            return data
        if name != "Broadcast":
            updates = [self.update() for _ in range(rng.choice([0, 0, 0, 1, 1, 2, 4]))]
            data += len(updates).to_bytes(2, "big") + b"".join(map(codec.encode_member, updates))
        for _ in range(rng.choice([0, 0, 0, 0, 1, 2])):
            item = self.item()
            data += len(item).to_bytes(2, "big") + item
        return data

    # -- steps ------------------------------------------------------------------------------------

    def header(self) -> Header[Node]:
        rng = self.rng
        names = list(MESSAGES)
        if not self._everybody:
            names.remove("forwarded-ack")  # whether it counts depends on who was asked
        words = [rng.choice(names)]
        if words[0] in ("ping-req", "indirect-ping", "indirect-ack", "forwarded-ack"):
            words.append(str(self.anybody()))
        if "ping" in words[0] or "ack" in words[0]:
            words.append(str(rng.choice([self.pair.ours._local.probe.number, rng.randrange(256)])))
        src = self.anybody()
        dst = self.pair.ours.identity if rng.random() < 0.9 else self.anybody()
        return Header(src, self.incarnation(src), dst, value(MESSAGES, " ".join(words)))

    def packet(self) -> Answer:
        return self.pair.data(self.frame(self.header()))

    def broken_packet(self) -> Answer:
        data = mutated(self.rng, self.frame(self.header()))
        if not self._everybody:
            try:
                header, _ = self.pair.codec.decode_header(data)
            except Exception:  # noqa: BLE001 - whatever it is, it is not what is looked for here
                return self.pair.data(data)
            if isinstance(header.message, ForwardedAck):
                return self.packet()
        return self.pair.data(data)

    def answer(self) -> Answer:
        """What a peer says to one of the last packets."""
        if not self._asked:
            return self.packet()
        to, data = self._asked.pop(self.rng.randrange(len(self._asked)))
        sent, _ = self.pair.codec.decode_header(data)
        message: Any = MESSAGES["gossip"]()
        if isinstance(sent.message, Ping):
            message = Ack(sent.message.number)
        elif isinstance(sent.message, PingReq) and self._everybody:
            message = ForwardedAck(sent.message.target, sent.message.number)
        elif isinstance(sent.message, Announce):
            message = MESSAGES["feed"]()
        return self.pair.data(self.frame(Header(to, self.incarnation(to), sent.src, message)))

    def timer(self) -> Answer:
        """One that is due, mostly in the order in which they were submitted."""
        pending = self.pair.pending
        if not pending:
            return self.apply()
        last = min(len(pending), 4) if self.rng.random() < 0.8 else len(pending)
        return self.pair.timer(pending.pop(self.rng.randrange(last)))

    def stale_timer(self) -> Answer:
        """One of any token, of which nobody knows."""
        token = str(self.rng.choice([self.pair.ours._local.token, self.rng.randrange(256)]))
        whose = self.anybody()
        name = self.rng.choice(
            ["probe", "indirect", "down", "announce", "announce-down", "gossip", "remove"]
        )
        words = {"indirect": [str(whose)], "remove": [str(whose)]}.get(name, [])
        if name == "down":
            words = [str(whose), str(self.incarnation(whose))]
        return self.pair.timer(" ".join([name, *words, *([] if name == "remove" else [token])]))

    def apply(self) -> Answer:
        updates = [self.update() for _ in range(self.rng.randrange(4))]
        return self.pair.apply(updates, broadcast=self.rng.random() < 0.7)

    def change(self) -> Answer:
        return self.pair.change(Node(*OWN_SITE, self.rng.randrange(6)))

    def set(self) -> Answer:
        rng, settings = self.rng, self.pair.settings
        changes: list[dict[str, Any]] = [
            {"probe_period_ns": 1400 * MS},
            {"probe_rtt_ns": 499 * MS},
            {"max_transmissions": rng.randint(1, 255)},
            {"notify_down_members": rng.random() < 0.5},
            {"suspect_to_down_after_ns": rng.randint(1, 10) * MS},
            {"remove_down_after_ns": rng.randint(1, 10) * MS},
            {"periodic_gossip": rng.choice([None, Periodic(7 * MS, 99)])},
            {"periodic_announce": rng.choice([None, Periodic(8 * MS, 99)])},
            {"periodic_announce_to_down_members": rng.choice([None, Periodic(9 * MS, 99)])},
        ]
        return self.pair.set(settings.but(**rng.choice(changes)))


def settings(rng: Random, *, everybody: bool) -> Settings:
    # Whom a pick takes must not matter: it takes all, or what it takes is not compared.
    many = 99 if everybody else 2

    def periodic(ms: int) -> Periodic | None:
        return rng.choice([None, Periodic(ms * MS, many)])

    return Settings(
        Config(
            probe_period_ns=1500 * MS,
            probe_rtt_ns=500 * MS,
            num_indirect_probes=many,
            max_transmissions=rng.choice([1, 2, 3, 10, 255]),
            suspect_to_down_after_ns=3000 * MS,
            notify_down_members=rng.random() < 0.5,
            periodic_announce=periodic(30),
            periodic_announce_to_down_members=periodic(20),
            periodic_gossip=periodic(10),
        )
    )


def play(driver: Driver, seed: int, codec: str, *, everybody: bool, steps: int) -> Counter[str]:
    rng = Random(seed)
    pair = Pair(
        driver,
        Node(*OWN_SITE, rng.choice([0, 2, 2**64 - 1])),
        codec,
        settings(rng, everybody=everybody),
        # Who may get items must not matter either, where it is chance who gets a packet.
        items=rng.choice(["off", "on", "on", "even"] if everybody else ["off", "on"]),
        everybody=everybody,
    )
    story = Story(pair, rng, everybody=everybody)
    for _ in range(steps):
        story.step()
    return story.seen


# What a comparison must have met with to mean something.
MET = {
    *(f"error {name}" for name in ERRORS),
    *(f"notify {name}" for name in NOTIFICATIONS),
    *(f"timer {name}" for name in TIMERS),
    *(f"send {kind.__name__}" for kind in MESSAGES.values()),
    "item received",
}
NEVER = {"error DataTooBig", "error Encode"}  # `test_packets_that_are_full` has them


@pytest.mark.parametrize("codec", sorted(CODECS))
@pytest.mark.parametrize("everybody", [True, False])
def test_both_do_the_same(driver: Driver, codec: str, everybody: bool, full: bool) -> None:
    seen: Counter[str] = Counter()
    for seed in range(2_000 if full else 60):
        seen += play(driver, seed, codec, everybody=everybody, steps=100)
    assert MET - NEVER - set(seen) == set()


def test_probe_numbers_and_tokens_wrap(driver: Driver) -> None:
    own, peer = Node(*OWN_SITE, 0), Node("127.0.0.1", 1, 1)
    config = settings(Random(0), everybody=True)
    pair = Pair(driver, own, "postcard", config, items="off", everybody=True)
    pair.apply([Member(peer, 0, State.ALIVE)], broadcast=False)
    for number in range(1, 300):
        pair.timer("probe 0")
        pair.timer(f"indirect {peer} 0")
        header = Header(peer, 0, own, Ack(number % 256))
        pair.data(pair.codec.encode_header(header) + bytes(2))
    assert [one.state for one in pair.ours.membership_state()] == [State.ALIVE]
    for generation in range(1, 300):
        own = Node(*OWN_SITE, generation)
        pair.change(own)
        heard = pair.data(pair.codec.encode_header(Header(peer, 0, own, Announce())))
        assert f"probe {generation % 256}" in heard.timers
        pair.timer("probe 0")
        pair.timer("gossip 44")


def test_timers_that_are_due_together_have_one_order(driver: Driver) -> None:
    timers: list[Timer[Node]] = [
        SendIndirectProbe(Node("127.0.0.1", 1, 1), 0),
        ProbeRandomMember(0),
        ChangeSuspectToDown(Node("127.0.0.1", 1, 1), 0, 0),
        PeriodicAnnounce(0),
        PeriodicGossip(0),
        RemoveDown(Node("127.0.0.1", 1, 1)),
        PeriodicAnnounceDown(0),
    ]
    for seed in range(10):
        shuffled = Random(seed).sample(timers, len(timers))
        ours = " ; ".join(map(timer_text, sorted(shuffled)))
        assert driver.ask("sort", *" ; ".join(map(timer_text, shuffled)).split()).said == ours


def test_each_round_asks_everybody_once(driver: Driver) -> None:
    """Of the crate alone: whom it asks is chance, and what `Pair` has ours follow."""
    own, size = Node(*OWN_SITE, 0), 7
    real = driver.node(str(own), "postcard")
    codec = CODECS["postcard"]
    real("apply", *(f"127.0.0.1:{port}#1/0/a" for port in range(1, size + 1)))
    asked = []
    for _ in range(10 * size):
        begun = real("timer", "probe 0")
        [(to, data)] = begun.sent
        ping, _ = codec.decode_header(data)
        assert isinstance(ping.message, Ping)
        answer = Header(node(to), 0, own, Ack(ping.message.number))
        real.hand(codec.encode_header(answer) + bytes(2))
        real("timer", begun.timers[0])
        asked.append(to)
    rounds = [asked[at : at + size] for at in range(0, len(asked), size)]
    assert {len(set(one)) for one in rounds} == {size}
    assert len({tuple(one) for one in rounds}) > 1


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_packets_that_are_full(driver: Driver, codec: str) -> None:
    """Which of equals fit is anybody's choice; how many, and how often, is not."""
    rng = Random(3)
    seen: Counter[str] = Counter()
    for size in (10, *range(16, 28), *(rng.randint(28, 160) for _ in range(30))):
        config = settings(rng, everybody=True).but(max_packet_size=size)
        pair = Pair(driver, Node(*OWN_SITE, 1), codec, config, items="on", everybody=True)
        pair.compare_sizes_only = True
        pair.apply([Member(Node("127.0.0.1", 1, 1), 0, State.ALIVE)], broadcast=False)
        others = rng.sample(range(2, 9999), rng.randint(0, 30))
        many = [Member(Node("127.0.0.1", port, port), 0, State.DOWN) for port in others]
        pair.apply(many, broadcast=True)
        for key in range(rng.randint(0, 3)):
            pair.add(bytes([key, 1]) + b"x" * rng.randint(0, 20))
        for _ in range(20):
            seen[f"error {pair.gossip().error}"] += 1
        seen[f"error {pair.data(bytes(size + 1)).error}"] += 1
    assert set(seen) >= {"error None", *NEVER}


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_feeds_that_are_full(driver: Driver, codec: str) -> None:
    """How many members are picked follows from how long the header is."""
    rng = Random(4)
    for _ in range(60):
        config = Settings(Config.simple()).but(max_packet_size=rng.randint(60, 1400))
        own = Node(rng.choice(HOSTS), 9, rng.choice([0, 2**20, 2**60]))
        pair = Pair(driver, own, codec, config, items="off", everybody=True)
        pair.compare_sizes_only = True
        bump = rng.choice([0, 2**20, 2**60])
        known = [Node(HOSTS[0], port, bump) for port in range(1000, 1000 + rng.randint(0, 130))]
        pair.apply([Member(node, 0, State.ALIVE) for node in known], broadcast=False)
        asking = Node(rng.choice(HOSTS), 10, rng.choice([0, 2**20, 2**60]))
        pair.data(pair.codec.encode_header(Header(asking, 0, own, Announce())))
