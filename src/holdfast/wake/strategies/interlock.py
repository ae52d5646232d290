"""`Interlock`: who takes over has a wake lease of his own before the first lets go of his.

The protocol between the two stays as it is, if it has an acknowledgement. The nine steps, in this
order and no other:

==  ====  ======================================  ===============================================
1   X     takes a wake lease                      entering `hand_over`
2   X     acknowledges the interrupt              in the block: only after step 1
3   X     processes the event                     in the block
4   X     passes the event to Y                   in the block
5   Y     takes a wake lease                      entering `take_over`
6   Y     acknowledges the event to X             entering `take_over`: only after step 5
7   X     drops his                               leaving `hand_over`: only after step 6
8   Y     processes the event                     in the block
9   Y     drops his                               leaving `take_over`
==  ====  ======================================  ===============================================

Between 5 and 7 both have one: there is an overlap, and never a gap. ::

    interlock = Interlock(governor, "touch")

    async with interlock.hand_over() as handing:             # X
        acknowledge_interrupt()
        await send(event)
        await handing.acknowledged(receive_acknowledgement())

    event = await receive()                                  # Y
    async with interlock.take_over(send_acknowledgement):
        work(event)

Source: the seed, "Protocol interlocks".
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from holdfast.errors import WakeError
from holdfast.wake.model import check_name
from holdfast.wake.strategies.retained import RetainedWakeLease

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from datetime import timedelta

    from holdfast.wake.strategies.surroundings import GovernorLike, WakeLeaseLike

__all__ = ["HandingOver", "Interlock"]

T = TypeVar("T")


class HandingOver:
    """What X has in hand between taking its wake lease and dropping it.

    Attributes:
        wake_lease: X's own; it is dropped at the end of the block.
        done: Whether Y has acknowledged.
    """

    def __init__(self, wake_lease: WakeLeaseLike) -> None:
        self.wake_lease = wake_lease
        self.done = False

    async def acknowledged(self, answer: Awaitable[T]) -> T:
        """Wait for Y's acknowledgement, and give what it was.

        If that raises, X still has its wake lease, and may pass the event to another in the block.
        """
        what = await answer
        self.done = True
        return what


class Interlock:
    """One side of a protocol whose acknowledgement says that the other has a wake lease.

    Args:
        governor: A connection to the governor.
        name: Of the wake leases.
        retain: Seconds for which a wake lease is held on after the last event, to save
            acquisitions; None: each event has one of its own. Correctness does not rest on it.
    """

    def __init__(
        self, governor: GovernorLike, name: str, *, retain: float | timedelta | None = None
    ) -> None:
        self.name = check_name(name, "a wake lease")
        self._governor = governor
        self._retained = None if retain is None else RetainedWakeLease(governor, name, retain)

    @asynccontextmanager
    async def hand_over(self) -> AsyncIterator[HandingOver]:
        """X's side. Acknowledge the interrupt in the block, and not before.

        Raises:
            WakeError: The block ended, and Y had not acknowledged: the event may be lost.
            HoldfastError: As of `acquire`; then nothing may be acknowledged.
        """
        wake_lease = await self._acquire()
        try:
            handing = HandingOver(wake_lease)
            yield handing
            if not handing.done:
                raise WakeError(
                    "the wake lease is dropped before the event was acknowledged",
                    on=self.name,
                    hint="wait for the other side with acknowledged()",
                )
        finally:
            wake_lease.close()

    @asynccontextmanager
    async def take_over(
        self, acknowledge: Callable[[], Awaitable[object]]
    ) -> AsyncIterator[WakeLeaseLike]:
        """Y's side: work in the block.

        Args:
            acknowledge: Tells X; it is called when the wake lease is held.

        Raises:
            HoldfastError: As of `acquire`; then nothing was acknowledged, and X keeps its own.
        """
        wake_lease = await self._acquire()
        try:
            await acknowledge()
            yield wake_lease
        finally:
            wake_lease.close()

    def close(self) -> None:
        """Let go of what is retained. What is in a block is dropped at its end."""
        if self._retained is not None:
            self._retained.close()

    async def _acquire(self) -> WakeLeaseLike:
        if self._retained is None:
            return await self._governor.acquire(self.name)
        await self._retained.touch()
        return self._retained.copy()
