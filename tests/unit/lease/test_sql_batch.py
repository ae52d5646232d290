"""Many extensions in one call: few statements, a verdict for each, no plan that compares all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from holdfast.errors import InvalidArgument, StaleRecord
from holdfast.lease import Record
from holdfast.lease.global_clock import STEP_NS_MAX
from holdfast.lease.stores.sql import SqlStore
from tests.fixtures_lease import until
from tests.fixtures_postgres import Postgres
from tests.unit.lease.gating import beside

LONG_NS = 10**9
MANY = 10_000


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlStore]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/leases.db"
    else:
        url = request.getfixturevalue("postgres").url
    with SqlStore(url) as opened:
        yield opened


@contextmanager
def overheard(store: SqlStore) -> Iterator[list[tuple[str, Any]]]:
    """The statements that the store makes meanwhile, with what they are about."""
    said: list[tuple[str, Any]] = []

    def listen(_c: Any, _k: Any, statement: str, values: Any, _x: Any, _m: Any) -> None:
        said.append((statement, values))

    sa.event.listen(store.dialect.engine, "before_cursor_execute", listen)
    yield said
    sa.event.remove(store.dialect.engine, "before_cursor_execute", listen)


def fill(store: SqlStore, count: int) -> list[Record]:
    """So many leases, in the shortest way."""
    numbers = (
        f"WITH RECURSIVE numbers(i) AS "
        f"(SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {count}) "
    )
    record = store.claim("pattern", "a", LONG_NS)

    def work(step: Any) -> None:
        for statement in (
            "DELETE FROM holdfast_ownership",
            "DELETE FROM holdfast_term",
            f"INSERT INTO holdfast_ownership {numbers} "
            "SELECT 'default', 'name ' || i, 'a', i, '' FROM numbers",
            f"INSERT INTO holdfast_term {numbers} SELECT i, {record.start_ns}, "
            f"{record.duration_ns}, '{record.writer}', '{record.era}' FROM numbers",
            f"UPDATE holdfast_epoch SET latest = {count}",
        ):
            step.say.exec_driver_sql(statement)

    store._do(work, write=True)
    return list(store.refresh().values())


def test_ten_thousand_are_extended_in_a_few_statements(store: SqlStore) -> None:
    records = fill(store, MANY)
    with overheard(store) as said:
        results = store.extend_many([(record, 2 * LONG_NS) for record in records])
    assert len(said) <= 6
    assert {type(result) for result in results} == {Record}
    assert list(store.records().values()) == results
    assert store.records() == store.refresh()
    with overheard(store) as said:  # there is nothing to write
        assert store.extend_many([(record, LONG_NS) for record in records]) == results
    assert len(said) <= 6


def test_durations_may_differ(store: SqlStore) -> None:
    """Also for the same lease: each is promised what was asked for, and the longest stays."""
    one, two = store.claim("1", "a", 10), store.claim("2", "b", 10)
    requests = [(one, 500), (two, 300), (one, 700), (one, 600), (two, 5)]
    results = store.extend_many(requests)
    for (_, asked_ns), result in zip(requests, results, strict=True):
        assert isinstance(result, Record)
        assert result.duration_ns >= asked_ns
    assert {name: r.duration_ns for name, r in store.refresh().items()} == {"1": 700, "2": 300}


def test_each_has_a_verdict_of_its_own(store: SqlStore) -> None:
    """What is gone, what is a successor's, whose holder or name is another, and what is longer."""
    with SqlStore(store.dialect.engine.url.render_as_string(hide_password=False)) as other:
        good, gone, lost, again, longer = (store.claim(n, "a", 100) for n in "12345")
        other.release(gone)
        other.release(lost)
        successor = other.claim(lost.name, "b", 100)
        other.release(again)
        same_name = other.claim(again.name, "a", 100)
        longest = other.extend(longer, 9 * LONG_NS)
        forged = [replace(good, holder="b"), replace(good, name="6"), replace(good, epoch=99)]
        requests = [(record, LONG_NS) for record in (good, gone, lost, again, longer, *forged)]
        results = store.extend_many(requests)
        kinds = [type(result) for result in results]
        assert kinds == [Record, StaleRecord, StaleRecord, StaleRecord, Record, *[StaleRecord] * 3]
        assert results[4] == longest
        expected = {r.name: r for r in (results[0], successor, same_name, longest)}  # type: ignore[union-attr]
        assert other.refresh() == expected
        assert store.records() == expected


def test_what_is_refused_keeps_nothing_alive(store: SqlStore) -> None:
    """Alone, without a good one of the same epoch."""
    good = store.claim("n", "a", 100)
    for forged in (replace(good, holder="b"), replace(good, name="m")):
        (result,) = store.extend_many([(forged, LONG_NS)])
        assert isinstance(result, StaleRecord)
        assert store.refresh() == {"n": good}


def test_pins_and_facts_are_kept(store: SqlStore) -> None:
    record = store.claim("n", "a", 10, owner={"pid": 7})
    store.pin("n", "ops")
    (later,) = store.extend_many([(record, 20)])
    assert isinstance(later, Record)
    assert later.owner == {"pid": 7}
    assert later.pins == {"ops"}
    assert store.refresh() == {"n": later}


def test_another_era_is_extended_one_by_one(store: SqlStore) -> None:
    """A clock that was made anew: what was promised before is kept in full."""
    records = [store.claim(name, "a", 10 * LONG_NS) for name in "12"]
    store._do(lambda step: step.say.exec_driver_sql("DELETE FROM holdfast_clock"), write=True)
    era = store.clock().era
    assert era != records[0].era
    shorter, later = store.extend_many([(records[0], 1), (records[1], 10 * LONG_NS)])
    assert shorter == records[0]
    assert isinstance(later, Record)
    assert (later.era, later.duration_ns) == (era, 10 * LONG_NS)
    assert store.records() == store.refresh()


