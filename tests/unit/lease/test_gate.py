"""The gate of the SQL stores: what is the same on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from holdfast.errors import Closed, InvalidArgument, LeaseLost, StaleRecord, Unavailable
from holdfast.lease.stores.sql import SqlStore
from tests.fixtures_postgres import PostgresServer
from tests.unit.lease.gating import LONG_NS, Place, beside, increment, sqlite_connection


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/app.db"
    else:
        url = request.getfixturevalue("postgres").url
    made = Place(url)
    yield made
    made.close()


def raw(place: Place) -> Any:
    """A connection of the driver's own."""
    if place.store.dialect.name == "sqlite":
        return sqlite_connection(place)
    return psycopg.connect(place.url.replace("+psycopg", ""))


def test_a_gated_transaction_commits(place: Place) -> None:
    record = place.store.claim("n", "a", LONG_NS)
    with place.engine.begin() as connection:
        place.store.gate(record, connection)
        increment(connection)
    with place.engine.begin() as connection:  # last, and again
        increment(connection)
        place.store.gate(record, connection)
        place.store.gate(record, connection)
    assert place.count() == 2


def test_a_session_is_gated(place: Place) -> None:
    record = place.store.claim("n", "a", LONG_NS)
    with Session(place.engine) as session, session.begin():
        place.store.gate(record, session)
        session.execute(sa.text("UPDATE counter SET n = n + 1"))
    registry = scoped_session(sessionmaker(place.engine))
    place.store.gate(record, registry)
    registry.execute(sa.text("UPDATE counter SET n = n + 1"))
    registry.commit()
    registry.remove()
    assert place.count() == 2


def test_a_drivers_own_connection_is_gated(place: Place) -> None:
    record = place.store.claim("n", "a", LONG_NS)
    connection = raw(place)
    try:
        place.store.gate(record, connection)
        increment(connection)
        connection.commit()
        place.other.release(record)
        with pytest.raises(LeaseLost):
            place.store.gate(record, connection)
        connection.rollback()
    finally:
        connection.close()
    assert place.count() == 1


@pytest.mark.parametrize("successor", [None, "b", "a"])
@pytest.mark.parametrize("how", ["expire", "release"])
def test_a_lost_lease_stops_the_transaction(place: Place, how: str, successor: str | None) -> None:
    """Also if the successor has the same name: the epoch tells."""
    record = place.store.claim("n", "a", 1)
    if how == "expire":
        place.pass_end(record)
        place.other.expire(record)
    else:
        place.other.release(record)
    if successor:
        place.other.claim("n", successor, LONG_NS)
    with place.engine.connect() as connection:
        increment(connection)
        with pytest.raises(LeaseLost, match=successor or "nobody"):
            place.store.gate(record, connection)
        connection.rollback()
    assert place.count() == 0


def test_a_renewed_lease_passes(place: Place) -> None:
    """With an old picture of the same holding: a renewal changes no ownership."""
    record = place.store.claim("n", "a", LONG_NS)
    place.other.extend(record, 5 * LONG_NS)
    with place.engine.begin() as connection:
        place.store.gate(record, connection)


def test_a_lease_is_not_expired_while_it_gates(place: Place) -> None:
    """Even past its end: the expirer is told, and can do it when the transaction has ended."""
    impatient = SqlStore(place.url, busy_s=0.1)
    record = place.store.claim("n", "a", 1)
    place.pass_end(record)
    with place.engine.begin() as connection:
        place.store.gate(record, connection)
        with pytest.raises((StaleRecord, Unavailable), match=r"gated|is in a write transaction"):
            impatient.expire(record)
        assert [late.name for late in impatient.overdue()] == ["n"]
        increment(connection)
    impatient.expire(record)
    assert place.other.claim("n", "b", LONG_NS).epoch > record.epoch
    assert place.count() == 1
    impatient.close()


def test_a_release_waits_for_the_gated_transaction(place: Place) -> None:
    record = place.store.claim("n", "a", LONG_NS)
    with place.engine.connect() as connection:
        place.store.gate(record, connection)
        increment(connection)
        with beside(lambda: place.other.release(record)) as released:
            with pytest.raises(TimeoutError):
                released.result(0.3)
            connection.commit()
            assert released.result(20) is True
    assert place.count() == 1


def test_a_rolled_back_transaction_gates_no_more(place: Place) -> None:
    record = place.store.claim("n", "a", LONG_NS)
    with place.engine.connect() as connection:
        place.store.gate(record, connection)
        connection.rollback()
        assert place.other.release(record) is True


