"""The sleep of one's own machine: said before, noticed afterwards.

::

             prepare, and somebody was told        told often enough
    AWAKE ───────────────────────────────▶ TELLING ─────────────────▶ QUIET ──┐ look at
      ▲                                       │                        │ ▲    │ the clocks
      └───────────────────────────────────────┴────────────────────────┘ └────┘
        resumed; or the clocks have parted; or the bound has passed

Who has said that it goes to sleep says nothing else until it is back: a packet of it, some time
later, would tell the others that it is awake, and they would find it dead a little later. It still
listens. Its timers wait, and what they would have said.

Nobody has to say `resumed`. A machine that has slept finds that one of two clocks has counted the
time and the other has not, whether the sleep was announced or not. Both are read one after the
other, and a program can be stopped in between, so what they tell is two bounds; a sleep is found
only where the lower bound of now is above the upper bound of before.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LOOK_NS", "ROUNDS", "SLEPT_NS", "TABLE", "Event", "Phase", "Rest"]

# How often a sleep is announced: datagrams are lost.
ROUNDS: Final = 3
# How often one looks, in QUIET, whether the sleep is over.
LOOK_NS: Final = 1_000_000_000
# Clocks that part by less have not slept.
SLEPT_NS: Final = 50_000_000


class Phase(enum.Enum):
    """Where the machine stands, as far as it has said."""

    AWAKE = "awake"
    TELLING = "telling"
    QUIET = "quiet"


class Event(enum.Enum):
    """What moves it."""

    PREPARE = "prepare"
    TOLD = "told"
    BACK = "back"


# (phase, event) -> phase; an event that has no row has no effect.
TABLE: Mapping[tuple[Phase, Event], Phase] = {
    (Phase.AWAKE, Event.PREPARE): Phase.TELLING,
    (Phase.TELLING, Event.TOLD): Phase.QUIET,
    (Phase.TELLING, Event.BACK): Phase.AWAKE,
    (Phase.QUIET, Event.BACK): Phase.AWAKE,
}


class Rest:
    """One machine's sleep.

    Attributes:
        phase: Where it stands.
        at_most_ns: How long it sleeps at most, as was announced.
    """

    __slots__ = (
        "_every_ns",
        "_next_ns",
        "_rounds",
        "_slept_ns",
        "_until_ns",
        "at_most_ns",
        "phase",
    )

    def __init__(self) -> None:
        self.phase = Phase.AWAKE
        self.at_most_ns = 0
        self._rounds = 0
        self._every_ns = 0
        self._next_ns = 0
        self._until_ns = 0
        self._slept_ns: int | None = None

    @property
    def resting(self) -> bool:
        """Whether it has said that it sleeps, and not that it is back."""
        return self.phase is not Phase.AWAKE

    def prepare(self, now_ns: int, at_most_ns: int, linger_ns: int) -> bool:
        """It was announced for the first time. False: it has been before, and nothing changes."""
        if not self._move(Event.PREPARE):
            return False
        self.at_most_ns = at_most_ns
        self._until_ns = now_ns + at_most_ns
        self._rounds = 1
        self._every_ns = linger_ns // (ROUNDS - 1)
        self._next_ns = now_ns + self._every_ns
        return True

    def back(self) -> bool:
        """The machine is awake, or never slept. Returns whether it had said that it would."""
        return self._move(Event.BACK)

    def next_due(self) -> int:
        """When to call `step` next."""
        return min(self._next_ns, self._until_ns)

    def step(self, now_ns: int) -> Event | None:
        """What time brings: tell it again (TOLD), it is over (BACK), or nothing."""
        if now_ns >= self._until_ns:
            return Event.BACK
        if now_ns < self._next_ns:
            return None
        if self.phase is Phase.QUIET:
            self._next_ns = now_ns + LOOK_NS
            return None
        self._rounds += 1
        self._next_ns = now_ns + self._every_ns
        if self._rounds >= ROUNDS:
            self._move(Event.TOLD)
            self._next_ns = now_ns + LOOK_NS
        return Event.TOLD

    def clocks(self, at_least_ns: int, at_most_ns: int) -> bool:
        """Compare two clocks with what they showed before.

        Args:
            at_least_ns: So long, at least, the one is ahead of the other that stands still.
            at_most_ns: So long at most.

        Returns:
            Whether the machine has slept since the last time.
        """
        before = self._slept_ns
        if before is None or at_least_ns - before > SLEPT_NS:
            self._slept_ns = at_most_ns
            return before is not None
        # The narrower the bounds, the shorter the sleep that is found; a sleep never shrinks.
        self._slept_ns = max(at_least_ns, min(before, at_most_ns))
        return False

    def _move(self, event: Event) -> bool:
        after = TABLE.get((self.phase, event))
        if after is None:
            return False
        self.phase = after
        return True
