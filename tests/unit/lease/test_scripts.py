"""Releases, vacancies and expiries, played by hand; claims are in test_scripts_claim.py."""

from __future__ import annotations

import pytest

from holdfast.errors import OutcomeUnknown, StaleRecord, Unavailable
from holdfast.lease import Record
from holdfast.lease.scripts import (
    EXPIRE_AT_ONCE,
    RELEASE_ATTEMPTS,
    await_vacancy,
    expire_overdue,
    release,
)
from tests.unit.lease.stage import MINUTE, SECOND, Expected, Expecting, HandClock, Stage, house

DURATION = 30 * SECOND
UNKNOWN = OutcomeUnknown("no answer")


# -- release --------------------------------------------------------------------------------------


def test_a_release_says_whether_it_was_ours() -> None:
    place = house()
    held = place.other.claim("n", "me", DURATION)
    assert place.stage.run(release(held)) is True
    assert place.stage.run(release(held)) is False
    assert place.stage.calls == ["release", "release"]


def test_a_release_that_is_not_answered_is_repeated() -> None:
    """Twice is harmless: the second finds nothing to give back."""
    for fault, answer in (("lost request", True), ("lost answer", False), ("away", True)):
        place = house()
        held = place.other.claim("n", "me", DURATION)
        place.mine.faults = [("release", fault)]
        assert place.stage.run(release(held)) is answer
        assert place.other.look("n") is None
        assert place.stage.calls == ["release", "release"]
        assert len(place.stage.waits) == 1


@pytest.mark.parametrize("kind", [OutcomeUnknown, Unavailable])
def test_a_release_gives_up_and_says_what_it_knows(kind: type[Exception]) -> None:
    expected = [Expected("release", kind("…"))] * RELEASE_ATTEMPTS
    held = Record("n", "me", 1, 0, DURATION, "w", "e")
    with pytest.raises(kind):
        Stage(Expecting(expected), HandClock()).run(release(held))


@pytest.mark.parametrize("successor", ["another", "me"])
def test_a_release_that_arrives_late_does_not_hurt_a_successor(successor: str) -> None:
    """Not even one of the same name: the epoch is another."""
    place = house()
    held = place.other.claim("n", "me", DURATION)
    place.other.release(held)
    following = place.other.claim("n", successor, DURATION)
    assert place.stage.run(release(held)) is False
    assert place.other.look("n") == following


# -- waiting for a vacancy ------------------------------------------------------------------------


def test_what_nobody_holds_is_vacant_at_once() -> None:
    place = house()
    assert place.stage.run(await_vacancy("n", wait_ns=0)) is True
    assert place.stage.calls == ["look"]


def test_what_somebody_holds_is_waited_for() -> None:
    place = house()
    place.other.claim("n", "another", 10 * SECOND)
    assert place.stage.run(await_vacancy("n", wait_ns=5 * SECOND)) is False
    assert [report.holder for report in place.stage.reports] == ["another"]
    assert place.stage.run(await_vacancy("n", wait_ns=10 * SECOND)) is True
    assert place.other.look("n") is None  # it needed nobody else to remove it
    assert place.clock.now_ns <= 1_000 * SECOND + 10 * SECOND + SECOND // 100


def test_at_the_end_of_the_wait_it_looks_once_more() -> None:
    place = house()
    place.other.claim("n", "another", 5 * SECOND - 1)
    assert place.stage.run(await_vacancy("n", wait_ns=5 * SECOND)) is True


def test_another_holder_is_waited_for_as_well() -> None:
    """A vacancy between two looks is not noticed; and the second holder is told of."""
    place = house()
    held = place.other.claim("n", "another", MINUTE)

    def hand_over() -> None:
        place.other.release(held)
        if place.other.look("n") is None:
            place.other.claim("n", "a third", 10 * SECOND)

    place.stage.on_wait = hand_over
    assert place.stage.run(await_vacancy("n", wait_ns=None)) is True
    assert [report.holder for report in place.stage.reports] == ["another", "a third"]


def test_a_pinned_lease_is_waited_for_without_spinning() -> None:
    place = house()
    place.other.pin("n", "maintenance")
    place.other.claim("n", "another", SECOND)
    calls = place.stage.within(await_vacancy("n", wait_ns=None), MINUTE)
    assert calls["expire"] <= 120
    place.other.unpin("n", "maintenance")
    assert Stage(place.mine, place.clock).run(await_vacancy("n", wait_ns=0)) is True


