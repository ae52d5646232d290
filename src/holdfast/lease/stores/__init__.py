"""What stands behind leases: the strict protocol that every store keeps, whatever it is made of.

A store is a namespace of leases in some place that several processes can reach. It is low and
strict: it does what was asked or says why not, and never claims, extends or waits by itself.

What may be inferred from the end of a call:

===================  =============================================================================
it returns           it was done, and is visible to everybody
`StaleRecord`        it was certainly not done: the caller's picture was old. `records` is fresh now
`InvalidArgument`    it was certainly not done, and never will be
`Unavailable`        it was certainly not done: the place is away or busy; it may come back
`OutcomeUnknown`     nothing: it may have been done, or not. Look again with `refresh`
`Closed`             it was not done: this object is closed
===================  =============================================================================

==================  ======================  ==================================================
store               where                   time
==================  ======================  ==================================================
`MemoryStore`       this process: for       a global clock, or one that is given
                    tests, and the oracle
`LocalStore`        shared memory, or a     CLOCK_BOOTTIME
                    directory of this host
`SqlStore`          SQLite, PostgreSQL      a global clock, in a row
==================  ======================  ==================================================

``connect.py`` finds the one that a URL names. ``holdfast.testing.conformance`` has the suite that
all of them pass, and one of yours must pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from holdfast.lease.record import Reading, Record

__all__ = ["Store"]


class Store(Protocol):
    """One process's access to the leases of one namespace. Any thread may call, several at once.

    Attributes:
        namespace: Whose leases these are; the same name elsewhere is another lease.
        writer: The id of this object, unique among all that write there at the same time.
    """

    namespace: str
    writer: str

    def claim(
        self,
        name: str,
        holder: str,
        duration_ns: int,
        *,
        owner: Mapping[str, Any] | None = None,
    ) -> Record:
        """Take a vacant lease for `duration_ns` at least, counted from the start of this call.

        Raises:
            StaleRecord: There is a record, whoever's it is and whether or not its end has passed.
        """
        ...

    def extend(self, record: Record, duration_ns: int) -> Record:
        """Promise `duration_ns` at least, from the start of this call; never less than before.

        Raises:
            StaleRecord: That holder does not hold it under that epoch any more.
        """
        ...

    def extend_many(self, requests: Sequence[tuple[Record, int]]) -> Sequence[Record | Exception]:
        """Extend many leases, each for itself: what became of each stands in its place.

        An extension that was refused is a `StaleRecord` in the list. What is raised concerns all.
        """
        ...

    def expire(self, record: Record | str) -> None:
        """Remove a lease whose end has strictly passed on the store's clock. Anybody may.

        Raises:
            StaleRecord: It is not so, or it is pinned, or it is not the record that was given.
        """
        ...

    def release(self, record: Record) -> bool:
        """Give a lease back. True if this call did; False if it was no longer that holding's."""
        ...

    def gate(self, record: Record, transaction: object) -> None:
        """Let a transaction of the user's commit only while that holding stands.

        The holding is name, holder and epoch; renewals do not disturb. Which kinds of transactions
        a store can gate is its own business: those that live in the same place as its records. The
        caller has checked the holder's deadline before.

        Raises:
            TypeError: The store gates no such thing.
            InvalidArgument: It is of the right kind, but cannot be gated as it is.
            LeaseLost: The holding does not stand any more; roll back.
            Conflict: Others have been at work; roll back, and begin the transaction anew.
        """
        ...

    def pin(self, name: str, by: str) -> None:
        """Keep a lease from expiring, also one that nobody holds yet, until `by` unpins it."""
        ...

    def unpin(self, name: str, by: str) -> None:
        """Take that back. It is no error if there was nothing to take back."""
        ...

    def pins(self) -> Mapping[str, frozenset[str]]:
        """Who has pinned what, vacancies included. Read from the store."""
        ...

    def records(self) -> Mapping[str, Record]:
        """What this object knows of the leases that are held, by name, without asking anybody.

        It is as old as the last call that has read them; the one that failed last made it fresh.
        """
        ...

    def refresh(self) -> Mapping[str, Record]:
        """Read all records, and what `records` shows from now on."""
        ...

    def look(self, name: str) -> Record | None:
        """Read one record, and what `records` shows of that name from now on; None: vacant."""
        ...

    def overdue(self, limit: int = 100) -> Sequence[Record]:
        """Records whose end has passed on the store's clock, the pinned left out: `expire` them.

        At most `limit` of them, read from the store; `records` need not show them afterwards.
        """
        ...

    def wait_changed(self, timeout: float | None = None, *, name: str | None = None) -> bool:
        """Wait until the records are others than `records` shows, and read them.

        Args:
            timeout: Seconds; None is for ever, and 0 is a look.
            name: Only this lease matters, and only its record is read.

        Returns:
            False if `timeout` passed first.
        """
        ...

    def clock(self) -> Reading:
        """What the store's clock shows: not older than the start of this call."""
        ...

    def now_ns(self) -> int:
        """The same, as a number."""
        ...

    def advance(self, elapsed_ns: int, *, since: Reading) -> Reading:
        """Add to the clock what has passed since it showed `since`; see `global_clock.tick`.

        The base is the caller's, and not the object's: two threads that tick through one object
        would otherwise count the same time twice.

        Raises:
            StaleRecord: The clock has moved since.
        """
        ...

    def close(self) -> None:
        """Let go of the place. Leases stay as they are. Closing twice is harmless."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
