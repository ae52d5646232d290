"""Simulated members, and broken packets, for as long as one likes, from a random seed on."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from holdfast.testing.world import explore
from tests.fuzz.decoders import fuzz
from tests.fuzz.targets import TARGETS
from tests.simulation.membership_laptops import laptops, wrong_dates
from tests.simulation.test_membership import SCENARIOS

ALL = [*SCENARIOS, laptops, wrong_dates]
BLOCK = 50


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.__name__)
def test_no_promise_is_broken(scenario: Callable[..., None], soak_seconds: float) -> None:
    """Half of the time, each its share; a failing seed is in the report, with its replay."""
    deadline = time.monotonic() + soak_seconds / 2 / len(ALL)
    seed, seeds = random.randrange(2**32), 0
    while time.monotonic() < deadline or not seeds:
        seeds += explore(scenario, range(seed + seeds, seed + seeds + BLOCK), processes=2).seeds
    print(f"{scenario.__name__}: {seeds} seeds from {seed} on")


def test_whatever_comes_is_read_or_refused(soak_seconds: float) -> None:
    """A sixth of the time; a failing input is reported with the line that replays it."""
    seed = random.randrange(2**32)
    report = fuzz(TARGETS, seed=seed, seconds=soak_seconds / 6)
    print(f"seed {seed}\n{report}")
    assert report.failure is None, report.failure
