"""One socket of UDP that never blocks and never raises: what goes wrong is counted.

A datagram may be lost anyway; that the system refuses it (no route, no buffer, nobody there) is one
more way to lose it. asyncio's own datagram endpoint reads one datagram in each round of the loop;
reading as many as have come costs a tenth of that, which is why this is a plain socket.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from holdfast.errors import InvalidArgument, NotPermitted, Unavailable
from holdfast.membership.addresses import numeric, parse_address

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections import Counter

__all__ = ["Udp", "is_loopback", "is_wildcard", "outgoing", "resolve"]

# As many bytes as a burst of packets of a large cluster needs; the system may give less.
_RECEIVE_BUFFER = 1 << 20
_LONGEST = 1 << 16
# Nobody is there, by RFC 5737 and RFC 3849. Connecting a socket of UDP sends nothing.
_NOWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}


class Udp:
    """A bound socket.

    Args:
        address: A numeric address and a port; port 0: any that is free.
        counts: Where errors are counted, as ``send_ENETUNREACH`` and so on.

    Raises:
        InvalidArgument: This machine has no such address.
        NotPermitted: The port needs more rights.
        Unavailable: The port is taken.
    """

    def __init__(self, address: tuple[str, int], counts: Counter[str]) -> None:
        self._counts = counts
        v6 = ":" in address[0]
        self._socket = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.settimeout(0)
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            self._socket.bind(address)
        except OSError as error:
            self._socket.close()
            raise _bind_error(error, address) from error
        host, port = self._socket.getsockname()[:2]
        self.address: tuple[str, int] = (host, port)

    def fileno(self) -> int:
        """The descriptor, for an event loop."""
        return self._socket.fileno()

    def receive(self) -> tuple[bytes, tuple[str, int]] | None:
        """The next datagram and where it came from; None: there is none, or it was an error."""
        try:
            data, source = self._socket.recvfrom(_LONGEST)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            self._count("receive", error)
            return None
        return data, source[:2]

    def send(self, data: bytes, to: tuple[str, int]) -> None:
        """Send a datagram, if the system takes it."""
        try:
            self._socket.sendto(data, to)
            self._counts["sent"] += 1
        except OSError as error:
            self._count("send", error)
        except OverflowError:
            self._counts["send_EINVAL"] += 1  # a port that is none

    def _count(self, what: str, error: OSError) -> None:
        self._counts[f"{what}_{errno.errorcode.get(error.errno or 0, 'error')}"] += 1

    def close(self) -> None:
        """Give the port back. Closing twice is harmless."""
        self._socket.close()


def _bind_error(
    error: OSError, address: tuple[str, int]
) -> InvalidArgument | NotPermitted | Unavailable:
    on = f"{address[0]}:{address[1]}"
    if error.errno == errno.EADDRNOTAVAIL:
        return InvalidArgument("this machine has no such address", on=on, hint="ip address")
    if error.errno in (errno.EACCES, errno.EPERM):
        return NotPermitted("this port needs more rights", on=on, hint="use one from 1024 on")
    return Unavailable(
        f"cannot bind: {error.strerror}",
        on=on,
        hint="choose another port, or 0 for any that is free",
    )


def is_loopback(host: str) -> bool:
    """Whether a numeric address is reached from this machine only."""
    return ipaddress.ip_address(host).is_loopback


async def resolve(loop: AbstractEventLoop, text: str, *, like: str = "") -> list[tuple[str, int]]:
    """The addresses of ``host:port``; none if it cannot be found.

    Args:
        loop: Whose threads do it.
        text: The host may be a name.
        like: Only addresses of the family of this one; empty: any.

    Raises:
        InvalidArgument: It is no address.
    """
    host, port = parse_address(text)
    family = socket.AF_UNSPEC
    if like:
        family = socket.AF_INET6 if ":" in like else socket.AF_INET
    try:
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return []
    # An address with a scope has no meaning on another machine.
    return [address for *_, (name, *_) in found for address in numeric(str(name), port)]


def is_wildcard(host: str) -> bool:
    """Whether a numeric address stands for all of this machine's."""
    return ipaddress.ip_address(host).is_unspecified


def outgoing(bound: str, seeds: list[tuple[str, int]]) -> str:
    """The address from which this machine sends to a seed, or else to a stranger.

    Args:
        bound: Of which family.
        seeds: Whom to reach; nothing is sent to them.

    Raises:
        Unavailable: There is no way to anybody.
    """
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    for target in [*seeds, (_NOWHERE[family], 9)]:
        with socket.socket(family, socket.SOCK_DGRAM) as probe, suppress(OSError):
            probe.connect(target)
            return str(probe.getsockname()[0])
    raise Unavailable(
        "which address of this machine do others reach?",
        on=bound,
        hint="say so with advertise=, or bind to one address",
    )
