"""Listeners: who is called when, who is waited for, and what becomes of those who do not answer."""

from __future__ import annotations

import pytest

from holdfast.errors import InvalidArgument
from holdfast.wake.model import Cause, Ending
from tests.unit.wake.stage import Stage


def test_all_are_called_at_once_and_all_are_waited_for() -> None:
    stage = Stage()
    for name in "abc":
        stage.listen(name)
    assert stage.suspend() == ["before a", "before b", "before c"]
    assert [stage.answer(name) for name in "cab"] == [[], [], ["go-down 1"]]
    assert stage.done() == ["after a", "after b", "after c"]
    assert [stage.answer(name) for name in "bca"] == [[], [], ["answer r slept"]]


def test_without_an_answer_there_is_no_suspend() -> None:
    stage = Stage()
    stage.listen("a")
    stage.suspend()
    assert not [word for word in stage.wait(1000) if not word.startswith("report")]
    assert stage.entered == []


def test_one_who_registers_in_the_phase_is_first_called_before_the_next_suspend() -> None:
    stage = Stage()
    stage.listen("a")
    stage.suspend("r1")
    assert stage.listen("b") == []
    assert stage.answer("a") == ["go-down 1"]
    assert stage.listen("c") == []
    assert stage.done() == ["after a"]
    assert stage.listen("d") == []
    stage.answer("a")
    assert stage.suspend("r2") == ["before a", "before b", "before c", "before d"]


def test_after_an_attempt_that_was_stopped_all_are_told() -> None:
    stage = Stage()
    stage.listen("a")
    stage.listen("b")
    stage.suspend()
    stage.acquire("x")
    stage.answer("a")
    assert stage.answer("b") == ["after a", "after b"]


def test_the_next_suspend_waits_for_the_answers_after_the_resume() -> None:
    stage = Stage()
    stage.listen("a")
    stage.suspend("r1")
    stage.answer("a")
    stage.done()
    assert stage.suspend("r2") == []
    assert not [word for word in stage.wait(3) if not word.startswith("report")]
    assert stage.answer("a") == ["answer r1 slept", "before a"]


def test_one_who_dies_counts_as_one_who_answered() -> None:
    stage = Stage()
    stage.listen("a")
    stage.listen("b")
    stage.suspend()
    stage.answer("a")
    assert stage.gone("b") == ["go-down 1"]
    assert stage.done() == ["after a"]
    assert stage.gone("a") == ["answer r slept"]
    assert stage.governor.status().listeners == ()
    assert stage.suspend() == ["go-down 2"]


def test_one_who_dies_outside_of_a_cycle_is_forgotten() -> None:
    stage = Stage()
    stage.listen("a")
    assert stage.gone("a") == []
    assert stage.gone("a") == []
    assert stage.governor.status().listeners == ()
    assert stage.suspend() == ["go-down 1"]


def test_one_who_dies_while_the_machine_is_down_is_not_called_after() -> None:
    stage = Stage()
    stage.listen("a")
    stage.suspend()
    stage.answer("a")
    stage.gone("a")
    assert stage.done() == ["answer r slept"]


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    stage = Stage()
    stage.listen("a")
    stage.listen("b")
    stage.suspend()
    first = stage.calls["a"]
    assert stage.answer("b", first) == []  # somebody else's call
    assert stage.answer("a", 999) == []
    assert stage.answer("b") == stage.answer("b") == []
    assert stage.answer("a") == ["go-down 1"]
    stage.done()
    assert stage.answer("a", first) == []
    assert stage.answer("b") == []  # the number of a call is used once
    assert stage.answer("a") == ["answer r slept"]


# ---- time-outs --------------------------------------------------------------------------------


def timed(then: str) -> Stage:
    stage = Stage()
    stage.listen("good")
    stage.listen("bad", timeout=5, then=then)
    stage.suspend()
    stage.answer("good")
    assert stage.wait(4.99) == []
    return stage


