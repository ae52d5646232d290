"""The tables of leases in a SQL database, and what the dialects do differently.

==========================  ====================================================================
``holdfast_ownership``      whose a lease is: a row is a holding. It changes only by insertion and
                            removal, so that a lock on it excludes a hand-over and no renewal
``holdfast_term``           how long it is promised, by epoch: the row that renewals write
``holdfast_pin``            who has pinned a name, also one that nobody holds
``holdfast_epoch``          one row: the last epoch that was given
``holdfast_clock``          one row: the global clock
==========================  ====================================================================

A name has one row of ownership at most (primary key), an epoch one in the whole store (unique).
"""

from __future__ import annotations

import random
import sqlite3
import time
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    event,
)
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine

__all__ = ["CLOCK", "EPOCH", "METADATA", "OWNERSHIP", "PIN", "TERM", "prepare_sqlite"]

T = TypeVar("T")

# SQLITE_PROTOCOL: a reader that lost too many races for its place in the log.
BUSY_CODES = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
METADATA = MetaData()

OWNERSHIP = Table(
    "holdfast_ownership",
    METADATA,
    Column("namespace", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("owner", Text, nullable=False),
    UniqueConstraint("epoch"),
)
TERM = Table(
    "holdfast_term",
    METADATA,
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("start_ns", BigInteger, nullable=False),
    Column("duration_ns", BigInteger, nullable=False),
    Column("writer", Text, nullable=False),
    Column("era", Text, nullable=False),
)
PIN = Table(
    "holdfast_pin",
    METADATA,
    Column("namespace", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("entity", Text, primary_key=True),
)
EPOCH = Table(
    "holdfast_epoch",
    METADATA,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True, autoincrement=False),
    Column("latest", BigInteger, nullable=False),
)
CLOCK = Table(
    "holdfast_clock",
    METADATA,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True, autoincrement=False),
    Column("now_ns", BigInteger, nullable=False),
    Column("era", Text, nullable=False),
)


def prepare_sqlite(engine: Engine, busy_s: float) -> None:
    """Make every transaction of a SQLite engine durable, and a writer from its first statement.

    A transaction that reads first and writes later can fail at once, whatever the time-out, if
    anybody has written between; BEGIN IMMEDIATE waits at the beginning instead. synchronous=FULL,
    because a claim that was answered must survive a loss of power (sqlite.org/pragma.html).
    """

    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # we begin ourselves
        mode = insist(lambda: connection.execute("PRAGMA journal_mode").fetchone(), busy_s)
        if mode != ("wal",):
            insist(lambda: connection.execute("PRAGMA journal_mode=WAL").fetchone(), busy_s)
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        insist(lambda: connection.exec_driver_sql("BEGIN IMMEDIATE"), busy_s)


def insist(do: Callable[[], T], busy_s: float) -> T:
    """Do it again as long as SQLite is busy, at most so long.

    SQLite does not always wait by itself: who opens a file while another connection is changing its
    journal mode, or recovering its log, is told at once that it is busy, whatever the time-out.
    """
    deadline = time.monotonic() + busy_s
    pause_s = 0.001
    while True:
        try:
            return do()
        except (sqlite3.OperationalError, DBAPIError) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
            if code not in BUSY_CODES or time.monotonic() >= deadline:
                raise
        time.sleep(pause_s * random.uniform(0.5, 1))
        pause_s = min(2 * pause_s, 0.02)
