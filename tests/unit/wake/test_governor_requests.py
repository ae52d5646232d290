"""Requests to suspend: who is answered when, their deadlines, and the pauses between attempts."""

from __future__ import annotations

from holdfast.wake.model import Aborted, Config
from tests.unit.wake.stage import SECOND, Stage


def test_requests_are_answered_together_and_once() -> None:
    stage = Stage()
    stage.acquire("a")
    stage.suspend("r1")
    stage.suspend("r2")
    stage.close("a")
    assert stage.suspend("r3") == []  # it is down already: this one is for the next time
    assert stage.done(1.0) == ["answer r1 slept", "answer r2 slept", "go-down 2"]
    assert stage.done(2.0) == ["answer r3 slept"]


def test_a_request_outlives_a_failure_and_an_abort() -> None:
    stage = Stage()
    stage.listen("l")
    stage.suspend()
    stage.acquire("a")
    stage.answer("l")
    stage.answer("l")
    assert stage.close("a") == ["unblock"]
    assert stage.wait(1) == ["before l"]
    stage.answer("l")
    assert stage.done("no") == ["after l"]
    stage.answer("l")
    assert stage.wait(1) == ["before l"]
    stage.answer("l")
    stage.done()
    assert stage.answer("l") == ["answer r slept"]


def test_a_deadline_is_answered_with_the_names_of_those_who_forbid() -> None:
    stage = Stage()
    stage.acquire("a")
    stage.acquire("b")
    stage.suspend(within=3)
    assert stage.wait(2.999) == []
    assert stage.wait(0.001) == ["answer r aborted"]
    aborted = stage.outcomes["r"]
    assert isinstance(aborted, Aborted)
    assert aborted.blockers == ("a", "b")
    assert "a, b" in aborted.sentence
    stage.close("a")
    assert stage.close("b") == ["unblock"]
    assert stage.wait(1000) == []


def test_a_deadline_in_the_phase_names_the_listener() -> None:
    stage = Stage()
    stage.listen("slow")
    stage.suspend(within=3)
    assert stage.wait(3) == ["answer r aborted"]
    assert "slow" in stage.outcomes["r"].sentence
    assert stage.answer("slow") == ["after slow"]
    assert stage.answer("slow") == []
    assert stage.entered == []


def test_a_deadline_is_looked_at_before_the_back_end_is_entered_however_late_the_timer() -> None:
    stage = Stage()
    stage.listen("l")
    stage.suspend(within=3)
    stage.now = 4.0  # and nobody has called `expire`
    assert stage.answer("l") == ["answer r aborted", "after l"]
    assert stage.entered == []


def test_a_deadline_means_nothing_once_the_back_end_is_entered() -> None:
    stage = Stage()
    stage.suspend(within=3)
    assert stage.wait(100) == []
    assert stage.done() == ["answer r slept"]


def test_a_deadline_counts_again_when_the_back_end_has_failed() -> None:
    stage = Stage()
    stage.suspend(within=3)
    stage.wait(100)
    assert stage.done("too hot") == ["answer r aborted"]
    assert "too hot" in stage.outcomes["r"].sentence


def test_a_deadline_in_the_pause_after_a_failure_is_answered_in_time() -> None:
    stage = Stage(backoff_ns=100 * SECOND, backoff_max_ns=100 * SECOND)
    stage.suspend(within=3)
    assert stage.done("too hot") == []
    assert stage.wait(2.9) == []
    assert stage.wait(0.1) == ["answer r aborted"]


def test_a_deadline_in_the_pause_names_those_who_stopped_the_last_attempt() -> None:
    stage = Stage(backoff_ns=100 * SECOND, backoff_max_ns=100 * SECOND)
    stage.listen("l")
    stage.suspend(within=3)
    stage.acquire("a")
    stage.answer("l")
    stage.answer("l")
    stage.close("a")
    assert stage.wait(3) == ["answer r aborted"]
    assert stage.outcomes["r"].blockers == ("a",)
    assert stage.outcomes["r"].sentence.endswith("wake lease a is held")


def test_a_deadline_while_the_machine_is_down_says_that_an_attempt_goes_on() -> None:
    stage = Stage()
    stage.suspend("r1")
    stage.suspend("r2", within=3)
    stage.wait(3)
    assert stage.outcomes["r2"].sentence.endswith("an attempt goes on")


def test_a_deadline_that_comes_while_the_machine_is_down_touches_only_its_own_request() -> None:
    stage = Stage()
    stage.suspend("r1", within=3)
    stage.suspend("r2", within=5)  # for the next time: it is down already
    assert stage.wait(10) == ["answer r2 aborted"]
    assert stage.done() == ["answer r1 slept"]


