"""The governor at work: its socket, its back-end, its timer, and the pipes of its wake leases.

The governor itself is pure (`holdfast.wake.governor`). This room tells it what happens and carries
out what it says::

    a call by the socket ──▶ _calls ───┐                       ┌──▶ Grant: answer, with the pipe
    a pipe hangs up ──────▶ _hung_up ──┤                       ├──▶ Call: call the listener
    the timer ────────────▶ _expire ───┼──▶ Governor ─ effects ┼──▶ GoDown: a task in the back-end
    the back-end returns ─▶ _entered ──┤                       ├──▶ Answer: to who wants a suspend
    the machine's doings ─▶ Host ──────┘                       └──▶ Block, Evict, Event, …

Effects are carried out in their order, one input's before the next one's. `Block` may take a while;
whatever `Grant` comes after it waits for it, and nothing else does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
from collections import deque
from typing import TYPE_CHECKING, Final, Self

from holdfast.clock import Alarm, SystemClock
from holdfast.errors import HoldfastError, SuspendAborted, Unsupported
from holdfast.ipc import Connection, Descriptors, Message, Server
from holdfast.wake import wire
from holdfast.wake.governor import Governor
from holdfast.wake.in_turn import InTurn
from holdfast.wake.model import (
    Aborted,
    Answer,
    Block,
    Call,
    Config,
    Event,
    Evict,
    Failed,
    GoDown,
    Grant,
    Moment,
    ReadyForShutdown,
    ReadyForSleep,
    Report,
    Slept,
    WakeUp,
)
from holdfast.wake.serving import Calls, account_in
from holdfast.wake.tables import Clients, HeldLeases
from holdfast.wake.token import Pipes, TokenWatch
from holdfast.wake.watchers import Watchers

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from holdfast.wake.backends import Backend
    from holdfast.wake.model import Effect

__all__ = ["Service", "serve"]

log = logging.getLogger("holdfast.wake")
log.addHandler(logging.NullHandler())

_MOMENTS: Final = {
    Moment.BEFORE_SUSPEND: wire.BEFORE_SUSPEND,
    Moment.AFTER_RESUME: wire.AFTER_RESUME,
}
_CLOSING_S: Final = 5.0


class Service:
    """A governor on the running event loop, as an async context manager.

    Args:
        path: Its socket; see `holdfast.wake.socket_path` for the usual place.
        backend: How the machine goes down.
        config: What can be set.
        group: A group whose processes may connect, too; else only this user's and root's.

    Attributes:
        governor: The pure one; read it, and leave it alone.
    """

    def __init__(
        self,
        path: str,
        backend: Backend,
        *,
        config: Config | None = None,
        group: str | int | None = None,
    ) -> None:
        self.backend = backend
        self._path = path
        self._group = group
        self._clock = SystemClock()
        self.governor = Governor(config, now_ns=self._clock.boottime_ns())
        self.leases = HeldLeases()
        self.clients = Clients()
        self.watchers = Watchers(lambda: self.governor.events)
        self._calls = Calls(self)
        self._server: Server | None = None
        self._do_in_turn: InTurn[Effect] = InTurn(self._carry_out)
        # Blocks and, behind them, grants; empty unless a block has not taken effect yet.
        self._in_order: deque[Block | Grant] = deque()
        # A back-end that blocks nobody says so, and its grants need not wait for a task.
        self._blocks = not getattr(backend, "blocks_nothing", False)
        self._echo = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    # -- beginning and end ------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the back-end and the socket.

        Raises:
            Unsupported: The back-end cannot work here.
            Unavailable: What it needs cannot be reached now.
            NotPermitted: This user may not do what the back-end does, or not have the socket there.
            AlreadyExists, InvalidArgument: The socket cannot be made.
        """
        why_not = self.backend.available()
        if why_not is not None:
            raise Unsupported(f"the back-end cannot work here: {why_not}", on=self.backend.name)
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm()
        self._watch = TokenWatch()
        self.pipes = Pipes(self._watch)
        try:
            # The socket first: who is second must not touch the machine. Nobody is served yet.
            self._server = Server(
                self._path,
                self._calls,
                on_opened=self.clients.opened,
                on_closed=self._client_gone,
                group=self._group,
                start=False,
            )
            await self._open_backend()
        except BaseException:
            self._close_own()
            raise
        self._loop.add_reader(self._alarm.fileno(), self._expire)
        self._loop.add_reader(self._watch.fileno(), self._hung_up)
        self.pipes.refill()
        self._server.start()
        self.carry_out([])

    async def _open_backend(self) -> None:
        try:
            await self.backend.open(self)
        except BaseException:
            await self.backend.close()  # it may have got half-way
            raise

    @property
    def path(self) -> str:
        """Where its socket is."""
        return self._path if self._server is None else self._server.path

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return 0 if self._server is None else len(self._server.connections)

    async def close(self) -> None:
        """End it. Holders notice that their wake leases forbid nothing any more."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._alarm.fileno())
        self._loop.remove_reader(self._watch.fileno())
        self._close_own()
        await self.backend.close()
        if self._tasks:  # a suspend that is under way comes back, now that the back-end is closed
            await asyncio.wait(self._tasks, timeout=_CLOSING_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _close_own(self) -> None:
        if self._server is not None:
            self._server.close()
        self.pipes.close()
        self._watch.close()
        self._alarm.close()
        self.leases.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # -- what comes in ----------------------------------------------------------------------------

    def now_ns(self) -> int:
        """CLOCK_BOOTTIME."""
        return self._clock.boottime_ns()

    def _heard_ns(self) -> int:
        """The time, when all is heard that came before."""
        self.look_after_hang_ups()
        return self.now_ns()

    def _client_gone(self, connection: Connection, reason: str) -> None:
        for listener_id in self.clients.gone(connection):
            self.carry_out(self.governor.listener_gone(listener_id, self._heard_ns()))

    def _hung_up(self) -> None:
        """Some have: that is looked after when the calls that have come are answered.

        A program that lets go of one wake lease and asks for the next waits for the answer, and
        nobody for this. The descriptor says so once more before it is done: that is the echo.
        """
        self._echo = not self._echo
        if self._echo:
            self._loop.call_soon(self.look_after_hang_ups)

    def look_after_hang_ups(self) -> None:
        """Close the wake leases of which the last copy is closed.

        Whatever but an acquire comes from a client, this comes first: what it let go of before it
        spoke must not forbid what it wants.
        """
        if self._closed:
            return
        for token in self._watch.hung_up():
            self.close_lease(self.leases.of_token(token).number)

    def close_lease(self, number: int) -> None:
        """The last copy of a wake lease hung up, or nobody waits for it any more."""
        held = self.leases.remove(number)
        if held is not None:
            self._watch.discard(held.token)
            held.close()
            self._calls.forget(held)
            if held.request is not None:  # by its own pipe, while it waited: it got what it wanted
                held.request.answer()
            self.carry_out(self.governor.lease_closed(number, self.now_ns()))

    @property
    def is_full(self) -> bool:
        """Whether no more wake leases are granted, unless some are found to be closed."""
        return len(self.leases) >= self.governor.config.leases_max

    def watch_lease(self, number: int) -> None:
        """Notice from now on that its last copy is closed. Only for pipes that are not ours."""
        held = self.leases.find(number)
        if held is not None:
            self._watch.add(held.token)

    def _expire(self) -> None:
        self._alarm.set(None)
        self.carry_out(self.governor.expire(self._heard_ns()))

    # What the back-end tells of the machine (`BackendHost`).

    def sleep_begins(self) -> None:
        """The machine goes down of itself. Listeners hear of that before they are called for it."""
        self.clients.tell_listeners(begins=True)
        self.carry_out(self.governor.sleep_begins(self.now_ns()))

    def sleep_ended(self, outcome: Slept | Failed) -> None:
        """It is back."""
        self.clients.tell_listeners(begins=False)
        self.carry_out(self.governor.sleep_ended(outcome, self.now_ns()))

    def shutdown_begins(self) -> None:
        """It shuts down."""
        self.carry_out(self.governor.shutdown_begins(self.now_ns()))

    def shutdown_ended(self) -> None:
        """It does not, after all."""
        self.carry_out(self.governor.shutdown_ended(self.now_ns()))

    # -- what goes out ----------------------------------------------------------------------------

    def carry_out(self, effects: list[Effect]) -> None:
        """Do what the governor said, and set the timer.

        What it says meanwhile is done after that, in order.
        """
        if self._closed or not self._do_in_turn(effects):
            return
        due_ns = self.governor.next_due_ns
        # Too early does no harm: `expire` does nothing then. Most timers are cancelled in time.
        if due_ns is not None and (self._alarm.at_ns is None or due_ns < self._alarm.at_ns):
            self._alarm.set(due_ns)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Event():
                self.watchers.tell(effect)
            case Grant():
                if self._in_order:
                    self._in_order.append(effect)
                else:
                    self._calls.grant(effect.lease_id)
            case Block():
                self._block(effect)
            case Call():
                self._call(effect)
            case GoDown():
                self._begin(self._go_down(effect.attempt))
            case WakeUp():
                self.backend.wake(effect.attempt)
            case ReadyForSleep():
                self.backend.ready_for_sleep()
            case ReadyForShutdown():
                self.backend.ready_for_shutdown()
            case Answer():
                self._answer(effect)
            case Evict():
                connection = self.clients.evicted(effect.listener_id)
                if connection is not None:
                    said = wire.Evicted(effect.listener_id, effect.reason)
                    connection.tell(wire.EVICTED, said)
            case Report():
                level = logging.ERROR if effect.signature == "stranded" else logging.WARNING
                log.log(level, "%s: %s", effect.signature, effect.sentence)

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _block(self, effect: Block) -> None:
        if not self._blocks:
            return
        self._in_order.append(effect)
        if len(self._in_order) == 1:
            self._begin(self._block_and_grant())

    async def _block_and_grant(self) -> None:
        while self._in_order:
            first = self._in_order[0]
            if isinstance(first, Block):
                try:
                    await self.backend.block(first.held)
                except Exception:  # it promises not to; a wake lease must not wait for ever
                    log.exception("the back-end %s could not block", self.backend.name)
            else:
                self._calls.grant(first.lease_id)
            self._in_order.popleft()

    async def _go_down(self, attempt: int) -> None:
        outcome: Slept | Failed
        try:
            outcome = await self.backend.suspend(attempt)
        except Exception as error:  # it promises not to; the machine must not seem down for ever
            log.exception("the back-end %s failed", self.backend.name)
            outcome = Failed(f"a fault in the back-end: {error!r}")
        self.carry_out(self.governor.backend_done(attempt, outcome, self.now_ns()))

    def _call(self, effect: Call) -> None:
        connection = self.clients.connection_of(effect.listener_id)
        if connection is None:
            return  # the governor will hear that it has gone

        def on_answer(answer: Message | HoldfastError, _: Descriptors) -> None:
            account = None
            if isinstance(answer, HoldfastError):
                if connection.closed:
                    return  # that it has gone is another thing than an answer
                log.warning("listener %d could not be called: %s", effect.listener_id, answer)
            else:
                account = account_in(answer)
            self.carry_out(
                self.governor.answered(
                    effect.listener_id, effect.call_id, self._heard_ns(), account
                )
            )

        connection.start_call(_MOMENTS[effect.moment], wire.Called(effect.listener_id), on_answer)

    def _answer(self, effect: Answer) -> None:
        request = self.clients.requests.pop(effect.request_id, None)
        if request is None:
            return
        outcome = effect.outcome
        if isinstance(outcome, Aborted):
            request.fail(
                SuspendAborted(
                    outcome.sentence,
                    blockers=outcome.blockers,
                    hint="`holdfast wake why` says who holds what",
                )
            )
        else:
            request.answer(wire.Slept(outcome.duration_ns, outcome.reason))


async def serve(
    path: str,
    backend: Backend,
    *,
    config: Config | None = None,
    group: str | int | None = None,
    ready: Callable[[str], object] | None = None,
) -> None:
    """Run a governor until SIGTERM, SIGINT or cancellation, which all end it cleanly.

    It raises this process's limit of descriptors as far as it may: each wake lease takes one.

    Args:
        path: Its socket.
        backend: How the machine goes down: `Simulated`, `Logind`, `Command`.
        config: What can be set.
        group: A group whose processes may connect, too.
        ready: Called with the socket's path once clients may connect.

    Raises:
        Unsupported: The back-end cannot work here.
        Unavailable: What it needs cannot be reached now.
        NotPermitted: This user may not do what the back-end does, or not have the socket there.
        AlreadyExists, InvalidArgument: The socket cannot be made.
    """
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    caught = []
    for number in (signal.SIGTERM, signal.SIGINT):
        # In another thread than the main one there are no signals, and who cancels ends it.
        with contextlib.suppress(ValueError, RuntimeError):
            loop.add_signal_handler(number, over.set)
            caught.append(number)
    _raise_limit()
    try:
        async with Service(path, backend, config=config, group=group) as service:
            if ready is not None:
                ready(service.path)
            await over.wait()
    finally:
        for number in caught:
            loop.remove_signal_handler(number)


def _raise_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
