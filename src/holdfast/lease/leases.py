"""`Leases`: what people use. It claims, waits, renews, checks and gives back, on any store."""

from __future__ import annotations

import functools
import itertools
import logging
import os
import threading
import time
import weakref
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, overload

from holdfast.clock import SystemClock
from holdfast.closing import Closing
from holdfast.durations import nanoseconds, nanoseconds_or_none, seconds
from holdfast.errors import Closed, HoldfastError, LeaseLost
from holdfast.lease import scripts
from holdfast.lease.driver import Driver
from holdfast.lease.held import Held, Hold, Terms
from holdfast.lease.keeper import Keeper, check_renew
from holdfast.lease.record import Record, check_word
from holdfast.lease.renewer import Renewer
from holdfast.lease.roster import Roster
from holdfast.lease.stores.connect import opener
from holdfast.lease.watchdog import Watchdog
from holdfast.process import Owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import timedelta

    from holdfast.clock import Clock
    from holdfast.lease.keeper import Renew
    from holdfast.lease.stores import Store

__all__ = ["Change", "Leases", "Listed", "Listing", "Token", "open"]

log = logging.getLogger("holdfast.lease")


@dataclass(frozen=True, slots=True)
class Listed(Record):
    """A record, and when it may end as seen from here.

    Attributes:
        expires_ns: The latest CLOCK_BOOTTIME at which the lease may still be valid. For comparing
            with local time only, and never a holder's deadline: `Held.remaining` is that.
    """

    expires_ns: int = 0


