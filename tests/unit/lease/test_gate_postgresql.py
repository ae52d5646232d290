"""The gate on PostgreSQL: isolations, renewals meanwhile, waiting removals, roles."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
import sqlalchemy as sa

from holdfast.errors import (
    Conflict,
    InvalidArgument,
    LeaseLost,
    NotPermitted,
    StaleRecord,
    Unavailable,
)
from holdfast.lease import Record
from tests.fixtures_postgres import Postgres
from tests.unit.lease.gating import LONG_NS, Place, beside, increment

ISOLATIONS = ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")


@pytest.fixture
def place(postgres: Postgres) -> Iterator[Place]:
    made = Place(postgres.url)
    yield made
    made.close()


def nothing(place: Place, record: Record) -> Record:
    return record


def deleted(place: Place, record: Record) -> Record:
    place.other.release(record)
    return record


def handed_over(place: Place, record: Record) -> Record:
    place.other.release(record)
    place.other.claim("n", "b", LONG_NS)
    return record


def renewed(place: Place, record: Record) -> Record:
    return place.other.extend(record, 9 * LONG_NS)


def claimed_anew(place: Place, record: Record) -> Record:
    place.other.release(record)
    return place.other.claim("n", "a", LONG_NS)


def claimed_first(place: Place, record: Record) -> Record:
    return place.other.claim("m", "a", LONG_NS)


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize(
    ("between", "committed", "snapshot"),
    [
        (nothing, None, None),
        (deleted, LeaseLost, Conflict),
        (handed_over, LeaseLost, Conflict),
        (renewed, None, None),
        (claimed_anew, None, Conflict),
        (claimed_first, None, Conflict),
    ],
)
def test_what_happens_between_the_first_statement_and_the_gate(
    place: Place,
    isolation: str,
    between: Callable[[Place, Record], Record],
    committed: type[Exception] | None,
    snapshot: type[Exception] | None,
) -> None:
    record = place.store.claim("n", "a", LONG_NS)
    expected = committed if isolation == "READ COMMITTED" else snapshot
    with place.engine_with(isolation_level=isolation).connect() as connection:
        increment(connection)
        record = between(place, record)
        if expected is None:
            place.store.gate(record, connection)
            connection.commit()
        else:
            with pytest.raises(expected):
                place.store.gate(record, connection)
            connection.rollback()
    assert place.count() == (expected is None)


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_holding_lost_before_the_transaction_is_lost(place: Place, isolation: str) -> None:
    """And not only not visible: there the store's own look decides."""
    record = place.store.claim("n", "a", LONG_NS)
    handed_over(place, record)
    with place.engine_with(isolation_level=isolation).connect() as connection:
        increment(connection)
        with pytest.raises(LeaseLost, match="'b'"):
            place.store.gate(record, connection)


def test_renewals_pass_while_a_gate_is_open(place: Place) -> None:
    """One and many; and neither claims of others nor ticks wait."""
    record = place.store.claim("n", "a", LONG_NS)
    with place.engine.begin() as connection:
        place.store.gate(record, connection)
        renewed = place.store.extend(record, 2 * LONG_NS)
        (again,) = place.store.extend_many([(renewed, 3 * LONG_NS)])
        assert isinstance(again, Record)
        assert again.duration_ns == 3 * LONG_NS
        place.other.claim("m", "b", LONG_NS)
        place.other.advance(5, since=place.other.clock())
        place.other.pin("n", "ops")
        increment(connection)
    assert place.count() == 1


def test_two_transactions_can_be_gated_by_one_lease(place: Place) -> None:
    record = place.store.claim("n", "a", LONG_NS)
    with place.engine.connect() as one, place.engine.connect() as two:
        place.store.gate(record, one)
        place.store.gate(record, two)
        one.commit()
        with beside(lambda: place.other.release(record)) as released:
            with pytest.raises(TimeoutError):
                released.result(0.3)
            two.commit()
            assert released.result(20) is True


def test_a_renewal_defeats_a_removal_that_waits(place: Place, postgres: Postgres) -> None:
    """It waits for a renewal under way, and finds then that the term is another."""
    record = place.store.claim("n", "a", 1)
    place.pass_end(record)
    with postgres.connect() as slow:
        slow.execute("BEGIN")
        slow.execute("UPDATE holdfast_term SET start_ns = start_ns + 10^12::bigint")
        with beside(lambda: place.other.expire(record)) as expired:
            with pytest.raises(TimeoutError):
                expired.result(0.3)
            slow.execute("COMMIT")
            with pytest.raises(StaleRecord):
                expired.result(20)
    assert place.store.look("n") is not None


