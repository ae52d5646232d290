"""The crate's faults, each with its repair and without. Numbers are those of our list of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from holdfast.errors import DataTooBig, DecodeFailed, InvalidArgument, MalformedPacket, NotConnected
from holdfast.membership import (
    ALL_REPAIRS,
    TIMED_REPAIRS,
    WIRE_REPAIRS,
    AccumulatingRuntime,
    Announce,
    CallAgain,
    ChangeSuspectToDown,
    Config,
    Connection,
    Gossip,
    MemberDown,
    Periodic,
    PeriodicAnnounceDown,
    ProbeRandomMember,
    Rejoin,
    RemoveDown,
    Repair,
    State,
    TurnUndead,
)
from holdfast.membership.isolation import PERIODS_MAX
from tests.unit.membership.mended import Timed, among, fail_a_probe, mended
from tests.unit.membership.stage import ME, SIMPLE, Id, Noting, alive, down, packet, suspect

A, B, C = Id(2), Id(3), Id(4)
TELLING = replace(SIMPLE, notify_down_members=True)


def with_and_without(repair: Repair) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("repairs", [(repair,), ()], ids=["with", "without"])


# -- 1: who has refuted is told that it is down ---------------------------------------------------


@with_and_without(Repair.ACCUSE_ONLY_THE_DOWN)
def test_1_only_who_is_down_is_told_so(repairs: tuple[Repair, ...]) -> None:
    engine = mended(*repairs, config=TELLING)
    runtime = among(engine, A, B)
    target, _ = fail_a_probe(engine, runtime)
    timer = runtime.timer(ChangeSuspectToDown)
    engine.handle_data(packet(target, Gossip(), incarnation=1), runtime)
    runtime.clear()
    engine.handle_timer(timer, runtime)
    assert [p.to for p in runtime.sent(TurnUndead)] == ([] if repairs else [target])


def test_1_who_is_down_is_still_told() -> None:
    engine = mended(Repair.ACCUSE_ONLY_THE_DOWN, config=TELLING)
    runtime = among(engine, A, B)
    target, _ = fail_a_probe(engine, runtime)
    timer = runtime.timer(ChangeSuspectToDown)
    engine.handle_timer(timer, runtime)
    assert MemberDown(target) in runtime.notifications
    assert [p.to for p in runtime.sent(TurnUndead)] == [target]


# -- 2: one's own past is a member ----------------------------------------------------------------


@with_and_without(Repair.NO_RECORD_OF_ONESELF)
def test_2_ones_own_past_is_told_to_be_down_and_not_kept(repairs: tuple[Repair, ...]) -> None:
    me = Id(1, 5)
    config = replace(SIMPLE, periodic_announce_to_down_members=Periodic(1000, 2))
    engine = mended(*repairs, identity=me, config=config)
    runtime = among(engine, A)
    down_timer = runtime.timer(PeriodicAnnounceDown)
    engine.handle_data(packet(A, Gossip(), me, updates=[alive(Id(1, 4))]), runtime)
    known = {member.identity for member in engine.membership_state()}
    assert known == ({A} if repairs else {A, Id(1, 4)})
    runtime.clear()
    engine.gossip(runtime)
    (told,) = runtime.sent(Gossip)
    assert told.updates is not None
    assert down(Id(1, 4)) in told.updates
    runtime.clear()
    engine.handle_timer(down_timer, runtime)
    assert [p.to for p in runtime.sent(Announce)] == ([] if repairs else [Id(1, 4)])


def test_2_who_says_that_it_is_down_is_not_told_again() -> None:
    me = Id(1, 5)
    engine = mended(Repair.NO_RECORD_OF_ONESELF, identity=me)
    runtime = among(engine, A)
    engine.handle_data(packet(A, Gossip(), me, updates=[down(Id(1, 4))]), runtime)
    assert engine.updates_backlog == 0


@with_and_without(Repair.NO_RECORD_OF_ONESELF)
def test_2_whoever_had_the_address_is_forgotten(repairs: tuple[Repair, ...]) -> None:
    engine = mended(*repairs)
    runtime = among(engine, A, B)
    engine.change_identity(Id(2, 9), runtime)
    assert engine.num_members == (1 if repairs else 2)


# -- 3: a member that has lost everybody ----------------------------------------------------------


@with_and_without(Repair.ISOLATION_RECOVERY)
def test_3_who_has_lost_everybody_calls_them_again(repairs: tuple[Repair, ...]) -> None:
    engine = mended(*repairs)
    runtime = among(engine, A, B)
    engine.handle_data(packet(A, Gossip(), updates=[down(A), down(B)]), runtime)
    assert engine.connection is Connection.DISCONNECTED
    calls = [(t, d) for t, d in runtime.timers if isinstance(t, CallAgain)]
    if not repairs:
        assert calls == []
        return
    waited = []
    for _ in range(7):
        ((timer, delay_ns),) = calls
        waited.append(delay_ns // SIMPLE.probe_period_ns)
        runtime.clear()
        engine.handle_timer(timer, runtime)
        assert {p.to for p in runtime.sent(Announce)} == {A, B}
        calls = [(t, d) for t, d in runtime.timers if isinstance(t, CallAgain)]
    assert waited == [1, 2, 4, 8, PERIODS_MAX, PERIODS_MAX, PERIODS_MAX]


def test_3_it_does_not_call_any_more_when_somebody_is_there() -> None:
    engine = mended(Repair.ISOLATION_RECOVERY)
    runtime = among(engine, A, B)
    engine.handle_data(packet(A, Gossip(), updates=[down(A), down(B)]), runtime)
    call = runtime.timer(CallAgain)
    engine.handle_data(packet(C, Gossip()), runtime)
    runtime.clear()
    engine.handle_timer(call, runtime)
    assert runtime.all == []


def test_3_a_saved_list_of_the_dead_is_somebody_to_call() -> None:
    engine, runtime = mended(Repair.ISOLATION_RECOVERY), Timed()
    engine.apply_many([down(A)], runtime)
    engine.apply_many([down(B)], runtime)
    runtime.timer(CallAgain)


def test_3_who_knows_nobody_has_nobody_to_call() -> None:
    engine, runtime = mended(Repair.ISOLATION_RECOVERY), Timed()
    engine.apply_many([], runtime)
    assert runtime.all == []


def test_3_the_undead_do_not_call() -> None:
    engine = mended(Repair.ISOLATION_RECOVERY)
    runtime = among(engine, A)
    engine.leave_cluster(runtime)
    engine.handle_data(packet(A, Gossip(), updates=[down(A)]), runtime)
    assert not any(isinstance(t, CallAgain) for t, _ in runtime.timers)


@with_and_without(Repair.ISOLATION_RECOVERY)
def test_3_a_call_of_the_down_is_answered_whatever_the_setting(repairs: tuple[Repair, ...]) -> None:
    engine = mended(*repairs)
    runtime = among(engine, A, B)
    engine.apply_many([down(B)], runtime)
    runtime.clear()
    engine.handle_data(packet(B, Announce(), updates=None), runtime)
    assert len(runtime.sent(TurnUndead)) == len(repairs)
    runtime.clear()
    engine.handle_data(packet(B, Gossip()), runtime)
    assert runtime.packets == []


@with_and_without(Repair.ISOLATION_RECOVERY)
def test_3_nobody_is_forgotten_while_nobody_is_there(repairs: tuple[Repair, ...]) -> None:
    engine = mended(*repairs)
    runtime = among(engine, A)
    engine.apply_many([down(A)], runtime)
    forget = runtime.timer(RemoveDown)
    runtime.clear()
    engine.handle_timer(forget, runtime)
    assert len(engine.membership_state()) == len(repairs)
    assert [t for t, _ in runtime.timers] == ([forget] if repairs else [])


# -- 4: no timers after a renewal -----------------------------------------------------------------


@with_and_without(Repair.TIMERS_AFTER_RENEWAL)
def test_4_the_timers_run_on_under_a_new_identity(repairs: tuple[Repair, ...]) -> None:
    engine = mended(*repairs, identity=Id(1, 0, rejoinable=True))
    runtime = among(engine, A)
    runtime.clear()
    engine.handle_data(packet(A, TurnUndead(), updates=None), runtime)
    assert Rejoin(Id(1, 1)) in runtime.notifications
    running = [t for t, _ in runtime.timers if isinstance(t, ProbeRandomMember)]
    assert len(running) == len(repairs)
    engine.handle_data(packet(A, Gossip(), Id(1, 1)), runtime)
    running = [t for t, _ in runtime.timers if isinstance(t, ProbeRandomMember)]
    assert len(running) == 1


# -- 5 and 6: what never fits ---------------------------------------------------------------------


class Anything:
    """A handler that keeps all."""

    def receive_item(self, data: bytes, sender: Id | None, /) -> Any:
        return self

    def should_add_broadcast_data(self, member: Id, /) -> bool:
        return True

    def invalidates(self, other: object, /) -> bool:
        return False


@with_and_without(Repair.REFUSE_WHAT_NEVER_FITS)
def test_5_what_fits_no_packet_is_refused(repairs: tuple[Repair, ...]) -> None:
    engine = mended(*repairs, handler=Anything())
    runtime = among(engine, A)
    room = engine._outbound.room()
    assert engine.add_broadcast(b"x" * room)
    for _ in range(SIMPLE.max_transmissions):
        engine.broadcast(runtime)
    assert engine.broadcast_backlog == 0
    if repairs:
        with pytest.raises(DataTooBig):
            engine.add_broadcast(b"x" * (room + 1))
    else:
        engine.add_broadcast(b"x" * (room + 3))
        for _ in range(100):
            engine.broadcast(runtime)
    assert engine.broadcast_backlog == (0 if repairs else 1)


@with_and_without(Repair.REFUSE_WHAT_NEVER_FITS)
def test_6_what_fits_no_more_is_dropped_with_the_setting(repairs: tuple[Repair, ...]) -> None:
    engine = mended(*repairs, handler=Anything())
    engine.add_broadcast(b"long" * 50)
    engine.add_broadcast(b"short")
    engine.apply_many([alive(A)], Timed())
    engine.set_config(replace(SIMPLE, max_packet_size=100))
    assert engine.broadcast_backlog == (1 if repairs else 2)
    assert engine.updates_backlog == 1
    engine.set_config(replace(SIMPLE, max_packet_size=12))
    assert engine.updates_backlog == (0 if repairs else 1)


# -- 10: too few transmissions --------------------------------------------------------------------


@pytest.mark.parametrize(("others", "times"), [(1, 4), (7, 4), (8, 4), (9, 8), (98, 8), (99, 12)])
def test_10_an_update_is_told_as_often_as_the_cluster_is_large(others: int, times: int) -> None:
    """Memberlist's rule, 4 * ceil(log10(n + 1)), with oneself counted."""
    for repairs in ((Repair.ENOUGH_TRANSMISSIONS,), ()):
        engine = mended(*repairs, config=replace(Config.simple(), max_transmissions=1))
        among(engine, *(Id(number) for number in range(2, 2 + others)))
        assert engine._local.transmissions() == (times if repairs else 1)


