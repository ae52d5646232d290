"""What is done with a store to get what people ask for: claims that wait, releases, vacancies.

A script is a generator. It yields what it wants done, and whoever drives it sends the result, or
throws the exception; it knows neither threads nor clocks. The blocking driver (``leases.py``), the
asyncio one (``async_leases.py``) and the simulator run the same scripts. ::

    yields                driver does                               sends
    ------                -----------                               -----
    Now()                 look at CLOCK_BOOTTIME                    int nanoseconds
    Call(name, arguments) call that operation of the store          what it returned
    Wait(name, limit_ns)  wait until that lease has changed         anything
    Report(record)        tell the user whom it waits for           anything

The way of a claim::

              ┌──────────────── vacant ◀──────────────┐
              ▼                                       │
           claim ── held by somebody ──▶ look ── our own ──▶ extend ──▶ yes
              │                            │
             yes                     somebody else's
                                           │ its end has passed: expire it, and claim
                                           │ not yet: wait for a change, or for its end
                                           ▼
                                    the wait is over: ClaimDenied

Of each outcome only what is certain is inferred. An *unknown* claim may have succeeded, or may do
so when it arrives: the next look tells, unless nobody holds the lease then, and a claim tells that.
If the wait is over, and the last look has not shown that it is somebody else's, the caller gets
`OutcomeUnknown`, never `ClaimDenied`. (A claim that arrives after that look is nobody's: no keeper
renews it, and it lapses.)

Source: the original's claim-or-extend (its lease manager, 10 attempts), and what it left out: it
denied at once where a wait would have helped, and took every time-out for a failure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from holdfast.errors import ClaimDenied, OutcomeUnknown, StaleRecord, Unavailable

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from holdfast.lease.record import Record

__all__ = [
    "Call",
    "Claimed",
    "Effect",
    "Now",
    "Report",
    "Script",
    "Wait",
    "await_vacancy",
    "claim",
    "expire_overdue",
    "release",
]

# Where nothing tells of a change but a look, or the store is away: how long between two looks,
# doubled each time.
PAUSE_NS_MIN = 20_000_000
PAUSE_NS_MAX = 1_000_000_000
PAUSE_NS_FLOOR = 1_000_000
# Rivals may be faster several times, but not for ever: then there is no answer but "try again",
# or a pause if there is time to wait.
ATTEMPTS_MAX = 10
RELEASE_ATTEMPTS = 3
EXPIRE_AT_ONCE = 100


class Now(msgspec.Struct, frozen=True):
    """Wanted: CLOCK_BOOTTIME, in nanoseconds."""


class Call(msgspec.Struct, frozen=True):
    """Wanted: the result of an operation of the store, or its exception."""

    operation: str
    arguments: tuple[Any, ...] = ()
    owner: Mapping[str, Any] | None = None  # the keyword argument of a claim


class Wait(msgspec.Struct, frozen=True):
    """Wanted: a pause until the lease has another record than `seen`, or time is up.

    With no name, a plain pause. It may end early at any time, for no reason. `seen` is part of it,
    because the picture of a store may have been brought up to date by somebody else meanwhile.
    """

    name: str | None
    limit_ns: int
    seen: Record | None = None


class Report(msgspec.Struct, frozen=True):
    """Wanted: that the user hears whom the script waits for."""

    record: Record


Effect: TypeAlias = Now | Call | Wait | Report


if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")
    Script: TypeAlias = Generator[Effect, Any, T]
else:
    Script = object


class Claimed(msgspec.Struct, frozen=True):
    """A lease that is ours.

    Attributes:
        record: What the store answered.
        asked_ns: CLOCK_BOOTTIME before the call that it answered: the promise counts from there.
    """

    record: Record
    asked_ns: int


NOW = Now()


def claim(
    name: str,
    holder: str,
    duration_ns: int,
    *,
    owner: Mapping[str, Any] | None = None,
    wait_ns: int | None = None,
) -> Script[Claimed]:
    """Claim a lease, or extend it if that holder has it already; wait for it if need be.

    Args:
        name: The lease.
        holder: For whom. Whoever uses the same holder is the same holder.
        duration_ns: How long it is to be promised.
        owner: Facts about the owner, for those who wait for it.
        wait_ns: How long to wait for others; None: for ever, 0: not at all.

    Raises:
        ClaimDenied: It is certainly not that holder's; somebody else has it.
        OutcomeUnknown: It may be that holder's: the store has not said.
        Unavailable: Nothing was done: the store is away.
    """
    asked_ns = yield NOW
    deadline_ns = None if wait_ns is None else asked_ns + wait_ns
    request = Call("claim", (name, holder, duration_ns), owner)
    rivals = _Rivals(name)
    while True:
        pause_ns, rivals.certain = 0, False
        try:
            return Claimed((yield request), asked_ns)
        except StaleRecord:
            rivals.away = None
        except OutcomeUnknown as error:
            # The look tells, or the next claim, which comes at once; but not again and again.
            pause_ns = 0 if rivals.unknown is None else rivals.failed_ns()
            rivals.unknown = error
        except Unavailable as error:
            rivals.away = error
            pause_ns = rivals.failed_ns()
        try:
            pause_ns = max(pause_ns, (yield from _look(rivals, holder)))
            if rivals.ours is not None:
                asked_ns = yield NOW
                extended = yield Call("extend", (rivals.ours, duration_ns))
                return Claimed(extended, asked_ns)
        except StaleRecord:
            pass
        except (OutcomeUnknown, Unavailable) as error:
            rivals.away = error
            pause_ns = rivals.failed_ns()
        pause_ns = rivals.paced_ns(pause_ns)
        asked_ns = yield NOW
        if pause_ns and deadline_ns is not None and asked_ns >= deadline_ns:
            raise rivals.denial()
        if pause_ns:
            yield from rivals.wait(pause_ns, asked_ns, deadline_ns)
            asked_ns = yield NOW


class _Rivals:
    """What a script has learnt so far of those who have the lease, and of the store."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.unknown: OutcomeUnknown | None = None  # a claim that may succeed, even later on
        self.certain = False  # whether a look in this round has shown that it is somebody else's
        self.away: OutcomeUnknown | Unavailable | None = None  # why nothing could be done
        self.current: Record | None = None  # somebody else's
        self.ours: Record | None = None
        self._reported: tuple[str, int] | None = None
        self._hurried = 0  # rounds in a row without a pause
        self._failures = 0  # of the store, since a look has shown a record
        self._refused = 0  # expiries of the current record
        self._left_ns = -1  # of the current record, when the clock was seen last
        self._standing = 0  # how often in a row the clock stood still

    def saw(self, current: Record | None, holder: str) -> None:
        """What a look has shown."""
        self.ours = current if current is not None and current.holder == holder else None
        if current != self.current:
            self._refused = 0
        self.current = None if self.ours is not None else current
        self.certain = self.current is not None
        if self.certain:
            self._failures = 0

    def paced_ns(self, pause_ns: int) -> int:
        """The next round comes at once where nobody is in the way, but ten times in a row only.

        Then rivals are faster each time; or what a look shows is old, though it must not be.
        """
        self._hurried = 0 if pause_ns else self._hurried + 1
        if self._hurried < ATTEMPTS_MAX:
            return pause_ns
        return _longer_ns(self._hurried - ATTEMPTS_MAX + 1)

    def failed_ns(self) -> int:
        """How long to leave the store alone, which is away or does not answer."""
        self._failures += 1
        return _longer_ns(self._failures)

    def refused_ns(self) -> int:
        """How long to wait where the end has passed, and the record cannot be removed."""
        self._refused += 1
        return _longer_ns(self._refused)

    def until_end_ns(self, left_ns: int) -> int:
        """How long to wait for the end of the term: nobody could hear of it.

        Where the clock stands, because nobody is there to advance it or its next step is not due,
        a look shows the same again: then it is longer each time.
        """
        self._standing = self._standing + 1 if left_ns == self._left_ns else 0
        self._left_ns = left_ns
        pause_ns = max(PAUSE_NS_FLOOR, min(left_ns + 1, PAUSE_NS_MAX))
        return max(pause_ns, _longer_ns(self._standing)) if self._standing else pause_ns

    def wait(self, pause_ns: int, now_ns: int, deadline_ns: int | None) -> Script[None]:
        """Say whom it is for, and wait."""
        holding = None if self.current is None else (self.current.holder, self.current.epoch)
        if self.current is not None and holding != self._reported:
            self._reported = holding
            yield Report(self.current)
        left_ns = pause_ns if deadline_ns is None else max(0, deadline_ns - now_ns)
        name = None if self.current is None else self.name
        yield Wait(name, min(pause_ns, left_ns), self.current)

    def denial(self) -> Exception:
        """What to say if the wait is over."""
        if self.unknown is not None and not self.certain:
            # That somebody else had it some time ago does not help: when that holding is over, a
            # claim that is still under way may come into effect.
            return OutcomeUnknown(
                f"the store has not said whether it was claimed: {self.unknown.what}",
                on=self.name,
                hint="look at records(); if it was, it lapses by itself",
            )
        if self.current is not None:
            return ClaimDenied(
                f"held by {_who(self.current)}",
                holder=self.current.holder,
                on=self.name,
                hint="wait longer, or ask its holder",
            )
        if self.away is not None:
            return self.away
        return ClaimDenied("others were faster", on=self.name, hint="try again, or wait")


