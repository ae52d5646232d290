"""The bytes of both codecs: those of the specification's section 4.7, and what types can be."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from random import Random
from typing import Any, ClassVar

import pytest

from holdfast.errors import EncodeFailed, InvalidArgument, MalformedPacket
from holdfast.membership import (
    I8,
    I16,
    U8,
    U16,
    U32,
    U64,
    U128,
    AccumulatingRuntime,
    Ack,
    Announce,
    Bincode,
    Broadcast,
    Config,
    Feed,
    ForwardedAck,
    Gossip,
    Header,
    IndirectAck,
    IndirectPing,
    IpAddr,
    Member,
    Membership,
    Message,
    Node,
    Ping,
    PingReq,
    Postcard,
    SocketAddr,
    State,
    TurnUndead,
)
from holdfast.membership.codec import bincode, postcard
from holdfast.membership.codec.generate import DECODE_ERRORS, reader
from holdfast.membership.codec.layout import layout_of

CODECS: dict[str, Any] = {"bincode": Bincode, "postcard": Postcard}
A = Node("127.0.0.1", 8000, 1_700_000_000)
B = Node("127.0.0.1", 8001, 1_700_000_001)
C = Node("127.0.0.1", 8002, 1_700_000_002)

IDS = {
    "bincode": {
        A: "00 7f000001 fb401f fc00f15365",
        B: "00 7f000001 fb411f fc01f15365",
        C: "00 7f000001 fb421f fc02f15365",
    },
    "postcard": {
        A: "00 7f000001 c03e 80e2cfaa06",
        B: "00 7f000001 c13e 81e2cfaa06",
        C: "00 7f000001 c23e 82e2cfaa06",
    },
}
INCARNATIONS = {
    "bincode": {0: "00", 127: "7f", 128: "80", 250: "fa", 251: "fbfb00", 300: "fb2c01"}
    | {65535: "fbffff"},
    "postcard": {0: "00", 127: "7f", 128: "8001", 250: "fa01", 251: "fb01", 300: "ac02"}
    | {65535: "ffff03"},
}
BOTH = pytest.mark.parametrize("name", CODECS)


def hexed(*parts: str) -> bytes:
    return bytes.fromhex("".join(parts))


def length(name: str, identity: Node) -> int:
    return len(hexed(IDS[name][identity]))


@BOTH
def test_numbers_have_the_bytes_of_the_specification(name: str) -> None:
    codec = CODECS[name](Node)
    for incarnation, expected in INCARNATIONS[name].items():
        data = hexed(IDS[name][C], expected, "01")
        member = Member(C, incarnation, State.SUSPECT)
        assert codec.encode_member(member) == data
        assert codec.decode_member(data) == member


@BOTH
def test_an_address_of_ipv6_has_sixteen_octets(name: str) -> None:
    node = Node("::1", 8000, 1)
    port = "fb401f" if name == "bincode" else "c03e"
    data = hexed("01", "00" * 15, "01", port, "01", "00", "00")
    assert CODECS[name](Node).encode_member(Member(node, 0, State.ALIVE)) == data


GOLDEN: dict[str, tuple[Node, int, Node, Message[Node], str]] = {
    "announce": (B, 0, A, Announce(), "06"),
    "ping": (A, 300, B, Ping(7), "00 07"),
    "ack": (A, 0, B, Ack(7), "01 07"),
    "ping_req": (A, 0, B, PingReq(C, 7), "02 C 07"),
    "indirect_ping": (A, 0, B, IndirectPing(C, 7), "03 C 07"),
    "indirect_ack": (A, 0, B, IndirectAck(C, 7), "04 C 07"),
    "forwarded_ack": (A, 0, B, ForwardedAck(C, 255), "05 C ff"),
    "feed": (A, 0, B, Feed(), "07"),
    "gossip": (A, 0, B, Gossip(), "08"),
    "broadcast": (A, 0, B, Broadcast(), "09"),
    "turn_undead": (A, 0, B, TurnUndead(), "0a"),
}


@BOTH
@pytest.mark.parametrize("kind", GOLDEN)
def test_every_header_has_the_bytes_of_the_specification(name: str, kind: str) -> None:
    src, incarnation, dst, message, tail = GOLDEN[kind]
    codec, ids = CODECS[name](Node), IDS[name]
    tail = tail.replace("C", ids[C])
    data = hexed(ids[src], INCARNATIONS[name][incarnation], ids[dst], tail)
    header = Header(src, incarnation, dst, message)
    assert codec.encode_header(header) == data
    assert codec.decode_header(data + b"more") == (header, len(data))


class Hello:
    """A handler that has one item to tell, to everybody."""

    def receive_item(self, data: bytes, sender: Node | None, /) -> Hello:
        return self

    def should_add_broadcast_data(self, member: Node, /) -> bool:
        return True

    def invalidates(self, other: Hello, /) -> bool:
        return False


@BOTH
def test_whole_packets_have_the_bytes_of_the_specification(name: str) -> None:
    """Section 4.7, made by an engine: ping, feed, gossip with an item, broadcast, turn undead."""
    codec, ids = CODECS[name](Node), IDS[name]
    runtime: AccumulatingRuntime[Node] = AccumulatingRuntime()

    def sent(item: bytes, *updates: Member[Node]) -> Membership[Node]:
        engine = Membership(
            A,
            Config.simple(),
            rng=Random(1),
            codec=codec,
            repairs=frozenset(),
            broadcast_handler=Hello(),
        )
        engine.apply_many([Member(B, 0, State.ALIVE)], runtime, broadcast=False)
        if item:
            engine.add_broadcast(item)
        engine.apply_many(updates, runtime)
        return engine

    def packet() -> bytes:
        send = runtime.to_send()
        assert send is not None
        assert send[0] == B
        return send[1]

    from_a, to_b = ids[A], ids[B]
    engine = sent(b"")
    engine._outbound.send(B, Ping(7), runtime)
    assert packet() == hexed(from_a, "00", to_b, "00 07", "0000")
    engine = sent(b"", Member(C, 3, State.ALIVE))
    engine._outbound.send(B, Feed(), runtime)
    feed = packet()
    assert feed == hexed(from_a, "00", to_b, "07", "0001", ids[C], "03 00")
    assert len(feed) == {"bincode": 45, "postcard": 42}[name]

    engine = sent(b"hello", Member(C, 0, State.SUSPECT))
    engine._outbound.send(B, Gossip(), runtime)
    gossip = packet()
    assert gossip == hexed(from_a, "00", to_b, "08", "0001", ids[C], "00 01", "0005 68656c6c6f")
    assert len(gossip) == {"bincode": 52, "postcard": 49}[name]
    sent(b"hi").broadcast(runtime)
    assert packet() == hexed(from_a, "00", to_b, "09", "0002 6869")
    engine._outbound.send(B, TurnUndead(), runtime)
    assert packet() == hexed(from_a, "00", to_b, "0a")


@dataclass(frozen=True)
class Trivial:
    """The newtype of the crate's own test of its codecs."""

    number: U64

    @property
    def addr(self) -> int:
        return self.number

    def renew(self) -> None:
        return None

    def win_addr_conflict(self, other: Trivial, /) -> bool:
        return False


