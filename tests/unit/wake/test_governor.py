"""The governor: its table, its leases and its requests, edge by edge."""

from __future__ import annotations

import itertools

import pytest

from holdfast.errors import InvalidArgument, OutOfSpace
from holdfast.wake.governor import TRANSITIONS, Turn
from holdfast.wake.governor.journal import DETAIL_MAX
from holdfast.wake.model import Config, Phase, Requester, Slept, WakeLeaseKind
from tests.unit.wake.stage import SECOND, Stage


def suspended(**settings: object) -> Stage:
    """A governor whose back-end was entered, with one listener that was called before."""
    stage = Stage(**settings)
    stage.listen("l")
    stage.suspend()
    assert stage.answer("l") == ["go-down 1"]
    return stage


# ---- the table --------------------------------------------------------------------------------


def test_every_phase_can_be_left_and_every_turn_is_taken_somewhere() -> None:
    assert {phase for phase, _ in TRANSITIONS} == set(Phase)
    assert {turn for _, turn in TRANSITIONS} == set(Turn)
    assert set(TRANSITIONS.values()) == set(Phase)


def test_at_the_beginning_nothing_was_counted() -> None:
    status = Stage().governor.status()
    assert status.state is Phase.AWAKE
    assert (status.suspends, status.aborts, status.failures, status.total_sleep_ns) == (0, 0, 0, 0)
    assert status.last_failure is None
    assert status.last_sleep_ns is None
    assert status.last_going_down_ns is None
    assert (status.wake_leases, status.wake_lease_count, status.listeners) == ((), 0, ())


def test_nobody_suspends_unasked() -> None:
    stage = Stage()
    stage.acquire("a")
    assert stage.close("a") == ["unblock"]
    assert stage.wait(10_000) == []


def test_a_whole_cycle() -> None:
    stage = Stage()
    stage.listen("l")
    assert stage.suspend() == ["before l"]
    assert stage.state == "suspending"
    assert stage.answer("l") == ["go-down 1"]
    assert stage.state == "suspended"
    assert stage.done(5.0) == ["after l"]
    assert stage.state == "resuming"
    assert stage.answer("l") == ["answer r slept"]
    assert stage.state == "awake"
    assert stage.wait(10_000) == []
    assert stage.outcomes["r"] == Slept(5 * SECOND)


def test_the_counts_of_sleeps() -> None:
    stage = Stage()
    stage.suspend("r1")
    stage.wait(7.0)
    stage.done(5.0)
    stage.suspend("r2")
    stage.done("too hot")
    status = stage.governor.status()
    assert (status.suspends, status.failures, status.aborts) == (1, 1, 0)
    assert (status.last_sleep_ns, status.total_sleep_ns) == (5 * SECOND, 5 * SECOND)
    assert status.last_going_down_ns == 2 * SECOND
    assert status.last_failure == "too hot"
    stage.wait(1)
    stage.done(3.0)
    status = stage.governor.status()
    assert (status.suspends, status.failures) == (2, 1)
    assert (status.last_sleep_ns, status.total_sleep_ns) == (3 * SECOND, 8 * SECOND)
    assert status.last_failure == "too hot"


# ---- wake leases ------------------------------------------------------------------------------


def test_a_lease_that_exists_before_lets_no_phase_begin() -> None:
    stage = Stage()
    stage.listen("l")
    assert stage.acquire("a") == ["block", "grant a"]
    assert stage.suspend() == []
    assert stage.wait(100) == []
    assert stage.close("a") == ["unblock", "before l"]


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_only_the_last_lease_lets_go(order: str) -> None:
    stage = Stage()
    stage.acquire("a")
    stage.acquire("b")
    stage.suspend()
    assert stage.close(order[0]) == []
    assert [lease.name for lease in stage.governor.status().wake_leases] == [order[1]]
    assert stage.close(order[1]) == ["unblock", "go-down 1"]


def test_acquired_in_the_phase_and_held_at_its_end() -> None:
    stage = Stage()
    stage.listen("l")
    stage.suspend()
    assert stage.acquire("a") == ["block", "grant a"]
    assert stage.answer("l") == ["after l"]
    assert stage.answer("l") == []
    assert stage.entered == []
    assert stage.state == "awake"
    assert stage.governor.status().aborts == 1


