"""SQLite: one file, one writer at a time, and a few ways of being busy that it does not wait for.

Theory of operation
-------------------

A write transaction begins with BEGIN IMMEDIATE: one that reads first and writes later can fail at
once, whatever the time-out, if anybody has written between. From there on nobody else writes, so
that there is nothing more to lock. A read transaction takes no lock that anybody could wait for.

The journal is the write-ahead log, with synchronous=FULL: a claim that was answered must survive a
loss of power. The mode is a property of the file: it is switched once, by whoever finds it
otherwise. Who meets another connection at that, or at the recovery of the log after a crash, is
told at once that the file is busy, without SQLite's own waiting. So all waiting is ours: an attempt
that was busy is made again after a short pause by chance, until the time is over.

Sources: sqlite.org/lang_transaction.html, /wal.html, /rescode.html, /walformat.html (the places of
the locks).
"""

from __future__ import annotations

import json
import os
import sqlite3
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert

from holdfast.errors import InvalidArgument, Unsupported
from holdfast.lease.stores.sql.dialect import Dialect, Failure
from holdfast.lease.stores.sql.direct import Direct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.sql.elements import ColumnElement

__all__ = ["SqliteDialect"]

# SQLITE_PROTOCOL: a reader that lost too many races for its place in the log.
BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
BEGIN, BEGIN_WRITE = sa.text("BEGIN"), sa.text("BEGIN IMMEDIATE")
WRITE_LOCK_BYTE = 120  # of the file "-shm": who holds it writes

MEANINGS = {
    sqlite3.SQLITE_FULL: Failure.FULL,
    sqlite3.SQLITE_READONLY: Failure.DENIED,
    sqlite3.SQLITE_PERM: Failure.DENIED,
    sqlite3.SQLITE_AUTH: Failure.DENIED,
    sqlite3.SQLITE_NOTADB: Failure.INVALID,
    sqlite3.SQLITE_TOOBIG: Failure.INVALID,
    sqlite3.SQLITE_CONSTRAINT: Failure.RACED,
}


