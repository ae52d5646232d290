"""The governor, for coroutines: `connect_async` and `AsyncGovernor`."""

# ruff: noqa: ASYNC109 - the time-out of a suspend is the governor's to keep

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Literal, Self

from holdfast.durations import nanoseconds, nanoseconds_or_none
from holdfast.errors import Closed, GovernorGone, HoldfastError, Unsupported
from holdfast.ipc import Connection, Descriptors, Message, Request
from holdfast.ipc import connect as connect_ipc
from holdfast.ipc.messages import parameters_as
from holdfast.wake import wire
from holdfast.wake.client import Status, status_of
from holdfast.wake.lease import WakeLease
from holdfast.wake.listening import Callback, Listener, OnSleep, check_callback
from holdfast.wake.model import OnTimeout, check_name
from holdfast.wake.places import socket_path

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator
    from datetime import timedelta

__all__ = ["AsyncGovernor", "Connecting", "connect_async"]

_EVENTS_MAX = 10_000


def connect_async(path: str | os.PathLike[str] | None = None) -> Connecting:
    """The governor of this machine, or of that socket: await it, or use it in an async with block.

    Args:
        path: Its socket; None: ``HOLDFAST_WAKE_SOCKET``, else the usual place.

    Raises:
        NotFound: Nobody has a socket there.
        Unavailable: Somebody had, and has died.
        NotPermitted: It is another user's.
    """
    return Connecting(os.fspath(path) if path is not None else socket_path())


