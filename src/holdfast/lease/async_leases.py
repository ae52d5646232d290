"""`AsyncLeases`: leases for asyncio. It runs the same scripts, and never blocks the loop.

Renewal and the watchdog are threads here too: a loop that is busy starves nobody's lease.
"""

# ruff: noqa: ASYNC109 - a wait that is over is an answer here, and not an exception

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from holdfast.clock import NS_PER_S
from holdfast.durations import seconds
from holdfast.errors import Closed, HoldfastError, OutcomeUnknown, Unavailable
from holdfast.lease import scripts
from holdfast.lease.async_held import AsyncHold
from holdfast.lease.beside import Beside
from holdfast.lease.leases import Leases, changes
from holdfast.lease.leases import open as open_blocking
from holdfast.lease.record import check_word

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import timedelta

    from holdfast.clock import Clock
    from holdfast.lease.held import Held, Terms
    from holdfast.lease.keeper import Renew
    from holdfast.lease.leases import Change, Listing
    from holdfast.lease.record import Record
    from holdfast.lease.stores import Store

__all__ = ["AsyncLeases", "AsyncToken", "open_async"]

P = ParamSpec("P")
T = TypeVar("T")

# A wait looks at the store this often at first, and then less and less often.
LOOK_S_MIN = 0.01
LOOK_S_MAX = 0.2


class AsyncToken:
    """A question that can be asked again and again; see `holdfast.lease.leases.Token`."""

    def __init__(self, leases: AsyncLeases, name: str, holder: str) -> None:
        self._leases = leases
        self.name = check_word(name, "name of a lease")
        self.holder = check_word(holder, "holder")

    async def check(self) -> Record:
        """Ask the store, now."""
        name, holder = self.name, self.holder
        return await self._leases.call(lambda: self._leases.blocking.token(name, holder).check())


