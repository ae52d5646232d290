"""The shape of a type on the wire, read from its annotations.

================================  ================================================================
annotation                        on the wire
================================  ================================================================
``U8`` … ``U128``, ``I8`` …       an integer of that width
``bool``                          one byte, 0 or 1
``str``, ``bytes``                a length, and so many bytes (text is UTF-8)
``IpAddr``                        a tag (0: four octets, 1: sixteen) and the octets; text in Python
``IPv4Address``, ``IPv6Address``  four or sixteen octets, with no tag
``X | None``                      0, or 1 and an X
``tuple[X, Y]``                   an X and a Y
``tuple[X, ...]``                 a length, and so many X
a frozen dataclass                its fields in their order
================================  ================================================================

A bare ``int`` has no width, and is refused.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from holdfast.errors import InvalidArgument

__all__ = [
    "Address",
    "Blob",
    "Flag",
    "Group",
    "Integer",
    "Layout",
    "Maybe",
    "Row",
    "Struct",
    "TaggedAddress",
    "layout_of",
]


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer of so many bits."""

    bits: int
    signed: bool


@dataclass(frozen=True, slots=True)
class Flag:
    """A bool."""


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes, or text."""

    text: bool


@dataclass(frozen=True, slots=True)
class TaggedAddress:
    """An IP address of either version, as text."""


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address of one version, as an object of `ipaddress`."""

    kind: type[ipaddress.IPv4Address | ipaddress.IPv6Address]

    @property
    def octets(self) -> int:
        """How long it is."""
        return 4 if self.kind is ipaddress.IPv4Address else 16


@dataclass(frozen=True, slots=True)
class Maybe:
    """A value or None."""

    inner: Layout


@dataclass(frozen=True, slots=True)
class Group:
    """A tuple of fixed length."""

    inner: tuple[Layout, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A tuple of any length."""

    inner: Layout


@dataclass(frozen=True, slots=True)
class Struct:
    """A dataclass."""

    kind: type
    names: tuple[str, ...]
    inner: tuple[Layout, ...]

    @property
    def valid_as_decoded(self) -> bool:
        """Whether any values of the right types make a valid one, so that none is refused.

        It is so where the constructor only stores its arguments, or where the class itself says so.
        """
        if vars(self.kind).get("decoded_is_valid", False):
            return True
        return _params(self.kind).init and not hasattr(self.kind, "__post_init__")


Layout: TypeAlias = Integer | Flag | Blob | TaggedAddress | Address | Maybe | Group | Row | Struct


def layout_of(kind: type) -> Layout:
    """The layout of a frozen dataclass.

    Raises:
        InvalidArgument: It is none, or a field has no form on the wire.
    """
    if not dataclasses.is_dataclass(kind):
        raise InvalidArgument("a codec is made for a frozen dataclass", on=repr(kind))
    return _of(kind, kind.__qualname__, ())


def _of(hint: Any, where: str, within: tuple[type, ...]) -> Layout:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _annotated(hint, where, within)
    if hint is bool:
        return Flag()
    if hint in (str, bytes):
        return Blob(text=hint is str)
    if hint in (ipaddress.IPv4Address, ipaddress.IPv6Address):
        return Address(hint)
    if origin in (typing.Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        if len(inner) == 1 and len(arguments) == 2:
            return Maybe(_of(inner[0], where, within))
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return _row(_of(arguments[0], where, within), where)
        return Group(tuple(_of(argument, where, within) for argument in arguments))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _struct(hint, where, within)
    hint_to_user = "say how wide it is: U16, I64, …" if hint is int else "see codec.layout"
    raise InvalidArgument(f"{hint!r} has no form on the wire", on=where, hint=hint_to_user)


def _annotated(hint: Any, where: str, within: tuple[type, ...]) -> Layout:
    base, *words = typing.get_args(hint)
    for word in words:
        if base is str and word == "ip":
            return TaggedAddress()
        if base is int and word in _WIDTHS:
            return _WIDTHS[word]
    return _of(base, where, within)


def _row(inner: Layout, where: str) -> Row:
    # A length of 2**64 that needs no bytes would keep the decoder busy for ever.
    if _least(inner) == 0:
        raise InvalidArgument("a row of things that take no bytes", on=where)
    return Row(inner)


def _struct(kind: type, where: str, within: tuple[type, ...]) -> Struct:
    if kind in within:
        raise InvalidArgument("a type within itself has no fixed layout", on=where)
    if not _params(kind).frozen:
        raise InvalidArgument("identities do not change: use frozen=True", on=where)
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = dataclasses.fields(kind)
    for field in fields:
        if not field.init:
            raise InvalidArgument("a field that is not of the constructor", on=field.name)
    return Struct(
        kind,
        tuple(field.name for field in fields),
        tuple(_of(hints[field.name], f"{where}.{field.name}", (*within, kind)) for field in fields),
    )


def _params(kind: type) -> Any:
    return vars(kind)["__dataclass_params__"]  # mypy does not know it as an attribute


def _least(layout: Layout) -> int:
    """How many bytes it takes at least."""
    match layout:
        case Group(inner) | Struct(_, _, inner):
            return sum(map(_least, inner))
        case _:
            return 1


_WIDTHS = {
    f"{letter}{bits}": Integer(bits, signed=letter == "i")
    for letter in "ui"
    for bits in (8, 16, 32, 64, 128)
}
