"""Who stops one attempt after the other. Pure.

One attempt that was stopped is what wake leases are for. Who stops most of them keeps the machine
up for good, and no single attempt shows that: the head of a pipeline that is never done takes a
wake lease for each, and lets go of it each time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from holdfast.wake.model import Cause

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from holdfast.wake.model import Attempt

__all__ = ["Saboteur", "in_a_sentence", "saboteurs"]

# The last attempts that are looked at; who has stopped so many of them, and more than half, is one.
_LAST: Final = 8
_TIMES_MIN: Final = 3
_NAMED_MAX: Final = 3
_COUNTED: Final = frozenset({Cause.WAKE_LEASE, Cause.LISTENER, Cause.BACKEND, Cause.OVERRUN})


@dataclass(frozen=True, slots=True)
class Saboteur:
    """One who stopped attempts.

    Attributes:
        cause: In which way.
        name: Of the wake lease or listener; may be empty.
        by: Who took the wake lease, as far as the kernel vouches for it; may be empty.
        times: How many attempts.
        of: Of how many.
        leases: The numbers of the wake leases, oldest first.
    """

    cause: Cause
    name: str
    by: str
    times: int
    of: int
    leases: tuple[int, ...] = ()


def saboteurs(attempts: Iterable[Attempt]) -> list[Saboteur]:
    """Who has stopped most of the last attempts, the worst first.

    Args:
        attempts: Oldest first, as `Governor.attempts`. One that goes on is not counted, nor one
            that nobody wanted any more.
    """
    last = [each for each in attempts if each.ended_ns is not None and _counts(each)][-_LAST:]
    found: dict[tuple[Cause, str, str], Saboteur] = {}
    for attempt in last:
        stopped: dict[tuple[Cause, str, str], tuple[int, ...]] = {}
        for key, lease in _who(attempt):
            stopped[key] = stopped.get(key, ()) + ((lease,) if lease >= 0 else ())
        for key, leases in stopped.items():
            before = found.get(key) or Saboteur(*key, 0, len(last))
            found[key] = replace(before, times=before.times + 1, leases=before.leases + leases)
    worst = sorted(found.values(), key=lambda each: -each.times)
    enough = [each for each in worst if each.times >= _TIMES_MIN and 2 * each.times > each.of]
    return enough[:_NAMED_MAX]


def in_a_sentence(saboteur: Saboteur, holders: Mapping[int, str]) -> str:
    """The same for people.

    Args:
        saboteur: Who.
        holders: Who was the last to hold a wake lease, by its number, as far as that is known.
    """
    often = f"{saboteur.times} of the last {saboteur.of} attempts"
    match saboteur.cause:
        case Cause.LISTENER:
            return f"Listener {saboteur.name} did not answer in time in {often}."
        case Cause.BACKEND:
            return f"The back-end failed in {often}."
        case Cause.OVERRUN:
            return f"In {often} the machine did not wait for {saboteur.by} {saboteur.name}."
    text = f"{saboteur.by} has taken the wake lease {saboteur.name} in {often}"
    last = Counter(holders[each] for each in saboteur.leases if holders.get(each))
    for holder, times in last.most_common(1):
        which = "each time" if times == len(saboteur.leases) else f"{times} times"
        text += f"; {holder} was the last to hold it, {which}"
    return f"{text}."


def _counts(attempt: Attempt) -> bool:
    causes = {blocker.cause for blocker in attempt.blockers}
    return not causes or bool(causes & _COUNTED)


def _who(attempt: Attempt) -> Iterator[tuple[tuple[Cause, str, str], int]]:
    """Who stopped it, and by which wake lease; -1: by none."""
    leases = {lease.lease_id: lease for lease in attempt.leases}
    for blocker in attempt.blockers:
        if blocker.cause is Cause.WAKE_LEASE:
            lease = leases.get(blocker.subject)
            by = "somebody" if lease is None else str(lease.requester)
            yield (blocker.cause, blocker.name, by), blocker.subject
        elif blocker.cause in _COUNTED:
            detail = blocker.detail if blocker.cause is Cause.OVERRUN else ""
            yield (blocker.cause, blocker.name, detail), -1
