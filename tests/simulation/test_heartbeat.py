"""A machine driven by timers and messages, with a checker, and without each of its safeguards."""

from __future__ import annotations

import functools

import pytest

from holdfast.testing.world import explore, first_failure
from tests.simulation.heartbeat import scenario


def test_the_members_agree_after_every_storm(full: bool) -> None:
    explored = explore(scenario, range(10_000 if full else 100), processes=2 if full else 1)
    counts = explored.counts
    for fault in ("lost", "cut_off", "doubled", "reordered", "missed"):
        assert counts[f"network.{fault}"] > 0, fault


@pytest.mark.parametrize("without", ["precedence", "refutation", "suspicion"])
def test_a_detector_without_a_safeguard_is_found(without: str) -> None:
    failure = first_failure(functools.partial(scenario, without=without), range(20))
    assert failure is not None
    assert isinstance(failure.error, AssertionError)
    assert f"--set without={without} --seed {failure.seed}" in failure.replay
