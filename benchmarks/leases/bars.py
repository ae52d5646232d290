"""What leases must reach (the numbers are those of the design)."""

from __future__ import annotations

from benchmarks.leases.renewing import TRANSACTIONS
from benchmarks.results import AtMost, Bar, Counted, Needed

__all__ = ["BARS"]

_BARE = "bare transaction"
_SQL = (("SQLite", "sqlite"), ("PostgreSQL", "postgresql"))
_RENEWED = (*_SQL, ("PostgreSQL with stale statistics", "postgresql.stale"))
_PART = 1 / 1.5


def _durable() -> list[Needed]:
    found: list[Needed] = []
    for name, store in _SQL:
        for question, what in (
            (f"claim.{store}", "claim and release ≤ 1.5x an insert and a delete"),
            (f"claim.{store}.alone", "claim ≤ 1.5x an insert"),
            (f"gated.{store}", "a gated transaction ≤ 1.5x the same without"),
        ):
            found.append(Bar(6, f"{name}, durable on disk: {what}", question, _BARE, _PART))
    return found


def _renewal() -> list[Needed]:
    found: list[Needed] = []
    for name, store in _RENEWED:
        question = f"renew.{store}"
        transactions = f"{name}: 10,000 leases renewed in ≤ 50 {TRANSACTIONS}"
        found.append(Counted(8, transactions, question, TRANSACTIONS, 50))
        found.append(AtMost(8, f"{name}: ≤ 20 µs a lease", question, 20_000))
    return found


BARS: tuple[Needed, ...] = (
    Bar(5, "hold, `local:` ≥ 10x faster than redis-py's Lock", "hold.local", "redis", 10.0),
    *_durable(),
    AtMost(7, "held.check() ≤ 200 ns", "check", 200, beside="clock_gettime_ns"),
    *_renewal(),
)
