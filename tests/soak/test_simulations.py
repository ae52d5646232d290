"""Every simulated scenario for as long as one likes, from a random seed on."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from holdfast.testing.world import explore
from tests.simulation import lease_scenarios, test_membership, test_wake_hosts, test_wake_sequence
from tests.simulation.membership_laptops import laptops, wrong_dates

SCENARIOS: list[Callable[..., None]] = [
    lease_scenarios.storms,
    lease_scenarios.delays,
    lease_scenarios.sleepers,
    lease_scenarios.ticks,
    lease_scenarios.rebirths,
    lease_scenarios.grid,
    lease_scenarios.long_terms,
    lease_scenarios.gates,
    *test_membership.SCENARIOS,
    laptops,
    wrong_dates,
    *test_wake_hosts.SCENARIOS,
    *test_wake_sequence.SCENARIOS,
]
# Two interpreters are started for each block: for seconds of work, and not for less.
BLOCK = 50
BLOCK_S = 10.0


def name_of(scenario: Callable[..., None]) -> str:
    return f"{scenario.__module__.rpartition('.')[2]}.{scenario.__name__}"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=name_of)
def test_no_promise_is_broken(
    scenario: Callable[..., None], soak_seconds: float, soak_seeds: int
) -> None:
    """Half of the time, each its share, and so many seeds at least.

    A failing seed is in the report, with the line that replays it.
    """
    began = time.monotonic()
    deadline = began + soak_seconds / 2 / len(SCENARIOS)
    first, done, block = random.randrange(2**32), 0, BLOCK
    while done < soak_seeds or time.monotonic() < deadline:
        block_began = time.monotonic()
        if time.monotonic() >= deadline:
            block = min(block, soak_seeds - done)
        seeds = range(first + done, first + done + block)
        try:
            done += explore(scenario, seeds, processes=2).seeds
        except Exception as failure:  # told at once: the report comes when hours have passed
            print(f"\n{failure}", flush=True)
            raise
        took_s = time.monotonic() - block_began
        block = max(1, round(block * min(BLOCK_S / took_s, 10)))
        print(f"\r{name_of(scenario)}: {done} seeds", end="", flush=True)
    print(f"\r{name_of(scenario)}: {done} seeds from {first} on, {time.monotonic() - began:.0f} s")
