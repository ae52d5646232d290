"""The shared words of the model, after layout.h.

A value is written as what it means: a head is `Head(version, current)` or `Pending(commit, new,
current)`, a tag 0 or `version << 1 | 1`, a status word `(sequence, decision)`. A slot's bytes are
two words, so that a torn copy shows; extent, time and author travel like bytes and are left out.
`flags` has but HF_IDENTITY, and is left out where no commits of several states happen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.model.safeguards import NOTHING, Missing, Safeguard
from tests.model.steps import Order

OK, AGAIN, CONFLICT, BUSY, TABLE_FULL = "ok", "again", "conflict", "busy", "table full"
FREE, UNDECIDED, COMMITTED, ABORTED = "free", "undecided", "committed", "aborted"
FILLING = 0


class Head(NamedTuple):
    """A settled head."""

    version: int
    current: int


class Commit(NamedTuple):
    """The number of a commit of several states."""

    sequence: int
    descriptor: int


class Pending(NamedTuple):
    """A head that a commit of several states has marked."""

    commit: Any
    new: int
    current: int


def tag_of(version: int) -> int:
    return version << 1 | 1


def version_of(tag: int) -> int:
    return tag >> 1


@dataclass(frozen=True)
class Cell:
    """The places of one state's words."""

    index: int
    start: int
    slots: int

    @property
    def head(self) -> int:
        return self.start

    def owner(self, slot: int) -> int:
        return self.start + 1 + slot

    def tag(self, slot: int) -> int:
        return self.start + 1 + self.slots + slot

    def first(self, slot: int) -> int:
        return self.start + 1 + 2 * self.slots + slot

    def second(self, slot: int) -> int:
        return self.start + 1 + 3 * self.slots + slot

    def flags(self, slot: int) -> int:
        return self.start + 1 + 4 * self.slots + slot


@dataclass(frozen=True)
class World:
    """Some states, a table of descriptors, and which safeguards are missing."""

    states: int = 1
    slots: int = 3
    descriptors: int = 0
    without: Missing = NOTHING
    owners: tuple[tuple[int, int], ...] = ()  # (slot of the first state, a dead owner's number)

    def has(self, safeguard: Safeguard) -> bool:
        return safeguard not in self.without

    def order(self, order: Order, safeguard: Safeguard) -> Order:
        """The order of an access, or relaxed if the safeguard that it is, is missing."""
        return order if safeguard not in self.without else Order.RELAXED

    def cell(self, index: int = 0) -> Cell:
        size = 1 + (5 if self.descriptors else 4) * self.slots
        return Cell(index, index * size, self.slots)

    def status(self, descriptor: int) -> int:
        size = 1 + (5 if self.descriptors else 4) * self.slots
        return self.states * size + descriptor

    def words(self) -> dict[str, Any]:
        """Names and first values: version 0 in slot 0, and no bytes ever written."""
        words: dict[str, Any] = {}
        for index in range(self.states):
            name = chr(ord("A") + index)
            slots = range(self.slots)
            words[f"{name}.head"] = Head(0, 0)
            words |= {f"{name}.owner[{i}]": 0 for i in slots}
            words |= {f"{name}.tag[{i}]": tag_of(0) if i == 0 else FILLING for i in slots}
            words |= {f"{name}.first[{i}]": 0 for i in slots}
            words |= {f"{name}.second[{i}]": 0 for i in slots}
            if self.descriptors:
                words |= {f"{name}.flags[{i}]": False for i in slots}
        words |= {f"status[{i}]": (0, FREE) for i in range(self.descriptors)}
        words |= {f"A.owner[{slot}]": number for slot, number in self.owners}
        return words
