"""Sleep: a member says that its machine goes down, and nobody takes it for dead."""

from __future__ import annotations

import pytest

from holdfast.errors import InvalidArgument
from holdfast.membership import (
    ALL_REPAIRS,
    Announce,
    Broadcast,
    ChangeSuspectToDown,
    Gossip,
    MemberDown,
    Membership,
    PingReq,
    ProbeRandomMember,
    Rejoin,
    Repair,
    SendIndirectProbe,
    State,
    TurnUndead,
    notes,
)
from holdfast.membership.member import INCARNATION_MAX
from holdfast.membership.sleep import SLEEP_MAX_NS, Sleepers
from tests.unit.membership.mended import MS, SECOND, Timed, among, fail_a_probe, introduce, mended
from tests.unit.membership.stage import (
    CODEC,
    ME,
    SIMPLE,
    Id,
    alive,
    down,
    packet,
    suspect,
)

A, B, C, D = (Id(number) for number in range(2, 6))


def test_sleepers_wake_by_what_they_say_and_by_the_bound() -> None:
    sleepers: Sleepers[Id] = Sleepers()
    assert sleepers.fell_asleep(A, 2, 100, 50)
    assert not sleepers.fell_asleep(A, 2, 120, 500)  # the same sleep, heard again
    assert sleepers.asleep(A, 149)
    assert not sleepers.asleep(A, 150)
    sleepers.heard(A, 2)
    assert A in sleepers
    sleepers.heard_itself(A, 110, 10)
    assert A in sleepers
    sleepers.heard_itself(A, 111, 10)
    assert A not in sleepers
    assert sleepers.fell_asleep(A, 2, 200, 2 * SLEEP_MAX_NS)
    assert not sleepers.asleep(A, 200 + SLEEP_MAX_NS)
    sleepers.heard(A, 3)
    assert len(sleepers) == 0
    sleepers.forget(A)


def asleep(*repairs: Repair, seconds: int = 60) -> tuple[Membership[Id], Timed]:
    """A has said that it sleeps."""
    engine = mended(*repairs)
    runtime = among(engine, A, B)
    note = notes.sleep(CODEC, alive(A), seconds)
    engine.handle_data(packet(B, Gossip(), items=[note]), runtime)
    return engine, runtime


def rounds(engine: Membership[Id], runtime: Timed, count: int) -> set[Id]:
    """So many rounds without an answer; who was probed."""
    probed = set()
    due = [t for t, _ in runtime.timers if isinstance(t, ProbeRandomMember)][-1]
    for _ in range(count):
        runtime.clear()
        engine.handle_timer(due, runtime)
        seconds = [(t, d) for t, d in runtime.timers if isinstance(t, SendIndirectProbe)]
        for timer, rtt_ns in seconds:
            probed.add(timer.member)
            runtime.passes(rtt_ns)
            engine.handle_timer(timer, runtime)
        runtime.passes(SIMPLE.probe_period_ns - SIMPLE.probe_rtt_ns)
        due = runtime.timer(ProbeRandomMember)
    return probed


def test_who_sleeps_is_not_probed_until_the_bound_has_passed() -> None:
    engine, runtime = asleep(Repair.SLEEP)
    assert rounds(engine, runtime, 6) == {B}
    runtime.passes(60 * SECOND)
    assert rounds(engine, runtime, 4) == {A, B}


def test_where_all_sleep_nobody_is_probed() -> None:
    engine, runtime = asleep(Repair.SLEEP)
    engine.apply_many([down(B)], runtime)
    assert rounds(engine, runtime, 3) == set()


def test_without_the_repair_it_is_probed() -> None:
    engine, runtime = asleep(Repair.ANTI_ENTROPY)
    assert rounds(engine, runtime, 4) == {A, B}


@pytest.mark.parametrize("repairs", [(Repair.SLEEP, Repair.STALL_DETECTION), (Repair.SLEEP,)])
def test_a_suspect_that_sleeps_is_not_declared_down(repairs: tuple[Repair, ...]) -> None:
    """It fell asleep before the suspicion was heard: the news of it comes later."""
    engine = mended(*repairs)
    runtime = among(engine, A)
    fail_a_probe(engine, runtime)
    ((timer, delay_ns),) = [(t, d) for t, d in runtime.timers if isinstance(t, ChangeSuspectToDown)]
    note = notes.sleep(CODEC, alive(A), 60)
    engine.handle_data(packet(B, Gossip(), items=[note]), runtime)
    runtime.passes(delay_ns)
    engine.handle_timer(timer, runtime)
    assert MemberDown(A) not in runtime.notifications


def test_whoever_comes_back_is_awake() -> None:
    engine, runtime = asleep(Repair.SLEEP)
    engine.handle_data(packet(B, Gossip(), updates=[alive(A, 1)]), runtime)
    assert len(engine._local.sleepers) == 0
    engine, runtime = asleep(Repair.SLEEP)
    engine.handle_data(packet(B, Gossip(), updates=[alive(Id(2, 1))]), runtime)
    assert len(engine._local.sleepers) == 0
    engine, runtime = asleep(Repair.SLEEP)
    engine.handle_data(packet(B, Gossip(), updates=[down(A)]), runtime)
    assert len(engine._local.sleepers) == 0


