"""The watchdog: a thread that does no I/O, and declares a lease lost when its deadline passes.

Whatever hangs (the store, the renewer, the holder's own code), the deadline comes. It is on
CLOCK_BOOTTIME, so that a machine that slept past it finds out as soon as it wakes.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from holdfast.lease.alarm import alarm_of

if TYPE_CHECKING:
    from holdfast.clock import Clock
    from holdfast.lease.roster import Roster

__all__ = ["Watchdog"]


class Watchdog:
    """Watches the deadlines of a roster. The thread starts with the first lease."""

    def __init__(self, roster: Roster, clock: Clock) -> None:
        self._roster = roster
        self._clock = clock
        self._alarm = alarm_of(clock)
        self._planned_ns: int | None = None
        self._thread: threading.Thread | None = None
        self._closing = False

    def watch_until(self, deadline_ns: int) -> None:
        """A lease has this deadline: wake up by then. Call it under the roster's lock."""
        if self._planned_ns is None or deadline_ns < self._planned_ns:
            self._planned_ns = deadline_ns
            self._alarm.set(deadline_ns)
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="holdfast-lease-watchdog", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """Stop the thread, and wait for that: it does nothing that takes long."""
        with self._roster.lock:
            self._closing = True
            self._alarm.set(0)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._alarm.close()

    def _run(self) -> None:
        while True:
            self._alarm.wait()
            with self._roster.lock:
                if self._closing:
                    return
                now_ns = self._clock.boottime_ns()
                # Also those that somebody else has found lost, and told nobody.
                lost = [held for held in self._roster if held.expire(now_ns)]
                left = [held.keeper.deadline_ns for held in self._roster if not held.keeper.over]
                self._planned_ns = min(left, default=None)
                self._alarm.set(self._planned_ns)
            for held in lost:
                held.announce()
