"""The updater of the global clock, call by call; many of them at once are in tests/property."""

from __future__ import annotations

from itertools import product

import pytest

from holdfast.errors import InvalidArgument, StaleRecord
from holdfast.lease import Reading
from holdfast.lease.global_clock import (
    INTERVAL_NS_MAX,
    STEP_NS_MAX,
    TRANSITIONS,
    Advance,
    Event,
    Look,
    Phase,
    Updater,
    newborn,
    tick,
)


def winner(now_ns: int = 1000, g: int = 50) -> Updater:
    """An updater of interval 10 that has just ticked: the record shows `g`."""
    updater = Updater(now_ns - 20, interval_ns=10)
    assert updater.fire(now_ns - 20) == Look()
    updater.seen(Reading(g - 20, "e"), now_ns - 20)
    assert updater.fire(now_ns) == Look()
    assert updater.seen(Reading(g - 20, "e"), now_ns) == Advance(Reading(g - 20, "e"), 20)
    updater.advanced(Reading(g, "e"), now_ns)
    return updater


def test_who_comes_first_looks_before_it_ticks() -> None:
    updater = winner()
    assert (updater.phase, updater.due_ns) == (Phase.WAITING, 1010)


def test_a_tick_adds_what_was_measured_and_drops_what_the_writing_took() -> None:
    updater = winner()
    assert updater.fire(1009) is None
    assert updater.fire(1013) == Advance(Reading(50, "e"), 13)
    assert updater.fire(1020) is None  # an answer is awaited
    updater.advanced(Reading(63, "e"), 1018)
    assert updater.due_ns == 1028
    assert updater.fire(1028) == Advance(Reading(63, "e"), 10)


def test_a_loser_drops_its_interval_and_backs_off_two_ticks() -> None:
    updater = winner()
    updater.fire(1010)
    assert updater.lost() == Look()
    updater.seen(Reading(60, "e"), 1012)
    assert (updater.phase, updater.due_ns) == (Phase.STANDING_BY, 1032)


def test_a_loser_only_looks_while_another_ticks() -> None:
    updater = winner()
    updater.fire(1010)
    updater.lost()
    updater.seen(Reading(60, "e"), 1012)
    assert updater.fire(1032) == Look()
    assert updater.seen(Reading(80, "e"), 1033) is None
    assert updater.due_ns == 1053


def test_a_loser_goes_on_where_the_winner_has_stopped() -> None:
    """And counts all of the time since it saw the last reading: nobody else has."""
    updater = winner()
    updater.fire(1010)
    updater.lost()
    updater.seen(Reading(60, "e"), 1012)
    updater.fire(1032)
    assert updater.seen(Reading(60, "e"), 1033) == Advance(Reading(60, "e"), 21)


@pytest.mark.parametrize("asked", ["looking", "checking", "advancing"])
def test_an_unknown_outcome_discards_what_was_seen(asked: str) -> None:
    updater = winner() if asked == "advancing" else Updater(1000, interval_ns=10)
    updater.fire(1010)
    if asked == "checking":
        updater.seen(Reading(7, "e"), 1010)
        updater.fire(1030)
    assert updater.phase.value == asked
    updater.unknown(1040)
    assert (updater.phase, updater.due_ns) == (Phase.BLIND, 1050)
    assert updater.fire(1050) == Look()
    assert updater.seen(Reading(50, "e"), 1051) is None
    updater.fire(1071)
    assert updater.seen(Reading(50, "e"), 1072) == Advance(Reading(50, "e"), 21)


def test_a_swap_adds_a_step_at_most() -> None:
    """Who was stopped for an hour must not add that hour to a lease claimed a second ago."""
    seen = newborn("e")
    assert tick(seen, seen, 7).now_ns == 7
    assert tick(seen, seen, 3_600 * 10**9).now_ns == STEP_NS_MAX == seen.latest_ns


def test_a_swap_on_anything_else_than_was_seen_fails() -> None:
    seen = newborn("e")
    for current in (Reading(1, "e", STEP_NS_MAX), newborn("f")):
        with pytest.raises(StaleRecord):
            tick(current, seen, 7)
    with pytest.raises(InvalidArgument):
        tick(seen, seen, -1)


def test_a_stalled_updater_counts_its_stall_once() -> None:
    updater = winner()
    assert updater.fire(9_000) == Advance(Reading(50, "e"), 8_000)
    updater.advanced(Reading(8_050, "e"), 9_001)
    assert updater.fire(9_011) == Advance(Reading(8_050, "e"), 10)


def test_local_time_that_goes_backwards_adds_nothing() -> None:
    updater = winner()
    updater.fire(1010)
    updater.lost()
    updater.seen(Reading(60, "e"), 5_000)
    updater.fire(5_020)
    assert updater.seen(Reading(60, "e"), 4_000) == Advance(Reading(60, "e"), 0)


def test_a_reborn_record_is_not_mistaken_for_the_old_one() -> None:
    """Though it shows the same number, nothing is added to it."""
    updater = winner()
    updater.fire(1010)
    updater.lost()
    updater.seen(Reading(60, "e"), 1012)
    updater.fire(1032)
    assert updater.seen(Reading(60, "f"), 1033) is None
    assert updater.rebirths == 1
    updater.fire(1053)
    assert updater.seen(Reading(60, "f"), 1054) == Advance(Reading(60, "f"), 21)
    assert updater.rebirths == 1


@pytest.mark.parametrize("interval_ns", [0, -1, INTERVAL_NS_MAX + 1])
def test_an_interval_that_is_too_long_is_refused(interval_ns: int) -> None:
    with pytest.raises(InvalidArgument):
        Updater(0, interval_ns=interval_ns)


@pytest.mark.parametrize(("phase", "event"), list(product(Phase, Event)))
def test_what_the_table_does_not_list_cannot_happen(phase: Phase, event: Event) -> None:
    updater = Updater(0)
    updater.phase = phase
    if (phase, event) in TRANSITIONS:
        assert updater._apply(event) is TRANSITIONS[phase, event]
    else:
        with pytest.raises(AssertionError):
            updater._apply(event)
        assert updater.phase is phase


def test_every_phase_is_reached_and_left() -> None:
    assert {phase for phase, _ in TRANSITIONS} == set(Phase) == set(TRANSITIONS.values())
