"""bincode, in its standard configuration: little endian, integers of variable length.

An integer below 251 is one byte. A greater one is a marker that says how many bytes follow, and
these in little endian: 251 two, 252 four, 253 eight, 254 sixteen. The smallest that fits the value
is written; any that is not wider than the type is read.

Sources: bincode's own specification (``docs/spec.md``); section 4.5 of the specification.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from holdfast.membership.codec.compiled import CompiledCodec
from holdfast.membership.identity import T

if TYPE_CHECKING:
    from holdfast.membership.codec.dialect import Dialect

__all__ = ["Bincode"]

_SINGLE = [bytes((value,)) for value in range(251)]
_BYTES = {251: 2, 252: 4, 253: 8, 254: 16}
# Exactly the values that need that marker: below, the upper half would be zero.
_PATTERNS = (
    (16, rb"\xfb(?:[\xfb-\xff]\x00|.[^\x00])"),
    (32, rb"\xfc..(?!\x00{2}).."),
    (64, rb"\xfd.{4}(?!\x00{4}).{4}"),
    (128, rb"\xfe.{8}(?!\x00{8}).{8}"),
)


class _Bincode:
    name = "bincode"

    # Ports and generations come again and again. Typed, so that 1.0 is not taken for 1.
    @staticmethod
    @functools.lru_cache(16_384, typed=True)
    def write(value: int, bits: int) -> bytes:
        if 0 <= value < 251:
            return _SINGLE[value]
        if value < 0 or value >> bits:
            raise ValueError(f"{value} does not fit into {bits} bits")
        for marker, size in _BYTES.items():
            if value >> (8 * size) == 0:
                return marker.to_bytes(1, "little") + value.to_bytes(size, "little")
        raise AssertionError("wider than any type")

    def read_on(self, data: bytes, at: int, first: int, bits: int) -> tuple[int, int]:
        size = _BYTES.get(first, 255)
        if size * 8 > bits:
            raise ValueError(f"marker {first} in an integer of {bits} bits")
        end = at + size
        if end > len(data):
            raise IndexError("the data ends within an integer")
        return int.from_bytes(data[at:end], "little"), end

    def read_on_inline(self, value: str, bits: int) -> list[str]:
        # The two markers that identities have most, ports and times in seconds, without a call.
        lines = [
            f"if {value} > 250:",
            f"    if {value} == 251: {value} = unpack_2(data, at)[0]; at += 2",
            f"    elif {value} == 252: {value} = unpack_4(data, at)[0]; at += 4",
            f"    else: {value}, at = read_on(data, at, {value}, {bits})",
        ]
        if bits == 16:
            del lines[2]
        return lines

    def pattern(self, bits: int) -> bytes:
        wider = [shape for width, shape in _PATTERNS if width <= bits]
        return b"|".join([rb"[\x00-\xfa]", *wider])


_DIALECT: Dialect = _Bincode()


class Bincode(CompiledCodec[T]):
    """Packets as the crate's bincode codec makes them, for one type of identities.

    Args:
        kind: A frozen dataclass; `holdfast.membership.codec.layout` says what its fields may be.

    Raises:
        InvalidArgument: A field has no form on the wire.
    """

    def __init__(self, kind: type[T]) -> None:
        super().__init__(kind, _DIALECT)
