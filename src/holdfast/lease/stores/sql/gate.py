"""The gate: a transaction of the user's that commits only while a holding stands.

It works because a hand-over is a removal, and because the gate locks what would be removed, in the
user's own transaction and until its end:

============  ==================================================================================
PostgreSQL    SELECT ... FOR KEY SHARE of the row of ownership. A removal waits for it or is
              refused; a renewal writes another row, and passes
SQLite        an UPDATE of that row which changes nothing, nor any index. It takes the file's
              one write lock: nobody hands over meanwhile, but nobody renews either: keep it short
============  ==================================================================================

What it finds, between the transaction's first statement and the gate:

=================================  ======================  =======================================
the holding                        READ COMMITTED, SQLite  REPEATABLE READ, SERIALIZABLE
=================================  ======================  =======================================
stands, renewed or not             passes                  passes
is removed, or another's           LeaseLost               Conflict: the database refuses (40001)
was claimed after the first look   passes                  Conflict: it stands, but is not visible
stands; SQLite, after a read, and  Conflict: the database
anybody has written since          refuses (BUSY_SNAPSHOT)
=================================  ======================  =======================================

Where the transaction does not see the holding, the store looks again by its own connection: only
what it does not see either is lost.

Whether there is a transaction at all, only the driver knows, and only afterwards: SQLAlchemy speaks
of one in autocommit too. A savepoint that is rolled back takes the lock along (PostgreSQL), so
gating inside one is refused. A raw connection does not say whether it has one: do not gate there.
"""

from __future__ import annotations

import sqlite3
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session, scoped_session

from holdfast.errors import (
    Conflict,
    InvalidArgument,
    LeaseLost,
    NotPermitted,
    Unavailable,
)
from holdfast.lease.stores.sql.direct import explain

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.lease.record import Record
    from holdfast.lease.stores.sql import SqlStore

__all__ = ["gate"]

ERA = "SELECT era FROM holdfast_clock"
LOCKS = {
    "sqlite": "UPDATE holdfast_ownership SET owner = owner"
    " WHERE namespace = ? AND name = ? AND holder = ? AND epoch = ?"
    " RETURNING (SELECT era FROM holdfast_clock)",
    "postgresql": "SELECT (SELECT era FROM holdfast_clock) FROM holdfast_ownership"
    " WHERE namespace = %s AND name = %s AND holder = %s AND epoch = %s FOR KEY SHARE",
}
INTRANS = 2  # libpq's PQTRANS_INTRANS, which psycopg and psycopg2 pass on
DRIVERS = {"pysqlite", "psycopg", "psycopg2"}

# What an error of the gate's statement means, by SQLSTATE or by SQLite's code.
BUSY, ANEW, UNFIT, TABLES, ROLE = "busy", "anew", "unfit", "tables", "role"
MEANINGS: dict[str | int, str] = {
    "40001": ANEW,
    "40P01": ANEW,
    "55P03": BUSY,
    "57014": BUSY,
    "25006": UNFIT,  # read-only
    "25P02": UNFIT,  # it has failed already
    "42P01": TABLES,
    "3F000": TABLES,
    "42501": ROLE,
    sqlite3.SQLITE_BUSY_SNAPSHOT: ANEW,
    sqlite3.SQLITE_BUSY: BUSY,
    sqlite3.SQLITE_LOCKED: BUSY,
    sqlite3.SQLITE_READONLY: UNFIT,
    sqlite3.SQLITE_ERROR: TABLES,
}


class Gated:
    """A transaction that is to be gated, whatever kind of object the user has.

    Attributes:
        kind: Which database: the name of a dialect.
        say: Executes a statement in it; the rows.
        driver: The driver's connection.
    """

    __slots__ = ("driver", "kind", "say")

    def __init__(self, kind: str, driver: Any, say: Callable[..., list[Any]]) -> None:
        self.kind = kind
        self.driver = driver
        self.say = say

    @property
    def is_open(self) -> bool:
        """Whether the driver is in a transaction."""
        if self.kind == "sqlite":
            return bool(self.driver.in_transaction)
        return bool(self.driver.info.transaction_status == INTRANS)

    def sees_latest(self) -> bool:
        """Whether a statement sees what was committed before it, and not only before the first."""
        if self.kind == "sqlite":
            return True  # a writer does, or is refused
        return str(self.say("SHOW transaction_isolation")[0][0]).startswith("read ")


def gate(store: SqlStore, record: Record, transaction: object) -> None:
    """Let `transaction` commit only while that holding stands; see `Store.gate`.

    Args:
        store: Whose lease it is.
        record: The holding.
        transaction: A `sqlalchemy.Connection` or `sqlalchemy.orm.Session`, or a connection of
            sqlite3 or psycopg. Where none is begun, it begins one, as any statement would.

    Raises:
        TypeError: It is something else: an engine, or an asynchronous one.
        InvalidArgument: It is on another database, in autocommit, read-only, has failed already,
            or is inside a savepoint.
        LeaseLost: The holding does not stand any more; roll back.
        Conflict: Others have been at work; roll back, and begin the transaction anew.
        Unavailable: The lock was not to be had in time, or the connection is gone; roll back.
        NotPermitted: The role may not lock the row: it needs SELECT on it, and UPDATE of a column.
    """
    gated = _gated(transaction)
    if gated.kind != store.dialect.name:
        raise InvalidArgument(
            f"a transaction in {gated.kind} cannot be gated by a lease in {store.dialect.name}",
            on=record.name,
            hint="both must be in the same database",
        )
    key = (store.namespace, record.name, record.holder, record.epoch)
    try:
        found = gated.say(LOCKS[gated.kind], key)
        is_open = gated.is_open
        eras = found or gated.say(ERA)
        latest = bool(found) or gated.sees_latest()
    except Exception as error:
        _explain(error, record)
        raise
    if not is_open:
        raise InvalidArgument(
            "there is no transaction: the connection is in autocommit",
            on=record.name,
            hint="begin one, and gate it; what is committed by itself cannot be gated",
        )
    _same_database(store, record, eras)
    if not found:
        _nothing_found(store, record, latest=latest)


