"""A probe: who is asked, what counts as an answer, and what follows from none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from holdfast.errors import IncompleteProbeCycle
from holdfast.membership import (
    Ack,
    ChangeSuspectToDown,
    Connection,
    ForwardedAck,
    Idle,
    IndirectAck,
    IndirectPing,
    MemberDown,
    Ping,
    PingReq,
    ProbeRandomMember,
    SendIndirectProbe,
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
    probing,
    suspect,
)

TWO, THREE = Id(2), Id(3)
FEW = [Id(n) for n in range(2, 8)]


def states(member: Any) -> dict[Id, State]:
    return {found.identity: found.state for found in member.membership_state()}


def finish(member: Any, runtime: Noting) -> None:
    """Fire the two timers of the probe whose effects are noted."""
    second, following = runtime.timer(SendIndirectProbe), runtime.timer(ProbeRandomMember)
    member.handle_timer(second, runtime)
    runtime.clear()
    member.handle_timer(following, runtime)


def test_a_probe_pings_one_and_starts_both_timers() -> None:
    _, runtime, target = probing(*FEW)
    assert [(sent.to, sent.message) for sent in runtime.packets] == [(target, Ping(1))]
    assert runtime.timers == [
        (SendIndirectProbe(target, 0), SIMPLE.probe_rtt_ns),
        (ProbeRandomMember(0), SIMPLE.probe_period_ns),
    ]


def test_a_probe_without_its_second_half_is_an_error_and_the_next_goes_on() -> None:
    """9.10, 9.38."""
    member, runtime, _ = probing(*FEW)
    following = runtime.timer(ProbeRandomMember)
    runtime.clear()
    with pytest.raises(IncompleteProbeCycle):
        member.handle_timer(following, runtime)
    (ping,) = runtime.packets
    assert ping.message == Ping(2)
    assert [type(timer) for timer, _ in runtime.timers] == [SendIndirectProbe, ProbeRandomMember]
    assert set(states(member).values()) == {State.ALIVE}
    finish(member, runtime)  # no error
    assert runtime.sent(Ping)[0].message == Ping(3)


def test_after_a_change_of_identity_the_old_timers_mean_nothing() -> None:
    """9.20, 9.21."""
    member, runtime, _ = probing(*FEW)
    second, following = runtime.timer(SendIndirectProbe), runtime.timer(ProbeRandomMember)
    member.change_identity(Id(1, 1), runtime)
    runtime.clear()
    member.handle_timer(following, runtime)
    member.handle_timer(second, runtime)
    assert runtime.all == []
    member.handle_data(packet(TWO, Ping(1), dst=Id(1, 1)), runtime)
    assert runtime.timer(ProbeRandomMember).token == following.token + 1


def test_losing_the_last_member_ends_the_probe() -> None:
    """9.22."""
    member, runtime, _ = probing(TWO)
    second, following = runtime.timer(SendIndirectProbe), runtime.timer(ProbeRandomMember)
    runtime.clear()
    member.apply_many([down(TWO)], runtime)
    assert runtime.notifications == [MemberDown(TWO), Idle()]
    assert member.connection is Connection.DISCONNECTED
    runtime.clear()
    member.handle_timer(following, runtime)
    member.handle_timer(second, runtime)
    assert runtime.all == []
    # The probe that was under way is not held against the driver, nor against the member.
    member.apply_many([alive(THREE)], runtime)
    first = runtime.timer(ProbeRandomMember)
    runtime.clear()
    member.handle_timer(first, runtime)
    assert [sent.to for sent in runtime.packets] == [THREE]


@pytest.mark.parametrize("late", [False, True], ids=["in time", "late"])
def test_an_answer_makes_the_probe_a_success(late: bool) -> None:
    """9.23."""
    member, runtime, target = probing(*FEW)
    second, following = runtime.timer(SendIndirectProbe), runtime.timer(ProbeRandomMember)
    runtime.clear()
    if late:
        member.handle_timer(second, runtime)
        assert len(runtime.sent(PingReq)) == 3
        runtime.clear()
    member.handle_data(packet(target, Ack(1)), runtime)
    if not late:
        member.handle_timer(second, runtime)
    assert runtime.packets == []
    member.handle_timer(following, runtime)
    assert set(states(member).values()) == {State.ALIVE}


@pytest.mark.parametrize("number", [0, 2])
def test_an_answer_to_another_probe_does_not_count(number: int) -> None:
    """9.24."""
    member, runtime, target = probing(*FEW)
    member.handle_data(packet(target, Ack(number)), runtime)
    finish(member, runtime)
    assert states(member)[target] is State.SUSPECT


def test_an_answer_of_somebody_else_does_not_count() -> None:
    member, runtime, target = probing(*FEW)
    other = next(identity for identity in FEW if identity != target)
    member.handle_data(packet(other, Ack(1)), runtime)
    finish(member, runtime)
    assert states(member)[target] is State.SUSPECT


def asked(member: Any, runtime: Noting) -> list[Id]:
    second = runtime.timer(SendIndirectProbe)
    runtime.clear()
    member.handle_timer(second, runtime)
    assert {sent.message for sent in runtime.packets} == {PingReq(second.member, 1)}
    return [sent.to for sent in runtime.packets]


def test_an_answer_through_a_helper_counts_and_of_an_outsider_does_not() -> None:
    """9.25."""
    member, runtime, target = probing(*FEW)
    following = runtime.timer(ProbeRandomMember)
    helpers = asked(member, runtime)
    assert len(set(helpers)) == SIMPLE.num_indirect_probes
    assert not {target, ME} & set(helpers)
    outsider = next(other for other in FEW if other not in {target, *helpers})
    member.handle_data(packet(outsider, ForwardedAck(target, 1)), runtime)
    member.handle_data(packet(helpers[0], ForwardedAck(target, 2)), runtime)
    assert not member._local.probe.succeeded
    member.handle_data(packet(helpers[0], ForwardedAck(target, 1)), runtime)
    member.handle_timer(following, runtime)
    assert set(states(member).values()) == {State.ALIVE}


def test_an_outsider_helps_nobody() -> None:
    """9.25."""
    member, runtime, target = probing(*FEW)
    following = runtime.timer(ProbeRandomMember)
    helpers = asked(member, runtime)
    outsider = next(other for other in FEW if other not in {target, *helpers})
    member.handle_data(packet(outsider, ForwardedAck(target, 1)), runtime)
    member.handle_timer(following, runtime)
    assert states(member)[target] is State.SUSPECT


@pytest.mark.parametrize(
    ("message", "to", "answer"),
    [
        (Ping(9), TWO, Ack(9)),
        (PingReq(THREE, 9), THREE, IndirectPing(TWO, 9)),
        (IndirectPing(THREE, 9), TWO, IndirectAck(THREE, 9)),
        (IndirectAck(THREE, 9), THREE, ForwardedAck(TWO, 9)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_question_has_its_answer(message: Ping, to: Id, answer: Ack) -> None:
    """9.26, 9.27, 9.28, 9.29."""
    member, runtime = engine(), Noting()
    member.handle_data(packet(TWO, message), runtime)
    assert [(sent.to, sent.message) for sent in runtime.packets] == [(to, answer)]
    assert runtime.packets[0].header.src == ME


def test_only_a_suspect_that_hears_of_it_can_refute() -> None:
    """9.30: three members; one suspect knows, and one does not."""
    aware, unaware = Id(2), Id(3)
    member, runtime, _ = probing(aware, unaware)
    verdicts = []
    for _ in range(3):
        finish(member, runtime)
        verdicts += [t for t, _ in runtime.timers if isinstance(t, ChangeSuspectToDown)]
    assert {verdict.member for verdict in verdicts} == {aware, unaware}
    assert set(states(member).values()) == {State.SUSPECT}

    there, elsewhere = engine(aware), Noting()
    there.apply_many([alive(ME)], elsewhere)
    elsewhere.clear()
    there.handle_data(packet(ME, Ping(1), dst=aware, updates=[suspect(aware)]), elsewhere)
    for sent in elsewhere.packets:
        member.handle_data(sent.data, runtime)
    assert states(member)[aware] is State.ALIVE
    for verdict in verdicts:
        member.handle_timer(verdict, runtime)
    assert states(member) == {aware: State.ALIVE, unaware: State.DOWN}


def test_who_was_declared_down_while_probed_is_not_asked_for() -> None:
    """9.54."""
    member, runtime, target = probing(*FEW)
    second = runtime.timer(SendIndirectProbe)
    member.apply_many([down(target)], runtime)
    runtime.clear()
    member.handle_timer(second, runtime)
    assert runtime.all == []


def test_a_suspicion_has_its_time_and_then_its_verdict() -> None:
    member, runtime, target = probing(*FEW)
    finish(member, runtime)
    verdict = ChangeSuspectToDown(target, 0, 0)
    assert (verdict, SIMPLE.suspect_to_down_after_ns) in runtime.timers
    runtime.clear()
    member.handle_timer(verdict, runtime)
    assert runtime.notifications == [MemberDown(target)]
    assert states(member)[target] is State.DOWN


def test_the_crate_tells_him_that_he_is_down_even_if_he_has_refuted() -> None:
    """Its fault 1 (section 10), which is ours without repairs."""
    config = replace(SIMPLE, notify_down_members=True)
    member, runtime, target = probing(*FEW, config=config)
    finish(member, runtime)
    verdict = runtime.timer(ChangeSuspectToDown)
    member.handle_data(packet(target, Ping(1), incarnation=1), runtime)
    assert states(member)[target] is State.ALIVE
    runtime.clear()
    member.handle_timer(verdict, runtime)
    assert states(member)[target] is State.ALIVE
    assert [(sent.to, sent.message) for sent in runtime.packets] == [(target, TurnUndead())]


def test_probes_are_counted_in_a_byte() -> None:
    member, runtime = knowing(TWO)
    runtime.clear()
    numbers = []
    for _ in range(600):
        member.handle_timer(ProbeRandomMember(0), runtime)
        (ping,) = runtime.sent(Ping)
        numbers.append(ping.data[-3])
        member.handle_timer(SendIndirectProbe(TWO, 0), runtime)
        member.handle_data(packet(TWO, Ack(numbers[-1])), runtime)
        runtime.clear()
    assert numbers == [n % 256 for n in range(1, 601)]
    assert states(member) == {TWO: State.ALIVE}


def test_generations_of_timers_are_counted_in_a_byte() -> None:
    member, runtime = knowing(TWO)
    for _ in range(255):
        member.apply_many([down(TWO)], runtime)
        member._local.members.remove_if_down(TWO)
        member.apply_many([alive(TWO)], runtime)
    assert member._local.token == 255
    member.apply_many([down(TWO)], runtime)
    assert member._local.token == 0
