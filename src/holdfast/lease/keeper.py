"""The keeper of one lease that is held: when to renew, until when to believe, what to infer.

Theory of operation
-------------------

The holder believes in its lease until a *deadline* on its own CLOCK_BOOTTIME. It counts from before
the call that the store answered with yes, and is shorter than the promise by `DRIFT_PPM`: the call
may have taken effect at its first instant, and the local oscillator may be slow. So the holder
stops believing before anybody can take the lease (the assumption is that its clock is no slower
than the store's by more than that; CLOCK_BOOTTIME counts a suspend, CLOCK_MONOTONIC does not). ::

                    due                  yes: a later deadline
         HELD ───────────────▶ RENEWING ──────────────────────┐
          ▲ ▲                   │  │  │                        │
          │ └───────────────────┘  │  └─ no ──▶ LOST           │
          │   unknown: as before,  │             ▲             │
          │   again soon           └─ deadline ──┤             │
          │                                      │             │
          ├────────────────────── deadline ──────┘             │
          └────────────────────────────────────────────────────┘
              (from HELD and RENEWING: release ──▶ RELEASED)

The outcome of a renewal is one of three. *Yes* moves the deadline. *No* (`StaleRecord`: the holding
was removed) ends it at once. *Unknown*, which is every other ending, says nothing: the store may
have made the promise longer or not, and the holder goes on believing what it knew, and asks again
soon. What comes after the end, a late yes too, changes nothing: what was lost stays lost.

Who is to renew is one of three as well: "auto", at a third of the duration; "progress", the same if
the work has said since the last renewal that it goes on, so that a lease whose holder hangs runs
out; None, never.

Sources: the seed's first guarantee, "from the start of the call"; C. Gray and D. Cheriton, Leases,
SOSP 1989, section 2, for the clocks.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Literal

from holdfast.errors import InvalidArgument

if TYPE_CHECKING:
    from random import Random

    from holdfast.lease.record import Record

__all__ = [
    "DRIFT_PPM",
    "ENDED",
    "TRANSITIONS",
    "Event",
    "Keeper",
    "Phase",
    "Renew",
    "check_renew",
    "deadline_of",
]

Renew = Literal["auto", "progress"] | None

# How much slower the holder's clock may be than the clock that ends the term: what the one is slow
# and what an updater's is fast, together. An oscillator is off by 100 ppm, and NTP slews by 500.
DRIFT_PPM = 1000

# Two more renewals may fail before the deadline comes.
RENEW_PARTS = 3
# After a renewal whose outcome is unknown.
RETRY_PARTS = 10
RETRY_NS_MAX = 2_000_000_000


class Phase(enum.Enum):
    """Where a keeper stands."""

    HELD = "held"
    RENEWING = "renewing"  # an answer is awaited
    LOST = "lost"
    RELEASED = "released"


class Event(enum.Enum):
    """What can happen to it."""

    DUE = "due"
    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    DEADLINE = "deadline"
    RELEASE = "release"


TRANSITIONS = {
    (Phase.HELD, Event.DUE): Phase.RENEWING,
    (Phase.HELD, Event.DEADLINE): Phase.LOST,
    (Phase.HELD, Event.NO): Phase.LOST,  # somebody else found out: a gate, a token
    (Phase.HELD, Event.RELEASE): Phase.RELEASED,
    (Phase.RENEWING, Event.YES): Phase.HELD,
    (Phase.RENEWING, Event.NO): Phase.LOST,
    (Phase.RENEWING, Event.UNKNOWN): Phase.HELD,
    (Phase.RENEWING, Event.DEADLINE): Phase.LOST,
    (Phase.RENEWING, Event.RELEASE): Phase.RELEASED,
}
# What is over stays over, whatever answer still comes.
ENDED = frozenset({Phase.LOST, Phase.RELEASED})


def deadline_of(asked_ns: int, duration_ns: int) -> int:
    """Until when to believe in a promise of that duration, asked for at `asked_ns` BOOTTIME."""
    # What is taken off is rounded up, so that no nanosecond of belief is left beyond the promise.
    return asked_ns + duration_ns - -(-duration_ns * DRIFT_PPM // 1_000_000)


def check_renew(renew: object) -> Renew:
    """Who is to renew.

    Raises:
        InvalidArgument: It is none of the three.
    """
    if renew not in ("auto", "progress", None):
        raise InvalidArgument(f"renew={renew!r}", hint='use "auto", "progress" or None')
    return renew


class Keeper:
    """One lease that this process holds. Pure: the driver brings the time and does the asking.

    Args:
        record: What the store answered to the claim.
        asked_ns: CLOCK_BOOTTIME before that call.
        duration_ns: What is asked for at each renewal, too.
        renew: Who is to renew.

    Attributes:
        phase: Where it stands.
        deadline_ns: Until when to believe, in CLOCK_BOOTTIME; -1 once it is over.
        due_ns: When to call `begin`; None: not before something happens.
        ending: Why it was lost, in words.
        record: What the store answered last.
    """

    __slots__ = (
        "_asked_ns",
        "_moved",
        "_renew",
        "deadline_ns",
        "due_ns",
        "duration_ns",
        "ending",
        "phase",
        "record",
        "trouble",
    )

    def __init__(self, record: Record, asked_ns: int, duration_ns: int, renew: Renew) -> None:
        self.record = record
        self.duration_ns = duration_ns
        self.phase = Phase.HELD
        self.deadline_ns = deadline_of(asked_ns, duration_ns)
        self.ending = ""
        self.trouble = ""  # what the last renewal met, if its outcome is unknown
        self._asked_ns = asked_ns
        self._renew = renew
        self._moved = False  # whether there was progress since the last renewal began
        self.due_ns = asked_ns + duration_ns // RENEW_PARTS if renew == "auto" else None

    @property
    def over(self) -> bool:
        """Whether it is lost, or was released."""
        return self.deadline_ns < 0

    def progress(self) -> None:
        """The work goes on: there is reason for one more renewal."""
        self._moved = True
        if self._renew == "progress" and self.phase is Phase.HELD and self.due_ns is None:
            self.due_ns = self._asked_ns + self.duration_ns // RENEW_PARTS

    def begin(self, now_ns: int) -> bool:
        """Whether to ask the store now. If so, tell the answer with `asked_ns=now_ns`."""
        if self.due_ns is None or now_ns < self.due_ns or self.phase is not Phase.HELD:
            return False
        if self.expire(now_ns):
            return False
        self._apply(Event.DUE)
        self._moved = False
        self.due_ns = None
        return True

    def renewed(self, record: Record, asked_ns: int) -> None:
        """The store has said yes to the call that began at `asked_ns`."""
        if not self._apply(Event.YES):
            return
        self.record = record
        self.trouble = ""
        self._asked_ns = asked_ns
        self.deadline_ns = max(self.deadline_ns, deadline_of(asked_ns, self.duration_ns))
        self._plan(asked_ns + self.duration_ns // RENEW_PARTS)

    def refused(self, reason: str) -> None:
        """The store has said no: the holding was removed."""
        if self._apply(Event.NO):
            self._end(reason)

    def unanswered(self, now_ns: int, rng: Random, trouble: str) -> None:
        """The store is away, or its answer was lost: nothing may be inferred. Ask again soon."""
        if not self._apply(Event.UNKNOWN):
            return
        self.trouble = trouble
        self._moved = True  # the progress that this renewal stood for still counts
        pause_ns = min(self.duration_ns // RETRY_PARTS, RETRY_NS_MAX)
        self._plan(now_ns + round(pause_ns * rng.uniform(0.5, 1.0)))

    def expire(self, now_ns: int) -> bool:
        """Whether the deadline has come; if so, the lease is lost, whatever is under way."""
        if self.deadline_ns < 0 or now_ns < self.deadline_ns:
            return False
        reason = "its deadline has passed"
        if self.trouble:
            reason += f", and it could not be renewed: {self.trouble}"
        elif self._renew == "progress" and self.phase is Phase.HELD and self.due_ns is None:
            reason += " without progress"
        elif self._renew is None:
            reason += ", and it was not to be renewed"
        else:
            reason += " before a renewal was answered"
        if self._apply(Event.DEADLINE):
            self._end(reason)
        return True

    def release(self) -> bool:
        """The holder lets go; False if it was over already."""
        if not self._apply(Event.RELEASE):
            return False
        self._end("it was released")
        return True

    def _plan(self, due_ns: int) -> None:
        wanted = self._renew == "auto" or (self._renew == "progress" and self._moved)
        self.due_ns = due_ns if wanted else None

    def _end(self, reason: str) -> None:
        self.deadline_ns = -1
        self.due_ns = None
        self.ending = reason

    def _apply(self, event: Event) -> bool:
        """Take the transition; False if it is over, when no answer matters any more."""
        if self.phase in ENDED:
            return False
        following = TRANSITIONS.get((self.phase, event))
        assert following is not None, f"{event.value} while {self.phase.value}"
        self.phase = following
        return True
