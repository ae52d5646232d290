"""`SequenceServer`: the head of a pipeline that takes wake leases only when the machine suspends.

The way of a message, while the machine is awake::

    await tracker.message_sent()     counts, and returns

and of a suspend::

    governor calls before_suspend ─▶ Sender.before_suspend ─▶ Acquire ─▶ governor.acquire
                                     Sender.held           ─▶ Deliver ─▶ request.deliver(copy, …)
                                                           ─▶ Answer  ─▶ before_suspend returns
    governor calls after_resume   ─▶ Sender.after_resume   ─▶ Release ─▶ our copy is closed

What is decided is decided by the pure `holdfast.wake.sequence.Sender`; this is its driver.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from holdfast.clock import NS_PER_S, SystemClock
from holdfast.durations import nanoseconds
from holdfast.errors import Closed, GovernorGone, HoldfastError
from holdfast.wake.in_turn import InTurn
from holdfast.wake.sequence import (
    Acquire,
    Answer,
    Covered,
    Deliver,
    Lost,
    Phase,
    Refuse,
    Release,
    Retry,
    Sender,
    Unclaimed,
    Uncovered,
)
from holdfast.wake.strategies.send_tracker import MessageSendTracker

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable
    from datetime import timedelta

    from holdfast.wake.accounts import Account
    from holdfast.wake.sequence import Effect
    from holdfast.wake.strategies.surroundings import (
        BatonRequest,
        GovernorLike,
        Listening,
        WakeLeaseLike,
    )

__all__ = ["BATON_NAME", "SequenceServer"]

BATON_NAME: Final = "optimistic-lease-baton"
_LOOK_AGAIN_S: Final = 0.05

log = logging.getLogger("holdfast.wake")
log.addHandler(logging.NullHandler())


class SequenceServer:
    """Takes wake leases for what was sent, at the instants at which the machine suspends.

    ::

        server = SequenceServer(governor)
        tracker, running = server.manage()      # one tracker for each client
        await tracker.message_sent()            # for each message; then acknowledge its interrupt
        tracker.set_requester(request)          # when the client asks for a baton

    Args:
        governor: A connection to the governor.
        flush: When to give out batons besides: each item of it makes those clients get one that
            have been sent something since their last. Before a suspend it is done in any case.
        name: Of the wake leases and of the listener.
        retain: For how many seconds a wake lease is held for a client that was never there.
        on_report: Called with `Lost` and `Unclaimed`; they are logged, too.
    """

    def __init__(
        self,
        governor: GovernorLike,
        *,
        flush: AsyncIterable[object] | None = None,
        name: str = BATON_NAME,
        retain: float | timedelta = 10.0,
        on_report: Callable[[Lost | Unclaimed], object] | None = None,
    ) -> None:
        self.machine = Sender(retain_ns=nanoseconds(retain, "retain"))
        self._governor = governor
        self._flush = flush
        self._name = name
        self._on_report = on_report
        self._now_ns = SystemClock().boottime_ns
        self._numbers = 0
        self._wake_lease: WakeLeaseLike | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._calls: set[asyncio.Future[Account | None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._running: asyncio.Task[None] | None = None
        self._before_flush: list[Callable[[], object]] = []
        self._over = asyncio.Event()
        self._do_in_turn: InTurn[Effect] = InTurn(self._perform_one)
        self._ending: Exception = Closed("the sequence server has ended")

    def manage(self) -> tuple[MessageSendTracker, asyncio.Task[None]]:
        """A tracker for one client, and what runs as long as the server does.

        Each client has a tracker of its own, with a count of its own. The awaitable is the same for
        all: it ends when it is cancelled, or with `GovernorGone` when the governor is gone. From
        then on no tracker takes any more messages.

        Raises:
            Closed: This server has ended. Make another one.
        """
        if self.machine.phase is Phase.ENDED:
            raise Closed("the sequence server has ended", on=self._name, hint="make another one")
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name=f"sequence-server {self._name}")
            self._running.add_done_callback(lambda _: self._end(self._ending))
        self._numbers += 1
        self.machine.add(self._numbers)
        return MessageSendTracker(self, self._numbers), self._running

    async def ready(self) -> None:
        """Wait until it is registered and known that the machine is awake.

        Nobody has to: what is sent before takes a wake lease, and is just as safe.

        Raises:
            Closed, GovernorGone: As of a tracker.
        """
        while self.machine.phase is Phase.UNKNOWN:
            await self._wait_covered()
        self.check()

    def before_flush(self, function: Callable[[], object]) -> None:
        """Call it whenever the governor asks, before anything is looked at.

        It says with `MessageSendTracker.count_through` what was sent, for those who can find that
        out from elsewhere and need not be told of each message.
        """
        self._before_flush.append(function)

    # -- the governor -----------------------------------------------------------------------------

    async def _run(self) -> None:
        """Listen, until this is cancelled or the governor is gone."""
        tasks: list[asyncio.Task[bool]] = []
        listening: Listening | None = None
        try:
            listening = await self._governor.listen(
                self._before_suspend,
                self._after_resume,
                name=self._name,
                on_sleep=self._on_sleep,
            )
            beside = self._wait_gone(listening), self._learn(), self._listen_to_flush()
            tasks = [asyncio.create_task(one) for one in beside]
            await self._until_over(tasks)
        except Exception as error:
            self._ending = error
            raise
        finally:
            self._end(self._ending)
            if listening is not None:
                listening.close()
            for one in tasks:
                one.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_over(self, tasks: list[asyncio.Task[bool]]) -> None:
        """Each of them ends with whether that is the end of all."""
        waited = set(tasks)
        while True:
            done, waited = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                if one.result():
                    raise self._ending

    async def _wait_gone(self, listening: Listening) -> bool:
        closed = asyncio.create_task(listening.wait_closed())
        over = asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait({closed, over}, return_when=asyncio.FIRST_COMPLETED)
            if not self._over.is_set():
                closed.result()
                self._ending = GovernorGone(
                    "the governor is gone, or calls no more: no message is safe",
                    on=self._name,
                    hint="connect anew, and make another server",
                )
            return True
        finally:
            closed.cancel()
            over.cancel()

    async def _learn(self) -> bool:
        """Find out that the machine is awake: an attempt may go on for which we are not asked."""
        while self.machine.phase is Phase.UNKNOWN:
            state = (await self._governor.status()).state
            if (state.value if isinstance(state, enum.Enum) else state) == "awake":
                self.perform(self.machine.awake(self._now_ns()))
            else:
                await asyncio.sleep(_LOOK_AGAIN_S)
        return False

    async def _listen_to_flush(self) -> bool:
        if self._flush is not None:
            async for _ in self._flush:
                self.perform(self.machine.flush(self._now_ns()))
        return False

    async def _before_suspend(self) -> Account | None:
        for function in self._before_flush:
            function()
        return await self._called(self.machine.before_suspend)

    def _on_sleep(self, begins: bool) -> None:
        self.perform(self.machine.sleeps(self._now_ns(), begins=begins))

    async def _after_resume(self) -> Account:
        # As it was while the machine was down: what it does now is for the next time.
        account = self.machine.account()
        await self._called(self.machine.after_resume)
        return account

    async def _called(self, told: Callable[[object, int], list[Effect]]) -> Account | None:
        """To return is to answer; with the account at the instant of the answer."""
        if self.machine.phase is Phase.ENDED:
            return None
        call: asyncio.Future[Account | None] = asyncio.get_running_loop().create_future()
        self._calls.add(call)
        try:
            self.perform(told(call, self._now_ns()))
            return await call
        finally:
            self._calls.discard(call)

    async def _acquire(self) -> None:
        try:
            wake_lease = await self._governor.acquire(self._name)
        except GovernorGone as error:
            self._end(error)
            self._over.set()
        except (HoldfastError, OSError) as error:
            log.warning("no wake lease for what was sent: %s", error)
            self.perform(self.machine.failed(error))
        else:
            self._wake_lease = wake_lease
            self.perform(self.machine.held(self._now_ns()))

    # -- what the machine wants -------------------------------------------------------------------

    def perform(self, effects: Iterable[Effect]) -> None:
        """Do what the machine wants, in order.

        A request may be answered by another one, which ends up here again: that waits its turn.
        """
        if self._do_in_turn(effects):
            self._arm()

    def _perform_one(self, effect: Effect) -> None:
        match effect:
            case Deliver():
                self._deliver(effect)
            case Refuse(_, request, code):
                _as_request(request).refuse(code)
            case Acquire():
                task = asyncio.create_task(self._acquire())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case Release():
                wake_lease, self._wake_lease = self._wake_lease, None
                if wake_lease is not None:
                    wake_lease.close()
            case Answer(call):
                _settle(call, result=self.machine.account())
            case Covered():
                self._let_go(None)
            case Uncovered(error):
                self._let_go(error)
            case Retry(after_ns):
                asyncio.get_running_loop().call_later(after_ns / NS_PER_S, self._retry)
            case Lost() | Unclaimed():
                self._report(effect)

    def _let_go(self, error: Exception | None) -> None:
        """Those who wait for a wake lease need not wait any more."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            _settle(one, error)

    def _deliver(self, delivery: Deliver) -> None:
        assert self._wake_lease is not None
        request = _as_request(delivery.request)
        copy = None
        try:
            copy = self._wake_lease.dup()
            request.deliver(copy, delivery.index, delivery.epoch)
        except (HoldfastError, OSError) as error:
            log.warning("a baton could not be delivered: %s", error)
            if copy is not None:
                copy.close()
            asyncio.get_running_loop().call_soon(self._undelivered, delivery.client, delivery.epoch)

    def _undelivered(self, number: int, epoch: int) -> None:
        if number in self.machine.clients:
            self.perform(self.machine.undelivered(number, epoch, self._now_ns()))

    def _report(self, report: Lost | Unclaimed) -> None:
        what = "may be lost with a client" if isinstance(report, Lost) else "have no client"
        if report.messages:
            log.warning("%s: %d messages %s", self._name, report.messages, what)
        if self._on_report is not None:
            self._on_report(report)

    def _retry(self) -> None:
        self.perform(self.machine.retry(self._now_ns()))

    def _arm(self) -> None:
        due_ns = self.machine.next_due_ns
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due_ns is not None:
            delay_s = max(due_ns - self._now_ns(), 0) / NS_PER_S
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._expire)

    def _expire(self) -> None:
        self.perform(self.machine.expire(self._now_ns()))

    # -- for trackers -----------------------------------------------------------------------------

    async def wait_covered(self, number: int) -> None:
        """Wait until what was sent to that client cannot be stranded any more."""
        while number in self.machine.clients and not self.machine.covered(number):
            self.check()
            await self._wait_covered()

    async def _wait_covered(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def check(self) -> None:
        """See that it has not ended.

        Raises:
            Closed, GovernorGone: It has, for that reason.
        """
        if self.machine.phase is Phase.ENDED:
            raise self._ending

    def now_ns(self) -> int:
        """CLOCK_BOOTTIME."""
        return self._now_ns()

    def _end(self, error: Exception) -> None:
        self._ending = error
        self.perform(self.machine.end(error))
        for call in self._calls:  # whoever ends this answers the governor; nothing is covered
            _settle(call)
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()


def _as_request(request: object) -> BatonRequest:
    known: BatonRequest = request  # type: ignore[assignment]  # the machine takes it for anything
    return known


def _settle(future: object, error: Exception | None = None, *, result: object = None) -> None:
    assert isinstance(future, asyncio.Future)
    if not future.done():
        with suppress(asyncio.InvalidStateError):
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
