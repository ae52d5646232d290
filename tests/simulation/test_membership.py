"""Members in the World: with all repairs no promise is broken, and without any one some is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.membership import Repair
from holdfast.testing.world import explore, first_failure, play
from tests.simulation import membership_scenarios as scenarios
from tests.simulation.every_process import assert_the_same_in_every_process
from tests.simulation.membership_trials import idle, slow_members

Scenario = Callable[..., None]

# What must have happened in all seeds together, or they prove nothing.
SCENARIOS: dict[Scenario, tuple[str, ...]] = {
    scenarios.storms: (
        *("network.lost", "network.cut_off", "network.doubled", "network.reordered"),
        "network.missed",
    ),
    scenarios.two: ("network.cut_off",),
    scenarios.renewals: ("network.lost",),
    scenarios.many_lives: (),
    scenarios.own_past: ("network.missed",),
    scenarios.refuted: ("network.lost",),
    scenarios.stops: (),
    scenarios.deaf: ("network.cut_off",),
    scenarios.bad_line: ("network.lost",),
    scenarios.unheard: ("network.cut_off",),
    scenarios.split_views: (),
    scenarios.few_words: (),
    scenarios.saved_list: ("network.missed",),
    scenarios.items: (),
    scenarios.torn_packets: (),
    scenarios.naps: ("network.missed",),
}
# Where each repair is missed, and what is said then. All within so many seeds:
BOUND = 100
MISSED: dict[Repair, tuple[Scenario, str]] = {
    Repair.ACCUSE_ONLY_THE_DOWN: (scenarios.refuted, "forced"),
    Repair.NO_RECORD_OF_ONESELF: (scenarios.own_past, "own address"),
    Repair.ISOLATION_RECOVERY: (scenarios.two, "it is not yet so"),
    Repair.TIMERS_AFTER_RENEWAL: (scenarios.renewals, "silent"),
    Repair.REFUSE_WHAT_NEVER_FITS: (scenarios.items, "it is not yet so"),
    Repair.ANTI_ENTROPY: (scenarios.split_views, "it is not yet so"),
    Repair.ENOUGH_TRANSMISSIONS: (scenarios.few_words, "it is not yet so"),
    Repair.WIDE_TOKENS: (scenarios.many_lives, "IncompleteProbeCycle"),
    Repair.RESUME_SUSPICION: (scenarios.saved_list, "it is not yet so"),
    Repair.WHOLE_PACKETS: (scenarios.torn_packets, "half applied"),
    Repair.LOCAL_HEALTH: (scenarios.bad_line, "impatient"),
    Repair.SUSPICION_CONFIRMATION: (scenarios.deaf, "believed"),
    Repair.BUDDY_NOTICE: (scenarios.unheard, "unheard"),
    Repair.STALL_DETECTION: (scenarios.stops, "accused"),
    Repair.SLEEP: (scenarios.naps, "taken for dead"),
}


def name_of(scenario: Scenario) -> str:
    return scenario.__name__


@pytest.mark.timeout(7200)  # in full; in short form some seconds
@pytest.mark.parametrize("scenario", SCENARIOS, ids=name_of)
def test_no_promise_is_broken(scenario: Scenario, full: bool) -> None:
    explored = explore(scenario, range(10_000 if full else 100), processes=2 if full else 1)
    print(explored)
    assert [what for what in SCENARIOS[scenario] if not explored.counts[what]] == []


@pytest.mark.parametrize("repair", MISSED, ids=lambda repair: repair.value)
def test_without_a_repair_a_promise_is_broken(repair: Repair) -> None:
    """And with it not, under the same seed."""
    scenario, said = MISSED[repair]
    failed = first_failure(functools.partial(scenario, without=repair.value), range(BOUND))
    assert failed is not None
    print(failed.seed, failed.error)
    assert said in str(failed.error)
    assert play(scenario, failed.seed).error is None


def test_every_repair_is_missed_somewhere() -> None:
    assert set(MISSED) == set(Repair)


def test_the_crate_does_not_weather_a_storm() -> None:
    assert first_failure(functools.partial(scenarios.storms, without="all"), range(10))


@pytest.mark.parametrize("seed", [287_492_012, 287_511_611, 3_793_429_442])
def test_who_has_declared_a_member_down_may_crash_before_that_one_hears_it(seed: int) -> None:
    assert play(scenarios.storms, seed).error is None


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("members", "seeds"), [(16, 3), (32, 1), (256, 4), (1024, 1)])
def test_larger_clusters_weather_a_storm(members: int, seeds: int, full: bool) -> None:
    if members > 64 and not full:
        pytest.skip("takes minutes: --full")
    seeds = 25 * seeds if full and members <= 64 else seeds
    explore(functools.partial(scenarios.storms, members=members), range(seeds), twice=0)


@pytest.mark.timeout(300)
def test_slow_members_wrong_nobody(full: bool) -> None:
    """Bar 10 of the design: at most a twentieth of those that the crate wrongs."""
    for seed in range(10 if full else 1):
        crate = slow_members(seed, members=30, periods=50, repairs=frozenset())
        ours = slow_members(seed, members=30, periods=50)
        print(crate, ours)
        assert crate.identities >= 10
        assert 20 * ours.identities <= crate.identities


@pytest.mark.timeout(300)
def test_an_idle_cluster_says_no_more_than_a_probe_each() -> None:
    """Two messages for each member and period, but for what is compared."""
    world = idle(1, members=64, periods=30)
    assert world.network.sent <= 2.2 * 64 * 30
    assert world.counts()["network.lost"] == 0


@pytest.mark.parametrize("seed", [3])
def test_a_seed_is_the_same_run_in_every_process(seed: int, project: Path) -> None:
    assert_the_same_in_every_process(scenarios.storms, seed, project)
