"""Simulated leases for as long as one likes, each scenario its share, from a random seed on."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from holdfast.testing.world import explore
from tests.simulation import lease_scenarios as scenarios

SCENARIOS = [
    scenarios.storms,
    scenarios.delays,
    scenarios.sleepers,
    scenarios.ticks,
    scenarios.rebirths,
    scenarios.grid,
    scenarios.long_terms,
    scenarios.gates,
]
BLOCK = 50


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_no_promise_is_broken(scenario: Callable[..., None], soak_seconds: float) -> None:
    """A failing seed is in the report, with the line that replays it."""
    deadline = time.monotonic() + soak_seconds / 2 / len(SCENARIOS)
    seed, seeds = random.randrange(2**32), 0
    while time.monotonic() < deadline or not seeds:
        seeds += explore(scenario, range(seed + seeds, seed + seeds + BLOCK), processes=2).seeds
    print(f"{scenario.__name__}: {seeds} seeds from {seed} on")
