"""Clocks of a simulation, with the three faces of `holdfast.clock.Clock`.

`WorldClock` is true time. `NodeClock` is what one machine believes: its oscillator may be fast or
slow, it was booted at some time, it has slept, and its wall clock jumps. All of it is computed from
the one virtual time, in integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from random import Random

    from holdfast.testing.world.scheduler import Scheduler

__all__ = ["EPOCH_NS", "Face", "NodeClock", "WorldClock"]

Face = Literal["boottime", "monotonic"]

EPOCH_NS = 1_800_000_000_000_000_000  # where the wall clocks begin: in January of 2027
_DAY_NS = 86_400_000_000_000
_ONE = 1_000_000_000  # the rate of an oscillator without fault, in parts per billion


class WorldClock:
    """True time, which no node can see. All three faces run together."""

    __slots__ = ("_scheduler",)

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def boottime_ns(self) -> int:
        """Nanoseconds since the world began."""
        return self._scheduler.now_ns

    def monotonic_ns(self) -> int:
        """The same: true time does not sleep."""
        return self._scheduler.now_ns

    def realtime_ns(self) -> int:
        """The same, as a date."""
        return EPOCH_NS + self._scheduler.now_ns


class NodeClock:
    """One machine's clock.

    Where it begins is drawn from `rng`, so that no two faces of any two machines agree by accident,
    and code that takes one for another is noticed.

    Args:
        scheduler: Has the virtual time.
        rng: Draws what is not given.
        drift_ppm: How fast the oscillator is, in parts per million; negative: slow.

    Attributes:
        ahead_ns: How far boottime is ahead of virtual time; None where it drifts, and varies.
    """

    def __init__(self, scheduler: Scheduler, rng: Random, *, drift_ppm: float = 0.0) -> None:
        self._scheduler = scheduler
        self._from_ns = scheduler.now_ns  # since then, at one rate
        self._rate = _ONE
        self._boot_ns = 30 * _DAY_NS + int(rng.random() * 30 * _DAY_NS)
        self._slept_ns = _DAY_NS + int(rng.random() * _DAY_NS)
        self.ahead_ns: int | None = self._boot_ns - self._from_ns
        self._fell_asleep_ns: int | None = None  # what monotonic shows while it sleeps
        self._realtime_ns = EPOCH_NS - self._boot_ns + int((rng.random() - 0.5) * _DAY_NS)
        self.drift(drift_ppm)

    # -- the three faces --------------------------------------------------------------------------

    def boottime_ns(self) -> int:
        """Nanoseconds since boot, the time asleep included."""
        if self.ahead_ns is not None:
            return self._scheduler.now_ns + self.ahead_ns
        elapsed_ns = self._scheduler.now_ns - self._from_ns
        return self._boot_ns + elapsed_ns * self._rate // _ONE

    def monotonic_ns(self) -> int:
        """Nanoseconds of the same oscillator, the time asleep left out."""
        if self._fell_asleep_ns is not None:
            return self._fell_asleep_ns
        return self.boottime_ns() - self._slept_ns

    def realtime_ns(self) -> int:
        """What it believes the date to be."""
        return self.boottime_ns() + self._realtime_ns

    # -- what happens to it -----------------------------------------------------------------------

    @property
    def drift_ppm(self) -> float:
        """How fast the oscillator is, in parts per million."""
        return (self._rate - _ONE) / 1000

    def drift(self, ppm: float) -> None:
        """From now on the oscillator is fast by so many parts per million; negative: slow."""
        self._boot_ns = self.boottime_ns()
        self._from_ns = self._scheduler.now_ns
        self._rate = rate = _ONE + round(ppm * 1000)
        assert rate > 0, "time does not stand still, and does not go back"
        self.ahead_ns = None if rate != _ONE else self._boot_ns - self._from_ns

    def jump_realtime(self, by_ns: int) -> None:
        """Somebody sets the wall clock, forward or back."""
        self._realtime_ns += by_ns

    def suspend(self) -> None:
        """Monotonic stands still from now on."""
        if self._fell_asleep_ns is None:
            self._fell_asleep_ns = self.monotonic_ns()

    def resume(self) -> None:
        """It goes on where it stood."""
        if self._fell_asleep_ns is not None:
            self._slept_ns = self.boottime_ns() - self._fell_asleep_ns
            self._fell_asleep_ns = None

    def reboot(self) -> None:
        """Boottime and monotonic begin at zero; the date goes on."""
        realtime_ns = self.realtime_ns()
        self._boot_ns = self._slept_ns = 0
        self._from_ns = self._scheduler.now_ns
        self._fell_asleep_ns = None
        self._realtime_ns = realtime_ns
        if self.ahead_ns is not None:
            self.ahead_ns = -self._from_ns

    def instant_of(self, local_ns: int, face: Face) -> int:
        """The first instant of virtual time at which that face shows `local_ns`, from here on.

        It may be past. The machine is awake.
        """
        if face == "monotonic":
            local_ns += self._slept_ns
        if self.ahead_ns is not None:
            return local_ns - self.ahead_ns
        left_ns = local_ns - self._boot_ns
        return self._from_ns - (-left_ns * _ONE // self._rate)  # up, to a whole nanosecond
