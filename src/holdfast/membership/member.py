"""Members: what is known of each, what an update changes, and how some of them are picked.

A member is Alive, Suspect or Down, at an incarnation that only the member itself raises. Alive and
Suspect members are *active*. Down is the end of an identity::

     Alive(i > c)                                Suspect(i > c)
      ┌───────┐         Suspect(i >= c)           ┌───────┐
      └──▶  ALIVE  ─────────────────────────▶  SUSPECT ◀──┘
              │    ◀─────────────────────────     │
              │           Alive(i > c)            │
              └───────────▶  DOWN  ◀──────────────┘
                     Down, at any incarnation

`ACCEPTS` is that drawing as a table: ``i`` is the incarnation of the update, ``c`` the one known.
An update that is accepted sets both state and incarnation.

Members are kept by address, one for each. Where an update's identity differs from the one known at
its address, the two are in conflict: the known one wins and nothing changes (`Conflict.LOST`), or
the new one takes its place, state and all (`Conflict.REPLACED`).

Sources: SWIM, section 4.2; the specification of the crate's behaviour, 1.1, 1.2 and 1.4.
"""

from __future__ import annotations

import enum
import operator
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

from holdfast.membership.identity import T

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from random import Random

__all__ = [
    "ACCEPTS",
    "INCARNATION_MAX",
    "Conflict",
    "Member",
    "Members",
    "State",
    "Summary",
]

INCARNATION_MAX = 0xFFFF

# How many picks may miss, for each that is wanted, before the whole list is gone through.
_MISSES = 8
# The settled set may hold so many entries for each member, and as many again as `_SETTLED_MIN`.
_SETTLED_PER_MEMBER = 4
_SETTLED_MIN = 1024


class State(enum.IntEnum):
    """What is known of a member; the numbers are the tags on the wire."""

    ALIVE = 0
    SUSPECT = 1
    DOWN = 2


_ALIVE, _DOWN = State.ALIVE, State.DOWN


class Member(NamedTuple, Generic[T]):
    """One member at one instant. The same triple is an update on the wire."""

    identity: T
    incarnation: int
    state: State

    @property
    def active(self) -> bool:
        """Alive or Suspect."""
        return self.state is not State.DOWN


def _always(_new: int, _known: int) -> bool:
    return True


def _never(_new: int, _known: int) -> bool:
    return False


# ACCEPTS[known state][state of the update](incarnation of the update, known incarnation)
ACCEPTS: tuple[tuple[Callable[[int, int], bool], ...], ...] = (
    (operator.gt, operator.ge, _always),
    (operator.gt, operator.gt, _always),
    (_never, _never, _never),
)


class Conflict(enum.Enum):
    """How an update fared whose address is known under another identity."""

    NONE = "none"  # it was not
    LOST = "lost"
    FAILED_CONDITION = "failed condition"
    REPLACED = "replaced"


class Summary(NamedTuple, Generic[T]):
    """What an update has done to the list.

    Attributes:
        active: Whether the record of that address is active now.
        applied: Whether anything was changed.
        turned: Whether the set of active members was changed.
        conflict: How a conflict of identities went.
        replaced: The identity that had to go, if one had.
    """

    active: bool
    applied: bool
    turned: bool
    conflict: Conflict = Conflict.NONE
    replaced: T | None = None


