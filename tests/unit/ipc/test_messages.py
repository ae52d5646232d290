"""Frames and what is in them: whatever the cuts, and whatever comes."""

from __future__ import annotations

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import InvalidArgument
from holdfast.ipc.messages import (
    Frames,
    Garbage,
    decode,
    encode_answer,
    encode_call,
    encode_failure,
    parameters_as,
)


class Named(msgspec.Struct):
    name: str
    count: int = 1


def test_a_call_is_what_varlink_says() -> None:
    frame = encode_call("org.example.Do", {"name": "a"})
    assert frame.endswith(b"\0")
    assert json.loads(frame[:-1]) == {"method": "org.example.Do", "parameters": {"name": "a"}}


def test_flags_and_ids_are_only_said_where_they_matter() -> None:
    assert json.loads(encode_call("m", {}, id=0, more=True, oneway=True)[:-1]) == {
        "method": "m",
        "parameters": {},
        "id": 0,
        "more": True,
        "oneway": True,
    }
    assert json.loads(encode_answer({}, continues=True)[:-1]) == {
        "parameters": {},
        "continues": True,
    }
    assert json.loads(encode_failure("org.example.No", {}, id=3)[:-1]) == {
        "parameters": {},
        "error": "org.example.No",
        "id": 3,
    }


def test_a_message_of_a_plain_varlink_program_is_read() -> None:
    message = decode(b'{"method":"org.example.Do","parameters":{"name":"a","later":[1]}}')
    assert (message.method, message.id, message.more) == ("org.example.Do", None, False)
    assert parameters_as(message, Named) == Named("a")
    assert parameters_as(decode(b'{"method":"m"}'), dict) == {}


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"[]",
        b"7",
        b"{",
        b"\xff\xfe",
        b'{"method":7}',
        b'{"id":-1}',
        b'{"id":1e99}',
        b'{"id":9223372036854775808}',
        b'{"method":"a","error":"b"}',
        b'{"parameters":' + b"[" * 60_000,
        b'{"more":"yes"}',
        b'{"method":"\xff"}',
    ],
    ids=lambda frame: frame[:20],
)
def test_what_is_no_message_is_garbage_and_nothing_else(frame: bytes) -> None:
    with pytest.raises(Garbage):
        decode(frame)


@pytest.mark.parametrize(
    "parameters", [b"null", b"[]", b'{"name":7}', b'{"name":"a","count":"1"}', b"{}", b'{"name":"']
)
def test_wrong_parameters_are_an_argument_of_the_caller(parameters: bytes) -> None:
    message = msgspec.structs.replace(
        decode(b'{"method":"org.example.Do"}'), parameters=msgspec.Raw(parameters)
    )
    with pytest.raises(InvalidArgument, match=r"org\.example\.Do"):
        parameters_as(message, Named)


@pytest.mark.parametrize("what", ["\ud800", object(), {1j: 2}])
def test_what_json_cannot_say_is_refused_before_it_is_sent(what: object) -> None:
    with pytest.raises(InvalidArgument, match="JSON"):
        encode_call("m", {"name": what})


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(frame: bytes) -> None:
    try:
        message = decode(frame)
    except Garbage:
        return
    with contextlib.suppress(InvalidArgument):
        parameters_as(message, Named)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4), st.integers(0, 2**63 - 1))
def test_what_is_said_arrives(parameters: dict[str, object], number: int) -> None:
    try:
        frame = encode_call("m", parameters, id=number)
    except InvalidArgument:  # a lone surrogate
        return
    assert frame.count(b"\0") == 1
    message = decode(frame[:-1])
    assert message.id == number
    assert parameters_as(message, dict[str, object]) == parameters


# -- frames ---------------------------------------------------------------------------------------


def test_a_frame_is_what_stands_before_a_nul() -> None:
    frames = Frames()
    assert frames.feed(b"one\0two\0th") == [(b"one", []), (b"two", [])]
    assert frames.unfinished
    assert frames.feed(b"ree") == []
    assert frames.feed(b"\0\0") == [(b"three", []), (b"", [])]
    assert not frames.unfinished


def test_descriptors_belong_to_the_frame_of_the_last_byte_of_the_read() -> None:
    frames = Frames()
    # The end of a frame without, then the first part of one with descriptors.
    assert frames.feed(b"one\0tw", [5]) == [(b"one", [])]
    assert frames.feed(b"o\0three\0") == [(b"two", [5]), (b"three", [])]
    assert frames.feed(b"four\0five\0", [6, 7]) == [(b"four", []), (b"five", [6, 7])]


def test_a_frame_that_is_sent_in_pieces_with_descriptors_gets_all_of_them() -> None:
    frames = Frames()
    frames.feed(b"o", [5])
    frames.feed(b"n", [6])
    assert frames.feed(b"e\0", [7]) == [(b"one", [5, 6, 7])]
    assert frames.feed(b"two\0") == [(b"two", [])]


def test_descriptors_of_a_frame_that_never_ends_are_handed_back() -> None:
    frames = Frames()
    frames.feed(b"o", [5])
    assert frames.abandon() == [5]
    assert not frames.unfinished
    assert frames.abandon() == []


@pytest.mark.parametrize("cuts", [[9], [4, 4, 1], [1] * 9, [8, 1]])
def test_a_frame_may_be_as_long_as_agreed_and_not_longer(cuts: list[int]) -> None:
    frames = Frames(bytes_max=8)
    for cut in cuts[:-1]:
        frames.feed(b"x" * cut)
    with pytest.raises(Garbage, match="8 bytes"):
        frames.feed(b"x" * cuts[-1])
    frames = Frames(bytes_max=8)
    assert frames.feed(b"x" * 8) == []
    assert frames.feed(b"\0") == [(b"x" * 8, [])]
    with pytest.raises(Garbage):
        frames.feed(b"a\0" + b"x" * 9 + b"\0")


def test_too_many_descriptors_are_not_taken() -> None:
    frames = Frames(descriptors_max=2)
    frames.feed(b"o", [1, 2])
    with pytest.raises(Garbage, match="2 descriptors"):
        frames.feed(b"n", [3])
    assert frames.abandon() == [1, 2]
    # A new frame in the same read begins to count anew.
    frames.feed(b"o", [1, 2])
    assert frames.feed(b"ne\0tw", [3, 4]) == [(b"one", [1, 2])]
    assert frames.abandon() == [3, 4]


@given(
    st.lists(
        st.tuples(st.binary(max_size=20).map(lambda b: b.replace(b"\0", b"")), st.booleans()),
        max_size=8,
    ),
    st.data(),
)
def test_wherever_reads_end_each_frame_keeps_what_came_with_it(
    sent: list[tuple[bytes, bool]], data: st.DataObject
) -> None:
    """Reads as the kernel makes them: the one that meets descriptors ends within their frame."""
    frames = Frames()
    got: list[tuple[bytes, list[int]]] = []
    held = b""  # sent, without descriptors, and not read
    for number, (body, with_descriptor) in enumerate(sent):
        frame = body + b"\0"
        if not with_descriptor:
            held += frame
            continue
        # Some reads may end before; the one that brings the descriptor ends inside the frame.
        early = data.draw(st.integers(0, len(held)))
        if early:
            got += frames.feed(held[:early])
        end = data.draw(st.integers(1, len(frame)))
        got += frames.feed(held[early:] + frame[:end], [number])
        held = frame[end:]
    if held:
        got += frames.feed(held)
    assert got == [
        (body, [number] if flagged else []) for number, (body, flagged) in enumerate(sent)
    ]
    assert not frames.unfinished
