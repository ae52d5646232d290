"""A machine that goes down in play: it sleeps for a while, and wakes by itself.

For tests, for trying things out, and for machines that cannot suspend. Who asks for a wake lease
while it sleeps wakes it: on a real machine the event that he wants to handle would have woken the
hardware, here there is nothing else that could.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.clock import SystemClock
from holdfast.durations import nanoseconds
from holdfast.wake.model import Failed, Slept

if TYPE_CHECKING:
    from datetime import timedelta

    from holdfast.wake.backends import BackendHost

__all__ = ["Simulated"]


class Simulated:
    """Sleeps in the event loop.

    Args:
        sleep: For how long, in seconds, if nothing wakes it before.

    Raises:
        InvalidArgument: `sleep` is not positive, or no number.
    """

    name = "simulated"
    blocks_nothing = True  # a wake lease is granted without asking `block` first

    def __init__(self, sleep: float | timedelta = 0.05) -> None:
        self._sleep_ns = nanoseconds(sleep, "sleep")
        self._down: tuple[int, asyncio.Event] | None = None  # the attempt, and what wakes it
        self._woken = 0  # the last attempt that was to be woken
        self._closed = False
        self._clock = SystemClock()

    def available(self) -> None:
        """It can work everywhere."""

    async def open(self, host: BackendHost) -> None:
        """Nothing of a simulated machine happens by itself."""

    async def suspend(self, attempt: int) -> Slept | Failed:
        """Sleep, until the time is over or somebody wakes it."""
        if self._closed:
            return Failed("the back-end is closed")
        woken = asyncio.Event()
        self._down = (attempt, woken)
        if self._woken == attempt:
            woken.set()
        began_ns = self._clock.boottime_ns()
        try:
            await asyncio.wait_for(woken.wait(), self._sleep_ns / 1e9)
        except TimeoutError:
            reason = "its timer"
        else:
            reason = "somebody who asks for a wake lease"
        finally:
            self._down = None
        return Slept(self._clock.boottime_ns() - began_ns, reason)

    def wake(self, attempt: int) -> None:
        """Wake it; before it sleeps, too."""
        self._woken = attempt
        if self._down is not None and self._down[0] == attempt:
            self._down[1].set()

    async def block(self, held: bool) -> None:
        """There is nobody else who could suspend it."""

    def ready_for_sleep(self) -> None:
        """It goes down only when it is told to."""

    def ready_for_shutdown(self) -> None:
        """It never shuts down."""

    async def close(self) -> None:
        """Wake it for good."""
        self._closed = True
        if self._down is not None:
            self._down[1].set()
