"""Sessions on machines that sleep: nobody is missed, and without any safeguard somebody is."""

from __future__ import annotations

import functools

import pytest

from holdfast.testing.world import explore, first_failure, play
from tests.simulation.membership_laptops import laptops

MISSED = {"says": "taken for dead", "silent": "taken for dead", "finds": "not back"}


@pytest.mark.timeout(7200)  # in full; in short form some seconds
def test_whoever_says_that_it_sleeps_is_missed_by_nobody(full: bool) -> None:
    explored = explore(laptops, range(10_000 if full else 30), processes=2 if full else 1)
    print(explored)
    assert explored.counts["network.missed"]


@pytest.mark.parametrize("safeguard", MISSED)
def test_without_a_safeguard_it_is(safeguard: str) -> None:
    failed = first_failure(functools.partial(laptops, without=safeguard), range(30))
    assert failed is not None
    assert MISSED[safeguard] in str(failed.error)
    assert play(laptops, failed.seed).error is None
