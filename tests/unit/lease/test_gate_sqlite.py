"""The gate on SQLite: the one write lock, the ways of beginning, and snapshots that are too old."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from holdfast.errors import Conflict, InvalidArgument, LeaseLost, Unavailable
from holdfast.lease.stores.sql import SqlStore
from tests.unit.lease.gating import LONG_NS, Place, increment, sqlite_connection


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(f"sqlite:///{tmp_path}/app.db")
    yield made
    made.close()


def begins_with(place: Place, words: str | None) -> sa.Engine:
    """An engine that begins as the driver does by itself (None), or in these words."""
    engine = place.engine_with()
    if words is not None:

        @sa.event.listens_for(engine, "connect")
        def connected(connection: Any, _: object) -> None:
            connection.isolation_level = None

        @sa.event.listens_for(engine, "begin")
        def begun(connection: sa.Connection) -> None:
            connection.exec_driver_sql(words)

    return engine


WAYS = [None, "BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"]


@pytest.mark.parametrize("words", WAYS)
def test_every_way_of_beginning_is_gated(place: Place, words: str | None) -> None:
    """And while it is, nobody hands over; a lease that is gone stops it."""
    impatient = SqlStore(place.url, busy_s=0.05)
    record = place.store.claim("n", "a", LONG_NS)
    engine = begins_with(place, words)
    with engine.begin() as connection:
        place.store.gate(record, connection)
        with pytest.raises(Unavailable, match="write transaction"):
            impatient.release(record)
        increment(connection)
    assert place.count() == 1
    assert impatient.release(record) is True
    with pytest.raises(LeaseLost), engine.begin() as connection:
        place.store.gate(record, connection)
    impatient.close()


@pytest.mark.parametrize("what", ["renewal", "hand-over", "tick"])
@pytest.mark.parametrize("words", [None, "BEGIN"])
def test_after_a_read_any_commit_of_others_is_a_conflict(
    place: Place, words: str | None, what: str
) -> None:
    """The snapshot is too old to write in: gate first. At once, and whatever the time-out."""
    record = place.store.claim("n", "a", LONG_NS)
    engine = begins_with(place, words)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN") if words is None else None
        assert connection.exec_driver_sql("SELECT n FROM counter").scalar() == 0
        if what == "renewal":
            place.other.extend(record, 2 * LONG_NS)
        elif what == "tick":
            place.other.advance(1, since=place.other.clock())
        else:
            place.other.release(record)
            place.other.claim("n", "b", LONG_NS)
        with pytest.raises(Conflict, match="anew"):
            place.store.gate(record, connection)
        connection.rollback()
    if what != "hand-over":
        with engine.begin() as connection:
            place.store.gate(record, connection)


def test_a_renewal_waits_for_the_gated_transaction(place: Place) -> None:
    """Hence the advice to keep it short: but a look does not wait, nor does it lose anything."""
    impatient = SqlStore(place.url, busy_s=0.05)
    record = place.store.claim("n", "a", LONG_NS)
    with place.engine.begin() as connection:
        place.store.gate(record, connection)
        with pytest.raises(Unavailable):
            impatient.extend(record, 2 * LONG_NS)
        assert impatient.look("n") == record
        assert impatient.refresh() == {"n": record}
        assert impatient.clock() == impatient.clock()
        assert list(impatient.overdue()) == []
        assert impatient.pins() == {}
        assert impatient.wait_changed(0) is False
    assert impatient.extend(record, 2 * LONG_NS).duration_ns == 2 * LONG_NS
    impatient.close()


def test_a_busy_database_is_unavailable(place: Place) -> None:
    record = place.store.claim("n", "a", LONG_NS)
    engine = place.engine_with(connect_args={"timeout": 0.05})
    with closing(sqlite_connection(place, isolation_level=None)) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        with engine.connect() as connection, pytest.raises(Unavailable, match="in time"):
            place.store.gate(record, connection)
        blocker.execute("ROLLBACK")


def test_a_read_only_connection_is_refused(place: Place) -> None:
    record = place.store.claim("n", "a", LONG_NS)
    path = place.url.removeprefix("sqlite:///")
    read_only = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    with closing(read_only) as connection, pytest.raises(InvalidArgument, match="read"):
        place.store.gate(record, connection)
    with closing(sqlite_connection(place)) as connection:
        connection.execute("PRAGMA query_only = 1")
        with pytest.raises(InvalidArgument, match="read"):
            place.store.gate(record, connection)
        connection.rollback()


def test_a_raw_connection_in_autocommit_is_refused(place: Place) -> None:
    record = place.store.claim("n", "a", LONG_NS)
    with closing(sqlite_connection(place, isolation_level=None)) as connection:
        with pytest.raises(InvalidArgument, match="autocommit"):
            place.store.gate(record, connection)
        connection.execute("BEGIN")
        place.store.gate(record, connection)
        connection.execute("COMMIT")


def test_what_a_row_is_made_of_does_not_matter(place: Place) -> None:
    record = place.store.claim("n", "a", LONG_NS)
    with closing(sqlite_connection(place)) as connection:
        connection.row_factory = lambda _, row: {"the row": row}
        place.store.gate(record, connection)
        connection.rollback()


def test_a_savepoint_that_is_rolled_back_keeps_the_write_lock(place: Place) -> None:
    """So that on SQLite a raw connection is safe, though it does not say that it has one."""
    impatient = SqlStore(place.url, busy_s=0.05)
    record = place.store.claim("n", "a", LONG_NS)
    with closing(sqlite_connection(place, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("SAVEPOINT s")
        place.store.gate(record, connection)
        connection.execute("ROLLBACK TO s")
        with pytest.raises(Unavailable):
            impatient.release(record)
        connection.execute("ROLLBACK")
    impatient.close()
