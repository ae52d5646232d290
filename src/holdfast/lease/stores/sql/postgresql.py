"""PostgreSQL, through psycopg 3: many writers, and locks where READ COMMITTED does not suffice.

Theory of operation
-------------------

A statement sees what was committed when it began, and what writes compares again with the row as it
is when its turn comes. So renewals, ticks and claims need no lock: each compares all of what it
read (or is stopped by a key that is there already), and is made anew if that has changed. A
hand-over needs two:

- the row of ownership, FOR UPDATE. A gate holds it FOR KEY SHARE until the user's transaction ends.
  An expiry does not wait for that (SKIP LOCKED): the lease cannot be expired now, try again later.
  A release waits, like any writer.
- the pins of the name, by an advisory lock of the transaction: a row that is not there yet cannot
  be locked. So no pin comes between the look at the pins and the removal.

The store's sessions wait `busy_s` for a lock. A process that was stopped in the midst of a
transaction loses it after a while (idle_in_transaction_session_timeout), since it would keep
everybody from claiming. synchronous_commit=off is put on, since a claim that was answered must
survive a crash.

What is said often is prepared on the server, and planned once (plan_cache_mode), since planning
takes longer than the work. Such a plan is kept while the tables grow, so that it must not read one
from end to end (enable_seqscan): all that is prepared looks up keys. A batch is planned each time.
Between us and the server there may be a pooler that hands our session on, and with it what we have
prepared: at the first sign of that, nothing is prepared any more.

Sources: the manual's chapters 13 (concurrency control) and 20.11 (client defaults), appendix A.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from holdfast.errors import Unsupported
from holdfast.lease.stores.sql.dialect import Dialect, Failure
from holdfast.lease.stores.sql.schema import OWNERSHIP

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psycopg
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.sql.elements import ColumnElement

__all__ = ["PostgresqlDialect", "state_of"]

# What a statement may need, and a transaction of ours may rest, beyond the waiting for locks.
WORK_S = 10.0

MEANINGS = {
    "55P03": Failure.BUSY,  # lock_not_available: lock_timeout
    "57014": Failure.BUSY,  # query_canceled: statement_timeout
    "40P01": Failure.RACED,  # deadlock_detected
    "40001": Failure.RACED,  # serialization_failure
    "23505": Failure.RACED,  # unique_violation; of who makes tables at the same time, too
    "42P07": Failure.RACED,  # duplicate_table
    "53100": Failure.FULL,
    "25006": Failure.DENIED,  # read_only_sql_transaction: a standby, or a read-only role
    "42501": Failure.DENIED,
    "3D000": Failure.NOT_FOUND,
    "3F000": Failure.NOT_FOUND,  # invalid_schema_name: nothing on the search path
    "42P01": Failure.NO_TABLES,
    "42703": Failure.NO_TABLES,  # undefined_column
    "26000": Failure.RACED,  # what was prepared is unknown,
    "42P05": Failure.RACED,  # was prepared by somebody else,
    "0A000": Failure.RACED,  # or gives other columns now
    "54000": Failure.INVALID,  # program_limit_exceeded: a key too long for an index
}
UNPREPARED = {"26000", "42P05", "0A000"}
CLASSES = {
    "08": Failure.GONE,
    "22": Failure.INVALID,  # data: an encoding that lacks these characters
    "28": Failure.DENIED,
    "57": Failure.GONE,  # operator intervention: shutdown, termination
}

SETTINGS = """
SELECT set_config('lock_timeout', :lock, false),
       set_config('statement_timeout', :statement, false),
       set_config('idle_in_transaction_session_timeout', :idle, false),
       set_config('plan_cache_mode', 'force_generic_plan', false),
       set_config('enable_seqscan', 'off', false), set_config('jit', 'off', false),
       CASE current_setting('synchronous_commit') WHEN 'off'
            THEN set_config('synchronous_commit', 'on', false) END
"""
BLOCKERS = """
SELECT DISTINCT a.pid, a.usename, a.application_name, a.client_addr::text AS address, a.state,
       floor(extract(epoch FROM clock_timestamp() - a.xact_start)) AS seconds
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.relation = to_regclass(:table) AND l.granted AND a.pid <> pg_backend_pid()
ORDER BY seconds DESC LIMIT 3
"""


class WrittenArray(sa.types.UserDefinedType[str]):
    """An array as a string, which the server reads before it plans: then it can hash it."""

    cache_ok = True
    render_bind_cast = True

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def get_col_spec(self, **_: Any) -> str:
        """The type's name in SQL."""
        return self.kind


