"""A toy that is driven by scripts: nodes count together, in a store that loses what it says.

Each worker reads the number, adds one, and writes it back if it is still what it read (a
compare-and-swap on the number and on who wrote it). After a lost answer it looks whether its own
write is there, and does not count twice. Without that look (``without="look"``) it does.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from holdfast.errors import OutcomeUnknown, Unavailable
from holdfast.testing.world import ServiceFaults, Sleep, World

FAULTS = ServiceFaults(
    refuse=0.1, lose_request=0.05, lose_answer=0.1, late=0.02, slow=0.05, restart=0.01
)
WORKERS = 3
TURNS = 5


@dataclass(frozen=True)
class Cell:
    """What the store holds: a number, and which turn of whom made it."""

    number: int = 0
    by: str = ""


class Stale(Exception):
    """Somebody else was first; nothing was written."""


class Store:
    """The real thing behind the service."""

    def __init__(self) -> None:
        self.cell = Cell()
        self.done: set[str] = set()

    def read(self) -> tuple[Cell, frozenset[str]]:
        return self.cell, frozenset(self.done)

    def swap(self, before: Cell, after: Cell) -> None:
        if self.cell != before:
            raise Stale
        self.cell = after
        self.done.add(after.by)


@dataclass(frozen=True)
class Read:
    """An effect: what does the store hold?"""


@dataclass(frozen=True)
class Swap:
    """An effect: write this, if that is there."""

    before: Cell
    after: Cell


def insist(effect: Any, pause_ns: int) -> Generator[Any, Any, Any]:
    """A call that may be repeated: try until it is answered."""
    while True:
        try:
            return (yield effect)
        except (Unavailable, OutcomeUnknown):
            yield Sleep(pause_ns)


def worker(me: str, *, look: bool) -> Generator[Any, Any, None]:
    """Count `TURNS` times, each turn exactly once."""
    for turn in range(TURNS):
        mine = f"{me}/{turn}"
        while True:
            cell, done = yield from insist(Read(), 50_000_000)
            if look and mine in done:
                break  # an earlier attempt was applied after all
            try:
                yield Swap(cell, Cell(cell.number + 1, mine))
                break
            except (Stale, Unavailable):
                yield Sleep(10_000_000)
            except OutcomeUnknown:
                yield Sleep(200_000_000)


def scenario(world: World, *, without: str | None = None) -> None:
    """Everybody counts; in the end the store has counted every turn once."""
    store = Store()
    database = world.service("database", FAULTS)
    processes = []
    for number in range(WORKERS):
        node = world.node(f"w{number}", drift_ppm=100 * number)

        def interpret(effect: Any, node: Any = node) -> Any:
            if isinstance(effect, Read):
                return database.call(node, "read", store.read)
            return database.call(node, "swap", store.swap, effect.before, effect.after)

        processes.append(node.spawn(worker(node.name, look=without != "look"), interpret))
    world.every(
        2_000_000_000,
        lambda: world.node(f"w{world.rng('whom').randrange(WORKERS)}").pause(1_000_000_000),
    )
    world.run(20_000_000_000)
    world.heal()
    world.run(
        until=lambda: not any(process.alive for process in processes), limit_ns=60_000_000_000
    )
    assert store.cell.number == WORKERS * TURNS, f"{store.cell.number} of {WORKERS * TURNS} turns"
