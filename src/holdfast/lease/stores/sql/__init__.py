"""`SqlStore`: leases in the user's own database, SQLite or PostgreSQL.

Each call is one transaction: it reads the record, lets `holdfast.lease.rules` decide, and writes
with all of what was read as its condition. If that has changed at the same time, it is made anew.
Calls that only read take no lock.

Where to look::

    schema.py       the tables            statements.py   what is said to every database
    dialect.py      what differs          sqlite.py       one writer at a time
    database.py     a connection, a       postgresql.py   locks of rows
                    transaction, its end, gate.py         the user's own transaction
                    or its failure        batch.py        many extensions at once
    step.py         what is done in one   direct.py       without SQLAlchemy on the way
"""

from __future__ import annotations

import itertools
import os
import random
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.closing import Closing
from holdfast.errors import Closed, LeaseError, StaleRecord, Unsupported
from holdfast.lease import global_clock, rules
from holdfast.lease.record import Reading, Record, check_word
from holdfast.lease.rules import Request

try:
    import sqlalchemy as sa
except ImportError as missing:
    raise Unsupported(
        "leases in a database need SQLAlchemy",
        on="holdfast.lease.stores.sql",
        hint="install holdfast[sql]",
    ) from missing

from holdfast.lease.stores.sql import statements as say
from holdfast.lease.stores.sql.batch import extend_all
from holdfast.lease.stores.sql.database import Database, Patience, choose
from holdfast.lease.stores.sql.dialect import Again, Failure
from holdfast.lease.stores.sql.gate import gate
from holdfast.lease.stores.sql.picture import Picture
from holdfast.lease.stores.sql.schema import CLOCK, EPOCH, METADATA, OWNERSHIP, PIN
from holdfast.lease.stores.sql.step import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from holdfast.lease.rules import Change

__all__ = ["SqlStore"]

POLL_S, POLL_S_MAX = 0.05, 0.25
_numbers = itertools.count(1)
T = TypeVar("T")


