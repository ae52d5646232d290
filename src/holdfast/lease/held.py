"""What a holder has in its hands: `Held`, and `Hold`, the with block that claims and gives back."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import msgspec

from holdfast.clock import NS_PER_S
from holdfast.closing import Closing
from holdfast.durations import seconds
from holdfast.errors import Closed, HoldfastError, InvalidArgument, LeaseLost
from holdfast.lease.keeper import Phase
from holdfast.lease.scripts import release

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta
    from types import TracebackType

    from holdfast.lease.keeper import Keeper, Renew
    from holdfast.lease.leases import Leases
    from holdfast.lease.record import Record

__all__ = ["Held", "Hold", "Terms"]

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("holdfast.lease")
log.addHandler(logging.NullHandler())  # who does not listen hears by check, fileno and on_lost


class Terms(msgspec.Struct, frozen=True):
    """What a lease is to be held on: the arguments of `Leases.hold`, checked."""

    name: str
    holder: str | None
    duration_ns: int
    wait_ns: int | None
    renew: Renew
    on_lost: Callable[[Any], object] | None
    why: str | None
    on_wait: Callable[[Record], object] | None


class Held(Closing):
    """A lease that this process holds, or held. Made by `Leases.hold`; closing it gives it back.

    Attributes:
        name: The lease.
        holder: As whom.
        fencing_token: The epoch: greater than that of every earlier holding of the name. Give it to
            whatever you write to, and let that refuse what comes with a smaller one.
        shared: Whether its holder was named by the caller, so that others may be the same.
        keeper: What is known of it; read it, and leave it alone.
    """

    __slots__ = (
        "__weakref__",
        "_announced",
        "_believed_ns",
        "_fd",
        "_leases",
        "_now_ns",
        "_on_lost",
        "fencing_token",
        "holder",
        "keeper",
        "name",
        "shared",
    )

    def __init__(self, leases: Leases, keeper: Keeper, terms: Terms) -> None:
        self.name = keeper.record.name
        self.holder = keeper.record.holder
        self.shared = terms.holder is not None
        self.fencing_token = keeper.record.epoch
        self.keeper = keeper
        self._leases = leases
        self._now_ns = leases.now_ns
        self._on_lost = terms.on_lost
        self._believed_ns = -1  # until when, if it was lost because that had passed
        self._announced = False
        self._fd = -1

    @property
    def record(self) -> Record:
        """What the store answered last."""
        return self.keeper.record

    # -- is it still mine? ------------------------------------------------------------------------

    def check(self) -> None:
        """Raise if the lease may not be ours any more. No I/O: a look at CLOCK_BOOTTIME.

        Raises:
            LeaseLost: The deadline has passed, the store has said no, or it was released.
        """
        if self._now_ns() >= self.keeper.deadline_ns:
            self._raise_lost()

    def remaining(self) -> float:
        """For how many seconds more it is certainly ours, as of now; 0.0 if it is not."""
        return max(0, self.keeper.deadline_ns - self._now_ns()) / NS_PER_S

    @property
    def deadline_ns(self) -> int:
        """Until when it is certainly ours, in nanoseconds of CLOCK_BOOTTIME; -1 once it is over."""
        return self.keeper.deadline_ns

    @property
    def lost(self) -> bool:
        """Whether it was lost. A lease that was released was not."""
        if self.keeper.deadline_ns >= 0 and self._now_ns() >= self.keeper.deadline_ns:
            self._expire()
        return self.keeper.phase is Phase.LOST

    def _raise_lost(self) -> None:
        self._expire()
        believed_ns = self._believed_ns
        raise LeaseLost(
            self.keeper.ending,
            overrun_ns=None if believed_ns < 0 else self._now_ns() - believed_ns,
            on=self.name,
            hint="stop what it was for: somebody else may hold it already",
        )

    def _expire(self) -> None:
        with self._leases.roster.lock:
            self.expire(self._now_ns())
        self.announce()

    def expire(self, now_ns: int) -> bool:
        """Whether it is lost, by its deadline if by nothing else. Call it under the lock."""
        deadline_ns = self.keeper.deadline_ns
        if self.keeper.expire(now_ns):
            self._believed_ns = deadline_ns
        return self.keeper.phase is Phase.LOST

    # -- hearing of the loss ----------------------------------------------------------------------

    def fileno(self) -> int:
        """A descriptor that becomes readable when the lease is lost. For poll; do not read it.

        Raises:
            Closed: It was released.
        """
        with self._leases.roster.lock:
            if self.keeper.phase is Phase.RELEASED:
                raise Closed("the lease was released", on=self.name)
            if self._fd < 0:
                self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
                if self.keeper.phase is Phase.LOST:
                    os.eventfd_write(self._fd, 1)
            return self._fd

    def wait_lost(self, timeout: float | timedelta | None = None) -> bool:
        """Wait until it is lost; False if it was released, or `timeout` seconds passed first."""
        limit = seconds(timeout, "timeout")
        give_up = None if limit is None else time.monotonic() + limit
        changed = self._leases.roster.changed
        with changed:
            while not self.keeper.over:
                left = None if give_up is None else give_up - time.monotonic()
                if left is not None and left <= 0:
                    break
                changed.wait(left)
        return self.lost

    def announce(self) -> None:
        """Tell those who wait, if it was lost and nobody has been told. Not under the lock."""
        with self._leases.roster.lock:
            if self._announced or self.keeper.phase is not Phase.LOST:
                return
            self._announced = True
            self._leases.roster.discard(self)
            if self._fd >= 0:
                os.eventfd_write(self._fd, 1)
            self._leases.roster.changed.notify_all()
        log.warning("lost %s: %s", self.name, self.keeper.ending)
        if self._on_lost is None:
            return
        # In a thread of its own: it may do anything, and the watchdog has others to watch.
        called = threading.Thread(
            target=self._on_lost, args=(self,), name="holdfast-lease-lost", daemon=True
        )
        try:
            called.start()
        except RuntimeError:  # there are too many threads: better here than not at all
            try:
                self._on_lost(self)
            except Exception:
                log.exception("on_lost of %s", self.name)

    # -- using it ---------------------------------------------------------------------------------

    def progress(self) -> None:
        """The work goes on: with ``renew="progress"``, there is reason for one more renewal."""
        with self._leases.roster.lock:
            self.keeper.progress()
            if self.keeper.due_ns is not None:
                self._leases.renewer.renew_at(self.keeper.due_ns)

    def gate(self, transaction: object) -> None:
        """Let a transaction of yours commit only while the lease is ours.

        Until the transaction ends, nobody else can get the lease. Keep it short: a third of the
        duration at most.

        Args:
            transaction: What lives in the same place as the lease: for `local:`, a
                `holdfast.state.Transaction`; for SQL stores, an SQLAlchemy Connection or Session.

        Raises:
            LeaseLost: It is not ours any more: roll back.
            Conflict: Others have been at work in between: roll back and begin anew.
            TypeError: This store gates no such thing.
            InvalidArgument: Of the right kind, but not fit to be gated: autocommit, for one.
        """
        self.check()  # first: the row alone would stand until somebody removed it
        try:
            self._leases.store.gate(self.keeper.record, transaction)
        except LeaseLost as error:
            with self._leases.roster.lock:
                self.keeper.refused(str(error))  # also if a renewal is under way
            self.announce()
            raise

    # -- giving it back ---------------------------------------------------------------------------

    def release(self) -> None:
        """Give it back. Again, or after a loss, it does nothing that could hurt a successor.

        Of several that share a holder in one `Leases`, the last gives it back. One that shares it
        through another `Leases`, or in another process, loses it.

        Raises:
            Unavailable: The store is away: it stays ours for others, until it runs out.
            OutcomeUnknown: The store has not said.
        """
        if self._let_go():
            self._leases.driver.run(release(self.keeper.record))

    def close(self) -> None:
        """Give it back, and only log it if the store cannot be reached."""
        try:
            self.release()
        except HoldfastError as error:
            log.warning("releasing %s: %s", self.name, error)

    def disinherit(self) -> None:
        """In the child of a fork: it is the parent's. Nobody is told, and no lock is taken."""
        self._announced = True
        self._fd = -1
        self.keeper.refused("it is the parent process's: a fork does not share it")

    def _let_go(self) -> bool:
        """Stop believing in it; whether the store has to be told."""
        if self._leases.forked:
            return False  # it is the parent's
        with self._leases.roster.lock:
            first = self.keeper.phase is not Phase.RELEASED
            self.keeper.release()
            last = self._leases.roster.leave(self)
            fd, self._fd = self._fd, -1
            self._leases.roster.changed.notify_all()
        if fd >= 0:
            os.close(fd)
        return first and last

    def __repr__(self) -> str:
        return (
            f"<Held {self.name!r} as {self.holder!r}, token {self.fencing_token}, "
            f"{self.keeper.phase.value}, {self.remaining():.1f} s left>"
        )


