"""What the tests of the gate have in common: a database of leases, with a table of the user's."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from holdfast.lease import Record
from holdfast.lease.global_clock import STEP_NS_MAX
from holdfast.lease.stores.sql import SqlStore

LONG_NS = 10**9


class Place:
    """A database of leases, in which the user keeps a counter.

    Attributes:
        store: The holder's.
        other: Somebody else's.
        engine: The user's own.
    """

    def __init__(self, url: str, *, busy_s: float = 20.0) -> None:
        self.url = url
        self.store = SqlStore(url, busy_s=busy_s)
        self.other = SqlStore(url, busy_s=busy_s)
        self.engine = sa.create_engine(url)
        with self.engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE counter (n BIGINT)")
            connection.exec_driver_sql("INSERT INTO counter VALUES (0)")

    def engine_with(self, **settings: Any) -> sa.Engine:
        """Another engine of the user's; it is disposed of with the place."""
        return sa.create_engine(self.url, poolclass=sa.NullPool, **settings)

    def count(self) -> int:
        with self.engine.connect() as connection:
            found: int = connection.exec_driver_sql("SELECT n FROM counter").scalar_one()
            return found

    def pass_end(self, record: Record) -> None:
        while self.other.now_ns() <= record.end_in(record.era):
            self.other.advance(STEP_NS_MAX, since=self.other.clock())

    def close(self) -> None:
        self.store.close()
        self.other.close()
        self.engine.dispose()


def increment(connection: Any) -> None:
    if isinstance(connection, sa.Connection):
        connection.exec_driver_sql("UPDATE counter SET n = n + 1")
    else:
        connection.execute("UPDATE counter SET n = n + 1")


@contextmanager
def beside(function: Callable[[], Any]) -> Iterator[Any]:
    """Run it in a thread; the future."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(function)


def sqlite_connection(place: Place, **settings: Any) -> sqlite3.Connection:
    connection: sqlite3.Connection = sqlite3.connect(
        place.url.removeprefix("sqlite:///"), **settings
    )
    return connection
