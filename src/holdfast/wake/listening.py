"""A listener: two coroutine functions of a program that the governor calls."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, TypeAlias

from holdfast.closing import Closing
from holdfast.errors import HoldfastError, InvalidArgument
from holdfast.wake import wire
from holdfast.wake.accounts import Account
from holdfast.wake.model import NAME_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from holdfast.ipc import Connection, Request
    from holdfast.wake.async_client import AsyncGovernor
    from holdfast.wake.lease import WakeLease

__all__ = ["Callback", "Listener", "OnSleep", "check_callback"]

Callback: TypeAlias = "Callable[[], Awaitable[object]]"
OnSleep: TypeAlias = "Callable[[bool], object]"


class Listener(Closing):
    """Registered: the governor calls its functions, one at a time. Made by `AsyncGovernor.listen`.

    A `before_suspend` that raises has not done its work, so the machine had better stay up: a wake
    lease in its name is held until the resume phase, and the error goes to the loop's exception
    handler. When the resume comes while `before_suspend` still runs (it was out of time), that is
    cancelled first.

    Attributes:
        name: As it is called in `Status.listeners` and by `why`.
        reason: Why it is none any more; "" while it is one.
        gone: Whether the governor has gone: a new one knows nothing of this listener.
    """

    def __init__(
        self,
        governor: AsyncGovernor,
        connection: Connection,
        name: str,
        before_suspend: Callback | None,
        after_resume: Callback | None,
        on_sleep: OnSleep | None = None,
    ) -> None:
        self.name = name
        self.reason = ""
        self.gone = False
        self.number = -1  # until the governor has given one
        self._governor = governor
        self._connection = connection
        self._before_suspend = before_suspend
        self._after_resume = after_resume
        self._on_sleep = on_sleep
        self._running: asyncio.Task[None] | None = None
        self._failed: WakeLease | None = None
        self._over = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether it is none any more."""
        return self._over.is_set()

    def called(self, request: Request) -> None:
        """The governor calls; it is answered when the function has returned."""
        before = self._running
        if request.method == wire.BEFORE_SUSPEND:
            work = self._before(request)
        else:
            work = self._after(request, before)
        self._running = asyncio.get_running_loop().create_task(work, name=f"{self.name} listens")

    def sleeps(self, *, begins: bool) -> None:
        """The machine goes down of itself, or is back."""
        if self._on_sleep is not None:
            try:
                self._on_sleep(begins)
            except Exception as error:  # noqa: BLE001 - it is the user's function
                self._report(error, "on_sleep")

    async def _before(self, request: Request) -> None:
        said = None
        try:
            if self._before_suspend is not None:
                said = _answer(await self._before_suspend())
        except Exception as error:  # noqa: BLE001 - it is the user's function
            self._report(error, "before_suspend")
            await self._stay_up()
        finally:
            request.answer(said)

    async def _stay_up(self) -> None:
        room = NAME_BYTES_MAX - len(" failed")
        name = self.name.encode()[:room].decode(errors="ignore") + " failed"
        try:
            wake_lease = await self._governor.acquire(name)
        except HoldfastError as error:
            self._report(error, "a wake lease after that")
            return
        if self._failed is not None:
            self._failed.close()
        self._failed = wake_lease

    async def _after(self, request: Request, before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():
            before.cancel()
            await asyncio.wait([before])
        said = None
        try:
            if self._after_resume is not None:
                said = _answer(await self._after_resume())
        except Exception as error:  # noqa: BLE001 - it is the user's function
            self._report(error, "after_resume")
        finally:
            self._let_go()
            request.answer(said)

    def _let_go(self) -> None:
        failed, self._failed = self._failed, None
        if failed is not None:
            failed.close()

    def _report(self, error: Exception, what: str) -> None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"{what} of the listener {self.name} failed", "exception": error}
        )

    def ended(self, reason: str, *, gone: bool = False) -> None:
        """It is none any more: it was evicted, or the governor has gone."""
        if not self._over.is_set():
            self.reason = reason
            self.gone = gone
            self._over.set()
            self._let_go()

    async def wait_closed(self) -> None:
        """Return when there will be no more calls; `reason` says why, and `gone` if it is that."""
        await self._over.wait()

    def close(self) -> None:
        """Be none any more; what runs is left to end. Closing twice is harmless."""
        if not self._over.is_set():
            self.ended("it was closed")
            self._governor.forget(self)
            if not self._connection.closed:
                self._connection.tell(wire.UNLISTEN, wire.Listening(self.number))


def _answer(result: object) -> wire.Answered | None:
    """What the governor is told: the account, if the function has returned one."""
    return wire.Answered(result) if isinstance(result, Account) else None


def check_callback(function: Callback | None, what: str) -> None:
    """See that it can be awaited, now rather than when the machine goes down.

    Raises:
        InvalidArgument: It is no coroutine function.
    """
    called = getattr(function, "__call__", None)  # noqa: B004 - not whether, but what
    if function is not None and not (
        inspect.iscoroutinefunction(function)
        or inspect.iscoroutinefunction(called)
        or inspect.iscoroutinefunction(getattr(function, "func", None))
    ):
        raise InvalidArgument(f"{what}={function!r} is no coroutine function")
