"""`Database`: one connection, on which steps are made: transactions that are done, or surely not.

What becomes of a step::

    begin ──▶ work ──▶ commit ──▶ done
      │         │         │ the answer was lost: `OutcomeUnknown`, the connection is discarded
      │         │         └ the answer was no ┐
      └─────────┴──────── failed ─────────────┴─▶ nothing was done: `Again`, or the caller's error

A connection that fails is discarded, and the next step makes another: nothing has to be repaired.
After a fork the child has none, and leaves the parent's alone: closing it would end the parent's
session.
"""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError

from holdfast.errors import HoldfastError, InvalidArgument, OutcomeUnknown, Unsupported
from holdfast.lease.stores.sql.dialect import Again, Dialect, Failure
from holdfast.lease.stores.sql.postgresql import PostgresqlDialect
from holdfast.lease.stores.sql.sqlite import SqliteDialect

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Database", "Patience", "choose"]

T = TypeVar("T")
DIALECTS: dict[str, type[Dialect]] = {
    kind.name: kind for kind in (SqliteDialect, PostgresqlDialect)
}
PAUSE_S, PAUSE_S_MAX = 0.001, 0.02


def choose(url: str, busy_s: float) -> Dialect:
    """The dialect for a URL.

    Raises:
        InvalidArgument: It is no URL, or names nothing that several processes can reach.
        Unsupported: There is no store for that kind of database, or its driver is missing.
    """
    try:
        parsed = sa.make_url(url)
    except ArgumentError as error:
        raise InvalidArgument(
            "no URL of a database", hint="write sqlite:///path or postgresql+psycopg://..."
        ) from error
    kind = DIALECTS.get(parsed.get_backend_name())
    if kind is None:
        raise Unsupported(
            f"leases are not kept in {parsed.get_backend_name()}",
            on=parsed.render_as_string(),
            hint=f"there are {', '.join(DIALECTS)}",
        )
    return kind(parsed, busy_s)


class Patience:
    """How often a step that did nothing is made again: until the time is over."""

    def __init__(self, busy_s: float) -> None:
        self._deadline = time.monotonic() + busy_s
        self._pause_s = PAUSE_S
        self._reconnected = False
        self._raced = False

    def has_an_end(self, again: Again) -> bool:
        """Whether to give up; if not, a pause was made."""
        if again.failure is Failure.GONE:
            # It may have been cut while it was idle: one that was made just now tells.
            first, self._reconnected = not self._reconnected, True
            return not (first and again.reused)
        if again.failure is Failure.RACED and not self._raced:
            self._raced = True  # whoever was first is done: there is nothing to wait for
            return False
        if again.failure not in {Failure.BUSY, Failure.RACED}:
            return True
        if time.monotonic() >= self._deadline:
            return True
        # By chance, so that those who wait do not come all at once.
        time.sleep(self._pause_s * random.uniform(0.5, 1))
        self._pause_s = min(2 * self._pause_s, PAUSE_S_MAX)
        return False


class Database:
    """One connection to a database.

    Args:
        dialect: The database.

    Attributes:
        lock: To be held by who makes an attempt; and then it may look after its own things too.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.lock = threading.RLock()
        self._connection: sa.Connection | None = None
        _open.add(self)

    def attempt(self, work: Callable[[sa.Connection], T], *, write: bool) -> T:
        """One transaction: `work`, and then the commit. What `work` raises undoes it.

        Raises:
            Again: Nothing was done.
            OutcomeUnknown: The answer to the commit was lost.
        """
        reused = self._connection is not None
        try:
            connection = self._connect()
            transaction = connection.begin()
            self.dialect.begin(connection, write=write)
            result = work(connection)
            if not write:
                transaction.commit()  # after a rollback, psycopg prepares all statements anew
                return result
        except DBAPIError as error:
            self._undo()
            raise Again(self.dialect.meaning(error), error, reused=reused) from error
        except BaseException:
            self._undo()
            raise
        try:
            transaction.commit()
        except DBAPIError as error:
            self.close()
            if self.dialect.refused(error):
                raise Again(self.dialect.meaning(error), error) from error
            raise OutcomeUnknown(
                f"the commit was not answered: {' '.join(str(error.orig).split())}",
                on=self.dialect.where,
                hint="it may have been done; refresh, and look",
            ) from error
        except BaseException:
            self.close()
            raise
        return result

    def explain(self, again: Again) -> HoldfastError:
        """The error for the caller, when no more attempts are made."""
        try:
            return self.dialect.explain(again, self._connection)
        except DBAPIError:
            self.close()
            return self.dialect.explain(again)

    def close(self) -> None:
        """Discard the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(DBAPIError):
                connection.close()

    def abandon(self) -> None:
        """In a forked child: let the parent's connection be, for ever."""
        if self._connection is not None:
            _abandoned.append(self._connection)
        self._connection = None
        self.lock = threading.RLock()  # the thread that held it is not here

    def _connect(self) -> sa.Connection:
        if self._connection is not None and (
            self._connection.in_transaction()  # whoever had it was interrupted while undoing
            or self.dialect.leads_astray(self._connection)
        ):
            self.close()
        if self._connection is None:
            connection = self.dialect.engine.connect()
            try:
                self.dialect.prepare(connection)
            except BaseException:
                with suppress(DBAPIError):
                    connection.close()
                raise
            self._connection = connection
        return self._connection

    def _undo(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            connection.rollback()
        except DBAPIError:
            self.close()
        else:
            if connection.invalidated:
                self.close()


_open: weakref.WeakSet[Database] = weakref.WeakSet()
_abandoned: list[sa.Connection] = []


def _forked() -> None:
    for database in _open:
        database.abandon()


os.register_at_fork(after_in_child=_forked)
