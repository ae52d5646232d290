"""The global clock: a record that only its users advance, and that no wall clock can touch.

Theory of operation
-------------------

The record holds a reading and an era. Whoever uses the store may add to the reading what he has
measured himself, by a compare-and-swap on what he saw::

    saw g at my t0                          t1 - t0 has passed for me, on one local clock
    if the record is still g: it becomes g + (t1 - t0), otherwise somebody else was first

Intervals that succeed cannot overlap: each begins after its base was read or written, and ends
before its own swap, which fails if any other came between. So the clock passes no faster than real
time (as far as the local oscillators do not), whoever stalls, sleeps, dies or competes. What is
lost (an interval that was dropped, the time nobody was there, the time of writing) makes leases
last longer, never shorter.

One thing remains: a swap adds time from before it all at once, so that somebody who read just
before saw too little, by as much. `tick` bounds it: a swap adds `STEP_NS_MAX` at most, and drops
the rest. Between two readings the clock then gains at most the real time between them and one step,
which is the assumption of a slow clock that `holdfast.lease.rules` stands on.

There is no elected updater, and nobody needs a lease to be one: every user runs an `Updater`. One
of them wins and goes on winning; the others only look, every second tick, and go on where it stops.
::

               due            read               due             read: unmoved
    BLIND ─────────▶ LOOKING ──────▶ STANDING_BY ─────▶ CHECKING ─────────────▶ ADVANCING
      ▲                 ▲                 ▲                │ read: moved             │  ▲
      │ unknown         │                 └────────────────┘               advanced  ▼  │ due
      │ (from any       │ lost                                                    WAITING
      │  that asked)    └───────────────────────────────────────── (from ADVANCING)

A loser drops its interval, since others have counted that time, and backs off two ticks. If an
answer is unknown, what was seen is discarded: the next base comes from the record. A record that
was made anew counts from zero in another era; the comparison includes the era, so that no interval
is added to a base of another life that happens to show the same number.

Source: the note of the original lease package, third assumption.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from holdfast.errors import InvalidArgument, StaleRecord
from holdfast.lease.record import Reading

__all__ = [
    "BACKOFF_TICKS",
    "INTERVAL_NS_MAX",
    "STEP_NS_MAX",
    "TRANSITIONS",
    "Advance",
    "Event",
    "Look",
    "Phase",
    "Updater",
    "newborn",
    "tick",
]

# A lease outlives its end by a step and a tick, and by the back-off when the winner has died.
INTERVAL_NS_MAX = 500_000_000
STEP_NS_MAX = INTERVAL_NS_MAX
BACKOFF_TICKS = 2


def newborn(era: str) -> Reading:
    """What a clock's record shows that has just been made."""
    return Reading(0, era, STEP_NS_MAX)


def tick(current: Reading, since: Reading, elapsed_ns: int) -> Reading:
    """The swap: what the record shows next, if it shows now what the updater saw.

    Raises:
        InvalidArgument: The interval is negative.
        StaleRecord: The record has moved, or is another one: nothing is added.
    """
    if elapsed_ns < 0:
        raise InvalidArgument(f"time does not go back: {elapsed_ns} ns")
    if current != since:
        raise StaleRecord(
            "the clock has moved since it was read",
            hint="drop the interval: others have counted it",
        )
    return replace(current, now_ns=current.now_ns + min(elapsed_ns, current.step_ns))


class Phase(enum.Enum):
    """What an updater knows, and what it waits for."""

    BLIND = "blind"  # nothing is known of the record
    LOOKING = "looking"  # a read is under way
    STANDING_BY = "standing by"  # a base is known; perhaps somebody else ticks
    CHECKING = "checking"  # a read is under way, to see whether somebody does
    ADVANCING = "advancing"  # a swap is under way
    WAITING = "waiting"  # the last swap was ours


class Event(enum.Enum):
    """What can happen to an updater."""

    DUE = "due"
    READ = "read"  # in CHECKING: somebody else has ticked
    UNMOVED = "unmoved"
    ADVANCED = "advanced"
    LOST = "lost"
    UNKNOWN = "unknown"


