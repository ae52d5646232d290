"""Joining: announce and feed, and what a feed holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.errors import EncodeFailed
from holdfast.membership import (
    Active,
    Announce,
    Connection,
    Feed,
    Gossip,
    MemberUp,
    Ping,
    ProbeRandomMember,
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

TWO = Id(2)


def test_an_announce_is_answered_with_a_feed_and_both_know_each_other() -> None:
    """9.5."""
    one, two = engine(ME), engine(TWO)
    here, there = Noting(), Noting()
    one.announce(TWO, here)
    assert (one.num_members, one.connection) == (0, Connection.DISCONNECTED)
    (announce,) = here.packets
    assert (announce.to, announce.message) == (TWO, Announce())

    two.handle_data(announce.data, there)
    (feed,) = there.packets
    assert (feed.to, feed.message) == (ME, Feed())
    assert two.num_members == 1
    assert [what for _, what in there.all][:-1] == [
        MemberUp(ME),
        (ProbeRandomMember(0), SIMPLE.probe_period_ns),
        Active(),
    ]

    here.clear()
    one.handle_data(feed.data, here)
    assert here.notifications == [MemberUp(TWO), Active()]
    assert one.num_members == 1


def test_a_feed_names_active_members_and_not_who_asks() -> None:
    """9.6."""
    member, runtime = engine(), Noting()
    member.apply_many([alive(Id(3)), suspect(Id(4)), down(Id(5))], runtime)
    runtime.clear()
    member.handle_data(packet(TWO, Announce()), runtime)
    (feed,) = runtime.sent(Feed)
    assert set(feed.updates or ()) == {alive(Id(3)), suspect(Id(4))}


def test_an_announce_reaches_whoever_lives_at_the_address() -> None:
    """9.15."""
    member, runtime = engine(), Noting()
    member.handle_data(packet(TWO, Announce(), dst=Id(9)), runtime)
    assert (member.membership_state(), runtime.all) == ([], [])
    member.handle_data(packet(TWO, Announce(), dst=Id(1, 9)), runtime)
    assert [sent.message for sent in runtime.packets] == [Feed()]


def test_any_other_message_for_another_identity_is_ignored() -> None:
    member, runtime = engine(), Noting()
    member.handle_data(packet(TWO, Ping(1), dst=Id(1, 9)), runtime)
    assert (member.membership_state(), runtime.all) == ([], [])


def test_ones_own_past_is_not_learned_as_somebody_active() -> None:
    """9.47."""
    member, runtime = engine(Id(1, 1)), Noting()
    member.handle_data(packet(TWO, Gossip(), dst=Id(1, 1), updates=[alive(Id(1, 0))]), runtime)
    assert member.members() == [alive(TWO)]
    # The crate remembers it among the others, as one that is down.
    assert set(member.membership_state()) == {alive(TWO), down(Id(1, 0))}


def test_what_is_remembered_of_ones_own_past_has_no_incarnation() -> None:
    member, runtime = engine(Id(1, 1)), Noting()
    member.apply_many([suspect(Id(1, 0), 7)], runtime)
    assert member.membership_state() == [down(Id(1, 0), 0)]


@pytest.mark.parametrize("size", range(10, 40))
def test_a_feed_that_is_short_of_room_ends_with_a_whole_member(size: int) -> None:
    """9.48."""
    config = replace(SIMPLE, max_packet_size=size)
    member, runtime = knowing(*map(Id, range(3, 12)), config=config)
    runtime.clear()
    member.handle_data(packet(TWO, Announce()), runtime)
    (feed,) = runtime.packets
    assert len(feed.data) <= size
    assert len(feed.updates or ()) == min(max(0, size - 9) // 5, 9)
    other, there = engine(TWO, replace(SIMPLE, max_packet_size=size)), Noting()
    other.handle_data(feed.data, there)
    assert other.num_members == 1 + len(feed.updates or ())


def test_a_feed_names_as_many_as_fit() -> None:
    """9.49."""
    member, runtime = knowing(*map(Id, range(3, 256)))
    runtime.clear()
    member.handle_data(packet(TWO, Announce()), runtime)
    (feed,) = runtime.packets
    assert len(feed.updates or ()) > 200
    assert len(set(feed.updates or ())) == len(feed.updates or ())


def test_a_section_of_updates_needs_more_than_its_own_two_bytes() -> None:
    for size, section in ((7, None), (8, None), (9, None), (10, [])):
        config = replace(SIMPLE, max_packet_size=size)
        member, runtime = knowing(*map(Id, range(3, 9)), config=config)
        runtime.clear()
        member.handle_data(packet(TWO, Announce()), runtime)
        assert runtime.packets[0].updates == section, size


def test_a_header_that_is_too_long_is_not_sent() -> None:
    member, runtime = engine(config=replace(SIMPLE, max_packet_size=6)), Noting()
    with pytest.raises(EncodeFailed):
        member.announce(TWO, runtime)
    assert runtime.all == []
