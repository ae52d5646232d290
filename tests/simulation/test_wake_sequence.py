"""Optimistic lease management in the World: nothing is stranded, nothing stays, it costs little."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.testing.world import World, explore, first_failure
from holdfast.wake.governor.pipelines import Pipelines
from tests.simulation import wake_sequence_scenarios as scenarios
from tests.simulation.every_process import assert_the_same_in_every_process
from tests.simulation.wake_sequence_host import Broken, Flow, Host, Token
from tests.simulation.wake_sequence_safeguards import SAFEGUARDS, switched_off

Scenario = Callable[..., None]

# What must have happened in a hundred seeds, or they prove nothing.
SCENARIOS: dict[Scenario, tuple[str, ...]] = {
    scenarios.steady: ("acquired", "batons", "suspended", "woken", "pending"),
    scenarios.chains: ("acquired", "batons", "suspended", "woken", "pending"),
    scenarios.outsiders: ("acquired", "batons", "suspended", "outside", "let go", "pending"),
    scenarios.storms: ("killed", "paused", "lost", "suspended", "woken"),
    scenarios.crowds: ("killed", "paused", "lost", "suspended", "woken"),
    scenarios.rebirths: ("killed", "pending", "suspended", "woken"),
    scenarios.deserted: ("killed", "unclaimed", "lost", "suspended"),
}
STRANDED = "stranded"
COST = "wake leases for"
STAYS_UP = "it is not yet so"
TOO_LONG = "has waited for too long"
# Where each safeguard is missed, within how many seeds, and what comes of it.
MISSED: dict[str, tuple[Scenario, int, str]] = {
    "one-listener": (scenarios.steady, 100, STRANDED),
    "down-until-after-resume": (scenarios.steady, 100, STRANDED),
    "kept-until-after-resume": (scenarios.crowds, 100, COST),
    "released-if-inevitable": (scenarios.outsiders, 100, TOO_LONG),
    "epoch": (scenarios.crowds, 100, STAYS_UP),
    "index-of-delivery": (scenarios.steady, 100, STRANDED),
    "answer-when-held": (scenarios.steady, 100, STRANDED),
    "unknown-at-first": (scenarios.rebirths, 100, STRANDED),
    "released-at-the-end": (scenarios.rebirths, 100, STAYS_UP),
    "held-until-processed": (scenarios.steady, 100, STRANDED),
    "late-is-passed-on": (scenarios.chains, 100, STRANDED),
    "absent-is-not-owed": (scenarios.deserted, 100, STAYS_UP),
    "expected-for-a-time": (scenarios.deserted, 100, STAYS_UP),
}


def name_of(scenario: Scenario) -> str:
    return scenario.__name__


@pytest.mark.timeout(3600)  # in full; in short form some seconds
@pytest.mark.parametrize("scenario", SCENARIOS, ids=name_of)
def test_nothing_is_stranded_and_nothing_is_left_behind(scenario: Scenario, full: bool) -> None:
    explored = explore(scenario, range(10_000 if full else 100), processes=2 if full else 1)
    print(explored)
    assert [what for what in SCENARIOS[scenario] if not explored.counts[f"host.{what}"]] == []


@pytest.mark.parametrize("safeguard", MISSED)
def test_without_a_safeguard_something_is(safeguard: str) -> None:
    """And with it not, under the same seeds."""
    scenario, bound, what = MISSED[safeguard]
    failed = first_failure(functools.partial(scenario, without=safeguard), range(bound))
    assert failed is not None
    print(failed.seed, failed.error)
    assert what in str(failed.error)
    explore(scenario, range(failed.seed + 1))


# What the heads' accounts show as well, which the governor looks at whenever it goes down.
ACCOUNTED = ("answer-when-held", "held-until-processed")


@pytest.mark.parametrize("safeguard", ACCOUNTED)
def test_the_governor_sees_by_the_accounts_alone_that_messages_are_stranded(
    safeguard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Host, "check", lambda _: None)  # which knows what nobody tells
    scenario, bound, _ = MISSED[safeguard]
    stranding = functools.partial(scenario, without=safeguard)
    failed = first_failure(stranding, range(bound))
    assert failed is not None
    assert "stranded by the accounts" in str(failed.error)
    assert "optimistic" in str(failed.error) or "head" in str(failed.error), "it is named"
    monkeypatch.setattr(Pipelines, "entered", lambda *_: None)
    stranding(World(failed.seed))  # and if it did not look, nobody would know


def test_every_safeguard_is_missed_somewhere() -> None:
    assert set(MISSED) == set(SAFEGUARDS)


@pytest.mark.parametrize("safeguard", SAFEGUARDS)
def test_a_safeguard_is_there_again_afterwards(safeguard: str) -> None:
    places = [(where, name) for where, name, _ in SAFEGUARDS[safeguard]]
    before = [getattr(where, name) for where, name in places]
    with switched_off(safeguard):
        assert [getattr(where, name) for where, name in places] != before
    assert [getattr(where, name) for where, name in places] == before


@pytest.mark.parametrize("seed", [3, 4])
def test_a_seed_is_the_same_run_in_every_process(seed: int, project: Path) -> None:
    assert_the_same_in_every_process(scenarios.storms, seed, project)


def test_the_checker_sees_what_is_stranded_and_no_more() -> None:
    host = Host(World(1))
    one, two, three = (host.world.node(name) for name in ("one", "two", "three"))
    first, second = Flow(*host.connect(one, two)), Flow(*host.connect(two, three))
    host.flows += [first, second]
    first.sent = first.processed = second.processed = second.sent = 3
    second.ancestors = [(first,)] * 3
    host.check()
    second.processed = 2
    with pytest.raises(Broken, match="1 messages from two to three are stranded"):
        host.check()
    host.kill(one, None)  # and with it everybody who could have taken a wake lease
    host.check()


def test_a_copy_lives_as_long_as_its_owner_or_its_socket() -> None:
    host = Host(World(1))
    one, two = host.world.node("one"), host.world.node("two")
    near, _ = host.connect(one, two)
    token = Token(host, 7)
    kept, sent = token.copy(one), token.copy(one)
    near.send("here", copy=sent)
    assert (token.copies, sent.owner) == (2, None)
    host.kill(one, None)
    assert kept.closed
    assert token.copies == 1  # it is on its way
    host.kill(two, None)
    host.world.run(1_000_000_000)
    assert token.copies == 0
