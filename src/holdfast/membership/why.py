"""What this member knows about another one, and since when: an account for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.membership.addresses import address_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.membership.identity import Node
    from holdfast.membership.member import Member
    from holdfast.membership.roster import Entry

__all__ = ["Why", "account"]

_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Why:
    """One member, and how it came to stand where it does.

    Attributes:
        name: What it calls itself; None: it has not said so.
        address: ``host:port``.
        generation: Which of its lives is known.
        state: "alive", "suspect" or "down".
        incarnation: How often it has refuted; None: it is down.
        heard_s: Seconds since a packet came from its address; None: since it was last up, never.
        history: What became of it, each with the seconds that have passed since, the latest last.
    """

    name: str | None
    address: str
    generation: int
    state: str
    incarnation: int | None
    heard_s: float | None
    history: tuple[tuple[float, str], ...]

    def __str__(self) -> str:
        heard = "never heard from" if self.heard_s is None else f"heard {self.heard_s:.1f} s ago"
        lines = [f"{self.name or self.address} at {self.address} is {self.state}, {heard}"]
        if self.incarnation:
            lines.append(f"  it has refuted {self.incarnation} suspicions or so")
        lines += [f"  {ago:.1f} s ago: {text}" for ago, text in self.history]
        return "\n".join(lines)


def account(
    entries: Iterable[Entry], members: Iterable[Member[Node]], now_ns: int
) -> tuple[Why, ...]:
    """Tell of these entries what they and the engine know of them."""
    known = {member.identity.addr: member for member in members}
    told = []
    for entry in entries:
        member = known.get(entry.node.addr)
        told.append(
            Why(
                entry.name,
                address_of(entry.node),
                entry.node.generation,
                "down" if member is None else member.state.name.lower(),
                None if member is None else member.incarnation,
                None if entry.heard_ns is None else (now_ns - entry.heard_ns) / _S,
                tuple(((now_ns - at) / _S, text) for at, text in entry.history),
            )
        )
    return tuple(told)
