"""What repeats: gossip, announce, and announce to those that are down."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from holdfast.membership import (
    Announce,
    Config,
    Gossip,
    Periodic,
    PeriodicAnnounce,
    PeriodicAnnounceDown,
    PeriodicGossip,
    ProbeRandomMember,
)
from tests.unit.membership.stage import SIMPLE, Id, Noting, alive, changed, down, engine

EVERY = Periodic(1_000, 2)
KINDS: dict[str, Any] = {
    "periodic_gossip": PeriodicGossip,
    "periodic_announce": PeriodicAnnounce,
    "periodic_announce_to_down_members": PeriodicAnnounceDown,
}
ACTIVE, GONE = [Id(2), Id(3), Id(4)], [Id(5), Id(6), Id(7)]


def connected(config: Config) -> tuple[Any, Noting]:
    member, runtime = engine(config=config), Noting()
    members = [*map(alive, ACTIVE), *map(down, GONE)]
    member.apply_many(members, runtime)
    return member, runtime


@pytest.mark.parametrize(
    ("name", "message"),
    [(name, m) for name, m in zip(KINDS, [Gossip(), Announce(), Announce()], strict=True)],
)
def test_it_starts_with_the_connection_and_goes_on(name: str, message: object) -> None:
    """9.41, 9.42, 9.43."""
    member, runtime = connected(changed(SIMPLE, **{name: EVERY}))
    timer = KINDS[name](0)
    assert (timer, EVERY.period_ns) in runtime.timers
    whom = GONE if "down" in name else ACTIVE
    for _ in range(3):
        runtime.clear()
        member.handle_timer(timer, runtime)
        # The next time is arranged before anything is sent.
        assert runtime.all[0] == ("submit", (timer, EVERY.period_ns))
        assert [sent.message for sent in runtime.packets] == [message] * 2
        assert len({sent.to for sent in runtime.packets} & set(whom)) == 2


@pytest.mark.parametrize("name", KINDS)
def test_it_ends_when_it_is_switched_off_or_the_connection_is_lost(name: str) -> None:
    """9.44, 9.45, 9.46."""
    config = changed(SIMPLE, **{name: EVERY})
    timer = KINDS[name](0)
    member, runtime = connected(config)
    runtime.clear()
    member.handle_timer(KINDS[name](1), runtime)
    assert runtime.all == []
    member.set_config(SIMPLE)
    member.handle_timer(timer, runtime)
    assert runtime.all == []
    member, runtime = connected(config)
    member.apply_many(map(down, ACTIVE), runtime)
    runtime.clear()
    member.handle_timer(timer, runtime)
    assert runtime.all == []
    member, runtime = connected(config)
    member.leave_cluster(runtime)
    runtime.clear()
    member.handle_timer(timer, runtime)
    assert runtime.all == []


def test_gossip_waits_for_something_to_say() -> None:
    """9.41."""
    member, runtime = engine(config=replace(SIMPLE, periodic_gossip=EVERY)), Noting()
    member.apply_many(map(alive, ACTIVE), runtime, broadcast=False)
    runtime.clear()
    member.handle_timer(PeriodicGossip(0), runtime)
    assert runtime.all == [("submit", (PeriodicGossip(0), EVERY.period_ns))]


def test_timers_start_in_one_order() -> None:
    """Section 5.1."""
    _, runtime = connected(Config.lan(10))
    assert [type(timer) for timer, _ in runtime.timers][-4:] == [
        ProbeRandomMember,
        PeriodicAnnounce,
        PeriodicAnnounceDown,
        PeriodicGossip,
    ]
