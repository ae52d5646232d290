"""The watchdogs speak when they should, not more often, and name whom they mean."""

from __future__ import annotations

from holdfast.wake.governor.journal import Journal
from holdfast.wake.governor.watchdogs import SuspendLoop
from holdfast.wake.model import Blocker, Cause, Config
from tests.unit.wake.stage import SECOND, Stage

FIVE_MINUTES = 300


def test_a_lease_held_for_long_is_named_with_the_one_who_acquired_it() -> None:
    stage = Stage()
    stage.acquire("a")
    assert stage.wait(FIVE_MINUTES - 0.1) == []
    assert stage.wait(0.1) == ["report long-wake-lease a"]
    assert "somebody (42)" in stage.reports[0].sentence
    assert stage.wait(10 * FIVE_MINUTES) == []


def test_a_name_is_reported_twice_at_most() -> None:
    stage = Stage()
    for _ in range(3):
        stage.acquire("a")
        stage.wait(FIVE_MINUTES)
        stage.close("a")
    stage.acquire("b")
    stage.wait(FIVE_MINUTES)
    assert [report.names for report in stage.reports] == [("a",), ("a",), ("b",)]


def test_a_lease_closed_in_time_is_not_reported() -> None:
    stage = Stage()
    stage.acquire("a")
    stage.wait(FIVE_MINUTES - 0.1)
    stage.close("a")
    assert stage.wait(FIVE_MINUTES) == []
    assert stage.governor.next_due_ns is None


def test_switched_off_it_says_nothing() -> None:
    stage = Stage(long_lease_ns=0)
    stage.acquire("a")
    assert stage.wait(10 * FIVE_MINUTES) == []


def test_an_unmonitored_lease_is_not_reported_and_spares_the_others() -> None:
    stage = Stage()
    stage.acquire("a")
    stage.wait(FIVE_MINUTES - 1)
    stage.acquire("big", "unmonitored")
    stage.acquire("b")
    assert stage.wait(2 * FIVE_MINUTES) == []
    stage.close("big")  # from here on everybody's time begins anew
    assert stage.wait(FIVE_MINUTES - 0.1) == []
    assert stage.wait(0.1) == ["report long-wake-lease a", "report long-wake-lease b"]


def test_application_activity_spares_the_others_until_the_last_of_it_ends() -> None:
    stage = Stage()
    stage.acquire("user1", "activity")
    stage.acquire("user2", "activity")
    stage.acquire("a")
    stage.close("user1")
    assert stage.wait(2 * FIVE_MINUTES) == []
    stage.close("user2")
    assert stage.wait(FIVE_MINUTES) == ["report long-wake-lease a"]


def test_activity_that_was_never_granted_spares_nobody() -> None:
    stage = Stage()
    stage.listen("l")
    stage.suspend()
    stage.acquire("user", "activity")
    stage.close("user")
    stage.acquire("a")
    stage.answer("l")
    stage.answer("l")
    assert "report long-wake-lease a" in stage.wait(FIVE_MINUTES)


def test_names_that_are_counted_are_bounded() -> None:
    stage = Stage(long_lease_reports=1)
    for n in range(1100):
        stage.acquire(f"a{n}")
    stage.wait(FIVE_MINUTES)
    assert len(stage.reports) == 1100
    stage.acquire("a1099")
    stage.acquire("a0")  # forgotten long ago
    assert stage.wait(FIVE_MINUTES) == ["report long-wake-lease a0"]


def spoilt(stage: Stage, times: int, saboteur: str) -> list[str]:
    """That many attempts, each of them stopped by a lease of that name."""
    told = []
    for _ in range(times):
        stage.acquire(saboteur)
        told += stage.answer("l")
        told += stage.answer("l")
        stage.close(saboteur)
        told += stage.wait(1)
    return [word for word in told if word.startswith("report")]


