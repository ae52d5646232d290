"""`MemoryStore`: leases in this process's memory. It is for tests, and the oracle of the suite.

A `MemoryDatabase` is the place, each `MemoryStore` of it stands for one user of that place. Its
clock is the global clock that its users advance, or one that is given and runs by itself.
"""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from holdfast.closing import Closing
from holdfast.errors import Closed, StaleRecord, Unsupported
from holdfast.lease import global_clock, rules
from holdfast.lease.record import Reading, Record, check_word
from holdfast.lease.rules import Request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from holdfast.clock import Clock
    from holdfast.lease.rules import Change

__all__ = ["MemoryDatabase", "MemoryStore"]


class MemoryDatabase:
    """The place where stores keep their records.

    Args:
        clock: Whose CLOCK_BOOTTIME is the clock of the stores; None: their users advance one.

    Attributes:
        changed: Guards all of it, and is notified of every change.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.changed = threading.Condition()
        self.held: dict[tuple[str, str], Record] = {}
        self.pinned: dict[tuple[str, str], frozenset[str]] = {}
        self.epoch = 0
        self.stores = 0
        self.own_clock = clock
        self._reading = global_clock.newborn("1")

    def read_clock(self) -> Reading:
        """What the clock shows."""
        if self.own_clock is not None:
            return Reading(self.own_clock.boottime_ns(), "1")
        return self._reading

    def move_clock(self, reading: Reading) -> None:
        """Write the global clock's record."""
        self._reading = reading