class AsyncLeases:
    """The leases of one namespace, for coroutines; made by `open_async`.

    The methods are those of `holdfast.lease.Leases`, awaited. One thread of its own calls the
    store, so that what is cancelled is cleaned up after it has ended, and not while it goes on.
    """

    def __init__(self, url: str, namespace: str, clock: Clock | None) -> None:
        self._arguments: dict[str, Any] = {"url": url, "namespace": namespace, "clock": clock}
        self._leases: Leases | None = None
        self._beside = Beside("holdfast-lease-async")

    @property
    def blocking(self) -> Leases:
        """The same leases, for threads. Opened at the first use."""
        if self._leases is None:
            self._leases = open_blocking(**self._arguments)
        return self._leases

    @property
    def store(self) -> Store:
        """The strict layer below. Its calls block."""
        return self.blocking.store

    @property
    def namespace(self) -> str:
        """Whose leases."""
        return str(self._arguments["namespace"])

    @property
    def closed(self) -> bool:
        """True after `close`, and while it goes on."""
        return self._beside.ended

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run something that asks the store, beside the loop.

        Raises:
            Closed: These leases are closed.
        """
        return await asyncio.wrap_future(self._beside.submit(lambda: function(*args, **kwargs)))

    def hold(
        self,
        name: str,
        *,
        holder: str | None = None,
        duration: float | timedelta = 30,
        wait: float | timedelta | None = None,
        renew: Renew = "auto",
        on_lost: Callable[[Held], object] | None = None,
        why: str | None = None,
        on_wait: Callable[[Record], object] | None = None,
    ) -> AsyncHold:
        """An async with block, or a decorator for coroutine functions; see `Leases.hold`."""
        terms = Leases.terms(
            name,
            holder=holder,
            duration=duration,
            wait=wait,
            renew=renew,
            on_lost=on_lost,
            why=why,
            on_wait=on_wait,
        )
        return AsyncHold(self, terms)

    async def acquire(self, terms: Terms) -> Held:
        """What entering the block of `hold` does; use that."""
        leases = await self.call(lambda: self.blocking)
        leases.need_open()
        holder = leases.new_holder() if terms.holder is None else terms.holder
        made: list[Held] = []
        try:
            while True:
                claimed = await self._run(leases.claiming(terms, holder), terms.on_wait)
                if leases.take(claimed, terms, made):
                    return made[0]
                await self._run(scripts.release(claimed.record))
        except BaseException as error:
            with suppress(Closed):  # then it lapses by itself
                await asyncio.shield(self.call(leases.undo, error, terms, holder, made))
            raise

    async def claim(
        self, name: str, holder: str, duration: float | timedelta, **more: Any
    ) -> Record:
        """Claim a lease, or extend it if `holder` has it; nobody renews it afterwards."""
        leases = await self.call(lambda: self.blocking)
        wait = more.pop("wait", 0)
        terms = Leases.terms(name, holder=holder, duration=duration, wait=wait, renew=None, **more)
        return (await self._run(leases.claiming(terms, holder), terms.on_wait)).record

    def token(self, name: str, holder: str) -> AsyncToken:
        """Whether that holder holds that lease: a question, to be asked with `check`."""
        return AsyncToken(self, name, holder)

    async def records(self) -> Listing:
        """Every lease that somebody holds, read from the store now."""
        return await self.call(lambda: self.blocking.records())

    async def watch(self, *, timeout: float | timedelta | None = None) -> AsyncIterator[Change]:
        """What becomes of the leases from now on; ends after `timeout` seconds without a change."""
        limit = seconds(timeout, "timeout")
        seen = dict(await self.call(lambda: self.store.refresh()))
        idle = 0.0
        while limit is None or idle < limit:
            pause = LOOK_S_MAX if limit is None else min(LOOK_S_MAX, limit - idle)
            await asyncio.sleep(pause)
            await self._run(scripts.expire_overdue())
            after = dict(await self.call(self.store.refresh))
            idle = idle + pause if after == seen else 0.0
            for change in changes(seen, after):
                yield change
            seen = after

    async def wait_until_expired(self, name: str, timeout: float | timedelta | None = None) -> bool:
        """Wait until nobody holds the lease; False if `timeout` seconds passed first."""
        terms = Leases.terms(name, wait=timeout)
        return await self._run(scripts.await_vacancy(terms.name, wait_ns=terms.wait_ns))

    async def pin(self, name: str, by: str) -> None:
        """Keep a lease from expiring until `by` unpins it."""
        await self.call(lambda: self.blocking.pin(name, by))

    async def unpin(self, name: str, by: str) -> None:
        """Take that back."""
        await self.call(lambda: self.blocking.unpin(name, by))

    async def close(self) -> None:
        """Give back what is held, and let go of the store."""
        if self.closed:
            return
        closing = self._beside.submit(self._close)
        self._beside.end()
        await asyncio.shield(asyncio.wrap_future(closing))

    def _close(self) -> None:
        if self._leases is not None:
            self._leases.close()

    async def __aenter__(self) -> Self:
        await self.call(lambda: self.blocking)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # -- the driver of scripts --------------------------------------------------------------------

    async def _run(
        self, script: scripts.Script[T], report: Callable[[Record], object] | None = None
    ) -> T:
        try:
            effect = script.send(None)
            while True:
                try:
                    answer = await self._perform(effect, report)
                except HoldfastError as error:
                    effect = script.throw(error)
                else:
                    effect = script.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            script.close()

    async def _perform(
        self, effect: scripts.Effect, report: Callable[[Record], object] | None
    ) -> Any:
        leases = self.blocking
        if isinstance(effect, scripts.Wait):
            return await self._wait(effect.name, effect.seen, effect.limit_ns / NS_PER_S)
        if isinstance(effect, scripts.Call):
            return await self.call(leases.driver.perform, effect, None)
        return leases.driver.perform(effect, report)

    async def _wait(self, name: str | None, seen: Record | None, limit_s: float) -> None:
        loop = asyncio.get_running_loop()
        give_up, pause = loop.time() + limit_s, LOOK_S_MIN
        while (left := give_up - loop.time()) > 0:
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, LOOK_S_MAX)
            try:
                if name is not None and await self.call(self.store.look, name) != seen:
                    return
            except (Unavailable, OutcomeUnknown):
                pass  # it cannot tell now; time passes all the same


def open_async(
    url: str = "local:", *, namespace: str = "default", clock: Clock | None = None
) -> AsyncLeases:
    """Open the leases of a namespace for coroutines: ``async with lease.open_async(url) as ...``.

    The arguments are those of `holdfast.lease.open`. Nothing is opened before the first use.
    """
    return AsyncLeases(url, namespace, clock)