class Listing(tuple[Listed, ...]):
    """Records in the order of their names; ``listing["nightly"]`` is the one of that name."""

    __slots__ = ()

    @overload  # type: ignore[override]
    def __getitem__(self, key: int | str) -> Listed: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[Listed, ...]: ...
    def __getitem__(self, key: int | str | slice) -> Listed | tuple[Listed, ...]:
        """By position, or by name.

        Raises:
            KeyError: Nobody holds a lease of that name.
        """
        if not isinstance(key, str):
            return super().__getitem__(key)
        for record in self:
            if record.name == key:
                return record
        raise KeyError(key)


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a lease. None is a vacancy.

    Attributes:
        name: The lease.
        before: Its record when it was seen last.
        after: Its record now.
    """

    name: str
    before: Record | None
    after: Record | None


class Token:
    """A question that can be asked again and again: does that holder hold that lease?"""

    __slots__ = ("_leases", "holder", "name")

    def __init__(self, leases: Leases, name: str, holder: str) -> None:
        self._leases = leases
        self.name = check_word(name, "name of a lease")
        self.holder = check_word(holder, "holder")

    def check(self) -> Record:
        """Ask the store, now; the record that says so.

        It is a fact about the past as soon as it is told. To act on it, gate a transaction.

        Raises:
            LeaseLost: Nobody holds it, or somebody else.
            Unavailable: The store is away.
        """
        self._leases.need_open()
        record = self._leases.store.look(self.name)
        if record is not None and record.holder == self.holder:
            return record
        whose = "nobody's" if record is None else f"{record.holder!r}'s, epoch {record.epoch}"
        raise LeaseLost(f"the lease is {whose}, and not {self.holder!r}'s", on=self.name)


class Leases(Closing):
    """The leases of one namespace of one store. Any thread may use it, several at once.

    An open one never keeps the interpreter from exiting. After a fork it is the parent's: the child
    holds nothing, and has to open its own.

    Args:
        open_store: Makes a connection to the store. It is called once for the callers, and once
            for the renewer, which shares nothing with them.
        clock: Where CLOCK_BOOTTIME comes from; None: from the kernel.

    Attributes:
        store: The strict layer below, on the callers' connection.
        namespace: Whose leases.
    """

    def __init__(self, open_store: Callable[[], Store], *, clock: Clock | None = None) -> None:
        clock = SystemClock() if clock is None else clock
        self.now_ns: Callable[[], int] = _boottime(clock)
        self.store = open_store()
        try:
            ticks = self.store.clock().step_ns > 0
        except BaseException:
            self.store.close()
            raise
        self.namespace = self.store.namespace
        self.roster = Roster()
        self.renewer = Renewer(self.roster, open_store, clock)
        self.watchdog = Watchdog(self.roster, clock)
        self.forked = False
        self._closing = threading.Event()
        self.driver = Driver(self.store, self.now_ns, self._closing)
        self._facts = Owner.current().to_dict()
        self._numbers = itertools.count(1)
        self._holder = f"{self._facts['host']}-{self._facts['boot_id'][:8]}-{os.getpid()}"
        self._own = f"{next(_opened)}"
        _alive.add(self)
        if ticks:
            self.renewer.start()

    # -- holding ----------------------------------------------------------------------------------

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
    ) -> Hold:
        """A with block, or a decorator, under a lease.

        Args:
            name: The lease.
            holder: As whom; None: as nobody else, so that two threads exclude each other too.
                Whoever uses the same holder shares the lease.
            duration: Seconds that each renewal promises. Others wait as long if this process dies.
            wait: Seconds to wait for others; None: for ever, 0: not at all.
            renew: "auto": in the background, as long as this process lives; "progress": only if
                `Held.progress` was called since the last time; None: never.
            on_lost: Called with the `Held`, in a thread of its own, if the lease is lost.
            why: What for, for those who wait.
            on_wait: Called with the record of whoever has the lease, when the wait for it begins.

        Raises:
            InvalidArgument: One of the arguments is none.
        """
        return Hold(self, self.terms(name, holder, duration, wait, renew, on_lost, why, on_wait))

    @staticmethod
    def terms(
        name: str,
        holder: str | None = None,
        duration: float | timedelta = 30,
        wait: float | timedelta | None = None,
        renew: Renew = "auto",
        on_lost: Callable[[Held], object] | None = None,
        why: str | None = None,
        on_wait: Callable[[Record], object] | None = None,
    ) -> Terms:
        """The arguments of `hold`, checked."""
        return Terms(
            name=check_word(name, "name of a lease"),
            holder=None if holder is None else check_word(holder, "holder"),
            duration_ns=nanoseconds(duration, "duration"),
            wait_ns=nanoseconds_or_none(wait, "wait"),
            renew=check_renew(renew),
            on_lost=on_lost,
            why=why,
            on_wait=on_wait,
        )

    def acquire(self, terms: Terms) -> Held:
        """What entering the block of `hold` does; use that."""
        self.need_open()
        holder = self.new_holder() if terms.holder is None else terms.holder
        made: list[Held] = []
        try:
            while True:
                claimed = self.driver.run(self.claiming(terms, holder), terms.on_wait)
                if self.take(claimed, terms, made):
                    return made[0]
                self.driver.run(scripts.release(claimed.record))
        except BaseException as error:  # Ctrl-C, or what a signal's handler or on_wait has raised
            self.undo(error, terms, holder, made)
            raise

    def undo(self, error: BaseException, terms: Terms, holder: str, made: Sequence[Held]) -> None:
        """Leave nothing behind of an `acquire` that was cut short."""
        for held in made:
            held.close()
        if terms.holder is None and not made and not isinstance(error, HoldfastError):
            self.disown(terms.name, holder)

    def claiming(self, terms: Terms, holder: str) -> scripts.Script[scripts.Claimed]:
        """The script that claims a lease on those terms."""
        return scripts.claim(
            terms.name,
            holder,
            terms.duration_ns,
            owner=self.facts(terms.why),
            wait_ns=terms.wait_ns,
        )

    def take(self, claimed: scripts.Claimed, terms: Terms, made: list[Held]) -> bool:
        """Keep from now on what a script has claimed, in `made`.

        False if it was a shared holding, and the last who shared it was about to give it back.

        Raises:
            Closed: Somebody has closed these leases meanwhile.
        """
        keeper = Keeper(claimed.record, claimed.asked_ns, terms.duration_ns, terms.renew)
        held = Held(self, keeper, terms)
        with self.roster.lock:
            if self.roster.was_given_back(held):
                return False
            made.append(held)
            self.need_open()
            self.roster.add(held)
            self.watchdog.watch_until(keeper.deadline_ns)
            if keeper.due_ns is not None:
                self.renewer.renew_at(keeper.due_ns)
        return True

    def claim(
        self,
        name: str,
        holder: str,
        duration: float | timedelta,
        *,
        wait: float | timedelta | None = 0,
        why: str | None = None,
        on_wait: Callable[[Record], object] | None = None,
    ) -> Record:
        """Claim a lease, or extend it if `holder` has it; nobody renews it afterwards.

        Raises:
            ClaimDenied: It is certainly not that holder's.
            OutcomeUnknown: The store has not said.
            Unavailable: Nothing was done: the store is away.
        """
        self.need_open()
        terms = self.terms(
            name,
            holder=check_word(holder, "holder"),
            duration=duration,
            wait=wait,
            renew=None,
            why=why,
            on_wait=on_wait,
        )
        return self.driver.run(self.claiming(terms, holder), on_wait).record

    def disown(self, name: str, holder: str) -> None:
        """Leave nothing behind of a claim that was interrupted: it may have succeeded."""
        try:
            record = self.store.look(name)
            if record is not None and record.holder == holder:
                self.store.release(record)
        except Exception as failure:  # noqa: BLE001 - it lapses by itself; the interruption goes on
            log.warning("giving back %s: %s", name, failure)

    # -- looking ----------------------------------------------------------------------------------

    def token(self, name: str, holder: str) -> Token:
        """Whether that holder holds that lease: a question to be asked with `Token.check`."""
        return Token(self, name, holder)

    def records(self) -> Listing:
        """Every lease that somebody holds, read from the store now.

        One whose end has passed is still held, until somebody removes it: see `expires_ns`.
        """
        self.need_open()
        held = self.store.refresh()
        reading = self.store.clock()
        now_ns = self.now_ns()  # after the store's clock, so that it can only be late
        return Listing(
            Listed(
                **{field.name: getattr(record, field.name) for field in fields(Record)},
                expires_ns=now_ns + record.end_in(reading.era) - reading.now_ns + reading.step_ns,
            )
            for _, record in sorted(held.items())
        )

    def watch(self, *, timeout: float | timedelta | None = None) -> Iterator[Change]:
        """What becomes of the leases from now on, one by one.

        Changes that follow closely upon each other are seen as one. The iterator ends when
        `timeout` seconds passed without any; None: never.
        """
        self.need_open()
        return self._changes(dict(self.store.refresh()), seconds(timeout, "timeout"))

    def _changes(self, seen: dict[str, Record], limit: float | None) -> Iterator[Change]:
        give_up = None if limit is None else time.monotonic() + limit
        while True:
            # Where a clock runs by itself there is no renewer that removes what has run out.
            self.driver.run(scripts.expire_overdue())
            left = 1.0 if give_up is None else min(1.0, give_up - time.monotonic())
            # Others who use this store may have read what we have not shown yet.
            if self.store.records() == seen:
                self.store.wait_changed(max(0.0, left))
            after = dict(self.store.records())
            if after != seen:
                yield from changes(seen, after)
                seen = after
                give_up = None if limit is None else time.monotonic() + limit
            elif give_up is not None and time.monotonic() >= give_up:
                return

    def wait_until_expired(self, name: str, timeout: float | timedelta | None = None) -> bool:
        """Wait until nobody holds the lease; False if `timeout` seconds passed first.

        It is no reservation: all who wait for it are told, and one of them will be first.
        """
        self.need_open()
        check_word(name, "name of a lease")
        wait_ns = nanoseconds_or_none(timeout, "timeout")
        return self.driver.run(scripts.await_vacancy(name, wait_ns=wait_ns))

    # -- pins -------------------------------------------------------------------------------------

    def pin(self, name: str, by: str) -> None:
        """Keep a lease from expiring until `by` unpins it; also one that nobody holds yet."""
        self.need_open()
        self.store.pin(name, by)

    def unpin(self, name: str, by: str) -> None:
        """Take that back. If its end has passed and nobody else pins it, it may expire now."""
        self.need_open()
        self.store.unpin(name, by)

    # -- ending -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Give back what is held, and let go of the store. What was claimed by `claim` stays."""
        if self.forked:
            return
        with self.roster.lock:  # after this nobody takes anything
            if self._closing.is_set():
                return
            self._closing.set()
        _alive.discard(self)
        for held in self.roster:
            held.close()
        self.watchdog.close()
        self.renewer.close()
        self.store.close()

    @property
    def closed(self) -> bool:
        """True after `close`, and in a child of the process that opened it."""
        return self._closing.is_set() or self.forked

    def need_open(self) -> None:
        """Refuse to work if it cannot.

        Raises:
            Closed: It was closed, or belongs to the parent process.
        """
        if self.forked:
            raise Closed("these leases are the parent process's", hint="open your own")
        if self._closing.is_set():
            raise Closed("the leases are closed", on=self.namespace, hint="open them again")

    def new_holder(self) -> str:
        """A holder that nobody else is."""
        return f"{self._holder}-{self._own}.{next(self._numbers)}"

    def facts(self, why: str | None) -> dict[str, Any]:
        """Who claims now, for those who wait."""
        return {**self._facts, "why": why, "since_ns": time.time_ns()}

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self.roster)} held"
        return f"<Leases {self.namespace!r}, {state}>"