def test_a_later_gate_overtakes_a_removal_that_waits(place: Place) -> None:
    """So that who gates checks the deadline first; and the removal still comes to its end."""
    record = place.store.claim("n", "a", LONG_NS)
    with place.engine.connect() as one, place.engine.connect() as two:
        place.store.gate(record, one)
        with beside(lambda: place.other.release(record)) as released:
            with pytest.raises(TimeoutError):
                released.result(0.3)
            place.store.gate(record, two)
            one.commit()
            with pytest.raises(TimeoutError):
                released.result(0.3)
            two.commit()
            assert released.result(20) is True
        with pytest.raises(LeaseLost):
            place.store.gate(record, one)


def test_a_savepoint_that_is_rolled_back_drops_the_lock(place: Place, postgres: Postgres) -> None:
    """Why a gate inside one is refused: it would be worth nothing."""
    record = place.store.claim("n", "a", LONG_NS)
    with place.engine.connect() as connection:
        connection.exec_driver_sql("SAVEPOINT s")
        place.store.gate(record, connection)  # in words that nobody can see
        connection.exec_driver_sql("ROLLBACK TO s")
        assert place.other.release(record) is True


def test_a_read_only_transaction_is_refused(place: Place) -> None:
    record = place.store.claim("n", "a", LONG_NS)
    engine = place.engine.execution_options(postgresql_readonly=True)
    with engine.connect() as connection, pytest.raises(InvalidArgument, match="read-only"):
        place.store.gate(record, connection)


def test_a_transaction_that_has_failed_is_refused(place: Place) -> None:
    record = place.store.claim("n", "a", LONG_NS)
    with place.engine.connect() as connection:
        with pytest.raises(sa.exc.DBAPIError):
            connection.exec_driver_sql("SELECT 1/0")
        with pytest.raises(InvalidArgument, match="cannot be gated"):
            place.store.gate(record, connection)


def test_a_lock_that_is_not_to_be_had_in_time(place: Place, postgres: Postgres) -> None:
    """A hand-over under way holds the row; how long to wait is the user's own setting."""
    record = place.store.claim("n", "a", LONG_NS)
    with postgres.connect() as slow, slow.transaction():
        slow.execute("SELECT 1 FROM holdfast_ownership FOR UPDATE")
        with place.engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
            with pytest.raises(Unavailable, match="in time"):
                place.store.gate(record, connection)
            connection.rollback()


def test_a_connection_that_is_gone(place: Place, postgres: Postgres) -> None:
    record = place.store.claim("n", "a", LONG_NS)
    with place.engine.connect() as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        with postgres.connect() as killer:
            killer.execute("SELECT pg_terminate_backend(%s, 30000)", (pid,))
        with pytest.raises(Unavailable):
            place.store.gate(record, connection)


def test_the_rights_that_a_role_needs(place: Place, postgres: Postgres) -> None:
    """No more than the error says."""
    record = place.store.claim("n", "a", LONG_NS)
    with postgres.connect() as root:
        root.execute("DROP ROLE IF EXISTS clerk")
        root.execute("CREATE ROLE clerk LOGIN")
        try:
            engine = sa.create_engine(
                postgres.server.url(postgres.name, "clerk"), poolclass=sa.NullPool
            )
            with engine.connect() as connection, pytest.raises(NotPermitted, match="grant it"):
                place.store.gate(record, connection)
            root.execute("GRANT SELECT ON holdfast_ownership, holdfast_clock TO clerk")
            root.execute("GRANT UPDATE (owner) ON holdfast_ownership TO clerk")
            with engine.begin() as connection:
                place.store.gate(record, connection)
        finally:
            root.execute("DROP OWNED BY clerk")
            root.execute("DROP ROLE clerk")


def test_an_asynchronous_connection_is_a_type_error(place: Place, postgres: Postgres) -> None:
    record = place.store.claim("n", "a", LONG_NS)

    async def go() -> None:
        connection = await psycopg.AsyncConnection.connect(postgres.url.replace("+psycopg", ""))
        try:
            with pytest.raises(TypeError, match="AsyncConnection"):
                place.store.gate(record, connection)
        finally:
            await connection.close()

    import asyncio

    asyncio.run(go())
