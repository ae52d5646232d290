"""Lifeguard, and what a member makes of its own stalls. Sections are those of arXiv 1707.00788."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from holdfast.membership import (
    Ack,
    ChangeSuspectToDown,
    Gossip,
    IndirectPing,
    MemberDown,
    Membership,
    Ping,
    PingReq,
    ProbeRandomMember,
    Repair,
    SendIndirectProbe,
    State,
)
from holdfast.membership.health import SCORE_MAX, Health
from holdfast.membership.notes import accuse
from holdfast.membership.stall import IN_A_ROW, POSTPONED_MAX, StallWatch
from holdfast.membership.suspicion import MOST_TIMES, WANTED, Suspicions, wait_ns
from tests.unit.membership.mended import (
    SECOND,
    Timed,
    among,
    fail_a_probe,
    introduce,
    mended,
)
from tests.unit.membership.stage import CODEC, ME, SIMPLE, Id, alive, packet, suspect

A, B, C, D, E = (Id(number) for number in range(2, 7))
RTT_NS, PERIOD_NS = SIMPLE.probe_rtt_ns, SIMPLE.probe_period_ns
LEAST_NS = SIMPLE.suspect_to_down_after_ns


def timers(runtime: Timed, kind: type) -> list[tuple[Any, int]]:
    return [(timer, delay) for timer, delay in runtime.timers if isinstance(timer, kind)]


# -- local health, IV-A ---------------------------------------------------------------------------


def test_the_score_stays_in_its_bounds() -> None:
    health = Health()
    health.better()
    assert health.score == 0
    for _ in range(20):
        health.worse()
    assert health.score == SCORE_MAX
    assert health.scaled(500) == 500 * 9  # "up to 9 s": section IV-A, with a period of one second
    health.better()
    assert health.scaled(500) == 500 * 8
    never = Health(0)
    never.worse()
    assert never.scaled(7) == 7


def next_spans(engine: Membership[Id], runtime: Timed, due: Any) -> tuple[int, int]:
    runtime.clear()
    engine.handle_timer(due, runtime)
    ((_, rtt_ns),) = timers(runtime, SendIndirectProbe)
    ((_, period_ns),) = timers(runtime, ProbeRandomMember)
    return rtt_ns, period_ns


@pytest.mark.parametrize("repairs", [(Repair.LOCAL_HEALTH,), ()])
def test_a_failed_probe_makes_patient_and_an_answer_less_so(repairs: tuple[Repair, ...]) -> None:
    engine = mended(*repairs)
    runtime = among(engine, A, B)
    fail_a_probe(engine, runtime)
    ((second, rtt_ns),) = timers(runtime, SendIndirectProbe)
    ((third, period_ns),) = timers(runtime, ProbeRandomMember)
    times = 2 if repairs else 1
    assert (rtt_ns, period_ns) == (times * RTT_NS, times * PERIOD_NS)
    (ping,) = runtime.sent(Ping)
    assert isinstance(ping.message, Ping)
    engine.handle_data(packet(ping.to, Ack(ping.message.number)), runtime)
    engine.handle_timer(second, runtime)
    assert next_spans(engine, runtime, third) == (RTT_NS, PERIOD_NS)


def test_a_suspect_that_does_not_answer_says_nothing_about_me() -> None:
    scores = set()
    for seed in range(8):
        engine = mended(Repair.LOCAL_HEALTH, seed=seed)
        runtime = among(engine, A, B)
        engine.handle_data(packet(A, Gossip(), updates=[suspect(B)]), runtime)
        target, _ = fail_a_probe(engine, runtime)
        scores.add((target, engine._local.health.score))
    assert scores == {(A, 1), (B, 0)}


def test_to_refute_makes_patient() -> None:
    engine = mended(Repair.LOCAL_HEALTH)
    runtime = among(engine, A)
    engine.handle_data(packet(A, Gossip(), updates=[suspect(ME)]), runtime)
    assert (engine.incarnation, engine._local.health.score) == (1, 1)
    engine.handle_data(packet(A, Gossip(), updates=[suspect(ME)]), runtime)  # an old one
    assert (engine.incarnation, engine._local.health.score) == (1, 1)


# -- suspicion, IV-B ------------------------------------------------------------------------------


def test_the_wait_shrinks_by_the_logarithm() -> None:
    waits = [wait_ns(10, 60, 3, confirmations) for confirmations in range(6)]
    assert waits == [60, 35, 20, 10, 10, 10]  # max - (max - min) * log(c + 1) / log(k + 1)
    assert wait_ns(10, 60, 0, 0) == 10


def test_suspicions_are_of_one_incarnation_each() -> None:
    suspicions: Suspicions[Id] = Suspicions()
    first = suspicions.of(A, 0)
    assert suspicions.of(A, 0) is first is suspicions.get(A, 0)
    assert suspicions.get(A, 1) is None
    assert suspicions.of(A, 1) is not first
    suspicions.of(B, 0)
    suspicions.keep(lambda who, incarnation: (who, incarnation) == (A, 1))
    assert len(suspicions) == 1
    suspicions.end(A)
    suspicions.end(A)
    assert len(suspicions) == 0


def suspecting(*repairs: Repair, kin: int = 4) -> tuple[Membership[Id], Timed, Id]:
    """One of four members has failed a probe, and so many are known to be kin."""
    engine = mended(*repairs)
    runtime = among(engine, A, B, C, D)
    introduce(engine, runtime, *(A, B, C, D)[:kin])
    target, _ = fail_a_probe(engine, runtime)
    return engine, runtime, target


def confirm(engine: Membership[Id], runtime: Timed, target: Id, *accusers: Id) -> None:
    for accuser in accusers:
        note = accuse(CODEC, suspect(target), alive(accuser))
        engine.handle_data(packet(accuser, Gossip(), items=[note]), runtime)


@pytest.mark.parametrize("repairs", [(Repair.SUSPICION_CONFIRMATION,), ()])
def test_a_suspicion_that_nobody_shares_is_long(repairs: tuple[Repair, ...]) -> None:
    engine, runtime, target = suspecting(*repairs)
    ((timer, delay_ns),) = timers(runtime, ChangeSuspectToDown)
    assert delay_ns == LEAST_NS * (MOST_TIMES if repairs else 1)
    runtime.passes(delay_ns)
    engine.handle_timer(timer, runtime)
    assert MemberDown(target) in runtime.notifications


def test_each_member_that_shares_it_makes_it_shorter() -> None:
    engine, runtime, target = suspecting(Repair.SUSPICION_CONFIRMATION)
    others = [one for one in (A, B, C, D) if one != target]
    first = runtime.timer(ChangeSuspectToDown)
    ends = []
    for accuser in (others[0], *others):  # the first says it twice: that is no confirmation
        runtime.clear()
        confirm(engine, runtime, target, accuser)
        ends += [delay_ns for _, delay_ns in timers(runtime, ChangeSuspectToDown)]
    assert ends == [wait_ns(LEAST_NS, MOST_TIMES * LEAST_NS, WANTED, n) for n in (1, 2, 3)]
    runtime.passes(LEAST_NS // 2)
    engine.handle_timer(first, runtime)
    assert MemberDown(target) not in runtime.notifications
    runtime.passes(LEAST_NS // 2)
    engine.handle_timer(first, runtime)
    assert MemberDown(target) in runtime.notifications


def test_confirmations_that_come_first_count_too() -> None:
    engine = mended(Repair.SUSPICION_CONFIRMATION)
    runtime = among(engine, A, B, C, D)
    introduce(engine, runtime, A, B, C, D)
    for target in (A, B, C, D):
        confirm(engine, runtime, target, *(one for one in (A, B, C, D) if one != target))
    fail_a_probe(engine, runtime)
    ((_, delay_ns),) = timers(runtime, ChangeSuspectToDown)
    assert delay_ns == LEAST_NS


def test_where_nobody_could_confirm_it_is_short() -> None:
    _, runtime, _ = suspecting(Repair.SUSPICION_CONFIRMATION, kin=2)
    ((_, delay_ns),) = timers(runtime, ChangeSuspectToDown)
    assert delay_ns == LEAST_NS


def test_an_accusation_is_told_to_kin_and_passed_on() -> None:
    engine, runtime, target = suspecting(Repair.SUSPICION_CONFIRMATION, kin=3)
    runtime.clear()
    for _ in range(20):
        engine.gossip(runtime)
    told = {p.to for p in runtime.packets if p.items}
    assert told == {A, B, C}  # D is not kin
    assert {p.to for p in runtime.packets} == {A, B, C, D}
    (item,) = {item for p in runtime.packets for item in p.items}
    assert item == accuse(CODEC, suspect(target), alive(ME))

    other = mended(Repair.SUSPICION_CONFIRMATION, identity=E)
    heard = among(other, A, B, C, D, ME)
    introduce(other, heard, A, at=E)
    other.handle_data(packet(ME, Gossip(), E, items=[item]), heard)
    heard.clear()
    other.gossip(heard)
    other.gossip(heard)
    assert {i for p in heard.packets for i in p.items} == {item}


@pytest.mark.parametrize("incarnation", [0, 2])
def test_who_is_accused_refutes(incarnation: int) -> None:
    engine = mended(Repair.SUSPICION_CONFIRMATION)
    runtime = among(engine, A)
    note = accuse(CODEC, suspect(ME, incarnation), alive(A))
    engine.handle_data(packet(A, Gossip(), items=[note]), runtime)
    assert engine.incarnation == incarnation + 1


def test_what_does_not_concern_is_not_kept() -> None:
    engine = mended(Repair.SUSPICION_CONFIRMATION)
    runtime = among(engine, A, B)
    engine.apply_many([alive(B, 5)], runtime)
    for suspected, accuser in (
        (suspect(B, 4), alive(A)),  # it has refuted
        (suspect(E), alive(A)),  # nobody knows it
        (suspect(B, 5), alive(ME)),  # one's own, come back
    ):
        note = accuse(CODEC, suspected, accuser)
        engine.handle_data(packet(A, Gossip(), items=[note]), runtime)
    assert len(engine._local.suspicions) == 0


# -- buddies, IV-C --------------------------------------------------------------------------------


@pytest.mark.parametrize("repairs", [(Repair.BUDDY_NOTICE,), ()])
def test_who_probes_a_suspect_tells_it_so(repairs: tuple[Repair, ...]) -> None:
    engine = mended(*repairs, config=replace(SIMPLE, max_transmissions=1))
    runtime = among(engine, A)
    engine.handle_data(packet(A, Gossip(), updates=[suspect(B, 3)]), runtime)
    engine.gossip(runtime)  # and with it, all that there was to tell
    engine.gossip(runtime)
    assert engine.updates_backlog == 0
    due = runtime.timer(ProbeRandomMember)
    for _ in range(2):
        runtime.clear()
        engine.handle_timer(due, runtime)
        engine.handle_timer(runtime.timer(SendIndirectProbe), runtime)
        (ping,) = runtime.sent(Ping)
        assert ping.updates == ([suspect(B, 3)] if repairs and ping.to == B else [])
    runtime.clear()
    engine.handle_data(packet(A, PingReq(B, 9)), runtime)
    (relayed,) = runtime.sent(IndirectPing)
    assert relayed.updates == ([suspect(B, 3)] if repairs else [])


# -- stalls ---------------------------------------------------------------------------------------


def test_a_watch_sees_what_is_late() -> None:
    watch = StallWatch()
    watch.expect(Ping, 0, 100)
    assert not watch.fires(Ping, 0, 110, 10)
    assert not watch.ends()
    watch.expect(Ping, 0, 100)
    assert watch.fires(Ping, 0, 111, 10)
    assert watch.ends()
    assert not watch.ends()
    assert not watch.fires(Ping, 0, 999, 10)  # it was not expected
    watch.expect(Ping, 0, 100)
    assert not watch.fires(Ping, 1, 999, 10)  # another generation's


def test_who_is_late_for_ever_judges_at_last() -> None:
    watch, worthless = StallWatch(), []
    for _ in range(2 * IN_A_ROW + 2):
        watch.expect(Ping, 0, 100)
        watch.fires(Ping, 0, 999, 10)
        worthless.append(watch.ends())
    assert worthless == [*[True] * IN_A_ROW, False] * 2


@pytest.mark.parametrize("late", [ProbeRandomMember, SendIndirectProbe])
@pytest.mark.parametrize("repairs", [(Repair.STALL_DETECTION,), ()])
def test_who_was_stopped_accuses_nobody(repairs: tuple[Repair, ...], late: type) -> None:
    engine = mended(*repairs)
    runtime = among(engine, A, B)
    due = runtime.timer(ProbeRandomMember)
    runtime.clear()
    engine.handle_timer(due, runtime)
    ((second, _),) = timers(runtime, SendIndirectProbe)
    runtime.passes(RTT_NS + (SECOND if late is SendIndirectProbe else 0))
    engine.handle_timer(second, runtime)
    ((third, _),) = timers(runtime, ProbeRandomMember)
    runtime.passes(PERIOD_NS - RTT_NS if late is SendIndirectProbe else 5 * SECOND)
    engine.handle_timer(third, runtime)
    states = {member.state for member in engine.members()}
    assert states == ({State.ALIVE} if repairs else {State.ALIVE, State.SUSPECT})


def test_who_is_on_time_accuses() -> None:
    engine = mended(Repair.STALL_DETECTION)
    runtime = among(engine, A, B)
    target, _ = fail_a_probe(engine, runtime)
    assert suspect(target) in engine.members()


@pytest.mark.parametrize("repairs", [(Repair.STALL_DETECTION,), ()])
def test_a_verdict_that_comes_late_waits_for_what_is_unread(repairs: tuple[Repair, ...]) -> None:
    engine = mended(*repairs)
    runtime = among(engine, A, B)
    target, _ = fail_a_probe(engine, runtime)
    ((timer, delay_ns),) = timers(runtime, ChangeSuspectToDown)
    assert delay_ns == LEAST_NS
    runtime.passes(delay_ns + 10 * SECOND)
    runtime.clear()
    engine.handle_timer(timer, runtime)
    if not repairs:
        assert MemberDown(target) in runtime.notifications
        return
    assert runtime.all == [("submit", (timer, RTT_NS))]
    engine.handle_data(packet(target, Gossip(), incarnation=1), runtime)
    runtime.passes(RTT_NS)
    engine.handle_timer(timer, runtime)
    assert runtime.notifications == []


def test_a_verdict_is_not_put_off_for_ever() -> None:
    engine = mended(Repair.STALL_DETECTION)
    runtime = among(engine, A, B)
    target, _ = fail_a_probe(engine, runtime)
    ((timer, delay_ns),) = timers(runtime, ChangeSuspectToDown)
    for _ in range(POSTPONED_MAX):
        runtime.passes(delay_ns + 10 * SECOND)
        engine.handle_timer(timer, runtime)
        assert runtime.notifications == []
    runtime.passes(10 * SECOND)
    engine.handle_timer(timer, runtime)
    assert runtime.notifications == [MemberDown(target)]


def test_a_timer_that_is_a_little_early_is_not_lost() -> None:
    engine = mended(Repair.STALL_DETECTION)
    runtime = among(engine, A, B)
    target, _ = fail_a_probe(engine, runtime)
    ((timer, delay_ns),) = timers(runtime, ChangeSuspectToDown)
    runtime.passes(delay_ns - 1000)
    runtime.clear()
    engine.handle_timer(timer, runtime)
    assert runtime.all == [("submit", (timer, 1000))]
    runtime.passes(1000)
    engine.handle_timer(timer, runtime)
    assert runtime.notifications == [MemberDown(target)]
