"""A second reader of the two wire formats, as slow and simple as their specifications.

The library's decoders are programs that were written by a program, for speed. This one goes
through a layout step by step; what both make of the same bytes must be the same.

Source: the specifications of bincode 2 (standard) and postcard 1, and of the crate's packets.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from holdfast.membership import Header, Member, State
from holdfast.membership.codec.layout import (
    Blob,
    Flag,
    Group,
    Integer,
    Layout,
    Maybe,
    Row,
    Struct,
    TaggedAddress,
    layout_of,
)
from holdfast.membership.messages import KINDS, Ack, Ping

# Tags are of 32 bits, lengths of 64.
_TAG, _LENGTH = Integer(32, signed=False), Integer(64, signed=False)
_U8, _U16 = Integer(8, signed=False), Integer(16, signed=False)


class NoValue(Exception):
    """These bytes are none."""


class Reference:
    """Reads headers and members of one type of identities."""

    def __init__(self, kind: type, *, postcard: bool) -> None:
        self._layout = layout_of(kind)
        self._postcard = postcard
        self._data = b""
        self._at = 0

    def header(self, data: bytes) -> tuple[Any, int]:
        """The header, and where it ends."""
        self._data, self._at = data, 0
        src, incarnation, dst = self._read(self._layout), self._read(_U16), self._read(self._layout)
        tag = self._read(_TAG)
        if tag >= len(KINDS):
            raise NoValue(f"message {tag}")
        kind: Any = KINDS[tag]
        if kind in (Ping, Ack):
            message = kind(self._read(_U8))
        elif kind.__match_args__:
            message = kind(self._read(self._layout), self._read(_U8))
        else:
            message = kind()
        return Header(src, incarnation, dst, message), self._at

    def members(self, data: bytes, at: int, count: int) -> tuple[list[Any], int]:
        """So many members, and where they end."""
        self._data, self._at = data, at
        found = []
        for _ in range(count):
            identity, incarnation = self._read(self._layout), self._read(_U16)
            tag = self._read(_TAG)
            if tag > 2:
                raise NoValue(f"state {tag}")
            found.append(Member(identity, incarnation, State(tag)))
        return found, self._at

    # -- values -----------------------------------------------------------------------------------

    def _take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise NoValue("the end")
        self._at += count
        return taken

    def _read(self, layout: Layout) -> Any:
        match layout:
            case Integer(8, signed):
                return int.from_bytes(self._take(1), "little", signed=signed)
            case Integer(bits, signed):
                value = self._groups(bits) if self._postcard else self._marked(bits)
                if not signed:
                    return value
                return value // 2 if value % 2 == 0 else -(value // 2) - 1
            case Flag():
                return self._flag()
            case Blob(text):
                data = self._take(self._read(_LENGTH))
                return self._text(data) if text else data
            case TaggedAddress():
                tag = self._read(_TAG)
                if tag > 1:
                    raise NoValue(f"version {tag} of IP")
                return str(ipaddress.ip_address(self._take(16 if tag else 4)))
            case Maybe(inner):
                return self._read(inner) if self._flag() else None
            case Group(parts):
                return tuple([self._read(part) for part in parts])
            case Row(inner):
                length = self._read(_LENGTH)
                if length > len(self._data):
                    raise NoValue("a row that is longer than the packet")
                return tuple([self._read(inner) for _ in range(length)])
            case Struct(kind, names, parts):
                return kind(**{n: self._read(p) for n, p in zip(names, parts, strict=True)})
        raise AssertionError(layout)

    def _flag(self) -> bool:
        value = self._take(1)[0]
        if value > 1:
            raise NoValue(f"{value} is neither 0 nor 1")
        return value == 1

    @staticmethod
    def _text(data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise NoValue(str(error)) from error

    def _marked(self, bits: int) -> int:
        """Bincode: one byte below 251, or a marker of how many bytes follow."""
        first = self._take(1)[0]
        if first < 251:
            return first
        length = {251: 2, 252: 4, 253: 8, 254: 16}.get(first, 0)
        if not length or 8 * length > bits:
            raise NoValue(f"marker {first}")
        return int.from_bytes(self._take(length), "little")

    def _groups(self, bits: int) -> int:
        """Postcard: seven bits in each byte, the lowest first."""
        value = 0
        for number in range(-(-bits // 7)):
            byte = self._take(1)[0]
            value |= (byte & 0x7F) << 7 * number
            if byte < 0x80:
                if value >> bits:
                    raise NoValue(f"{value} is wider than {bits} bits")
                return value
        raise NoValue("it goes on")
