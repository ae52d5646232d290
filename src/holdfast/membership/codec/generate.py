"""Writes the encoder and the decoder of a layout as straight-line Python, and compiles it.

A general decoder asks for each field what it is. This asks once, when the codec is made, and what
is left is what somebody would write by hand for that type: for a `Node` in postcard ::

    def generated(data, at):
        v1 = data[at]; at += 1
        if v1 > 127:
            ...
        if v1 == 0:
            v2 = f'{octets[data[at + 0]]}.{octets[data[at + 1]]}. …'; at += 4
        ...

The decoders raise whatever Python raises on data that is too short or wrong (`DECODE_ERRORS`); the
codec makes `MalformedPacket` of it.

`pattern` writes a regular expression instead. It matches the bytes of a value if and only if they
are the shortest form, and only for types whose every value is valid; for others there is none.
"""

from __future__ import annotations

import functools
import ipaddress
import struct
from typing import TYPE_CHECKING, Any

from holdfast.membership.codec.dialect import Dialect, unzigzag, zigzag
from holdfast.membership.codec.layout import (
    Address,
    Blob,
    Flag,
    Group,
    Integer,
    Layout,
    Maybe,
    Row,
    Struct,
    TaggedAddress,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DECODE_ERRORS", "ENCODE_ERRORS", "pattern", "reader", "writer"]

# A decoder raises nothing else. UnicodeDecodeError is a ValueError.
DECODE_ERRORS = (IndexError, ValueError, struct.error)
ENCODE_ERRORS = (AttributeError, OverflowError, TypeError, ValueError)

_LENGTH_BITS = 64
_TAG_BITS = 32
_CACHED_ADDRESSES = 16_384
_U16, _U32 = struct.Struct("<H"), struct.Struct("<I")


# -- what the generated code calls ----------------------------------------------------------------


# An octet in text; four of them make an address in a tenth of the time that `ipaddress` takes.
_OCTETS = [str(octet) for octet in range(256)]
_FOUR = ".".join(f"{{octets[data[at + {n}]]}}" for n in range(4))


def _address_text(octets: bytes) -> str:
    return str(ipaddress.IPv6Address(octets))


@functools.lru_cache(_CACHED_ADDRESSES)
def _tagged_address(text: str) -> bytes:
    octets = ipaddress.ip_address(text).packed
    return (b"\0" if len(octets) == 4 else b"\1") + octets


def _slice(data: bytes, at: int, end: int) -> bytes:
    # A slice beyond the end is silently shorter.
    if end > len(data):
        raise IndexError("the data ends too early")
    return data[at:end]


def _construct(kind: type, **values: object) -> object:
    try:
        return kind(**values)
    except Exception as error:
        raise ValueError(f"no {kind.__name__}: {error}") from error


def _flag(byte: int) -> bool:
    if byte > 1:
        raise ValueError(f"{byte} is neither 0 nor 1")
    return byte == 1


class _Source:
    """Lines of a function, fresh names for its values, and what else it refers to."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.lines: list[str] = []
        self.depth = 1
        self.names: dict[str, Any] = {
            "construct": _construct,
            "flag": _flag,
            "octets": _OCTETS,
            "unpack_2": _U16.unpack_from,
            "unpack_4": _U32.unpack_from,
            "read_on": dialect.read_on,
            "address_text": _address_text,
            "slice_of": _slice,
            "tagged_address": _tagged_address,
            "unzigzag": unzigzag,
            "write": dialect.write,
            "zigzag": zigzag,
        }
        self._fresh = 0

    def put(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def fresh(self) -> str:
        self._fresh += 1
        return f"v{self._fresh}"

    def refer(self, value: object) -> str:
        name = f"r{len(self.names)}"
        self.names[name] = value
        return name

    def compiled(self, head: str, tail: str) -> Callable[..., Any]:
        text = "\n".join([head, *self.lines, f"    {tail}", ""])
        # The text is made of our own lines and of numbers; nothing of a packet ever gets here.
        exec(compile(text, f"<{self.dialect.name} codec>", "exec"), self.names)  # noqa: S102
        made: Callable[..., Any] = self.names["generated"]
        return made


# -- decoders -------------------------------------------------------------------------------------


def reader(dialect: Dialect, *layouts: Layout) -> Callable[[bytes, int], tuple[Any, ...]]:
    """A function of data and position: one value for each layout, and where they end."""
    source = _Source(dialect)
    values = [_read(source, layout) for layout in layouts]
    return source.compiled("def generated(data, at):", f"return {', '.join([*values, 'at'])}")


def _read_unsigned(source: _Source, bits: int) -> str:
    value = source.fresh()
    source.put(f"{value} = data[at]; at += 1")
    if bits > 8:
        for line in source.dialect.read_on_inline(value, bits):
            source.put(line)
    return value


def _read_octets(source: _Source, count: int | str) -> str:
    value = source.fresh()
    source.put(f"end = at + {count}")
    source.put(f"{value} = slice_of(data, at, end); at = end")
    return value


def _read(source: _Source, layout: Layout) -> str:
    """Emit what reads a value; returns the name of the variable that holds it then."""
    put = source.put
    match layout:
        case Integer(bits, signed):
            value = _read_unsigned(source, bits)
            if signed and bits == 8:
                put(f"if {value} > 127: {value} -= 256")
            elif signed:
                put(f"{value} = unzigzag({value})")
        case Flag():
            value = source.fresh()
            put(f"{value} = flag(data[at]); at += 1")
        case Blob(text):
            length = _read_unsigned(source, _LENGTH_BITS)
            value = _read_octets(source, length)
            if text:
                put(f'{value} = {value}.decode("utf-8")')
        case TaggedAddress():
            tag, value = _read_unsigned(source, _TAG_BITS), source.fresh()
            put(f"if {tag} == 0:")
            put(f"    {value} = f'{_FOUR}'; at += 4")
            put(f"elif {tag} == 1:")
            put(f"    {value} = address_text(slice_of(data, at, at + 16)); at += 16")
            put('else: raise ValueError("no version of IP")')
        case Address(kind):
            octets = _read_octets(source, layout.octets)
            value = source.fresh()
            put(f"{value} = {source.refer(kind)}({octets})")
        case Maybe(inner):
            value = source.fresh()
            put(f"{value} = None")
            put("at += 1")
            put("if flag(data[at - 1]):")
            source.depth += 1
            put(f"{value} = {_read(source, inner)}")
            source.depth -= 1
        case Group(inner):
            values = [_read(source, part) for part in inner]
            value = source.fresh()
            put(f"{value} = ({''.join(part + ', ' for part in values)})")
        case Row(inner):
            length = _read_unsigned(source, _LENGTH_BITS)
            items, value = source.fresh(), source.fresh()
            put(f"{items} = []")
            put(f"for _ in range({length}):")
            source.depth += 1
            put(f"{items}.append({_read(source, inner)})")
            source.depth -= 1
            put(f"{value} = tuple({items})")
        case Struct():
            value = _read_struct(source, layout)
    return value


def _read_struct(source: _Source, layout: Struct) -> str:
    values = [_read(source, part) for part in layout.inner]
    value, kind = source.fresh(), layout.kind
    named = dict(zip(layout.names, values, strict=True))
    if not layout.valid_as_decoded:
        arguments = "".join(f", {name}={part}" for name, part in named.items())
        source.put(f"{value} = construct({source.refer(kind)}{arguments})")
        return value
    # The constructor of a frozen dataclass is three times as slow as this.
    source.put(f"{value} = {source.refer(object.__new__)}({source.refer(kind)})")
    for name, part in named.items():
        slot = getattr(kind, name, None)
        if _is_slot(kind, name):
            source.put(f"{source.refer(slot.__set__)}({value}, {part})")  # type: ignore[union-attr]
        else:
            source.put(f"{source.refer(object.__setattr__)}({value}, {name!r}, {part})")
    return value


def _is_slot(kind: type, name: str) -> bool:
    return any(name in getattr(base, "__slots__", ()) for base in kind.__mro__)


# -- encoders -------------------------------------------------------------------------------------


def writer(dialect: Dialect, *layouts: Layout) -> Callable[..., bytes]:
    """A function of one value for each layout: their bytes."""
    source = _Source(dialect)
    arguments = [f"a{at}" for at in range(len(layouts))]
    source.put("out = []")
    for argument, layout in zip(arguments, layouts, strict=True):
        _write(source, layout, argument)
    return source.compiled(f"def generated({', '.join(arguments)}):", 'return b"".join(out)')


def _write(source: _Source, layout: Layout, value: str) -> None:
    put = source.put
    match layout:
        case Integer(8, signed):
            put(f'out.append({value}.to_bytes(1, "little", signed={signed}))')
        case Integer(bits, signed):
            number = f"zigzag({value}, {bits})" if signed else value
            put(f"out.append(write({number}, {bits}))")
        case Flag():
            put(f'out.append(b"\\1" if {value} else b"\\0")')
        case Blob(text):
            held = source.fresh()
            put(
                f'{held} = {value}.encode("utf-8")'
                if text
                else f"{held} = bytes(memoryview({value}))"
            )
            put(f"out.append(write(len({held}), {_LENGTH_BITS}))")
            put(f"out.append({held})")
        case TaggedAddress():
            put(f"out.append(tagged_address({value}))")
        case Address():
            put(f"out.append({value}.packed)")
        case Maybe(inner):
            put(f"if {value} is None:")
            put('    out.append(b"\\0")')
            put("else:")
            source.depth += 1
            put('out.append(b"\\1")')
            _write(source, inner, value)
            source.depth -= 1
        case Group(inner):
            parts = [source.fresh() for _ in inner]
            put(f"({''.join(part + ', ' for part in parts)}) = {value}")
            for part, shape in zip(parts, inner, strict=True):
                _write(source, shape, part)
        case Row(inner):
            item = source.fresh()
            put(f"out.append(write(len({value}), {_LENGTH_BITS}))")
            put(f"for {item} in {value}:")
            source.depth += 1
            _write(source, inner, item)
            source.depth -= 1
        case Struct(_, names, inner):
            for name, shape in zip(names, inner, strict=True):
                _write(source, shape, f"{value}.{name}")


# -- patterns -------------------------------------------------------------------------------------


def pattern(dialect: Dialect, layout: Layout) -> bytes | None:
    """A regular expression of the shortest forms of every value; None where there can be none."""
    match layout:
        case Integer(8, _):
            return b"."
        case Integer(bits, _):
            return b"(?:" + dialect.pattern(bits) + b")"
        case Flag():
            return b"[\\x00\\x01]"
        case TaggedAddress():
            return b"(?:\\x00.{4}|\\x01.{16})"
        case Address():
            return b".{%d}" % layout.octets
        case Maybe(inner):
            held = pattern(dialect, inner)
            return None if held is None else b"(?:\\x00|\\x01" + held + b")"
        case Group(inner):
            return _patterns(dialect, inner)
        case Struct(_, _, inner):
            return _patterns(dialect, inner) if layout.valid_as_decoded else None
        case _:
            return None


def _patterns(dialect: Dialect, layouts: tuple[Layout, ...]) -> bytes | None:
    parts = [pattern(dialect, layout) for layout in layouts]
    held = [part for part in parts if part is not None]
    return b"".join(held) if len(held) == len(parts) else None