def test_ten_leases_in_one_callback_are_granted_at_once() -> None:
    stage = Stage()
    stage.listen("l")
    stage.suspend()
    granted = [stage.acquire(f"a{n}", by="l") for n in range(10)]
    assert granted == [["block", "grant a0"], *([f"grant a{n}"] for n in range(1, 10))]
    assert stage.answer("l") == ["after l"]
    assert stage.entered == []


def test_acquired_and_closed_in_the_phase_suspends_all_the_same() -> None:
    stage = Stage()
    stage.listen("l")
    stage.suspend()
    stage.acquire("a")
    assert stage.close("a") == ["unblock"]
    assert stage.answer("l") == ["go-down 1"]


def test_between_the_last_answer_and_the_attempt_there_is_no_gap() -> None:
    """The answer that ends the phase enters the back-end in the same step, or does not."""
    stage = Stage()
    stage.listen("l")
    stage.suspend()
    assert stage.answer("l") == ["go-down 1"]
    assert stage.acquire("a") == ["wake-up 1"]  # too late, and not granted


def test_asked_while_the_machine_is_down_it_is_granted_after_and_called_after_that() -> None:
    stage = suspended()
    assert stage.acquire("a") == ["wake-up 1"]
    assert stage.acquire("b") == ["wake-up 1"]
    stage.wait(1000)
    assert stage.done() == ["block", "grant a", "grant b", "after l"]


def test_one_who_is_gone_before_the_resume_is_granted_nothing() -> None:
    stage = suspended()
    stage.acquire("a")
    assert stage.close("a") == []
    assert stage.done() == ["after l"]
    assert stage.close("a") == []


def test_acquired_while_resuming_is_granted_at_once() -> None:
    stage = suspended()
    stage.done()
    assert stage.acquire("a") == ["block", "grant a"]
    assert stage.answer("l") == ["answer r slept"]


def test_a_lease_closed_twice_or_never_known_changes_nothing() -> None:
    stage = Stage()
    stage.acquire("a")
    stage.acquire("b")
    stage.close("a")
    stage.suspend()
    assert stage.close("a") == []
    stage.numbers["x"] = 7
    assert stage.close("x") == []
    assert stage.close("b") == ["unblock", "go-down 1"]


def test_a_thousand_leases_and_a_window_on_the_oldest() -> None:
    stage = Stage(leases_shown=10)
    for n in range(1000):
        stage.acquire(f"a{n}")
    for n in range(3):
        stage.close(f"a{n}")
    status = stage.governor.status()
    assert status.wake_lease_count == 997
    assert [lease.name for lease in status.wake_leases] == [f"a{n}" for n in range(3, 13)]
    for n in range(3, 1000):
        stage.close(f"a{n}")
    assert stage.governor.status().wake_lease_count == 0
    assert stage.suspend() == ["go-down 1"]


@pytest.mark.parametrize("name", ["", "a" * 65, "ü" * 33, "two\nlines", "\x1b[2J", "\ud800"])
def test_a_bad_name_is_refused_and_changes_nothing(name: str) -> None:
    stage = Stage()
    with pytest.raises(InvalidArgument):
        stage.acquire(name)
    with pytest.raises(InvalidArgument):
        stage.listen(name)
    assert stage.suspend() == ["go-down 1"]
    assert stage.acquire("a" * 64) == ["wake-up 1"]
    stage.done()
    assert stage.acquire("ü" * 32) == ["grant " + "ü" * 32]


def test_names_need_not_be_unique() -> None:
    stage = Stage()
    assert [stage.acquire("a"), stage.acquire("a")] == [["block", "grant a"], ["grant a"]]


def test_more_than_there_is_room_for_is_refused_and_changes_nothing() -> None:
    stage = Stage(leases_max=2, listeners_max=2, requests_max=2)
    for name in "ab":
        stage.acquire(name)
        stage.listen(f"l{name}")
        stage.suspend(f"r{name}")
    with pytest.raises(OutOfSpace):
        stage.acquire("c")
    with pytest.raises(OutOfSpace):
        stage.listen("lc")
    with pytest.raises(OutOfSpace):
        stage.suspend("rc")
    stage.close("a")
    stage.gone("la")
    stage.withdraw("ra")
    assert stage.acquire("d") == ["grant d"]
    assert stage.listen("ld") == stage.suspend("rd") == []


