"""The statements of `SqlStore`, made once, and what a row of them means.

The parameters are `namespace`, `name`, `epoch` and so on; those that stand for a term as it was
read are called ``was_...``. Each look is one statement, and so one consistent snapshot on every
database and under every isolation.
"""

from __future__ import annotations

import itertools
import operator
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from holdfast.errors import InvalidArgument, LeaseError
from holdfast.lease.global_clock import STEP_NS_MAX
from holdfast.lease.record import Reading, Record
from holdfast.lease.stores.sql.schema import CLOCK, EPOCH, OWNERSHIP, PIN, TERM

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "ADVANCE",
    "CLAIM",
    "CLAIM_AT_ONCE",
    "CLOCK_NOW",
    "EXTEND",
    "HELD",
    "LOOK",
    "NEXT_EPOCH",
    "OVERDUE",
    "PINNED",
    "PROBE",
    "PROMISE",
    "REMOVE_BOTH",
    "REMOVE_OWNERSHIP",
    "REMOVE_TERM",
    "UNPIN",
    "grouped",
    "pins_of",
    "reading_of",
    "record_of",
    "term_values",
    "was",
]

_namespace: sa.BindParameter[str] = sa.bindparam("namespace")
_name: sa.BindParameter[str] = sa.bindparam("name")
_TERM = (TERM.c.start_ns, TERM.c.duration_ns, TERM.c.writer, TERM.c.era)
_OWNERSHIP = (OWNERSHIP.c.name, OWNERSHIP.c.holder, OWNERSHIP.c.epoch, OWNERSHIP.c.owner)

# Whether all tables are there, and the two that have one row.
PROBE = sa.select(
    sa.select(CLOCK.c.id).exists(),
    sa.select(EPOCH.c.id).exists(),
    *(sa.select(sa.literal(1)).select_from(table).exists() for table in (OWNERSHIP, TERM, PIN)),
)

CLOCK_NOW = sa.select(CLOCK.c.now_ns, CLOCK.c.era.label("clock_era"))
ADVANCE = (
    sa.update(CLOCK)
    .where(CLOCK.c.now_ns == sa.bindparam("was_now_ns"), CLOCK.c.era == sa.bindparam("was_era"))
    .values(now_ns=sa.bindparam("now_ns"))
)

# The clock, and what there is of one name: one row, or as many as it has pins.
LOOK = sa.select(
    *_OWNERSHIP, *_TERM, PIN.c.entity, CLOCK.c.now_ns, CLOCK.c.era.label("clock_era")
).select_from(
    CLOCK.outerjoin(
        OWNERSHIP, sa.and_(OWNERSHIP.c.namespace == _namespace, OWNERSHIP.c.name == _name)
    )
    .outerjoin(TERM, TERM.c.epoch == OWNERSHIP.c.epoch)
    .outerjoin(PIN, sa.and_(PIN.c.namespace == _namespace, PIN.c.name == _name))
)

_PINS_OF_HELD = sa.and_(PIN.c.namespace == OWNERSHIP.c.namespace, PIN.c.name == OWNERSHIP.c.name)
HELD = (
    sa.select(*_OWNERSHIP, *_TERM, PIN.c.entity)
    .select_from(
        OWNERSHIP.outerjoin(TERM, TERM.c.epoch == OWNERSHIP.c.epoch).outerjoin(PIN, _PINS_OF_HELD)
    )
    .where(OWNERSHIP.c.namespace == _namespace)
    .order_by(OWNERSHIP.c.name)
)

# In another era than the clock's, a term counts from zero: `Record.start_in`.
OVERDUE = (
    sa.select(*_OWNERSHIP, *_TERM)
    .select_from(
        OWNERSHIP.join(TERM, TERM.c.epoch == OWNERSHIP.c.epoch).join(CLOCK, sa.literal(value=True))
    )
    .where(
        OWNERSHIP.c.namespace == _namespace,
        OWNERSHIP.c.name > sa.bindparam("after"),
        sa.case((TERM.c.era == CLOCK.c.era, TERM.c.start_ns), else_=0) + TERM.c.duration_ns
        < CLOCK.c.now_ns,
        ~sa.select(PIN.c.entity).where(_PINS_OF_HELD).exists(),
    )
    .order_by(OWNERSHIP.c.name)
    .limit(sa.bindparam("limit"))
)

NEXT_EPOCH = sa.update(EPOCH).values(latest=EPOCH.c.latest + 1).returning(EPOCH.c.latest)
CLAIM = sa.insert(OWNERSHIP)
PROMISE = sa.insert(TERM)

