"""The governor: its inputs, and what can be seen of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from holdfast.errors import InvalidArgument, OutOfSpace
from holdfast.wake.governor.calls import Listener
from holdfast.wake.governor.steps import MACHINE, OWN, SHUTS_DOWN, Steps
from holdfast.wake.governor.table import Turn
from holdfast.wake.model import (
    Attempt,
    HeldLease,
    OnTimeout,
    Phase,
    ReadyForSleep,
    Slept,
    Status,
    Trigger,
    WakeLeaseKind,
    WakeUp,
    check_name,
)

if TYPE_CHECKING:
    from holdfast.wake.accounts import Account
    from holdfast.wake.model import Effect, Event, Failed, Requester

__all__ = ["Governor"]


class Governor(Steps):
    """Decides when the machine may go down. Pure: the driver brings the time.

    The driver carries out what every input returns, in that order. An input that raises has changed
    nothing. Answers that come late (to a call that ended, from an attempt that is over, about a
    lease that was closed) are no error and change nothing.

    Args:
        config: What can be set.
        now_ns: CLOCK_BOOTTIME.
    """

    # ---- wake leases --------------------------------------------------------------------------

    def acquire(
        self, lease_id: int, name: str, kind: WakeLeaseKind, requester: Requester, now_ns: int
    ) -> list[Effect]:
        """Somebody asks for a wake lease. `Grant` follows, now or when it can be given.

        Raises:
            InvalidArgument: A bad name; or application activity from a connection whose listener
                is in a call: that would wait for itself.
            OutOfSpace: There are `leases_max` already.
        """
        check_name(name, "a wake lease")
        self._leases.check(lease_id)
        if kind is WakeLeaseKind.ACTIVITY and self._in_call(requester):
            raise InvalidArgument(
                "application activity begins only when the callback has returned",
                on=name,
                hint="inside a callback acquire a wake lease, which is granted at once",
            )
        lease = HeldLease(lease_id, name, kind, requester, now_ns, None)
        self._leases.add(lease)
        if self._phase is Phase.SUSPENDED or (
            kind is WakeLeaseKind.ACTIVITY and self._phase in (Phase.SUSPENDING, Phase.RESUMING)
        ):
            self._leases.wait(lease, now_ns)
        if self._phase is Phase.SUSPENDED:
            self._journal.want(WakeUp(self._number))
        return self._settle(now_ns)

    def lease_closed(self, lease_id: int, now_ns: int) -> list[Effect]:
        """The last copy hung up; or the one who asked is gone before it was granted."""
        lease = self._leases.close(lease_id, now_ns)
        if lease is not None:
            self._long.closed(lease, now_ns)
            self._no_suspend.closed(lease)
        return self._settle(now_ns)

    def _in_call(self, requester: Requester) -> bool:
        return self._round is not None and any(
            listener.requester.connection == requester.connection
            for listener in self._round.awaited
        )

    # ---- listeners ----------------------------------------------------------------------------

    def listener_registered(
        self,
        listener_id: int,
        name: str,
        requester: Requester,
        now_ns: int,
        *,
        timeout_ns: int | None = None,
        on_timeout: OnTimeout = OnTimeout.ABORT,
    ) -> list[Effect]:
        """From the next attempt on, call it. Its first call is before a suspend.

        Raises:
            InvalidArgument: A bad name, or a time-out that is not positive.
            OutOfSpace: There are `listeners_max` already.
        """
        check_name(name, "a listener")
        if timeout_ns is not None and timeout_ns <= 0:
            raise InvalidArgument("a listener's time-out must be positive", on=name)
        if listener_id in self._listeners:
            raise InvalidArgument("a listener of that number exists", on=str(listener_id))
        if len(self._listeners) >= self.config.listeners_max:
            raise OutOfSpace(f"there are {len(self._listeners)} listeners already", on=name)
        self._listeners[listener_id] = Listener(
            listener_id, name, requester, timeout_ns, on_timeout
        )
        self._journal.tell(now_ns, "listener-registered", name, listener_id)
        return self._settle(now_ns)

    def listener_gone(self, listener_id: int, now_ns: int) -> list[Effect]:
        """Its connection was closed, or it wants no more calls. What it owes counts as answered."""
        listener = self._listeners.pop(listener_id, None)
        if listener is not None:
            self._journal.tell(now_ns, "listener-gone", listener.name, listener_id)
            self._pipelines.gone(listener_id)
            if self._round is not None:
                self._round.gone(listener_id, now_ns)
        return self._settle(now_ns)

    def answered(
        self, listener_id: int, call_id: int, now_ns: int, account: Account | None = None
    ) -> list[Effect]:
        """The listener has answered that call; the head of a pipeline, with its account."""
        if self._round is not None:
            listener = self._round.answered(listener_id, call_id, now_ns)
            if listener is not None and account is not None:
                self._pipelines.answered(listener, self._round.moment, account)
        return self._settle(now_ns)

    # ---- requests, the back-end and the machine -----------------------------------------------

    def suspend_requested(
        self, request_id: int, now_ns: int, *, deadline_ns: int | None = None
    ) -> list[Effect]:
        """Somebody wants the machine to go down.

        `Answer` follows after the resume, or when the deadline comes before the back-end is
        entered; once that is entered, the deadline means nothing.

        Raises:
            OutOfSpace: There are `requests_max` already.
        """
        self._requests.check(request_id)
        self._requests.add(request_id, deadline_ns, now_ns)
        if self._phase is Phase.STOPPING:
            self._requests.refuse(SHUTS_DOWN, now_ns)
        return self._settle(now_ns)

    def suspend_withdrawn(self, request_id: int, now_ns: int) -> list[Effect]:
        """Nobody waits for that answer any more; there will be none."""
        self._requests.withdraw(request_id, now_ns)
        return self._settle(now_ns)

    def backend_done(self, attempt: int, outcome: Slept | Failed, now_ns: int) -> list[Effect]:
        """The back-end, entered for that attempt, has come back."""
        if self._phase is Phase.SUSPENDED and attempt == self._number and OWN in self._down:
            self._back(OWN, outcome, now_ns)
        return self._settle(now_ns)

    def sleep_begins(self, now_ns: int) -> list[Effect]:
        """The machine goes down of itself.

        `ReadyForSleep` follows once nothing speaks against it; if that takes too long, the machine
        goes down without.
        """
        if not self._machine:
            self._machine = True
            self._journal.tell(now_ns, "sleep-begins")
            if self._phase is Phase.SUSPENDED:
                self._down.add(MACHINE)
                self._journal.want(ReadyForSleep(self._number))
            elif self._phase is Phase.SUSPENDING:
                self._attempt = replace(self._current, trigger=Trigger.MACHINE)
        return self._settle(now_ns)

    def sleep_ended(self, outcome: Slept | Failed, now_ns: int) -> list[Effect]:
        """It is back, or has given up."""
        if self._machine:
            self._machine = False
            self._journal.tell(now_ns, "sleep-ended")
            if self._phase is Phase.SUSPENDED:
                self._back(MACHINE, outcome, now_ns)
            else:
                self._slept(outcome, now_ns, now_ns)
            if self._phase is Phase.SUSPENDING:
                self._overrun(outcome)
        return self._settle(now_ns)

    def shutdown_begins(self, now_ns: int) -> list[Effect]:
        """The machine shuts down: no calls, no suspend.

        `ReadyForShutdown` follows once no wake lease is held.
        """
        if not self._shutdown:
            self._shutdown = True
            self._shutdown_ready = False
            self._journal.tell(now_ns, "shutdown-begins")
            if self._phase is not Phase.SUSPENDED:
                self._stop(now_ns)
        return self._settle(now_ns)

    def shutdown_ended(self, now_ns: int) -> list[Effect]:
        """It does not shut down after all."""
        if self._shutdown:
            self._shutdown = False
            self._journal.tell(now_ns, "shutdown-ended")
            if self._phase is Phase.STOPPING:
                self._turn(Turn.CANCEL)
                self._begin_after_resume(now_ns)
        return self._settle(now_ns)

    # ---- time ---------------------------------------------------------------------------------

    @property
    def next_due_ns(self) -> int | None:
        """When to call `expire`; None: not before something happens."""
        return self._timers.next_due()

    def expire(self, now_ns: int) -> list[Effect]:
        """What fell due until now."""
        while (due := self._timers.pop_due(now_ns)) is not None:
            due[1](now_ns)
        return self._settle(now_ns)

    # ---- what can be seen ---------------------------------------------------------------------

    def status(self) -> Status:
        """Everything at this moment."""
        attempts = self.attempts
        return Status(
            state=self._phase,
            suspends=self._sleeps.suspends,
            aborts=self._sleeps.aborts,
            failures=self._sleeps.failures,
            last_failure=self._sleeps.last_failure,
            last_sleep_ns=self._sleeps.last_sleep_ns,
            last_going_down_ns=self._sleeps.last_going_down_ns,
            total_sleep_ns=self._sleeps.total_sleep_ns,
            wake_leases=self._leases.oldest(),
            wake_lease_count=len(self._leases),
            listeners=tuple(listener.name for listener in self._listeners.values()),
            requests=len(self._requests),
            next_attempt_ns=self._sleeps.next_attempt_ns,
            attempt=attempts[-1] if attempts else None,
            stranded=self._pipelines.stranded,
            saved=self._pipelines.saved,
            saved_by=self._pipelines.wake_leases,
        )

    @property
    def events(self) -> tuple[Event, ...]:
        """The ring, oldest first."""
        return tuple(self._journal.events)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The last attempts, oldest first; the last one may still go on."""
        going = self._attempt
        if going is None:
            return tuple(self._attempts)
        if self._round is not None and not self._asked:
            going = replace(going, calls=going.calls + self._round.records)
        return (*self._attempts, going)
