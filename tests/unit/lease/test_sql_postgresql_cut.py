"""PostgreSQL whose connections fail: idle, at work, in the commit; and a server that is away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfast.errors import OutcomeUnknown, Unavailable
from holdfast.lease.stores.sql import SqlStore
from holdfast.lease.stores.sql.step import Step
from tests.fixtures_postgres import START_S, Postgres
from tests.unit.lease.cutting import Cutter

LONG_NS = 10**9


@pytest.fixture
def store(postgres: Postgres) -> Iterator[SqlStore]:
    with SqlStore(postgres.url) as opened:
        yield opened


def ask(store: SqlStore, words: str) -> object:
    return store._do(lambda step: step.say.exec_driver_sql(words).scalar(), write=False)


def through(cutter: Cutter, postgres: Postgres) -> str:
    return (
        f"postgresql+psycopg://postgres@/{postgres.name}"
        f"?host={cutter.directory}&connect_timeout={START_S:.0f}"
    )


def test_a_connection_that_died_idle_is_made_anew(store: SqlStore, postgres: Postgres) -> None:
    """The first call after it succeeds: nothing can have been done on the dead one."""
    pid = ask(store, "SELECT pg_backend_pid()")
    with postgres.connect() as killer:
        killer.execute("SELECT pg_terminate_backend(%s, 30000)", (pid,))
    assert store.claim("n", "a", LONG_NS).holder == "a"
    assert ask(store, "SELECT pg_backend_pid()") != pid


def test_a_connection_that_dies_in_every_attempt_is_unavailable(
    store: SqlStore, postgres: Postgres
) -> None:
    """In the midst of a transaction: nothing was done, and the store goes on by itself."""
    attempts = []

    def work(step: Step) -> None:
        attempts.append(1)
        step.say.exec_driver_sql("UPDATE holdfast_epoch SET latest = 99")
        pid = step.say.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        with postgres.connect() as killer:
            killer.execute("SELECT pg_terminate_backend(%s, 30000)", (pid,))
        step.say.exec_driver_sql("SELECT 1")

    with pytest.raises(Unavailable, match="connects anew"):
        store._do(work, write=True)
    assert len(attempts) == 2
    assert store.claim("n", "a", LONG_NS).epoch == 1


@pytest.mark.parametrize("after", [False, True])
def test_a_commit_without_an_answer_is_unknown(postgres: Postgres, *, after: bool) -> None:
    """Whether the server has got it or not: only a look tells. And the store goes on."""
    SqlStore(postgres.url).close()
    cutter = Cutter(postgres.server.directory, b"COMMIT\0", after=after, cuts=0)
    try:
        with SqlStore(through(cutter, postgres)) as store:
            cutter.cuts = 1
            with pytest.raises(OutcomeUnknown, match="look"):
                store.claim("n", "a", LONG_NS)
            assert store.records() == {}
            assert set(store.refresh()) == ({"n"} if after else set())
            assert store.claim("m", "a", LONG_NS).name == "m"
    finally:
        cutter.close()


def test_a_connection_cut_before_the_commit_is_unavailable(postgres: Postgres) -> None:
    SqlStore(postgres.url).close()
    cutter = Cutter(postgres.server.directory, b"holdfast_epoch SET", after=True, cuts=0)
    try:
        with SqlStore(through(cutter, postgres)) as store:
            cutter.cuts = 2
            with pytest.raises(Unavailable, match="nothing was done"):
                store.claim("n", "a", LONG_NS)
            assert store.records() == store.refresh() == {}
            cutter.cuts = 1  # and one is mended by the second attempt
            assert store.claim("n", "a", LONG_NS).epoch == 1
    finally:
        cutter.close()


def test_a_server_that_is_away_is_unavailable(postgres: Postgres) -> None:
    with pytest.raises(Unavailable) as caught:
        SqlStore(f"postgresql+psycopg://u:secret@/x?host={postgres.server.directory}/none")
    assert "secret" not in str(caught.value)


def test_a_database_that_is_not_there(postgres: Postgres) -> None:
    with pytest.raises(Unavailable, match="does not exist"):
        SqlStore(postgres.server.url("none"))