def _longer_ns(times: int) -> int:
    """A pause that grows with the number of times, from 1 on."""
    return min(PAUSE_NS_MIN << min(times - 1, 10), PAUSE_NS_MAX)


def _look(rivals: _Rivals, holder: str) -> Script[int]:
    """See who has the lease, and remove what has run out; how long to wait, 0 if not at all."""
    current = yield Call("look", (rivals.name,))
    rivals.saw(current, holder)
    if current is None or rivals.ours is not None:
        return 0
    left_ns = yield from _left_ns(current)
    if left_ns >= 0:
        return rivals.until_end_ns(left_ns)
    try:
        yield Call("expire", (current,))
    except StaleRecord:
        return rivals.refused_ns()  # pinned, gated, or extended in the last moment
    rivals.saw(None, holder)
    return 0


def _left_ns(record: Record) -> Script[int]:
    """How long the store's clock still has to go until this may be expired; below 0: it may."""
    reading = yield Call("clock")
    left: int = record.end_in(reading.era) - reading.now_ns
    return left


def _who(record: Record) -> str:
    facts = record.owner or {}
    parts = [f"epoch {record.epoch}"]
    if "pid" in facts:
        parts.append(f"pid {facts['pid']} on {facts.get('host')}")
    if facts.get("why"):
        parts.append(f"why: {facts['why']}")
    if record.pins:
        parts.append(f"pinned by {', '.join(sorted(record.pins))}")
    return f"{record.holder!r} ({', '.join(parts)})"


