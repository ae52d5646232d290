"""What the tests of the engine share: a small identity, its codec, and a runtime that notes.

The codec is as plain as can be, and not one of ours, so that these tests are of the engine alone:
an identity is its address and its bump, one byte each; a header is sender, incarnation (two bytes,
big end first), receiver, message; a message is a tag from 1 on, then an identity, then a number; a
member is identity, incarnation, state from 1 on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from holdfast.errors import EncodeFailed, MalformedPacket
from holdfast.membership import (
    Ack,
    Announce,
    Broadcast,
    BroadcastHandler,
    Config,
    Feed,
    ForwardedAck,
    Gossip,
    Header,
    IndirectAck,
    IndirectPing,
    Member,
    Membership,
    Message,
    Notification,
    Ping,
    PingReq,
    ProbeRandomMember,
    SendIndirectProbe,
    State,
    Timer,
    TurnUndead,
)


@dataclass(frozen=True)
class Id:
    """An address and a bump; the greater bump wins. Only a rejoinable one can be renewed."""

    addr: int
    bump: int = 0
    rejoinable: bool = field(default=False, compare=False)

    def renew(self) -> Id | None:
        return replace(self, bump=self.bump + 1) if self.rejoinable else None

    def win_addr_conflict(self, other: Id, /) -> bool:
        return self.bump > other.bump

    def __repr__(self) -> str:
        return f"{self.addr}.{self.bump}"


TAGS = (
    Ping,
    Ack,
    PingReq,
    IndirectPing,
    IndirectAck,
    ForwardedAck,
    Gossip,
    Announce,
    Feed,
    Broadcast,
    TurnUndead,
)


class PlainCodec:
    """See above."""

    def encode_header(self, header: Header[Id], /) -> bytes:
        message: Any = header.message
        tail = bytearray([TAGS.index(type(message)) + 1])
        for name in ("target", "origin"):
            if hasattr(message, name):
                other = getattr(message, name)
                tail += bytes([other.addr, other.bump])
        if hasattr(message, "number"):
            tail.append(message.number)
        return (
            bytes([header.src.addr, header.src.bump])
            + header.src_incarnation.to_bytes(2, "big")
            + bytes([header.dst.addr, header.dst.bump])
            + bytes(tail)
        )

    def encode_member(self, member: Member[Id], /) -> bytes:
        identity, incarnation, state = member
        return (
            bytes([identity.addr, identity.bump])
            + incarnation.to_bytes(2, "big")
            + bytes([state + 1])
        )

    def decode_header(self, data: bytes, /) -> tuple[Header[Id], int]:
        try:
            kind: Any = TAGS[data[6] - 1 if data[6] else len(TAGS)]
            at = 7
            values: list[Any] = []
            if kind in (PingReq, IndirectPing, IndirectAck, ForwardedAck):
                values.append(Id(data[7], data[8]))
                at = 9
            if kind in (Ping, Ack, PingReq, IndirectPing, IndirectAck, ForwardedAck):
                values.append(data[at])
                at += 1
        except IndexError as error:
            raise MalformedPacket(str(error)) from error
        src, dst = Id(data[0], data[1]), Id(data[4], data[5])
        return Header(src, int.from_bytes(data[2:4], "big"), dst, kind(*values)), at

    def decode_members(self, data: bytes, at: int, count: int, /) -> tuple[list[Member[Id]], int]:
        end = at + 5 * count
        if end > len(data):
            raise MalformedPacket("the members end early")
        return [self.decode_member(data[start : start + 5]) for start in range(at, end, 5)], end

    def decode_member(self, data: bytes, /) -> Member[Id]:
        if not 1 <= data[4] <= 3:
            raise MalformedPacket("no state")
        identity = Id(data[0], data[1])
        return Member(identity, int.from_bytes(data[2:4], "big"), State(data[4] - 1))

    def split_members(self, data: bytes, at: int, count: int, /) -> tuple[list[bytes], int] | None:
        return None


class BrokenCodec(PlainCodec):
    """Neither writes nor reads."""

    def encode_header(self, header: Header[Id], /) -> bytes:
        raise EncodeFailed("broken")

    def decode_header(self, data: bytes, /) -> tuple[Header[Id], int]:
        raise MalformedPacket("broken")


CODEC = PlainCodec()


@dataclass(frozen=True)
class Packet:
    """A datagram, taken apart."""

    to: Id
    header: Header[Id]
    updates: list[Member[Id]] | None
    items: list[bytes]
    data: bytes

    @property
    def message(self) -> Message[Id]:
        return self.header.message


def take_apart(to: Id, data: bytes) -> Packet:
    header, at = CODEC.decode_header(data)
    updates = None
    if len(data) - at >= 2 and not isinstance(header.message, Broadcast):
        updates, at = CODEC.decode_members(data, at + 2, int.from_bytes(data[at : at + 2], "big"))
    items = []
    while at < len(data):
        length = int.from_bytes(data[at : at + 2], "big")
        items.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    return Packet(to, header, updates, items, data)


class Noting:
    """Notes what the engine says: by kind, and all in one order."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.all: list[tuple[str, Any]] = []

    def notify(self, notification: Notification[Id], /) -> None:
        self.all.append(("notify", notification))

    def send_to(self, member: Id, data: bytes, /) -> None:
        self.all.append(("send", take_apart(member, data)))

    def submit_after(self, timer: Timer[Id], delay_ns: int, /) -> None:
        self.all.append(("submit", (timer, delay_ns)))

    def _of(self, kind: str) -> list[Any]:
        return [what for name, what in self.all if name == kind]

    @property
    def notifications(self) -> list[Notification[Id]]:
        return self._of("notify")

    @property
    def timers(self) -> list[tuple[Timer[Id], int]]:
        return self._of("submit")

    @property
    def packets(self) -> list[Packet]:
        return self._of("send")

    def sent(self, kind: type) -> list[Packet]:
        return [packet for packet in self.packets if isinstance(packet.message, kind)]

    def timer(self, kind: type) -> Any:
        """The one timer of that kind."""
        (found,) = [timer for timer, _ in self.timers if isinstance(timer, kind)]
        return found