# All of a claim in one message, where one statement may write several tables: the next epoch if
# nobody holds the name, both rows if there is one, and what was read. It says what `rules.claim`
# decides of a vacancy; `Step` compares. Who waits here for the row of the last epoch has looked
# before: if the other has taken the same name, the primary key refuses.
_is_held = sa.exists().where(OWNERSHIP.c.namespace == _namespace, OWNERSHIP.c.name == _name)
_next = NEXT_EPOCH.where(~_is_held).cte("next")
_claimed = (
    sa.insert(OWNERSHIP)
    .from_select(
        [OWNERSHIP.c.namespace, *_OWNERSHIP],
        sa.select(
            _namespace,
            _name,
            sa.bindparam("holder", type_=OWNERSHIP.c.holder.type),
            _next.c.latest,
            sa.bindparam("owner", type_=OWNERSHIP.c.owner.type),
        ),
    )
    .returning(OWNERSHIP.c.epoch)
    .cte("claimed")
)
_promised = (
    sa.insert(TERM)
    .from_select(
        [TERM.c.epoch, *_TERM],
        sa.select(
            _claimed.c.epoch,
            CLOCK.c.now_ns + STEP_NS_MAX,
            sa.bindparam("duration_ns", type_=TERM.c.duration_ns.type),
            sa.bindparam("writer", type_=TERM.c.writer.type),
            CLOCK.c.era,
        ).join_from(_claimed, CLOCK, sa.true()),
    )
    .returning(TERM.c.epoch, TERM.c.start_ns)
    .cte("promised")
)
CLAIM_AT_ONCE = sa.select(
    CLOCK.c.now_ns,
    CLOCK.c.era,
    _promised.c.epoch,
    _promised.c.start_ns,
    sa.func.array(
        sa.select(PIN.c.entity)
        .where(PIN.c.namespace == _namespace, PIN.c.name == _name)
        .scalar_subquery()
    ),
).join_from(CLOCK, _promised, sa.true())

# All of what was read is compared: whoever wrote in between is noticed.
_SAME_TERM = sa.and_(
    *(
        column == sa.bindparam(f"was_{column.name}")
        for column in (TERM.c.epoch, TERM.c.start_ns, TERM.c.duration_ns, TERM.c.writer, TERM.c.era)
    )
)
EXTEND = (
    sa.update(TERM)
    .where(_SAME_TERM)
    .values({column: sa.bindparam(column.name) for column in _TERM})
)
REMOVE_TERM = sa.delete(TERM).where(_SAME_TERM)
REMOVE_OWNERSHIP = sa.delete(OWNERSHIP).where(
    OWNERSHIP.c.namespace == _namespace,
    OWNERSHIP.c.name == _name,
    OWNERSHIP.c.holder == sa.bindparam("holder"),
    OWNERSHIP.c.epoch == sa.bindparam("epoch"),
)
_removed = REMOVE_OWNERSHIP.returning(OWNERSHIP.c.epoch).cte("removed")
REMOVE_BOTH = REMOVE_TERM.where(TERM.c.epoch == _removed.c.epoch)

PINNED = (
    sa.select(PIN.c.name, PIN.c.entity).where(PIN.c.namespace == _namespace).order_by(PIN.c.name)
)
UNPIN = sa.delete(PIN).where(
    PIN.c.namespace == _namespace,
    PIN.c.name == _name,
    PIN.c.entity == sa.bindparam("entity"),
)


def term_values(record: Record) -> dict[str, object]:
    """The columns of a term, for `EXTEND`."""
    return {
        "start_ns": record.start_ns,
        "duration_ns": record.duration_ns,
        "writer": record.writer,
        "era": record.era,
    }


def was(record: Record) -> dict[str, object]:
    """The term as it was read, for the comparison."""
    values = {"epoch": record.epoch, **term_values(record)}
    return {f"was_{key}": value for key, value in values.items()}


def reading_of(now_ns: int, era: str) -> Reading:
    """What the clock's record shows: the columns of `CLOCK_NOW`."""
    return Reading(now_ns, era, STEP_NS_MAX)


def record_of(
    row: Sequence[Any], pins: frozenset[str] = frozenset(), known: Record | None = None
) -> Record:
    """The record of a row of ownership and term; `known`, if it is that: it need not be checked.

    Raises:
        LeaseError: Something in it cannot be, or the term is missing.
    """
    name, holder, epoch, owner, start_ns, duration_ns, writer, era = row[:8]
    if (
        known is not None
        and (known.epoch, known.start_ns, known.duration_ns) == (epoch, start_ns, duration_ns)
        and (known.name, known.holder, known.writer) == (name, holder, writer)
        and (known.era, known.owner_json, known.pins) == (era, owner, pins)
    ):
        return known
    try:
        return Record(name, holder, epoch, start_ns, duration_ns, writer, era, owner, pins)
    except InvalidArgument as error:
        raise LeaseError(
            f"the record contradicts itself: {error}",
            on=str(name),
            hint="something else has written into the tables; repair or remove the row",
        ) from error


def pins_of(rows: Iterable[Sequence[Any]]) -> dict[str, frozenset[str]]:
    """The rows of `PINNED`, by name."""
    found: dict[str, set[str]] = {}
    for name, entity in rows:
        found.setdefault(name, set()).add(entity)
    return {name: frozenset(entities) for name, entities in found.items()}


def grouped(rows: Iterable[sa.Row[Any]]) -> Iterator[tuple[sa.Row[Any], frozenset[str]]]:
    """Rows of `HELD`, which come once for each pin: one of each name, with all of its pins."""
    for _, same in itertools.groupby(rows, operator.itemgetter(0)):
        first = next(same)
        if first.entity is None:
            yield first, frozenset()
        else:
            yield first, frozenset([first.entity, *(row.entity for row in same)])
