"""Addresses as people write them."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from holdfast.errors import InvalidArgument

if TYPE_CHECKING:
    from holdfast.membership.identity import Node

__all__ = ["address_of", "numeric", "parse_address"]


def address_of(node: Node) -> str:
    """``host:port``, with brackets around an address of IPv6."""
    return str(node).partition("#")[0]


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[address of IPv6]:port``; the host may be a name.

    Raises:
        InvalidArgument: It is neither.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= 0xFFFF):
        raise InvalidArgument(
            "no address", on=repr(text), hint="write host:port, with [] around one of IPv6"
        )
    return host, int(port)


def numeric(host: str, port: int) -> tuple[tuple[str, int], ...]:
    """The address, in its canonical form; nothing if the host is a name, to be looked up."""
    try:
        return ((str(ipaddress.ip_address(host)), port),)
    except ValueError:
        return ()
