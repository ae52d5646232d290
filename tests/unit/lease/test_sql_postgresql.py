"""Leases in PostgreSQL: locks, races, what a session is set to, rights, tables, forks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from holdfast.errors import (
    Closed,
    InvalidArgument,
    LeaseError,
    NotPermitted,
    StaleRecord,
    Unavailable,
    Unsupported,
)
from holdfast.lease import Record
from holdfast.lease.global_clock import STEP_NS_MAX
from holdfast.lease.stores.sql import SqlStore, schema
from holdfast.lease.stores.sql import statements as say
from holdfast.lease.stores.sql.step import Step
from tests.fixtures_postgres import Postgres
from tests.unit.lease.gating import beside

LONG_NS = 10**9


@pytest.fixture
def store(postgres: Postgres) -> Iterator[SqlStore]:
    with SqlStore(postgres.url, busy_s=20) as opened:
        yield opened


@pytest.fixture
def other(postgres: Postgres, store: SqlStore) -> Iterator[SqlStore]:
    with SqlStore(postgres.url, busy_s=20) as opened:
        yield opened


def pass_end(store: SqlStore, record: Record) -> None:
    while store.now_ns() <= record.end_in(record.era):
        store.advance(STEP_NS_MAX, since=store.clock())


def ask(store: SqlStore, words: str) -> object:
    return store._do(lambda step: step.say.exec_driver_sql(words).scalar(), write=False)


# -- waiting --------------------------------------------------------------------------------------


def test_a_lock_is_waited_for_and_its_owner_named(postgres: Postgres) -> None:
    with SqlStore(postgres.url, busy_s=0.2) as store, postgres.connect() as slow:
        record = store.claim("n", "a", LONG_NS)
        slow.execute("SET application_name = 'slowcoach'")
        slow.execute("BEGIN")
        slow.execute("SELECT 1 FROM holdfast_ownership FOR KEY SHARE")
        with pytest.raises(Unavailable, match=r"slowcoach.*in a transaction for"):
            store.release(record)
        slow.execute("COMMIT")
        assert store.release(record) is True


def test_an_expiry_does_not_wait(postgres: Postgres) -> None:
    """However long others are waited for elsewhere."""
    with SqlStore(postgres.url, busy_s=500) as store, postgres.connect() as slow:
        record = store.claim("n", "a", 1)
        pass_end(store, record)
        slow.execute("BEGIN")
        slow.execute("SELECT 1 FROM holdfast_ownership FOR KEY SHARE")
        with pytest.raises(StaleRecord, match="gated"):
            store.expire(record)
        assert store.records() == {"n": record}
        with pytest.raises(StaleRecord, match="nobody"):
            store.expire("m")
        slow.execute("ROLLBACK")
        store.expire(record)


def test_a_pin_comes_before_an_expiry_or_after_it(
    store: SqlStore, other: SqlStore, postgres: Postgres
) -> None:
    """While a pin is being set, an expiry waits for it, and then honours it."""
    record = store.claim("n", "a", 1)
    pass_end(store, record)
    pinned, go_on = threading.Event(), threading.Event()

    def pin(step: Step) -> None:
        other.dialect.lock_pins(step.say, "default", "n")
        step.say.exec_driver_sql("INSERT INTO holdfast_pin VALUES ('default', 'n', 'ops')")
        pinned.set()
        go_on.wait(20)

    with beside(lambda: other._do(pin, write=True)) as pinning:
        assert pinned.wait(20)
        with beside(lambda: store.expire(record)) as expired:
            with pytest.raises(TimeoutError):
                expired.result(0.3)
            go_on.set()
            pinning.result(20)
            with pytest.raises(StaleRecord, match="pinned"):
                expired.result(20)
    assert store.look("n") is not None


def test_an_expiry_under_way_keeps_a_pin_waiting(store: SqlStore, other: SqlStore) -> None:
    """A pin that returned must hold: so it does not return before the lease is gone."""
    record = store.claim("n", "a", 1)
    pass_end(store, record)
    looked, go_on = threading.Event(), threading.Event()
    remove = store._remove

    def slowly(*arguments: object) -> bool:
        looked.set()
        go_on.wait(20)
        return remove(*arguments)  # type: ignore[arg-type]

    store._remove = slowly  # type: ignore[method-assign,assignment]
    with beside(lambda: store.expire(record)) as expired:
        assert looked.wait(20)
        with beside(lambda: other.pin("n", "ops")) as pinned:
            with pytest.raises(TimeoutError):
                pinned.result(0.3)
            go_on.set()
            expired.result(20)
            pinned.result(20)
    assert other.look("n") is None
    assert other.pins() == {"n": {"ops"}}


# -- races ----------------------------------------------------------------------------------------

OPENER = """
import sys
from holdfast.errors import StaleRecord
from holdfast.lease.stores.sql import SqlStore
print("ready", flush=True)
sys.stdin.readline()
with SqlStore(sys.argv[1], busy_s=30) as store:
    for i in range(20):
        try:
            print(store.claim(f"n{i}", sys.argv[2], 10**9).epoch, flush=True)
        except StaleRecord:
            pass