def test_10_the_setting_is_the_least() -> None:
    engine = mended(Repair.ENOUGH_TRANSMISSIONS)
    among(engine, A)
    assert engine._local.transmissions() == SIMPLE.max_transmissions


# -- 14: tokens of eight bits ---------------------------------------------------------------------


@with_and_without(Repair.WIDE_TOKENS)
def test_14_a_timer_of_256_generations_ago_is_no_timer(repairs: tuple[Repair, ...]) -> None:
    engine = mended(*repairs)
    runtime = among(engine, A)
    old = runtime.timer(ProbeRandomMember)
    for bump in range(1, 257):
        engine.change_identity(Id(1, bump % 255), runtime)
    runtime.clear()
    if repairs:
        engine.handle_timer(old, runtime)
        assert runtime.all == []
    else:
        with pytest.raises(NotConnected):
            engine.handle_timer(old, runtime)


# -- 15: suspects of a saved list -----------------------------------------------------------------


@with_and_without(Repair.RESUME_SUSPICION)
def test_15_a_suspect_that_was_loaded_has_its_time(repairs: tuple[Repair, ...]) -> None:
    engine, runtime = mended(*repairs), Timed()
    engine.apply_many([alive(A), suspect(B, 3), down(C)], runtime, broadcast=False)
    timers = [t for t, _ in runtime.timers if isinstance(t, ChangeSuspectToDown)]
    assert timers == ([ChangeSuspectToDown(B, 3, 0)] if repairs else [])
    for timer in timers:
        engine.handle_timer(timer, runtime)
        assert down(B, 3) in engine.membership_state()


