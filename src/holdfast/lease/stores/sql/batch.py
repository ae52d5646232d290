"""Many extensions in a few statements, each with a verdict of its own.

::

    the clock                    one row
    whose they are               by name, holder and epoch: what has another holder falls out here
    the terms, by epoch          UPDATE where the new end is later; what it returns was extended
    the terms it did not write   longer already, or gone, or written at the same time

An epoch is given once in the store, so that an extension by epoch cannot reach a successor: the
term that it meant is gone with its holding. The keys go in as one list each, and each is looked up
by its index. (A join with the list is not used: with the statistics of an empty table PostgreSQL
compares all with all, which took seconds for ten thousand leases.)

Terms are grouped by duration, one UPDATE for each. What the UPDATE passed over (another era of the
clock, or somebody else at the same time) is extended one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from holdfast.errors import StaleRecord
from holdfast.lease.record import Reading, Record, check_duration
from holdfast.lease.stores.sql import statements as say
from holdfast.lease.stores.sql.schema import OWNERSHIP, TERM

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from holdfast.lease.stores.sql import SqlStore
    from holdfast.lease.stores.sql.step import Step

__all__ = ["extend_all"]


def extend_all(
    store: SqlStore, step: Step, requests: Sequence[tuple[Record, int]]
) -> list[Record | Exception]:
    """What became of each request; see `Store.extend_many`."""
    for _, duration_ns in requests:
        check_duration(duration_ns)
    if not requests:
        return []
    store.dialect.begin_batch(step.say)
    reading = step.clock()
    standing = _standing(store, step, [record for record, _ in requests])
    longest: dict[int, int] = {}  # the duration for each epoch that still stands
    for record, duration_ns in requests:
        if standing.get(record.epoch) == (record.name, record.holder):
            longest[record.epoch] = max(duration_ns, longest.get(record.epoch, 0))
    written = _write(store, step, longest, reading)
    others = _longer_already(store, step, longest.keys() - written, longest, reading)
    pins = say.pins_of(step.say.execute(say.PINNED, {"namespace": store.namespace}))
    results: list[Record | Exception] = []
    for record, duration_ns in requests:
        name, epoch = record.name, record.epoch
        mine = standing.get(epoch) == (name, record.holder)
        if mine and epoch in written:
            start_ns, long_ns, writer, era = (
                reading.latest_ns,
                longest[epoch],
                store.writer,
                reading.era,
            )
        elif mine and epoch in others:
            row = others[epoch]
            start_ns, long_ns, writer, era = row.start_ns, row.duration_ns, row.writer, row.era
        else:
            try:
                results.append(store.extend_in(step, record, duration_ns))
            except StaleRecord as error:
                results.append(error)
            continue
        later = Record(
            name,
            record.holder,
            epoch,
            start_ns,
            long_ns,
            writer,
            era,
            record.owner_json,
            pins.get(name, frozenset()),
        )
        step.seen[name] = later
        results.append(later)
    return results


def _standing(store: SqlStore, step: Step, records: Sequence[Record]) -> dict[int, tuple[str, str]]:
    among = store.dialect.among
    query = sa.select(OWNERSHIP.c.epoch, OWNERSHIP.c.name, OWNERSHIP.c.holder).where(
        OWNERSHIP.c.namespace == store.namespace,
        among(OWNERSHIP.c.name, [record.name for record in records]),
        among(OWNERSHIP.c.epoch, [record.epoch for record in records]),
    )
    rows: Sequence[Any] = step.say.execute(query).all()
    return {epoch: (name, holder) for epoch, name, holder in rows}


def _write(store: SqlStore, step: Step, longest: dict[int, int], reading: Reading) -> set[int]:
    groups: dict[int, list[int]] = {}
    for epoch, duration_ns in longest.items():
        groups.setdefault(duration_ns, []).append(epoch)
    written: set[int] = set()
    for duration_ns, epochs in groups.items():
        update = (
            sa.update(TERM)
            .where(
                store.dialect.among(TERM.c.epoch, epochs),
                TERM.c.era == reading.era,
                TERM.c.start_ns + TERM.c.duration_ns < reading.latest_ns + duration_ns,
            )
            .values(
                start_ns=reading.latest_ns,
                duration_ns=duration_ns,
                writer=store.writer,
                era=reading.era,
            )
            .returning(TERM.c.epoch)
        )
        written.update(step.say.scalars(update).all())
    return written


def _longer_already(
    store: SqlStore, step: Step, epochs: Iterable[int], longest: dict[int, int], reading: Reading
) -> dict[int, sa.Row[Any]]:
    asked = list(epochs)
    if not asked:
        return {}
    query = sa.select(
        TERM.c.epoch, TERM.c.start_ns, TERM.c.duration_ns, TERM.c.writer, TERM.c.era
    ).where(store.dialect.among(TERM.c.epoch, asked))
    return {
        row.epoch: row
        for row in step.say.execute(query)
        if row.era == reading.era
        and row.start_ns + row.duration_ns >= reading.latest_ns + longest[row.epoch]
    }
