"""One real engine and one of ours, told the same; whatever they do must be the same.

Chance is the only difference there may be. Whom a packet goes to where some of many are picked, in
which order members stand in a packet, and who is probed next: of these only the numbers are
compared, or the sets. Everything else is compared as it is, and in order.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby
from random import Random
from typing import NamedTuple
from unittest import mock

from holdfast.errors import MembershipError
from holdfast.membership import (
    Broadcast,
    Header,
    Member,
    Membership,
    Node,
    Notification,
    Ping,
    State,
    Timer,
)
from holdfast.membership.member import Members
from tests.interop.driver import Answer, Driver, tohex, unhex
from tests.interop.words import (
    CODECS,
    ERRORS,
    TIMERS,
    Settings,
    member_text,
    notification_text,
    timer_text,
    value,
)


class Noting:
    """A runtime that writes down what the driver prints."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def notify(self, notification: Notification[Node], /) -> None:
        self.lines.append(f"notify {notification_text(notification)}")

    def send_to(self, member: Node, data: bytes, /) -> None:
        self.lines.append(f"send {member} {tohex(data)}")

    def submit_after(self, timer: Timer[Node], delay_ns: int, /) -> None:
        self.lines.append(f"timer {delay_ns} {timer_text(timer)}")


class ItemKey(NamedTuple):
    """The key of an item of the tests."""

    key: int

    def invalidates(self, other: ItemKey, /) -> bool:
        return self == other


class Items:
    """The driver's handler again: a key and a version; higher versions win; odd ports get none."""

    def __init__(self, lines: list[str], mode: str) -> None:
        self._lines = lines
        self._mode = mode
        self._known: dict[int, int] = {}

    def receive_item(self, data: bytes, sender: Node | None, /) -> ItemKey | None:
        self._lines.append(f"item {tohex(data)} {'-' if sender is None else sender}")
        if self._mode == "off":
            raise ValueError("no items here")
        if len(data) < 2:
            raise ValueError("an item has a key and a version")
        key, version = data[:2]
        if self._known.get(key, -1) >= version:
            return None
        self._known[key] = version
        return ItemKey(key)

    def should_add_broadcast_data(self, member: Node, /) -> bool:
        return self._mode != "off" and not (self._mode == "even" and member.port % 2)


class Packet(NamedTuple):
    """What a datagram says, without what chance decides."""

    src: Node
    incarnation: int
    message: str
    announced: bytes
    members: tuple[bytes, ...]
    items: tuple[bytes, ...]

    def sizes(self) -> tuple[object, ...]:
        """The same, but of each part that varies only how long it is."""
        told = (sorted(map(len, parts)) for parts in (self.members, self.items))
        return (*self[:4], *told)


class Addressed(NamedTuple):
    """A packet, and to whom it goes."""

    to: str
    packet: Packet