def test_15_a_suspicion_that_was_heard_is_somebody_elses() -> None:
    engine = mended(Repair.RESUME_SUSPICION)
    runtime = among(engine, A, B)
    engine.handle_data(packet(A, Gossip(), updates=[suspect(B)]), runtime)
    assert suspect(B) in engine.membership_state()
    assert not any(isinstance(t, ChangeSuspectToDown) for t, _ in runtime.timers)


# -- packets whose items are broken ---------------------------------------------------------------


@with_and_without(Repair.WHOLE_PACKETS)
@pytest.mark.parametrize("tail", [b"\0\5abc", b"\0\0", b"\0\3abc\0", b"\0\1a\0\2b"])
def test_a_packet_is_broken_as_a_whole(repairs: tuple[Repair, ...], tail: bytes) -> None:
    engine = mended(*repairs, handler=Anything())
    runtime = among(engine, A)
    data = packet(A, Gossip(), updates=[alive(B)]) + tail
    runtime.clear()
    with pytest.raises(MalformedPacket if repairs else DecodeFailed):
        engine.handle_data(data, runtime)
    assert engine.num_members == (1 if repairs else 2)
    if repairs:
        assert runtime.all == []
        assert engine.broadcast_backlog == 0


def test_a_packet_whose_items_are_whole_is_taken() -> None:
    engine = mended(Repair.WHOLE_PACKETS, handler=Anything())
    runtime = among(engine, A)
    engine.handle_data(packet(A, Gossip(), updates=[alive(B)], items=[b"x", b"yy"]), runtime)
    assert (engine.num_members, engine.broadcast_backlog) == (2, 2)


