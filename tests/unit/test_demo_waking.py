"""What the act of the suspending machine counts as stranded, and what it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.demo.acts import pipeline
from holdfast.demo.acts.pipeline import BOOK, CAST, GOVERNOR, HEAD, WORKERS
from holdfast.demo.tally import Row, Tally

WORKER = WORKERS[0]
EPOCH = 3


class Rows:
    """The rows of the cast and the book, as a player sees them."""

    def __init__(self, place: Path) -> None:
        tally = Tally(str(place / "tally"))
        self.rows: list[Any] = [tally.row(number) for number in range(len(CAST) + 1)]

    def part(self, number: int) -> Any:
        return SimpleNamespace(
            row=self.rows[number], sibling=self.rows.__getitem__, sabotage=frozenset()
        )

    def look(self, machine: Any = None) -> dict[str, int]:
        """Let the machine go down once; what it has counted."""
        machine = machine or pipeline._Machine(self.part(GOVERNOR))
        asyncio.run(machine.suspend(1))
        names = ("ENTRIES", "CHECKED", "STRANDED")
        return {name: self.rows[GOVERNOR][getattr(pipeline, name)] for name in names}


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    """A head that has sent five messages to one worker, which has dealt with three."""
    made = Rows(tmp_path)
    head, worker, book = (made.rows[number] for number in (HEAD, WORKER, BOOK))
    for number in CAST:
        book[pipeline.LIVE + number] = 100 + number
    head[pipeline.LIFE] = worker[pipeline.OF] = 1
    head[pipeline.EPOCHS + EPOCH] = worker[pipeline.EPOCH] = EPOCH
    head[pipeline.COUNTS + EPOCH] = 5
    worker[pipeline.PROCESSED] = 3
    return made


def test_what_was_sent_and_not_dealt_with_is_stranded(rows: Rows) -> None:
    assert rows.look() == {"ENTRIES": 1, "CHECKED": 5, "STRANDED": 2}
    assert rows.rows[GOVERNOR][pipeline.FIRST_NS + WORKER] > 0
    assert rows.rows[GOVERNOR][pipeline.FIRST_NS + WORKERS[1]] == 0


def test_a_message_is_checked_once(rows: Rows) -> None:
    machine = pipeline._Machine(rows.part(GOVERNOR))
    rows.rows[WORKER][pipeline.PROCESSED] = 5
    rows.look(machine)
    first_ns = rows.rows[GOVERNOR][pipeline.FIRST_NS + WORKER]
    assert rows.look(machine) == {"ENTRIES": 2, "CHECKED": 5, "STRANDED": 0}
    assert rows.rows[GOVERNOR][pipeline.FIRST_NS + WORKER] == first_ns


# What makes a comparison void: who, which word of it, and what is there then.
VOID = {
    "the head is to die": (BOOK, pipeline.LIVE + HEAD, 0),
    "the worker is to die": (BOOK, pipeline.LIVE + WORKER, 0),
    "the head is dead": (HEAD, pipeline.LIFE, 0),
    "the head is another one": (HEAD, pipeline.LIFE, 2),
    "the place is another worker's": (HEAD, pipeline.EPOCHS + EPOCH, EPOCH + pipeline.SLOTS),
    "the worker is not subscribed": (WORKER, pipeline.EPOCH, 0),
}


@pytest.mark.parametrize("void", VOID)
def test_the_dead_strand_nothing(rows: Rows, void: str) -> None:
    number, word, there = VOID[void]
    rows.rows[number][word] = there
    assert rows.look() == {"ENTRIES": 1, "CHECKED": 0, "STRANDED": 0}


class Meanwhile:
    """A row; as it is read at one word, something happens."""

    def __init__(self, row: Row, word: int, happen: Callable[[], object]) -> None:
        self.row = row
        self.word = word
        self.happen = happen

    def __getitem__(self, word: int) -> int:
        if word == self.word:
            self.happen()
        return self.row[word]


@pytest.mark.parametrize("number", [HEAD, WORKER])
def test_nor_do_those_who_are_struck_off_during_a_look(rows: Rows, number: int) -> None:
    def strike_off() -> None:
        rows.rows[BOOK][pipeline.LIVE + number] = 0

    rows.rows[WORKER] = Meanwhile(rows.rows[WORKER], pipeline.PROCESSED, strike_off)
    assert rows.look() == {"ENTRIES": 1, "CHECKED": 0, "STRANDED": 0}


def test_what_is_in_flight_is_noted_when_the_governor_asks(rows: Rows) -> None:
    head = rows.rows[HEAD]
    pipeline._note_asked(rows.part(HEAD))
    assert (head[pipeline.ASKED], head[pipeline.FLIGHT]) == (1, 2)
    rows.rows[WORKER][pipeline.OF] = 7  # of an earlier life of the head
    pipeline._note_asked(rows.part(HEAD))
    assert (head[pipeline.ASKED], head[pipeline.FLIGHT]) == (2, 2)
