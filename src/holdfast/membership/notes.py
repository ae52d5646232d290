"""Notes: what engines say to each other beyond the protocol, as items of its packets.

::

    item    MAGIC │ kind:u8 │ what it says
    ACCUSE  two members: the suspect at an incarnation, and who suspects it by its own probe
    SLEEP   how many seconds at most:u32, and the member that goes to sleep
    DIGEST  whether an answer is wanted:u8, and a number:u32 for each of `BUCKETS` parts of the list
    STATE   a count:u16 and so many members

Members are in the codec's form, numbers in network order. A kind that is not known has no effect.
An item of the application cannot begin like a note: `add_broadcast` refuses it.
"""

from __future__ import annotations

import enum
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from holdfast.errors import MalformedPacket

if TYPE_CHECKING:
    from holdfast.membership.codec.base import Codec
    from holdfast.membership.identity import T
    from holdfast.membership.member import Member

__all__ = [
    "BUCKETS",
    "MAGIC",
    "Digest",
    "Kind",
    "accuse",
    "digest",
    "is_note",
    "read_accuse",
    "read_digest",
    "read_sleep",
    "read_state",
    "sleep",
    "state",
]

MAGIC: Final = b"\xf5HFn"
BUCKETS: Final = 32
_DIGEST = struct.Struct(f">?{BUCKETS}I")
_SECONDS = struct.Struct(">I")
_START = len(MAGIC) + 1


class Kind(enum.IntEnum):
    """What a note is about; the numbers are on the wire."""

    ACCUSE = 1
    SLEEP = 2
    DIGEST = 3
    STATE = 4


class Digest(NamedTuple):
    """One number for each part of a list of members, and whether to answer with one's own."""

    answer: bool
    parts: tuple[int, ...]


def is_note(item: bytes) -> bool:
    """Whether an item is the engine's own."""
    return item.startswith(MAGIC)


def accuse(codec: Codec[T], suspect: Member[T], accuser: Member[T]) -> bytes:
    """Suspected by its own probe."""
    return _note(Kind.ACCUSE, codec.encode_member(suspect) + codec.encode_member(accuser))


def sleep(codec: Codec[T], sleeper: Member[T], seconds: int) -> bytes:
    """Goes to sleep."""
    return _note(Kind.SLEEP, _SECONDS.pack(seconds) + codec.encode_member(sleeper))


def digest(parts: tuple[int, ...], *, answer: bool) -> bytes:
    """What a list looks like."""
    return _note(Kind.DIGEST, _DIGEST.pack(answer, *parts))


def state(members: list[bytes]) -> bytes:
    """Some members as they are known."""
    return _note(Kind.STATE, len(members).to_bytes(2, "big") + b"".join(members))


def read_accuse(codec: Codec[T], item: bytes) -> tuple[Member[T], Member[T]]:
    """The suspect and the accuser.

    Raises:
        MalformedPacket: It does not say so.
    """
    suspect, accuser = _members(codec, item, _START, 2)
    return suspect, accuser


def read_sleep(codec: Codec[T], item: bytes) -> tuple[Member[T], int]:
    """Who sleeps, and for how many seconds at most.

    Raises:
        MalformedPacket: It does not say so.
    """
    (seconds,) = _unpack(_SECONDS, item[_START : _START + _SECONDS.size])
    (sleeper,) = _members(codec, item, _START + _SECONDS.size, 1)
    return sleeper, seconds


def read_digest(item: bytes) -> Digest:
    """A digest.

    Raises:
        MalformedPacket: It is none.
    """
    answer, *parts = _unpack(_DIGEST, item[_START:])
    return Digest(bool(answer), tuple(parts))


def read_state(codec: Codec[T], item: bytes) -> list[Member[T]]:
    """The members.

    Raises:
        MalformedPacket: They are not so many.
    """
    if len(item) < _START + 2:
        raise MalformedPacket("a note ends early")
    return _members(codec, item, _START + 2, int.from_bytes(item[_START : _START + 2], "big"))


def _note(kind: Kind, data: bytes) -> bytes:
    return MAGIC + bytes([kind]) + data


def _unpack(form: struct.Struct, data: bytes) -> tuple[int, ...]:
    if len(data) != form.size:
        raise MalformedPacket(f"a note has {len(data)} bytes instead of {form.size}")
    return form.unpack(data)


def _members(codec: Codec[T], item: bytes, at: int, count: int) -> list[Member[T]]:
    members, end = codec.decode_members(item, at, count)
    if end != len(item):
        raise MalformedPacket(f"{len(item) - end} bytes too many in a note")
    return members