class Members(Generic[T]):
    """All that one member knows of the others; itself is not among them.

    What is known of a member is the last update that was accepted: one object, which the list keeps
    as it is. Look-up by address and an update cost O(1); a pick of a few costs as much as it has
    to, mostly O(1) for each; removal is O(n).

    Attributes:
        num_active: How many are Alive or Suspect.
        settled: Encoded updates of which it is known that they would change nothing: each says
            Alive, and the list said exactly that when it was added. Whatever comes later to the
            same identity keeps it so: incarnations of an active member only grow, and Down is
            final. It ends with the record itself, so the set is emptied then. See `settle`.
        version: Grows with every change.
    """

    __slots__ = ("_by_addr", "_cursor", "_order", "_rng", "num_active", "settled", "version")

    def __init__(self, rng: Random) -> None:
        self._by_addr: dict[Hashable, Member[T]] = {}
        self._order: list[Hashable] = []
        self._cursor = 0
        self._rng = rng
        self.num_active = 0
        self.settled: set[bytes] = set()
        self.version = 0

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Member[T]]:
        return iter(self._by_addr.values())

    def get(self, addr: Hashable) -> Member[T] | None:
        """What is known of that address."""
        return self._by_addr.get(addr)

    def is_active(self, identity: T) -> bool:
        """Whether exactly this identity is an active member."""
        known = self._by_addr.get(identity.addr)
        return known is not None and known.state is not _DOWN and known.identity == identity

    # -- updates ----------------------------------------------------------------------------------

    def apply(self, update: Member[T], addr: Hashable = None) -> Summary[T]:
        """Take an update in, whether its address is known or not; `addr` is its address."""
        if addr is None:
            addr = update.identity.addr
        known = self._by_addr.get(addr)
        if known is not None:
            return self._change(addr, known, update)
        self._by_addr[addr] = update
        self.version += 1
        order = self._order
        order.append(addr)
        # A random place, so that probes do not follow the order of arrival.
        at = int(self._rng.random() * len(order))
        order[at], order[-1] = addr, order[at]
        if update.state is _DOWN:
            return _NEW_DOWN
        self.num_active += 1
        return _NEW_ACTIVE

    def apply_existing(
        self, update: Member[T], condition: Callable[[Member[T]], bool] | None = None
    ) -> Summary[T] | None:
        """Take an update in if its address is known and what is known fulfils `condition`.

        Returns:
            None if the address is not known.
        """
        addr = update.identity.addr
        known = self._by_addr.get(addr)
        if known is None:
            return None
        return self._change(addr, known, update, condition)

    def _change(
        self,
        addr: Hashable,
        known: Member[T],
        update: Member[T],
        condition: Callable[[Member[T]], bool] | None = None,
    ) -> Summary[T]:
        before, was, was_state = known
        identity, incarnation, state = update
        was_active = was_state is not _DOWN
        if before is not identity and before != identity:
            if before.win_addr_conflict(identity):
                return Summary(was_active, applied=False, turned=False, conflict=Conflict.LOST)
            if condition is not None and not condition(known):
                return Summary(
                    was_active, applied=False, turned=False, conflict=Conflict.FAILED_CONDITION
                )
            self._by_addr[addr] = update
            self.version += 1
            self.settled.clear()
            is_active = state is not _DOWN
            self.num_active += is_active - was_active
            return Summary(
                is_active,
                applied=True,
                turned=is_active != was_active,
                conflict=Conflict.REPLACED,
                replaced=before,
            )
        if (condition is not None and not condition(known)) or not ACCEPTS[was_state][state](
            incarnation, was
        ):
            return _SAME_ACTIVE if was_active else _SAME_DOWN
        self._by_addr[addr] = update
        self.version += 1
        if state is _DOWN:
            self.num_active -= 1  # it was active, or the table had refused
            return _TURNED_DOWN
        return _STILL_ACTIVE

    def remove_if_down(self, identity: T) -> bool:
        """Forget exactly this identity, if it is down."""
        addr = identity.addr
        known = self._by_addr.get(addr)
        if known is None or known.state is not _DOWN or known.identity != identity:
            return False
        self.forget(addr)
        return True

    def forget(self, addr: Hashable) -> None:
        """Forget whoever is known of that address."""
        known = self._by_addr.pop(addr, None)
        if known is None:
            return
        self.num_active -= known.state is not _DOWN
        self.version += 1
        order = self._order
        order[order.index(addr)] = order[-1]
        order.pop()
        self.settled.clear()

    def settle(self, update: Member[T], encoded: bytes, summary: Summary[T]) -> None:
        """Remember that these bytes, which say `update`, change nothing more, if that is so.

        Only what says Alive about a member that is exactly that can settle; a suspicion has work
        to do each time it is heard.
        """
        if update.state is _ALIVE and (
            summary.applied or self._by_addr.get(update.identity.addr) == update
        ):
            settled = self.settled
            if len(settled) >= _SETTLED_PER_MEMBER * len(self._order) + _SETTLED_MIN:
                settled.clear()
            settled.add(encoded)

    # -- picks ------------------------------------------------------------------------------------

    def next_to_probe(self) -> Member[T] | None:
        """The next active member, in rounds over all of them; each round in a new order."""
        order, by_addr = self._order, self._by_addr
        if self._cursor >= len(order):
            self._rng.shuffle(order)
            self._cursor = 0
        start = self._cursor
        for at in range(start, len(order)):
            member = by_addr[order[at]]
            if member.state is not _DOWN:
                self._cursor = at + 1
                return member
        for at in range(start):
            member = by_addr[order[at]]
            if member.state is not _DOWN:
                self._cursor = len(order)  # this round is over: shuffle at the next call
                return member
        return None

    def sample_active(
        self, wanted: int, eligible: Callable[[T], bool] | None = None
    ) -> list[Member[T]]:
        """Up to `wanted` different active members, all sets and orders of them equally likely."""
        if eligible is None:
            return self._sample(wanted, lambda member: member.state is not _DOWN)
        return self._sample(
            wanted, lambda member: member.state is not _DOWN and eligible(member.identity)
        )

    def sample_down(self, wanted: int) -> list[Member[T]]:
        """Up to `wanted` different members that are down."""
        return self._sample(wanted, lambda member: member.state is _DOWN)

    def _sample(self, wanted: int, fits: Callable[[Member[T]], bool]) -> list[Member[T]]:
        # Picks at random until there are enough is as fair as a pass over the whole list, and much
        # quicker where a few of many are wanted. If too many miss, it begins again by a pass.
        order, by_addr, random = self._order, self._by_addr, self._rng.random
        size = len(order)
        if 4 * wanted < size:
            picked: dict[int, Member[T]] = {}
            for _ in range(_MISSES * wanted):
                if len(picked) == wanted:
                    break
                at = int(random() * size)
                member = by_addr[order[at]]
                if at not in picked and fits(member):
                    picked[at] = member
            if len(picked) == wanted:
                return list(picked.values())
        fitting = [member for member in by_addr.values() if fits(member)]
        return self._rng.sample(fitting, min(wanted, len(fitting)))


# The summaries that need no details, made once.
_NEW_ACTIVE: Summary[Any] = Summary(active=True, applied=True, turned=True)
_NEW_DOWN: Summary[Any] = Summary(active=False, applied=True, turned=False)
_STILL_ACTIVE: Summary[Any] = Summary(active=True, applied=True, turned=False)
_TURNED_DOWN: Summary[Any] = Summary(active=False, applied=True, turned=True)
_SAME_ACTIVE: Summary[Any] = Summary(active=True, applied=False, turned=False)
_SAME_DOWN: Summary[Any] = Summary(active=False, applied=False, turned=False)
