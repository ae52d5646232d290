"""SQLite from the standard library: write-ahead log, no sync, on memory.

A statement in autocommit mode is a transaction: the cheapest that SQLite has.
"""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from benchmarks.measure import Statement
from benchmarks.peers import payloads

if TYPE_CHECKING:
    from benchmarks.peers import Place

_TEXTS = {
    "read": "data = execute(select).fetchone()[0]",
    "write": "execute(update, (payload,))",
    "update": (
        "execute('BEGIN IMMEDIATE')\n"
        "data = execute(select).fetchone()[0]\n"
        "execute(update, (payload,))\n"
        "execute('COMMIT')"
    ),
}


class Table:
    def __init__(self, place: Place) -> None:
        self._connection = sqlite3.connect(
            os.path.join(place.directory, f"{place.name}.sqlite"), timeout=30, isolation_level=None
        )
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=OFF")
        self._size = place.size

    def fill(self) -> None:
        self._connection.execute("CREATE TABLE state (id INTEGER PRIMARY KEY, data BLOB)")
        self._connection.execute("INSERT INTO state VALUES (1, ?)", (payloads(self._size)[1],))

    def statement(self, verb: str) -> Statement | None:
        if verb not in _TEXTS:
            return None
        names = {
            "execute": self._connection.execute,
            "select": "SELECT data FROM state WHERE id = 1",
            "update": "UPDATE state SET data = ? WHERE id = 1",
        }
        return Statement(_TEXTS[verb], names, payloads(self._size))

    def close(self) -> None:
        self._connection.close()


class Sqlite:
    shared = True

    def version(self) -> str:
        return sqlite3.sqlite_version

    def create(self, place: Place) -> Table:
        store = Table(place)
        store.fill()
        return store

    def attach(self, place: Place) -> Table:
        return Table(place)


PEER = Sqlite()