class SqliteDialect(Dialect):
    """A SQLite file, made if there is none."""

    name = "sqlite"
    writes_in_with = False

    def __init__(self, url: sa.URL, busy_s: float) -> None:
        super().__init__(url, busy_s)
        if url.get_driver_name() != "pysqlite":
            raise Unsupported(
                f"leases do not use the driver {url.get_driver_name()}", hint="write sqlite:///path"
            )
        file = url.database or ":memory:"
        if ":memory:" in file or url.query.get("mode") == "memory":
            raise InvalidArgument("a database in memory is nobody else's", hint="name a file")
        self.path = file.removeprefix("file:").partition("?")[0]
        self.engine = sa.create_engine(
            url,
            poolclass=sa.NullPool,
            connect_args={"timeout": 0, "check_same_thread": False},
        )

    def prepare(self, connection: sa.Connection) -> None:
        """Every commit is durable, and readers hinder nobody."""
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection), "the driver is pysqlite"
        driver.isolation_level = None  # we begin ourselves
        # Only if it is necessary: switching wants the file for itself alone.
        if connection.exec_driver_sql("PRAGMA journal_mode").scalar() != "wal":
            mode = connection.exec_driver_sql("PRAGMA journal_mode=WAL").scalar()
            if mode != "wal":
                raise Unsupported(
                    f"SQLite cannot keep a write-ahead log there, only {mode!r}",
                    on=self.path,
                    hint="use a local file system",
                )
        connection.exec_driver_sql("PRAGMA synchronous=FULL")
        connection.rollback()
        connection.info["file"] = self._file()

    def leads_astray(self, connection: sa.Connection) -> bool:
        """Whether the file was removed or replaced: what is written into the old one, nobody reads.

        (sqlite.org/howtocorrupt.html, 2.4.)
        """
        return bool(connection.info["file"] != self._file())

    def _file(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def words(self) -> sa.Dialect:
        """The driver takes names too, SQLAlchemy's own choice is places."""
        return sqlite.dialect(paramstyle="named")

    def say(self, driver: Any, text: str, values: Mapping[str, Any]) -> sqlite3.Cursor:
        """By the driver's own cache of prepared statements."""
        cursor: sqlite3.Cursor = driver.execute(text, values)
        return cursor

    def begin(self, connection: sa.Connection, *, write: bool) -> None:
        """A writer is one from its first word."""
        Direct(self, connection)(BEGIN_WRITE if write else BEGIN, {})

    def lock_pins(self, connection: sa.Connection, namespace: str, name: str) -> None:
        """Nobody else writes."""

    def lock_holding(self, connection: sa.Connection, key: dict[str, str], *, wait: bool) -> bool:
        """Nobody else writes; who gates does, so that a transaction of ours waits at its begin."""
        return True

    def insert_missing(self, table: sa.Table, **values: Any) -> sa.Insert:
        """INSERT ... ON CONFLICT DO NOTHING."""
        return insert(table).values(**values).on_conflict_do_nothing()

    def begin_batch(self, connection: sa.Connection) -> None:
        """Nothing is different."""

    def among(self, column: sa.Column[Any], values: Sequence[Any]) -> ColumnElement[bool]:
        """A list in JSON, since a statement has a limited number of parameters."""
        listed = sa.func.json_each(json.dumps(list(values))).table_valued("value")
        return column.in_(sa.select(sa.type_coerce(listed.c.value, column.type)))

    def meaning(self, error: DBAPIError) -> Failure:
        """By SQLite's own codes."""
        code = code_of(error)
        if code & 0xFF in BUSY:
            return Failure.BUSY
        if code & 0xFF == sqlite3.SQLITE_CANTOPEN:
            return self._why_not_opened()
        if code & 0xFF == sqlite3.SQLITE_IOERR and self._is_full():
            return Failure.FULL
        if code == sqlite3.SQLITE_ERROR and "no such" in str(error.orig):
            return Failure.NO_TABLES
        return MEANINGS.get(code & 0xFF, Failure.OTHER)

    def refused(self, error: DBAPIError) -> bool:
        """Busy or full: the end of the transaction was not written, and it is rolled back."""
        return code_of(error) & 0xFF in {*BUSY, sqlite3.SQLITE_FULL}

    def blockers(self, connection: sa.Connection | None) -> str:
        """Who holds the lock of writers, from the kernel's list of locks, proc_locks(5)."""
        try:
            inode = os.stat(self.path + "-shm").st_ino
            with open("/proc/locks", encoding="ascii") as file:
                lines = [line.split() for line in file]
        except OSError:
            return ""
        for words in lines:
            # 1: POSIX ADVISORY WRITE pid major:minor:inode first last
            if len(words) != 8 or words[3] != "WRITE" or not words[5].endswith(f":{inode}"):
                continue
            if int(words[6]) <= WRITE_LOCK_BYTE <= int(words[7].replace("EOF", "1000")):
                return f"{_process(int(words[4]))} is in a write transaction"
        return ""

    def _why_not_opened(self) -> Failure:
        directory = os.path.dirname(os.path.abspath(self.path))
        if not os.path.isdir(directory):
            return Failure.NOT_FOUND
        if os.path.isdir(self.path):
            return Failure.INVALID
        usable = os.access(directory, os.R_OK | os.W_OK | os.X_OK, effective_ids=True)
        if usable and os.path.exists(self.path):
            usable = os.access(self.path, os.R_OK | os.W_OK, effective_ids=True)
        return Failure.OTHER if usable else Failure.DENIED

    def _is_full(self) -> bool:
        try:
            return os.statvfs(os.path.dirname(os.path.abspath(self.path))).f_bavail == 0
        except OSError:
            return False

    def hint_to_make(self) -> str:
        """The file is made, its directory is not."""
        return f"make the directory {os.path.dirname(os.path.abspath(self.path))}"


def code_of(error: DBAPIError) -> int:
    """SQLite's extended result code of an error, or 0."""
    return getattr(error.orig, "sqlite_errorcode", 0)


def _process(pid: int) -> str:
    if pid == os.getpid():
        return "this process"
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(200).replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        words = ""
    return f"process {pid} ({words})" if words else f"process {pid}"
