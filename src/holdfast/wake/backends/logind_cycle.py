"""What the signals of logind mean: one sleep after the other, as a table. Pure.

logind announces each sleep by ``PrepareForSleep(true)`` and its end by ``PrepareForSleep(false)``,
also if the machine could not go down. It does not say who asked. So we remember whether we did::

                     asked                   true
      ┌────── UP ───────────────▶ ASKED ───────────────▶ OURS ───┐
      │       ▲ ▲                   │ refused, impatient         │ false, gone
      │ true  │ └───────────────────┴────────────────────────────┘
      ▼       │ false, gone
    THEIRS ───┤
      │       │ false, gone
      └──▶ LET_GO
     ready

========  ===========  ========  =====================================================
where     what         then      what is done
========  ===========  ========  =====================================================
UP        asked        ASKED     the question to logind is on its way
UP        true         THEIRS    the host is told: sleep begins; the delay lock is kept
ASKED     true         OURS      the delay lock is let go: the listeners were asked
ASKED     refused      UP        `suspend` returns why not
ASKED     impatient    UP        the same: logind said yes, and nothing came of it
ASKED     gone         UP        the same
OURS      false, gone  UP        `suspend` returns what was measured
THEIRS    ready        LET_GO    the delay lock is let go
THEIRS    false, gone  UP        the host is told: sleep ended; if it slept, it did so unready
LET_GO    false, gone  UP        the host is told: sleep ended
========  ===========  ========  =====================================================

All else changes nothing: signals come twice (elogind issue 380), and an end without a beginning is
of a sleep that began before we came. ``gone`` is the end of logind or of the bus: what comes of a
sleep that was under way is not announced any more, so it is judged by what was measured until then.

Whether the machine slept is not for logind to say. What counts is how far the clock that counts
through a sleep has left behind the one that does not, and the kernel's own count of sleeps.
Sources: org.freedesktop.login1(5); the Inhibitor Locks page of systemd; clock_gettime(2);
the kernel's Documentation/ABI/testing/sysfs-power.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from holdfast.wake.model import Failed, Slept

__all__ = [
    "Cycle",
    "Done",
    "News",
    "Reading",
    "Say",
    "ShutdownBegins",
    "ShutdownEnds",
    "SleepBegins",
    "SleepEnds",
    "Stage",
    "judged",
]

# Two clocks are not read at the same instant; no real sleep is shorter than this.
SLEEP_NS_MIN = 1_000_000

_DID_NOT = (
    "the machine did not sleep, though logind went through all of it: "
    "`journalctl -u systemd-suspend` may say why"
)


class Stage(enum.Enum):
    """Where the machine stands, as far as logind has told."""

    UP = "up"
    ASKED = "asked"
    OURS = "ours"
    THEIRS = "theirs"
    LET_GO = "let go"


@dataclass(frozen=True, slots=True)
class Reading:
    """What can be measured of sleep.

    Attributes:
        asleep_ns: CLOCK_BOOTTIME less CLOCK_MONOTONIC: all sleep since boot.
        successes: How often the kernel says that it suspended; None where it does not count.
    """

    asleep_ns: int
    successes: int | None = None


@dataclass(frozen=True, slots=True)
class SleepBegins:
    """Tell the host that the machine goes down of itself."""


@dataclass(frozen=True, slots=True)
class SleepEnds:
    """Tell the host that it is back."""

    outcome: Slept | Failed


@dataclass(frozen=True, slots=True)
class ShutdownBegins:
    """Tell the host that the machine shuts down."""


@dataclass(frozen=True, slots=True)
class ShutdownEnds:
    """Tell the host that it does not after all."""


@dataclass(frozen=True, slots=True)
class Done:
    """Return from `suspend`."""

    outcome: Slept | Failed


@dataclass(frozen=True, slots=True)
class Say:
    """Somebody who looks after the machine should know."""

    sentence: str


News: TypeAlias = SleepBegins | SleepEnds | ShutdownBegins | ShutdownEnds | Done | Say


def judged(before: Reading, after: Reading, otherwise: str = _DID_NOT) -> Slept | Failed:
    """Whether the machine slept between two readings; `otherwise` is what is said if not."""
    slept_ns = after.asleep_ns - before.asleep_ns
    if slept_ns >= SLEEP_NS_MIN:
        return Slept(slept_ns)
    counted = before.successes is not None and after.successes is not None
    if counted and after.successes != before.successes:
        # A machine whose clock goes on in seconds only can have slept for none of them.
        return Slept(max(0, slept_ns))
    return Failed(otherwise)


class Cycle:
    """The table above, and beside it whether the machine shuts down."""

    def __init__(self) -> None:
        self.stage = Stage.UP
        self.shutting_down = False
        self._let_shut_down = False
        self._before = Reading(0)

    @property
    def under_way(self) -> bool:
        """Something began of which logind says that nobody can take a lock while it lasts."""
        return self.shutting_down or self.stage in {Stage.OURS, Stage.THEIRS, Stage.LET_GO}

    @property
    def delay(self) -> bool:
        """Whether sleep is to be delayed."""
        return self.stage not in {Stage.OURS, Stage.LET_GO} and not self._let_shut_down

    @property
    def delay_shutdown(self) -> bool:
        """Whether a shutdown is to be delayed."""
        return not self._let_shut_down

    # -- sleep --

    def asked(self, now: Reading) -> list[News]:
        """Our own question goes out."""
        if self.stage is not Stage.UP or self.shutting_down:
            return [Done(Failed("the machine is already on its way down, and not by our doing"))]
        self._before = now
        self.stage = Stage.ASKED
        return []

    def refused(self, sentence: str) -> list[News]:
        """The answer to it was no. If the machine goes down all the same, that is no failure."""
        return self._gave_up(sentence)

    def impatient(self) -> list[News]:
        """The answer to it was yes, a while ago."""
        return self._gave_up("logind said yes to our request, and has not begun to suspend")

    def _gave_up(self, sentence: str) -> list[News]:
        if self.stage is not Stage.ASKED:
            return []
        self.stage = Stage.UP
        return [Done(Failed(sentence))]

    def prepare_for_sleep(self, begins: bool, now: Reading) -> list[News]:
        """The signal."""
        if not begins:
            return self._over(now)
        if self.stage is Stage.ASKED:
            self.stage = Stage.OURS
        elif self.stage is Stage.UP:
            self._before = now
            self.stage = Stage.THEIRS
            return [SleepBegins()]
        return []

    def ready_for_sleep(self) -> list[News]:
        """The host needs no more time."""
        if self.stage is Stage.THEIRS:
            self.stage = Stage.LET_GO
        return []

    def _over(self, now: Reading, otherwise: str = _DID_NOT) -> list[News]:
        stage, outcome = self.stage, judged(self._before, now, otherwise)
        if stage in {Stage.UP, Stage.ASKED}:
            return []
        self.stage = Stage.UP
        if stage is Stage.OURS:
            return [Done(outcome)]
        found: list[News] = [SleepEnds(outcome)]
        if stage is Stage.THEIRS and isinstance(outcome, Slept):
            found.insert(0, Say("the machine went to sleep before the governor was ready"))
        return found

    # -- shutdown --

    def prepare_for_shutdown(self, begins: bool) -> list[News]:
        """The signal."""
        if begins == self.shutting_down:
            return []
        self.shutting_down = begins
        self._let_shut_down = False
        return [ShutdownBegins() if begins else ShutdownEnds()]

    def ready_for_shutdown(self) -> list[News]:
        """The host needs no more time."""
        self._let_shut_down = self.shutting_down
        return []

    # -- the other side --

    def gone(self, who: str, now: Reading) -> list[News]:
        """logind, or the bus, has ended; `who` says which. A shutdown goes on without them."""
        found = self._gave_up(f"{who} has ended before it answered")
        return found + self._over(now, f"{who} has ended, and the machine had not slept until then")