def test_a_wait_of_nothing_is_one_attempt() -> None:
    stage = Stage()
    assert stage.suspend("r1", within=0) == ["go-down 1"]
    assert stage.done() == ["answer r1 slept"]
    stage.acquire("a")
    assert stage.suspend("r2", within=0) == []
    assert stage.wait(0) == ["answer r2 aborted"]
    assert stage.outcomes["r2"].blockers == ("a",)


def test_a_request_that_is_withdrawn_is_not_answered_and_stops_the_attempt() -> None:
    stage = Stage()
    stage.listen("l")
    stage.suspend()
    assert stage.withdraw() == []
    assert stage.answer("l") == ["after l"]
    assert stage.answer("l") == []
    assert stage.entered == []
    assert stage.withdraw() == []
    assert stage.kinds.count("request-withdrawn r") == 1


def test_the_deadline_of_a_request_that_is_withdrawn_is_forgotten() -> None:
    stage = Stage(long_lease_ns=0)
    stage.acquire("a")
    stage.suspend(within=3)
    stage.withdraw()
    assert stage.governor.next_due_ns is None


def test_an_attempt_that_nobody_wanted_any_more_makes_no_pause() -> None:
    stage = Stage(backoff_ns=SECOND)
    stage.suspend("r1")
    stage.done("no")
    stage.listen("l")
    assert stage.wait(1) == ["before l"]
    stage.withdraw("r1")
    stage.answer("l")
    stage.answer("l")
    assert stage.suspend("r2") == ["before l"]


def test_after_a_success_there_is_no_pause_to_tell_of() -> None:
    stage = Stage(backoff_ns=SECOND)
    stage.suspend()
    stage.done("no")
    assert stage.governor.status().next_attempt_ns == stage.now_ns + SECOND
    stage.wait(1)
    stage.done()
    assert stage.governor.status().next_attempt_ns is None


def test_a_request_withdrawn_too_late_is_only_not_answered() -> None:
    stage = Stage()
    stage.listen("l")
    stage.suspend()
    stage.answer("l")
    stage.withdraw()
    assert stage.done() == ["after l"]
    assert stage.answer("l") == []


# ---- pauses -----------------------------------------------------------------------------------


def pauses(stage: Stage, attempts: int) -> list[float]:
    found = []
    for _ in range(attempts):
        stage.done("no")
        before = stage.now
        due_ns = stage.governor.next_due_ns
        assert due_ns is not None
        stage.wait((due_ns - stage.now_ns) / SECOND)
        found.append(round(stage.now - before, 6))
    return found


def test_each_failure_doubles_the_pause_and_a_success_ends_that() -> None:
    stage = Stage(backoff_ns=SECOND, backoff_max_ns=6 * SECOND)
    stage.suspend("r1")
    assert pauses(stage, 5) == [1, 2, 4, 6, 6]
    stage.done()
    stage.suspend("r2")
    assert pauses(stage, 2) == [1, 2]


def test_the_longest_pause_holds_after_any_number_of_failures() -> None:
    stage = Stage()
    stage.suspend()
    assert pauses(stage, 80)[-1] == Config().backoff_max_ns / SECOND


def test_an_attempt_that_a_lease_stopped_makes_a_pause_too() -> None:
    stage = Stage(backoff_ns=SECOND)
    stage.listen("l")
    stage.suspend()
    for n in range(3):
        stage.acquire(f"a{n}")
        stage.answer("l")
        stage.answer("l")
        assert stage.close(f"a{n}") == ["unblock"]
        assert stage.wait(2**n - 0.01) == []
        assert stage.wait(0.01) == ["before l"]
    assert stage.answer("l") == ["go-down 4"]


def test_one_who_asks_anew_waits_for_the_pause_as_well() -> None:
    stage = Stage(backoff_ns=SECOND)
    stage.suspend("r1")
    stage.done("no")
    stage.withdraw("r1")
    assert stage.suspend("r2") == []
    assert stage.wait(1) == ["go-down 2"]


def test_auto_suspends_whenever_nothing_forbids_it_and_lingers_after_a_resume() -> None:
    stage = Stage(auto=True, linger_ns=SECOND)
    assert stage.wait(0.9) == []
    assert stage.wait(0.1) == ["go-down 1"]
    assert stage.done() == []
    stage.acquire("a")
    assert stage.wait(10) == []
    assert stage.close("a") == ["unblock", "go-down 2"]
    stage.done()
    assert stage.wait(1) == ["go-down 3"]
    stage.done()
    assert stage.suspend() == ["go-down 4"]  # who asks need not wait for that
