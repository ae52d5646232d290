"""How news spreads: updates and the application's items, with the packets that go anyway."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from holdfast.errors import BroadcastFailed
from holdfast.membership import (
    Announce,
    Broadcast,
    Gossip,
    Member,
    MemberUp,
    Ping,
    RemoveDown,
    TurnUndead,
)
from tests.unit.membership.stage import (
    ME,
    SIMPLE,
    Id,
    Noting,
    alive,
    down,
    engine,
    knowing,
    packet,
    suspect,
)

TWO, THREE, FOUR, FIVE = Id(2), Id(3), Id(4), Id(5)


def test_updates_are_told_as_often_as_is_set_and_then_no_more() -> None:
    """9.7."""
    member, runtime = engine(), Noting()
    updates = [alive(THREE), suspect(FOUR), down(FIVE)]
    member.handle_data(packet(TWO, Gossip(), updates=updates), runtime)
    assert [n for n in runtime.notifications if isinstance(n, MemberUp)] == [
        MemberUp(TWO),
        MemberUp(THREE),
        MemberUp(FOUR),
    ]
    assert runtime.timer(RemoveDown) == RemoveDown(FIVE)
    assert member.updates_backlog == 4

    told: list[int] = []
    while member.updates_backlog:
        runtime.clear()
        member.gossip(runtime)
        assert len(runtime.sent(Gossip)) == 3
        told = [len(sent.updates or ()) for sent in runtime.packets]
    # Ten transmissions go to three members at a time: the last round has something for one.
    assert sorted(told) == [0, 0, 4]


def test_a_member_that_is_down_is_forgotten_after_a_while() -> None:
    """9.8: the timer is started by what is new, and by nothing else."""
    member, runtime = engine(), Noting()

    def heard(update: Member[Id]) -> list[object]:
        runtime.clear()
        member.apply_many([update], runtime)
        return [pair for pair in runtime.timers if isinstance(pair[0], RemoveDown)]

    assert heard(down(TWO)) == [(RemoveDown(TWO), SIMPLE.remove_down_after_ns)]
    assert heard(down(TWO)) == []
    assert heard(alive(THREE)) == []
    assert heard(down(THREE)) == [(RemoveDown(THREE), SIMPLE.remove_down_after_ns)]
    member.handle_timer(RemoveDown(THREE), runtime)
    assert member.membership_state() == [down(TWO)]
    member.handle_timer(RemoveDown(Id(2, 1)), runtime)
    assert member.membership_state() == [down(TWO)]


@dataclass(frozen=True)
class Versioned:
    """The key of an item ``b"name=version"``: a later version makes an earlier one void."""

    name: bytes
    version: int

    def invalidates(self, other: Versioned, /) -> bool:
        return self.name == other.name and self.version > other.version


class Registry:
    """A handler that knows the latest version of each name, and keeps items from one member."""

    def __init__(self, keep_from: Id | None = None) -> None:
        self.latest: dict[bytes, int] = {}
        self.senders: list[Id | None] = []
        self.keep_from = keep_from

    def receive_item(self, data: bytes, sender: Id | None, /) -> Versioned | None:
        name, _, version = data.partition(b"=")
        key = Versioned(name, int(version))
        self.senders.append(sender)
        if self.latest.get(name, -1) >= key.version:
            return None
        self.latest[name] = key.version
        return key

    def should_add_broadcast_data(self, member: Id, /) -> bool:
        return member != self.keep_from


def test_items_travel_with_packets_to_those_that_may_have_them() -> None:
    """9.37."""
    here = Registry(keep_from=THREE)
    member, runtime = engine(handler=here), Noting()
    with pytest.raises(BroadcastFailed):
        member.add_broadcast(b"garbage")
    assert member.add_broadcast(b"a=1")
    assert member.add_broadcast(b"a=2")
    assert member.broadcast_backlog == 1
    assert not member.add_broadcast(b"a=1")
    assert member.add_broadcast(b"b=1")
    assert member.broadcast_backlog == 2

    there = Registry()
    other, elsewhere = engine(TWO, handler=there), Noting()
    member.handle_data(packet(TWO, Ping(1)), runtime)
    other.handle_data(runtime.packets[0].data, elsewhere)
    assert there.latest == {b"a": 2, b"b": 1}
    assert there.senders == [ME, ME]
    assert other.broadcast_backlog == 2

    runtime.clear()
    member.handle_data(packet(THREE, Ping(1)), runtime)
    (ack,) = runtime.packets
    assert ack.updates
    assert ack.items == []

    runtime.clear()
    member.broadcast(runtime)
    (sent,) = runtime.packets
    assert (sent.to, sent.message, sorted(sent.items)) == (TWO, Broadcast(), [b"a=2", b"b=1"])


def test_a_broadcast_ends_when_nothing_is_left_to_say() -> None:
    member, runtime = engine(handler=Registry()), Noting()
    member.apply_many([alive(Id(n)) for n in range(2, 9)], runtime, broadcast=False)
    runtime.clear()
    member.broadcast(runtime)
    assert runtime.all == []
    member.add_broadcast(b"a=1")
    rounds = []
    while member.broadcast_backlog:
        runtime.clear()
        member.broadcast(runtime)
        rounds.append(len(runtime.sent(Broadcast)))
    assert rounds == [3, 3, 3, 1]


def test_a_refused_item_ends_the_items_and_not_the_packet() -> None:
    here = Registry()
    member, runtime = engine(handler=here), Noting()
    data = packet(TWO, Ping(1), items=[b"a=1", b"garbage", b"b=1"])
    with pytest.raises(BroadcastFailed) as caught:
        member.handle_data(data, runtime)
    assert isinstance(caught.value.__cause__, ValueError)
    assert here.latest == {b"a": 1}
    assert len(runtime.packets) == 1


def test_an_announce_and_a_turn_undead_are_nothing_but_a_header() -> None:
    """9.56."""
    config = replace(SIMPLE, notify_down_members=True)
    member, runtime = engine(config=config, handler=Registry()), Noting()
    member.add_broadcast(b"a=1")
    member.apply_many([alive(THREE), down(TWO)], runtime)
    runtime.clear()
    member.announce(FOUR, runtime)
    member.handle_data(packet(TWO, Ping(1)), runtime)
    assert [sent.message for sent in runtime.packets] == [Announce(), TurnUndead()]
    for sent in runtime.packets:
        assert (sent.updates, sent.items) == (None, [])
    runtime.clear()
    member.handle_data(packet(THREE, Ping(1)), runtime)
    (ack,) = runtime.packets
    assert ack.updates
    assert ack.items


def test_what_is_loaded_quietly_is_not_told() -> None:
    """9.57."""
    member, runtime = knowing(TWO)
    assert (member.num_members, member.updates_backlog) == (1, 0)
    member.apply_many([alive(TWO, 1)], runtime)
    assert member.updates_backlog == 1