class SqlStore(Closing):
    """One process's access to leases in a database; see `holdfast.lease.stores.Store`.

    Args:
        url: ``sqlite:///path`` (the file is made if there is none), ``postgresql+psycopg://...``
            or ``postgresql://...``. The tables are made if there are none.
        namespace: Whose leases.
        writer: The id of this object; None: one of host, process and chance.
        busy_s: How long to wait for others' write transactions, or their locks.

    Raises:
        InvalidArgument: The URL names no database that several processes can reach.
        Unsupported: There is no store for that kind of database, or its driver is missing.
        Unavailable: It cannot be opened; `NotFound`: there is none.
        NotPermitted: Nor may it be.
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
        self._picture = Picture()
        self._closed = False
        self._busy_s = busy_s
        self.dialect = choose(url, busy_s)
        self._database = Database(self.dialect)
        try:
            self._make()
            self.refresh()
        except BaseException:
            self.close()
            raise

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

        return self._do(lambda step: step.claim(request, self.writer), write=True)

    def extend(self, record: Record, duration_ns: int) -> Record:
        """Promise `duration_ns` from now on."""
        return self._do(lambda step: self.extend_in(step, record, duration_ns), write=True)

    def extend_many(self, requests: Sequence[tuple[Record, int]]) -> Sequence[Record | Exception]:
        """Extend many leases, each for itself, in one transaction of a few statements."""
        return self._do(lambda step: extend_all(self, step, requests), write=True)

    def extend_in(self, step: Step, record: Record, duration_ns: int) -> Record:
        """One extension, as a part of a step."""
        current, reading = step.look(record.name), step.reading
        change = rules.extend(current, record, duration_ns, reading, writer=self.writer)
        return step.extend(change)

    def expire(self, record: Record | str) -> None:
        """Remove a lease whose end has passed.

        Raises:
            StaleRecord: As everywhere; and on PostgreSQL also if a transaction gates it just now,
                or changes it: it cannot be expired before that has ended.
        """
        name = check_word(record if isinstance(record, str) else record.name, "name of a lease")

        def work(step: Step) -> None:
            # Pins first: who pins after that waits until this is over.
            self.dialect.lock_pins(step.say, self.namespace, name)
            locked = self.dialect.lock_holding(step.say, step.key(name), wait=False)

            def rule(now: Record | None, at: Reading) -> Change:
                change = rules.expire(now, record, at)
                if not locked:
                    raise StaleRecord(
                        "the lease is gated by a transaction, or being handed over",
                        on=name,
                        hint="it cannot be expired now; try later",
                    )
                return change

            self._remove(step, name, rule)

        self._do(work, write=True)

    def release(self, record: Record) -> bool:
        """Give a lease back. It waits for the transactions that it gates."""
        unchanged = True  # since it was read: so it is as a rule

        def work(step: Step) -> bool:
            nonlocal unchanged
            if unchanged:
                unchanged = False  # if this fails, the next attempt looks first
                step.remove(record)
                return True
            self.dialect.lock_holding(step.say, step.key(record.name), wait=True)
            return self._remove(step, record.name, lambda now, _: rules.release(now, record))

        return self._do(work, write=True)

    def gate(self, record: Record, transaction: object) -> None:
        """Let the user's transaction commit only while the holding stands: see ``gate.py``."""
        with self._database.lock:
            self._need_open()
        gate(self, record, transaction)

    # -- pins -------------------------------------------------------------------------------------

    def pin(self, name: str, by: str) -> None:
        """Keep a lease from expiring."""
        self._pin(name, by, rules.pin)

    def unpin(self, name: str, by: str) -> None:
        """Take that back."""
        self._pin(name, by, rules.unpin)

    def pins(self) -> Mapping[str, frozenset[str]]:
        """Who has pinned what."""
        key = {"namespace": self.namespace}
        return self._do(lambda step: say.pins_of(step.say.execute(say.PINNED, key)), write=False)

    def _pin(self, name: str, by: str, rule: Callable[[frozenset[str], str], Any]) -> None:
        check_word(name, "name of a lease")
        rule(frozenset(), by)  # is it one who can pin?

        def work(step: Step) -> None:
            self.dialect.lock_pins(step.say, self.namespace, name)
            with suppress(LeaseError):  # a record that contradicts itself can be pinned
                step.look(name)
            after = rule(step.pins, by)
            for entity in after - step.pins:
                row = {**step.key(name), "entity": entity}
                step.say.execute(self.dialect.insert_missing(PIN, **row))
            for entity in step.pins - after:
                step.say.execute(say.UNPIN, {**step.key(name), "entity": entity})
            current = step.seen.get(name)
            if current is not None:
                step.seen[name] = replace(current, pins=after)

        self._do(work, write=True)

    # -- looking ----------------------------------------------------------------------------------

    def records(self) -> Mapping[str, Record]:
        """What this object knows."""
        with self._database.lock:
            return self._picture.show()

    def refresh(self) -> Mapping[str, Record]:
        """Read all records. One that contradicts itself is left out, and claimed by nobody."""

        def work(step: Step) -> dict[str, Record]:
            rows = step.say.execute(say.HELD, {"namespace": self.namespace})
            found = {}
            for row, pins in say.grouped(rows):
                with suppress(LeaseError):
                    found[row.name] = say.record_of(row, pins, self._picture.get(row.name))
            return found

        self._do(work, write=False, then=self._picture.replace)
        return self.records()

    def look(self, name: str) -> Record | None:
        """Read one record."""
        check_word(name, "name of a lease")
        return self._do(lambda step: step.look(name), write=False)

    def overdue(self, limit: int = 100) -> Sequence[Record]:
        """Records whose end has passed."""

        def work(step: Step) -> list[Record]:
            late: list[Record] = []
            after = ""
            while len(late) < limit:
                asked = limit - len(late)
                page = {"namespace": self.namespace, "after": after, "limit": asked}
                rows = step.direct(say.OVERDUE, page).rows
                for row in rows:
                    with suppress(LeaseError):
                        late.append(say.record_of(row))
                if len(rows) < asked:
                    break
                after = rows[-1][0]
            return late

        return self._do(work, write=False)

    def wait_changed(self, timeout: float | None = None, *, name: str | None = None) -> bool:
        """Wait until the records are others than `records` shows. It polls."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause_s = POLL_S
        with self._database.lock:
            before = self._picture.show() if name is None else self._picture.get(name)
        while True:
            if (self.refresh() if name is None else self.look(name)) != before:
                return True
            left = pause_s if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, pause_s * random.uniform(0.7, 1)))
            pause_s = min(1.2 * pause_s, POLL_S_MAX)

    # -- time -------------------------------------------------------------------------------------

    def clock(self) -> Reading:
        """What the clock shows."""

        def work(step: Step) -> Reading:
            return step.clock()

        return self._do(work, write=False)

    def now_ns(self) -> int:
        """The same, as a number."""
        return self.clock().now_ns

    def advance(self, elapsed_ns: int, *, since: Reading) -> Reading:
        """Add to the clock."""
        current = replace(since, step_ns=global_clock.STEP_NS_MAX)
        reading = global_clock.tick(current, since, elapsed_ns)
        swap = {"was_now_ns": since.now_ns, "was_era": since.era, "now_ns": reading.now_ns}

        def work(step: Step) -> None:
            if step.direct(say.ADVANCE, swap).written != 1:
                raise StaleRecord(
                    "the clock has moved since it was read",
                    hint="drop the interval: others have counted it",
                )

        self._do(work, write=True)
        return reading

    def close(self) -> None:
        """Let go of the database."""
        with self._database.lock:
            self._closed = True
            self._database.close()

    # -- one step ---------------------------------------------------------------------------------

    def _do(
        self, work: Callable[[Step], T], *, write: bool, then: Callable[[T], None] | None = None
    ) -> T:
        """One transaction, made again as long as it has done nothing but may.

        Args:
            work: What to do in it. It may be called several times, and must decide anew each time.
            write: Whether it writes.
            then: What to do with its result before anybody else looks at the picture.
        """
        patience = Patience(self._busy_s)
        mended = False
        while True:
            with self._database.lock:
                self._need_open()
                seen: dict[str, Record | None] = {}
                try:
                    result = self._database.attempt(partial(self._step, work, seen), write=write)
                except StaleRecord:
                    self._picture.see(seen)  # it was read, though nothing was written
                    raise
                except Again as again:
                    met = again
                else:
                    self._picture.see(seen)
                    if then is not None:
                        then(result)
                    return result
                if met.failure is Failure.NO_TABLES and met.error is None and not mended:
                    mended = True
                    self._mend()
                    continue
            if patience.has_an_end(met):
                with self._database.lock:
                    raise self._database.explain(met) from met.error

    def _step(
        self, work: Callable[[Step], T], seen: dict[str, Record | None], connection: sa.Connection
    ) -> T:
        return work(Step(self.dialect, connection, self.namespace, seen))

    def _need_open(self) -> None:
        if os.getpid() != self._pid:
            raise Closed("the store is another process's", hint="open one after the fork")
        if self._closed:
            raise Closed("the store is closed", on=self.namespace, hint="open another")

    def _make(self) -> None:
        """Make the tables, unless they are there: then nothing is written."""
        try:
            there = self._do(lambda step: all(step.say.execute(say.PROBE).one()[:2]), write=False)
        except LeaseError:
            self._do(self._make_tables, write=True)
            there = False
        if not there:
            self._mend()

    def _make_tables(self, step: Step) -> None:
        METADATA.create_all(step.say)

    def _mend(self) -> None:
        """Make the rows of the clock and of the last epoch, if they are missing.

        A clock that somebody has removed begins a new life: nobody adds to a base of the old one.
        """

        def work(step: Step) -> None:
            insert = self.dialect.insert_missing
            step.say.execute(insert(CLOCK, id=1, now_ns=0, era=uuid.uuid4().hex))
            latest = step.say.scalar(sa.select(sa.func.max(OWNERSHIP.c.epoch)))
            step.say.execute(insert(EPOCH, id=1, latest=latest or 0))

        self._do(work, write=True)

    def _key(self, name: str) -> dict[str, str]:
        return {"namespace": self.namespace, "name": name}

    def _remove(
        self, step: Step, name: str, rule: Callable[[Record | None, Reading], Change]
    ) -> bool:
        change = rule(step.look(name), step.reading)
        if not change.writes:
            return False
        assert change.before is not None, "only what is there can be removed"
        step.remove(change.before)
        return True
