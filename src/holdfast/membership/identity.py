"""Who a member is: an address, and what tells two lives at one address apart.

The engine asks an identity three things, and compares it. Two identities with one `addr` are in
conflict, and only one of them can be a member: ``new.win_addr_conflict(old)`` says which.
`renew` makes the identity under which a member that was declared down comes back; it must win
against the one it replaces, or it would never be let in.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, TypeVar, overload

from holdfast.errors import InvalidArgument
from holdfast.membership.widths import U64, SocketAddr  # noqa: TC001 - the codecs read them

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


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Node:
    """An address of UDP, and a generation that grows with every life at this address.

    On the wire it is a Rust ``struct { addr: SocketAddr, generation: u64 }``, the identity of the
    crate's own agent example. The time of the start in seconds makes a good generation.

    Args:
        ip: An address of IPv4 or IPv6 in text; it is kept in its canonical form.
        port: A port of UDP.
        generation: The greater one wins.
        addr: Both in one, as ``dataclasses.replace`` hands it over; an `ip` or `port` beside it
            counts instead of its half.

    Attributes:
        addr: The pair of both, which ``socket.sendto`` takes.

    Raises:
        InvalidArgument: The address, the port or the generation is none.
        TypeError: There is no address, or no port.
    """

    addr: SocketAddr
    generation: U64

    __match_args__ = ("ip", "port", "generation")

    # A codec checks widths and reads addresses in canonical form: what it has read needs no
    # further check, and is made without calling the constructor.
    decoded_is_valid: ClassVar[bool] = True

    @overload
    def __init__(self, ip: str, port: int, generation: int = 0) -> None: ...

    @overload
    def __init__(
        self,
        ip: str | None = None,
        port: int | None = None,
        generation: int = 0,
        *,
        addr: tuple[str, int],
    ) -> None: ...

    def __init__(
        self,
        ip: str | None = None,
        port: int | None = None,
        generation: int = 0,
        *,
        addr: tuple[str, int] | None = None,
    ) -> None:
        if addr is not None:
            ip = addr[0] if ip is None else ip
            port = addr[1] if port is None else port
        if ip is None or port is None:
            raise TypeError("Node() needs an ip and a port, or addr=(ip, port)")
        try:
            address = ipaddress.ip_address(ip)
        except ValueError as error:
            raise InvalidArgument(
                "no address of IPv4 or IPv6", on=repr(ip), hint="resolve names first"
            ) from error
        if getattr(address, "scope_id", None) is not None:
            raise InvalidArgument(
                "an address with a scope has no meaning on another machine",
                on=repr(ip),
                hint="leave out what follows the %",
            )
        if not 0 <= port <= 0xFFFF:
            raise InvalidArgument("no port", on=str(port), hint="use 0 to 65535")
        if not 0 <= generation <= _U64_MAX:
            raise InvalidArgument("no u64", on=str(generation), hint="use 0 to 2**64 - 1")
        object.__setattr__(self, "addr", (str(address), port))
        object.__setattr__(self, "generation", generation)

    @property
    def ip(self) -> str:
        """The address."""
        return self.addr[0]

    @property
    def port(self) -> int:
        """The port."""
        return self.addr[1]

    def renew(self) -> Node | None:
        """The next generation; None after the last."""
        if self.generation == _U64_MAX:
            return None
        return Node(*self.addr, self.generation + 1)

    def win_addr_conflict(self, other: Node, /) -> bool:
        """The greater generation wins."""
        return self.generation > other.generation

    def __repr__(self) -> str:
        return f"Node({self.ip!r}, {self.port}, {self.generation})"

    def __str__(self) -> str:
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"{host}:{self.port}#{self.generation}"
