"""Leases in the World: with all safeguards no promise is broken, and without any one some is."""

from __future__ import annotations

import functools
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.testing.world import SeedFailed, explore, first_failure
from tests.simulation import lease_scenarios as scenarios
from tests.simulation.every_process import assert_the_same_in_every_process
from tests.simulation.lease_place import Broken
from tests.simulation.lease_safeguards import SAFEGUARDS, switched_off

Scenario = Callable[..., None]

# What must have happened in a hundred seeds, or they prove nothing.
SCENARIOS: dict[Scenario, tuple[str, ...]] = {
    scenarios.storms: (
        *("store.late", "store.lose_answer", "store.lose_request", "store.refuse", "store.slow"),
        *("store.restarts", "place.expire", "place.release", "place.denied", "place.fenced"),
        *("place.OutcomeUnknown", "place.Unavailable"),
    ),
    scenarios.delays: ("from-s0.slow", "from-s1.unknown", "place.expire", "place.fenced"),
    scenarios.sleepers: ("place.expire", "place.release"),
    scenarios.ticks: ("store.lose_answer", "store.late", "store.unknown"),
    scenarios.rebirths: ("place.expire", "place.release", "store.lose_answer"),
    scenarios.grid: ("place.expire", "place.denied"),
    scenarios.long_terms: ("place.expire",),
    scenarios.gates: ("place.expire",),
}
# Where each safeguard is missed, and within how many seeds: several times what it took.
MISSED: dict[str, tuple[Scenario, int]] = {
    "start-of-call": (scenarios.delays, 100),
    "strictly-later": (scenarios.grid, 100),
    "whole-record": (scenarios.delays, 300),
    "boottime": (scenarios.sleepers, 100),
    "epoch-in-the-batch": (scenarios.delays, 300),
    "deadline-before-the-gate": (scenarios.gates, 100),
    "loser-drops": (scenarios.ticks, 100),
    "unknown-discards": (scenarios.ticks, 100),
    "era": (scenarios.rebirths, 100),
    "unknown-is-no-denial": (scenarios.storms, 100),
    "unknown-is-no-yes": (scenarios.delays, 100),
    "drift": (scenarios.long_terms, 100),
    "step": (scenarios.grid, 100),
}


def name_of(scenario: Scenario) -> str:
    return scenario.__name__


@pytest.mark.timeout(3600)  # in full; in short form some seconds
@pytest.mark.parametrize("scenario", SCENARIOS, ids=name_of)
def test_no_promise_is_broken(scenario: Scenario, full: bool) -> None:
    explored = explore(scenario, range(10_000 if full else 100), processes=2 if full else 1)
    print(explored)
    assert [what for what in SCENARIOS[scenario] if not explored.counts[what]] == []


@pytest.mark.parametrize("safeguard", MISSED)
def test_without_a_safeguard_a_promise_is_broken(safeguard: str) -> None:
    """And with it not, under the same seeds."""
    scenario, bound = MISSED[safeguard]
    failed = first_failure(functools.partial(scenario, without=safeguard), range(bound))
    assert failed is not None
    print(failed.seed, failed.error)
    if safeguard in {"era", "deadline-before-the-gate"}:  # which are for getting on
        assert "it is not yet so" in str(failed.error)
    else:
        assert isinstance(failed.error, Broken)
    explore(scenario, range(failed.seed + 1))


def test_every_safeguard_is_missed_somewhere() -> None:
    assert set(MISSED) == set(SAFEGUARDS)


@pytest.mark.parametrize("safeguard", SAFEGUARDS)
def test_a_safeguard_is_there_again_afterwards(safeguard: str) -> None:
    places = [(where, name) for where, name, _ in SAFEGUARDS[safeguard]]
    before = [getattr(where, name) for where, name in places]
    with switched_off(safeguard):
        assert all(
            getattr(where, name) is not then
            for (where, name), then in zip(places, before, strict=True)
        )
    assert [getattr(where, name) for where, name in places] == before


@pytest.mark.parametrize("scenario", [scenarios.storms, scenarios.delays], ids=name_of)
def test_a_counter_that_is_not_gated_goes_wrong(scenario: Scenario) -> None:
    """The lease is looked at before each write, and that is not enough: hence the gate."""
    failed = first_failure(functools.partial(scenario, gated=False), range(300))
    assert failed is not None
    assert "was counted to" in str(failed.error)
    explore(scenario, range(failed.seed + 1))


def a_failure() -> SeedFailed:
    failed = first_failure(functools.partial(scenarios.sleepers, without="boottime"))
    assert failed is not None
    return failed


def test_one_line_replays_a_failing_seed(project: Path) -> None:
    failed = a_failure()
    words = shlex.split(failed.replay)
    assert words[0] == "python"
    again = subprocess.run(
        [sys.executable, *words[1:]], cwd=project, capture_output=True, text=True, timeout=50
    )
    assert again.returncode == 1, again.stderr
    assert str(failed.error) in again.stdout
    assert failed.replay in str(failed)


@pytest.mark.parametrize("seed", [3, 4])
def test_a_seed_is_the_same_run_in_every_process(seed: int, project: Path) -> None:
    assert_the_same_in_every_process(scenarios.storms, seed, project)


def test_a_broken_promise_stops_the_world() -> None:
    """What a checker finds is no answer of the store's: no caller can take it for a no."""
    failed = a_failure()
    assert isinstance(failed.error, Broken)
    assert any(line.endswith(f"says {failed.error}") for line in failed.trace[-3:])