class Connecting:
    """What `connect_async` returns: ``await`` it, or ``async with`` it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._governor: AsyncGovernor | None = None

    async def _connected(self) -> AsyncGovernor:
        governor = AsyncGovernor(self._path)
        await governor.connect()
        return governor

    def __await__(self) -> Generator[object, None, AsyncGovernor]:
        return self._connected().__await__()

    async def __aenter__(self) -> AsyncGovernor:
        self._governor = await self._connected()
        return self._governor

    async def __aexit__(self, *_: object) -> None:
        if self._governor is not None:
            await self._governor.close()


class AsyncGovernor:
    """A connection to the governor, for the tasks of one event loop. Calls do not wait for others.

    If the governor goes, all calls that wait raise `GovernorGone`, every listener is closed
    (`Listener.wait_closed` says so), and every wake lease forbids nothing any more. The next call
    tries to connect to a new governor; listeners do not come back by themselves, since nobody was
    asked meanwhile: who listens must look after his affairs first.

    Args:
        path: The governor's socket.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._listeners: dict[int, Listener] = {}
        self._closed = False

    async def connect(self) -> Connection:
        """The connection, made if there is none.

        Raises:
            NotFound, Unavailable, NotPermitted: As of `connect_async`.
            Closed: It was closed.
        """
        if self._connection is not None and not self._connection.closed:
            return self._connection
        async with self._connecting:
            if self._closed:
                raise Closed("this connection to the governor is closed", on=self.path)
            if self._connection is None or self._connection.closed:
                self._connection = await connect_ipc(
                    self.path,
                    on_call=self._called,
                    on_closed=self._gone,
                    service="governor",
                    gone=GovernorGone,
                )
            return self._connection

    # -- wake leases and suspends -----------------------------------------------------------------

    async def acquire(self, name: str, *, unmonitored: bool = False) -> WakeLease:
        """A wake lease, held when this returns; see `Governor.acquire`.

        Inside `before_suspend` it is granted at once, and stops the suspend.

        Raises:
            InvalidArgument: That is no name.
            GovernorGone: The governor has gone.
            OutOfSpace: There are too many wake leases already, or no descriptors left.
        """
        return await self._lease(wire.ACQUIRE, name, unmonitored=unmonitored)

    async def application_activity(self, name: str) -> WakeLease:
        """A wake lease that is granted only while the machine is fully awake.

        Raises:
            InvalidArgument: That is no name; or it is asked for by a listener that is being called,
                which would wait for itself.
            GovernorGone: The governor has gone.
            OutOfSpace: There are too many wake leases already, or no descriptors left.
        """
        return await self._lease(wire.APPLICATION_ACTIVITY, name, unmonitored=False)

    async def _lease(self, method: str, name: str, *, unmonitored: bool) -> WakeLease:
        check_name(name, "a wake lease")
        connection = await self.connect()
        said = wire.Acquire(name, unmonitored)
        _, came = await connection.call(method, said, wire.Nothing)
        with came:
            return WakeLease(came.take(), name, reporter=self, checked=True)

    async def suspend(self, timeout: float | timedelta | None = None) -> float:
        """Let the machine go down as soon as nothing forbids it; see `Governor.suspend`.

        A task that is cancelled here withdraws the request.

        Raises:
            SuspendAborted: It did not go down in time.
            GovernorGone: The governor has gone.
        """
        said = wire.Suspend(nanoseconds_or_none(timeout, "timeout"))
        connection = await self.connect()
        slept, _ = await connection.call(wire.SUSPEND, said, wire.Slept)
        return slept.duration_ns / 1e9

    # -- what can be seen -------------------------------------------------------------------------

    async def status(self) -> Status:
        """The governor at this moment.

        Raises:
            GovernorGone: The governor has gone.
        """
        connection = await self.connect()
        return status_of((await connection.call(wire.STATUS, wire.Nothing(), wire.Seen))[0])

    async def why(self) -> str:
        """Why the machine is not down; see `Governor.why`.

        Raises:
            GovernorGone: The governor has gone.
        """
        return "\n".join((await self.reasons()).lines)

    async def reasons(self) -> wire.Why:
        """The same with what it is made of; see `Governor.reasons`.

        Raises:
            GovernorGone: The governor has gone.
        """
        connection = await self.connect()
        return (await connection.call(wire.WHY, wire.Nothing(), wire.Why))[0]

    async def leases(self) -> list[wire.Lease]:
        """All wake leases, oldest first, with who asked for each.

        Raises:
            GovernorGone: The governor has gone.
        """
        connection = await self.connect()
        answer, _ = await connection.call(wire.LIST, wire.Nothing(), wire.Leases)
        return answer.wake_leases

    async def where(self) -> list[wire.Located]:
        """All wake leases, and which processes hold each now; see `Governor.where`.

        Raises:
            GovernorGone: The governor has gone.
        """
        connection = await self.connect()
        answer, _ = await connection.call(wire.WHERE, wire.Nothing(), wire.Where)
        return answer.wake_leases

    async def watch(self, since: int | None = None) -> AsyncIterator[wire.WakeEvent]:
        """What happens, from now on and without end; see `Governor.watch`.

        Who takes too long over an event misses later ones: their numbers have a gap then.

        Raises:
            GovernorGone: The governor has gone.
        """
        connection = await self.connect()
        came: asyncio.Queue[wire.WakeEvent | HoldfastError] = asyncio.Queue(_EVENTS_MAX)

        def on_answer(answer: Message | HoldfastError, _: Descriptors) -> None:
            if isinstance(answer, Message):
                with contextlib.suppress(asyncio.QueueFull):
                    came.put_nowait(parameters_as(answer, wire.WakeEvent))
                return
            if came.full():
                came.get_nowait()
            came.put_nowait(answer)

        number = connection.start_call(wire.WATCH, wire.Watch(since), on_answer, more=True)
        try:
            while True:
                event = await came.get()
                if isinstance(event, HoldfastError):
                    raise event
                yield event
        finally:
            connection.cancel_call(number)

    def hop(
        self,
        event: str,
        inode: int,
        *,
        pid: int | None = None,
        index: int | None = None,
        processed: int | None = None,
    ) -> None:
        """Tell the governor how a copy travels; see `Reporter`. `send_async` does it."""
        connection = self._connection
        if connection is None or connection.closed:
            return  # news for people: never a reason to connect
        said = {"event": event, "inode": inode, "pid": pid, "index": index}
        if processed is not None:
            said["processed"] = processed
        try:
            here = asyncio.get_running_loop() is connection.loop
        except RuntimeError:
            here = False
        if here:
            connection.tell(wire.HOP, said)
        elif not connection.loop.is_closed():  # a wake lease that another thread closes
            connection.loop.call_soon_threadsafe(connection.tell, wire.HOP, said)

    # -- listeners --------------------------------------------------------------------------------

    async def listen(
        self,
        before_suspend: Callback | None,
        after_resume: Callback | None = None,
        *,
        name: str | None = None,
        timeout: float | timedelta | None = None,
        on_timeout: OnTimeout | Literal["abort", "go_on", "evict"] = OnTimeout.ABORT,
        on_sleep: OnSleep | None = None,
    ) -> Listener:
        """Be called before each suspend and after each resume; registered when this returns.

        The suspend waits until `before_suspend` has returned; to prevent it, acquire a wake lease
        before. The first call is always `before_suspend`.

        Args:
            before_suspend: A coroutine function without arguments, or None.
            after_resume: The same; the next suspend waits for it.
            name: How the listener is called in messages; None: as the program.
            timeout: How many seconds a call may take; None: as long as it wants.
            on_timeout: What happens then: "abort" the suspend, "go_on" without it, or "evict" it.
            on_sleep: A plain function. It is called with True when the machine goes down of itself,
                before `before_suspend` is called for that: such a sleep is delayed by wake leases
                and not prevented, so that nobody should hold one on until `after_resume`. With
                False when the machine is back, or does not go down after all.

        Raises:
            InvalidArgument: One is no coroutine function, or the name or time-out is none.
            GovernorGone: The governor has gone.
            OutOfSpace: There are too many listeners already.
        """
        check_callback(before_suspend, "before_suspend")
        check_callback(after_resume, "after_resume")
        called = check_name(name or os.path.basename(sys.argv[0] or "") or "python", "a listener")
        timeout_ns = None if timeout is None else nanoseconds(timeout, "timeout")
        said = wire.Listen(called, timeout_ns, OnTimeout(on_timeout).value)
        connection = await self.connect()
        listener = Listener(self, connection, called, before_suspend, after_resume, on_sleep)
        registered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_answer(answer: Message | HoldfastError, _: Descriptors) -> None:
            # Here and not in the task that waits: a call may come in the same read.
            if isinstance(answer, HoldfastError):
                if not registered.done():
                    registered.set_exception(answer)
                return
            listener.number = parameters_as(answer, wire.Listening).listener
            if registered.done():  # the task was cancelled meanwhile
                connection.tell(wire.UNLISTEN, wire.Listening(listener.number))
                return
            self._listeners[listener.number] = listener
            registered.set_result(None)

        connection.start_call(wire.LISTEN, said, on_answer)
        try:
            await registered
        except asyncio.CancelledError:
            if self._listeners.pop(listener.number, None) is not None:
                connection.tell(wire.UNLISTEN, wire.Listening(listener.number))
            raise
        return listener

    def forget(self, listener: Listener) -> None:
        """It is none any more."""
        self._listeners.pop(listener.number, None)

    def _called(self, request: Request) -> None:
        if request.method == wire.EVICTED:
            evicted = request.parameters(wire.Evicted)
            listener = self._listeners.pop(evicted.listener, None)
            if listener is not None:
                listener.ended(f"it was evicted: {evicted.reason}")
        elif request.method == wire.SLEEPS:
            said = request.parameters(wire.Sleeps)
            listener = self._listeners.get(said.listener)
            if listener is not None:
                listener.sleeps(begins=said.begins)
        elif request.method in {wire.BEFORE_SUSPEND, wire.AFTER_RESUME}:
            listener = self._listeners.get(request.parameters(wire.Called).listener)
            if listener is None:
                request.answer()  # it was closed, and the governor will hear of it
            else:
                listener.called(request)
        else:
            raise Unsupported("a client has no such method", on=request.method[:80])

    def _gone(self, connection: Connection, reason: str) -> None:
        listeners = list(self._listeners.values())
        self._listeners.clear()
        for listener in listeners:
            listener.ended(f"the governor has gone: {reason}", gone=True)

    # -- the end ----------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    async def close(self) -> None:
        """End the connection, and with it the listeners. Wake leases stay."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()
            await asyncio.sleep(0)  # what its end calls

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