def release(record: Record) -> Script[bool]:
    """Give a lease back; True if this did, False if it was that holding's no more.

    Raises:
        OutcomeUnknown: The store has not said.
        Unavailable: It is away; the lease lapses by itself.
    """
    attempts = 0
    while True:
        try:
            return bool((yield Call("release", (record,))))
        except (OutcomeUnknown, Unavailable):
            attempts += 1
            if attempts == RELEASE_ATTEMPTS:
                raise
        yield Wait(None, PAUSE_NS_MIN)


def await_vacancy(name: str, *, wait_ns: int | None = None) -> Script[bool]:
    """Wait until nobody holds the lease; False if the wait is over first.

    It is no reservation: somebody may have claimed it since.

    Raises:
        Unavailable: The store was away when the wait was over.
    """
    now_ns = yield NOW
    deadline_ns = None if wait_ns is None else now_ns + wait_ns
    rivals = _Rivals(name)
    while True:
        rivals.away = None
        try:
            pause_ns = yield from _look(rivals, "")
            if rivals.current is None:
                return True
        except (OutcomeUnknown, Unavailable) as error:
            rivals.away = error
            pause_ns = rivals.failed_ns()
        now_ns = yield NOW
        if deadline_ns is not None and now_ns >= deadline_ns:
            if rivals.away is not None:
                raise rivals.away
            return False
        yield from rivals.wait(pause_ns, now_ns, deadline_ns)


def expire_overdue() -> Script[int]:
    """Remove what has run out; how many were removed. It needs no lease to do so, and never waits.

    Bounded, so that one pass delays nothing else: what is left is found by the next.
    """
    removed = 0
    for record in (yield Call("overdue", (EXPIRE_AT_ONCE,))):
        try:
            yield Call("expire", (record,))
            removed += 1
        except StaleRecord:
            pass  # extended, pinned, or removed by somebody else meanwhile
    return removed