def test_whoever_is_heard_later_is_awake() -> None:
    engine, runtime = asleep(Repair.SLEEP)
    engine.handle_data(packet(A, Gossip()), runtime)  # it was on its way
    assert len(engine._local.sleepers) == 1
    runtime.passes(SIMPLE.probe_period_ns + MS)
    engine.handle_data(packet(A, Gossip()), runtime)
    assert len(engine._local.sleepers) == 0


@pytest.mark.parametrize(
    "sleeper", [alive(C), alive(Id(2, 7)), alive(A, 0)], ids=["unknown", "another life", "old"]
)
def test_what_is_no_news_of_a_member_makes_nobody_sleep(sleeper: object) -> None:
    engine = mended(Repair.SLEEP)
    runtime = among(engine, A, B)
    engine.apply_many([alive(A, 1)], runtime)
    note = notes.sleep(CODEC, sleeper, 60)  # type: ignore[arg-type]
    engine.handle_data(packet(B, Gossip(), items=[note]), runtime)
    assert len(engine._local.sleepers) == 0


def test_sleep_is_said_at_once_to_kin_and_passed_on() -> None:
    engine = mended(Repair.SLEEP)
    runtime = among(engine, A, B, C)
    introduce(engine, runtime, A, B)
    runtime.clear()
    engine.announce_sleep(runtime, at_most_ns=1_500 * MS)
    assert {p.to: p.items for p in runtime.sent(Broadcast)} == {
        one: [notes.sleep(CODEC, alive(ME), 2)] for one in (A, B)
    }
    other, heard = asleep(Repair.SLEEP)
    heard.clear()
    other.gossip(heard)
    assert {p.to for p in heard.packets if p.items} == {A, B}


def test_a_sleep_takes_time_and_somebody_to_tell() -> None:
    engine, runtime = mended(Repair.SLEEP), Timed()
    engine.announce_sleep(runtime)
    assert runtime.all == []
    with pytest.raises(InvalidArgument, match="at_most_ns=0"):
        engine.announce_sleep(runtime, at_most_ns=0)


def test_who_has_slept_is_back_in_one_round_trip() -> None:
    engine = mended(Repair.SLEEP)
    runtime = among(engine, A, B)
    introduce(engine, runtime, A, B)
    engine.announce_sleep(runtime)
    runtime.passes(600 * SECOND)
    runtime.clear()
    engine.resumed(runtime)
    assert engine.incarnation == 1
    assert {p.to for p in runtime.sent(Gossip)} == {A, B}
    assert {p.header.src_incarnation for p in runtime.packets} == {1}
    assert len(runtime.sent(Announce)) == 1
    assert not any(p.items for p in runtime.packets)  # that it sleeps is no news any more

    other, heard = mended(Repair.SLEEP, identity=A), None
    heard = among(other, ME, B)
    other.handle_data(
        packet(B, Gossip(), A, items=[notes.sleep(CODEC, alive(ME), 3600)], updates=[suspect(ME)]),
        heard,
    )
    (to_a,) = [p for p in runtime.sent(Gossip) if p.to == A]
    other.handle_data(to_a.data, heard)
    assert alive(ME, 1) in other.members()
    assert len(other._local.sleepers) == 0


def test_who_slept_too_long_comes_back_renewed_in_one_round_trip() -> None:
    me = Id(1, 0, rejoinable=True)
    engine = mended(*ALL_REPAIRS, identity=me)
    runtime = among(engine, A)
    engine.resumed(runtime)
    engine.handle_data(packet(A, TurnUndead(), updates=None), runtime)
    assert Rejoin(Id(1, 1)) in runtime.notifications


def test_a_probe_of_before_the_sleep_accuses_nobody() -> None:
    engine = mended(Repair.SLEEP)
    runtime = among(engine, A)
    due = runtime.timer(ProbeRandomMember)
    runtime.clear()
    engine.handle_timer(due, runtime)
    runtime.passes(600 * SECOND)
    engine.resumed(runtime)
    for kind in (SendIndirectProbe, ProbeRandomMember):
        engine.handle_timer(runtime.timer(kind), runtime)
    assert [m.state for m in engine.members()] == [State.ALIVE]


def test_without_the_repair_sleep_is_not_spoken_of() -> None:
    engine = mended()
    runtime = among(engine, A)
    runtime.clear()
    engine.announce_sleep(runtime)
    engine.resumed(runtime)
    assert (runtime.all, engine.incarnation) == ([], 0)


def test_the_last_incarnation_has_no_next() -> None:
    engine = mended(Repair.SLEEP)
    runtime = among(engine, A)
    engine.handle_data(packet(A, Gossip(), updates=[suspect(ME, INCARNATION_MAX - 1)]), runtime)
    assert engine.incarnation == INCARNATION_MAX
    runtime.clear()
    engine.resumed(runtime)
    assert runtime.packets == []


def test_sleepers_help_nobody_to_probe() -> None:
    engine = mended(Repair.SLEEP)
    runtime = among(engine, A, B, C, D)
    for one in (A, B):
        note = notes.sleep(CODEC, alive(one), 600)
        engine.handle_data(packet(C, Gossip(), items=[note]), runtime)
    due = runtime.timer(ProbeRandomMember)
    runtime.clear()
    engine.handle_timer(due, runtime)
    second = runtime.timer(SendIndirectProbe)
    engine.handle_timer(second, runtime)
    assert {p.to for p in runtime.sent(PingReq)} == {C, D} - {second.member}
