"""A governor without a socket: the real machine, in the test's own event loop.

Its wake leases are counted copies. `Small.suspend` makes one attempt, and looks whether what the
test wants to hold holds at the entry of the back-end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

from holdfast.clock import SystemClock
from holdfast.errors import GovernorGone, HoldfastError
from holdfast.wake.accounts import Account
from holdfast.wake.governor import Governor
from holdfast.wake.model import (
    Answer,
    Call,
    Config,
    Effect,
    GoDown,
    Grant,
    Moment,
    Requester,
    Slept,
    Status,
    WakeLeaseKind,
)

PATIENCE_S = 50.0


@dataclass(eq=False)
class SmallLease:
    """One copy of a wake lease."""

    governor: Small
    lease_id: int
    closed: bool = False

    def __post_init__(self) -> None:
        self.governor.copies.setdefault(self.lease_id, []).append(self)

    def fileno(self) -> int:
        return -1

    def dup(self) -> Self:
        assert not self.closed
        return type(self)(self.governor, self.lease_id)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.governor.copies[self.lease_id].remove(self)
            if not self.governor.copies[self.lease_id]:
                del self.governor.copies[self.lease_id]
                self.governor.do("lease_closed", self.lease_id)


@dataclass(eq=False)
class SmallListening:
    """A registration."""

    governor: Small
    number: int
    before_suspend: Callable[[], Awaitable[object]]
    after_resume: Callable[[], Awaitable[object]]
    on_sleep: Callable[[bool], object] | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def close(self) -> None:
        if self.governor.listeners.pop(self.number, None) is not None:
            self.gone.set()
            self.governor.do("listener_gone", self.number)

    async def wait_closed(self) -> None:
        await self.gone.wait()


class Small:
    """The governor, as `holdfast.wake.AsyncGovernor` shows it.

    Attributes:
        failing: What `acquire` raises, or None.
        entering: Called at each entry of the back-end.
        down: Awaited while the machine is down.
        acquired: How many wake leases were granted.
        entries: How often the back-end was entered.
        log: What happened, in words.
    """

    def __init__(self) -> None:
        self.now_ns = SystemClock().boottime_ns
        self.pure = Governor(Config(backoff_ns=1, backoff_max_ns=1), now_ns=self.now_ns())
        self.copies: dict[int, list[SmallLease]] = {}
        self.listeners: dict[int, SmallListening] = {}
        self.failing: Exception | None = None
        self.entering: Callable[[], object] = lambda: None
        self.down: Callable[[], Awaitable[object]] = lambda: asyncio.sleep(0)
        self.acquired = 0
        self.entries = 0
        self.log: list[str] = []
        self.errors: list[BaseException] = []
        self._numbers = 0
        self._granted: dict[int, asyncio.Future[None]] = {}
        self._answers: dict[int, asyncio.Future[object]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def acquire(self, name: str) -> SmallLease:
        if self.failing is not None:
            raise self.failing
        number = self._next()
        granted = self._granted[number] = asyncio.get_running_loop().create_future()
        self.log.append("acquire")
        self.do("acquire", number, name, WakeLeaseKind.WAKE, Requester(number))
        await granted
        self.acquired += 1
        self.log.append("granted")
        return SmallLease(self, number)

    async def listen(
        self,
        before_suspend: Callable[[], Awaitable[object]],
        after_resume: Callable[[], Awaitable[object]],
        *,
        name: str = "listener",
        on_sleep: Callable[[bool], object] | None = None,
    ) -> SmallListening:
        number = self._next()
        listening = SmallListening(self, number, before_suspend, after_resume, on_sleep)
        self.listeners[number] = listening
        self.do("listener_registered", number, name, Requester(number))
        return listening

    async def status(self) -> Status:
        return self.pure.status()

    def end(self) -> None:
        """The governor is gone."""
        self.failing = GovernorGone("the governor is gone")
        for listening in list(self.listeners.values()):
            listening.gone.set()
        for granted in self._granted.values():
            granted.set_exception(self.failing)

    # -- suspend ----------------------------------------------------------------------------------

    def ask(self) -> int:
        """Ask for a suspend; its number."""
        number = self._next()
        self._answers[number] = asyncio.get_running_loop().create_future()
        self.do("suspend_requested", number)
        return number

    async def suspend(self) -> None:
        """Suspend, after as many attempts as it takes."""
        answer = self._answers[self.ask()]
        await asyncio.wait_for(answer, PATIENCE_S)

    async def attempt(self) -> bool:
        """One attempt; whether the back-end was entered."""
        entries = self.entries
        attempts = self.pure.status().suspends + self.pure.status().aborts
        number = self.ask()
        await until(
            lambda: self.pure.status().suspends + self.pure.status().aborts > attempts
            and self.pure.status().state.value == "awake"
        )
        self.do("suspend_withdrawn", number)
        return self.entries > entries

    # -- what the machine wants -------------------------------------------------------------------

    def do(self, what: str, *arguments: object) -> None:
        self.perform(getattr(self.pure, what)(*arguments, self.now_ns()))

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Grant(lease_id):
                    self._granted.pop(lease_id).set_result(None)
                case Call(listener_id, call_id, moment):
                    self._start(self._call(listener_id, call_id, moment))
                case GoDown(attempt):
                    self._start(self._go_down(attempt))
                case Answer(request_id, outcome):
                    self._answers[request_id].set_result(outcome)
                case _:
                    pass
        due_ns = self.pure.next_due_ns
        if due_ns is not None:
            delay_s = max(due_ns - self.now_ns(), 0) / 1e9
            asyncio.get_running_loop().call_later(delay_s, lambda: self.do("expire"))

    def _start(self, coroutine: object) -> None:
        task = asyncio.ensure_future(coroutine)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _call(self, listener_id: int, call_id: int, moment: Moment) -> None:
        listening = self.listeners.get(listener_id)
        if listening is None:
            return
        self.log.append(moment.value)
        try:
            if moment is Moment.BEFORE_SUSPEND:
                said = await listening.before_suspend()
            else:
                said = await listening.after_resume()
        except HoldfastError as error:
            self.errors.append(error)
            return
        self.log.append(f"ack {moment.value}")
        account = said if isinstance(said, Account) else None
        self.perform(self.pure.answered(listener_id, call_id, self.now_ns(), account))

    def stay_down(self) -> tuple[asyncio.Event, asyncio.Event]:
        """From now on: the first is set when the machine is down, and the second wakes it."""
        is_down, wake = asyncio.Event(), asyncio.Event()

        async def down() -> None:
            is_down.set()
            await wake.wait()

        self.down = down
        return is_down, wake

    async def _go_down(self, attempt: int) -> None:
        self.entries += 1
        self.log.append("down")
        self.entering()
        await self.down()
        self.log.append("up")
        self.do("backend_done", attempt, Slept(1))

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - whatever it is, nobody tells of it
            await asyncio.sleep(0.001)


class Memory:
    """A channel without a socket: the client's side and, as a request, the server's."""

    def __init__(self, set_requester: Callable[[MemoryRequest], object]) -> None:
        self.set_requester = set_requester
        self.requests = 0

    async def receive_baton(self, processed: int) -> object:
        self.requests += 1
        request = MemoryRequest(processed)
        self.set_requester(request)
        return await request.answer


class MemoryRequest:
    """A request that waits in the same process."""

    def __init__(self, processed: int = 0) -> None:
        self.processed = processed
        self.answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.code = ""

    def deliver(self, wake_lease: object, index: int, epoch: int) -> None:
        from holdfast.wake.strategies.sequence_client import Baton

        assert isinstance(wake_lease, SmallLease)
        if self.answer.cancelled():
            raise OSError("nobody waits any more")
        self.answer.set_result(Baton(wake_lease, index, epoch))

    def refuse(self, code: str) -> None:
        self.code = code
        if not self.answer.done():
            self.answer.set_result(None)