@BOTH
def test_the_values_of_the_crates_own_test(name: str) -> None:
    """9, testing.rs and codecs: message, header and member round trips; bincode, postcard."""
    codec = CODECS[name](Trivial)
    header = Header(Trivial(1), 0, Trivial(2), PingReq(Trivial(3), 1))
    assert codec.encode_header(header) == hexed("01 00 02 02 03 01")
    assert codec.decode_header(hexed("01 00 02 02 03 01")) == (header, 6)
    member = Member(Trivial(42), 12, State.DOWN)
    assert codec.encode_member(member) == hexed("2a 0c 02")
    assert codec.decode_members(hexed("2a 0c 02"), 0, 1) == ([member], 3)


# -- types ----------------------------------------------------------------------------------------


class Plain:
    """What an identity must have besides its fields."""

    @property
    def addr(self) -> Any:
        return self

    def renew(self) -> None:
        return None

    def win_addr_conflict(self, other: Any, /) -> bool:
        return False


_ON = True


@dataclass(frozen=True)
class Inner:
    small: I8
    other: I16


@dataclass(frozen=True)
class Everything(Plain):
    flag: bool
    name: str
    raw: bytes
    wide: U128
    maybe: U32 | None
    inner: Inner
    pair: tuple[U8, U16]
    row: tuple[Inner, ...]
    where: SocketAddr
    four: IPv4Address
    six: IPv6Address


