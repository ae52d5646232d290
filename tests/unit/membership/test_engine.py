"""The engine's face: what holds from the start, what is refused, and what cannot be changed.

The number of a docstring is that of the crate's own test in section 9 of its specification.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.errors import (
    BroadcastFailed,
    DataFromOurselves,
    DataTooBig,
    DecodeFailed,
    EncodeFailed,
    IndirectForOurselves,
    InvalidConfig,
    MalformedPacket,
    NotConnected,
    NotUndead,
    SameIdentity,
)
from holdfast.membership import (
    Announce,
    Broadcast,
    Config,
    Connection,
    ForwardedAck,
    Gossip,
    IndirectAck,
    IndirectPing,
    Periodic,
    Ping,
    PingReq,
    ProbeRandomMember,
    TurnUndead,
)
from tests.unit.membership.stage import (
    ME,
    SIMPLE,
    BrokenCodec,
    Id,
    Noting,
    alive,
    changed,
    down,
    engine,
    knowing,
    packet,
)

TWO, THREE = Id(2), Id(3)


def test_a_new_engine_knows_nobody_and_is_whom_it_was_told_to_be() -> None:
    """9.1."""
    member, runtime = engine(), Noting()
    assert member.connection is Connection.DISCONNECTED
    assert (member.num_members, member.members(), member.membership_state()) == (0, [], [])
    with pytest.raises(NotUndead):
        member.reuse_down_identity()
    with pytest.raises(SameIdentity):
        member.change_identity(ME, runtime)
    assert member.identity == ME
    member.change_identity(Id(1, 1), runtime)
    assert member.identity == Id(1, 1)


@pytest.mark.parametrize("name", ["probe_period_ns", "probe_rtt_ns"])
def test_the_durations_of_a_probe_cannot_change(name: str) -> None:
    """9.2."""
    member = engine()
    with pytest.raises(InvalidConfig, match=name):
        member.set_config(changed(SIMPLE, **{name: getattr(SIMPLE, name) + 1}))
    assert member.config is SIMPLE
    member.set_config(replace(SIMPLE))
    member.set_config(replace(SIMPLE, max_transmissions=3))
    assert member.config.max_transmissions == 3


@pytest.mark.parametrize(
    "name", ["periodic_announce", "periodic_announce_to_down_members", "periodic_gossip"]
)
def test_what_is_periodic_can_be_slowed_and_switched_off_but_not_on(name: str) -> None:
    """9.44, 9.45, 9.46."""
    member = engine()
    with pytest.raises(InvalidConfig, match=name):
        member.set_config(changed(SIMPLE, **{name: Periodic(5, 1)}))
    assert member.config is SIMPLE
    member = engine(config=Config.lan(10))
    member.set_config(changed(Config.lan(10), **{name: Periodic(5, 1)}))
    member.set_config(changed(Config.lan(10), **{name: None}))
    assert getattr(member.config, name) is None


def test_a_probe_that_falls_due_while_nobody_is_known_is_an_error() -> None:
    """9.3."""
    runtime = Noting()
    with pytest.raises(NotConnected):
        engine().handle_timer(ProbeRandomMember(0), runtime)
    assert runtime.all == []


def test_what_the_codec_refuses_comes_out() -> None:
    """9.4."""
    member, runtime = engine(codec=BrokenCodec()), Noting()
    with pytest.raises(EncodeFailed):
        member.announce(TWO, runtime)
    with pytest.raises(MalformedPacket):
        member.handle_data(b"whatever", runtime)
    assert runtime.all == []


@pytest.mark.parametrize("kind", [PingReq, IndirectPing, IndirectAck, ForwardedAck])
def test_nobody_reaches_himself_through_others(kind: type) -> None:
    """9.11: an error, after the updates of the packet were applied."""
    member, runtime = engine(), Noting()
    with pytest.raises(IndirectForOurselves):
        member.handle_data(packet(TWO, kind(ME, 1), updates=[alive(THREE)]), runtime)
    assert member.num_members == 2
    assert runtime.packets == []


@pytest.mark.parametrize("src", [ME, Id(1, 9)], ids=["identity", "address"])
def test_a_packet_from_ones_own_address_is_refused(src: Id) -> None:
    """9.12, 9.13."""
    member, runtime = engine(), Noting()
    with pytest.raises(DataFromOurselves):
        member.handle_data(packet(src, Gossip(), updates=[alive(TWO)]), runtime)
    assert (member.membership_state(), runtime.all) == ([], [])


def test_an_announce_is_nothing_but_a_header() -> None:
    """9.14."""
    member, runtime = engine(), Noting()
    for more in (b"x", b"\0\0"):
        with pytest.raises(MalformedPacket):
            member.handle_data(packet(TWO, Announce()) + more, runtime)
    assert (member.membership_state(), runtime.all) == ([], [])


def test_no_more_bytes_than_a_packet_holds() -> None:
    """9.34."""
    member, runtime = engine(), Noting()
    limit = SIMPLE.max_packet_size
    with pytest.raises(DataTooBig):
        member.handle_data(bytes(limit + 1), runtime)
    with pytest.raises(MalformedPacket):
        member.handle_data(bytes(limit), runtime)
    with pytest.raises(DataTooBig):
        member.add_broadcast(bytes(limit + 1))
    with pytest.raises(MalformedPacket):
        member.add_broadcast(b"")


def test_without_a_handler_items_are_refused() -> None:
    """9.35: also those of others, after the packet has had its other effects."""
    member, runtime = engine(), Noting()
    with pytest.raises(BroadcastFailed):
        member.add_broadcast(b"x")
    with pytest.raises(BroadcastFailed):
        member.handle_data(packet(TWO, Ping(1), items=[b"x"]), runtime)
    assert [sent.to for sent in runtime.packets] == [TWO]


@pytest.mark.parametrize("tail", [b"x", b"\0\1", b"\0\0", b"\0\2x", b"\0\0x"], ids=bytes.hex)
def test_broken_items_are_an_error_after_all_else_was_done(tail: bytes) -> None:
    """9.36."""
    member, runtime = engine(), Noting()
    with pytest.raises(DecodeFailed):
        member.handle_data(packet(TWO, Ping(1), updates=[alive(THREE)]) + tail, runtime)
    assert member.num_members == 2
    assert [sent.to for sent in runtime.packets] == [TWO]


@pytest.mark.parametrize("message", [Ping(1), Gossip(), Broadcast(), TurnUndead()], ids=repr)
def test_a_single_byte_after_the_header_is_no_section_of_anything(message: Ping) -> None:
    """9.36."""
    member, runtime = engine(), Noting()
    with pytest.raises(MalformedPacket):
        member.handle_data(packet(TWO, message, updates=None) + b"x", runtime)
    assert (member.membership_state(), runtime.all) == ([], [])


def test_a_packet_with_fewer_members_than_it_says_changes_nothing() -> None:
    data = packet(TWO, Ping(1), updates=[alive(THREE), alive(Id(4))])
    member, runtime = engine(), Noting()
    for cut in range(1, 10):
        with pytest.raises(MalformedPacket):
            member.handle_data(data[:-cut], runtime)
    assert (member.membership_state(), runtime.all) == ([], [])


def test_updates_about_oneself_are_no_members() -> None:
    """9.58."""
    member, runtime = engine(), Noting()
    updates = [alive(ME), down(Id(1, 3)), alive(TWO), alive(ME, 3)]
    member.handle_data(packet(THREE, Gossip(), updates=updates), runtime)
    assert {found.identity for found in member.members()} == {TWO, THREE}


def test_a_packet_may_come_in_any_kind_of_bytes() -> None:
    member, runtime = knowing()
    for kind in (bytearray, memoryview):
        member.handle_data(kind(packet(TWO, Ping(1))), runtime)
    assert len(runtime.packets) == 2


def test_sleep_has_no_word_on_the_wire_of_the_crate() -> None:
    member, runtime = knowing(TWO)
    runtime.clear()
    member.announce_sleep(runtime)
    member.resumed(runtime)
    assert runtime.all == []
