"""Each thing that the place of simulated members says may never be, done on purpose, is seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast.errors import IncompleteProbeCycle
from holdfast.membership import Member, Node, ProbeRandomMember, Rejoin, State
from holdfast.testing.world import World
from tests.simulation.membership_scenarios import SMALL
from tests.simulation.membership_site import SECOND, Broken, Place, Site, repairs_without

STRANGER = Node("10.9.9.9", 7946, 1)


def alive(identity: Node, incarnation: int = 0) -> Member[Node]:
    return Member(identity, incarnation, State.ALIVE)


def hear(site: Site, *updates: Member[Node]) -> None:
    site.engine.apply_many(updates, site)


def invented(site: Site, other: Site) -> None:
    hear(site, alive(STRANGER))


def raised(site: Site, other: Site) -> None:
    hear(site, alive(other.engine.identity, 1))


def own_address(site: Site, other: Site) -> None:
    site.engine._local.members.apply(alive(site.engine.identity))


def resurrected(site: Site, other: Site) -> None:
    hear(site, Member(other.engine.identity, 0, State.DOWN))
    site.place.stepped(site)
    members = site.engine._local.members
    members.forget(other.engine.identity.addr)
    hear(site, alive(other.engine.identity))


def unbounded(site: Site, other: Site) -> None:
    for number in range(50):
        site.engine._local.notes.add(number, b"x", 9)


def more_updates(site: Site, other: Site) -> None:
    for number in range(50):
        site.engine._local.updates.add(number, b"x", 9)


def silent(site: Site, other: Site) -> None:
    site.engine.leave_cluster(site)
    site.engine.reuse_down_identity()


def forced(site: Site, other: Site) -> None:
    site.notify(Rejoin(STRANGER))


def misused(site: Site, other: Site) -> None:
    for _ in range(2):
        site.engine.handle_timer(ProbeRandomMember(site.engine._local.token), site)


def together() -> tuple[Site, Site]:
    place = Place(World(1), SMALL)
    sites = [place.start("m0"), place.start("m1", join="m0")]
    place.world.run(until=place.agreed, limit_ns=9 * SECOND)
    return sites[0], sites[1]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (invented, "invented"),
        (raised, "raised"),
        (own_address, "own address"),
        (resurrected, "resurrected"),
        (unbounded, "unbounded"),
        (more_updates, "unbounded"),
        (silent, "silent"),
        (forced, "forced"),
        (misused, f"misused: m0 raises {IncompleteProbeCycle.__name__}"),
    ],
)
def test_it_is_seen(what: Callable[[Site, Site], None], said: str) -> None:
    site, other = together()
    with pytest.raises(Broken, match=said):
        site.step(lambda: what(site, other))
    assert said in site.place.world.trace.lines[-1]


def test_what_may_be_is_not_taken_for_it() -> None:
    site, other = together()
    refuted = other.engine._local
    refuted.incarnation = 1
    site.place.stepped(other)
    site.step(lambda: hear(site, alive(other.engine.identity, 1)))
    site.step(lambda: hear(site, Member(other.engine.identity, 1, State.DOWN)))
    site.step(lambda: None)


def test_who_was_told_of_its_end_by_a_life_that_is_over_was_not_forced() -> None:
    site, other = together()
    gone = other.engine.identity
    site.step(lambda: hear(site, Member(gone, 0, State.DOWN)))
    site.node.crash()
    site.node.restart()
    assert site.place.sites["m0"] is not site
    other.step(lambda: other.notify(Rejoin(STRANGER)))
    assert site.place.given_up == {gone}


def test_two_that_differ_do_not_agree() -> None:
    site, other = together()
    assert site.place.agreed()
    hear(site, Member(other.engine.identity, 0, State.SUSPECT))
    assert site.place.agreed()
    hear(site, Member(other.engine.identity, 0, State.DOWN))
    assert not site.place.agreed()


def test_a_name_switches_one_repair_off() -> None:
    assert len(repairs_without(None) - repairs_without("sleep")) == 1
    assert repairs_without("all") == frozenset()
