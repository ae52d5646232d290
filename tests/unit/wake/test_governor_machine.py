"""The machine goes down of itself, or shuts down."""

from __future__ import annotations

import pytest

from holdfast.wake.model import Cause, Trigger
from tests.unit.wake.stage import SECOND, Stage


def test_the_machine_goes_down_of_itself_once_all_are_ready() -> None:
    stage = Stage()
    stage.listen("l")
    assert stage.sleep_begins() == ["before l"]
    assert stage.answer("l") == ["ready-for-sleep 1"]
    assert stage.state == "suspended"
    assert stage.sleep_ended(7.0) == ["after l"]
    assert stage.answer("l") == []
    status = stage.governor.status()
    assert (status.suspends, status.total_sleep_ns) == (1, 7 * SECOND)
    assert stage.governor.attempts[0].trigger is Trigger.MACHINE
    assert stage.entered == []


def test_a_wake_lease_delays_the_machine_and_its_end_lets_it_go() -> None:
    stage = Stage()
    stage.acquire("a")
    stage.listen("l")
    assert stage.sleep_begins() == ["before l"]
    assert stage.answer("l") == []
    assert stage.acquire("b") == ["grant b"]
    assert stage.close("a") == []
    assert stage.close("b") == ["unblock", "ready-for-sleep 1"]


def test_a_machine_that_does_not_wait_is_an_overrun_that_says_whose() -> None:
    stage = Stage()
    stage.listen("quick")
    stage.listen("slow")
    stage.sleep_begins()
    stage.answer("quick")
    stage.acquire("a")
    assert stage.sleep_ended(7.0) == []  # nobody is told that it is over before he has answered
    assert stage.answer("slow") == ["after quick", "after slow"]
    (attempt,) = stage.governor.attempts
    assert [(each.cause, each.name) for each in attempt.blockers] == [
        (Cause.OVERRUN, "slow"),
        (Cause.OVERRUN, "a"),
    ]
    status = stage.governor.status()
    assert (status.suspends, status.aborts) == (1, 0)
    stage.answer("quick")
    stage.answer("slow")
    stage.close("a")
    stage.suspend()
    stage.answer("quick")
    assert stage.answer("slow") == ["go-down 2"]  # that was that


def test_a_machine_that_is_back_while_only_a_lease_is_held_resumes_at_once() -> None:
    stage = Stage()
    stage.listen("l")
    stage.acquire("a")
    stage.sleep_begins()
    stage.answer("l")
    assert stage.sleep_ended(7.0) == ["after l"]


def test_a_machine_that_gives_up_is_a_failure_and_all_are_told() -> None:
    stage = Stage()
    stage.listen("l")
    stage.sleep_begins()
    stage.answer("l")
    assert stage.sleep_ended("refused") == ["after l"]
    assert stage.governor.status().failures == 1


def test_asked_while_the_machine_is_down_of_itself_it_is_granted_after() -> None:
    stage = Stage()
    stage.sleep_begins()
    assert stage.acquire("a") == ["wake-up 1"]
    assert stage.sleep_ended() == ["block", "grant a"]


def test_the_machine_takes_over_an_attempt_that_goes_on() -> None:
    stage = Stage()
    stage.listen("l")
    stage.suspend()
    assert stage.sleep_begins() == []
    assert stage.answer("l") == ["ready-for-sleep 1"]
    assert stage.sleep_ended() == ["after l"]
    assert stage.answer("l") == ["answer r slept"]
    assert stage.entered == []
    assert stage.governor.attempts[0].trigger is Trigger.MACHINE


def test_a_sleep_that_nobody_was_ready_for_satisfies_the_request_too() -> None:
    stage = Stage()
    stage.listen("l")
    stage.suspend()
    stage.sleep_begins()
    stage.sleep_ended()
    assert stage.answer("l") == ["after l"]
    assert stage.answer("l") == ["answer r slept"]
    assert stage.wait(1000) == []


def test_the_machine_does_not_wait_for_a_pause_and_asks_nobody_whether_he_wants() -> None:
    stage = Stage(backoff_ns=100 * SECOND)
    stage.suspend()
    stage.done("no")
    assert stage.sleep_begins() == ["ready-for-sleep 2"]
    assert stage.sleep_ended() == ["answer r slept"]


def test_the_machine_goes_down_again_while_all_are_told_that_it_is_back() -> None:
    stage = Stage()
    stage.listen("l")
    stage.sleep_begins()
    stage.answer("l")
    stage.sleep_ended()
    assert stage.sleep_begins() == []
    assert stage.answer("l") == ["before l"]
    assert stage.answer("l") == ["ready-for-sleep 2"]
    stage.sleep_ended()
    stage.sleep_begins()
    assert stage.sleep_ended() == []  # and is back before anybody could be asked
    assert stage.answer("l") == []
    assert stage.state == "awake"
    assert stage.governor.status().suspends == 3


def test_the_machine_goes_down_while_our_back_end_is_entered() -> None:
    """It need not wait for us; and it is over only when both are back."""
    stage = Stage()
    stage.listen("l")
    stage.suspend()
    stage.answer("l")
    assert stage.sleep_begins() == ["ready-for-sleep 1"]
    assert stage.acquire("a") == ["wake-up 1"]
    assert stage.done("another sleep is under way") == []
    assert stage.sleep_ended(3.0) == ["block", "grant a", "after l"]
    assert stage.answer("l") == ["answer r slept"]
    assert stage.governor.status().suspends == 1