@dataclass(frozen=True)
class Row:
    numbers: tuple[U8, ...]


@dataclass(frozen=True)
class Name:
    text: str


FULL = Everything(
    _ON,
    "né",
    b"\0\1",
    2**128 - 1,
    300,
    Inner(-1, -2),
    (1, 2),
    (Inner(1, 2), Inner(-128, -32768)),
    ("10.0.0.7", 80),
    IPv4Address("1.2.3.4"),
    IPv6Address("::1"),
)
BYTES = {
    "bincode": "01 036ec3a9 020001 fe" + "ff" * 16 + "01fb2c01 ff03 0102"
    "02 0104 80fbffff 000a00000750 01020304" + "00" * 15 + "01",
    "postcard": "01 036ec3a9 020001" + "ff" * 18 + "03" + "01ac02 ff03 0102"
    "02 0104 80ffff03 000a00000750 01020304" + "00" * 15 + "01",
}


@BOTH
def test_all_kinds_of_fields_have_their_bytes(name: str) -> None:
    codec = CODECS[name](Everything)
    member = Member(FULL, 0, State.ALIVE)
    data = hexed(BYTES[name], "00 00")
    assert codec.encode_member(member) == data
    assert codec.decode_members(data, 0, 1) == ([member], len(data))
    assert codec.split_members(data, 0, 1) is None
    for cut in range(len(data)):
        with pytest.raises(MalformedPacket):
            codec.decode_members(data[:cut], 0, 1)


@BOTH
@pytest.mark.parametrize("last", [Everything, Inner, Row, Name], ids=lambda kind: kind.__name__)
def test_nothing_is_read_beyond_the_end(name: str, last: type) -> None:
    """Also where nothing comes after it, and where it says that it is longer than anything."""
    dialect = {"bincode": bincode._DIALECT, "postcard": postcard._DIALECT}[name]
    read = reader(dialect, layout_of(last))
    data = {Everything: hexed(BYTES[name]), Inner: hexed("ff 03")}.get(last, b"\3abc")
    if last is Row:
        assert read(data, 0) == (Row((97, 98, 99)), len(data))
    for cut in range(len(data)):
        with pytest.raises(DECODE_ERRORS):
            read(data[:cut], 0)
    if last in (Row, Name):
        longest = hexed("fd" + "ff" * 8) if name == "bincode" else hexed("ff" * 9 + "01")
        with pytest.raises(DECODE_ERRORS):
            read(longest + b"abc", 0)


@dataclass(frozen=True)
class Fixed(Plain):
    where: IpAddr
    flag: bool
    maybe: I16 | None
    small: I8
    wide: U128
    pair: tuple[U8, U16]


@BOTH
def test_a_type_of_fixed_shape_is_split_without_a_look_inside(name: str) -> None:
    codec = CODECS[name](Fixed)
    rng = Random(4)
    for _ in range(300):
        members = [
            Member(
                Fixed(
                    rng.choice(["1.2.3.4", "::", "10.251.252.253"]),
                    rng.random() < 0.5,
                    rng.choice([None, 0, -1, 32767, -32768]),
                    rng.randrange(-128, 128),
                    rng.getrandbits(rng.randrange(129)),
                    (rng.randrange(256), rng.getrandbits(rng.randrange(17))),
                ),
                rng.getrandbits(rng.randrange(17)),
                rng.choice(list(State)),
            )
            for _ in range(4)
        ]
        parts = [codec.encode_member(member) for member in members]
        data = b"head" + b"".join(parts) + b"tail"
        assert codec.split_members(data, 4, 4) == (parts, len(data) - 4)
        assert [codec.decode_member(part) for part in parts] == members


