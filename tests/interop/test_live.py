"""Clusters of both kinds on the loopback interface: join, die, refute, rename and leave."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.membership import ALL_REPAIRS, Config, Node, Periodic, Repair
from tests.interop.building import PATIENCE_S
from tests.interop.loopback import Loopback, Ours, Theirs
from tests.interop.words import Settings

pytestmark = pytest.mark.timeout(PATIENCE_S)

MS = 1_000_000
# A death is noticed within a second or two. So is a stall of a process or of this one, for a death
# that is none; whoever is taken for dead hears of it, and comes back.
QUICK = Config(
    probe_period_ns=200 * MS,
    probe_rtt_ns=100 * MS,
    num_indirect_probes=2,
    max_transmissions=10,
    suspect_to_down_after_ns=800 * MS,
    notify_down_members=True,
    periodic_announce=Periodic(500 * MS, 1),
    periodic_announce_to_down_members=Periodic(500 * MS, 2),
    periodic_gossip=Periodic(50 * MS, 3),
)
# However long anybody stalls, nobody is declared dead.
PATIENT = replace(QUICK, suspect_to_down_after_ns=600_000 * MS, notify_down_members=False)
KINDS = {"as the crate": frozenset[Repair](), "repaired": ALL_REPAIRS}


@pytest.fixture(params=[("bincode", "as the crate"), ("postcard", "repaired")], ids="-".join)
def loop(foca_node: Path, request: pytest.FixtureRequest) -> Iterator[Loopback]:
    codec, kind = request.param
    with Loopback(foca_node, codec, Settings(PATIENT), KINDS[kind]) as made:
        yield made


def join(loop: Loopback, *members: Ours | Theirs) -> None:
    """All of them through the first."""
    for one in members[1:]:
        one.join(members[0].identity)
    assert loop.until(lambda: loop.all_know(*members))


def buried(one: Ours | Theirs, *gone: Ours | Theirs) -> bool:
    """Whether it was told that these are down."""
    return all(any(line.startswith(f"down {place(other)}#") for line in one.told) for other in gone)


def place(one: Ours | Theirs) -> str:
    """Its address, as text; it may come back under another identity."""
    return str(one.identity).partition("#")[0]


def test_members_join_die_and_leave(loop: Loopback) -> None:
    first, second, dead = loop.theirs(), loop.theirs(), loop.theirs()
    mine, other, lost = loop.ours(), loop.ours(), loop.ours()
    join(loop, first, mine, second, other, dead, lost)
    for one in (first, second, mine, other):
        assert one.told.count("active") == 1
        assert one.told.index("active") >= 1  # after the first who is up
        assert len([line for line in one.told if line.startswith("up ")]) == 5

    left = (first, second, mine, other)
    assert loop.go_on(Settings(QUICK), *left, dead, lost)
    dead.kill()
    lost.kill()
    assert loop.until(lambda: loop.all_know(*left))
    assert loop.until(lambda: all(buried(one, dead, lost) for one in left))

    assert loop.go_on(Settings(PATIENT), *left)
    second.leave()
    other.leave()
    assert loop.until(lambda: loop.all_know(first, mine))
    assert all(buried(one, second, other) for one in (first, mine))
    assert "defunct" in second.told
    assert "defunct" in other.told

    # The last two lose each other, and both see it.
    mine.leave()
    assert loop.until(lambda: first.told[-1] == "idle")
    assert [one.faults for one in left] == [[], [], [], []]


def seen(one: Ours | Theirs, other: Ours | Theirs) -> tuple[int, str]:
    """At which incarnation, and in which state, one of them has the other."""
    [known] = [text for text in one.state() if text.startswith(f"{other.identity}/")]
    _, incarnation, state = known.split("/")
    return int(incarnation), state


def comes_back(loop: Loopback, one: Ours | Theirs, other: Ours | Theirs, incarnation: int) -> bool:
    """Whether one of them comes to see the other alive, after that incarnation."""

    def alive() -> bool:
        now, state = seen(one, other)
        return now > incarnation and state == "a"

    return loop.until(alive)


def test_a_suspect_refutes(loop: Loopback) -> None:
    theirs, third = loop.theirs(), loop.theirs()
    mine = loop.ours()
    join(loop, theirs, mine, third)

    theirs.pause()
    assert loop.until(lambda: seen(mine, theirs)[1] == "s")
    suspected = seen(mine, theirs)[0]
    theirs.resume()
    assert comes_back(loop, mine, theirs, suspected)

    mine.paused = True
    assert loop.until(lambda: seen(theirs, mine)[1] == "s")
    suspected = seen(theirs, mine)[0]
    mine.paused = False
    assert comes_back(loop, theirs, mine, suspected)
    assert mine.engine.incarnation >= 1
    for one in (theirs, mine, third):
        assert [line for line in one.told if not line.startswith(("up", "active"))] == []
        assert one.faults == []


def later(one: Ours | Theirs) -> Node:
    """Who it is in its next life."""
    return Node(one.identity.ip, one.identity.port, one.identity.generation + 1)


def renamed(loop: Loopback, watcher: Ours | Theirs, old: Node, new: Node) -> bool:
    """Whether the watcher comes to see it."""
    return loop.until(lambda: f"rename {old} {new}" in watcher.told)


def test_a_new_life_takes_the_address_of_the_old_one(loop: Loopback) -> None:
    """Before anybody has missed the old one."""
    theirs, mine, dying, dead = loop.theirs(), loop.ours(), loop.theirs(), loop.ours()
    join(loop, theirs, mine, dying, dead)

    dying.kill()
    their_next = loop.theirs(later(dying))
    their_next.join(mine.identity)
    dead.kill()
    our_next = loop.ours(later(dead))
    our_next.join(theirs.identity)
    for watcher in (theirs, mine):
        assert renamed(loop, watcher, dying.identity, their_next.identity)
        assert renamed(loop, watcher, dead.identity, our_next.identity)
    assert loop.until(lambda: loop.all_know(theirs, mine, their_next, our_next))


def test_members_take_new_names_in_the_midst_of_life(loop: Loopback) -> None:
    theirs, mine, third = loop.theirs(), loop.ours(), loop.theirs()
    join(loop, theirs, mine, third)
    for one, watchers in ((theirs, (mine, third)), (mine, (theirs, third))):
        before = one.identity
        one.change(later(one))
        for watcher in watchers:
            assert renamed(loop, watcher, before, one.identity)
    assert loop.until(lambda: loop.all_know(theirs, mine, third))


def test_who_was_taken_for_dead_comes_back_renamed(loop: Loopback) -> None:
    """With ``notify_down_members``, and the announce to those who are down."""
    loop.settings = Settings(QUICK)
    theirs, mine, other = loop.theirs(), loop.ours(), loop.ours()
    join(loop, theirs, mine, other)

    def misses(one: Ours | Theirs, gone: Ours | Theirs) -> bool:
        return not any(known.startswith(f"{place(gone)}#") for known in one.active())

    before = theirs.identity
    theirs.pause()
    assert loop.until(lambda: misses(mine, theirs))
    assert buried(mine, theirs)
    theirs.resume()
    assert loop.until(lambda: theirs.identity != before)
    assert any(line.startswith("rejoin") for line in theirs.told)
    assert loop.until(lambda: loop.all_know(theirs, mine, other))

    was = mine.identity
    mine.paused = True
    assert loop.until(lambda: misses(theirs, mine))
    assert buried(theirs, mine)
    mine.paused = False
    assert loop.until(lambda: mine.identity != was)
    assert any(line.startswith("rejoin") for line in mine.told)
    assert loop.until(lambda: loop.all_know(theirs, mine, other))