def _gated(transaction: object) -> Gated:
    if isinstance(transaction, scoped_session):
        transaction = transaction()
    if isinstance(transaction, Session):
        try:
            transaction = transaction.connection()
        except SQLAlchemyError as error:
            raise InvalidArgument(
                f"the session gives no connection: {error}",
                hint="give the connection of the database that the lease is in",
            ) from error
    if isinstance(transaction, sa.Connection):
        return _of_sqlalchemy(transaction)
    if isinstance(transaction, sqlite3.Connection):
        return Gated("sqlite", transaction, _cursor_of(transaction))
    psycopg = sys.modules.get("psycopg")  # what is not loaded, nobody has a connection of
    if psycopg is not None and isinstance(transaction, psycopg.Connection):
        return Gated("postgresql", transaction, _cursor_of(transaction))
    raise TypeError(
        "leases in a database gate a Connection or Session of SQLAlchemy, "
        f"or a connection of sqlite3 or psycopg, and no {type(transaction).__name__}"
    )


def _of_sqlalchemy(connection: sa.Connection) -> Gated:
    dialect = connection.dialect
    if dialect.is_async or (dialect.name in LOCKS and dialect.driver not in DRIVERS):
        raise TypeError(f"leases in a database gate no connection of {dialect.driver}")
    if connection.closed or connection.invalidated:
        raise InvalidArgument("the connection is closed", hint="begin a transaction on another")
    if connection.in_nested_transaction():
        raise InvalidArgument(
            "a savepoint is open, whose end could take the lock away",
            hint="gate the transaction before its first savepoint, or after the last",
        )

    driver = connection.connection.driver_connection
    directly = _cursor_of(driver)

    def say(statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        if not connection.in_transaction():  # then SQLAlchemy must know that one begins
            return list(connection.exec_driver_sql(statement, values).all())
        try:
            return directly(statement, values)
        except Exception as error:
            explain(connection, error, statement, values)
            raise

    return Gated(dialect.name, driver, say)


def _cursor_of(connection: Any) -> Callable[..., list[Any]]:
    def say(statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        cursor = connection.cursor()
        if isinstance(cursor, sqlite3.Cursor):
            cursor.row_factory = None
        else:
            from psycopg.rows import tuple_row

            cursor.row_factory = tuple_row
        try:
            return list(cursor.execute(statement, values).fetchall())
        finally:
            cursor.close()

    return say


def _same_database(store: SqlStore, record: Record, eras: list[Any]) -> None:
    """A clock's era is random: another database, though it has our tables, has another one."""
    era = eras[0][0] if eras else None
    # Only after a restored backup is the clock's another one than the record's: look then.
    if era is None or (era != record.era and era != store.clock().era):
        raise _elsewhere(record)


def _elsewhere(record: Record) -> InvalidArgument:
    return InvalidArgument(
        "the transaction is in another database than the lease",
        on=record.name,
        hint="open the leases in the database whose transactions they shall gate",
    )


def _nothing_found(store: SqlStore, record: Record, *, latest: bool) -> NoReturn:
    standing = store.look(record.name)
    if standing is None or (standing.holder, standing.epoch) != (record.holder, record.epoch):
        whose = "nobody's" if standing is None else f"{standing.holder!r}'s"
        raise LeaseLost(
            f"the lease is not {record.holder!r}'s under epoch {record.epoch} any more: "
            f"it is {whose}",
            on=record.name,
            hint="roll back; claim the lease anew before you go on",
        )
    if latest:
        raise _elsewhere(record)
    raise _conflict(record, "the lease was claimed after the transaction's first look")


def _conflict(record: Record, what: str) -> Conflict:
    return Conflict(what, on=record.name, hint="roll back, and begin the transaction anew")


def _explain(error: Exception, record: Record) -> None:
    """Raise what an error of the driver means, if it means anything that we know."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", None) or getattr(cause, "sqlstate", None)
    code = code or getattr(cause, "pgcode", None)
    if isinstance(code, int) and code not in MEANINGS:
        code &= 0xFF
    said = " ".join(str(cause).split())
    match MEANINGS.get(code) if code is not None else None:
        case "anew":
            raise _conflict(record, f"others have written meanwhile: {said}") from error
        case "busy":
            raise Unavailable(
                f"the lease could not be locked in time: {said}",
                on=record.name,
                hint="roll back, and begin the transaction anew",
            ) from error
        case "unfit":
            raise InvalidArgument(
                f"this transaction cannot be gated: {said}",
                on=record.name,
                hint="gate one that may write, and that has not failed",
            ) from error
        case "tables":
            raise InvalidArgument(
                f"the database of the transaction has no leases: {said}",
                on=record.name,
                hint="open the leases in the database whose transactions they shall gate",
            ) from error
        case "role":
            raise NotPermitted(
                f"the transaction's role may not lock the lease: {said}",
                on=record.name,
                hint="grant it SELECT on holdfast_ownership and holdfast_clock, "
                "and UPDATE (owner) on holdfast_ownership",
            ) from error
        case None if isinstance(error, DBAPIError) or type(cause).__module__.startswith(
            ("sqlite3", "psycopg")
        ):
            raise Unavailable(
                f"the transaction could not be gated: {said}",
                on=record.name,
                hint="roll back; if the connection is gone, begin on another",
            ) from error