class Pair:
    """Both engines.

    Args:
        driver: Where the real one lives.
        identity: Who both are.
        codec: The codec's name.
        settings: Their configuration.
        items: The mode of both handlers.
        everybody: Whether every pick takes all that there are, so that receivers can be compared.

    Attributes:
        settings: Their configuration now.
        pending: The timers that were submitted, the oldest first.
        steps: Everything that was done.
        compare_sizes_only: Packets are full: what is in them is chance, but not how much it is.
    """

    def __init__(
        self,
        driver: Driver,
        identity: Node,
        codec: str,
        settings: Settings,
        *,
        items: str,
        everybody: bool,
    ) -> None:
        self.codec = CODECS[codec]
        self.settings = settings
        self.pending: list[str] = []
        self.steps: list[str] = []
        self.compare_sizes_only = False
        self._everybody = everybody
        self._runtime = Noting()
        self._real = driver.node(str(identity), codec, *settings.words(), f"items={items}")
        self.ours: Membership[Node] = Membership(
            identity,
            settings.config,
            rng=Random(0),
            codec=self.codec,
            repairs=frozenset(),
            broadcast_handler=Items(self._runtime.lines, items),
        )

    # -- the same to both -------------------------------------------------------------------------

    def data(self, data: bytes) -> Answer:
        """A datagram."""
        answer = self._real_does("data", tohex(data))
        return self._ours_does(answer, lambda: self.ours.handle_data(data, self._runtime))

    def timer(self, text: str) -> Answer:
        """A timer."""
        answer = self._real_does("timer", text)
        timer = value(TIMERS, text)
        with self._probing_whom_the_other_probes(answer):
            return self._ours_does(answer, lambda: self.ours.handle_timer(timer, self._runtime))

    def announce(self, dst: Node) -> Answer:
        """The application wants to join."""
        answer = self._real_does("announce", dst)
        return self._ours_does(answer, lambda: self.ours.announce(dst, self._runtime))

    def gossip(self) -> Answer:
        """The application wants to gossip."""
        answer = self._real_does("gossip")
        return self._ours_does(answer, lambda: self.ours.gossip(self._runtime))

    def broadcast(self) -> Answer:
        """The application wants its items told."""
        answer = self._real_does("broadcast")
        return self._ours_does(answer, lambda: self.ours.broadcast(self._runtime))

    def add(self, item: bytes) -> Answer:
        """The application has an item."""
        answer = self._real_does("add", tohex(item))

        def add() -> None:
            queued = self.ours.add_broadcast(item)
            self._same(answer.said, str(queued).lower())

        return self._ours_does(answer, add)

    def apply(self, members: list[Member[Node]], *, broadcast: bool) -> Answer:
        """The application knows members."""
        verb = "apply" if broadcast else "apply-quietly"
        answer = self._real_does(verb, *map(member_text, members))
        return self._ours_does(
            answer,
            lambda: self.ours.apply_many(members, self._runtime, broadcast=broadcast),
        )

    def change(self, identity: Node) -> Answer:
        """The application wants to be another."""
        answer = self._real_does("change", identity)
        return self._ours_does(answer, lambda: self.ours.change_identity(identity, self._runtime))

    def reuse(self) -> Answer:
        """The application wants its old identity back."""
        answer = self._real_does("reuse")
        return self._ours_does(answer, self.ours.reuse_down_identity)

    def leave(self) -> Answer:
        """The application wants to leave."""
        answer = self._real_does("leave")
        return self._ours_does(answer, lambda: self.ours.leave_cluster(self._runtime))

    def set(self, settings: Settings) -> Answer:
        """The application wants other settings."""
        answer = self._real_does("set", *settings.words())
        if answer.error is None:
            self.settings = settings
        return self._ours_does(answer, lambda: self.ours.set_config(settings.config))

    # -- and what they made of it -----------------------------------------------------------------

    def _real_does(self, verb: str, *words: object) -> Answer:
        self.steps.append(" ".join(map(str, (verb, *words))))
        self._runtime.lines.clear()
        return self._real(verb, *" ".join(map(str, words)).split())

    def _ours_does(self, answer: Answer, act: Callable[[], None]) -> Answer:
        error: str | None = None
        try:
            act()
        except MembershipError as failure:
            error = type(failure).__name__
        if error not in ERRORS[answer.error]:
            self._same(answer.error, error)
        self._same_effects(answer.effects, self._runtime.lines)
        self._same_state(answer)
        self.pending += answer.timers
        return answer

    def _same(self, real: object, ours: object) -> None:
        if real != ours:
            steps = "\n".join(self.steps)
            raise AssertionError(f"after\n{steps}\nthe crate: {real}\nours:      {ours}")

    def _same_effects(self, real: list[str], ours: list[str]) -> None:
        kinds = [line.split(" ", 1)[0] for line in real]
        if kinds != [line.split(" ", 1)[0] for line in ours]:
            self._same(real, ours)
        for kind, places in groupby(range(len(kinds)), key=kinds.__getitem__):
            at = list(places)
            here, there = real[at[0] : at[-1] + 1], ours[at[0] : at[-1] + 1]
            if kind == "send":
                self._same_packets(self._packets(here), self._packets(there))
            else:
                self._same(here, there)

    def _same_packets(self, real: list[Addressed], ours: list[Addressed]) -> None:
        # A broadcast ends as soon as there is nothing more to tell: then not everybody gets it.
        ended = real[0].packet.message == "Broadcast()" and not self.ours.broadcast_backlog
        if (len(real) == 1 or self._everybody) and not ended:
            self._same(*(sorted(to for to, _ in packets) for packets in (real, ours)))
        # The updates depend on how many packets went before, the items on whom a packet goes to.
        for (_, one), (_, other) in zip(real, ours, strict=True):
            if self.compare_sizes_only:
                self._same(one.sizes(), other.sizes())
            else:
                self._same(one[:5], other[:5])
        if self.compare_sizes_only:
            return
        self._same(*(Counter(packet.items for _, packet in packets) for packets in (real, ours)))

    def _packets(self, lines: list[str]) -> list[Addressed]:
        found: list[Addressed] = []
        for line in lines:
            _, to, word = line.split()
            header, packet = self.read(unhex(word))
            self._same(to, str(header.dst))
            # Nobody tells of himself that he is alive: it is how our members know each other.
            itself = self.codec.encode_member(Member(header.src, packet.incarnation, State.ALIVE))
            self._same(False, itself in packet.members)  # noqa: FBT003
            found.append(Addressed(to, packet))
        return found

    def read(self, data: bytes) -> tuple[Header[Node], Packet]:
        """Take a packet apart; what is in no fixed order is sorted."""
        header, at = self.codec.decode_header(data)
        count, members, items = b"", [], []
        if at < len(data) and not isinstance(header.message, Broadcast):
            count, at = data[at : at + 2], at + 2
            for _ in range(int.from_bytes(count, "big")):
                _, end = self.codec.decode_members(data, at, 1)
                members.append(data[at:end])
                at = end
        while at < len(data):
            end = at + 2 + int.from_bytes(data[at : at + 2], "big")
            items.append(data[at + 2 : end])
            at = end
        told = sorted(members), sorted(items)
        src, incarnation, _, message = header
        return header, Packet(src, incarnation, str(message), count, *map(tuple, told))

    def _same_state(self, answer: Answer) -> None:
        ours = self.ours
        known = ours.membership_state()
        self._same(sorted(self._real.state()), sorted(map(member_text, known)))
        real = (answer.identity, answer.active, answer.known, answer.updates, answer.items)
        backlogs = (ours.updates_backlog, ours.broadcast_backlog)
        self._same(real, (str(ours.identity), ours.num_members, len(known), *backlogs))

    @contextlib.contextmanager
    def _probing_whom_the_other_probes(self, answer: Answer) -> Iterator[None]:
        """Ours picks for itself, and then probes the member that the real engine has picked."""
        pings = [to for to, (header, _) in self._opened(answer) if type(header.message) is Ping]
        original = Members.next_to_probe

        def next_to_probe(members: Members[Node]) -> Member[Node] | None:
            assert original(members) is not None
            [picked] = [one for one in members if str(one.identity) == pings[0]]
            assert picked.active
            return picked

        with mock.patch.object(Members, "next_to_probe", next_to_probe if pings else original):
            yield

    def _opened(self, answer: Answer) -> list[tuple[str, tuple[Header[Node], Packet]]]:
        return [(sent.to, self.read(sent.data)) for sent in answer.sent]