def open(  # noqa: A001 - it is called as lease.open, like os.open or gzip.open
    url: str = "local:", *, namespace: str = "default", clock: Clock | None = None
) -> Leases:
    """Open the leases of a namespace.

    Args:
        url: ``local:`` (this host; ``local:?dir=PATH`` survives a reboot), ``sqlite:///path``,
            ``postgresql+psycopg://…``, or ``memory:`` (this process, for tests).
        namespace: The same name in another namespace is another lease.
        clock: Where CLOCK_BOOTTIME comes from; None: from the kernel.

    Raises:
        InvalidArgument: There is no such kind of store.
        Unsupported: It needs what is not installed.
        Unavailable: It cannot be reached.
    """
    return Leases(opener(url, namespace), clock=clock)


def changes(before: dict[str, Record], after: dict[str, Record]) -> Iterable[Change]:
    """What is different, in the order of names."""
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield Change(name, before.get(name), after.get(name))


def _boottime(clock: Clock) -> Callable[[], int]:
    # `Held.check` is on the path of every piece of work: the kernel's clock without a detour.
    if type(clock) is SystemClock and hasattr(time, "CLOCK_BOOTTIME"):
        return functools.partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)
    return clock.boottime_ns


_opened = itertools.count(1)
_alive: weakref.WeakSet[Leases] = weakref.WeakSet()


def _forget_after_fork() -> None:
    # The child has no threads to renew and no right to the parent's leases. Locks may be held by
    # threads that are not there any more: it takes none, and makes new ones.
    for leases in list(_alive):
        leases.forked = True
        leases.roster.renew_lock()
        for held in leases.roster:
            held.disinherit()


os.register_at_fork(after_in_child=_forget_after_fork)
