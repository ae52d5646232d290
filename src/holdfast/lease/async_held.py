"""What a coroutine has in its hands: `AsyncHeld`, and `AsyncHold`, the async with block."""

# ruff: noqa: ASYNC109 - a wait that is over is an answer here, and not an exception

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from holdfast.durations import seconds
from holdfast.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

    from holdfast.lease.async_leases import AsyncLeases
    from holdfast.lease.held import Held, Terms
    from holdfast.lease.record import Record

__all__ = ["AsyncHeld", "AsyncHold"]

P = ParamSpec("P")
T = TypeVar("T")

# How soon a coroutine hears of a loss. The watchdog knows at once, and so does `check`.
LOOK_S_MAX = 0.05


class AsyncHeld:
    """A lease that this process holds, for coroutines; see `holdfast.lease.Held`."""

    __slots__ = ("_held", "_leases", "check", "fencing_token", "holder", "name", "progress")

    def __init__(self, leases: AsyncLeases, held: Held) -> None:
        self._leases = leases
        self._held = held
        self.name, self.holder, self.fencing_token = held.name, held.holder, held.fencing_token
        self.check = held.check  # neither of these asks anybody
        self.progress = held.progress

    @property
    def lost(self) -> bool:
        """Whether it was lost."""
        return self._held.lost

    @property
    def record(self) -> Record:
        """What the store answered last."""
        return self._held.record

    def remaining(self) -> float:
        """For how many seconds more it is certainly ours."""
        return self._held.remaining()

    def fileno(self) -> int:
        """A descriptor that becomes readable when it is lost."""
        return self._held.fileno()

    async def wait_lost(self, timeout: float | timedelta | None = None) -> bool:
        """Wait until it is lost; False if it was released, or `timeout` seconds passed first."""
        limit = seconds(timeout, "timeout")
        loop = asyncio.get_running_loop()
        give_up = None if limit is None else loop.time() + limit
        while not self._held.keeper.over:
            left = LOOK_S_MAX if give_up is None else give_up - loop.time()
            if left <= 0:
                break
            await asyncio.sleep(min(left, LOOK_S_MAX))
        return self._held.lost

    async def gate(self, transaction: object) -> None:
        """Let a transaction of yours commit only while the lease is ours; see `Held.gate`.

        A transaction belongs to the thread and the loop it is used in, so this is done here, and
        takes the time of one statement.
        """
        self._held.gate(transaction)

    async def release(self) -> None:
        """Give it back."""
        if not self._leases.closed:  # which has given back everything
            await self._leases.call(self._held.release)

    async def close(self) -> None:
        """Give it back, and only log it if the store cannot be reached."""
        if not self._leases.closed:
            await self._leases.call(self._held.close)


class AsyncHold:
    """An async with block under a lease, or a decorator for coroutine functions."""

    def __init__(self, leases: AsyncLeases, terms: Terms) -> None:
        self._leases = leases
        self._terms = terms
        self._held: AsyncHeld | None = None

    async def __aenter__(self) -> AsyncHeld:
        """Claim the lease, waiting for it if that was asked for."""
        if self._held is not None:
            raise InvalidArgument("this block is entered already", hint="call hold() once for each")
        self._held = AsyncHeld(self._leases, await self._leases.acquire(self._terms))
        return self._held

    async def __aexit__(self, *_: object) -> None:
        held, self._held = self._held, None
        if held is not None:
            await asyncio.shield(held.close())

    def __call__(self, function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """The coroutine function, under the lease.

        Raises:
            TypeError: It is none.
        """
        called = getattr(function, "__call__", None)  # noqa: B004 - not whether, but what
        if not (inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)):
            raise TypeError(
                f"{function!r} is no coroutine function; use hold() of lease.open() for others"
            )

        @functools.wraps(function)
        async def under_lease(*args: P.args, **kwargs: P.kwargs) -> T:
            async with AsyncHold(self._leases, self._terms):
                return await function(*args, **kwargs)

        return under_lease