def test_of_two_that_are_back_the_one_that_slept_counts() -> None:
    stage = Stage()
    stage.suspend()
    stage.sleep_begins()
    assert stage.done(3.0) == []
    assert stage.sleep_ended("it was ours") == ["answer r slept"]
    assert (stage.governor.status().suspends, stage.governor.status().failures) == (1, 0)


def test_a_machine_that_gives_up_early_leaves_the_request_where_it_is() -> None:
    stage = Stage()
    stage.listen("l")
    stage.suspend()
    stage.sleep_begins()
    stage.sleep_ended("refused")
    assert stage.answer("l") == ["after l"]
    assert stage.answer("l") == []
    assert stage.wait(1) == ["before l"]
    assert stage.answer("l") == ["go-down 2"]


def test_a_sleep_while_all_are_told_of_a_failure_ends_the_pause_before_it_began() -> None:
    stage = Stage(backoff_ns=100 * SECOND)
    stage.listen("l")
    stage.suspend()
    stage.answer("l")
    stage.done("too hot")
    stage.sleep_begins()
    stage.sleep_ended(3.0)
    assert stage.answer("l") == ["before l"]


def test_said_twice_or_out_of_turn_it_changes_nothing() -> None:
    stage = Stage()
    assert stage.sleep_ended() == stage.shutdown_ended() == []
    assert stage.kinds == []
    stage.listen("l")
    assert stage.sleep_begins() == ["before l"]
    assert stage.sleep_begins() == []
    assert stage.answer("l") == ["ready-for-sleep 1"]
    assert stage.sleep_begins() == []
    stage.sleep_ended()
    assert stage.sleep_ended() == []
    assert stage.governor.status().suspends == 1


# ---- shutdown ---------------------------------------------------------------------------------


def test_a_machine_that_shuts_down_calls_nobody_and_never_suspends() -> None:
    stage = Stage()
    stage.listen("l")
    stage.suspend("r1")
    stage.answer("l")
    stage.done()
    stage.answer("l")
    stage.acquire("a")
    stage.suspend("r2")
    assert stage.shutdown() == ["answer r2 aborted"]
    assert stage.close("a") == ["unblock", "ready-for-shutdown"]
    assert stage.suspend("r3") == ["answer r3 aborted"]
    assert stage.wait(1000) == []
    assert stage.shutdown() == []


def test_a_machine_that_shuts_down_still_grants() -> None:
    stage = Stage()
    assert stage.shutdown() == ["ready-for-shutdown"]
    assert stage.acquire("a") == ["block", "grant a"]
    assert stage.acquire("user", "activity") == ["grant user"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_calls_that_go_on_when_the_machine_shuts_down_are_left(moment: str) -> None:
    stage = Stage()
    stage.listen("l", timeout=5, then="evict")
    stage.suspend()
    if moment == "after":
        stage.answer("l")
        stage.done()
    answer = "answer r " + ("slept" if moment == "after" else "aborted")
    assert stage.shutdown() == [answer, "ready-for-shutdown"]
    assert stage.answer("l") == []
    assert stage.wait(1000) == []
    assert stage.entered == ([1] if moment == "after" else [])


def test_a_shutdown_while_the_machine_is_down_waits_until_it_is_back() -> None:
    stage = Stage()
    stage.listen("l")
    stage.suspend()
    stage.answer("l")
    assert stage.shutdown() == []
    assert stage.acquire("a") == ["wake-up 1"]  # not granted: the machine may still go down
    assert stage.done() == ["answer r slept", "block", "grant a"]
    assert stage.close("a") == ["unblock", "ready-for-shutdown"]


def test_a_shutdown_that_is_cancelled_tells_those_who_wait_for_the_resume() -> None:
    stage = Stage()
    stage.listen("l")
    stage.listen("dead")
    stage.suspend()
    stage.shutdown()
    stage.gone("dead")
    assert stage.shutdown_ended() == ["after l"]
    assert stage.answer("l") == []
    assert stage.suspend() == ["before l"]
    assert stage.shutdown() == ["answer r aborted", "ready-for-shutdown"]


def test_a_shutdown_that_is_cancelled_after_all_were_told_tells_nobody_again() -> None:
    stage = Stage()
    stage.listen("l")
    stage.suspend("r1")
    stage.answer("l")
    stage.done()
    stage.shutdown()
    assert stage.shutdown_ended() == []
    assert stage.shutdown_ended() == []
    assert stage.suspend("r2") == ["before l"]


def test_a_shutdown_that_is_cancelled_while_all_are_awake_calls_nobody() -> None:
    stage = Stage()
    stage.listen("l")
    stage.suspend()
    stage.answer("l")
    stage.done()
    stage.answer("l")
    assert stage.shutdown() == ["ready-for-shutdown"]
    assert stage.shutdown_ended() == []
    assert stage.state == "awake"


def test_a_shutdown_that_is_cancelled_while_the_machine_is_down_is_no_shutdown() -> None:
    stage = Stage()
    stage.listen("l")
    stage.suspend()
    stage.answer("l")
    stage.shutdown()
    assert stage.shutdown_ended() == []
    assert stage.done() == ["after l"]
    assert stage.answer("l") == ["answer r slept"]


def test_the_machine_sleeps_while_it_shuts_down() -> None:
    stage = Stage()
    stage.shutdown()
    assert stage.sleep_begins() == []
    assert stage.sleep_ended() == []
    assert stage.shutdown_ended() == []
    assert stage.suspend() == ["go-down 1"]
