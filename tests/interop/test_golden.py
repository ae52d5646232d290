"""The bytes of the wire, written down by hand and asked of the real crate.

Source: the specification of the wire, section 4; the rows of 4.7 one by one.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.interop.building import PATIENCE_S
from tests.interop.driver import Driver, Real

pytestmark = pytest.mark.timeout(PATIENCE_S)

A = "127.0.0.1:8000#1700000000"
B = "127.0.0.1:8001#1700000001"
C = "127.0.0.1:8002#1700000002"
V6 = "[::1]:8000#0"

GOLDEN = {
    "bincode": SimpleNamespace(
        a="00 7f000001 fb401f fc00f15365",
        b="00 7f000001 fb411f fc01f15365",
        c="00 7f000001 fb421f fc02f15365",
        v6="01 00000000000000000000000000000001 fb401f 00",
        incarnations={
            0: "00",
            127: "7f",
            128: "80",
            250: "fa",
            251: "fbfb00",
            300: "fb2c01",
            65535: "fbffff",
        },
        announce=28,
        feed=45,
        gossip=52,
        # port and bump at every step of the variable length
        numbers={
            "127.0.0.1:250#250": "00 7f000001 fa fa",
            "127.0.0.1:251#251": "00 7f000001 fbfb00 fbfb00",
            "127.0.0.1:65535#65536": "00 7f000001 fbffff fc00000100",
            "127.0.0.1:0#4294967295": "00 7f000001 00 fcffffffff",
            "127.0.0.1:0#4294967296": "00 7f000001 00 fd0000000001000000",
            "127.0.0.1:0#18446744073709551615": "00 7f000001 00 fdffffffffffffffff",
        },
    ),
    "postcard": SimpleNamespace(
        a="00 7f000001 c03e 80e2cfaa06",
        b="00 7f000001 c13e 81e2cfaa06",
        c="00 7f000001 c23e 82e2cfaa06",
        v6="01 00000000000000000000000000000001 c03e 00",
        incarnations={
            0: "00",
            127: "7f",
            128: "8001",
            250: "fa01",
            251: "fb01",
            300: "ac02",
            65535: "ffff03",
        },
        announce=26,
        feed=42,
        gossip=49,
        numbers={
            "127.0.0.1:127#127": "00 7f000001 7f 7f",
            "127.0.0.1:128#128": "00 7f000001 8001 8001",
            "127.0.0.1:65535#65536": "00 7f000001 ffff03 808004",
            "127.0.0.1:0#4294967296": "00 7f000001 00 8080808010",
            "127.0.0.1:0#18446744073709551615": "00 7f000001 00 ffffffffffffffffff01",
        },
    ),
}

CODECS = sorted(GOLDEN)


def squeeze(*parts: str) -> str:
    return "".join(parts).replace(" ", "")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("message", "tail"),
    [
        ("ping 7", "00 07"),
        ("ack 255", "01 ff"),
        (f"ping-req {C} 7", "02 {c} 07"),
        (f"indirect-ping {C} 7", "03 {c} 07"),
        (f"indirect-ack {C} 7", "04 {c} 07"),
        (f"forwarded-ack {C} 251", "05 {c} fb"),
        ("announce", "06"),
        ("feed", "07"),
        ("gossip", "08"),
        ("broadcast", "09"),
        ("turn-undead", "0a"),
    ],
)
def test_headers(driver: Driver, codec: str, message: str, tail: str) -> None:
    golden = GOLDEN[codec]
    for incarnation, encoded in golden.incarnations.items():
        expected = squeeze(golden.a, encoded, golden.b, tail.format(c=golden.c))
        text = f"{A} {incarnation} {B} {message}"
        assert driver.codec(codec, "encode-header", text) == expected
        assert driver.codec(codec, "decode-header", expected + "55") == f"{text} 1"


@pytest.mark.parametrize("codec", CODECS)
def test_members(driver: Driver, codec: str) -> None:
    golden = GOLDEN[codec]
    for letter, tag in (("a", "00"), ("s", "01"), ("d", "02")):
        for incarnation, encoded in golden.incarnations.items():
            for identity, prefix in ((C, golden.c), (V6, golden.v6), *golden.numbers.items()):
                text, expected = f"{identity}/{incarnation}/{letter}", squeeze(prefix, encoded, tag)
                assert driver.codec(codec, "encode-member", text) == expected
                assert driver.codec(codec, "decode-member", expected) == f"{text} 0"


@pytest.mark.parametrize(
    ("codec", "data", "found"),
    [
        # longer than need be, and no wider than the type
        ("bincode", "00 7f000001 fb0500 fd0700000000000000 fb0100 00", "127.0.0.1:5#7/1/a"),
        ("bincode", "fc00000000 7f000001 05 07 01 fb0100", "127.0.0.1:5#7/1/s"),
        ("postcard", "00 7f000001 858000 8780808080808080 00 8100 02", "127.0.0.1:5#7/1/d"),
        ("postcard", "8080808000 7f000001 05 07 01 8180808000", "127.0.0.1:5#7/1/s"),
    ],
)
def test_numbers_may_be_written_longer_than_need_be(
    driver: Driver, codec: str, data: str, found: str
) -> None:
    assert driver.codec(codec, "decode-member", squeeze(data)) == f"{found} 0"


@pytest.mark.parametrize(
    ("codec", "data", "what"),
    [
        ("bincode", "00 7f000001 fc05000000 07 00 00", "a port in four bytes"),
        ("bincode", "00 7f000001 05 fe07000000000000000000000000000000 00 00", "a bump in sixteen"),
        ("bincode", "00 7f000001 05 ff 00 00", "a marker that means nothing"),
        ("bincode", "00 7f000001 05 07 fc00000000 00", "an incarnation in four bytes"),
        ("bincode", "02 7f000001 05 07 00 00", "neither V4 nor V6"),
        ("bincode", "00 7f000001 05 07 00 03", "a state that there is not"),
        ("bincode", "00 7f000001 05 07 00", "an end too early"),
        ("postcard", "00 7f000001 808004 07 00 00", "a port of 65536"),
        ("postcard", "00 7f000001 80808000 07 00 00", "a port in four bytes"),
        ("postcard", "00 7f000001 05 80808080808080808002 00 00", "a bump of 2**64"),
        ("postcard", "00 7f000001 05 07 808004 00", "an incarnation of 65536"),
        ("postcard", "02 7f000001 05 07 00 00", "neither V4 nor V6"),
        ("postcard", "00 7f000001 05 07 00 03", "a state that there is not"),
        ("postcard", "00 7f000001 05 07 00", "an end too early"),
    ],
)
def test_what_is_no_member(driver: Driver, codec: str, data: str, what: str) -> None:
    with pytest.raises(ValueError, match="refused"):
        driver.codec(codec, "decode-member", squeeze(data))


# -- whole packets, as real engines send them ---------------------------------------------------


def gossip_about(real: Real, *members: str) -> None:
    """Nothing else is to be told than these."""
    real("apply-quietly", f"{B}/0/a")
    real("apply", *members)


@pytest.mark.parametrize("codec", CODECS)
def test_packets_without_updates(driver: Driver, codec: str) -> None:
    golden = GOLDEN[codec]
    [sent] = driver.node(B, codec)("announce", A).sent
    assert sent == (A, bytes.fromhex(squeeze(golden.b, "00", golden.a, "06")))
    assert len(sent.data) == golden.announce

    node = driver.node(A, codec, "items=on")
    node("add", b"hi".hex())
    node("apply", f"{B}/0/a")
    [sent] = node("broadcast").sent
    assert sent.data.hex() == squeeze(golden.a, "00", golden.b, "09", "0002 6869")

    node = driver.node(A, codec, "items=on", "notify=true")
    node("apply", f"{B}/0/d")
    node("add", b"hi".hex())
    [sent] = node.hand(bytes.fromhex(squeeze(golden.b, "00", golden.a, "08", "0000"))).sent
    assert sent.data.hex() == squeeze(golden.a, "00", golden.b, "0a")


@pytest.mark.parametrize("codec", CODECS)
def test_a_feed(driver: Driver, codec: str) -> None:
    golden = GOLDEN[codec]
    node = driver.node(A, codec)
    node("apply", f"{C}/3/a", "127.0.0.1:9#9/0/d")
    [sent] = node.hand(bytes.fromhex(squeeze(golden.b, "00", golden.a, "06"))).sent
    assert sent.to == B
    assert sent.data.hex() == squeeze(golden.a, "00", golden.b, "07", "0001", golden.c, "03 00")
    assert len(sent.data) == golden.feed


@pytest.mark.parametrize("codec", CODECS)
def test_a_gossip_with_an_item(driver: Driver, codec: str) -> None:
    golden = GOLDEN[codec]
    node = driver.node(A, codec, "items=on", "helpers=1")
    gossip_about(node, f"{C}/0/s")
    node("apply-quietly", f"{C}/0/d")  # so that B alone is there to be told
    node("add", b"hello".hex())
    [sent] = node("gossip").sent
    expected = squeeze(golden.a, "00", golden.b, "08", "0001", golden.c, "00 01", "0005 68656c6c6f")
    assert sent == (B, bytes.fromhex(expected))
    assert len(sent.data) == golden.gossip


@pytest.mark.parametrize("codec", CODECS)
def test_a_ping_at_an_incarnation(driver: Driver, codec: str) -> None:
    golden = GOLDEN[codec]
    node = driver.node(A, codec)
    node("apply-quietly", f"{B}/0/a")
    node("apply-quietly", f"{A}/299/s")  # refuted: 300
    for number in range(1, 8):
        answer = node("timer", "probe", 0)
        ack = squeeze(golden.b, "00", golden.a, f"01 {number:02x}", "0000")
        node.hand(bytes.fromhex(ack))
        node("timer", *answer.timers[0].split())
    expected = squeeze(golden.a, golden.incarnations[300], golden.b, "00 07", "0000")
    assert answer.sent == [(B, bytes.fromhex(expected))]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("room", "tail"),
    [(0, ""), (1, ""), (2, ""), (3, "0000"), (4, "0000")],
)
def test_the_count_is_there_where_more_than_its_two_bytes_are_left(
    driver: Driver, codec: str, room: int, tail: str
) -> None:
    header = squeeze(GOLDEN[codec].a, "00", GOLDEN[codec].b, "08")
    node = driver.node(A, codec, f"packet={len(header) // 2 + room}")
    node("apply-quietly", f"{B}/0/a")
    assert node("gossip").sent == [(B, bytes.fromhex(header + tail))]


@pytest.mark.parametrize("codec", CODECS)
def test_a_header_that_does_not_fit_is_not_sent(driver: Driver, codec: str) -> None:
    header = squeeze(GOLDEN[codec].a, "00", GOLDEN[codec].b, "08")
    node = driver.node(A, codec, f"packet={len(header) // 2 - 1}")
    node("apply-quietly", f"{B}/0/a")
    answer = node("gossip")
    assert (answer.error, answer.sent) == ("Encode", [])


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("room", "items"), [(3, ""), (4, ""), (5, "0003 610031"), (6, "0003 610031")]
)
def test_an_item_needs_its_length_too(driver: Driver, codec: str, room: int, items: str) -> None:
    """Five bytes: three of the item, two for its length; behind a count of two."""
    header = squeeze(GOLDEN[codec].a, "00", GOLDEN[codec].b, "08")
    node = driver.node(A, codec, "items=on", f"packet={len(header) // 2 + 2 + room}")
    node("apply-quietly", f"{B}/0/a")
    node("add", "610031")
    assert node("gossip").sent == [(B, bytes.fromhex(squeeze(header, "0000", items)))]


@pytest.mark.parametrize("codec", CODECS)
def test_a_broadcast_has_no_count_before_its_items(driver: Driver, codec: str) -> None:
    header = squeeze(GOLDEN[codec].a, "00", GOLDEN[codec].b, "09")
    node = driver.node(A, codec, "items=on", f"packet={len(header) // 2 + 4}")
    node("apply-quietly", f"{B}/0/a")
    node("add", "6100")
    assert node("broadcast").sent == [(B, bytes.fromhex(squeeze(header, "0002 6100")))]


@pytest.mark.parametrize("codec", CODECS)
def test_what_was_told_least_comes_first_and_the_longest_of_that(
    driver: Driver, codec: str
) -> None:
    golden = GOLDEN[codec]
    short, long = "127.0.0.1:1#1", "127.0.0.1:300#300"
    node = driver.node(A, codec, "transmissions=3", "helpers=1")
    node("apply-quietly", f"{B}/0/a")
    node("apply", f"{C}/0/d")
    node("gossip")  # C was told once
    node("apply", f"{short}/0/d", f"{long}/0/d")
    [sent] = node("gossip").sent
    members = [driver.codec(codec, "encode-member", f"{id_}/0/d") for id_ in (long, short, C)]
    assert sent.data.hex() == squeeze(golden.a, "00", golden.b, "08", "0003", *members)


@pytest.mark.parametrize("codec", CODECS)
def test_a_feed_ends_where_a_member_does_not_fit(driver: Driver, codec: str) -> None:
    golden = GOLDEN[codec]
    member = len(squeeze(golden.c, "00 00")) // 2
    header = len(squeeze(golden.a, "00", golden.b, "07")) // 2
    node = driver.node(A, codec, f"packet={header + 2 + 3 * member - 1}")
    node("apply", *(f"127.0.0.1:800{n}#170000000{n}/0/a" for n in range(2, 9)))
    [sent] = node.hand(bytes.fromhex(squeeze(golden.b, "00", golden.a, "06"))).sent
    assert sent.data[header : header + 2] == b"\x00\x02"
    assert len(sent.data) == header + 2 + 2 * member


@pytest.mark.parametrize("codec", CODECS)
def test_the_checks_of_a_packet_and_their_order(driver: Driver, codec: str) -> None:
    golden = GOLDEN[codec]
    node = driver.node(A, codec, "items=on", "packet=100")
    to_a = squeeze(golden.b, "00", golden.a)
    elsewhere = squeeze(golden.b, "00", golden.c)
    own = squeeze(golden.a, "00", golden.a)
    renamed = own.replace("65", "66").replace("aa06", "aa07")
    cases = {
        "00" * 101: "DataTooBig",
        "": "Decode",
        to_a: "Decode",
        to_a + "0b": "Decode",
        own + "08": "DataFromOurselves",
        renamed + "08 00": "DataFromOurselves",  # before what is left is looked at
        to_a + "08 00": "MalformedPacket",
        to_a + "06 0000": "MalformedPacket",
        elsewhere + "08 00": "MalformedPacket",  # before the receiver is looked at
        elsewhere + "08 ffff": None,
        to_a + "08 0001": "Decode",
    }
    for data, error in cases.items():
        answer = node("data", squeeze(data) or "-")
        assert (answer.error, answer.effects, answer.known) == (error, [], 0), data
    broken = node("data", squeeze(to_a, "08 0000 0003 610031 0000"))
    assert (broken.error, broken.known, broken.items) == ("MalformedPacket", 1, 1)
    assert [line for line in broken.effects if line.startswith("item")] == [f"item 610031 {B}"]