def test_a_form_that_is_longer_than_need_be_is_read_and_not_split() -> None:
    for codec, data in (
        (Bincode(Trivial), "fb0500 fb0100 fb0000"),
        (Bincode(Trivial), "fc05000000 01 00"),
        (Postcard(Trivial), "8500 8100 8000"),
        (Postcard(Trivial), "85808080808080808000 01 00"),
    ):
        member = Member(Trivial(5), 1, State.ALIVE)
        assert codec.decode_members(hexed(data), 0, 1) == ([member], len(hexed(data)))
        assert codec.split_members(hexed(data), 0, 1) is None


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("bincode", "00 fc01000000 00"),  # a marker wider than the type
        ("bincode", "fe" + "00" * 16 + "00 00"),
        ("bincode", "ff 00 00"),
        ("bincode", "00 00 03"),
        ("postcard", "00 ffff04 00"),  # a value wider than the type
        ("postcard", "00 80808000 00"),
        ("postcard", "ffffffffffffffffff02 00 00"),
        ("postcard", "80808080808080808080 00 00 00"),
        ("postcard", "00 00 03"),
    ],
)
def test_what_no_type_holds_is_refused(name: str, data: str) -> None:
    codec = CODECS[name](Trivial)
    with pytest.raises(MalformedPacket):
        codec.decode_members(hexed(data), 0, 1)
    assert codec.split_members(hexed(data), 0, 1) is None


@pytest.mark.parametrize(
    ("name", "data"),
    [(name, data) for name in CODECS for data in ("", "01", "01 00 02 0b", "01 00 02 02 03")],
)
def test_no_header_is_no_header(name: str, data: str) -> None:
    with pytest.raises(MalformedPacket):
        CODECS[name](Trivial).decode_header(hexed(data))


@dataclass(frozen=True)
class Trusting(Plain):
    """It says that what a codec reads is valid; who inherits from it does not."""

    number: U8
    decoded_is_valid: ClassVar[bool] = True

    def __post_init__(self) -> None:
        raise AssertionError("not called for what is decoded")


@dataclass(frozen=True)
class Doubting(Trusting):
    def __post_init__(self) -> None:
        if self.number == 0:
            raise ValueError("zero")


@BOTH
def test_only_the_class_itself_vouches_for_what_is_decoded(name: str) -> None:
    assert CODECS[name](Trusting).decode_members(hexed("00 00 00"), 0, 1)[0][0].identity.number == 0
    codec = CODECS[name](Doubting)
    assert codec.decode_members(hexed("01 00 00"), 0, 1)[0][0].identity == Doubting(1)
    with pytest.raises(MalformedPacket):
        codec.decode_members(hexed("00 00 00"), 0, 1)


@dataclass(frozen=True, kw_only=True)
class Even(Plain):
    number: U8

    def __post_init__(self) -> None:
        if self.number % 2:
            raise InvalidArgument("odd", on=str(self.number))


@BOTH
def test_a_constructor_that_refuses_makes_the_packet_malformed(name: str) -> None:
    codec = CODECS[name](Even)
    assert codec.decode_members(hexed("04 00 00"), 0, 1)[0][0].identity == Even(number=4)
    with pytest.raises(MalformedPacket):
        codec.decode_members(hexed("05 00 00"), 0, 1)
    assert codec.split_members(hexed("04 00 00"), 0, 1) is None


@BOTH
@pytest.mark.parametrize("number", [-1, 2**64, None, "x"])
def test_what_does_not_fit_is_not_written(name: str, number: Any) -> None:
    codec = CODECS[name](Trivial)
    with pytest.raises(EncodeFailed):
        codec.encode_member(Member(Trivial(number), 0, State.ALIVE))
    with pytest.raises(EncodeFailed):
        codec.encode_header(Header(Trivial(1), 0, Trivial(number), Announce()))
    with pytest.raises(EncodeFailed):
        codec.encode_header(Header(Trivial(1), 0, Trivial(1), Ping(number)))


@dataclass(frozen=True)
class NoWidth(Plain):
    number: int


@dataclass
class Mutable(Plain):
    number: U8


@dataclass(frozen=True)
class Float(Plain):
    number: float


@dataclass(frozen=True)
class Nothing:
    pass


@dataclass(frozen=True)
class Endless(Plain):
    nothings: tuple[Nothing, ...]


@dataclass(frozen=True)
class Within(Plain):
    other: Within | None


@pytest.mark.parametrize("kind", [NoWidth, Mutable, Float, Endless, Within, int], ids=repr)
def test_a_type_that_has_no_form_on_the_wire_is_refused_at_once(kind: Any) -> None:
    with pytest.raises(InvalidArgument):
        Postcard(kind)
