"""Where a member stands: what is told when, suspicions of oneself, identities that change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.errors import NotUndead
from holdfast.membership import (
    Active,
    Announce,
    ChangeSuspectToDown,
    Connection,
    Defunct,
    Gossip,
    Idle,
    Member,
    MemberDown,
    MemberUp,
    Ping,
    ProbeRandomMember,
    Rejoin,
    RemoveDown,
    Rename,
    State,
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

TWO, THREE, FOUR = Id(2), Id(3), Id(4)
AGAIN = Id(1, 0, rejoinable=True)
TELLING = replace(SIMPLE, notify_down_members=True)


def test_every_change_is_told_once() -> None:
    """9.9."""
    member, runtime = engine(), Noting()

    def told(*updates: Member[Id]) -> list[object]:
        runtime.clear()
        member.apply_many(updates, runtime)
        return list(runtime.notifications)

    assert told(down(FOUR)) == []
    assert told(alive(TWO)) == [MemberUp(TWO), Active()]
    assert told(alive(TWO), alive(TWO, 1), suspect(TWO, 1)) == []
    assert told(suspect(THREE)) == [MemberUp(THREE)]
    assert told(down(TWO), down(TWO)) == [MemberDown(TWO)]
    assert told(down(THREE)) == [MemberDown(THREE), Idle()]
    assert told(alive(TWO, 9)) == []
    assert told(alive(Id(5))) == [MemberUp(Id(5)), Active()]
    assert told(down(ME)) == [Defunct()]
    assert told(alive(Id(6)), down(Id(6))) == [MemberUp(Id(6)), MemberDown(Id(6))]
    assert told(down(ME)) == [Defunct()]
    member.reuse_down_identity()
    assert member.connection is Connection.DISCONNECTED
    assert told(alive(TWO)) == [Active()]
    with pytest.raises(NotUndead):
        member.reuse_down_identity()


def test_a_member_that_is_down_has_no_part_but_still_sees_others() -> None:
    """9.9."""
    member, runtime = knowing(TWO)
    member.apply_many([down(ME)], runtime)
    runtime.clear()
    member.handle_data(packet(THREE, Ping(1)), runtime)
    assert runtime.notifications == [MemberUp(THREE)]
    assert runtime.packets == []
    assert member.connection is Connection.UNDEAD


def test_a_suspicion_is_refuted_by_a_higher_incarnation_as_long_as_there_is_one() -> None:
    """9.16."""
    member, runtime = knowing(TWO)
    for heard, then in ((0, 1), (1, 2), (500, 501), (65_534, 65_535)):
        member.apply_many([suspect(ME, heard)], runtime)
        assert member.incarnation == then
    runtime.clear()
    member.apply_many([suspect(ME, 65_535)], runtime)
    assert runtime.notifications == [Defunct()]
    assert member.connection is Connection.UNDEAD


def test_an_old_suspicion_is_no_reason_to_rise() -> None:
    """9.17."""
    member, runtime = knowing(TWO)
    member.apply_many([suspect(ME, 7)], runtime)
    member.apply_many([suspect(ME, heard) for heard in (0, 3, 7)], runtime)
    assert member.incarnation == 8


def test_every_suspicion_is_answered_with_a_gossip_old_or_not() -> None:
    """9.18."""
    member, runtime = knowing(TWO)
    for n in range(5):
        runtime.clear()
        member.handle_data(packet(TWO, Gossip(), updates=[suspect(ME)]), runtime)
        (gossip,) = runtime.packets
        assert (gossip.to, gossip.message, gossip.header.src_incarnation) == (TWO, Gossip(), 1), n


def test_news_of_being_alive_is_no_news() -> None:
    member, runtime = knowing(TWO)
    runtime.clear()
    member.apply_many([alive(ME, 40)], runtime)
    assert (member.incarnation, runtime.all) == (0, [])


def test_a_change_of_identity_is_told_at_once() -> None:
    """9.19."""
    member, runtime = knowing(TWO)
    runtime.clear()
    member.change_identity(Id(1, 1), runtime)
    (gossip,) = runtime.packets
    assert gossip.header.src == Id(1, 1)
    assert gossip.updates == [down(ME)]
    assert member.updates_backlog == 1
    assert runtime.notifications == []
    assert member.incarnation == 0


def test_who_was_down_before_has_no_need_to_say_so() -> None:
    member, runtime = knowing(TWO)
    member.apply_many([down(ME)], runtime)
    runtime.clear()
    member.change_identity(Id(1, 1), runtime)
    assert [sent.updates for sent in runtime.packets] == [[]]
    assert member.connection is Connection.DISCONNECTED


def test_who_leaves_says_so() -> None:
    """9.31."""
    member, runtime = knowing(TWO, THREE)
    runtime.clear()
    member.leave_cluster(runtime)
    assert {sent.to for sent in runtime.packets} == {TWO, THREE}
    assert [sent.updates for sent in runtime.packets] == [[down(ME)]] * 2
    assert runtime.notifications == [Defunct()]
    other, there = engine(TWO), Noting()
    other.apply_many([alive(ME), alive(THREE)], there)
    there.clear()
    (mine,) = [sent.data for sent in runtime.packets if sent.to == TWO]
    other.handle_data(mine, there)
    assert there.notifications == [MemberDown(ME)]


def test_who_leaves_says_it_once_to_each() -> None:
    """9.32."""
    member, runtime = knowing(*map(Id, range(2, 12)))
    runtime.clear()
    member.leave_cluster(runtime)
    assert len({sent.to for sent in runtime.packets}) == len(runtime.packets) == 3


def test_who_leaves_alone_is_gone_too() -> None:
    member, runtime = engine(), Noting()
    member.leave_cluster(runtime)
    assert runtime.all == [("notify", Defunct())]


def test_a_member_that_was_declared_down_comes_back_renewed() -> None:
    """9.33."""
    member, runtime = knowing(TWO, identity=AGAIN)
    runtime.clear()
    member.handle_data(packet(TWO, Gossip(), updates=[down(ME), alive(THREE)]), runtime)
    assert member.identity == Id(1, 1)
    assert [n for n in runtime.notifications if n != MemberUp(THREE)] == [
        Rejoin(Id(1, 1)),
        Active(),
    ]
    assert [sent.header.src for sent in runtime.sent(Gossip)] == [Id(1, 1)]
    assert member.connection is Connection.CONNECTED


def test_a_renewed_identity_that_would_lose_is_not_taken() -> None:
    class Meek(Id):
        def win_addr_conflict(self, other: Id, /) -> bool:
            return False

        def renew(self) -> Meek:
            return Meek(self.addr, self.bump + 1)

    member, runtime = knowing(TWO, identity=Meek(1))
    runtime.clear()
    member.apply_many([down(Meek(1))], runtime)
    assert runtime.notifications == [Defunct()]


def test_a_member_is_told_that_it_was_declared_down() -> None:
    """9.39."""
    member, runtime = knowing(TWO, THREE, config=TELLING)
    member.apply_many([suspect(TWO)], runtime)
    runtime.clear()
    member.handle_timer(ChangeSuspectToDown(TWO, 0, 0), runtime)
    assert [(sent.to, sent.message) for sent in runtime.packets] == [(TWO, TurnUndead())]
    assert runtime.notifications == [MemberDown(TWO)]


@pytest.mark.parametrize("config", [SIMPLE, TELLING], ids=["silent", "telling"])
def test_who_is_down_and_still_sends_is_told(config: object) -> None:
    """9.40: and what he sends has no effect."""
    member, runtime = knowing(TWO, THREE, config=config)  # type: ignore[arg-type]
    member.apply_many([down(TWO)], runtime)
    runtime.clear()
    member.handle_data(packet(TWO, Ping(1), updates=[alive(FOUR)]), runtime)
    expected = [(TWO, TurnUndead())] if config is TELLING else []
    assert [(sent.to, sent.message) for sent in runtime.packets] == expected
    assert member.num_members == 1


def test_a_member_believes_even_one_that_is_down_itself() -> None:
    """9.50: or two that think each other down would never get out of it."""
    member, runtime = knowing(TWO, THREE, identity=AGAIN, config=TELLING)
    member.apply_many([down(TWO)], runtime)
    runtime.clear()
    member.handle_data(packet(TWO, TurnUndead()), runtime)
    assert member.identity == Id(1, 1)
    answers = runtime.sent(TurnUndead)
    assert [(sent.to, sent.header.src) for sent in answers] == [(TWO, Id(1, 1))]


def test_being_told_by_an_active_member_is_believed_too() -> None:
    member, runtime = knowing(TWO)
    runtime.clear()
    member.handle_data(packet(TWO, TurnUndead()), runtime)
    assert runtime.notifications == [Defunct()]


def test_of_two_identities_at_one_address_the_winner_stays() -> None:
    """9.51."""
    member, runtime = knowing(Id(2, 1))
    member.apply_many([alive(Id(2, 0))], runtime)
    assert member.members() == [alive(Id(2, 1))]
    member.apply_many([alive(Id(2, 2))], runtime)
    assert member.members() == [alive(Id(2, 2))]


def test_a_renewed_member_is_not_condemned_for_its_past() -> None:
    """9.52: as long as nobody tells it (see fault 1 in `test_probing`)."""
    member, runtime = knowing(TWO, THREE)
    member.apply_many([suspect(TWO)], runtime)
    member.handle_data(packet(Id(2, 1), Gossip(), updates=[down(TWO)]), runtime)
    runtime.clear()
    member.handle_timer(ChangeSuspectToDown(TWO, 0, 0), runtime)
    assert set(member.members()) == {alive(Id(2, 1)), alive(THREE)}
    assert runtime.all == []


def test_a_conflict_is_told_as_what_it_changes() -> None:
    """9.53."""
    member, runtime = knowing(TWO, THREE)

    def told(update: Member[Id]) -> list[object]:
        runtime.clear()
        member.apply_many([update], runtime)
        return list(runtime.notifications)

    assert told(alive(Id(2, 1))) == [Rename(TWO, Id(2, 1))]
    assert told(suspect(Id(2, 2))) == [Rename(Id(2, 1), Id(2, 2))]
    assert told(down(Id(2, 3))) == [Rename(Id(2, 2), Id(2, 3)), MemberDown(Id(2, 3))]
    assert told(alive(Id(2, 4))) == [Rename(Id(2, 3), Id(2, 4)), MemberUp(Id(2, 4))]
    for stale in (alive(TWO, 9), suspect(Id(2, 1)), down(Id(2, 3))):
        assert told(stale) == []
        assert runtime.all == []


def test_the_past_of_a_member_has_no_say() -> None:
    """9.55."""
    member, runtime = knowing(Id(2, 1), THREE)
    runtime.clear()
    member.handle_data(packet(TWO, Ping(1), updates=[alive(FOUR)]), runtime)
    assert runtime.all == []
    assert member.num_members == 2
    telling, runtime = knowing(Id(2, 1), THREE, config=TELLING)
    runtime.clear()
    telling.handle_data(packet(TWO, Ping(1)), runtime)
    assert [(sent.to, sent.message) for sent in runtime.packets] == [(TWO, TurnUndead())]


def test_effects_come_in_one_order() -> None:
    """Sections 1.3 and 5.1: told on, forgotten later, renamed, up or down; then the connection."""
    member, runtime = knowing(TWO)
    runtime.clear()
    member.apply_many([down(Id(2, 1), 3)], runtime)
    assert [what for _, what in runtime.all] == [
        (RemoveDown(Id(2, 1)), SIMPLE.remove_down_after_ns),
        Rename(TWO, Id(2, 1)),
        MemberDown(Id(2, 1)),
        Idle(),
    ]
    runtime.clear()
    member.handle_data(packet(THREE, Announce()), runtime)
    assert [type(what) for _, what in runtime.all[:3]] == [MemberUp, tuple, Active]
    assert runtime.timers == [(ProbeRandomMember(1), SIMPLE.probe_period_ns)]


def test_a_lower_incarnation_is_enough_to_be_down() -> None:
    member, runtime = knowing(TWO, THREE)
    member.apply_many([alive(TWO, 8), down(TWO, 2)], runtime)
    assert Member(TWO, 2, State.DOWN) in member.membership_state()