# -- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("repair", Repair, ids=lambda repair: repair.value)
def test_repairs_that_need_time_need_a_runtime_that_has_it(repair: Repair) -> None:
    engine, runtime = mended(repair), Noting()
    calls: list[Callable[[], None]] = [
        lambda: engine.apply_many([alive(A)], runtime),
        lambda: engine.handle_data(packet(A, Gossip()), runtime),
        lambda: engine.handle_timer(RemoveDown(A), runtime),
    ]
    for call in calls:
        if repair in TIMED_REPAIRS:
            with pytest.raises(InvalidArgument, match=repair.name):
                call()
            assert (engine.membership_state(), runtime.all) == ([], [])
        else:
            call()


def test_sleep_needs_time_too() -> None:
    engine = mended(Repair.SLEEP)
    for call in (engine.announce_sleep, engine.resumed):
        with pytest.raises(InvalidArgument, match="now_ns"):
            call(Noting())


def test_the_kinds_of_repairs() -> None:
    assert TIMED_REPAIRS | WIRE_REPAIRS < ALL_REPAIRS == frozenset(Repair)
    engine = mended(*ALL_REPAIRS)
    engine.apply_many([alive(A)], AccumulatingRuntime())
    assert engine.identity == ME
    assert [m.state for m in engine.members()] == [State.ALIVE]