def test_out_of_time_the_attempt_is_aborted_and_the_others_are_told() -> None:
    stage = timed("abort")
    assert stage.wait(0.01) == ["after good", "after bad"]
    stage.answer("good")
    stage.answer("bad")
    (attempt,) = stage.governor.attempts
    assert [(each.cause, each.name) for each in attempt.blockers] == [(Cause.LISTENER, "bad")]
    assert [call.ending for call in attempt.calls][:2] == [Ending.ANSWERED, Ending.ABORT]
    assert stage.governor.status().aborts == 1


def test_an_abort_waits_for_the_others_all_the_same() -> None:
    stage = Stage()
    stage.listen("slow")
    stage.listen("bad", timeout=5, then="abort")
    stage.suspend()
    assert stage.wait(6) == []
    assert stage.answer("slow") == ["after slow", "after bad"]


def test_out_of_time_the_suspend_goes_on() -> None:
    stage = timed("go_on")
    assert stage.wait(0.01) == ["go-down 1"]
    assert stage.done() == ["after good", "after bad"]


def test_out_of_time_it_is_evicted_and_the_suspend_goes_on() -> None:
    stage = timed("evict")
    assert stage.wait(0.01) == ["evict bad", "go-down 1"]
    assert stage.done() == ["after good"]
    assert stage.governor.status().listeners == ("good",)
    assert stage.gone("bad") == []


@pytest.mark.parametrize("then", ["abort", "go_on", "evict"])
def test_out_of_time_after_the_resume_nobody_is_kept_from_going_on(then: str) -> None:
    stage = Stage()
    stage.listen("bad", timeout=5, then=then)
    stage.suspend()
    stage.answer("bad")
    stage.done()
    told = stage.wait(5)
    assert told[-1] == "answer r slept"
    assert ("evict bad" in told) == (then == "evict")
    assert stage.state == "awake"
    assert stage.governor.status().suspends == 1
    (attempt,) = stage.governor.attempts
    assert attempt.calls[-1].ending is (Ending.EVICT if then == "evict" else Ending.GO_ON)


def test_an_answer_that_comes_after_the_time_out_changes_nothing() -> None:
    stage = timed("go_on")
    late = stage.calls["bad"]
    stage.wait(0.01)
    assert stage.answer("bad", late) == []
    assert stage.state == "suspended"


def test_an_answer_in_time_ends_the_time_out() -> None:
    stage = timed("abort")
    assert stage.answer("bad") == ["go-down 1"]
    assert stage.wait(1000) == []


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_time_out_must_be_positive(timeout: float) -> None:
    with pytest.raises(InvalidArgument):
        Stage().listen("a", timeout=timeout)


# ---- slow ones --------------------------------------------------------------------------------


def test_a_slow_listener_is_named_every_ten_seconds() -> None:
    stage = Stage()
    stage.listen("quick")
    stage.listen("slow")
    stage.suspend()
    stage.answer("quick")
    assert stage.wait(30) == ["report slow-listener slow"] * 3
    assert "before the suspend for 30 s" in stage.reports[-1].sentence
    stage.answer("slow")
    assert stage.wait(1000) == []
    stage.done()
    assert stage.wait(10) == ["report slow-listener quick", "report slow-listener slow"]


def test_calls_that_go_on_for_a_minute_are_reported_with_all_who_are_awaited() -> None:
    stage = Stage(slow_listener_ns=10**15)
    for name in ("quick", "a", "b"):
        stage.listen(name)
    stage.suspend()
    stage.answer("quick")
    assert stage.wait(59.9) == []
    assert stage.wait(0.1) == ["report stuck a,b"]
    assert stage.wait(59.9) == []
    stage.answer("a")
    assert stage.wait(0.1) == ["report stuck b"]
    assert stage.answer("b") == ["go-down 1"]
    assert stage.wait(1000) == []