print("done", flush=True)
"""


def test_many_processes_make_the_tables_at_once_and_race_for_leases(postgres: Postgres) -> None:
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, postgres.url, holder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for holder in "abcd"
    ]
    epochs: list[int] = []
    try:
        for opener in openers:
            assert opener.stdout
            assert opener.stdout.readline() == "ready\n"
        for opener in openers:
            assert opener.stdin
            opener.stdin.write("\n")
            opener.stdin.flush()
        for opener in openers:
            out, err = opener.communicate(timeout=50)
            *numbers, last = out.split()
            assert last == "done", err
            epochs += map(int, numbers)
    finally:
        for opener in openers:
            opener.kill()
            opener.communicate()
    assert len(set(epochs)) == len(epochs) == 20
    with SqlStore(postgres.url) as store:
        assert {record.epoch for record in store.records().values()} == set(epochs)


def test_an_extension_that_was_overtaken_is_made_anew(store: SqlStore, postgres: Postgres) -> None:
    """By another of the same holding: both succeed, and the longer one stays."""
    record = store.claim("n", "a", LONG_NS)
    with postgres.connect() as slow:
        slow.execute("BEGIN")
        slow.execute("UPDATE holdfast_term SET duration_ns = duration_ns * 9, writer = 'slow'")
        with beside(lambda: store.extend(record, 2 * LONG_NS)) as extended:
            with pytest.raises(TimeoutError):
                extended.result(0.3)
            slow.execute("COMMIT")
            assert extended.result(20).duration_ns == 9 * LONG_NS
    assert store.records() == store.refresh()


def test_a_tick_that_was_overtaken_is_lost(store: SqlStore, postgres: Postgres) -> None:
    seen = store.clock()
    with postgres.connect() as slow:
        slow.execute("BEGIN")
        slow.execute("UPDATE holdfast_clock SET now_ns = now_ns + 1")
        with beside(lambda: store.advance(5, since=seen)) as ticked:
            with pytest.raises(TimeoutError):
                ticked.result(0.3)
            slow.execute("COMMIT")
            with pytest.raises(StaleRecord):
                ticked.result(20)
    assert store.now_ns() == seen.now_ns + 1


def test_a_killed_holder_keeps_its_promise(postgres: Postgres) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", OPENER, postgres.url, "a"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdin
        assert holder.stdout
        assert holder.stdout.readline() == "ready\n"
        holder.stdin.write("\n")
        holder.stdin.flush()
        epoch = int(holder.stdout.readline())
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with SqlStore(postgres.url) as store:
        record = store.records()["n0"]
        assert (record.holder, record.epoch) == ("a", epoch)
        with pytest.raises(StaleRecord):
            store.expire(record)


# -- sessions -------------------------------------------------------------------------------------


def test_what_a_session_is_set_to(store: SqlStore, postgres: Postgres) -> None:
    """Whatever the database's defaults are."""
    with postgres.connect() as root:
        for setting in (
            "synchronous_commit = off",
            "default_transaction_isolation = 'serializable'",
            "lock_timeout = 0",
        ):
            root.execute(f'ALTER DATABASE "{postgres.name}" SET {setting}')
    with SqlStore(postgres.url, busy_s=1.5) as anew:
        assert ask(anew, "SHOW synchronous_commit") == "on"
        assert ask(anew, "SHOW transaction_isolation") == "read committed"
        assert ask(anew, "SHOW jit") == "off"  # what looks dear by enable_seqscan is not
        assert ask(anew, "SHOW lock_timeout") == "1500ms"
        assert ask(anew, "SHOW statement_timeout") == "11500ms"
        assert ask(anew, "SHOW idle_in_transaction_session_timeout") == "11500ms"


PREPARED = "SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements"


def prepared(store: SqlStore) -> dict[str, tuple[int, int]]:
    """By its first word: how often it was carried out as planned once, and planned anew."""
    rows: Any = store._do(lambda step: step.say.exec_driver_sql(PREPARED).all(), write=False)
    return {str(text).split()[0]: (generic, custom) for text, generic, custom in rows}