class PostgresqlDialect(Dialect):
    """A PostgreSQL database."""

    name = "postgresql"
    writes_in_with = True

    def __init__(self, url: sa.URL, busy_s: float) -> None:
        super().__init__(url, busy_s)
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        if url.get_driver_name() != "psycopg":
            raise Unsupported(
                f"leases do not use the driver {url.get_driver_name()}",
                hint="write postgresql+psycopg://...",
            )
        self._prepares = True
        patience = WORK_S + busy_s
        # A server that vanishes without a word is noticed: tcp(7), libpq's connection parameters.
        defaults: dict[str, Any] = {
            "connect_timeout": max(2, math.ceil(busy_s)),
            "tcp_user_timeout": int(patience * 1000),
            "keepalives_idle": 5,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "application_name": "holdfast",
        }
        arguments = {key: value for key, value in defaults.items() if key not in url.query}
        try:
            self.engine = sa.create_engine(
                url,
                poolclass=sa.NullPool,
                isolation_level="READ COMMITTED",
                connect_args={"prepare_threshold": sys.maxsize, **arguments},
            )
        except ImportError as error:
            raise Unsupported(
                f"leases in PostgreSQL need psycopg 3: {error}",
                on=self.where,
                hint="install holdfast[postgres]",
            ) from error
        self._settings = {
            "lock": f"{max(1, int(busy_s * 1000))}ms",
            "statement": f"{int(patience * 1000)}ms",
            "idle": f"{int(patience * 1000)}ms",
        }

    def prepare(self, connection: sa.Connection) -> None:
        """Set what holds for the whole session."""
        connection.execute(sa.text(SETTINGS), self._settings)
        connection.commit()

    def say(self, driver: Any, text: str, values: Mapping[str, Any]) -> psycopg.Cursor[Any]:
        """In one message and its answer."""
        cursor: psycopg.Cursor[Any] = driver.execute(text, values, prepare=self._prepares)
        return cursor

    def begin(self, connection: sa.Connection, *, write: bool) -> None:
        """The driver begins by itself."""

    def lock_pins(self, connection: sa.Connection, namespace: str, name: str) -> None:
        """By a number that is made of the name; that others share it does no harm."""
        digest = hashlib.blake2b(repr((namespace, name)).encode(), digest_size=8).digest()
        key = int.from_bytes(digest, "big", signed=True)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))

    def lock_holding(self, connection: sa.Connection, key: dict[str, str], *, wait: bool) -> bool:
        """FOR UPDATE: it excludes gates, which hold the row FOR KEY SHARE."""
        query = sa.select(OWNERSHIP.c.epoch).filter_by(**key).with_for_update(skip_locked=not wait)
        return connection.execute(query).first() is not None

    def insert_missing(self, table: sa.Table, **values: Any) -> sa.Insert:
        """INSERT ... ON CONFLICT DO NOTHING."""
        return insert(table).values(**values).on_conflict_do_nothing()

    def begin_batch(self, connection: sa.Connection) -> None:
        """The planner shall see the lists: of what it knows, it makes a table of hashes."""
        connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_custom_plan")

    def among(self, column: sa.Column[Any], values: Sequence[Any]) -> ColumnElement[bool]:
        """An array, and not a join with it, whose plan would depend on stale statistics."""
        # A list of numbers, or of printable strings, in JSON but for its brackets is an array in
        # PostgreSQL's own notation (the manual, 8.15.2). It takes a third of the driver's time.
        written = "{" + json.dumps(list(values), ensure_ascii=False)[1:-1] + "}"
        kind = "TEXT[]" if isinstance(column.type, sa.Text) else "BIGINT[]"
        return column == sa.func.any(sa.literal(written, WrittenArray(kind)))

    def meaning(self, error: DBAPIError) -> Failure:
        """By SQLSTATE; without one, it is the connection that failed."""
        state = state_of(error)
        if state is None:
            lost = error.connection_invalidated or isinstance(error, sa.exc.OperationalError)
            return Failure.GONE if lost else Failure.INVALID
        if state in UNPREPARED:
            self._prepares = False
        return MEANINGS.get(state) or CLASSES.get(state[:2]) or Failure.OTHER

    def refused(self, error: DBAPIError) -> bool:
        """The server has answered, and the connection lives: then the answer was no."""
        state = state_of(error)
        return state is not None and state[:2] not in {"08", "57", "58", "XX"}

    def blockers(self, connection: sa.Connection | None) -> str:
        """Whose transactions have locks on the table of ownership."""
        if connection is None:
            return ""
        found = connection.execute(sa.text(BLOCKERS), {"table": OWNERSHIP.name}).all()
        connection.rollback()
        return "; ".join(
            f"{row.usename}, backend {row.pid}"
            + (f" ({row.application_name})" if row.application_name else "")
            + (f" at {row.address}" if row.address else "")
            + f", in a transaction for {row.seconds} s, {row.state}"
            for row in found
        )


def state_of(error: DBAPIError) -> str | None:
    """The SQLSTATE of an error, or None if the server sent none."""
    state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    return state if isinstance(state, str) else None
