"""The pure rules, one operation at a time; their interplay is in tests/property."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.errors import InvalidArgument, StaleRecord
from holdfast.lease import Reading, Record, rules
from holdfast.lease.rules import Change, Request

HELD = Record("nightly", "a", 7, 100, 50, "w1", "e1", '{"pid":1}')
AGAIN = replace(HELD, epoch=8)
OTHER = replace(HELD, holder="b")


def at(now_ns: int, era: str = "e1") -> Reading:
    return Reading(now_ns, era)


def take(current: Record | None, pins: frozenset[str] = frozenset()) -> Change:
    request = Request.of("nightly", "a", 50, {"pid": 1})
    return rules.claim(current, request, at(100), epoch=7, writer="w1", pins=pins)


# -- claim ----------------------------------------------------------------------------------------


def test_a_vacant_lease_can_be_claimed_from_now_on() -> None:
    assert take(None) == Change(None, HELD)
    pinned = take(None, frozenset({"ops"})).after
    assert pinned is not None
    assert pinned.pins == {"ops"}


@pytest.mark.parametrize("holder", ["a", "b"])
def test_a_held_lease_cannot_be_claimed_by_anybody_at_any_time(holder: str) -> None:
    with pytest.raises(StaleRecord, match=holder):
        take(replace(HELD, holder=holder, start_ns=0, duration_ns=1))


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"holder": "\t"}, {"duration_ns": 0}, {"owner": {"x": {1}}}], ids=str
)
def test_a_claim_must_be_well_formed(wrong: dict[str, object]) -> None:
    right = {"name": "n", "holder": "h", "duration_ns": 1, "owner": None}
    Request.of(**right)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument):
        Request.of(**(right | wrong))  # type: ignore[arg-type]


# -- extend ---------------------------------------------------------------------------------------


def test_an_extension_is_to_and_not_by() -> None:
    change = rules.extend(HELD, HELD, 60, at(110), writer="w2")
    assert change == Change(HELD, replace(HELD, start_ns=110, duration_ns=60, writer="w2"))


@pytest.mark.parametrize(("now", "duration", "writes"), [(110, 40, False), (110, 41, True)])
def test_a_promise_is_never_shortened(now: int, duration: int, writes: bool) -> None:
    change = rules.extend(HELD, HELD, duration, at(now), writer="w2")
    assert change.writes is writes
    assert change.after is not None
    assert change.after.end_in("e1") >= 150


def test_extensions_race_benignly() -> None:
    newer = replace(HELD, start_ns=120, writer="w2", pins=frozenset({"ops"}))
    change = rules.extend(newer, HELD, 60, at(130), writer="w1")
    assert change == Change(newer, replace(newer, start_ns=130, duration_ns=60, writer="w1"))


def test_a_lease_past_its_end_can_be_extended_while_it_is_there() -> None:
    assert rules.extend(HELD, HELD, 1, at(1000), writer="w1").writes


@pytest.mark.parametrize("current", [None, OTHER, AGAIN], ids=["vacant", "another's", "again"])
def test_only_the_holding_that_was_meant_is_extended(current: Record | None) -> None:
    with pytest.raises(StaleRecord):
        rules.extend(current, HELD, 60, at(110), writer="w1")


@pytest.mark.parametrize("duration_ns", [0, -5])
def test_an_extension_by_nothing_is_refused(duration_ns: int) -> None:
    with pytest.raises(InvalidArgument):
        rules.extend(HELD, HELD, duration_ns, at(110), writer="w1")


def test_an_extension_in_a_new_era_covers_what_was_promised() -> None:
    """Of the old term, 50 may be left: what ends before 50 of the new era would shorten it."""
    assert not rules.extend(HELD, HELD, 40, at(10, "e2"), writer="w1").writes
    after = rules.extend(HELD, HELD, 41, at(10, "e2"), writer="w1").after
    assert after == replace(HELD, start_ns=10, duration_ns=41, era="e2")


def test_a_term_starts_at_the_latest_that_the_clock_can_be() -> None:
    """The next step of the clock may add time that had passed before the call."""
    late = Reading(100, "e1", step_ns=30)
    request = Request.of("nightly", "a", 50, None)
    claimed = rules.claim(None, request, late, epoch=7, writer="w1").after
    assert claimed is not None
    assert claimed.start_ns == 130
    assert rules.extend(HELD, HELD, 50, late, writer="w1").after == replace(HELD, start_ns=130)
    assert not rules.extend(HELD, HELD, 20, late, writer="w1").writes
    assert not rules.expired(claimed, Reading(180, "e1", step_ns=30))


# -- expire ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("expected", [HELD, "nightly"], ids=["record", "name"])
def test_a_lease_expires_strictly_after_its_end(expected: Record | str) -> None:
    for now_ns in (100, 149, 150):
        with pytest.raises(StaleRecord):
            rules.expire(HELD, expected, at(now_ns))
    assert rules.expire(HELD, expected, at(151)) == Change(HELD, None)


def test_in_a_new_era_the_whole_duration_has_to_pass_again() -> None:
    with pytest.raises(StaleRecord):
        rules.expire(HELD, HELD, at(50, "e2"))
    assert rules.expire(HELD, HELD, at(51, "e2")).after is None


@pytest.mark.parametrize(
    "change",
    [
        {"holder": "b"},
        {"epoch": 8},
        {"start_ns": 101},
        {"duration_ns": 49},
        {"writer": "w2"},
        {"era": "e2"},
        {"owner_json": ""},
    ],
    ids=str,
)
def test_only_the_record_that_was_seen_expires(change: dict[str, object]) -> None:
    current = replace(HELD, **change)  # type: ignore[arg-type]
    with pytest.raises(StaleRecord):
        rules.expire(current, HELD, at(1000))


def test_a_vacant_lease_does_not_expire() -> None:
    for expected in (HELD, "nightly"):
        with pytest.raises(StaleRecord):
            rules.expire(None, expected, at(1000))


def test_a_pinned_lease_does_not_expire_until_it_is_unpinned() -> None:
    pinned = replace(HELD, pins=rules.pin(rules.pin(frozenset(), "ops"), "ops"))
    for expected in (HELD, pinned, "nightly"):
        with pytest.raises(StaleRecord, match="ops"):
            rules.expire(pinned, expected, at(1000))
    free = replace(pinned, pins=rules.unpin(pinned.pins, "ops"))
    assert rules.expire(free, pinned, at(1000)).after is None
    assert rules.unpin(frozenset({"x"}), "ops") == {"x"}


@pytest.mark.parametrize("rule", [rules.pin, rules.unpin])
def test_who_pins_has_a_name(rule: object) -> None:
    with pytest.raises(InvalidArgument):
        rule(frozenset(), "")  # type: ignore[operator]


# -- release --------------------------------------------------------------------------------------


def test_the_holder_gives_back_also_what_was_extended_or_pinned_meanwhile() -> None:
    current = replace(HELD, start_ns=140, writer="w2", pins=frozenset({"ops"}))
    assert rules.release(current, HELD) == Change(current, None)


@pytest.mark.parametrize("current", [None, OTHER, AGAIN], ids=["vacant", "another's", "again"])
def test_what_is_not_ours_any_more_is_not_given_back(current: Record | None) -> None:
    assert not rules.release(current, HELD).writes


# -- changes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [OTHER, AGAIN, replace(HELD, name="x")])
def test_there_is_no_hand_over_in_place(after: Record) -> None:
    with pytest.raises(AssertionError):
        Change(HELD, after)