class Hold:
    """A with block under a lease, or a decorator that puts each call under one.

    Made by `Leases.hold`. Nothing is claimed before the block is entered.
    """

    __slots__ = ("_held", "_leases", "terms")

    def __init__(self, leases: Leases, terms: Terms) -> None:
        self._leases = leases
        self.terms = terms
        self._held: Held | None = None

    def __enter__(self) -> Held:
        """Claim the lease, waiting for it if that was asked for.

        Raises:
            ClaimDenied: Somebody else holds it.
            OutcomeUnknown: The store has not said; if it was claimed, it lapses by itself.
            Unavailable: The store is away.
        """
        if self._held is not None:
            raise InvalidArgument("this block is entered already", hint="call hold() once for each")
        try:
            self._held = self._leases.acquire(self.terms)
            return self._held
        except BaseException:  # Ctrl-C can come between any two steps
            held, self._held = self._held, None
            if held is not None:
                held.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.close()

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """The function, under the lease: claimed at each call, given back when it returns."""
        if runs_later(function):
            raise TypeError(
                f"{function!r} would run after the lease was given back; "
                "use open_async for coroutines, and a with block inside of a generator"
            )

        @functools.wraps(function)
        def under_lease(*args: P.args, **kwargs: P.kwargs) -> T:
            with Hold(self._leases, self.terms):
                return function(*args, **kwargs)

        return under_lease


def runs_later(function: Callable[..., object]) -> bool:
    """Whether a call only makes something that somebody runs afterwards."""
    # An object that can be called is what its class says; inspect sees through functools.partial.
    called = (function, getattr(function, "__call__", None))  # noqa: B004 - not whether, but what
    return any(
        inspect.iscoroutinefunction(one)
        or inspect.isgeneratorfunction(one)
        or inspect.isasyncgenfunction(one)
        for one in called
    )
