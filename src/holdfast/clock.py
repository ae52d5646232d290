"""Time: one protocol with three faces, and an alarm that a suspend does not delay.

Every instant is an int of nanoseconds. The three faces answer three questions:

=============  ===============  ================================================
face           kernel clock     use it for
=============  ===============  ================================================
boottime       CLOCK_BOOTTIME   promises: it counts while the machine sleeps
monotonic      CLOCK_MONOTONIC  the pace of work: it stands still in a suspend
realtime       CLOCK_REALTIME   what people read; it jumps: decide nothing by it
=============  ===============  ================================================

Source: clock_gettime(2), timerfd_create(2).
"""

from __future__ import annotations

import math
import os
import select
import time
from datetime import timedelta
from typing import Protocol

from holdfast.closing import Closing
from holdfast.errors import Closed, Unsupported

__all__ = ["NS_PER_S", "Alarm", "Clock", "SystemClock"]

NS_PER_S = 1_000_000_000

# Not every kernel has a clock that counts through a suspend. Where it is missing, the parts that
# run there (membership, the SQL stores) get the next best; `Alarm` says that it cannot.
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_POLL_MAX_S = 86_400.0


class Clock(Protocol):
    """Where time comes from: the kernel, or a simulation."""

    def boottime_ns(self) -> int:
        """Nanoseconds since boot, the time asleep included."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since an unspecified start, the time asleep left out."""
        ...

    def realtime_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC, as far as this machine knows."""
        ...


class SystemClock:
    """The kernel's clocks."""

    __slots__ = ()

    def boottime_ns(self) -> int:
        """Nanoseconds of CLOCK_BOOTTIME."""
        return time.clock_gettime_ns(_BOOTTIME)

    def monotonic_ns(self) -> int:
        """Nanoseconds of CLOCK_MONOTONIC."""
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    def realtime_ns(self) -> int:
        """Nanoseconds of CLOCK_REALTIME."""
        return time.clock_gettime_ns(time.CLOCK_REALTIME)


class Alarm(Closing):
    """A descriptor that becomes readable at an instant of CLOCK_BOOTTIME.

    It is level-triggered: once fired it stays readable, for every waiter, until `set` is called
    again. Nobody has to read from it. A deadline that passed while the machine slept fires on
    resume. Any thread may call `set`, also while another one waits. Close it only when nobody
    waits. After a fork, parent and child share one timer: the child makes an alarm of its own.

    Raises:
        Unsupported: This kernel or this build has no timerfd.
    """

    def __init__(self) -> None:
        self._fd = -1  # first, so that a failed constructor leaves something to finalise
        self._at_ns: int | None = None
        try:
            from holdfast._native import kernel
        except ImportError as error:
            raise Unsupported(
                "an alarm needs Linux and the compiled module",
                on="holdfast._native.kernel",
                hint="install holdfast with a C compiler at hand",
            ) from error
        self._settime = kernel.timerfd_settime
        self._absolute = kernel.TFD_TIMER_ABSTIME
        self._fd = kernel.timerfd_create(
            kernel.CLOCK_BOOTTIME, kernel.TFD_CLOEXEC | kernel.TFD_NONBLOCK
        )

    @property
    def at_ns(self) -> int | None:
        """The instant that was set, in the past or to come, or None."""
        return self._at_ns

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._fd < 0

    def fileno(self) -> int:
        """The descriptor, for poll, epoll, select or an event loop.

        Raises:
            Closed: The alarm was closed.
        """
        if self._fd < 0:
            raise Closed("the alarm is closed", hint="make a new one")
        return self._fd

    def set(self, at_ns: int | None) -> None:
        """Fire at `at_ns` (CLOCK_BOOTTIME), at once if that is past; None: not at all.

        It replaces what was set before, and makes a descriptor that had fired unreadable until
        the new instant.

        Raises:
            Closed: The alarm was closed.
        """
        # 0 would disarm the timer (timerfd_settime(2)), and before boot there is no time.
        # What the kernel's 64 bits cannot hold lies 292 years ahead: as good as the last instant.
        value_ns = 0 if at_ns is None else min(max(at_ns, 1), 2**63 - 1)
        self._settime(self.fileno(), self._absolute, value_ns)
        self._at_ns = at_ns

    def wait(self, timeout: float | timedelta | None = None) -> bool:
        """Wait until the alarm has fired, at most `timeout` seconds; None: without a limit.

        Returns:
            True if it has fired, False if the timeout passed first. It does not consume the
            event: a second call returns True at once.

        Raises:
            Closed: The alarm was closed.
        """
        if isinstance(timeout, timedelta):
            timeout = timeout.total_seconds()
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            # poll(2) takes an int of milliseconds, which ends after 24 days: then wait again.
            left_s = _POLL_MAX_S if deadline is None else deadline - time.monotonic()
            left_ms = math.ceil(min(max(left_s, 0.0), _POLL_MAX_S) * 1000)
            if poll.poll(left_ms):
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False

    def close(self) -> None:
        """Give the descriptor back. Closing twice is harmless."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"fd={self._fd} at_ns={self._at_ns}"
        return f"<Alarm {state}>"
