"""Sessions on machines that sleep, or start with a wrong date; and without each safeguard."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from holdfast.testing.world import explore, first_failure, play
from tests.simulation.membership_laptops import laptops, wrong_dates

Scenario = Callable[..., None]

SCENARIOS: dict[Scenario, str] = {laptops: "network.missed", wrong_dates: "network.lost"}
MISSED: dict[str, tuple[Scenario, str]] = {
    "says": (laptops, "taken for dead"),
    "silent": (laptops, "taken for dead"),
    "finds": (laptops, "not back"),
    "leaps": (wrong_dates, "flooded"),
}


@pytest.mark.timeout(7200)  # in full; in short form some seconds
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_nobody_is_missed_or_kept_out(scenario: Scenario, full: bool) -> None:
    explored = explore(scenario, range(10_000 if full else 30), processes=2 if full else 1)
    print(explored)
    assert explored.counts[SCENARIOS[scenario]]


@pytest.mark.parametrize("safeguard", MISSED)
def test_without_a_safeguard_somebody_is(safeguard: str) -> None:
    scenario, said = MISSED[safeguard]
    failed = first_failure(functools.partial(scenario, without=safeguard), range(30))
    assert failed is not None
    assert said in str(failed.error)
    assert play(scenario, failed.seed).error is None
