"""A codec for one type of identities, from its layout and a dialect."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Generic

from holdfast.errors import EncodeFailed, MalformedPacket
from holdfast.membership.codec.generate import (
    DECODE_ERRORS,
    ENCODE_ERRORS,
    pattern,
    reader,
    writer,
)
from holdfast.membership.codec.layout import Integer, layout_of
from holdfast.membership.identity import T
from holdfast.membership.member import Member, State
from holdfast.membership.messages import (
    KINDS,
    Ack,
    Announce,
    Broadcast,
    Feed,
    ForwardedAck,
    Gossip,
    Header,
    IndirectAck,
    IndirectPing,
    Message,
    Ping,
    PingReq,
    TurnUndead,
)

if TYPE_CHECKING:
    from holdfast.membership.codec.dialect import Dialect

__all__ = ["CompiledCodec"]

_TAGS: dict[type, int] = {kind: tag for tag, kind in enumerate(KINDS)}
_TAG = Integer(32, signed=False)
_U16 = Integer(16, signed=False)
_STATES = tuple(State)
_new = tuple.__new__  # a third of the time that the constructor of a named tuple takes
_BARE: dict[int, Message[Any]] = {
    6: Announce(),
    7: Feed(),
    8: Gossip(),
    9: Broadcast(),
    10: TurnUndead(),
}
_STATE_PATTERN = b"[\\x00-\\x02]"
# How many members decode_member remembers. What is the same for many engines is kept once.
_REMEMBERED = 16_384


class CompiledCodec(Generic[T]):
    """Headers and members of one type of identities, in one dialect.

    Safe to share between engines and between threads: what it remembers is only a shortcut.
    """

    def __init__(self, kind: type[T], dialect: Dialect) -> None:
        layout = layout_of(kind)
        self._name = f"{dialect.name} codec of {kind.__qualname__}"
        self._read_identity = reader(dialect, layout)
        self._write_identity = writer(dialect, layout)
        self._read_ends = reader(dialect, layout, _U16, layout, _TAG)
        self._write_ends = writer(dialect, layout, _U16, layout, _TAG)
        self._read_member = reader(dialect, layout, _U16, _TAG)
        self._write_member = writer(dialect, layout, _U16, _TAG)
        self._remembered: dict[bytes, Member[T]] = {}
        shape = pattern(dialect, layout)
        self._findall = (
            None
            if shape is None
            else re.compile(
                shape + b"(?:" + dialect.pattern(16) + b")" + _STATE_PATTERN, re.DOTALL
            ).findall
        )

    def __repr__(self) -> str:
        return f"<{self._name}>"

    # -- what is sent -----------------------------------------------------------------------------

    def encode_header(self, header: Header[T], /) -> bytes:
        """A header as bytes. Raises `EncodeFailed` for a value that has no form on the wire."""
        message = header.message
        try:
            ends = self._write_ends(
                header.src, header.src_incarnation, header.dst, _TAGS[type(message)]
            )
            match message:
                case Ping(number) | Ack(number):
                    return ends + number.to_bytes(1, "big")
                case (
                    PingReq(other, number)
                    | IndirectPing(other, number)
                    | IndirectAck(other, number)
                    | ForwardedAck(other, number)
                ):
                    return ends + self._write_identity(other) + number.to_bytes(1, "big")
                case _:
                    return ends
        except ENCODE_ERRORS as error:
            raise EncodeFailed(
                f"a header has no form on the wire: {error}", on=self._name
            ) from error

    def encode_member(self, member: Member[T], /) -> bytes:
        """A member as bytes. Raises `EncodeFailed` for a value that has no form on the wire."""
        try:
            return self._write_member(*member)
        except ENCODE_ERRORS as error:
            raise EncodeFailed(
                f"a member has no form on the wire: {error}", on=self._name
            ) from error

    # -- what is received -------------------------------------------------------------------------

    def decode_header(self, data: bytes, /) -> tuple[Header[T], int]:
        """The header at the beginning, and its end. Raises `MalformedPacket` if there is none."""
        try:
            src, incarnation, dst, tag, at = self._read_ends(data, 0)
            message: Message[T]
            if tag in _BARE:
                message = _BARE[tag]
            elif tag < 2:
                message, at = (Ack if tag else Ping)(data[at]), at + 1
            else:
                kind = _RELAYED[tag - 2]
                other, at = self._read_identity(data, at)
                message, at = kind(other, data[at]), at + 1
        except DECODE_ERRORS as error:
            raise MalformedPacket(f"no header: {error}", on=self._name) from error
        return Header(src, incarnation, dst, message), at

    def decode_members(self, data: bytes, at: int, count: int, /) -> tuple[list[Member[T]], int]:
        """The members from `at` on, and their end. Raises `MalformedPacket` if some are missing."""
        read, found = self._read_member, []
        try:
            for _ in range(count):
                identity, incarnation, tag, at = read(data, at)
                found.append(_new(Member, (identity, incarnation, _STATES[tag])))
        except DECODE_ERRORS as error:
            raise MalformedPacket(
                f"member {len(found) + 1} of {count} cannot be read: {error}", on=self._name
            ) from error
        return found, at

    def split_members(self, data: bytes, at: int, count: int, /) -> tuple[list[bytes], int] | None:
        """The bytes of each member from `at` on, and the end, if all are in their shortest form."""
        if self._findall is None:
            return None
        found = self._findall(data, at)
        # It steps over what it does not understand, and reads on into the items.
        if len(found) != count:
            if len(found) < count:
                return None
            del found[count:]
        section = b"".join(found)
        if not data.startswith(section, at):
            return None
        return found, at + len(section)

    def decode_member(self, data: bytes, /) -> Member[T]:
        """One of the members that `split_members` has found."""
        remembered = self._remembered
        member = remembered.get(data)
        if member is None:
            identity, incarnation, tag, _ = self._read_member(data, 0)
            member = _new(Member, (identity, incarnation, _STATES[tag]))
            if len(remembered) >= _REMEMBERED:
                remembered.clear()
            remembered[data] = member
        return member


_RELAYED = (PingReq, IndirectPing, IndirectAck, ForwardedAck)
