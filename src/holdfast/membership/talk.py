"""What members of ours say to each other beyond the protocol, and the bytes of it.

Three things travel as items of the protocol's own packets: `Hello` (a name and tags), `Farewell`
(I go on purpose) and `Shout` (an event of the application). An item begins with `TAG`; a crate's
node never gets one, because items go only to peers that are `ours`.

How a peer is known to be ours before anything was said: by its generation. That of a member of ours
has `MARK` in its upper 16 bits, and below it the milliseconds of its start. Everybody learns
identities anyway, so that this costs no packet, and a node of the crate, whose generations are
times in seconds or counters, is never taken for one.

One more thing is no packet of the protocol at all: a question, `Look`, by somebody who is no member
and does not want to be one, and its answer, a `Page` of the list of members. Its first bytes,
`QUESTION`, can begin no packet: there the tag of an address stands, 0 or 1. An answer is never
longer than its question, which is padded to that end: nobody can be flooded through us under a
forged address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec

from holdfast.errors import InvalidArgument, MalformedPacket
from holdfast.membership.addresses import address_of
from holdfast.membership.changes import ClusterMember
from holdfast.membership.identity import Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "ABOUT_MAX",
    "ITEM_MAX",
    "MARK",
    "MARK_BITS",
    "QUESTION",
    "TAG",
    "Farewell",
    "Hello",
    "Look",
    "Page",
    "Shout",
    "ask",
    "check_about",
    "decode",
    "encode",
    "generation",
    "is_item",
    "is_ours",
    "node_of",
    "page",
    "read_page",
    "read_question",
    "row",
    "who",
]

MARK = 0x4846
MARK_BITS = 48
TAG = b"HFc"
QUESTION = b"HF?"
ANSWER = b"HF!"
# A name and tags together, in bytes; as much as memberlist allows.
ABOUT_MAX = 512
# The longest item: it must fit into a packet of 1,400 bytes beside any header.
ITEM_MAX = 1024
# How long a question is, and so the longest answer: what passes everywhere without fragments.
ROOM = 1200

_Text = Annotated[str, msgspec.Meta(max_length=ABOUT_MAX)]
# What an address and a generation are before `Node` has checked them.
_Who = tuple[str, int, int]


class Hello(msgspec.Struct, array_like=True, tag="h", frozen=True):
    """Who I am, and whether I want to hear the same from you."""

    name: _Text
    tags: dict[_Text, _Text]
    answer: bool


class Farewell(msgspec.Struct, array_like=True, tag="f", frozen=True):
    """I go on purpose: nobody has failed."""

    who: _Who


class Shout(msgspec.Struct, array_like=True, tag="s", frozen=True):
    """An event: whose it is, which of his, and what it says."""

    who: _Who
    number: int
    name: _Text
    payload: bytes


class Look(msgspec.Struct, array_like=True, frozen=True):
    """Who is there, after this address? The nonce comes back with the answer."""

    nonce: Annotated[int, msgspec.Meta(ge=0)]
    after: str
    padding: bytes


class Row(msgspec.Struct, array_like=True, frozen=True):
    """One member of the list."""

    who: _Who
    name: str
    state: str
    incarnation: int
    tags: dict[str, str]
    me: bool


class Page(msgspec.Struct, array_like=True, frozen=True):
    """Some of the members, in the order of their addresses, and whether there are more."""

    nonce: int
    rows: list[Row]
    more: bool


Item: TypeAlias = Hello | Farewell | Shout

_ITEMS: msgspec.msgpack.Decoder[Item] = msgspec.msgpack.Decoder(Item)
_LOOKS = msgspec.msgpack.Decoder(Look)
_PAGES = msgspec.msgpack.Decoder(Page)
_ENCODER = msgspec.msgpack.Encoder()


def generation(realtime_ns: int, *, marked: bool) -> int:
    """The generation of a member that starts now; `marked`: it is known to be ours by it."""
    ms = max(0, realtime_ns) // 1_000_000
    return (MARK << MARK_BITS) + ms if marked else ms


def is_ours(node: Node) -> bool:
    """Whether items may be sent to this node."""
    return node.generation >> MARK_BITS == MARK


def who(node: Node) -> _Who:
    """A node as it is written."""
    return (node.ip, node.port, node.generation)


def node_of(given: _Who) -> Node:
    """A node as it was written.

    Raises:
        MalformedPacket: There is no such node.
    """
    try:
        return Node(*given)
    except InvalidArgument as error:
        raise MalformedPacket(f"no node: {error.what}", on=error.on) from error


# -- items ----------------------------------------------------------------------------------------


def encode(item: Item) -> bytes:
    """The bytes of an item."""
    return TAG + _ENCODER.encode(item)


def is_item(data: bytes) -> bool:
    """Whether these bytes claim to be an item of ours."""
    return data.startswith(TAG)


def decode(data: bytes) -> Item:
    """What an item says.

    Raises:
        MalformedPacket: It says nothing that we know.
    """
    if not data.startswith(TAG):
        raise MalformedPacket("an item of somebody else")
    item: Item = _read(_ITEMS, data[len(TAG) :])
    return item


def check_about(name: str, tags: Mapping[str, str]) -> dict[str, str]:
    """A copy of the tags, if name and tags can be sent.

    Raises:
        InvalidArgument: They cannot.
    """
    if not _is_text(name) or not name.isprintable():
        raise InvalidArgument(
            "no name of a member", on=repr(name), hint="use one printable word or more"
        )
    for key, value in tags.items():
        if not _is_text(key) or not (value == "" or _is_text(value)):
            raise InvalidArgument(f"no tag: {key!r}={value!r}", hint="keys and values are str")
    length = len(_ENCODER.encode([name, dict(tags)]))
    if length > ABOUT_MAX:
        raise InvalidArgument(
            f"name and tags take {length} bytes",
            on=name,
            hint=f"stay below {ABOUT_MAX}: they travel in one packet with others",
        )
    return dict(tags)


# -- questions ------------------------------------------------------------------------------------


def ask(nonce: int, after: str = "") -> bytes:
    """The bytes of a question, as many as its answer may have."""
    bare = QUESTION + _ENCODER.encode(Look(nonce, after, b""))
    padded = Look(nonce, after, b"\0" * (ROOM - len(bare)))
    return QUESTION + _ENCODER.encode(padded)


def read_question(data: bytes) -> Look:
    """What is asked.

    Raises:
        MalformedPacket: Nothing.
    """
    if not data.startswith(QUESTION):
        raise MalformedPacket("no question of ours")
    look: Look = _read(_LOOKS, data[len(QUESTION) :])
    return look


def page(look: Look, members: Iterable[ClusterMember], room: int) -> bytes:
    """The answer to `look`: as many of the members as fit into `room` bytes."""
    rest = sorted(
        (row(member) for member in members if member.address > look.after),
        key=lambda one: address_of(Node(*one.who)),
    )
    told: list[Row] = []
    # The array, a nonce of nine bytes, the length of the list and the flag.
    left = room - len(ANSWER) - 16
    for one in rest:
        left -= len(_ENCODER.encode(one))
        if left < 0:
            break
        told.append(one)
    return ANSWER + _ENCODER.encode(Page(look.nonce, told, len(told) < len(rest)))


def read_page(data: bytes) -> tuple[int, list[ClusterMember], bool]:
    """The nonce of an answer, the members that it names, and whether there are more.

    Raises:
        MalformedPacket: It is no answer.
    """
    if not data.startswith(ANSWER):
        raise MalformedPacket("no answer to a question of ours")
    read: Page = _read(_PAGES, data[len(ANSWER) :])
    members = [
        ClusterMember(
            name=one.name,
            address=address_of(node),
            node=node,
            state=one.state,
            incarnation=one.incarnation,
            tags=one.tags,
            me=one.me,
        )
        for one in read.rows
        for node in [node_of(one.who)]
    ]
    return read.nonce, members, read.more


def row(member: ClusterMember) -> Row:
    """A member as it is written in an answer."""
    return Row(
        who(member.node),
        member.name,
        member.state,
        member.incarnation,
        member.tags,
        member.me,
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _read(decoder: msgspec.msgpack.Decoder[Any], data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise MalformedPacket(f"cannot be read: {error}") from error
