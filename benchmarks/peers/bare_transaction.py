"""What no store in a database can beat: the user's own transaction, through SQLAlchemy.

It is as durable as ours: in SQLite with a write-ahead log and synchronous=FULL, in PostgreSQL with
its own settings. Everything else is left as SQLAlchemy and the driver have it.
"""

from __future__ import annotations

import sqlite3
from itertools import count
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Statement
from benchmarks.peers import Missing, wheel, wheel_version

if TYPE_CHECKING:
    from benchmarks.peers import Place

_INSERT = "with connection.begin():\n    connection.execute(insert, {})"
_TEXTS = {
    "claim": (
        _INSERT.format("row") + "\nwith connection.begin():\n    connection.execute(delete, key)"
    ),
    "take": _INSERT.format("next(rows)"),
    "gated": "with connection.begin():\n    connection.execute(update, payload)",
}


class Database:
    """One connection, and a table of the user's.

    Attributes:
        names: What statements need.
        values: What ``update`` writes, by turns: the parameters of the statement.
    """

    def __init__(self, place: Place) -> None:
        sa = wheel("sqlalchemy")
        if not place.url:
            raise Missing("there is no database here")
        self._engine: Any = sa.create_engine(place.url)
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _make_durable)
        table = sa.Table(
            "work",
            sa.MetaData(),
            sa.Column("name", sa.Text, primary_key=True),
            sa.Column("holder", sa.Text, nullable=False),
            sa.Column("number", sa.BigInteger, nullable=False),
        )
        table.metadata.create_all(self._engine)
        self._connection: Any = self._engine.connect()
        mine = table.c.name == sa.bindparam("mine")
        row = {"name": place.name, "holder": "benchmark", "number": 1}
        self.names: dict[str, object] = {
            "connection": self._connection,
            "insert": sa.insert(table),
            "delete": sa.delete(table).where(mine),
            "update": sa.update(table).where(mine).values(number=sa.bindparam("new")),
            "row": row,
            "key": {"mine": place.name},
            "rows": (row | {"name": f"taken-{number:09}"} for number in count()),
        }
        self.values = [{"mine": "updated", "new": number} for number in (1, 2)]
        with self._connection.begin():
            there = sa.select(sa.func.count()).select_from(table).where(table.c.name == "updated")
            if not self._connection.scalar(there):
                self._connection.execute(sa.insert(table), row | {"name": "updated"})

    def statement(self, verb: str) -> Statement | None:
        if verb not in _TEXTS:
            return None
        payloads = self.values if verb == "gated" else (None,)
        return Statement(_TEXTS[verb], self.names, payloads)

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()


def _make_durable(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


class BareTransaction:
    shared = True

    def version(self) -> str:
        found = f"SQLAlchemy {wheel_version('sqlalchemy')}, SQLite {sqlite3.sqlite_version}"
        try:
            return f"{found}, psycopg {wheel_version('psycopg')}"
        except Missing:
            return found

    def create(self, place: Place) -> Database:
        return Database(place)

    def attach(self, place: Place) -> Database:
        return Database(place)


PEER = BareTransaction()