def test_a_claim_is_planned_once(store: SqlStore) -> None:
    for number in range(8):
        store.claim(f"n{number}", "a", LONG_NS)
    (planned,) = [plans for word, plans in prepared(store).items() if word == "WITH"]
    assert planned == (8, 0)


def test_a_batch_is_planned_each_time(store: SqlStore) -> None:
    records = [store.claim(f"n{number}", "a", LONG_NS) for number in range(3)]
    modes = []

    @sa.event.listens_for(store.dialect.engine, "before_cursor_execute")
    def seen(_: object, cursor: Any, statement: str, *__: object) -> None:
        if "any(" in statement.lower():
            query = "SELECT current_setting('plan_cache_mode')"
            modes.append(cursor.connection.execute(query).fetchone()[0])

    store.extend_many([(record, 2 * LONG_NS) for record in records])
    assert set(modes) == {"force_custom_plan"}
    assert ask(store, "SHOW plan_cache_mode") == "force_generic_plan"


def test_what_is_planned_for_small_tables_looks_up_keys(
    store: SqlStore, postgres: Postgres
) -> None:
    """Such a plan is kept: it must do for ten thousand leases, too."""
    store.claim("n", "a", LONG_NS)
    with postgres.connect() as root:  # as they are, it would be quicker to read them whole
        for table in ("ownership", "term", "pin"):
            root.execute(f"ANALYZE holdfast_{table}")
    text = store.dialect.text_of(say.LOOK)
    values = {**text.given, "namespace": "default", "name": "n"}
    words = f"EXPLAIN {text.words}"
    plan = store._do(lambda step: step.say.exec_driver_sql(words, values).all(), write=False)
    read_whole = [row[0] for row in plan if "Seq Scan on" in row[0]]
    assert all("holdfast_clock" in line for line in read_whole), "it has one row for ever"
    assert any("Index" in row[0] and "holdfast_ownership" in row[0] for row in plan)


def test_a_pooler_that_forgets_what_was_prepared_is_noticed(store: SqlStore) -> None:
    """It hands our session on: the server of the next transaction knows nothing of ours."""
    store.claim("n1", "a", LONG_NS)
    forget = "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$"  # the driver does not notice this
    store._do(lambda step: step.say.exec_driver_sql(forget), write=False)
    assert prepared(store) == {}
    assert store.claim("n2", "a", LONG_NS).epoch > 0
    for number in range(3, 6):
        store.claim(f"n{number}", "a", LONG_NS)
    assert prepared(store) == {}, "it does not try again"


def test_a_claim_in_one_statement_finds_all_pins(store: SqlStore) -> None:
    for by in ("p", "q"):
        store.pin("n", by)
    assert store.claim("n", "a", LONG_NS).pins == {"p", "q"}


def test_nothing_stays_open_between_calls(store: SqlStore, postgres: Postgres) -> None:
    """A transaction that rests would keep the database from tidying up."""
    store.claim("n", "a", LONG_NS)
    store.refresh()
    with pytest.raises(StaleRecord):
        store.claim("n", "a", LONG_NS)
    with postgres.connect() as root:
        # In this database: those that other tests have closed may still be on their way out.
        query = (
            "SELECT state FROM pg_stat_activity "
            "WHERE application_name = 'holdfast' AND datname = current_database()"
        )
        assert root.execute(query).fetchall() == [("idle",)]


def test_a_standby_is_not_permitted(postgres: Postgres) -> None:
    SqlStore(postgres.url).close()
    with postgres.connect() as root:
        root.execute(f'ALTER DATABASE "{postgres.name}" SET default_transaction_read_only = on')
    with SqlStore(postgres.url) as store:
        assert store.refresh() == {}
        with pytest.raises(NotPermitted, match="read-only"):
            store.claim("n", "a", LONG_NS)


def test_a_role_without_rights_is_not_permitted(postgres: Postgres) -> None:
    """To make tables; with the tables there, it needs to read and write them."""
    with postgres.connect() as root:
        root.execute("CREATE ROLE guest LOGIN")
        try:
            with pytest.raises(NotPermitted):
                SqlStore(postgres.server.url(postgres.name, "guest"))
            SqlStore(postgres.url).close()
            root.execute(
                "GRANT SELECT, INSERT, UPDATE, DELETE ON holdfast_ownership, holdfast_term, "
                "holdfast_pin, holdfast_epoch, holdfast_clock TO guest"
            )
            with SqlStore(postgres.server.url(postgres.name, "guest")) as store:
                record = store.claim("n", "a", LONG_NS)
                store.pin("n", "ops")
                assert store.release(record)
        finally:
            root.execute("DROP OWNED BY guest")
            root.execute("DROP ROLE guest")


