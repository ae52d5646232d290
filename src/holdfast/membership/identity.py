"""Who a member is: an address, and what tells two lives at one address apart.

The engine asks an identity three things, and compares it. Two identities with one `addr` are in
conflict, and only one of them can be a member: ``new.win_addr_conflict(old)`` says which.
`renew` makes the identity under which a member that was declared down comes back; it must win
against the one it replaces, or it would never be let in.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, TypeVar

from holdfast.errors import InvalidArgument
from holdfast.membership.widths import U16, U64, IpAddr  # noqa: TC001 - the codecs read them

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["Identity", "Node", "T"]

_U64_MAX = 2**64 - 1


class Identity(Protocol):
    """What the engine asks of an identity. Immutable, with equality and a hash.

    A frozen dataclass is the natural choice, and what the codecs of this package understand.
    """

    @property
    def addr(self) -> Hashable:
        """Where to send packets to; members are kept by it, one for each address."""
        ...

    def renew(self) -> Self | None:
        """The identity to come back with after being declared down; None: there is none."""
        ...

    def win_addr_conflict(self, other: Self, /) -> bool:
        """Whether this identity, and not `other` of the same address, is the present one."""
        ...


T = TypeVar("T", bound=Identity)


@dataclass(frozen=True, slots=True)
class Node:
    """An address of UDP, and a generation that grows with every life at this address.

    On the wire it is a Rust ``struct { addr: SocketAddr, generation: u64 }``, the identity of the
    crate's own agent example. The time of the start in seconds makes a good generation.

    Args:
        ip: An address of IPv4 or IPv6 in text; it is kept in its canonical form.
        port: A port of UDP.
        generation: The greater one wins.

    Raises:
        InvalidArgument: The address, the port or the generation is none.
    """

    ip: IpAddr
    port: U16
    generation: U64 = 0

    # A codec checks widths and reads addresses in canonical form: what it has read needs no
    # further check, and is made without calling the constructor.
    decoded_is_valid: ClassVar[bool] = True

    def __post_init__(self) -> None:
        try:
            ip = ipaddress.ip_address(self.ip)
        except ValueError as error:
            raise InvalidArgument(
                "no address of IPv4 or IPv6", on=repr(self.ip), hint="resolve names first"
            ) from error
        if getattr(ip, "scope_id", None) is not None:
            raise InvalidArgument(
                "an address with a scope has no meaning on another machine",
                on=repr(self.ip),
                hint="leave out what follows the %",
            )
        if not 0 <= self.port <= 0xFFFF:
            raise InvalidArgument("no port", on=str(self.port), hint="use 0 to 65535")
        if not 0 <= self.generation <= _U64_MAX:
            raise InvalidArgument("no u64", on=str(self.generation), hint="use 0 to 2**64 - 1")
        object.__setattr__(self, "ip", str(ip))

    @property
    def addr(self) -> tuple[str, int]:
        """The pair that ``socket.sendto`` takes."""
        return (self.ip, self.port)

    def renew(self) -> Node | None:
        """The next generation; None after the last."""
        if self.generation == _U64_MAX:
            return None
        return Node(self.ip, self.port, self.generation + 1)

    def win_addr_conflict(self, other: Node, /) -> bool:
        """The greater generation wins."""
        return self.generation > other.generation

    def __str__(self) -> str:
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"{host}:{self.port}#{self.generation}"
