"""`RetainedWakeLease`: a wake lease that is held for some time after the last event.

Two uses. With the other strategies it saves acquisitions where events come thick and fast: a short
time, and correctness does not rest on it. By itself it is the last resort, for a consumer that can
take no part: one hopes that the consumer is done by then, and some day it is not.

A time runs from the first event until so long after the last, and there are two ways to cover it::

    the default       touch: acquired ────────────── held ────────────── the time is over: closed

    optimistic=True   touch: a timer ─┬──────── nothing is held ──────── the time is over
                                      │ the machine suspends meanwhile
                                      └─▶ before_suspend: acquired ───── the time is over: closed

The optimistic one is a listener. While it is not known that the machine is awake (before it is
registered, from before_suspend until after_resume, and when the governor calls no more) it takes
its wake lease at once, as the other does. It costs nothing for an event while the machine is awake,
and one wake lease for a suspend at most; and each suspend has one more to ask.

The time is counted by CLOCK_MONOTONIC, not by CLOCK_BOOTTIME as the promises of this library are:
it stands for the work of somebody, and work stands still while the machine is down. (It goes down
with the lease held only where it does so of itself; then what is left of the work is done after the
resume, and the lease has to be there.)

Sources: the seed, "Timeouts", and the two forms of the helper that it names; here a touch never
makes a running time shorter unless it is told to, and a failed acquisition is an error each time.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from typing import TYPE_CHECKING, Final

from holdfast.clock import NS_PER_S, SystemClock
from holdfast.closing import Closing
from holdfast.durations import nanoseconds
from holdfast.errors import Closed, HoldfastError, WakeError
from holdfast.wake.model import check_name

if TYPE_CHECKING:
    from datetime import timedelta

    from holdfast.wake.strategies.surroundings import GovernorLike, Listening, WakeLeaseLike

__all__ = ["LONG_S", "RetainedWakeLease"]

LONG_S: Final = 2.0

log = logging.getLogger("holdfast.wake")
log.addHandler(logging.NullHandler())


class RetainedWakeLease(Closing):
    """Covers the time from the first event until some time after the last.

    Args:
        governor: A connection to the governor.
        name: Of the wake lease, and of the listener.
        retain: For how many seconds after the last touch. Choose it carefully, and short: the
            machine stays up for all of it. More than two seconds is worth a line in the log.
        optimistic: Hold nothing while the machine is awake, and take the wake lease when it
            suspends, if the time still runs.
        long: From how many seconds on a time is counted as a long one.

    Attributes:
        acquisitions: How many wake leases were taken.
        touches: How many events there were.
        name: See there.
        optimistic: See there.
    """

    def __init__(
        self,
        governor: GovernorLike,
        name: str,
        retain: float | timedelta,
        *,
        optimistic: bool = False,
        long: float | timedelta = LONG_S,
    ) -> None:
        self.name = check_name(name, "a wake lease")
        self.optimistic = optimistic
        self.acquisitions = 0
        self.touches = 0
        self._governor = governor
        self._retain_ns = self._checked(retain)
        self._long_ns = nanoseconds(long, "long")
        self._now_ns = SystemClock().monotonic_ns
        self._lock = asyncio.Lock()
        self._wake_lease: WakeLeaseLike | None = None
        self._until_ns = 0
        self._timer: asyncio.TimerHandle | None = None
        self._began_ns = 0  # when the time that runs began, and since when a lease is held
        self._held_ns = 0
        self._requested_long = 0
        self._held_long = 0
        self._awake = False  # it is known, and we will be called before that changes
        self._calls = 0
        self._listening: Listening | None = None
        self._watching: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def held(self) -> bool:
        """Whether a wake lease is held."""
        return self._wake_lease is not None

    @property
    def requested_long(self) -> int:
        """How many times were long ones, from the first touch to the end, held or not."""
        runs_long = self._timer is not None and self._is_long(self._began_ns)
        return self._requested_long + runs_long

    @property
    def held_long(self) -> int:
        """How many wake leases were really held for that long."""
        return self._held_long + (self.held and self._is_long(self._held_ns))

    def remaining(self) -> float:
        """For how many seconds more the time runs, if nothing happens; 0 if none does."""
        if self._timer is None:
            return 0.0
        return max(self._until_ns - self._now_ns(), 0) / NS_PER_S

    async def touch(
        self,
        retain: float | timedelta | None = None,
        *,
        shorten: bool = False,
        at_once: bool = False,
    ) -> None:
        """There is an event: when this returns, no suspend comes before the time is over.

        The time begins anew. It ends when it would have ended, or later: an event never takes time
        from an earlier one, unless `shorten` is given, with which this touch alone counts.

        Args:
            retain: For how many seconds this time; None: as always.
            shorten: Let the time end earlier than it would have, too.
            at_once: Hold a wake lease when this returns, optimistic or not.

        Raises:
            Closed: It was closed.
            HoldfastError: As of `acquire` and `listen`; nothing is held then that was not before.
        """
        retain_ns = self._retain_ns if retain is None else self._checked(retain)
        self._check_open()
        self.touches += 1
        if self.optimistic and not self._awake:
            await self._learn()
        if self._wake_lease is None and (at_once or not self._awake):
            await self._acquire()
        self._extend(retain_ns, shorten=shorten)  # nothing has come between the look and this

    def copy(self) -> WakeLeaseLike:
        """A copy of what is held, which is the caller's: for handing on with an event.

        Raises:
            WakeError: Nothing is held: touch it first, and at once if it is optimistic.
        """
        return self._need().dup()

    def take(self) -> WakeLeaseLike:
        """What is held, which is the caller's from now on; the time is over.

        Raises:
            WakeError: Nothing is held.
        """
        wake_lease = self._need()
        self._over()
        return wake_lease

    def deposit(self, wake_lease: WakeLeaseLike, retain: float | timedelta | None = None) -> None:
        """Hold this one, which is ours from now on; it is closed if the time that runs is longer.

        Raises:
            Closed: It was closed, and so is the wake lease.
        """
        if self._closed:
            wake_lease.close()
            self._check_open()
        retain_ns = self._retain_ns if retain is None else self._checked(retain)
        if self._timer is not None and self._until_ns > self._now_ns() + retain_ns:
            wake_lease.close()
            return
        before = self._wake_lease
        self._hold(wake_lease)
        if before is not None:
            before.close()
        self._extend(retain_ns, shorten=before is None)

    def close(self) -> None:
        """Let go at once, and for good."""
        self._closed = True
        self._awake = False
        self._drop()
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.close()
        if self._watching is not None:
            self._watching.cancel()

    # -- the machine ------------------------------------------------------------------------------

    async def _learn(self) -> None:
        """Be called before a suspend, and find out whether the machine is awake until then."""
        async with self._lock:
            self._check_open()
            if self._listening is None:
                listening = await self._governor.listen(
                    self._before_suspend, self._after_resume, name=self.name
                )
                if self._closed:
                    listening.close()
                    self._check_open()
                self._listening = listening
                watch = self._watch(listening)
                self._watching = asyncio.create_task(watch, name=f"{self.name} is listened for")
            calls = self._calls
            state = (await self._governor.status()).state
            if calls == self._calls and self._listening is not None:
                # If an attempt goes on for which we are not called, it says so; else we are.
                self._awake = (state.value if isinstance(state, enum.Enum) else state) == "awake"

    async def _watch(self, listening: Listening) -> None:
        """It may be that nobody calls any more: then nothing is known, and the time is covered."""
        await listening.wait_closed()
        self._awake = False
        self._calls += 1
        self._listening = None
        try:
            await self._cover()
        except (HoldfastError, OSError) as error:
            log.warning("no wake lease for %s: %s", self.name, error)

    async def _before_suspend(self) -> None:
        self._awake = False
        self._calls += 1
        await self._cover()

    async def _after_resume(self) -> None:
        self._calls += 1
        self._awake = not self._closed

    async def _cover(self) -> None:
        """If the time runs, hold a wake lease for it."""
        if self._runs() and self._wake_lease is None:
            await self._acquire()
            if not self._runs():  # it was over before the wake lease was there
                self._drop()

    async def _acquire(self) -> None:
        async with self._lock:  # those who come while the first one asks need not ask, too
            self._check_open()
            if self._wake_lease is None:
                wake_lease = await self._governor.acquire(self.name)
                if self._closed:
                    wake_lease.close()
                    self._check_open()
                self.acquisitions += 1
                self._hold(wake_lease)

    # -- the time ---------------------------------------------------------------------------------

    def _checked(self, retain: float | timedelta) -> int:
        retain_ns = nanoseconds(retain, "retain")
        if retain_ns > LONG_S * NS_PER_S:
            log.warning(
                "%s keeps the machine up for %g s after each event", self.name, retain_ns / NS_PER_S
            )
        return retain_ns

    def _extend(self, retain_ns: int, *, shorten: bool) -> None:
        now_ns = self._now_ns()
        until_ns = now_ns + retain_ns
        if self._timer is None:
            self._began_ns = now_ns
        if shorten or self._timer is None:
            self._until_ns = until_ns
            self._arm()
        elif until_ns > self._until_ns:
            self._until_ns = until_ns  # the timer looks at it when it fires: most touches are cheap

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(self._until_ns - self._now_ns(), 0) / NS_PER_S
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._expire)

    def _expire(self) -> None:
        if self._now_ns() < self._until_ns:
            self._arm()
        else:
            self._drop()

    def _runs(self) -> bool:
        return self._timer is not None

    def _hold(self, wake_lease: WakeLeaseLike) -> None:
        if self._wake_lease is None:
            self._held_ns = self._now_ns()
        self._wake_lease = wake_lease

    def _drop(self) -> None:
        wake_lease = self._wake_lease
        self._over()
        if wake_lease is not None:
            wake_lease.close()

    def _over(self) -> None:
        """No time runs and nothing is held any more: count it."""
        self._requested_long, self._held_long = self.requested_long, self.held_long
        self._wake_lease = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_long(self, since_ns: int) -> bool:
        return self._now_ns() - since_ns > self._long_ns

    def _need(self) -> WakeLeaseLike:
        if self._wake_lease is None:
            hint = "touch it at_once" if self.optimistic else "touch it first"
            raise WakeError("no wake lease is held", on=self.name, hint=hint)
        return self._wake_lease

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("the retained wake lease is closed", on=self.name, hint="make another one")
