"""What a thread of ours sleeps on until an instant of CLOCK_BOOTTIME."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from holdfast.clock import NS_PER_S, Alarm, SystemClock
from holdfast.errors import Unsupported

if TYPE_CHECKING:
    from holdfast.clock import Clock

__all__ = ["AnyAlarm", "PolledAlarm", "alarm_of"]

# A clock that is not the kernel's may jump at any time; a kernel without timerfd is looked at, too.
POLL_S = 0.02


class AnyAlarm(Protocol):
    """As much of `holdfast.clock.Alarm` as is needed here. Any thread may set it."""

    def set(self, at_ns: int | None) -> None:
        """Fire at that instant; None: not at all."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has fired."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...


def alarm_of(clock: Clock) -> AnyAlarm:
    """The kernel's alarm for the kernel's clock, and one that polls for any other."""
    if isinstance(clock, SystemClock):
        try:
            return Alarm()
        except Unsupported:
            pass  # not Linux, or not compiled: the SQL stores run there all the same
    return PolledAlarm(clock)


class PolledAlarm:
    """An alarm for a clock that cannot wake anybody."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Event()
        self._at_ns: int | None = None

    def set(self, at_ns: int | None) -> None:
        """Fire at that instant."""
        self._at_ns = at_ns
        self._changed.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has fired."""
        give_up_ns = None if timeout is None else SystemClock().monotonic_ns() + timeout * NS_PER_S
        while True:
            at_ns = self._at_ns
            if at_ns is not None and self._clock.boottime_ns() >= at_ns:
                return True
            if give_up_ns is not None and SystemClock().monotonic_ns() >= give_up_ns:
                return False
            self._changed.wait(POLL_S)
            self._changed.clear()

    def close(self) -> None:
        """There is nothing to give back."""