def test_a_number_is_used_once() -> None:
    stage = Stage()
    stage.acquire("a")
    stage.listen("l")
    stage.suspend()
    governor, now_ns = stage.governor, stage.now_ns
    with pytest.raises(InvalidArgument):
        governor.acquire(stage.numbers["a"], "x", WakeLeaseKind.WAKE, Requester(1), now_ns)
    with pytest.raises(InvalidArgument):
        governor.listener_registered(stage.numbers["l"], "x", Requester(1), now_ns)
    with pytest.raises(InvalidArgument):
        governor.suspend_requested(stage.numbers["r"], now_ns)


# ---- application activity ---------------------------------------------------------------------


def test_application_activity_forbids_a_suspend() -> None:
    stage = Stage()
    assert stage.acquire("user", "activity") == ["block", "grant user"]
    assert stage.suspend() == []
    assert stage.close("user") == ["unblock", "go-down 1"]


def test_application_activity_asked_for_in_the_phase_waits_and_stops_the_attempt() -> None:
    stage = Stage()
    stage.listen("l")
    stage.suspend()
    assert stage.acquire("user", "activity") == []
    assert stage.answer("l") == ["after l"]
    assert stage.answer("l") == ["block", "grant user"]
    assert stage.entered == []


def test_application_activity_is_granted_only_when_all_have_resumed() -> None:
    stage = suspended()
    assert stage.acquire("user", "activity") == ["wake-up 1"]
    assert stage.done() == ["after l"]
    assert stage.acquire("another", "activity") == []
    assert stage.answer("l") == ["answer r slept", "block", "grant user", "grant another"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_application_activity_inside_a_callback_is_refused_not_waited_for(moment: str) -> None:
    stage = Stage()
    stage.listen("l")
    stage.listen("other")
    stage.suspend()
    if moment == "after":
        stage.answer("l")
        stage.answer("other")
        stage.done()
    with pytest.raises(InvalidArgument, match="callback") as error:
        stage.acquire("user", "activity", by="l")
    assert error.value.hint is not None
    stage.answer("l")
    assert stage.acquire("user", "activity", by="l") == []  # other is still awaited
    told = [word for name in ("other", "other", "l") for word in stage.answer(name)]
    assert told[-1] == "grant user"


# ---- what is remembered -----------------------------------------------------------------------


def test_the_ring_keeps_the_last_events_and_their_numbers_go_on() -> None:
    stage = Stage(events_max=8)
    for n in range(100):
        stage.acquire(f"a{n}")
        stage.close(f"a{n}")
    numbers = [event.number for event in stage.governor.events]
    assert numbers == list(range(392, 400))
    assert len(stage.kinds) == 400


def test_an_event_about_many_names_is_bounded_too() -> None:
    stage = Stage()
    stage.listen("l")
    stage.suspend(within=1)
    for n in range(60):
        stage.acquire(f"{n:060}")
    stage.answer("l")
    stage.wait(1)
    assert max(len(event.detail) for event in stage.governor.events) == DETAIL_MAX
    assert len(stage.outcomes["r"].blockers) == 60  # the answer names them all


def test_attempts_are_remembered_up_to_a_bound() -> None:
    stage = Stage(attempts_max=3)
    for n in range(5):
        stage.suspend(f"r{n}")
        stage.done()
    assert [attempt.number for attempt in stage.governor.attempts] == [3, 4, 5]
    stage.suspend("r6")
    assert [attempt.number for attempt in stage.governor.attempts][-1] == 6
    assert stage.governor.attempts[-1].ended_ns is None


def test_nothing_is_left_over_after_many_cycles() -> None:
    """No timer, call, lease or request stays behind."""
    stage = Stage()
    stage.listen("l", timeout=30)
    for n in range(200):
        stage.suspend(f"r{n}", within=60)
        stage.answer("l")
        stage.done()
        stage.answer("l")
    assert stage.governor.next_due_ns is None
    status = stage.governor.status()
    assert (status.requests, status.wake_lease_count, status.suspends) == (0, 0, 200)


def test_a_setting_that_makes_no_sense_is_refused() -> None:
    for settings in ({"backoff_ns": 0}, {"leases_max": 0}, {"linger_ns": -1}):
        with pytest.raises(InvalidArgument):
            Config(**settings)  # type: ignore[arg-type]
    assert Config(long_lease_ns=0).long_lease_ns == 0


def test_the_answers_of_attempts_that_are_over_change_nothing() -> None:
    stage = suspended()
    assert stage.done(attempt=0) == []
    stage.done()
    for _ in itertools.repeat(None, 2):
        assert stage.done() == []
    assert stage.state == "resuming"
    assert stage.governor.status().suspends == 1
