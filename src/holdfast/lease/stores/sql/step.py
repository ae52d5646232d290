"""`Step`: one transaction at work: it looks a name up, writes what a rule decided, or removes it.

Every statement has what was read as its condition. PostgreSQL can write two tables in one
statement, and a message and its answer take longer there than the work; SQLite cannot, and has no
messages.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from holdfast.lease import rules
from holdfast.lease.stores.sql import statements as say
from holdfast.lease.stores.sql.dialect import Again, Dialect, Failure
from holdfast.lease.stores.sql.direct import Direct

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy as sa
    from sqlalchemy.sql.elements import CompilerElement

    from holdfast.lease.record import Reading, Record
    from holdfast.lease.rules import Change, Request

__all__ = ["Step"]


class Step:
    """One transaction at work, on the names of a namespace.

    Attributes:
        say: The connection, in a transaction.
        direct: The same for the statements that are said often.
        seen: What it has learnt of names; the picture takes it over if it was not undone.
        reading: The clock, at the last look at a name.
        pins: Of that name.
    """

    __slots__ = ("_namespace", "_together", "direct", "pins", "reading", "say", "seen")

    def __init__(
        self,
        dialect: Dialect,
        connection: sa.Connection,
        namespace: str,
        seen: dict[str, Record | None],
    ) -> None:
        self.say = connection
        self.direct = Direct(dialect, connection)
        self.seen = seen
        self.pins: frozenset[str] = frozenset()
        self.reading: Reading
        self._namespace = namespace
        self._together = dialect.writes_in_with

    def key(self, name: str) -> dict[str, str]:
        """What identifies a name in the tables."""
        return {"namespace": self._namespace, "name": name}

    def clock(self) -> Reading:
        """What the clock shows."""
        rows = self.direct(say.CLOCK_NOW, {}).rows
        if not rows:
            raise Again(Failure.NO_TABLES, None)
        return say.reading_of(*rows[0])

    def look(self, name: str) -> Record | None:
        """What there is of a name; its pins, and the clock, stand here then."""
        return self._see(name, self.direct(say.LOOK, self.key(name)).rows)

    def claim(self, request: Request, writer: str) -> Record:
        """Take a vacancy. A refusal locks nothing.

        From the moment that an epoch is given to the commit, nobody else gets one: they grow as
        commits do.
        """
        if self._together:
            record = self._claim_at_once(request, writer)
            if record is not None:
                return record
        current = self.look(request.name)
        decide = partial(rules.claim, current, request, self.reading, writer=writer, pins=self.pins)
        decide(epoch=1)  # one that only has to be an epoch
        numbers = self.direct(say.NEXT_EPOCH, {}).rows
        if not numbers:
            raise Again(Failure.NO_TABLES, None)
        record = decide(epoch=numbers[0][0]).after
        assert record is not None, "a claim ends with a record"
        row = self._row(record)
        self.direct(say.CLAIM, row)
        self.direct(say.PROMISE, row)
        self.seen[record.name] = record
        return record

    def _claim_at_once(self, request: Request, writer: str) -> Record | None:
        """By one statement, if nobody holds it and nothing is amiss."""
        asked = {
            **self.key(request.name),
            "holder": request.holder,
            "owner": request.owner_json,
            "duration_ns": request.duration_ns,
            "writer": writer,
        }
        rows = self.direct(say.CLAIM_AT_ONCE, asked).rows
        if not rows:
            return None
        now_ns, era, epoch, start_ns, pins = rows[0]
        self.reading = say.reading_of(now_ns, era)
        record = rules.claim(
            None, request, self.reading, epoch=epoch, writer=writer, pins=frozenset(pins)
        ).after
        assert record is not None, "a claim ends with a record"
        assert record.start_ns == start_ns, "the statement says what the rule says"
        self.seen[record.name] = record
        return record

    def extend(self, change: Change) -> Record:
        """Write what an extension has decided."""
        before, after = change.before, change.after
        assert before is not None, "what is extended is there"
        assert after is not None, "and stays"
        if change.writes:
            self._once(say.EXTEND, {**say.was(before), **say.term_values(after)})
        self.seen[after.name] = after
        return after

    def remove(self, record: Record) -> None:
        """Remove a holding, if it is as it was read; it waits for whom it gates."""
        key = {**self.key(record.name), "holder": record.holder, "epoch": record.epoch}
        values = {**key, **say.was(record)}
        if self._together:
            self._once(say.REMOVE_BOTH, values)
        else:
            self._once(say.REMOVE_OWNERSHIP, values)
            self._once(say.REMOVE_TERM, values)
        self.seen[record.name] = None

    def _once(self, statement: CompilerElement, values: Mapping[str, Any]) -> None:
        """Write one row; if it is not as it was read, all of the step is made anew."""
        if self.direct(statement, values).written != 1:
            raise Again(Failure.RACED, None)

    def _row(self, record: Record) -> dict[str, object]:
        own = {"holder": record.holder, "epoch": record.epoch, "owner": record.owner_json}
        return {**self.key(record.name), **own, **say.term_values(record)}

    def _see(self, name: str, rows: list[tuple[Any, ...]]) -> Record | None:
        if not rows:
            raise Again(Failure.NO_TABLES, None)
        self.reading = say.reading_of(*rows[0][9:11])
        self.pins = frozenset(row[8] for row in rows if row[8] is not None)
        record = None if rows[0][0] is None else say.record_of(rows[0], self.pins)
        self.seen[name] = record
        return record
