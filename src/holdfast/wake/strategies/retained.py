"""`RetainedWakeLease`: a wake lease that is held for some time after the last event.

Two uses. With the other strategies it saves acquisitions where events come thick and fast: a short
time, and correctness does not rest on it. By itself it is the last resort, for a consumer that can
take no part: one hopes that the consumer is done by then, and some day it is not.

::

            touch: acquired, then the time begins           the time is over, close
    NOTHING ──────────────────────────────────────▶ HELD ─────────────────────────▶ NOTHING
                    touch: the time begins anew ──┘ ▲ └── take: it is the caller's ──▶ NOTHING
                                                    └── deposit

The time is counted by CLOCK_MONOTONIC, not by CLOCK_BOOTTIME as the promises of this library are:
it stands for the work of somebody, and work stands still while the machine is down. (It goes down
with the lease held only where it does so of itself; then what is left of the work is done after the
resume, and the lease has to be there.)

Sources: the seed, "Timeouts", and the helper that it names; here a touch never makes a running time
shorter unless it is told to, and a failed acquisition is an error each time.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from holdfast.clock import NS_PER_S, SystemClock
from holdfast.closing import Closing
from holdfast.durations import nanoseconds
from holdfast.errors import Closed, WakeError
from holdfast.wake.model import check_name

if TYPE_CHECKING:
    from datetime import timedelta

    from holdfast.wake.strategies.surroundings import GovernorLike, WakeLeaseLike

__all__ = ["LONG_S", "RetainedWakeLease"]

LONG_S: Final = 2.0

log = logging.getLogger("holdfast.wake")
log.addHandler(logging.NullHandler())


class RetainedWakeLease(Closing):
    """Holds a wake lease from the first event until some time after the last.

    Args:
        governor: A connection to the governor.
        name: Of the wake lease.
        retain: For how many seconds after the last touch. Choose it carefully, and short: the
            machine stays up for all of it. More than two seconds is worth a line in the log.

    Attributes:
        acquisitions: How many wake leases were taken.
        touches: How many events there were.
        name: See there.
    """

    def __init__(self, governor: GovernorLike, name: str, retain: float | timedelta) -> None:
        self.name = check_name(name, "a wake lease")
        self.acquisitions = 0
        self.touches = 0
        self._governor = governor
        self._retain_ns = self._checked(retain)
        self._now_ns = SystemClock().monotonic_ns
        self._lock = asyncio.Lock()
        self._wake_lease: WakeLeaseLike | None = None
        self._until_ns = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def held(self) -> bool:
        """Whether a wake lease is held."""
        return self._wake_lease is not None

    def remaining(self) -> float:
        """For how many seconds more, if nothing happens; 0 if none is held."""
        if self._wake_lease is None:
            return 0.0
        return max(self._until_ns - self._now_ns(), 0) / NS_PER_S

    async def touch(
        self, retain: float | timedelta | None = None, *, shorten: bool = False
    ) -> None:
        """There is an event: hold a wake lease from now on. It is held when this returns.

        Args:
            retain: For how many seconds this time; None: as always.
            shorten: Let the time end earlier than it would have, too.

        Raises:
            Closed: It was closed.
            HoldfastError: As of `acquire`; nothing is held then that was not before.
        """
        retain_ns = self._retain_ns if retain is None else self._checked(retain)
        self.touches += 1
        if self._wake_lease is None:
            async with self._lock:  # those who come while the first one asks need not ask, too
                self._check_open()
                if self._wake_lease is None:
                    wake_lease = await self._governor.acquire(self.name)
                    if self._closed:
                        wake_lease.close()
                        self._check_open()
                    self.acquisitions += 1
                    self._wake_lease = wake_lease
                    self._until_ns = 0
        self._extend(retain_ns, shorten=shorten)

    def copy(self) -> WakeLeaseLike:
        """A copy of what is held, which is the caller's: for handing on with an event.

        Raises:
            WakeError: Nothing is held: touch it first.
        """
        return self._need().dup()

    def take(self) -> WakeLeaseLike:
        """What is held, which is the caller's from now on; the time is over.

        Raises:
            WakeError: Nothing is held.
        """
        wake_lease = self._need()
        self._wake_lease = None
        self._disarm()
        return wake_lease

    def deposit(self, wake_lease: WakeLeaseLike, retain: float | timedelta | None = None) -> None:
        """Hold this one, which is ours from now on; it is closed if what is held lasts longer.

        Raises:
            Closed: It was closed, and so is the wake lease.
        """
        if self._closed:
            wake_lease.close()
            self._check_open()
        retain_ns = self._retain_ns if retain is None else self._checked(retain)
        if self._wake_lease is not None and self._until_ns > self._now_ns() + retain_ns:
            wake_lease.close()
            return
        before, self._wake_lease = self._wake_lease, wake_lease
        if before is not None:
            before.close()
        self._extend(retain_ns, shorten=before is None)

    def close(self) -> None:
        """Let go at once, and for good."""
        self._closed = True
        self._drop()

    def _checked(self, retain: float | timedelta) -> int:
        retain_ns = nanoseconds(retain, "retain")
        if retain_ns > LONG_S * NS_PER_S:
            log.warning(
                "%s keeps the machine up for %g s after each event", self.name, retain_ns / NS_PER_S
            )
        return retain_ns

    def _extend(self, retain_ns: int, *, shorten: bool) -> None:
        until_ns = self._now_ns() + retain_ns
        if shorten or self._timer is None:
            self._until_ns = until_ns
            self._arm()
        elif until_ns > self._until_ns:
            self._until_ns = until_ns  # the timer looks at it when it fires: most touches are cheap

    def _arm(self) -> None:
        self._disarm()
        delay_s = max(self._until_ns - self._now_ns(), 0) / NS_PER_S
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._expire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        if self._now_ns() < self._until_ns:
            self._arm()
        else:
            self._drop()

    def _drop(self) -> None:
        self._disarm()
        wake_lease, self._wake_lease = self._wake_lease, None
        if wake_lease is not None:
            wake_lease.close()

    def _need(self) -> WakeLeaseLike:
        if self._wake_lease is None:
            raise WakeError("no wake lease is held", on=self.name, hint="touch it first")
        return self._wake_lease

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("the retained wake lease is closed", on=self.name, hint="make another one")