def test_a_savepoint_is_refused(place: Place) -> None:
    """Whoever rolls it back would take the lock along. After its end, the gate works."""
    record = place.store.claim("n", "a", LONG_NS)
    with place.engine.begin() as connection:
        with (
            pytest.raises(InvalidArgument, match="savepoint"),
            connection.begin_nested(),
        ):
            place.store.gate(record, connection)
        place.store.gate(record, connection)
    with Session(place.engine) as session, session.begin():
        with pytest.raises(InvalidArgument, match="savepoint"), session.begin_nested():
            place.store.gate(record, session)
        place.store.gate(record, session)


def test_an_autocommit_connection_is_refused(place: Place) -> None:
    record = place.store.claim("n", "a", LONG_NS)
    engine = place.engine_with(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        assert not connection.in_transaction()
        # SQLAlchemy speaks of a transaction then; the driver knows of none.
        with connection.begin(), pytest.raises(InvalidArgument, match="autocommit"):
            place.store.gate(record, connection)


def test_a_closed_connection_is_refused(place: Place) -> None:
    record = place.store.claim("n", "a", LONG_NS)
    with place.engine.connect() as connection:
        pass
    with pytest.raises(InvalidArgument, match="closed"):
        place.store.gate(record, connection)


def test_a_session_without_a_database_is_refused(place: Place) -> None:
    record = place.store.claim("n", "a", LONG_NS)
    with Session() as session, pytest.raises(InvalidArgument, match="session"):
        place.store.gate(record, session)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda place: place.engine,
        lambda place: place.engine.url,
        lambda place: place.store,
        lambda place: sessionmaker(place.engine),
        lambda place: place.url,
    ],
)
def test_the_wrong_kind_is_a_type_error_at_once(place: Place, wrong: Any) -> None:
    record = place.store.claim("n", "a", LONG_NS)
    with pytest.raises(TypeError, match="gate"):
        place.store.gate(record, wrong(place))


def test_a_closed_store_gates_nothing(place: Place) -> None:
    record = place.store.claim("n", "a", LONG_NS)
    place.store.close()
    with place.engine.connect() as connection, pytest.raises(Closed):
        place.store.gate(record, connection)


def test_another_kind_of_database_is_refused(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    sqlite = Place(f"sqlite:///{tmp_path}/app.db")
    name = postgres_server.make_database()
    postgresql = Place(postgres_server.url(name))
    for here, there in ((sqlite, postgresql), (postgresql, sqlite)):
        record = here.store.claim("n", "a", LONG_NS)
        with there.engine.connect() as connection, pytest.raises(InvalidArgument, match="same"):
            here.store.gate(record, connection)
    sqlite.close()
    postgresql.close()
    postgres_server.drop_database(name)


@pytest.mark.parametrize("same", [False, True])
def test_another_database_with_leases_is_refused(
    place: Place, tmp_path: Path, request: pytest.FixtureRequest, *, same: bool
) -> None:
    """Also if there is a lease there of the same name, holder and epoch."""
    record = place.store.claim("n", "a", LONG_NS)
    name = None
    if place.store.dialect.name == "sqlite":
        elsewhere = Place(f"sqlite:///{tmp_path}/other.db")
    else:
        server = request.getfixturevalue("postgres_server")
        name = server.make_database()
        elsewhere = Place(server.url(name))
    if same:
        twin = elsewhere.store.claim("n", "a", LONG_NS)
        assert (twin.name, twin.holder, twin.epoch) == (record.name, record.holder, record.epoch)
    with (
        elsewhere.engine.connect() as connection,
        pytest.raises(InvalidArgument, match="another database"),
    ):
        place.store.gate(record, connection)
    elsewhere.close()
    if name is not None:
        server.drop_database(name)


def test_a_clock_made_anew_is_no_other_database(place: Place) -> None:
    record = place.store.claim("n", "a", LONG_NS)
    with place.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM holdfast_clock")
    place.store.clock()
    with place.engine.begin() as connection:
        place.store.gate(record, connection)


def test_a_database_without_leases_is_refused(place: Place) -> None:
    record = place.store.claim("n", "a", LONG_NS)
    with place.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE holdfast_ownership RENAME TO elsewhere")
    with (
        place.engine.connect() as connection,
        pytest.raises(InvalidArgument, match="has no leases"),
    ):
        place.store.gate(record, connection)
