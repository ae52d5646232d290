"""Leases in SQLite: real processes, deaths, a busy database, tables that others have touched."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from holdfast.errors import (
    Closed,
    InvalidArgument,
    LeaseError,
    OutcomeUnknown,
    StaleRecord,
    Unavailable,
    Unsupported,
)
from holdfast.lease.global_clock import STEP_NS_MAX
from holdfast.lease.stores.sql import SqlStore
from holdfast.lease.stores.sql import statements as say

LONG_NS = 10**9

RACER = """
import sys
from holdfast.errors import StaleRecord
from holdfast.lease.stores.sql import SqlStore
store = SqlStore(sys.argv[1], busy_s=30)
print("ready", flush=True)
sys.stdin.readline()
for i in range(20):
    try:
        record = store.claim(f"n{i}", sys.argv[2], 10**9)
    except StaleRecord:
        continue
    print(record.name, record.epoch, flush=True)
print("done", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leases.db"


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def meddle(path: Path, statement: str) -> None:
    """What nobody should do: write into the tables past all stores."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def racer(path: Path, holder: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RACER, url(path), holder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


def test_of_two_processes_one_gets_each_lease(path: Path) -> None:
    racers = [racer(path, holder) for holder in "ab"]
    won: list[tuple[str, int]] = []
    try:
        for process in racers:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        for process in racers:
            go(process)
        for process in racers:
            assert process.stdout
            while (line := process.stdout.readline()) != "done\n":
                name, epoch = line.split()
                won.append((name, int(epoch)))
    finally:
        for process in racers:
            process.kill()
            process.communicate()
    assert sorted(name for name, _ in won) == sorted(f"n{i}" for i in range(20))
    assert len({epoch for _, epoch in won}) == 20
    with SqlStore(url(path)) as store:
        assert {(r.name, r.epoch) for r in store.records().values()} == set(won)


def test_a_killed_holder_keeps_its_promise_and_its_epoch(path: Path) -> None:
    """And after its end, a successor has a greater one."""
    holder = racer(path, "a")
    assert holder.stdout
    assert holder.stdout.readline() == "ready\n"
    go(holder)
    epoch = int(holder.stdout.readline().split()[1])
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with SqlStore(url(path)) as store:
        record = store.records()["n0"]
        assert (record.holder, record.epoch) == ("a", epoch)
        with pytest.raises(StaleRecord):
            store.expire(record)
        while store.now_ns() <= record.end_in(record.era):
            store.advance(STEP_NS_MAX, since=store.clock())
        store.expire(record)
        assert store.claim("n0", "b", 1).epoch > epoch


def test_busy_is_waited_for_and_reported(path: Path) -> None:
    with SqlStore(url(path), busy_s=0.1) as store:
        record = store.claim("n", "a", LONG_NS)
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="this process is in a write transaction"):
            store.extend(record, 2 * LONG_NS)
        blocker.execute("ROLLBACK")
        blocker.close()
        assert store.extend(record, 2 * LONG_NS).duration_ns == 2 * LONG_NS


def test_a_writer_is_alone_from_its_first_word(path: Path) -> None:
    """Else it could read, and be refused when it writes; a reader is alone never."""
    with SqlStore(url(path)) as store, closing(sqlite3.connect(path, timeout=0)) as other:
        other.isolation_level = None

        def others_begin(_: object) -> bool:
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            other.execute("ROLLBACK")
            return True

        assert store._do(others_begin, write=False) is True
        assert store._do(others_begin, write=True) is False


def test_every_commit_is_durable(path: Path) -> None:
    with SqlStore(url(path)) as store:

        def pragma(name: str) -> object:
            return store._do(
                lambda step: step.say.exec_driver_sql(f"PRAGMA {name}").scalar(), write=False
            )

        assert (pragma("journal_mode"), pragma("synchronous")) == ("wal", 2)


def test_a_clock_that_was_made_anew_is_noticed(path: Path) -> None:
    """Nothing is added to it on an old base, and what was promised is kept in full."""
    with SqlStore(url(path)) as store:
        before = store.clock()
        record = store.claim("n", "a", 100)
        meddle(path, "DELETE FROM holdfast_clock")
        assert (store.clock().now_ns, before.now_ns) == (0, 0)
        with pytest.raises(StaleRecord):
            store.advance(5, since=before)
        store.advance(100, since=store.clock())
        with pytest.raises(StaleRecord):
            store.expire(record)
        store.advance(1, since=store.clock())
        store.expire(record)


def test_a_bad_record_hides_only_itself(path: Path) -> None:
    with SqlStore(url(path)) as store:
        bad, good = store.claim("bad", "a", LONG_NS), store.claim("good", "a", LONG_NS)
        meddle(path, f"DELETE FROM holdfast_term WHERE epoch = {bad.epoch}")
        assert store.refresh() == {"good": good}
        for call in (lambda: store.claim("bad", "b", 1), lambda: store.expire("bad")):
            with pytest.raises(LeaseError, match="contradicts"):
                call()


def test_what_was_undone_was_not_seen(path: Path) -> None:
    with SqlStore(url(path)) as store:
        record = store.claim("n", "a", 1)
        with pytest.raises(InvalidArgument):
            store.extend_many([(record, LONG_NS), (record, 0)])
        assert store.records() == store.refresh() == {"n": record}


def test_a_commit_whose_answer_is_lost_is_unknown(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was done here, and a look shows it; the object goes on with another connection."""
    with SqlStore(url(path)) as store:
        commit = sa.engine.RootTransaction.commit

        def lost(transaction: sa.engine.RootTransaction) -> None:
            commit(transaction)
            raise sa.exc.OperationalError("COMMIT", None, Exception("disk I/O error"))

        with monkeypatch.context() as patch:
            patch.setattr(sa.engine.RootTransaction, "commit", lost)
            with pytest.raises(OutcomeUnknown):
                store.claim("n", "a", LONG_NS)
        assert store.records() == {}
        assert set(store.refresh()) == {"n"}


def test_a_write_needs_all_of_what_was_read(path: Path) -> None:
    """The statement itself compares, for databases where somebody can come between."""
    with SqlStore(url(path)) as store:
        record = store.claim("n", "a", 100)
        was = say.was(record)
        for column, other in {
            "was_epoch": record.epoch + 1,
            "was_start_ns": record.start_ns + 1,
            "was_duration_ns": 99,
            "was_writer": "x",
            "was_era": "x",
        }.items():
            for statement, more in ((say.EXTEND, say.term_values(record)), (say.REMOVE_TERM, {})):
                values = {**was, **more, column: other}
                count = store._do(
                    lambda step, st=statement, v=values: step.say.execute(st, v).rowcount,  # type: ignore[misc]
                    write=True,
                )
                assert count == 0, column
        assert store.refresh() == {"n": record}


def test_a_forked_child_holds_nothing(path: Path) -> None:
    with SqlStore(url(path)) as store:
        child = os.fork()
        if child == 0:
            try:
                store.claim("n", "child", 1)
            except Closed:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert store.claim("n", "parent", 1).holder == "parent"


@pytest.mark.parametrize("where", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(where: str) -> None:
    with pytest.raises(InvalidArgument):
        SqlStore(where)


@pytest.mark.parametrize("where", ["mysql://localhost/x", "sqlite+aiosqlite:///x.db"])
def test_other_databases_and_drivers_are_unsupported(where: str) -> None:
    with pytest.raises(Unsupported):
        SqlStore(where)


def test_no_url_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        SqlStore("leases.db")


def test_without_sqlalchemy_the_extra_is_named() -> None:
    program = (
        "import sys\nsys.modules['sqlalchemy'] = None\nimport holdfast.lease.stores\n"
        "try:\n    import holdfast.lease.stores.sql\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.startswith("Unsupported")
    assert "holdfast[sql]" in done.stdout
