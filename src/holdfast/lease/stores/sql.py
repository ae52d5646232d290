"""`SqlStore`: leases in the user's own database. SQLite so far; the statements are no dialect's.

Each call is one transaction: it reads the record, lets `holdfast.lease.rules` decide, and writes
with all of what was read as its condition. Busy is waited for, and then it is `Unavailable`. What
fails before the commit has done nothing; a commit that fails is an `OutcomeUnknown`, and the
connection is discarded. The tables are in ``schema.py``.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from holdfast.closing import Closing
from holdfast.errors import (
    Closed,
    InvalidArgument,
    LeaseError,
    OutcomeUnknown,
    StaleRecord,
    Unavailable,
    Unsupported,
)
from holdfast.lease import global_clock, rules
from holdfast.lease.record import Reading, Record, check_word
from holdfast.lease.rules import Request

try:
    import sqlalchemy as sa
    from sqlalchemy.exc import DBAPIError
except ImportError as missing:
    raise Unsupported(
        "leases in a database need SQLAlchemy",
        on="holdfast.lease.stores.sql",
        hint="install holdfast[sql]",
    ) from missing

from holdfast.lease.stores.schema import (
    CLOCK,
    EPOCH,
    METADATA,
    OWNERSHIP,
    PIN,
    TERM,
    prepare_sqlite,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Row
    from sqlalchemy.sql.elements import ColumnElement

    from holdfast.lease.rules import Change

__all__ = ["SqlStore"]

POLL_S = 0.05
_numbers = itertools.count(1)


class SqlStore(Closing):
    """One process's access to leases in a database; see `holdfast.lease.stores.Store`.

    Args:
        url: ``sqlite:///path``; the file and the tables are made if there are none.
        namespace: Whose leases.
        writer: The id of this object; None: one of host, boot, process and a counter.
        busy_s: How long to wait for others' write transactions.

    Raises:
        InvalidArgument: The URL names no database that several processes can reach.
        Unsupported: There is no store for that kind of database.
        Unavailable: It cannot be opened.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "default",
        writer: str | None = None,
        busy_s: float = 5.0,
    ) -> None:
        self.namespace = check_word(namespace, "namespace")
        own = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}-{os.getpid()}-{next(_numbers)}"
        self.writer = check_word(own if writer is None else writer, "writer")
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._picture: dict[str, Record] = {}
        self._closed = False
        self._connection: Connection | None = None
        parsed = sa.make_url(url)
        if parsed.get_backend_name() != "sqlite":
            raise Unsupported(f"no store for {parsed.get_backend_name()} yet", hint="use sqlite:")
        if parsed.database in {None, "", ":memory:"}:
            raise InvalidArgument("a database in memory is nobody else's", hint="name a file")
        self._engine = sa.create_engine(
            parsed,
            poolclass=sa.NullPool,
            connect_args={"timeout": busy_s, "check_same_thread": False},
        )
        prepare_sqlite(self._engine, busy_s)
        with self._step() as step:
            METADATA.create_all(step)
            if step.execute(sa.select(CLOCK.c.id)).first() is None:
                step.execute(sa.insert(CLOCK).values(id=1, now_ns=0, era=uuid.uuid4().hex))
            if step.execute(sa.select(EPOCH.c.id)).first() is None:
                latest = step.scalar(sa.select(sa.func.max(OWNERSHIP.c.epoch))) or 0
                step.execute(sa.insert(EPOCH).values(id=1, latest=latest))
        self.refresh()

    # -- ownership --------------------------------------------------------------------------------

    def claim(
        self,
        name: str,
        holder: str,
        duration_ns: int,
        *,
        owner: Mapping[str, Any] | None = None,
    ) -> Record:
        """Take a vacant lease."""
        request = Request.of(name, holder, duration_ns, owner)
        with self._step() as step:
            current = self._current(step, name)
            epoch: int = step.execute(
                sa.update(EPOCH).values(latest=EPOCH.c.latest + 1).returning(EPOCH.c.latest)
            ).scalar_one()
            change = rules.claim(
                current,
                request,
                _read_clock(step),
                epoch=epoch,
                writer=self.writer,
                pins=self._pins(step, name).get(name, frozenset()),
            )
            return self._apply(step, name, change)

    def extend(self, record: Record, duration_ns: int) -> Record:
        """Promise `duration_ns` from now on."""
        with self._step() as step:
            return self._extend(step, record, duration_ns)

    def extend_many(self, requests: Sequence[tuple[Record, int]]) -> Sequence[Record | Exception]:
        """Extend many leases, each for itself, in one transaction."""
        results: list[Record | Exception] = []
        with self._step() as step:
            for record, duration_ns in requests:
                try:
                    results.append(self._extend(step, record, duration_ns))
                except StaleRecord as error:
                    results.append(error)
        return results

    def _extend(self, step: Connection, record: Record, duration_ns: int) -> Record:
        current = self._current(step, record.name)
        reading = _read_clock(step)
        change = rules.extend(current, record, duration_ns, reading, writer=self.writer)
        return self._apply(step, record.name, change)

    def expire(self, record: Record | str) -> None:
        """Remove a lease whose end has passed."""
        name = check_word(record if isinstance(record, str) else record.name, "name of a lease")
        with self._step() as step:
            change = rules.expire(self._current(step, name), record, _read_clock(step))
            self._remove(step, name, change)

    def release(self, record: Record) -> bool:
        """Give a lease back."""
        with self._step() as step:
            change = rules.release(self._current(step, record.name), record)
            self._remove(step, record.name, change)
            return change.writes

    def gate(self, record: Record, transaction: object) -> None:
        """Let the user's transaction commit only while the holding stands."""
        raise TypeError(f"leases in a database gate no {type(transaction).__name__} yet")

    # -- pins -------------------------------------------------------------------------------------

    def pin(self, name: str, by: str) -> None:
        """Keep a lease from expiring."""
        self._pin(name, by, rules.pin)

    def unpin(self, name: str, by: str) -> None:
        """Take that back."""
        self._pin(name, by, rules.unpin)

    def pins(self) -> Mapping[str, frozenset[str]]:
        """Who has pinned what."""
        with self._step() as step:
            return self._pins(step, None)

    def _pin(self, name: str, by: str, rule: Callable[[frozenset[str], str], Any]) -> None:
        check_word(name, "name of a lease")
        row = {"namespace": self.namespace, "name": name}
        with self._step() as step:
            before = self._pins(step, name).get(name, frozenset())
            after = rule(before, by)
            for entity in after - before:
                step.execute(sa.insert(PIN).values(entity=entity, **row))
            for entity in before - after:
                step.execute(sa.delete(PIN).filter_by(entity=entity, **row))
            self._current(step, name)

    def _pins(self, step: Connection, name: str | None) -> dict[str, frozenset[str]]:
        query = sa.select(PIN.c.name, PIN.c.entity).where(PIN.c.namespace == self.namespace)
        if name is not None:
            query = query.where(PIN.c.name == name)
        found: dict[str, frozenset[str]] = {}
        for row in step.execute(query.order_by(PIN.c.name)):
            found[row.name] = found.get(row.name, frozenset()) | {row.entity}
        return found

    # -- looking ----------------------------------------------------------------------------------

    def records(self) -> Mapping[str, Record]:
        """What this object knows."""
        with self._lock:
            return dict(self._picture)

    def refresh(self) -> Mapping[str, Record]:
        """Read all records. One that contradicts itself is left out, and claimed by nobody."""
        with self._step() as step:
            pins = self._pins(step, None)
            rows = step.execute(_HELD.where(OWNERSHIP.c.namespace == self.namespace)).all()
            picture = {}
            for row in rows:
                with suppress(LeaseError):
                    picture[row.name] = _record(row, pins.get(row.name, frozenset()))
            self._picture = picture
            return dict(picture)

    def look(self, name: str) -> Record | None:
        """Read one record."""
        check_word(name, "name of a lease")
        with self._step() as step:
            return self._current(step, name)

    def overdue(self, limit: int = 100) -> Sequence[Record]:
        """Records whose end has passed."""
        with self._step() as step:
            reading = _read_clock(step)
            pins = self._pins(step, None)
            where = sa.and_(
                OWNERSHIP.c.namespace == self.namespace,
                sa.case((TERM.c.era == reading.era, TERM.c.start_ns), else_=0) + TERM.c.duration_ns
                < reading.now_ns,
            )
            rows = step.execute(_HELD.where(where).order_by(OWNERSHIP.c.name)).all()
            late = []
            for row in rows:
                if row.name not in pins and len(late) < limit:
                    with suppress(LeaseError):
                        late.append(_record(row, frozenset()))
            return late

    def wait_changed(self, timeout: float | None = None, *, name: str | None = None) -> bool:
        """Wait until the records are others than `records` shows."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._lock:
                before = self._picture
                if name is None:
                    self.refresh()
                else:
                    self.look(name)
                if self._picture != before:
                    return True
            left = POLL_S if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, POLL_S))

    # -- time -------------------------------------------------------------------------------------

    def clock(self) -> Reading:
        """What the clock shows."""
        with self._step() as step:
            return _read_clock(step)

    def now_ns(self) -> int:
        """The same, as a number."""
        return self.clock().now_ns

    def advance(self, elapsed_ns: int, *, since: Reading) -> Reading:
        """Add to the clock."""
        with self._step() as step:
            reading = global_clock.tick(_read_clock(step), since, elapsed_ns)
            same = sa.and_(CLOCK.c.now_ns == since.now_ns, CLOCK.c.era == since.era)
            _once(step, sa.update(CLOCK).where(same).values(now_ns=reading.now_ns), "the clock")
            return reading

    def close(self) -> None:
        """Let go of the database."""
        with self._lock:
            self._closed = True
            self._discard()

    # -- one step ---------------------------------------------------------------------------------

    @contextmanager
    def _step(self) -> Iterator[Connection]:
        """One transaction: committed at the end of the block, undone if it raises."""
        if os.getpid() != self._pid:
            raise Closed("the store is another process's", hint="open one after the fork")
        with self._lock:
            if self._closed:
                raise Closed("the store is closed", on=self.namespace, hint="open another")
            before = self._picture
            try:
                if self._connection is None:
                    self._connection = self._engine.connect()
                transaction = self._connection.begin()
                try:
                    yield self._connection
                except BaseException as error:
                    transaction.rollback()
                    if not isinstance(error, StaleRecord):
                        self._picture = before  # what was undone was not seen
                    raise
            except DBAPIError as error:
                self._picture = before
                self._discard()
                raise Unavailable(
                    f"the database refused: {error.orig}",
                    on=self._engine.url.render_as_string(),
                    hint="nothing was done; if it is busy, somebody's transaction is long",
                ) from error
            try:
                transaction.commit()
            except DBAPIError as error:
                self._picture = before
                self._discard()
                raise OutcomeUnknown(
                    f"the commit failed: {error.orig}", on=self.namespace, hint="refresh, and look"
                ) from error

    def _discard(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and os.getpid() == self._pid:
            with suppress(DBAPIError):
                connection.close()

    def _current(self, step: Connection, name: str) -> Record | None:
        where = sa.and_(OWNERSHIP.c.namespace == self.namespace, OWNERSHIP.c.name == name)
        row = step.execute(_HELD.where(where)).first()
        record = (
            None if row is None else _record(row, self._pins(step, name).get(name, frozenset()))
        )
        self._see(name, record)
        return record

    def _apply(self, step: Connection, name: str, change: Change) -> Record:
        after = change.after
        assert after is not None, "a claim or an extension ends with a record"
        term = {
            "start_ns": after.start_ns,
            "duration_ns": after.duration_ns,
            "writer": after.writer,
            "era": after.era,
        }
        if change.before is None:
            row = {"holder": after.holder, "epoch": after.epoch, "owner": after.owner_json}
            step.execute(sa.insert(OWNERSHIP).values(namespace=self.namespace, name=name, **row))
            step.execute(sa.insert(TERM).values(epoch=after.epoch, **term))
        elif change.writes:
            _once(step, sa.update(TERM).where(_same_term(change.before)).values(**term), name)
        self._see(name, after)
        return after

    def _remove(self, step: Connection, name: str, change: Change) -> None:
        if change.before is not None and change.writes:
            _once(step, sa.delete(TERM).where(_same_term(change.before)), name)
            owned = sa.delete(OWNERSHIP).filter_by(
                namespace=self.namespace, name=name, epoch=change.before.epoch
            )
            _once(step, owned.where(OWNERSHIP.c.holder == change.before.holder), name)
            self._see(name, None)

    def _see(self, name: str, record: Record | None) -> None:
        others = {key: value for key, value in self._picture.items() if key != name}
        self._picture = others if record is None else others | {name: record}


_HELD = sa.select(
    OWNERSHIP,
    TERM.c.start_ns,
    TERM.c.duration_ns,
    TERM.c.writer,
    TERM.c.era,
).select_from(OWNERSHIP.outerjoin(TERM, OWNERSHIP.c.epoch == TERM.c.epoch))


def _record(row: Row[Any], pins: frozenset[str]) -> Record:
    try:
        return Record(
            name=row.name,
            holder=row.holder,
            epoch=row.epoch,
            start_ns=row.start_ns,
            duration_ns=row.duration_ns,
            writer=row.writer,
            era=row.era,
            owner_json=row.owner,
            pins=pins,
        )
    except InvalidArgument as error:
        raise LeaseError(
            f"the record contradicts itself: {error}",
            on=str(row.name),
            hint="something else has written into the tables; repair or remove the row",
        ) from error


def _read_clock(step: Connection) -> Reading:
    row = step.execute(sa.select(CLOCK.c.now_ns, CLOCK.c.era)).first()
    if row is None:
        # Somebody has removed it. A new life begins: nobody adds to a base of the old one.
        row = step.execute(
            sa.insert(CLOCK)
            .values(id=1, now_ns=0, era=uuid.uuid4().hex)
            .returning(CLOCK.c.now_ns, CLOCK.c.era)
        ).one()
    return Reading(row.now_ns, row.era, global_clock.STEP_NS_MAX)


def _same_term(record: Record) -> ColumnElement[bool]:
    return sa.and_(
        TERM.c.epoch == record.epoch,
        TERM.c.start_ns == record.start_ns,
        TERM.c.duration_ns == record.duration_ns,
        TERM.c.writer == record.writer,
        TERM.c.era == record.era,
    )


def _once(step: Connection, statement: sa.Update | sa.Delete, on: str) -> None:
    if step.execute(statement).rowcount != 1:
        raise StaleRecord("it was changed at the same time", on=on, hint="look again")
