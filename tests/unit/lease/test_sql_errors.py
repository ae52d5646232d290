"""What a SQLite store says when the file is missing, forbidden, full, busy, or something else."""

from __future__ import annotations

import os
import pwd
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from holdfast.errors import (
    HoldfastError,
    InvalidArgument,
    LeaseError,
    NotFound,
    OutcomeUnknown,
    OutOfSpace,
    StaleRecord,
    Unavailable,
)
from holdfast.lease.record import Record
from holdfast.lease.stores.sql import SqlStore, database
from holdfast.lease.stores.sql.database import Patience
from holdfast.lease.stores.sql.dialect import Again, Failure
from holdfast.lease.stores.sql.step import Step
from tests.played_time import PlayedTime

LONG_NS = 10**9


def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "leases.db"


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that everybody can come to: pytest's own are for their owner."""
    with tempfile.TemporaryDirectory(prefix="holdfast-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def as_somebody_else(call: Callable[[], object]) -> str:
    """The kind of error that it raises, and its words, for a user without privileges."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(*[pwd.getpwnam("nobody").pw_gid] * 3)
                os.setresuid(*[pwd.getpwnam("nobody").pw_uid] * 3)
            call()
            told = "nothing"
        except HoldfastError as error:
            told = f"{type(error).__name__}: {error}"
        except BaseException as error:  # noqa: BLE001 - the parent wants to know of any
            told = f"wrong: {error!r}"
        os.write(write, told.encode())
        os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8") as file:
        told = file.read()
    os.waitpid(child, 0)
    return told


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=f"make the directory {tmp_path}/none"):
        SqlStore(url(tmp_path / "none" / "leases.db"))


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument):
        SqlStore(url(tmp_path))


def test_a_file_of_something_else_is_left_as_it_is(path: Path) -> None:
    path.write_text("a letter to a friend, and longer than the header of a database\n" * 9)
    before = path.read_bytes()
    with pytest.raises(InvalidArgument, match="not a database"):
        SqlStore(url(path))
    assert path.read_bytes() == before


def test_a_directory_without_permission_is_not_permitted(public: Path) -> None:
    public.chmod(0o555)
    told = as_somebody_else(lambda: SqlStore(url(public / "leases.db")))
    assert told.startswith("NotPermitted"), told


def test_a_file_without_permission_is_not_permitted(public: Path) -> None:
    path = public / "leases.db"
    SqlStore(url(path)).close()
    path.chmod(0o000)
    told = as_somebody_else(lambda: SqlStore(url(path)))
    assert told.startswith("NotPermitted"), told


def test_a_file_that_may_only_be_read_is_not_permitted(public: Path) -> None:
    path = public / "leases.db"
    with SqlStore(url(path)) as store:
        store.claim("n", "a", LONG_NS)
        for file in public.iterdir():
            file.chmod(0o444)

        def claim() -> None:
            SqlStore(url(path)).claim("m", "b", 1)

        told = as_somebody_else(claim)
    assert told.startswith("NotPermitted"), told


def test_no_room_is_said_and_nothing_is_done(path: Path) -> None:
    with SqlStore(url(path)) as store:
        record = store.claim("n", "a", LONG_NS)
        pages = ask(store, "PRAGMA page_count")
        assert ask(store, f"PRAGMA max_page_count = {pages}") == pages
        with pytest.raises(OutOfSpace, match="no room"):
            store.claim("m", "a", LONG_NS, owner={"why": "x" * 50_000})
        assert store.records() == store.refresh() == {"n": record}
        assert store.extend(record, 2 * LONG_NS).duration_ns == 2 * LONG_NS


def ask(store: SqlStore, words: str) -> object:
    return store._do(lambda step: step.say.exec_driver_sql(words).scalar(), write=False)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_FULL, OutOfSpace),  # the end of the log was not written
        (sqlite3.SQLITE_BUSY, None),  # made again
        (sqlite3.SQLITE_IOERR_FSYNC, OutcomeUnknown),
    ],
)
def test_a_commit_that_fails_in_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int, expected: type[Exception] | None
) -> None:
    commit = sa.engine.RootTransaction.commit
    fails = [True]

    def failing(transaction: sa.engine.RootTransaction) -> None:
        if not fails:
            commit(transaction)
            return
        fails.pop()
        error = sqlite3.OperationalError("it failed")
        error.sqlite_errorcode = code
        raise sa.exc.OperationalError("COMMIT", None, error)

    with SqlStore(url(path)) as store:
        monkeypatch.setattr(sa.engine.RootTransaction, "commit", failing)
        if expected is None:
            store.claim("n", "a", LONG_NS)
        else:
            with pytest.raises(expected):
                store.claim("n", "a", LONG_NS)
            assert store.records() == {}
        assert store.claim("m", "a", LONG_NS).name == "m"
        assert ("n" in store.refresh()) == (expected is None)


def test_who_keeps_it_busy_is_named(path: Path) -> None:
    """Another process, by its pid and its command."""
    program = (
        "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('BEGIN IMMEDIATE')\nprint('ready', flush=True)\nsys.stdin.readline()"
    )
    with SqlStore(url(path), busy_s=0.1) as store:
        blocker = subprocess.Popen(
            [sys.executable, "-c", program, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert blocker.stdout
            assert blocker.stdout.readline() == "ready\n"
            with pytest.raises(Unavailable, match=f"process {blocker.pid} .*sqlite3"):
                store.claim("n", "a", LONG_NS)
            assert store.refresh() == {}  # readers do not wait
        finally:
            blocker.kill()
            blocker.communicate()
        store.claim("n", "a", LONG_NS)


def test_lost_tables_are_not_made_anew_behind_anybodys_back(path: Path) -> None:
    """Epochs would begin anew with them."""
    with SqlStore(url(path)) as store:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DROP TABLE holdfast_ownership")
        with pytest.raises(LeaseError, match="tables"):
            store.claim("n", "a", LONG_NS)


def test_a_file_that_was_removed_is_not_written_any_more(path: Path) -> None:
    """Others would make a new one: there would be two holders."""
    with SqlStore(url(path)) as store:
        store.claim("n", "a", LONG_NS)
        for file in path.parent.iterdir():
            file.unlink()
        for _ in range(2):
            with pytest.raises(LeaseError, match="tables"):
                store.claim("m", "a", LONG_NS)


def test_a_file_that_was_replaced_is_used(path: Path) -> None:
    with SqlStore(url(path)) as store:
        store.claim("n", "a", LONG_NS)
        with SqlStore(url(path.with_name("other.db"))) as other:
            theirs = other.claim("m", "b", LONG_NS)
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
        path.with_name("other.db").rename(path)
        assert store.refresh() == {"m": theirs}


def test_a_missing_row_of_the_last_epoch_is_made_from_what_is_held(path: Path) -> None:
    with SqlStore(url(path)) as store:
        epochs = [store.claim(f"n{i}", "a", LONG_NS).epoch for i in range(3)]
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DELETE FROM holdfast_epoch")
        assert store.claim("m", "a", LONG_NS).epoch > max(epochs)


def test_a_raced_insert_is_seen_in_the_next_attempt(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes between the look and the insertion, where nothing is locked."""
    with SqlStore(url(path)) as store, SqlStore(url(path)) as other:
        theirs = other.claim("n", "b", LONG_NS)
        look = Step.look
        blind = [True]

        def looks(step: Step, name: str) -> Record | None:
            found = look(step, name)
            return None if blind and blind.pop() else found

        monkeypatch.setattr(Step, "look", looks)
        with pytest.raises(StaleRecord, match="'b'"):
            store.claim("n", "a", LONG_NS)
        assert not blind
        assert store.records() == {"n": theirs}


def test_a_race_is_run_again_even_without_patience(path: Path) -> None:
    """A release that was renewed since: the first attempt compares, the second looks."""
    with SqlStore(url(path), busy_s=0) as store:
        record = store.claim("n", "a", LONG_NS)
        store.extend(record, 2 * LONG_NS)
        assert store.release(record)
        assert store.look("n") is None
        assert not store.release(record)


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each failure in its own way."""
    monkeypatch.setattr(database, "time", PlayedTime())
    busy = Patience(0.05)
    attempts = 0
    while not busy.has_an_end(Again(Failure.BUSY, None)):
        attempts += 1
    assert attempts > 1
    assert Patience(9).has_an_end(Again(Failure.FULL, None))
    assert Patience(9).has_an_end(Again(Failure.GONE, None))
    idle = Patience(9)
    assert not idle.has_an_end(Again(Failure.GONE, None, reused=True))
    assert idle.has_an_end(Again(Failure.GONE, None, reused=True))


def test_openings_of_a_file_that_is_there_write_nothing(path: Path) -> None:
    """So that they do not wait for anybody's transaction."""
    SqlStore(url(path)).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        with SqlStore(url(path), busy_s=0.05) as store:
            assert store.refresh() == {}
        blocker.execute("ROLLBACK")
