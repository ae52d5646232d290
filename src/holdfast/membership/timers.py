"""What the engine asks to be reminded of. Hand each back to `handle_timer`, late if need be.

Nothing is lost by lateness but time; a timer that never fires is lost for good, and one of them,
`SendIndirectProbe`, is missed aloud (`IncompleteProbeCycle`).

Where several are due at once, fire those of the lower `priority` first: it is what ``<`` compares,
so that a heap of ``(due, timer)`` does it by itself. Only 0 before 1 matters: the second half of
one probe must not come after the beginning of the next. The numbers are the seed's, but for the
last one, which is younger.

The `token` is the engine's, a number that grows whenever earlier timers shall have no meaning any
more; it has eight bits in the crate, and is wider with `Repair.WIDE_TOKENS`. The last two timers
are those of repairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Generic, TypeAlias

from holdfast.membership.identity import T

__all__ = [
    "CallAgain",
    "ChangeSuspectToDown",
    "PeriodicAnnounce",
    "PeriodicAnnounceDown",
    "PeriodicExchange",
    "PeriodicGossip",
    "ProbeRandomMember",
    "RemoveDown",
    "SendIndirectProbe",
    "Timer",
]


class _Prioritised:
    """Timers are compared by priority alone, to sort them; equality is of all fields."""

    __slots__ = ()

    priority: ClassVar[int]

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, _Prioritised):
            return NotImplemented
        return self.priority < other.priority


@dataclass(frozen=True, slots=True)
class SendIndirectProbe(_Prioritised, Generic[T]):
    """The direct answer of `member` should be here by now: if it is not, ask others."""

    priority: ClassVar[int] = 0
    member: T
    token: int


@dataclass(frozen=True, slots=True)
class ProbeRandomMember(_Prioritised):
    """Judge the last probe and begin the next."""

    priority: ClassVar[int] = 1
    token: int


@dataclass(frozen=True, slots=True)
class ChangeSuspectToDown(_Prioritised, Generic[T]):
    """`member` had its time to refute: if its incarnation is still this one, it is down."""

    priority: ClassVar[int] = 2
    member: T
    incarnation: int
    token: int


@dataclass(frozen=True, slots=True)
class PeriodicAnnounce(_Prioritised):
    """Announce to random active members."""

    priority: ClassVar[int] = 3
    token: int


@dataclass(frozen=True, slots=True)
class PeriodicGossip(_Prioritised):
    """Gossip to random active members."""

    priority: ClassVar[int] = 4
    token: int


@dataclass(frozen=True, slots=True)
class RemoveDown(_Prioritised, Generic[T]):
    """Forget that `member` is down. It has no token: it outlives a change of identity."""

    priority: ClassVar[int] = 5
    member: T


@dataclass(frozen=True, slots=True)
class PeriodicAnnounceDown(_Prioritised):
    """Announce to random members that are down: after a partition somebody hears it."""

    priority: ClassVar[int] = 6
    token: int


@dataclass(frozen=True, slots=True)
class PeriodicExchange(_Prioritised):
    """Compare lists with a random member (`Repair.ANTI_ENTROPY`)."""

    priority: ClassVar[int] = 7
    token: int


@dataclass(frozen=True, slots=True)
class CallAgain(_Prioritised):
    """Everybody is lost: call some of those whom one knew (`Repair.ISOLATION_RECOVERY`).

    Attributes:
        token: See above.
        periods: How many periods of the probe were waited for this call.
    """

    priority: ClassVar[int] = 8
    token: int
    periods: int


Timer: TypeAlias = (
    SendIndirectProbe[T]
    | ProbeRandomMember
    | ChangeSuspectToDown[T]
    | PeriodicAnnounce
    | PeriodicGossip
    | RemoveDown[T]
    | PeriodicAnnounceDown
    | PeriodicExchange
    | CallAgain
)
