"""Scripts driven over a store that loses what it says, and without their safeguard."""

from __future__ import annotations

import functools

from holdfast.testing.world import explore, first_failure
from tests.simulation.counter import scenario


def test_every_turn_is_counted_once(full: bool) -> None:
    counts = explore(scenario, range(10_000 if full else 100), processes=2 if full else 1).counts
    for fault in ("refuse", "lose_request", "lose_answer", "late", "slow", "restarts", "down"):
        assert counts[f"database.{fault}"] > 0, fault


def test_a_worker_that_does_not_look_counts_twice() -> None:
    failure = first_failure(functools.partial(scenario, without="look"), range(20))
    assert failure is not None
    assert "turns" in str(failure.error)
