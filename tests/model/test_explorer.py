"""The explorer sees what there is to see: circles, deaths, sleepers, broken invariants."""

from __future__ import annotations

from typing import Any

from tests.model.explorer import Actor, Scenario, Violation, explore
from tests.model.memory import Interleaved
from tests.model.steps import ACQUIRE, RELEASE, Automaton, Program, alive, load, note, sleep, store


def nothing(record: Any, actor: int, event: Any) -> Any:
    return record


def waits_for_lock() -> Program:
    while True:
        locked = yield load(0, ACQUIRE)
        if not locked:
            return


def locks() -> Program:
    yield store(0, 1, RELEASE)
    yield store(0, 0, RELEASE)


def test_a_lock_is_found_to_be_no_progress() -> None:
    actors = [Actor("one who locks", locks), Actor("one who waits", waits_for_lock)]
    report = explore(Scenario("lock", actors, {"lock": 0}, (), nothing), Interleaved())
    assert report.violation is not None
    assert report.violation.invariant == "progress"
    assert report.trace[0] == "one who locks: stores lock = 1"
    assert set(report.trace[1:]) <= {"one who waits: loads lock: 1"}


def test_a_newcomer_that_waits_is_found() -> None:
    scenario = Scenario(
        "lock", [Actor("one", locks)], {"lock": 0}, (), nothing, newcomer=waits_for_lock
    )
    report = explore(scenario, Interleaved())
    assert report.violation is not None
    assert "a newcomer, alone" in report.violation.sentence


def test_the_trace_is_the_shortest() -> None:
    def twice() -> Program:
        yield store(0, 1, RELEASE)
        yield store(0, 2, RELEASE)

    def sees() -> Program:
        value = yield load(0, ACQUIRE)
        yield note(value)

    def not_two(record: Any, actor: int, event: Any) -> Any:
        if event == (2,):
            raise Violation("two", "it is 2")
        return record

    actors = [Actor("a", twice), Actor("b", twice), Actor("c", sees)]
    report = explore(Scenario("two", actors, {"x": 0}, (), not_two), Interleaved())
    assert report.trace == ["a: stores x = 1", "a: stores x = 2", "c: loads x: 2"]
    assert "VIOLATION of two: it is 2" in str(report)


def test_only_the_dead_are_told_to_be_dead_and_only_the_kernel_wakes_for_them() -> None:
    told = set()

    def asks() -> Program:
        yield sleep(0)
        lives = yield alive(7)
        yield note(lives)

    def lives_on() -> Program:
        yield load(1, ACQUIRE)

    def observe(record: Any, actor: int, event: Any) -> Any:
        told.add(event)
        return record

    for mortal in (False, True):
        told.clear()
        actors = [Actor("asks", asks), Actor("lives", lives_on, number=7, mortal=mortal)]
        scenario = Scenario("death", actors, {"event": 0, "x": 0}, (), observe, woken=[0])
        assert explore(scenario, Interleaved()).exhausted
        assert told == ({(False,)} if mortal else set())


def test_hidden_state_is_noticed() -> None:
    def hides() -> Program:
        for value in iter([1, 1, 2]):  # which of the two ones it is at, no variable says
            yield store(0, value, RELEASE)

    automaton = Automaton(hides)
    state, _ = automaton.move(0, None)
    assert state == 0  # the second 1 is taken for the first
    assert automaton.contradictions() == [(0, None)]