ME = Id(1)
SIMPLE = Config.simple()


def engine(
    identity: Id = ME,
    config: Config = SIMPLE,
    *,
    seed: int = 7,
    handler: BroadcastHandler[Id] | None = None,
    codec: PlainCodec = CODEC,
) -> Membership[Id]:
    """The crate: an engine without any repair."""
    return Membership(
        identity,
        config,
        rng=Random(seed),
        codec=codec,
        repairs=frozenset(),
        broadcast_handler=handler,
    )


def packet(
    src: Id,
    message: Message[Id],
    dst: Id = ME,
    *,
    incarnation: int = 0,
    updates: Sequence[Member[Id]] | None = (),
    items: Iterable[bytes] = (),
) -> bytes:
    """A datagram; ``updates=None`` leaves their section out, as some messages must."""
    data = CODEC.encode_header(Header(src, incarnation, dst, message))
    if updates is not None and not isinstance(message, Announce | Broadcast | TurnUndead):
        data += len(updates).to_bytes(2, "big") + b"".join(map(CODEC.encode_member, updates))
    return data + b"".join(len(item).to_bytes(2, "big") + item for item in items)


def changed(config: Config, **settings: Any) -> Config:
    return replace(config, **settings)


def alive(identity: Id, incarnation: int = 0) -> Member[Id]:
    return Member(identity, incarnation, State.ALIVE)


def suspect(identity: Id, incarnation: int = 0) -> Member[Id]:
    return Member(identity, incarnation, State.SUSPECT)


def down(identity: Id, incarnation: int = 0) -> Member[Id]:
    return Member(identity, incarnation, State.DOWN)


def knowing(*others: Id, identity: Id = ME, config: Config = SIMPLE) -> tuple[Any, Noting]:
    """An engine that knows these members and has nothing to tell, and a runtime with no notes."""
    member, runtime = engine(identity, config), Noting()
    member.apply_many([alive(other) for other in others], runtime, broadcast=False)
    return member, runtime


def probing(*others: Id, identity: Id = ME, config: Config = SIMPLE) -> tuple[Any, Noting, Id]:
    """The same, in the first half of a probe; the notes begin with that probe."""
    member, runtime = knowing(*others, identity=identity, config=config)
    first = runtime.timer(ProbeRandomMember)
    runtime.clear()
    member.handle_timer(first, runtime)
    return member, runtime, runtime.timer(SendIndirectProbe).member
