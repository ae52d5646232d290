"""What the engine asks of a codec.

A codec knows how identities, members and headers look as bytes. The frame around them (the count
of the updates, the lengths of the items) is the engine's, and the same for every codec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from holdfast.membership.identity import T

if TYPE_CHECKING:
    from holdfast.membership.member import Member
    from holdfast.membership.messages import Header

__all__ = ["Codec"]


class Codec(Protocol[T]):
    """Bytes of headers and of members. Pure and total: it raises what is said here, nothing else.

    What is decoded here may be shared between engines: it is immutable.
    """

    def encode_header(self, header: Header[T], /) -> bytes:
        """A header as bytes.

        Raises:
            EncodeFailed: A value has no form on the wire.
        """
        ...

    def encode_member(self, member: Member[T], /) -> bytes:
        """A member as bytes.

        Raises:
            EncodeFailed: A value has no form on the wire.
        """
        ...

    def decode_header(self, data: bytes, /) -> tuple[Header[T], int]:
        """The header at the beginning of `data`, and where it ends.

        Raises:
            MalformedPacket: There is none.
        """
        ...

    def decode_members(self, data: bytes, at: int, count: int, /) -> tuple[list[Member[T]], int]:
        """The `count` members that begin at `at`, and where the last one ends.

        Raises:
            MalformedPacket: There are not so many.
        """
        ...

    def split_members(self, data: bytes, at: int, count: int, /) -> tuple[list[bytes], int] | None:
        """The same members, each as its bytes, without looking into them.

        A codec that cannot do it quickly, or finds something unusual in them, returns None, and
        the engine decodes them. What it does return, `decode_member` reads without fail, and
        `encode_member` makes the same bytes of it again.
        """
        ...

    def decode_member(self, data: bytes, /) -> Member[T]:
        """One of the members that `split_members` has found."""
        ...
