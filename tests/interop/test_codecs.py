"""Our codecs and the crate's, on the same values and on the same bytes."""

from __future__ import annotations

import contextlib
from random import Random

import pytest

from holdfast.errors import MalformedPacket
from holdfast.membership import Config, Header, Member, Node, State
from tests.interop.building import PATIENCE_S
from tests.interop.driver import Driver, tohex
from tests.interop.words import (
    CODECS,
    MESSAGES,
    Settings,
    member,
    member_text,
    message_text,
    node,
    value,
)

pytestmark = pytest.mark.timeout(PATIENCE_S)

EDGES = (0, 1, 127, 128, 250, 251, 255, 256, 16383, 16384, 65535)
WIDE = (*EDGES, 65536, 2**32 - 1, 2**32, 2**35, 2**63, 2**64 - 1)


def some_node(rng: Random) -> Node:
    if rng.random() < 0.3:
        ip = rng.choice(["::1", "::", "fe80::1", "::ffff:10.0.0.1", "2001:db8::5:0:0:1"])
    else:
        ip = rng.choice(["127.0.0.1", "0.0.0.0", "255.255.255.255", "10.1.2.3"])
    return Node(ip, rng.choice(EDGES), rng.choice(WIDE))


def some_member(rng: Random) -> Member[Node]:
    return Member(some_node(rng), rng.choice(EDGES), rng.choice(list(State)))


def some_header(rng: Random) -> Header[Node]:
    name = rng.choice(list(MESSAGES))
    words = [name]
    if "-" in name and name != "turn-undead":
        words.append(str(some_node(rng)))
    if "ping" in name or "ack" in name:
        words.append(str(rng.randrange(256)))
    message = value(MESSAGES, " ".join(words))
    return Header(some_node(rng), rng.choice(EDGES), some_node(rng), message)


def mutated(rng: Random, data: bytes) -> bytes:
    """Cut, lengthened or changed, mostly where it makes a difference."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(4):
            case 0:
                del changed[at:]
            case 1:
                changed[at : at + 1] = rng.randbytes(1)
            case 2:
                changed[at:at] = rng.choice([b"\x80", b"\xfb", b"\xfc", b"\xfd", b"\xff", b"\x00"])
            case _:
                changed[at : at + 1] = b""
    return bytes(changed) + rng.randbytes(rng.choice([0, 0, 3]))


def real_member(driver: Driver, codec: str, data: bytes) -> tuple[Member[Node], int] | None:
    try:
        text, left = driver.codec(codec, "decode-member", tohex(data)).split()
    except ValueError:
        return None
    return member(text), len(data) - int(left)


def our_member(codec: str, data: bytes) -> tuple[Member[Node], int] | None:
    try:
        [found], end = CODECS[codec].decode_members(data, 0, 1)
    except MalformedPacket:
        return None
    return found, end


def real_header(driver: Driver, codec: str, data: bytes) -> tuple[Header[Node], int] | None:
    try:
        words = driver.codec(codec, "decode-header", tohex(data)).split()
    except ValueError:
        return None
    src, incarnation, dst, *message, left = words
    header = Header(node(src), int(incarnation), node(dst), value(MESSAGES, " ".join(message)))
    return header, len(data) - int(left)


def our_header(codec: str, data: bytes) -> tuple[Header[Node], int] | None:
    with contextlib.suppress(MalformedPacket):
        return CODECS[codec].decode_header(data)
    return None


def header_words(header: Header[Node]) -> str:
    src, incarnation, dst, message = header
    return f"{src} {incarnation} {dst} {message_text(message)}"


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_both_write_the_same(driver: Driver, codec: str, full: bool) -> None:
    rng = Random(1)
    for _ in range(20_000 if full else 1_000):
        one = some_member(rng)
        encoded = driver.codec(codec, "encode-member", member_text(one))
        assert CODECS[codec].encode_member(one).hex() == encoded
        header = some_header(rng)
        encoded = driver.codec(codec, "encode-header", header_words(header))
        assert CODECS[codec].encode_header(header).hex() == encoded


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_both_read_the_same_and_refuse_the_same(driver: Driver, codec: str, full: bool) -> None:
    rng = Random(2)
    refused = 0
    rounds = 50_000 if full else 2_000
    for _ in range(rounds):
        data = mutated(rng, CODECS[codec].encode_member(some_member(rng)))
        found = our_member(codec, data)
        assert found == real_member(driver, codec, data), data.hex()
        split = CODECS[codec].split_members(data, 0, 1)
        if split is not None:  # the quick way may give up, but never be wrong
            [raw], end = split
            assert found == (CODECS[codec].decode_member(raw), end), data.hex()
        data = mutated(rng, CODECS[codec].encode_header(some_header(rng)))
        header = our_header(codec, data)
        assert header == real_header(driver, codec, data), data.hex()
        refused += found is None
    assert rounds / 10 < refused < rounds * 0.9  # both kinds were there


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 10, 50, 99, 100, 500, 1000, 10_000, 2**32 - 1])
def test_the_presets_are_the_same(driver: Driver, n: int) -> None:
    ours = {"lan": Config.lan(n), "wan": Config.wan(n)}
    for name, config in ours.items():
        assert said(driver, f"{name}={n}") == Settings(config).words()


def test_the_simple_preset_is_the_same(driver: Driver) -> None:
    assert said(driver, "simple") == Settings(Config.simple()).words()


def said(driver: Driver, preset: str) -> list[str]:
    return driver.ask("settings", preset).said.split()