def test_ten_attempts_without_reaching_the_back_end_are_reported_once_with_the_saboteur() -> None:
    stage = Stage(backoff_max_ns=SECOND)
    stage.listen("l")
    stage.suspend("r1")
    assert spoilt(stage, 3, "other") == []
    assert spoilt(stage, 6, "saboteur") == []
    assert spoilt(stage, 1, "saboteur") == ["report suspend-loop saboteur,other"]
    assert "saboteur is held (7 of 10)" in stage.reports[0].sentence
    assert spoilt(stage, 15, "saboteur") == []


def test_a_loop_that_was_reported_is_counted_no_further() -> None:
    journal = Journal(10)
    loop = SuspendLoop(Config(suspend_loop=3), journal)
    for n in range(100):
        loop.aborted([Blocker(Cause.WAKE_LEASE, f"a{n}")], 0)
    assert len(loop.saboteurs) == 3
    loop.entered()
    assert loop.saboteurs == {}


def test_the_report_of_a_loop_comes_when_all_have_resumed() -> None:
    stage = Stage(backoff_max_ns=SECOND, suspend_loop=1)
    stage.listen("l")
    stage.suspend()
    stage.acquire("a")
    assert stage.answer("l") == ["after l"]
    assert stage.answer("l") == ["report suspend-loop a"]


def test_a_listener_that_aborts_is_a_saboteur() -> None:
    stage = Stage(backoff_max_ns=SECOND, suspend_loop=2)
    stage.listen("lazy", timeout=1)
    stage.suspend()
    told = stage.wait(10)
    assert "report suspend-loop lazy" in told


def test_any_attempt_that_reaches_the_back_end_begins_the_count_anew() -> None:
    stage = Stage(backoff_max_ns=SECOND)
    stage.listen("l")
    for name in ("r1", "r2"):
        stage.suspend(name)
        assert spoilt(stage, 9, "a") == []
        stage.answer("l")
        stage.done("no")
        stage.answer("l")
        stage.wait(1)
        stage.answer("l")
        stage.done()
        stage.answer("l")
    stage.suspend("r3")
    assert spoilt(stage, 10, "a") == ["report suspend-loop a"]
    stage.answer("l")
    stage.done("no")
    stage.answer("l")
    stage.wait(1)
    assert spoilt(stage, 10, "b") == ["report suspend-loop b"]


def activities(stage: Stage, times: int) -> list[str]:
    told = []
    for n in range(times):
        told += stage.acquire(f"user{n}", "activity")
        stage.close(f"user{n}")
    return [word for word in told if word.startswith("report")]


def test_activity_that_begins_a_sixth_time_without_a_suspend_is_reported_once() -> None:
    stage = Stage()
    stage.acquire("culprit")
    assert activities(stage, 5) == []
    assert activities(stage, 1) == ["report no-suspend culprit,user0"]
    assert activities(stage, 20) == []
    stage.close("culprit")
    stage.suspend("r1")
    stage.done()
    assert activities(stage, 6) == ["report no-suspend user5"]


def test_only_the_first_of_several_activities_begins_one() -> None:
    stage = Stage()
    stage.acquire("a")
    stage.close("a")  # which is no activity that ends
    stage.acquire("long", "activity")
    assert activities(stage, 20) == []


def test_good_cycles_are_not_reported() -> None:
    stage = Stage()
    stage.listen("l")
    for n in range(20):
        stage.acquire(f"user{n}", "activity")
        stage.suspend(f"r{n}")
        stage.close(f"user{n}")
        stage.answer("l")
        stage.done()
        stage.answer("l")
    assert stage.reports == []


def test_a_report_is_in_the_ring_too() -> None:
    stage = Stage()
    stage.acquire("a")
    stage.wait(FIVE_MINUTES)
    event = stage.governor.events[-1]
    assert (event.kind, event.name) == ("report", "long-wake-lease")
    assert event.detail == stage.reports[0].sentence
