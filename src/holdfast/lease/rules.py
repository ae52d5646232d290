"""The rules of the strict layer: what may follow upon what, whatever the store is made of.

Theory of operation
-------------------

Each operation is a function from what the store shows now (a `Record`, or None for a vacancy) to
a `Change`. A store applies it in one step: if its record still *equals* ``change.before``, it
becomes ``change.after``; if not, the store asks again with what it found instead. ::

              claim                        extend (a later end, same holder, same epoch)
    vacant ───────────────▶ held ◀──────────────────────┐
      ▲                      │ └────────────────────────┘
      └──────────────────────┘
        expire (strictly after its end, and not pinned)
        release (same holder, same epoch)

There is no arrow from one holder to another, nor from one epoch to another: a hand-over is a
removal and then a claim. So there is no instant with two holders at the store, whatever clocks do;
and a transaction that locks the record of its holder excludes the hand-over for as long.

Three assumptions, which those who run a store answer for (they are the seed's, the note of the
original lease package):

- **exclusive access**: nobody else writes into the store's records. A foreign removal hands a lease
  over that is still promised. (`Change.before`: nothing is changed that was not seen.)
- **unique writers**: no two store objects write under one id at the same time. With epochs no
  guarantee rests on it any more; it sharpens the comparison and says who wrote. (`extend`)
- **a slow clock**: between two readings the store's clock gains at most the real time between them,
  and one step (`Reading.step_ns`); and a reading is never older than the start of the call.
  (`claim`, `extend`, `expire`; `holdfast.lease.global_clock` sees to the first half.)

Three guarantees, given these:

- **claim**: the lease is the holder's until at least `duration` after the *start* of the call. It
  says nothing of a timely end. (`claim`: the term starts at the latest that the clock can be.)
- **extend**: the same; no promise is ever shortened, and success may mean more than was asked for.
  (`extend`: an earlier end is not written.)
- **expire**: it succeeds only when the clock is strictly after start + duration. (`expired`)

Why the first holds: a claim that began at real time t0 reads g, not before t0, and its term starts
at g + step. Who expires it reads more than g + step + duration, later. The clock went by more than
step + duration between these two readings, so real time went by more than `duration`. An extension
only ever moves the end later, so the argument holds for the last one.

The original lets a term start at g itself. But a clock that is advanced in steps shows at g what
was true some time ago, and the next step adds time from before the claim: up to a whole interval,
and the whole of a stall, if the updater was stopped and the claim came meanwhile. Hence the step in
the start, and the bound on a step.

`StaleRecord` is normal here: the caller's picture was old, or impossible. Look again, and decide
anew.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from holdfast.errors import StaleRecord
from holdfast.lease.record import (
    Reading,
    Record,
    check_duration,
    check_epoch,
    check_instant,
    check_word,
    checked_record,
    owner_text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Change", "Request", "claim", "expire", "expired", "extend", "pin", "release", "unpin"]


class Request(msgspec.Struct, frozen=True):  # made in a third of the time of a dataclass
    """A claim that is well-formed.

    Raises:
        InvalidArgument: The name, the holder, the duration or the facts are none.
    """

    name: str
    holder: str
    duration_ns: int
    owner_json: str

    @classmethod
    def of(
        cls, name: str, holder: str, duration_ns: int, owner: Mapping[str, Any] | None
    ) -> Request:
        """The arguments of `Store.claim`, checked."""
        check_word(name, "name of a lease")
        check_word(holder, "holder")
        check_duration(duration_ns)
        return cls(name, holder, duration_ns, owner_text(owner))


class Change(msgspec.Struct, frozen=True):
    """One step of one lease: if it is still `before`, it becomes `after`. None is a vacancy.

    The whole of `before` is compared. With the epoch alone, whoever expires a lease could remove
    one that has been extended since he looked, and break the promise of the extension.
    """

    before: Record | None
    after: Record | None

    def __post_init__(self) -> None:
        if self.before is not None and self.after is not None:
            assert _ownership(self.before) == _ownership(self.after), "a hand-over in place"

    @property
    def writes(self) -> bool:
        """Whether there is anything to do; if not, the store has nothing to write."""
        return self.before != self.after


def claim(
    current: Record | None,
    request: Request,
    reading: Reading,
    *,
    epoch: int,
    writer: str,
    pins: frozenset[str] = frozenset(),
) -> Change:
    """Take a vacant lease. Guarantee: claim.

    Args:
        current: What the store shows of that name.
        request: What is asked for.
        reading: The store's clock, read after the call began.
        epoch: Never given before in this store, and greater than every earlier one of the name.
        writer: The id of the store object.
        pins: Who has pinned the name, also before anybody held it.

    Raises:
        StaleRecord: There is a record, whosever it is, and even if its end has passed: it must be
            removed first.
    """
    if current is not None:
        raise StaleRecord(
            f"the lease is {current.holder!r}'s, epoch {current.epoch}",
            on=request.name,
            hint="look at records(): extend it if it is yours, or expire it once it may be",
        )
    taken = checked_record(
        request.name,
        request.holder,
        check_epoch(epoch),
        check_instant(reading.latest_ns, "start of a term"),
        request.duration_ns,
        check_word(writer, "writer"),
        reading.era,
        request.owner_json,
        pins,
    )
    return Change(None, taken)


def extend(
    current: Record | None, record: Record, duration_ns: int, reading: Reading, *, writer: str
) -> Change:
    """Promise `duration_ns` from now on. Guarantee: extend.

    Others may have extended the same holding meanwhile: that harms nobody, since it changes no
    ownership and breaks no promise. A lease whose end has passed can still be extended, as long as
    nobody has removed its record.

    Raises:
        StaleRecord: It is not that holder's any more, or not under that epoch.
    """
    check_duration(duration_ns)
    current = _still(current, record)
    if reading.latest_ns + duration_ns <= current.end_in(reading.era):
        # The present promise covers the new one, and nobody can have expired it before the clock
        # passes its end. Writing would shorten it. (Assumption: a slow clock, read now.)
        return Change(current, current)
    later = checked_record(
        current.name,
        current.holder,
        current.epoch,
        check_instant(reading.latest_ns, "start of a term"),
        duration_ns,
        check_word(writer, "writer"),
        reading.era,
        current.owner_json,
        current.pins,
    )
    return Change(current, later)


def expired(record: Record, reading: Reading) -> bool:
    """Whether the clock is strictly after the end of the term. Guarantee: expire.

    Strictly: at the end itself the promise still holds.
    """
    return reading.now_ns > record.end_in(reading.era)


def expire(current: Record | None, expected: Record | str, reading: Reading) -> Change:
    """Remove a lease whose end has passed: anybody may, and nobody needs a lease for it.

    Args:
        current: What the store shows.
        expected: The record that the caller decided upon; or a name, for whatever stands there.
        reading: The store's clock. An old reading is harmless, it only delays.

    Raises:
        StaleRecord: There is none, it is not the one expected in every field, it is pinned, or the
            clock is not past its end.
    """
    name = expected if isinstance(expected, str) else expected.name
    if current is None:
        raise StaleRecord("nobody holds the lease", on=name, hint="claim it")
    if not isinstance(expected, str) and _unpinned(current) != _unpinned(expected):
        raise StaleRecord("the lease has changed", on=name, hint="look at records()")
    if current.pins:
        raise StaleRecord(
            f"the lease is pinned by {', '.join(sorted(current.pins))}",
            on=name,
            hint="it does not expire before the last of them unpins it",
        )
    if not expired(current, reading):
        left = current.end_in(reading.era) - reading.now_ns
        raise StaleRecord(
            f"the lease is {current.holder!r}'s for at least {left} ns more",
            on=name,
            hint="the store's clock must be strictly past its end",
        )
    return Change(current, None)


def release(current: Record | None, record: Record) -> Change:
    """Give a lease back before its end; a pin does not keep its holder from that.

    If it is that holder's no more, under that epoch, then there is nothing to give back.
    """
    if current is None or not _same_holding(current, record):
        return Change(current, current)
    return Change(current, None)


def pin(pins: frozenset[str], by: str) -> frozenset[str]:
    """Forbid the expiry in the name of `by`, once or often; a vacancy can be pinned too."""
    return pins | {check_word(by, "entity that pins")}


def unpin(pins: frozenset[str], by: str) -> frozenset[str]:
    """Take back what `by` has forbidden. With the last pin gone, an end that has passed counts."""
    return pins - {check_word(by, "entity that pins")}


def _still(current: Record | None, record: Record) -> Record:
    if current is None:
        raise StaleRecord(
            f"the lease is not {record.holder!r}'s any more: it was removed",
            on=record.name,
            hint="claim it anew; what is fenced by the old epoch must not go on",
        )
    if not _same_holding(current, record):
        raise StaleRecord(
            f"the lease is {current.holder!r}'s, epoch {current.epoch}, "
            f"and not {record.holder!r}'s, epoch {record.epoch}",
            on=record.name,
            hint="look at records(); what is fenced by the old epoch must not go on",
        )
    return current


def _same_holding(one: Record, other: Record) -> bool:
    return one.epoch == other.epoch and one.holder == other.holder and one.name == other.name


def _ownership(record: Record) -> tuple[str, str, int, str]:
    return (record.name, record.holder, record.epoch, record.owner_json)


def _unpinned(record: Record) -> Record:
    # Pins are others' business, and checked by themselves: they do not make a picture old.
    return replace(record, pins=frozenset())