@pytest.mark.parametrize(
    "name", ["a\\", 'a"b', "a,b", "{a}", "NULL", "null", " ", "名", "a'b", "\\"]
)
def test_names_are_data_in_a_list_too(store: SqlStore, name: str) -> None:
    record, other = store.claim(name, "a", 10), store.claim("other", "a", 10)
    results = store.extend_many([(record, 20), (other, 20)])
    assert [type(result) for result in results] == [Record, Record]


def test_a_wrong_duration_refuses_them_all(store: SqlStore) -> None:
    record = store.claim("n", "a", 10)
    with pytest.raises(InvalidArgument):
        store.extend_many([(record, LONG_NS), (record, 0)])
    assert store.records() == store.refresh() == {"n": record}


def test_another_extension_at_the_same_time_is_not_shortened(postgres: Postgres) -> None:
    """The predicate is in the statement, and PostgreSQL looks at it again after the wait."""
    with SqlStore(postgres.url, busy_s=20) as store, postgres.connect() as slow:
        records = [store.claim(name, "a", 100) for name in "12"]
        slow.execute("BEGIN")
        slow.execute(
            "UPDATE holdfast_term SET duration_ns = 9000, writer = 'slow' WHERE epoch = %s",
            (records[0].epoch,),
        )
        with beside(lambda: store.extend_many([(r, 200) for r in records])) as extended:
            with pytest.raises(TimeoutError):
                extended.result(0.3)
            slow.execute("COMMIT")
            first, second = extended.result(20)
        assert (first.duration_ns, first.writer) == (9000, "slow")
        assert second.duration_ns == 200
        assert store.records() == store.refresh()


@pytest.mark.parametrize(("now_s", "promised_s", "end_s"), [(0, 50, 50), (100, 70, 101.5)])
def test_a_clock_that_is_made_anew_at_the_same_time(
    postgres: Postgres, now_s: int, promised_s: int, end_s: float
) -> None:
    """Readings of two eras are not compared, neither to shorten nor to be content."""
    with SqlStore(postgres.url, busy_s=20) as store, postgres.connect() as slow:
        record = store.claim("n", "a", 100)
        while store.now_ns() < 60 * LONG_NS:
            store.advance(STEP_NS_MAX, since=store.clock())
        slow.execute("BEGIN")
        slow.execute("UPDATE holdfast_clock SET era = 'new', now_ns = %s", (now_s * LONG_NS,))
        slow.execute(
            "UPDATE holdfast_term SET era = 'new', start_ns = 0, duration_ns = %s",
            (promised_s * LONG_NS,),
        )
        with beside(lambda: store.extend_many([(record, LONG_NS)])) as extended:
            with pytest.raises(TimeoutError):
                extended.result(0.3)
            slow.execute("COMMIT")
            (result,) = extended.result(20)
        assert result.end_in("new") == end_s * LONG_NS
        assert store.refresh() == {"n": result}


def test_a_removal_at_the_same_time_is_noticed(postgres: Postgres) -> None:
    """After the look at whose they are, and before the update."""
    with SqlStore(postgres.url, busy_s=20) as store, postgres.connect() as slow:
        record = store.claim("n", "a", 100)
        slow.execute("BEGIN")
        slow.execute("DELETE FROM holdfast_term")
        slow.execute("DELETE FROM holdfast_ownership")
        with beside(lambda: store.extend_many([(record, 200)])) as extended:
            with pytest.raises(TimeoutError):
                extended.result(0.3)
            slow.execute("COMMIT")
            (result,) = extended.result(20)
        assert isinstance(result, StaleRecord)
        assert store.records() == {}


def work_of(plan: dict[str, Any]) -> float:
    """How many rows the nodes of a plan have touched."""
    own = plan["Actual Rows"] + sum(plan[key] for key in plan if key.startswith("Rows Removed"))
    below: float = sum(work_of(child) for child in plan.get("Plans", ()))
    return float(own * plan["Actual Loops"]) + below


def test_the_statistics_of_an_empty_table_do_no_harm(postgres: Postgres) -> None:
    """PostgreSQL still believes that the tables are empty: no plan may compare all with all."""
    with SqlStore(postgres.url) as store, postgres.connect() as root:
        for table in ("ownership", "term", "pin"):
            root.execute(f"ALTER TABLE holdfast_{table} SET (autovacuum_enabled = false)")
            root.execute(f"ANALYZE holdfast_{table}")
        records = fill(store, MANY)
        few = many = math.inf

        def hashed() -> bool:
            """Ten times as many keys are not a hundred times the work."""
            nonlocal few, many
            few = min(few, explained(store, records[: MANY // 10]))
            many = min(many, explained(store, records))
            return many < 40 * few

        # At best: whoever shares the processors makes the longer one longer, now and then.
        assert until(hashed)


def explained(store: SqlStore, records: list[Record]) -> float:
    """The milliseconds in the server of one batch, at best; and no plan touches too many rows."""
    with overheard(store) as said:
        store.extend_many([(record, 2 * LONG_NS) for record in records])
    total = 0.0
    for statement, values in said:
        if statement.startswith("SET"):
            continue  # what EXPLAIN is asked for is always planned anew
        times = []
        for _ in range(3):
            (plan,) = store._do(
                lambda step, s=statement, v=values: step.say.exec_driver_sql(  # type: ignore[misc]
                    f"EXPLAIN (ANALYZE, FORMAT JSON) {s}", v
                ).scalar_one(),
                write=True,
            )
            assert work_of(plan["Plan"]) < 10 * MANY
            times.append(plan["Execution Time"])
        total += min(times)
    return total
