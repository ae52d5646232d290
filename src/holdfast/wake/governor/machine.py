"""The governor's inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.wake.model import Config, OnTimeout, WakeLeaseKind

if TYPE_CHECKING:
    from holdfast.wake.model import (
        Attempt,
        Effect,
        Event,
        Failed,
        Requester,
        Slept,
        Status,
    )

__all__ = ["Governor"]


class Governor:
    """Decides when the machine may go down. Pure: the driver brings the time.

    The driver carries out what every input returns, in that order.

    An input that raises has changed nothing. Answers that come late (to a call that ended, from an
    attempt that is over, about a lease that was closed) are no error and change nothing.

    Args:
        config: What can be set.
        now_ns: CLOCK_BOOTTIME.
    """

    def __init__(self, config: Config | None = None, *, now_ns: int) -> None:
        self.config = config or Config()

    # -- wake leases --

    def acquire(
        self, lease_id: int, name: str, kind: WakeLeaseKind, requester: Requester, now_ns: int
    ) -> list[Effect]:
        """Somebody asks for a wake lease. `Grant` follows, now or when it can be given.

        Raises:
            InvalidArgument: A bad name; or application activity from a connection whose listener
                is in a call: that would wait for itself.
            OutOfSpace: There are `leases_max` already.
        """
        raise NotImplementedError

    def lease_closed(self, lease_id: int, now_ns: int) -> list[Effect]:
        """The last copy hung up; or the one who asked is gone before it was granted."""
        raise NotImplementedError

    # -- listeners --

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
        raise NotImplementedError

    def listener_gone(self, listener_id: int, now_ns: int) -> list[Effect]:
        """Its connection was closed, or it wants no more calls. What it owes counts as answered."""
        raise NotImplementedError

    def answered(self, listener_id: int, call_id: int, now_ns: int) -> list[Effect]:
        """The listener has answered that call."""
        raise NotImplementedError

    # -- going down --

    def suspend_requested(
        self, request_id: int, now_ns: int, *, deadline_ns: int | None = None
    ) -> list[Effect]:
        """Somebody wants the machine to go down.

        `Answer` follows after the resume, or when the deadline comes before the back-end is
        entered; once that is entered, the deadline means nothing.

        Raises:
            OutOfSpace: There are `requests_max` already.
        """
        raise NotImplementedError

    def suspend_withdrawn(self, request_id: int, now_ns: int) -> list[Effect]:
        """Nobody waits for that answer any more; there will be none."""
        raise NotImplementedError

    def backend_done(self, attempt: int, outcome: Slept | Failed, now_ns: int) -> list[Effect]:
        """The back-end, entered for that attempt, has come back."""
        raise NotImplementedError

    def sleep_begins(self, now_ns: int) -> list[Effect]:
        """The machine goes down of itself.

        `ReadyForSleep` follows once nothing speaks against it; if that takes too long, the machine
        goes down without.
        """
        raise NotImplementedError

    def sleep_ended(self, outcome: Slept | Failed, now_ns: int) -> list[Effect]:
        """It is back, or has given up."""
        raise NotImplementedError

    def shutdown_begins(self, now_ns: int) -> list[Effect]:
        """The machine shuts down: no calls, no suspend.

        `ReadyForShutdown` follows once no wake lease is held.
        """
        raise NotImplementedError

    def shutdown_ended(self, now_ns: int) -> list[Effect]:
        """It does not shut down after all."""
        raise NotImplementedError

    # -- time --

    @property
    def next_due_ns(self) -> int | None:
        """When to call `expire`; None: not before something happens."""
        raise NotImplementedError

    def expire(self, now_ns: int) -> list[Effect]:
        """What fell due until now."""
        raise NotImplementedError

    # -- what can be seen --

    def status(self) -> Status:
        """Everything at this moment."""
        raise NotImplementedError

    @property
    def events(self) -> tuple[Event, ...]:
        """The ring, oldest first."""
        raise NotImplementedError

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The last attempts, oldest first; the last one may still go on."""
        raise NotImplementedError
