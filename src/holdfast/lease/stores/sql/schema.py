"""The tables of leases in a SQL database.

==========================  ====================================================================
``holdfast_ownership``      whose a lease is: a row is a holding. It changes only by insertion and
                            removal, so that a lock on it excludes a hand-over and no renewal
``holdfast_term``           how long it is promised, by epoch: the row that renewals write
``holdfast_pin``            who has pinned a name, also one that nobody holds
``holdfast_epoch``          one row: the last epoch that was given
``holdfast_clock``          one row: the global clock
==========================  ====================================================================

A name has one row of ownership at most (primary key), an epoch one in the whole store (unique).
They are made by whoever opens a store first; to make them beforehand, in PostgreSQL::

    CREATE TABLE holdfast_ownership (
        namespace TEXT COLLATE "C", name TEXT COLLATE "C", holder TEXT COLLATE "C" NOT NULL,
        epoch BIGINT NOT NULL UNIQUE, owner TEXT COLLATE "C" NOT NULL,
        PRIMARY KEY (namespace, name));
    CREATE TABLE holdfast_term (
        epoch BIGINT PRIMARY KEY, start_ns BIGINT NOT NULL, duration_ns BIGINT NOT NULL,
        writer TEXT COLLATE "C" NOT NULL, era TEXT COLLATE "C" NOT NULL) WITH (fillfactor = 50);
    CREATE TABLE holdfast_pin (
        namespace TEXT COLLATE "C", name TEXT COLLATE "C", entity TEXT COLLATE "C",
        PRIMARY KEY (namespace, name, entity));
    CREATE TABLE holdfast_epoch (id INTEGER PRIMARY KEY CHECK (id = 1), latest BIGINT NOT NULL);
    CREATE TABLE holdfast_clock (
        id INTEGER PRIMARY KEY CHECK (id = 1), now_ns BIGINT NOT NULL,
        era TEXT COLLATE "C" NOT NULL);

In SQLite the same, without COLLATE and WITH; the first and the third WITHOUT ROWID, the epoch of a
term INTEGER: so a claim writes fewer pages. The two tables of one row are filled by whoever finds
them empty: the clock with 0 in an era by chance, the last epoch with the greatest that is held.

A role that uses leases needs SELECT, INSERT, UPDATE and DELETE on all of them. One whose
transactions are only gated needs SELECT on ownership and clock, and UPDATE (owner) on ownership.
Nobody else writes there: whoever removes a row of ownership hands a lease over that is still
promised, and whoever drops the tables, or restores an old copy, lets epochs begin anew.
"""

from __future__ import annotations

from sqlalchemy import (
    DDL,
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

__all__ = ["CLOCK", "EPOCH", "METADATA", "OWNERSHIP", "PIN", "TERM"]

METADATA = MetaData()

# Bytes and not a language's order: an index in a collation of the operating system is corrupt when
# that is updated, and a corrupt primary key would let two rows of one name in.
WORDS = Text().with_variant(Text(collation="C"), "postgresql")

# In SQLite, a key of exactly this type is the place of the row; another costs an index, and so one
# page more that each claim writes (sqlite.org/lang_createtable.html, "Rowids").
NUMBER = BigInteger().with_variant(Integer(), "sqlite")

OWNERSHIP = Table(
    "holdfast_ownership",
    METADATA,
    Column("namespace", WORDS, primary_key=True),
    Column("name", WORDS, primary_key=True),
    Column("holder", WORDS, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("owner", WORDS, nullable=False),
    UniqueConstraint("epoch"),
    sqlite_with_rowid=False,
)
TERM = Table(
    "holdfast_term",
    METADATA,
    Column("epoch", NUMBER, primary_key=True, autoincrement=False),
    Column("start_ns", BigInteger, nullable=False),
    Column("duration_ns", BigInteger, nullable=False),
    Column("writer", WORDS, nullable=False),
    Column("era", WORDS, nullable=False),
)
# Room on each page for what renewals leave behind, so that they need not touch the index.
event.listen(
    TERM,
    "after_create",
    DDL("ALTER TABLE holdfast_term SET (fillfactor = 50)").execute_if(  # type: ignore[no-untyped-call]
        dialect="postgresql"
    ),
)
PIN = Table(
    "holdfast_pin",
    METADATA,
    Column("namespace", WORDS, primary_key=True),
    Column("name", WORDS, primary_key=True),
    Column("entity", WORDS, primary_key=True),
    sqlite_with_rowid=False,
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
    Column("era", WORDS, nullable=False),
)
