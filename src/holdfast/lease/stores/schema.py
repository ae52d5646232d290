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

__all__ = ["CLOCK", "EPOCH", "METADATA", "OWNERSHIP", "PIN", "TERM", "prepare_sqlite"]

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


def prepare_sqlite(engine: object) -> None:
    """Make every transaction of a SQLite engine durable, and a writer from its first statement.

    A transaction that reads first and writes later can fail at once, whatever the time-out, if
    anybody has written between; BEGIN IMMEDIATE waits at the beginning instead. synchronous=FULL,
    because a claim that was answered must survive a loss of power (sqlite.org/pragma.html).
    """

    @event.listens_for(engine, "connect")
    def connected(connection: object, _: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined] # we begin ourselves
        connection.execute("PRAGMA journal_mode=WAL")  # type: ignore[attr-defined]
        connection.execute("PRAGMA synchronous=FULL")  # type: ignore[attr-defined]

    @event.listens_for(engine, "begin")
    def begun(connection: object) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # type: ignore[attr-defined]