class MemoryStore(Closing):
    """One user's access to a `MemoryDatabase`; see `holdfast.lease.stores.Store`.

    Args:
        database: The place; None: one of its own.
        namespace: Whose leases.
        writer: The id of this object; None: a number of the database's.
    """

    def __init__(
        self,
        database: MemoryDatabase | None = None,
        *,
        namespace: str = "default",
        writer: str | None = None,
    ) -> None:
        self.database = MemoryDatabase() if database is None else database
        self.namespace = check_word(namespace, "namespace")
        with self.database.changed:
            self.database.stores += 1
            number = self.database.stores
        self.writer = check_word(f"memory-{number}" if writer is None else writer, "writer")
        self._picture: dict[str, Record] = {}
        self._closed = False
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
        database = self.database
        with database.changed:
            current = self._current(name)
            change = rules.claim(
                current,
                request,
                database.read_clock(),
                epoch=database.epoch + 1,
                writer=self.writer,
                pins=database.pinned.get((self.namespace, name), frozenset()),
            )
            database.epoch += 1
            self._apply(name, change)
            return self._picture[name]

    def extend(self, record: Record, duration_ns: int) -> Record:
        """Promise `duration_ns` from now on."""
        database = self.database
        with database.changed:
            current = self._current(record.name)
            change = rules.extend(
                current, record, duration_ns, database.read_clock(), writer=self.writer
            )
            self._apply(record.name, change)
            return self._picture[record.name]

    def extend_many(self, requests: Sequence[tuple[Record, int]]) -> Sequence[Record | Exception]:
        """Extend many leases, each for itself."""
        results: list[Record | Exception] = []
        for record, duration_ns in requests:
            try:
                results.append(self.extend(record, duration_ns))
            except StaleRecord as error:
                results.append(error)
        return results

    def expire(self, record: Record | str) -> None:
        """Remove a lease whose end has passed."""
        name = check_word(record if isinstance(record, str) else record.name, "name of a lease")
        with self.database.changed:
            current = self._current(name)
            self._apply(name, rules.expire(current, record, self.database.read_clock()))

    def release(self, record: Record) -> bool:
        """Give a lease back."""
        with self.database.changed:
            change = rules.release(self._current(record.name), record)
            self._apply(record.name, change)
            return change.writes

    def gate(self, record: Record, transaction: object) -> None:
        """There are no transactions in the place."""
        raise TypeError(f"leases in memory gate no {type(transaction).__name__}")

    # -- pins -------------------------------------------------------------------------------------

    def pin(self, name: str, by: str) -> None:
        """Keep a lease from expiring."""
        self._pin(name, by, rules.pin)

    def unpin(self, name: str, by: str) -> None:
        """Take that back."""
        self._pin(name, by, rules.unpin)

    def pins(self) -> Mapping[str, frozenset[str]]:
        """Who has pinned what."""
        with self.database.changed:
            self._need_open()
            return {
                name: pins
                for (namespace, name), pins in sorted(self.database.pinned.items())
                if namespace == self.namespace
            }

    # -- looking ----------------------------------------------------------------------------------

    def records(self) -> Mapping[str, Record]:
        """What this object knows."""
        with self.database.changed:
            return dict(self._picture)

    def refresh(self) -> Mapping[str, Record]:
        """Read all records."""
        with self.database.changed:
            self._need_open()
            self._picture = {
                name: record
                for (namespace, name), record in sorted(self.database.held.items())
                if namespace == self.namespace
            }
            return dict(self._picture)

    def look(self, name: str) -> Record | None:
        """Read one record."""
        with self.database.changed:
            return self._current(check_word(name, "name of a lease"))

    def overdue(self, limit: int = 100) -> Sequence[Record]:
        """Records whose end has passed."""
        with self.database.changed:
            self._need_open()
            reading = self.database.read_clock()
            late = (
                record
                for (namespace, _), record in sorted(self.database.held.items())
                if namespace == self.namespace
                and not record.pins
                and rules.expired(record, reading)
            )
            return list(itertools.islice(late, limit))

    def wait_changed(self, timeout: float | None = None, *, name: str | None = None) -> bool:
        """Wait until the records are others than `records` shows."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self.database.changed:
            before = self._shown(name)  # once: another thread may look while this one waits
            while True:
                if name is None:
                    self.refresh()
                else:
                    self.look(name)
                if self._shown(name) != before:
                    return True
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self.database.changed.wait(left)

    def _shown(self, name: str | None) -> Mapping[str, Record] | Record | None:
        return dict(self._picture) if name is None else self._picture.get(name)

    # -- time -------------------------------------------------------------------------------------

    def clock(self) -> Reading:
        """What the clock shows."""
        with self.database.changed:
            self._need_open()
            return self.database.read_clock()

    def now_ns(self) -> int:
        """The same, as a number."""
        return self.clock().now_ns

    def advance(self, elapsed_ns: int, *, since: Reading) -> Reading:
        """Add to the clock.

        Raises:
            Unsupported: The clock was given, and runs by itself.
        """
        with self.database.changed:
            self._need_open()
            if self.database.own_clock is not None:
                raise Unsupported("this clock runs by itself", on=self.namespace)
            reading = global_clock.tick(self.database.read_clock(), since, elapsed_ns)
            self.database.move_clock(reading)
            return reading

    # -- ending -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the place."""
        with self.database.changed:
            self._closed = True
            self.database.changed.notify_all()

    # -- one step ---------------------------------------------------------------------------------

    def _current(self, name: str) -> Record | None:
        self._need_open()
        current = self.database.held.get((self.namespace, name))
        self._see(name, current)  # whatever comes of the call, the picture is fresh
        return current

    def _apply(self, name: str, change: Change) -> None:
        if change.writes:
            if change.after is None:
                del self.database.held[self.namespace, name]
            else:
                self.database.held[self.namespace, name] = change.after
            self.database.changed.notify_all()
        self._see(name, change.after)

    def _pin(self, name: str, by: str, rule: Any) -> None:
        check_word(name, "name of a lease")
        with self.database.changed:
            current = self._current(name)
            key = (self.namespace, name)
            pins = rule(self.database.pinned.get(key, frozenset()), by)
            self.database.pinned.pop(key, None)
            if pins:
                self.database.pinned[key] = pins
            if current is not None:
                self.database.held[key] = replace(current, pins=pins)
                self._see(name, self.database.held[key])
                self.database.changed.notify_all()

    def _see(self, name: str, record: Record | None) -> None:
        if record is None:
            self._picture.pop(name, None)
        else:
            self._picture[name] = record

    def _need_open(self) -> None:
        if self._closed:
            raise Closed("the store is closed", on=self.namespace, hint="open another")
