"""The governor, for programs that block: `connect` and `Governor`."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from holdfast.clock import NS_PER_S
from holdfast.closing import Closing
from holdfast.durations import nanoseconds_or_none
from holdfast.errors import GovernorGone, HoldfastError
from holdfast.ipc import Client
from holdfast.wake import wire
from holdfast.wake.lease import WakeLease
from holdfast.wake.model import check_name
from holdfast.wake.places import socket_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

__all__ = ["Governor", "Status", "connect", "status_of"]

T = TypeVar("T")

ANSWER_S: Final = 30.0


class Status(msgspec.Struct, frozen=True):
    """The governor at one moment.

    Attributes:
        state: "awake", "suspending", "suspended", "resuming" or "stopping".
        suspends: How often the machine went down and came back.
        aborts: How often an attempt ended before the back-end was entered.
        wake_leases: The names of those held or waited for, oldest first; of many, only the oldest.
        wake_lease_count: How many there are.
        failures: How often the back-end was entered and did not go down.
        last_failure: What it said the last time, or None.
        last_sleep: For how many seconds the machine was down the last time, or None.
        total_sleep: The sum of all sleeps in seconds.
        listeners: The names of those who are asked before a suspend, oldest first.
        requests: How many suspends are asked for.
        backend: How the machine goes down: "simulated", "logind", "command".
        stranded: How many messages of pipelines were neither processed nor under a wake lease when
            the machine went down. More than 0 is a fault: the log and `why` name the pipeline.
        saved: How many messages would have been stranded, but for a wake lease.
        saved_by: How many wake leases were taken for them.
        trouble: What keeps the back-end from doing its part just now, as a lock that logind does
            not give; None: nothing. `why` says it, too.
    """

    state: str
    suspends: int
    aborts: int
    wake_leases: tuple[str, ...]
    wake_lease_count: int
    failures: int
    last_failure: str | None
    last_sleep: float | None
    total_sleep: float
    listeners: tuple[str, ...]
    requests: int
    backend: str
    stranded: int = 0
    saved: int = 0
    saved_by: int = 0
    trouble: str | None = None


def status_of(seen: wire.Seen) -> Status:
    """What the service has answered, with durations in seconds."""
    return Status(
        state=seen.state,
        suspends=seen.suspends,
        aborts=seen.aborts,
        wake_leases=seen.wake_leases,
        wake_lease_count=seen.wake_lease_count,
        failures=seen.failures,
        last_failure=seen.last_failure,
        last_sleep=None if seen.last_sleep_ns is None else seen.last_sleep_ns / 1e9,
        total_sleep=seen.total_sleep_ns / 1e9,
        listeners=seen.listeners,
        requests=seen.requests,
        backend=seen.backend,
        stranded=seen.stranded,
        saved=seen.saved,
        saved_by=seen.saved_by,
        trouble=seen.trouble,
    )


def _limit_s(timeout: float | timedelta | None) -> float | None:
    limit_ns = nanoseconds_or_none(timeout, "timeout")
    return None if limit_ns is None else limit_ns / NS_PER_S


def connect(
    path: str | os.PathLike[str] | None = None, *, timeout: float | timedelta | None = ANSWER_S
) -> Governor:
    """The governor of this machine, or of that socket.

    Args:
        path: Its socket; None: ``HOLDFAST_WAKE_SOCKET``, else the usual place.
        timeout: See `Governor`.

    Raises:
        NotFound: Nobody has a socket there.
        Unavailable: Somebody had, and has died.
        NotPermitted: It is another user's.
    """
    where = os.fspath(path) if path is not None else socket_path()
    governor = Governor(where, timeout=timeout)
    governor.client.connect()
    return governor


class Governor(Closing):
    """A connection to the governor. Threads may share it; a call that waits hinders no other.

    If the governor goes, the call that finds it gone raises `GovernorGone`, and every wake lease of
    it forbids nothing any more (`WakeLease.orphaned`). The next call tries to connect to a new one.
    After a fork, parent and child may both go on to use it.

    Args:
        path: The governor's socket.
        timeout: For how many seconds to wait for an answer that a governor gives at once; None: for
            ever. One that lives and does not answer was stopped, as by SIGSTOP, or hangs: that is
            `Unavailable`. `acquire` and `suspend` wait as long as the machine wants, unless they
            are told otherwise.
    """

    def __init__(self, path: str, *, timeout: float | timedelta | None = ANSWER_S) -> None:
        self.client = Client(path, service="governor", gone=GovernorGone)
        self._timeout_s = _limit_s(timeout)

    @property
    def path(self) -> str:
        """The governor's socket."""
        return self.client.path

    def acquire(
        self,
        name: str,
        *,
        unmonitored: bool = False,
        timeout: float | timedelta | None = None,
    ) -> WakeLease:
        """A wake lease, held when this returns; it waits while the machine is down.

        Args:
            name: What it is for, at most 64 bytes; it need not be unique.
            unmonitored: It may be held for long, and nobody is to be warned.
            timeout: For how many seconds to wait for the answer; None: for ever.

        Raises:
            InvalidArgument: That is no name.
            GovernorGone: The governor has gone.
            Unavailable: No answer came in time. Nothing is held: the governor hears that nobody
                waits any more as soon as it listens.
            OutOfSpace: There are too many wake leases already, or no descriptors left.
        """
        check_name(name, "a wake lease")
        said = wire.Acquire(name, unmonitored)
        limit_s = _limit_s(timeout)
        _, came = self.client.call(wire.ACQUIRE, said, wire.Nothing, timeout_s=limit_s)
        with came:
            return WakeLease(came.take(), name, reporter=self, checked=True)

    def suspend(self, timeout: float | timedelta | None = None) -> float:
        """Let the machine go down as soon as nothing forbids it; returns after the resume.

        Args:
            timeout: For how many seconds to want it; None: until it is done, 0: now or not at all.

        Returns:
            For how many seconds the machine was down.

        Raises:
            SuspendAborted: It did not go down in time; `blockers` are the wake leases in the way.
                The request is withdrawn.
            GovernorGone: The governor has gone.
        """
        said = wire.Suspend(nanoseconds_or_none(timeout, "timeout"))
        slept, came = self.client.call(wire.SUSPEND, said, wire.Slept)
        came.close()
        return slept.duration_ns / 1e9

    def status(self) -> Status:
        """The governor at this moment.

        Raises:
            GovernorGone: The governor has gone.
            Unavailable: It has not answered in time.
        """
        seen = self._ask(wire.STATUS, wire.Seen)
        return status_of(seen)

    def why(self) -> str:
        """Why the machine is not down: who forbids it, where that is now, and the last attempt.

        Raises:
            GovernorGone: The governor has gone.
            Unavailable: It has not answered in time.
        """
        return "\n".join(self.reasons().lines)

    def reasons(self) -> wire.Why:
        """The sentences of `why`, who stops attempt after attempt, and what heads account for.

        Raises:
            GovernorGone: The governor has gone.
            Unavailable: It has not answered in time.
        """
        return self._ask(wire.WHY, wire.Why)

    def leases(self) -> list[wire.Lease]:
        """All wake leases, oldest first, with who asked for each.

        Raises:
            GovernorGone: The governor has gone.
            Unavailable: It has not answered in time.
        """
        answer = self._ask(wire.LIST, wire.Leases)
        return answer.wake_leases

    def where(self) -> list[wire.Located]:
        """All wake leases, oldest first, and which processes hold each now.

        It takes a look at all processes: milliseconds, or more on a large machine.

        Raises:
            GovernorGone: The governor has gone.
            Unavailable: It has not answered in time.
        """
        answer = self._ask(wire.WHERE, wire.Where)
        return answer.wake_leases

    def watch(self, since: int | None = None) -> Iterator[wire.WakeEvent]:
        """What happens, from now on and without end.

        Args:
            since: Begin with the event of this number, as far as it is remembered; 0: with all.

        Raises:
            GovernorGone: The governor has gone, or we read too slowly.
        """
        return self.client.stream(wire.WATCH, wire.Watch(since), wire.WakeEvent)

    def _ask(self, method: str, kind: type[T]) -> T:
        """What a governor answers at once."""
        answer, came = self.client.call(method, wire.Nothing(), kind, timeout_s=self._timeout_s)
        came.close()
        return answer

    def hop(
        self,
        event: str,
        inode: int,
        *,
        pid: int | None = None,
        index: int | None = None,
        processed: int | None = None,
    ) -> None:
        """Tell the governor how a copy travels; see `Reporter`. `send` and `receive` do it."""
        said = {"event": event, "inode": inode, "pid": pid, "index": index}
        if processed is not None:
            said["processed"] = processed
        with contextlib.suppress(HoldfastError):  # news for people: never a reason to fail
            self.client.tell(wire.HOP, said)

    def close(self) -> None:
        """End the connection. Wake leases are not bound to it: they stay."""
        self.client.close()
