"""What an actor of the model can do in one step, and how an actor becomes a finite automaton.

An actor is a generator that yields one `Step` for each access to shared memory and is sent what the
access gave. It reads like the C function that it stands for. Where such a generator stands, and
what its variables hold, is all there is to its future; so two histories that lead to the same
place with the same variables are one state. `Automaton` numbers these states as it meets them,
and finds each transition once, by running a fresh generator through the history again.

Two rules make the variables the whole state: a `yield` is the whole right side of an assignment, or
a statement (nothing hides in a half-evaluated expression), and a loop over a sequence names what
it is at (nothing hides in an iterator).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from enum import IntEnum
from typing import Any, NamedTuple


class Order(IntEnum):
    """Memory orders of C11."""

    RELAXED = 0
    ACQUIRE = 1
    RELEASE = 2
    ACQ_REL = 3
    SEQ_CST = 4

    @property
    def acquires(self) -> bool:
        return self in {Order.ACQUIRE, Order.ACQ_REL, Order.SEQ_CST}

    @property
    def releases(self) -> bool:
        return self in {Order.RELEASE, Order.ACQ_REL, Order.SEQ_CST}


RELAXED, ACQUIRE, RELEASE = Order.RELAXED, Order.ACQUIRE, Order.RELEASE
ACQ_REL, SEQ_CST = Order.ACQ_REL, Order.SEQ_CST


class Step(NamedTuple):
    """One access to shared memory, or a note for the invariants (which takes no time)."""

    kind: str  # load, store, cas, add, swap, fence, alive, sleep; note, done
    place: int = -1
    value: Any = None
    order: Order = RELAXED
    expected: Any = None
    failure: Order = RELAXED


Program = Generator[Step, Any, Any]


def load(place: int, order: Order) -> Step:
    return Step("load", place, None, order)


def store(place: int, value: Any, order: Order) -> Step:
    return Step("store", place, value, order)


def cas(
    place: int, expected: Any, value: Any, order: Order, failure: Order = Order.RELAXED
) -> Step:
    """Compare and swap; gives (whether it did, the value that was there)."""
    return Step("cas", place, value, order, expected, failure)


def add(place: int, value: int, order: Order) -> Step:
    return Step("add", place, value, order)


def swap(place: int, value: Any, order: Order) -> Step:
    return Step("swap", place, value, order)


def fence(order: Order) -> Step:
    return Step("fence", -1, None, order)


def alive(number: int) -> Step:
    """Ask the kernel whether the subscriber of that number lives."""
    return Step("alive", -1, number)


def sleep(place: int) -> Step:
    """Sleep until the word is not 0: poll(2) on a descriptor that the kernel makes readable."""
    return Step("sleep", place)


def note(*event: Any) -> Step:
    """Tell the invariants what has just happened; no time passes."""
    return Step("note", -1, event)


class History(NamedTuple):
    """How an automaton's state was first reached."""

    before: History | None
    answer: Any


class Automaton:
    """An actor's states, numbered from 0, which is where it starts."""

    def __init__(self, make: Callable[[], Program]) -> None:
        self._make = make
        self._numbers: dict[Any, int] = {}
        self._histories: list[History | None] = []
        self._moves: dict[tuple[int, Any], tuple[int, tuple[Any, ...]]] = {}
        self.steps: list[Step] = []  # what each state is about to do
        self.merged: list[tuple[int, History | None]] = []  # other ways to a state
        program = make()
        self.first_notes: list[Any] = []
        self._number(program, self._advance(program, None, self.first_notes), None)

    def move(self, state: int, answer: Any) -> tuple[int, tuple[Any, ...]]:
        """The state after that answer, and the notes made on the way."""
        known = self._moves.get((state, answer))
        if known is None:
            known = self._moves[state, answer] = self._explore(state, answer)
        return known

    def _explore(self, state: int, answer: Any) -> tuple[int, tuple[Any, ...]]:
        return self._replay(History(self._histories[state], answer))

    def _replay(self, history: History) -> tuple[int, tuple[Any, ...]]:
        answers = []
        link: History | None = history
        while link is not None:
            answers.append(link.answer)
            link = link.before
        program = self._make()
        step = self._advance(program, None, [])
        notes: list[Any] = []
        for each in reversed(answers):
            notes = []
            step = self._advance(program, each, notes)
        return self._number(program, step, history), tuple(notes)

    def _number(self, program: Program, step: Step, history: History | None) -> int:
        key = (step, _standing(program))
        number = self._numbers.setdefault(key, len(self.steps))
        if number == len(self.steps):
            self.steps.append(step)
            self._histories.append(history)
        else:
            self.merged.append((number, history))
        return number

    def contradictions(self) -> list[tuple[int, Any]]:
        """Transitions that depend on how their state was reached: none, if both rules are kept."""
        found = []
        answers: dict[int, list[Any]] = {}
        for state, answer in self._moves:
            answers.setdefault(state, []).append(answer)
        for state, history in list(self.merged):
            for answer in answers.get(state, []):
                if self._replay(History(history, answer)) != self._moves[state, answer]:
                    found.append((state, answer))
        return found

    @staticmethod
    def _advance(program: Program, answer: Any, notes: list[Any]) -> Step:
        try:
            step = program.send(answer)
            while step.kind == "note":
                notes.append(step.value)
                step = program.send(None)
        except StopIteration as end:
            return Step("done", -1, end.value)
        return step


def _standing(program: Program) -> tuple[Any, ...]:
    """Where the generator and those that it delegates to stand, with their variables."""
    frames = []
    at: Any = program
    while at is not None:
        frame = at.gi_frame
        if frame is None:
            break
        frames.append((frame.f_code, frame.f_lasti, tuple(sorted(frame.f_locals.items()))))
        at = at.gi_yieldfrom
    return tuple(frames)
