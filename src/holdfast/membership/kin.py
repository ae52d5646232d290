"""Kin: which members have words that the crate has not, and how they come to know each other.

A member of the crate must never get an item of the engine's own: it would hand it to its
application. So such items go only to kin, and kin make themselves known by bytes that every member
reads and no other one writes: *an update that says of the sender itself what the header says
already*. Nobody has himself in his list, so the crate never sends that; to whoever receives it, it
is old news, without any effect::

    A                                           B
    Ping, update: A is alive   ───────────────▶ A is kin
                               ◀─────────────── Ack, update: B is alive
    B is kin

A `Ping` introduces its sender until the receiver is known to be kin; an `Ack` answers in kind; a
`Feed` introduces to whoever is not known yet. Who sends an item of the engine's own is kin, and so
is he of whom such an item says that he made it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from holdfast.membership.identity import T

if TYPE_CHECKING:
    from random import Random

    from holdfast.membership.member import Members

__all__ = ["Kin"]


class Kin(Generic[T]):
    """The identities that are known to be kin; at most about as many as there are members.

    Args:
        members: Who is there. Whoever is not, is forgotten at times.
    """

    __slots__ = ("_known", "_members")

    def __init__(self, members: Members[T]) -> None:
        self._known: dict[T, None] = {}  # a set whose order is the same in every process
        self._members = members

    def __contains__(self, identity: T) -> bool:
        return identity in self._known

    def __len__(self) -> int:
        return len(self._known)

    def active_besides(self, identity: T) -> int:
        """How many of them are active, but for that one."""
        is_active = self._members.is_active
        return sum(one != identity and is_active(one) for one in self._known)

    def add(self, identity: T) -> None:
        """It has introduced itself."""
        known = self._known
        known[identity] = None
        if len(known) > 2 * self._members.num_active + 16:
            self._known = {one: None for one in known if self._members.is_active(one)}

    def sample(self, wanted: int, rng: Random) -> list[T]:
        """Up to `wanted` of them that are active, at random."""
        active = [one for one in self._known if self._members.is_active(one)]
        return rng.sample(active, min(wanted, len(active)))
