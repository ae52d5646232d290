"""Why the machine did not go down, in sentences."""

from __future__ import annotations

import pytest

from holdfast.wake.causes import clause, explain, seconds, sentences
from holdfast.wake.model import Blocker, Cause, Requester
from tests.unit.wake.stage import Stage


def story(stage: Stage, holders: dict[str, str] | None = None) -> list[str]:
    """The last attempt's."""
    known = {stage.numbers[name]: text for name, text in (holders or {}).items()}
    return sentences(stage.governor.attempts[-1], stage.now_ns, known)


def why(stage: Stage, holders: dict[str, str] | None = None) -> list[str]:
    known = {stage.numbers[name]: text for name, text in (holders or {}).items()}
    return explain(stage.governor.status(), stage.now_ns, known)


def test_a_lease_that_stopped_an_attempt_is_told_with_who_asked_and_who_holds_it_now() -> None:
    stage = Stage()
    stage.listen("disk")
    stage.listen("net")
    stage.suspend()
    stage.answer("net")
    stage.wait(4.2)
    stage.acquire("upload", by="")
    stage.answer("disk")
    stage.wait(1)
    assert story(stage, {"upload": "now in worker (812)"}) == [
        "Attempt 1 began 5.2 s ago because somebody asked for it.",
        "Listener disk, called before the suspend, took 4.2 s.",
        "It did not go down: wake lease upload (acquired by somebody (42) 1 s ago, "
        "now in worker (812)) was held.",
        "Listener disk, called after the resume, is waited for since 1 s.",
        "Listener net, called after the resume, is waited for since 1 s.",
    ]


def test_calls_are_told_in_the_order_in_which_they_ended() -> None:
    stage = Stage()
    for name in "abc":
        stage.listen(name)
    stage.suspend()
    for name in "cab":
        stage.wait(1)
        stage.answer(name)
    stage.done(3.0)
    assert story(stage) == [
        "Attempt 1 began 3 s ago because somebody asked for it.",
        "Listener c, called before the suspend, took 1 s.",
        "Listener a, called before the suspend, took 2 s.",
        "Listener b, called before the suspend, took 3 s.",
        "The machine slept for 3 s.",
        *(f"Listener {name}, called after the resume, is waited for since 0 s." for name in "abc"),
    ]


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("abort", "did not answer in 5 s, and had chosen to abort then."),
        ("go_on", "did not answer in 5 s, and was not waited for any longer."),
        ("evict", "did not answer in 5 s, and was evicted."),
    ],
)
def test_a_listener_that_was_late_is_told_with_its_choice(then: str, said: str) -> None:
    stage = Stage()
    stage.listen("bad", timeout=5, then=then)
    stage.suspend()
    stage.wait(5)
    assert f"Listener bad, called before the suspend, {said}" in story(stage)


def test_a_listener_that_died_or_was_left_is_told() -> None:
    stage = Stage()
    stage.listen("dead")
    stage.listen("left")
    stage.suspend()
    stage.wait(2)
    stage.gone("dead")
    stage.wait(1)
    stage.shutdown()
    assert story(stage)[1:] == [
        "Listener dead, called before the suspend, was gone after 2 s.",
        "Listener left, called before the suspend, was not waited for after 3 s.",
        "It did not go down: the machine shuts down.",
    ]


def test_a_back_end_that_failed_is_told_in_its_own_words() -> None:
    stage = Stage()
    stage.suspend()
    stage.done("it is too hot")
    assert story(stage)[-1] == "It did not go down: the back-end failed: it is too hot."


def test_a_machine_that_did_not_wait_is_told() -> None:
    stage = Stage()
    stage.listen("slow")
    stage.acquire("a")
    stage.sleep_begins()
    stage.wait(5)
    stage.sleep_ended(60.0)
    assert story(stage) == [
        "Attempt 1 began 5 s ago because the machine went down of itself.",
        "Listener slow, called before the suspend, is waited for since 5 s.",
        "The machine slept for 60 s.",
        "The machine did not wait for listener slow.",
        "The machine did not wait for wake lease a.",
    ]


def test_a_machine_that_waits_for_a_lease_is_told_with_its_name() -> None:
    stage = Stage()
    stage.acquire("a")
    stage.sleep_begins()
    assert story(stage)[-1].startswith("The machine is kept for a while by wake lease a (")


def test_a_request_that_was_withdrawn_is_told() -> None:
    stage = Stage()
    stage.listen("l")
    stage.suspend()
    stage.withdraw()
    stage.answer("l")
    assert "It did not go down: nobody wanted it any more." in story(stage)


def test_why_the_machine_is_awake() -> None:
    stage = Stage(leases_shown=1)
    assert why(stage) == [
        "The governor is awake.",
        "Nothing forbids a suspend, and nobody has asked for one.",
    ]
    stage.acquire("a")
    stage.acquire("b")
    stage.wait(1200)
    assert why(stage, {"a": "now in flight"}) == [
        "The governor is awake.",
        "Wake lease a (acquired by somebody (42) 1200 s ago, now in flight) forbids a suspend.",
        "So does 1 more.",
    ]


def test_why_in_a_pause() -> None:
    stage = Stage(backoff_ns=2 * 10**9)
    stage.suspend()
    stage.done("no")
    assert "Nothing forbids a suspend; the next attempt is in 2 s." in why(stage)


def test_one_that_waits_for_the_resume_was_asked_for_and_not_acquired() -> None:
    stage = Stage()
    stage.suspend()
    stage.acquire("a")
    assert "asked for by somebody (42)" in why(stage)[1]


def test_a_command_that_thought_of_terminals_is_told_without_that() -> None:
    assert str(Requester(1, 7, 0, "evil\x1b[2J\n")) == "evil?[2J? (7)"
    assert str(Requester(1)) == "a process"


def test_every_cause_has_words() -> None:
    told = {clause(Blocker(cause, "x", 1, "y")) for cause in Cause}
    assert len(told) == len(Cause)
    assert all(told)


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [
        (0, "0 s"),
        (999, "0 s"),
        (1000, "1 \N{MICRO SIGN}s"),
        (120_000_000, "120 ms"),
        (4_200_000_000, "4.2 s"),
        (86_400 * 10**9, "86400 s"),
    ],
)
def test_durations_for_people(duration_ns: int, text: str) -> None:
    assert seconds(duration_ns) == text
