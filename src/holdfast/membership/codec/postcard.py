"""postcard 1.x: integers in groups of seven bits, the low ones first.

The high bit of a byte says that more follow. A form that is longer than need be is read, up to the
longest that the type can need; a value that is too great is refused.

Sources: postcard's wire format (``spec/src/wire-format.md``); section 4.6 of the specification.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from holdfast.membership.codec.compiled import CompiledCodec
from holdfast.membership.identity import T

if TYPE_CHECKING:
    from holdfast.membership.codec.dialect import Dialect

__all__ = ["Postcard"]

# How many bytes of an integer are read without a call.
_UNROLLED = 6
_SINGLE = [bytes((value,)) for value in range(128)]


class _Postcard:
    name = "postcard"

    # Ports and generations come again and again. Typed, so that 1.0 is not taken for 1.
    @staticmethod
    @functools.lru_cache(16_384, typed=True)
    def write(value: int, bits: int) -> bytes:
        if 0 <= value < 128:
            return _SINGLE[value]
        if value < 0 or value >> bits:
            raise ValueError(f"{value} does not fit into {bits} bits")
        out = bytearray()
        while value > 127:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        out.append(value)
        return bytes(out)

    def read_on(self, data: bytes, at: int, value: int, bits: int, shift: int) -> tuple[int, int]:
        # What was read so far still has the mark that more follows, at the bit `shift`.
        value -= 1 << shift
        while shift < bits:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> bits:
                    break
                return value, at
            shift += 7
        raise ValueError(f"an integer of more than {bits} bits")

    def read_on_inline(self, value: str, bits: int) -> list[str]:
        # One step into the next `if` for each byte, as far as times in seconds go; then a call.
        longest = -(-bits // 7)
        lines = [f"if {value} > 127:"]
        for done in range(1, min(longest - 1, _UNROLLED)):
            indent = "    " * done
            lines.append(f"{indent}more = data[at]; at += 1")
            lines.append(f"{indent}{value} += (more << {7 * done}) - (1 << {7 * done})")
            lines.append(f"{indent}if more > 127:")
        done = len(lines) // 3 + 1
        lines.append(f"{'    ' * done}{value}, at = read_on(data, at, {value}, {bits}, {7 * done})")
        return lines

    def pattern(self, bits: int) -> bytes:
        longest = -(-bits // 7)
        last = (1 << (bits - 7 * (longest - 1))) - 1
        return (
            rb"[\x00-\x7f]"
            rb"|[\x80-\xff]{1,%d}[\x01-\x7f]"
            rb"|[\x80-\xff]{%d}[\x01-\x%02x]"
        ) % (longest - 2, longest - 1, last)


_DIALECT: Dialect = _Postcard()


class Postcard(CompiledCodec[T]):
    """Packets as the crate's postcard codec makes them, for one type of identities.

    Args:
        kind: A frozen dataclass; `holdfast.membership.codec.layout` says what its fields may be.

    Raises:
        InvalidArgument: A field has no form on the wire.
    """

    def __init__(self, kind: type[T]) -> None:
        super().__init__(kind, _DIALECT)