def test_words_are_compared_as_bytes(store: SqlStore, postgres: Postgres) -> None:
    """An index in the order of a language is corrupt after an update of the C library."""
    with postgres.connect() as root:
        query = (
            "SELECT DISTINCT collation_name FROM information_schema.columns "
            "WHERE table_name LIKE 'holdfast%' AND data_type = 'text'"
        )
        assert root.execute(query).fetchall() == [("C",)]


SHAPE = """
SELECT table_name, column_name, data_type, is_nullable, collation_name
FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT conrelid::regclass::text, pg_get_constraintdef(oid), '', '', ''
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT relname, reloptions::text, '', '', ''
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND reloptions IS NOT NULL
ORDER BY 1, 2
"""


def test_the_tables_are_as_documented(store: SqlStore, postgres: Postgres) -> None:
    """And a store takes those that somebody has made by the documentation."""
    assert schema.__doc__
    ddl = re.findall(r"CREATE TABLE.*?;", schema.__doc__, flags=re.DOTALL)
    assert len(ddl) == 5
    name = postgres.server.make_database()
    with postgres.connect() as ours, postgres.server.connect(name) as documented:
        documented.execute("\n".join(ddl).encode())
        shape = ours.execute(SHAPE).fetchall()
        assert documented.execute(SHAPE).fetchall() == shape
    with SqlStore(postgres.server.url(name)) as other:
        assert other.claim("n", "a", LONG_NS).epoch == 1
    postgres.server.drop_database(name)


def test_tables_that_somebody_else_is_making_are_waited_for(postgres: Postgres) -> None:
    """PostgreSQL sees them only when they are there: then the making is begun again."""
    assert schema.__doc__
    ddl = re.findall(r"CREATE TABLE.*?;", schema.__doc__, flags=re.DOTALL)
    with postgres.connect() as slow:
        slow.execute("BEGIN")
        slow.execute("\n".join(ddl).encode())
        with beside(lambda: SqlStore(postgres.url, busy_s=20)) as opened:
            with pytest.raises(TimeoutError):
                opened.result(0.3)
            slow.execute("COMMIT")
            with opened.result(20) as store:
                assert store.claim("n", "a", LONG_NS).epoch == 1


def test_a_name_too_long_for_an_index_is_refused(store: SqlStore) -> None:
    name = "".join(chr(0x4E00 + i * 7919 % 20000) for i in range(5000))
    with pytest.raises(InvalidArgument, match="index"):
        store.claim(name, "a", LONG_NS)
    store.claim("n", "a", LONG_NS)


def test_lost_tables_are_an_error(store: SqlStore, postgres: Postgres) -> None:
    with postgres.connect() as root:
        root.execute("DROP TABLE holdfast_term")
    with pytest.raises(LeaseError, match="tables"):
        store.claim("n", "a", LONG_NS)


def test_a_forked_child_holds_nothing_and_harms_nothing(store: SqlStore) -> None:
    """Not by ending either: that would end the parent's session."""
    pid = ask(store, "SELECT pg_backend_pid()")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            store.claim("n", "child", 1)
        except Closed:
            store.close()
            code = 7
        del store
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert store.claim("n", "parent", 1).holder == "parent"
    assert ask(store, "SELECT pg_backend_pid()") == pid


def test_a_child_can_close_what_another_thread_was_using(store: SqlStore) -> None:
    """The lock that the thread held has nobody in the child to let it go."""
    inside, go_on = threading.Event(), threading.Event()

    def work(_: Step) -> None:
        inside.set()
        go_on.wait(20)

    with beside(lambda: store._do(work, write=False)) as working:
        assert inside.wait(20)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            store.close()
            os._exit(7)
        go_on.set()
        working.result(20)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_plain_url_means_psycopg(postgres: Postgres) -> None:
    with SqlStore(postgres.url.replace("+psycopg", "")) as store:
        assert store.claim("n", "a", LONG_NS).epoch == 1
    with pytest.raises(Unsupported, match="psycopg2"):
        SqlStore("postgresql+psycopg2://localhost/x")


def test_without_psycopg_the_extra_is_named() -> None:
    program = (
        "import sys\nsys.modules['psycopg'] = None\n"
        "from holdfast.lease.stores.sql import SqlStore\n"
        "try:\n    SqlStore('postgresql://localhost/x')\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.startswith("Unsupported"), done.stderr
    assert "holdfast[postgres]" in done.stdout