# What is not listed cannot happen; that it does is a fault of the driver.
TRANSITIONS = {
    (Phase.BLIND, Event.DUE): Phase.LOOKING,
    (Phase.LOOKING, Event.READ): Phase.STANDING_BY,
    (Phase.LOOKING, Event.UNKNOWN): Phase.BLIND,
    (Phase.STANDING_BY, Event.DUE): Phase.CHECKING,
    (Phase.CHECKING, Event.READ): Phase.STANDING_BY,
    (Phase.CHECKING, Event.UNMOVED): Phase.ADVANCING,
    (Phase.CHECKING, Event.UNKNOWN): Phase.BLIND,
    (Phase.ADVANCING, Event.ADVANCED): Phase.WAITING,
    (Phase.ADVANCING, Event.LOST): Phase.LOOKING,
    (Phase.ADVANCING, Event.UNKNOWN): Phase.BLIND,
    (Phase.WAITING, Event.DUE): Phase.ADVANCING,
}


@dataclass(frozen=True, slots=True)
class Look:
    """Read the clock's record, then call `Updater.seen`, or `Updater.unknown`."""


@dataclass(frozen=True, slots=True)
class Advance:
    """Add to the record if it still shows `since`, by `tick`.

    Then call `Updater.advanced` if it did, `Updater.lost` if it did not, or `Updater.unknown`.
    """

    since: Reading
    elapsed_ns: int


class Updater:
    """One user's part in advancing the clock. Pure: the driver brings the time and does the asking.

    Every `now_ns` comes from one local clock that never jumps and is no faster than real time; with
    an answer, it is read *after* the answer has come. (Read before, it would count time that
    another updater had already counted when this one saw the record.)

    Args:
        now_ns: The local clock, now.
        interval_ns: From tick to tick, at most `INTERVAL_NS_MAX`.

    Attributes:
        phase: Where it stands.
        rebirths: How often it has seen the record in another era than before.

    Raises:
        InvalidArgument: The interval is not positive, or too long.
    """

    def __init__(self, now_ns: int, *, interval_ns: int = INTERVAL_NS_MAX) -> None:
        if not 0 < interval_ns <= INTERVAL_NS_MAX:
            raise InvalidArgument(
                f"no interval for the global clock: {interval_ns} ns",
                hint=f"use 1 to {INTERVAL_NS_MAX}",
            )
        self.phase = Phase.BLIND
        self.rebirths = 0
        self._interval_ns = interval_ns
        self._due_ns = now_ns
        self._base: Reading | None = None  # what it saw or wrote last
        self._since_ns = now_ns  # when it surely knew that, on the local clock
        self._era: str | None = None

    @property
    def due_ns(self) -> int | None:
        """When to call `fire`; None while an answer is awaited."""
        return self._due_ns if (self.phase, Event.DUE) in TRANSITIONS else None

    def fire(self, now_ns: int) -> Look | Advance | None:
        """What to do now; None if it is not time yet, or an answer is awaited."""
        if self.due_ns is None or now_ns < self.due_ns:
            return None
        if self._apply(Event.DUE) is Phase.ADVANCING:
            return self._advance(now_ns)
        return Look()

    def seen(self, reading: Reading, now_ns: int) -> Advance | None:
        """The record shows this. Perhaps it is our turn."""
        if self._era not in {None, reading.era}:
            self.rebirths += 1
        self._era = reading.era
        if self.phase is Phase.CHECKING and reading == self._base:
            # Nobody has ticked since we saw it first, so all of the time since then is ours.
            self._apply(Event.UNMOVED)
            return self._advance(now_ns)
        self._apply(Event.READ)
        self._stand_on(reading, now_ns, ticks=BACKOFF_TICKS)
        return None

    def advanced(self, reading: Reading, now_ns: int) -> None:
        """The swap succeeded, and the record shows this now.

        The time that the writing took is dropped: the clock is slow by it.
        """
        self._apply(Event.ADVANCED)
        self._stand_on(reading, now_ns, ticks=1)

    def lost(self) -> Look:
        """The record had moved: the interval is dropped, others have counted it."""
        self._apply(Event.LOST)
        self._base = None
        return Look()

    def unknown(self, now_ns: int) -> None:
        """The answer was lost, or the store is away: nothing may be inferred, forget the base."""
        self._apply(Event.UNKNOWN)
        self._base = None
        self._due_ns = now_ns + self._interval_ns

    def _advance(self, now_ns: int) -> Advance:
        assert self._base is not None, "no swap without a base"
        # Local time that went backwards counts as none.
        return Advance(self._base, max(0, now_ns - self._since_ns))

    def _stand_on(self, reading: Reading, now_ns: int, *, ticks: int) -> None:
        self._base = reading
        self._since_ns = now_ns
        self._due_ns = now_ns + ticks * self._interval_ns

    def _apply(self, event: Event) -> Phase:
        following = TRANSITIONS.get((self.phase, event))
        assert following is not None, f"{event.value} while {self.phase.value}"
        self.phase = following
        return following
