"""Codecs lose nothing, and read anything: it is a packet, or it is malformed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import MalformedPacket
from holdfast.membership import (
    Bincode,
    Header,
    Member,
    Node,
    Postcard,
    State,
)
from holdfast.membership.messages import KINDS, ForwardedAck, IndirectAck, IndirectPing, PingReq
from tests.unit.membership.test_codec import Everything, Fixed, Inner, Trivial

U16S = st.integers(0, 2**16 - 1)
INNERS = st.builds(Inner, st.integers(-128, 127), st.integers(-(2**15), 2**15 - 1))
ADDRESSES = st.ip_addresses().map(str)
IDENTITIES: dict[type, st.SearchStrategy[Any]] = {
    Node: st.builds(Node, ADDRESSES, U16S, st.integers(0, 2**64 - 1)),
    Trivial: st.builds(Trivial, st.integers(0, 2**64 - 1)),
    Fixed: st.builds(
        Fixed,
        ADDRESSES,
        st.booleans(),
        st.none() | st.integers(-(2**15), 2**15 - 1),
        st.integers(-128, 127),
        st.integers(0, 2**128 - 1),
        st.tuples(st.integers(0, 255), U16S),
    ),
    Everything: st.builds(
        Everything,
        st.booleans(),
        st.text(),
        st.binary(),
        st.integers(0, 2**128 - 1),
        st.none() | st.integers(0, 2**32 - 1),
        INNERS,
        st.tuples(st.integers(0, 255), U16S),
        st.lists(INNERS, max_size=4).map(tuple),
        st.tuples(ADDRESSES, U16S),
        st.ip_addresses(v=4),
        st.ip_addresses(v=6),
    ),
}
CODECS: dict[tuple[str, type], Any] = {
    (maker.__name__, kind): maker(kind) for maker in (Bincode, Postcard) for kind in IDENTITIES
}
EACH = pytest.mark.parametrize(
    ("name", "kind"), CODECS, ids=[f"{name}-{kind.__name__}" for name, kind in CODECS]
)


def messages(identities: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    numbers = st.integers(0, 255)
    relayed = {PingReq, IndirectPing, IndirectAck, ForwardedAck}
    return st.one_of(
        [
            st.builds(kind, identities, numbers)
            if kind in relayed
            else st.builds(kind, numbers)
            if tag < 2
            else st.builds(kind)
            for tag, kind in enumerate(KINDS)
        ]
    )


@EACH
@given(st.data())
def test_a_header_comes_back_as_it_was(name: str, kind: type, data: st.DataObject) -> None:
    codec, identities = CODECS[name, kind], IDENTITIES[kind]
    header = Header(
        data.draw(identities),
        data.draw(U16S),
        data.draw(identities),
        data.draw(messages(identities)),
    )
    encoded = codec.encode_header(header)
    assert codec.decode_header(encoded + b"more") == (header, len(encoded))


@EACH
@given(st.data())
def test_members_come_back_as_they_were(name: str, kind: type, data: st.DataObject) -> None:
    codec = CODECS[name, kind]
    members = data.draw(
        st.lists(st.builds(Member, IDENTITIES[kind], U16S, st.sampled_from(State)), max_size=4)
    )
    parts = [codec.encode_member(member) for member in members]
    encoded = b"12" + b"".join(parts)
    assert codec.decode_members(encoded + b"3", 2, len(parts)) == (members, len(encoded))
    split = codec.split_members(encoded + b"3", 2, len(parts))
    if kind is not Everything:
        assert split == (parts, len(encoded))
    for part, member in zip(parts, members, strict=True):
        assert codec.decode_member(part) == member


@EACH
@given(st.binary(max_size=80), st.integers(0, 5))
def test_any_bytes_are_members_or_malformed(name: str, kind: type, data: bytes, count: int) -> None:
    """And what the quick way finds is what the other way finds, in its shortest form."""
    codec = CODECS[name, kind]
    split = codec.split_members(data, 0, count)
    try:
        members, end = codec.decode_members(data, 0, count)
    except MalformedPacket:
        assert split is None
    else:
        shortest = b"".join(map(codec.encode_member, members))
        if kind is not Everything:
            assert (split is not None) == (shortest == data[:end])
        if split is not None:
            assert split == (list(map(codec.encode_member, members)), end)


@EACH
@given(st.binary(max_size=80))
def test_any_bytes_are_a_header_or_malformed(name: str, kind: type, data: bytes) -> None:
    codec = CODECS[name, kind]
    try:
        header, end = codec.decode_header(data)
    except MalformedPacket:
        return
    assert end <= len(data)
    assert codec.decode_header(codec.encode_header(header))[0] == header
