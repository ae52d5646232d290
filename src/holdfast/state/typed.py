"""Values of a type in the bytes of a state: what ``subscribe(..., type=...)`` means.

=======================================  ==========================================================
type                                     bytes
=======================================  ==========================================================
a `ctypes.Structure` (or array) class    its memory, as C programs see it
a `struct` format (``"<6d"``)            packed; the value is a tuple
any other that msgspec knows             its length in 4 bytes, then MessagePack
(dataclass, Struct, dict[str, int], …)
=======================================  ==========================================================
"""

from __future__ import annotations

import ctypes
import struct
from typing import Any, Protocol

import msgspec

from holdfast.errors import Damaged, InvalidArgument

__all__ = ["Codec", "codec_for"]


class Codec(Protocol):
    """How values of one type are laid into a state's bytes."""

    size: int | None  # that every value takes, or None where it depends on the value

    def decode(self, data: bytes) -> Any:
        """The value in these bytes."""
        ...

    def encode(self, value: Any, room: int) -> bytes:
        """The bytes of the value, at most `room`.

        Raises:
            InvalidArgument: It is not of the type, or does not fit.
        """
        ...


class _CTypes:
    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self.size: int | None = ctypes.sizeof(kind)

    def decode(self, data: bytes) -> Any:
        return self._kind.from_buffer_copy(_long_enough(data, ctypes.sizeof(self._kind)))

    def encode(self, value: Any, room: int) -> bytes:
        if not isinstance(value, self._kind):
            raise InvalidArgument(
                f"the value is a {type(value).__name__}, the state's type {self._kind.__name__}"
            )
        return _fitting(bytes(value), room)


class _Packed:
    def __init__(self, layout: struct.Struct) -> None:
        self._layout = layout
        self.size: int | None = layout.size

    def decode(self, data: bytes) -> Any:
        return self._layout.unpack_from(_long_enough(data, self._layout.size))

    def encode(self, value: Any, room: int) -> bytes:
        try:
            return _fitting(self._layout.pack(*value), room)
        except (struct.error, TypeError, OverflowError) as error:
            raise InvalidArgument(
                f"the value does not fit the format {self._layout.format!r}: {error}"
            ) from error


class _MessagePack:
    size: int | None = None
    _LENGTH = struct.Struct("<I")

    def __init__(self, kind: Any) -> None:
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(kind).decode

    def decode(self, data: bytes) -> Any:
        (length,) = self._LENGTH.unpack_from(_long_enough(data, self._LENGTH.size))
        if length == 0:
            return None  # zeros: nobody has written
        try:
            return self._decode(data[self._LENGTH.size : self._LENGTH.size + length])
        except msgspec.MsgspecError as error:
            raise Damaged(
                f"the bytes are not a value of the state's type: {error}",
                hint="every subscriber must use the same type",
            ) from error

    def encode(self, value: Any, room: int) -> bytes:
        try:
            data = self._encode(value)
        except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
            raise InvalidArgument(f"the value cannot be encoded: {error}") from error
        return _fitting(self._LENGTH.pack(len(data)) + data, room)


def _long_enough(data: bytes, size: int) -> bytes:
    if len(data) < size:
        raise Damaged(
            f"the state has {len(data)} bytes, a value of its type {size}",
            hint="every subscriber must use the same type",
        )
    return data


def _fitting(data: bytes, room: int) -> bytes:
    if len(data) > room:
        raise InvalidArgument(
            f"the value takes {len(data)} bytes, the state holds {room}",
            hint="grow the state with set_size(), or store less",
        )
    return data


def codec_for(kind: Any) -> Codec:
    """The codec of a type.

    Raises:
        InvalidArgument: Nothing is known of such a type.
    """
    if isinstance(kind, str | struct.Struct):
        try:
            return _Packed(struct.Struct(kind) if isinstance(kind, str) else kind)
        except struct.error as error:
            raise InvalidArgument(f"not a struct format: {error}", on=repr(kind)) from error
    if isinstance(kind, type) and issubclass(kind, ctypes.Structure | ctypes.Union | ctypes.Array):
        return _CTypes(kind)
    try:
        return _MessagePack(kind)
    except (TypeError, msgspec.MsgspecError) as error:
        raise InvalidArgument(
            f"not a type that a state can hold: {error}",
            on=repr(kind),
            hint="use a dataclass, a ctypes.Structure or a struct format",
        ) from error
