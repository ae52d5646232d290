"""What a wire format decides: how integers look. All else is the same for bincode and postcard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Dialect", "unzigzag", "zigzag"]


class Dialect(Protocol):
    """The integers of one wire format. Widths are in bits: 16, 32, 64 or 128; bytes are bytes."""

    @property
    def name(self) -> str:
        """What to call it."""
        ...

    def write(self, value: int, bits: int) -> bytes:
        """The shortest form of an unsigned integer.

        Raises:
            ValueError: It is negative or wider than `bits`.
        """
        ...

    @property
    def read_on(self) -> Callable[..., tuple[int, int]]:
        """A function that `read_on_inline` may call by that name."""
        ...

    def read_on_inline(self, value: str, bits: int) -> list[str]:
        """Lines of code that read the rest of an integer, if its first byte says that it has more.

        The variable named `value` holds the first byte before, and the integer after. The lines use
        ``data`` and ``at``, may call ``unpack_2`` and ``unpack_4`` (little endian), and raise
        IndexError or struct.error where the data ends too early, ValueError where there is no
        integer, or one wider than `bits`.
        """
        ...

    def pattern(self, bits: int) -> bytes:
        """A regular expression of exactly the shortest forms of all integers of that width."""
        ...


def zigzag(value: int, bits: int) -> int:
    """A signed integer as an unsigned one: 0, -1, 1, -2 become 0, 1, 2, 3, and so on.

    Raises:
        ValueError: It is wider than `bits`.
    """
    if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        raise ValueError(f"{value} does not fit into {bits} bits")
    return value << 1 if value >= 0 else (-value << 1) - 1


def unzigzag(value: int) -> int:
    """The opposite of `zigzag`."""
    return (value >> 1) ^ -(value & 1)
