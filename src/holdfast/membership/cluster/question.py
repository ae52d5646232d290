"""Who is there? A question to one member, by somebody who is none.

It disturbs nobody: the asker has no identity, so nobody learns of it, probes it or misses it. Nodes
of the crate do not understand the question.
"""

from __future__ import annotations

import secrets
import socket
import time
from typing import TYPE_CHECKING

from holdfast.durations import seconds
from holdfast.errors import MalformedPacket, Unavailable
from holdfast.membership import talk
from holdfast.membership.addresses import parse_address

if TYPE_CHECKING:
    from datetime import timedelta

    from holdfast.membership.changes import ClusterMember

__all__ = ["look"]

# How long an answer is waited for before the question is asked again.
_PATIENCE_S = 0.3
_LONGEST = 1 << 16


def look(address: str, *, timeout: float | timedelta | None = 2.0) -> list[ClusterMember]:
    """The members that the one at `address` knows, and itself, in the order of their addresses.

    It blocks. Each of several questions that a long list needs may take the whole `timeout`.

    Args:
        address: ``host:port`` of a running member of ours.
        timeout: Seconds to wait for an answer; None: for ever.

    Raises:
        InvalidArgument: It is no address.
        Unavailable: Nobody has answered.
    """
    host, port = parse_address(address)
    limit_s = seconds(timeout, "timeout")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable("this host cannot be found", on=address, hint=str(error)) from error
    family, kind, protocol, _, target = found[0]
    with socket.socket(family, kind, protocol) as asking:
        try:
            asking.connect(target)
        except OSError as error:
            raise Unavailable(f"cannot be reached: {error.strerror}", on=address) from error
        members: dict[str, ClusterMember] = {}
        after, more = "", True
        while more:
            deadline = None if limit_s is None else time.monotonic() + limit_s
            page, more = _page(asking, after, deadline, address)
            if not page or page[-1].address <= after:
                raise Unavailable("an answer that makes no sense", on=address)
            members |= {member.address: member for member in page}
            after = page[-1].address
    return list(members.values())


def _page(
    asking: socket.socket, after: str, deadline: float | None, address: str
) -> tuple[list[ClusterMember], bool]:
    nonce = secrets.randbits(63)
    question = talk.ask(nonce, after)
    refused = False
    while True:
        left = _PATIENCE_S if deadline is None else min(_PATIENCE_S, deadline - time.monotonic())
        if left <= 0:
            why = "nobody listens there" if refused else "no answer"
            raise Unavailable(
                why, on=address, hint="is it the address of a running member of Holdfast?"
            )
        again = time.monotonic() + left
        try:
            asking.send(question)
            while (left := again - time.monotonic()) > 0:
                asking.settimeout(left)
                try:
                    answered, members, more = talk.read_page(asking.recv(_LONGEST))
                except MalformedPacket:
                    continue
                if answered == nonce:
                    return members, more
        except TimeoutError:
            continue
        except OSError:  # nobody listens now; perhaps in a moment
            refused = True
            time.sleep(max(0.0, again - time.monotonic()))
