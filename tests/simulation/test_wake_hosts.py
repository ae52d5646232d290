"""Wake leases in the World: with all safeguards no promise is broken, and without any one is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.testing.world import explore, first_failure
from tests.simulation import wake_host_scenarios as scenarios
from tests.simulation.every_process import assert_the_same_in_every_process
from tests.simulation.wake_host_safeguards import SAFEGUARDS, switched_off

Scenario = Callable[..., None]

# What must have happened in a hundred seeds, or they prove nothing.
SCENARIOS: dict[Scenario, tuple[str, ...]] = {
    scenarios.pipelines: (
        *("suspends", "aborted", "slept", "processed", "truncated", "children", "killed"),
        *("killed with a baton unread", "stopped"),
    ),
    scenarios.callbacks: (
        *("suspends", "aborted", "slept", "held", "activity", "refused", "hangs", "killed"),
        "pauses",
    ),
    scenarios.failures: ("suspends", "failures", "aborted"),
    scenarios.latecomers: ("suspends", "sampled"),
    scenarios.own_sleeps: ("ready", "overrun", "held", "processed"),
}
# Where each safeguard is missed, within how many seeds, and what is broken then.
MISSED: dict[str, tuple[Scenario, int, str]] = {
    "close-on-exec": (scenarios.pipelines, 30, "it is not yet so"),
    "truncation": (scenarios.pipelines, 30, "has not done"),
    "duplicate-kept": (scenarios.pipelines, 30, "has not done"),
    "last-copy": (scenarios.pipelines, 60, "has not done"),
    "wake-up": (scenarios.latecomers, 30, "slept for"),
    "leases-after-the-phase": (scenarios.callbacks, 30, "copies"),
    "deadline-before-the-back-end": (scenarios.failures, 30, "deadline has passed"),
    "no-grant-while-down": (scenarios.pipelines, 100, "copies"),
    "before-suspend-awaited": (scenarios.callbacks, 30, "is inside a callback"),
    "after-resume-awaited": (scenarios.callbacks, 30, "is called inside a callback"),
    "only-those-who-were-told": (scenarios.callbacks, 30, "never heard begin"),
    "listener-time-out": (scenarios.callbacks, 60, "it is not yet so"),
    "the-dead-have-answered": (scenarios.callbacks, 30, "it is not yet so"),
    "activity-only-awake": (scenarios.callbacks, 30, "activity is granted while"),
    "no-activity-in-a-call": (scenarios.callbacks, 30, "it is not yet so"),
    "pauses": (scenarios.failures, 30, "again and again without a pause"),
    "leases-delay-the-machine": (scenarios.own_sleeps, 30, "copies"),
}


def name_of(scenario: Scenario) -> str:
    return scenario.__name__


@pytest.mark.timeout(3600)  # in full; in short form some seconds
@pytest.mark.parametrize("scenario", SCENARIOS, ids=name_of)
def test_no_promise_is_broken(scenario: Scenario, full: bool) -> None:
    explored = explore(scenario, range(10_000 if full else 100), processes=2 if full else 1)
    print(explored)
    assert [what for what in SCENARIOS[scenario] if not explored.counts[f"wake.{what}"]] == []


@pytest.mark.parametrize("safeguard", MISSED)
def test_without_a_safeguard_a_promise_is_broken(safeguard: str) -> None:
    """And with it not, under the same seeds."""
    scenario, bound, said = MISSED[safeguard]
    failed = first_failure(functools.partial(scenario, without=safeguard), range(bound))
    assert failed is not None
    print(failed.seed, failed.error)
    assert said in str(failed.error)
    explore(scenario, range(failed.seed + 1))


def test_every_safeguard_is_missed_somewhere() -> None:
    assert set(MISSED) == set(SAFEGUARDS)


@pytest.mark.parametrize("safeguard", SAFEGUARDS)
def test_a_safeguard_is_there_again_afterwards(safeguard: str) -> None:
    where, name, _ = SAFEGUARDS[safeguard]
    before = getattr(where, name)
    with switched_off(safeguard):
        assert getattr(where, name) is not before
    assert getattr(where, name) is before


@pytest.mark.parametrize("scenario", [scenarios.pipelines, scenarios.callbacks], ids=name_of)
def test_a_seed_is_the_same_run_in_every_process(scenario: Scenario, project: Path) -> None:
    assert_the_same_in_every_process(scenario, 3, project)
