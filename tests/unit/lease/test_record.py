"""What may stand in the record of a lease."""

from __future__ import annotations

import dataclasses
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import InvalidArgument
from holdfast.lease import Reading, Record
from holdfast.lease.record import (
    DURATION_NS_MAX,
    check_duration,
    check_word,
    checked_record,
    owner_text,
)
from holdfast.process import Owner

RECORD = Record("nightly", "a", 1, 10, 20, "w1", "e1")


@pytest.mark.parametrize("word", ["a", "a b", "app/0", "a.b#c$d", "häuser", "名", "x" * 5000])
def test_printable_names_are_names(word: str) -> None:
    assert check_word(word, "name") == word


@pytest.mark.parametrize(
    "word", ["", "a\n", "\t", "a\rb", "\x00", "\x7f", "\ud800", "\u200b", None, 1]
)
def test_other_names_are_none(word: object) -> None:
    with pytest.raises(InvalidArgument):
        check_word(word, "name")


@given(st.text(max_size=5))
def test_every_name_can_be_written_on_one_line(word: str) -> None:
    try:
        check_word(word, "name")
    except InvalidArgument:
        return
    assert word.encode().decode() == word
    assert len(word.splitlines()) == 1


@pytest.mark.parametrize("duration_ns", [1, 10**9, DURATION_NS_MAX])
def test_any_duration_is_one(duration_ns: int) -> None:
    assert check_duration(duration_ns) == duration_ns


@pytest.mark.parametrize("duration_ns", [0, -1, DURATION_NS_MAX + 1, 1.5, True, None, "1"])
def test_no_duration_is_none(duration_ns: object) -> None:
    with pytest.raises(InvalidArgument):
        check_duration(duration_ns)


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"holder": "\n"},
        {"epoch": 0},
        {"epoch": True},
        {"start_ns": -1},
        {"duration_ns": 0},
        {"writer": ""},
        {"era": ""},
        {"pins": frozenset({""})},
    ],
    ids=str,
)
def test_a_record_of_nonsense_cannot_be_made(change: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        dataclasses.replace(RECORD, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Record)])
def test_no_field_is_left_out_of_the_comparison(field: str) -> None:
    other = {"pins": frozenset({"x"})}.get(field, getattr(RECORD, field))
    if isinstance(other, int):
        other += 1
    elif isinstance(other, str):
        other += "x"
    assert dataclasses.replace(RECORD, **{field: other}) != RECORD


def test_a_term_of_another_era_started_before_this_one() -> None:
    assert (RECORD.start_in("e1"), RECORD.end_in("e1")) == (10, 30)
    assert (RECORD.start_in("e2"), RECORD.end_in("e2")) == (0, 20)


def test_facts_about_an_owner_come_back() -> None:
    owner = Owner.current(why="schema 42")
    record = dataclasses.replace(RECORD, owner_json=owner_text(owner.to_dict()))
    assert record.owner is not None
    assert Owner.from_dict(record.owner) == owner
    assert RECORD.owner is None
    assert dataclasses.replace(RECORD, owner_json="[]").owner is None


@pytest.mark.parametrize("value", [object(), {1}, b"x", [b"x"], 1j, dataclasses], ids=range(6))
def test_facts_that_are_no_plain_values_are_refused(value: object) -> None:
    with pytest.raises(InvalidArgument):
        owner_text({"self": value})


@pytest.mark.parametrize("argument", ["häuser", "\udc80", "\U0001f512", '"\n'])
def test_arguments_of_a_command_come_back_whatever_they_are(argument: str) -> None:
    facts = {"pid": 1, "argv": [argument], "nested": {"a": 1.5}, "large": 2**70}
    for owner in (facts, {"argv": [argument]}):
        assert dataclasses.replace(RECORD, owner_json=owner_text(owner)).owner == owner


def test_a_record_of_checked_fields_is_a_record() -> None:
    fields = [getattr(RECORD, field.name) for field in dataclasses.fields(Record)]
    made = checked_record(*fields)
    assert type(made) is Record
    assert (made, hash(made), repr(made)) == (RECORD, hash(RECORD), repr(RECORD))
    assert pickle.loads(pickle.dumps(made)) == RECORD
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.epoch = 2  # type: ignore[misc]


def test_a_reading_is_an_instant_of_an_era() -> None:
    assert Reading(0, "e").now_ns == 0
    for now_ns, era in ((-1, "e"), (0, "")):
        with pytest.raises(InvalidArgument):
            Reading(now_ns, era)