@pytest.mark.parametrize("operation", ["look", "clock", "expire"])
def test_a_store_that_is_away_for_a_while_is_asked_again(operation: str) -> None:
    place = house()
    place.other.claim("n", "another", SECOND)
    place.clock.now_ns += 2 * SECOND
    place.mine.faults = [(operation, "away")] * 3
    assert place.stage.run(await_vacancy("n", wait_ns=MINUTE)) is True
    assert len(place.stage.waits) == 3


def test_a_store_that_stays_away_tells_nothing() -> None:
    place = house()
    place.mine.always = {"look": "away"}
    began_ns = place.clock.now_ns
    with pytest.raises(Unavailable):
        place.stage.run(await_vacancy("n", wait_ns=MINUTE))
    assert place.clock.now_ns == began_ns + MINUTE
    assert len(place.stage.calls) <= 120


def test_away_some_time_ago_is_forgotten() -> None:
    place = house()
    place.other.claim("n", "another", MINUTE)
    place.mine.faults = [("look", "away")]
    assert place.stage.run(await_vacancy("n", wait_ns=SECOND)) is False


# -- what has run out -----------------------------------------------------------------------------


def test_what_has_run_out_is_removed_without_holding_anything() -> None:
    """#25: the expiry needs no lease, and nobody in particular. The pinned stay."""
    place = house()
    for name in ("a", "b", "pinned"):
        place.other.claim(name, "gone", SECOND)
    place.other.claim("c", "here", MINUTE)
    place.other.pin("pinned", "maintenance")
    place.clock.now_ns += 2 * SECOND
    assert place.stage.run(expire_overdue()) == 2
    assert sorted(place.other.refresh()) == ["c", "pinned"]
    assert place.stage.run(expire_overdue()) == 0
    assert place.stage.waits == []


def test_09_one_pass_is_bounded_and_the_next_goes_on() -> None:
    """#9: however much has run out, a pass delays nothing else."""
    place = house()
    for number in range(EXPIRE_AT_ONCE + 5):
        place.other.claim(f"n{number}", "gone", SECOND)
    place.clock.now_ns += 2 * SECOND
    assert place.stage.run(expire_overdue()) == EXPIRE_AT_ONCE
    assert len(place.stage.calls) == EXPIRE_AT_ONCE + 1
    assert place.stage.run(expire_overdue()) == 5


def test_what_others_have_extended_or_removed_meanwhile_is_passed_over() -> None:
    one, two, three = (Record(name, "h", 1, 0, 1, "w", "e") for name in "abc")
    stale = StaleRecord("it has changed")
    stage = Stage(
        Expecting(
            [
                Expected("overdue", [one, two, three], arguments=(EXPIRE_AT_ONCE,)),
                Expected("expire", stale, arguments=(one,)),
                Expected("expire", None, arguments=(two,)),
                Expected("expire", stale, arguments=(three,)),
            ]
        ),
        HandClock(),
    )
    assert stage.run(expire_overdue()) == 1


def test_what_was_decided_on_an_old_picture_removes_nothing() -> None:
    """Extended between the look and the removal: the whole record is compared."""
    place = house()
    held = place.other.claim("n", "another", SECOND)
    place.clock.now_ns += 2 * SECOND
    script = expire_overdue()
    overdue = place.stage.perform(next(script))
    later = place.other.extend(held, SECOND)
    place.clock.now_ns += 2 * SECOND  # that has run out as well
    call = script.send(overdue)
    with pytest.raises(StaleRecord) as caught:
        place.stage.perform(call)
    with pytest.raises(StopIteration) as end:
        script.throw(caught.value)
    assert end.value.value == 0
    assert place.other.look("n") == later


@pytest.mark.parametrize("error", [UNKNOWN, Unavailable("away")])
def test_a_store_that_fails_ends_the_pass_and_says_so(error: Exception) -> None:
    """The caller ticks again soon: there is a next pass."""
    one = Record("a", "h", 1, 0, 1, "w", "e")
    stage = Stage(
        Expecting([Expected("overdue", [one, one]), Expected("expire", error)]), HandClock()
    )
    with pytest.raises(type(error)):
        stage.run(expire_overdue())
