"""How fast full packets go through ``handle_data``, of an engine with all repairs.

A packet has as many updates as fit into the longest datagram. It is a gossip, so that nothing is
answered, and its sender is a member; what is measured is reading, and taking in what is new. The
clock is the thread's processor time, as is the floor's: the question is how much a core does.
"""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from benchmarks.membership.cluster import CODEC, identities
from benchmarks.peers import OURS
from holdfast.membership import Config, Gossip, Header, Member, Membership, Node, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from holdfast.membership import Notification, Timer

__all__ = ["MEMBERS", "PACKET_BYTES", "Reader", "Stream"]

MEMBERS = 1024
PACKET_BYTES = Config.lan(MEMBERS).max_packet_size


class _Nowhere:
    """A runtime that forgets what it is told."""

    def notify(self, notification: Notification[Node], /) -> None:
        pass

    def send_to(self, member: Node, data: bytes, /) -> None:
        pass

    def submit_after(self, timer: Timer[Node], delay_ns: int, /) -> None:
        pass

    def now_ns(self) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class Stream:
    """So many packets that come one after the other.

    Attributes:
        packets: How many.
        new: Which part of their updates is of members that nobody has heard of.
    """

    packets: int
    new: float

    def make(self, members: Sequence[Node], strangers: Iterator[Node]) -> list[bytes]:
        """The packets: to the first member, from any other, about all but the first."""
        rng = Random(0)
        made = []
        for _ in range(self.packets):
            about = rng.sample(members[1:], PACKET_BYTES // 8)
            for place in range(len(about)):
                # Evenly spread, so that each packet has its share.
                if int((place + 1) * self.new) > int(place * self.new):
                    about[place] = next(strangers)
            made.append(_full(rng.choice(members[1:]), members[0], about)[0])
        return made


def _full(src: Node, dst: Node, about: Sequence[Node]) -> tuple[bytes, int]:
    """A gossip about as many as fit, and how many these are."""
    header = CODEC.encode_header(Header(src, 0, dst, Gossip()))
    space = PACKET_BYTES - len(header) - 2
    updates: list[bytes] = []
    for identity in about:
        update = CODEC.encode_member(Member(identity, 0, State.ALIVE))
        space -= len(update)
        if space < 0:
            break
        updates.append(update)
    return b"".join([header, len(updates).to_bytes(2, "big"), *updates]), len(updates)


def _about_all(members: Sequence[Node]) -> list[bytes]:
    """Packets in which each but the first stands once."""
    rest = members[1:]
    made = []
    while rest:
        packet, number = _full(members[1], members[0], rest)
        made.append(packet)
        rest = rest[number:]
    return made


class Reader:
    """Reads a stream with an engine that knows `MEMBERS` members; a new one for each sample.

    Args:
        stream: What it reads.
        by_member: Whether the figure is for one update; else for one packet.

    Attributes:
        members: Whom it knows, itself first.
        settling: Packets that are read before.
        packets: Those that are timed.
        by: By what the time is divided.
    """

    name = OURS

    def __init__(self, stream: Stream, *, by_member: bool) -> None:
        self.text = "engine.handle_data(packet, runtime)"
        everybody = identities(MEMBERS + stream.packets * (PACKET_BYTES // 8))
        self.members = everybody[:MEMBERS]
        self.packets = stream.make(self.members, iter(everybody[MEMBERS:]))
        self.settling = _about_all(self.members)
        self._known = [Member(one, 0, State.ALIVE) for one in self.members[1:]]
        self.updates = sum(self.updates_of(packet) for packet in self.packets)
        self.by = self.updates if by_member else len(self.packets)
        self._new = stream.new

    @staticmethod
    def updates_of(packet: bytes) -> int:
        """How many updates a packet has."""
        _, end = CODEC.decode_header(packet)
        return int.from_bytes(packet[end : end + 2], "big")

    def sample(self) -> float:
        engine: Membership[Node] = Membership(
            self.members[0], Config.lan(MEMBERS), rng=Random(1), codec=CODEC
        )
        runtime = _Nowhere()
        engine.apply_many(self._known, runtime, broadcast=False)
        for packet in self.settling:  # so that it has read of everybody before, as in the long run
            engine.handle_data(packet, runtime)
        handle_data, packets = engine.handle_data, self.packets
        gc.collect()
        gc.disable()
        try:
            began_ns = time.thread_time_ns()
            for packet in packets:
                handle_data(packet, runtime)
            took_ns = time.thread_time_ns() - began_ns
        finally:
            gc.enable()
        self.check(engine.num_members)
        return took_ns / self.by

    def check(self, known: int) -> None:
        """All of it was read, by who knows so many others now."""
        learned = known - (MEMBERS - 1)
        assert abs(learned - self._new * self.updates) <= len(self.packets), "it was not read"
