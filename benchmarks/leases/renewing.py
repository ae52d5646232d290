"""What it costs to renew thousands of leases: one round of the renewer that every `Leases` has.

All of them are made due at once, and the real thread does the rest, on its own connection: what it
asks the database for is counted there. A round ends when the last of them was renewed. Redis has no
such thing: each lock is extended by a call of its own.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Self

import sqlalchemy as sa

from benchmarks import processors
from benchmarks.measure import Loop, by_turns
from benchmarks.peers import OURS
from holdfast.closing import Closing
from holdfast.lease import Leases
from holdfast.lease.stores.sql import SqlStore
from holdfast.lease.stores.sql.schema import OWNERSHIP, TERM

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.company import Company
    from benchmarks.measure import Measurement, Sampler
    from benchmarks.peers import Store
    from holdfast.lease import Held

__all__ = ["TRANSACTIONS", "renewals"]

TRANSACTIONS = "store transactions"
_LEASES = "leases"
_DURATION_S = 3600  # due by themselves only after the benchmark
_PATIENCE_S = 120.0
_LOOK_S = 0.002  # between two looks at whether a round is over: small beside it
_EXTENDED_AT_ONCE = 200  # locks of Redis, in one sample


class _Crew(Closing):
    """So many leases, held by one `Leases`, whose renewer's transactions are counted."""

    name = OURS
    text = "one round of the renewer, for one lease"

    def __init__(self, url: str, number: int, *, stale: bool) -> None:
        self._url = url
        self._number = number
        self._stale = stale
        self._begun = 0
        self._held: list[Held] = []
        self.transactions: list[int] = []

    def __enter__(self) -> Self:
        self._leases = Leases(self._open)
        try:
            self._analyze(wanted=self._stale)
            with _carelessly(self._url):
                for number in range(self._number):
                    hold = self._leases.hold(f"crew-{number:05}", duration=_DURATION_S)
                    self._held.append(hold.__enter__())
            self._analyze(wanted=not self._stale)
        except BaseException:
            self.close()
            raise
        return self

    def _open(self) -> SqlStore:
        store = SqlStore(self._url, namespace="crew")
        sa.event.listen(store.dialect.engine, "begin", self._count)
        return store

    def _count(self, _: sa.Connection) -> None:
        self._begun += 1

    def _analyze(self, *, wanted: bool) -> None:
        """Let the planner know how large the tables are now, and not find out later."""
        engine = sa.create_engine(self._url)
        if engine.dialect.name == "postgresql":
            with engine.begin() as connection:
                for table in (OWNERSHIP.name, TERM.name):
                    connection.exec_driver_sql(
                        f"ALTER TABLE {table} SET (autovacuum_enabled = off)"
                    )
                    if wanted:
                        connection.exec_driver_sql(f"ANALYZE {table}")
        engine.dispose()

    def sample(self) -> float:
        roster, renewer = self._leases.roster, self._leases.renewer
        self._await_tick()
        began_ns = self._leases.now_ns()
        begun = self._begun
        with roster.lock:
            for held in self._held:
                held.keeper.due_ns = began_ns
            started_ns = time.perf_counter_ns()
            renewer.renew_at(began_ns)
        deadline = time.monotonic() + _PATIENCE_S
        last = self._held[-1]
        while last.keeper.due_ns is None or last.keeper.due_ns <= began_ns:
            if time.monotonic() > deadline:
                raise TimeoutError("the leases were not renewed")
            time.sleep(_LOOK_S)
        took_ns = time.perf_counter_ns() - started_ns
        self.transactions.append(self._begun - begun)
        starts = {held.record.start_ns for held in self._held}
        assert min(starts) > self._read_ns, "a lease was not renewed"
        return took_ns / self._number

    def _await_tick(self) -> None:
        """A renewal that promises nothing more would write nothing: let the clock go on."""
        newest_ns = max(held.record.start_ns for held in self._held)
        while True:
            reading = self._leases.store.clock()
            self._read_ns = newest_ns
            if reading.latest_ns > newest_ns:
                return
            time.sleep(0.05)

    def close(self) -> None:
        # Giving back each by itself would take as long as all of the rest: the rows go at once.
        with self._leases.roster.lock:
            for held in self._held:
                self._leases.roster.discard(held)
        self._leases.close()
        ours = sa.select(OWNERSHIP.c.epoch).where(OWNERSHIP.c.namespace == "crew")
        engine = sa.create_engine(self._url)
        with engine.begin() as connection:
            connection.execute(sa.delete(TERM).where(TERM.c.epoch.in_(ours)))
            connection.execute(sa.delete(OWNERSHIP).where(OWNERSHIP.c.namespace == "crew"))
        engine.dispose()


@contextlib.contextmanager
def _carelessly(url: str) -> Iterator[None]:
    """Do not let a PostgreSQL of ours wait for the disk: what is only prepared may be quick."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    own = engine.dialect.name == "postgresql"
    with engine.connect() as connection:
        if own:
            connection.exec_driver_sql("ALTER SYSTEM SET fsync = off")
            connection.exec_driver_sql("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            if own:
                connection.exec_driver_sql("ALTER SYSTEM RESET fsync")
                connection.exec_driver_sql("SELECT pg_reload_conf()")
                connection.exec_driver_sql("CHECKPOINT")
    engine.dispose()


class _Lock:
    """A lock of a peer's, extended again and again."""

    def __init__(self, name: str, store: Store) -> None:
        statement = store.statement("extend")
        assert statement is not None, f"{name} cannot extend"
        self.name = name
        self.text = statement.text
        self._loop = Loop(statement, copies=1)

    def sample(self) -> float:
        return self._loop(_EXTENDED_AT_ONCE)[0]


def renewals(company: Company, number: int, rounds: int, *, stale: bool) -> list[Measurement]:
    """Renew so many leases, so often; for one lease.

    Args:
        company: In whose database; of the others, those who can extend a lock.
        number: Of leases.
        rounds: Of the renewer.
        stale: Whether the planner has its statistics from when the tables were empty.
    """
    locks: Sequence[Sampler] = [
        _Lock(name, store)
        for name, store in company.stores.items()
        if name != OURS and store.statement("extend") is not None
    ]
    with _Crew(company.place.url, number, stale=stale) as crew:
        with processors.pinned(processors.measured()):
            results = by_turns([crew, *locks], rounds=rounds, turn=1)
        results[0].counts = {_LEASES: number, TRANSACTIONS: max(crew.transactions)}
    for lock in results[1:]:
        lock.counts = {_LEASES: number, "calls": number}
    return results
