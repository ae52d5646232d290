"""Several processes change the same numbers; some are killed in the middle of a commit.

The state holds a total and, for each of the counters, how much of it is theirs. A counter adds one
to the total and to its own number, in one transaction, which is called again on a conflict. It
notes before each transaction that it begins, and after it that it was told of success.

What must be true, exactly:

* Each counter finds its own number as it left it. An update of somebody else that was based on
  older numbers would take it back: that is a lost update, and is seen at the next look.
* The total is the sum of the numbers, in every version.
* A counter that is killed may have committed once more than it could note, and only if it had
  begun. So confirmed <= number <= confirmed + 1 for each of the dead; the state is asked which, and
  that settles it. In the end total = confirmed + settled, with nothing left to doubt.
"""

from __future__ import annotations

import os
import signal
import struct
import time
from typing import TYPE_CHECKING

from holdfast.demo.acts.act import PATIENCE_S, Line, leave
from holdfast.demo.promise import Promise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from holdfast.demo.player import Part
    from holdfast.demo.stage import Player, Stage
    from holdfast.state import Transaction

__all__ = ["SABOTAGE", "Counting", "play_counter"]

STATE = "count"
COUNTERS = 3
NUMBERS = struct.Struct(f"<{1 + COUNTERS}Q")  # the total, then a number for each counter
PAUSE_S = (0.15, 0.45)  # between one death and the next
HELD_LIMIT_S = 2.0  # who are stopped by a saboteur are not waited for as long

SABOTAGE = {
    "lost": "one counter overwrites what it has not read",
    "twice": "one counter adds two and calls it one",
    "sum": "one counter leaves the total as it is",
    "held": "when one counter is killed, the others are stopped",
    "fall": "one counter ends in an error",
}

# Words of a counter's row; one that takes the place of a dead one goes on in its row.
BEGUN, CONFIRMED, LOST, TORN, CONFLICTS = range(5)


def play_counter(part: Part) -> None:
    """Add one, again and again."""
    os.nice(5)
    state = part.namespace.subscribe(STATE, "rw", size=NUMBERS.size)
    row, me = part.row, 1 + part.number
    mine = NUMBERS.unpack(state.read())[me]
    found = torn = 0
    earlier_conflicts = row[CONFLICTS]

    def add_one(txn: Transaction) -> None:
        nonlocal found, torn
        numbers = list(NUMBERS.unpack(txn.data))
        found = numbers[me]
        torn += numbers[0] != sum(numbers[1:])
        added = 2 if "twice" in part.sabotage and part.number == 0 else 1
        numbers[0] += 0 if "sum" in part.sabotage and part.number == 0 else added
        numbers[me] += added
        NUMBERS.pack_into(txn.data, 0, *numbers)

    part.ready()
    part.wait_for_go()
    if "fall" in part.sabotage and part.number == 0:
        raise RuntimeError("told to fall")
    while part.playing():
        row[BEGUN] += 1
        if "lost" in part.sabotage and part.number == 0 and not row[BEGUN] % 100:
            stale = list(NUMBERS.unpack(state.read()))
            time.sleep(0.001)
            state.transact(lambda txn, stale=stale: txn.write(0, NUMBERS.pack(*stale)))  # type: ignore[misc]
        state.transact(add_one)
        row[LOST] += max(0, mine - found)
        mine = found + 1
        row[CONFIRMED] += 1
        if not row[CONFIRMED] % 128:
            row[TORN] += torn
            torn = 0
            row[CONFLICTS] = earlier_conflicts + state.info().conflicts


class Counting:
    """The counters, their deaths, and the sum at the end."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._state = stage.namespace.subscribe(STATE, "rw", size=NUMBERS.size)
        self._rows = [stage.reserve_row() for _ in range(COUNTERS)]
        self._players = [self._new(number) for number in range(COUNTERS)]
        self._settled = [0] * COUNTERS
        self._wrong = 0
        self._killed = 0
        self._in_flight = 0
        self._halts = 0
        self._total_at_death = -1  # as long as nobody is seen to have gone on
        self._killed_s = 0.0
        self._next_death_s = stage.chance.uniform(*PAUSE_S)
        self._go_on_limit_s = HELD_LIMIT_S if "held" in stage.sabotage else PATIENCE_S

    def _new(self, number: int) -> Player:
        return self._stage.start("counter", row=self._rows[number], number=number)

    def players(self) -> Sequence[Player]:
        """The counters."""
        return tuple(self._players)

    def begin(self) -> None:
        """Let them count."""
        for player in self._players:
            player.say("go")

    def step(self) -> None:
        """Kill one of them now and then; a new one takes its place."""
        if self._goes_on() and self._stage.elapsed_s >= self._next_death_s:
            number = self._stage.chance.randrange(COUNTERS)
            others = self._players[:number] + self._players[number + 1 :]
            # Somebody must be left to go on: a new one takes its time to come.
            held = "held" in self._stage.sabotage  # then nobody counts any more
            if held and not any(player.row[CONFIRMED] for player in self._players):
                return
            if self._players[number].ready and any(other.ready for other in others):
                self._kill(number)

    def _goes_on(self) -> bool:
        """Whether the others have counted on since the last death."""
        if self._total_at_death >= 0:
            went_on = self._numbers()[0] > self._total_at_death  # whenever: this may be called late
            if went_on or self._stage.elapsed_s > self._killed_s + self._go_on_limit_s:
                self._halts += not went_on
                self._total_at_death = -1
        return self._total_at_death < 0

    def _kill(self, number: int) -> None:
        self._players[number].kill()
        self._killed += 1
        self._killed_s = self._stage.elapsed_s
        self._next_death_s = self._killed_s + self._stage.chance.uniform(*PAUSE_S)
        if "held" in self._stage.sabotage:
            for player in self._players:
                player.stop()
        self._settle(number)
        self._total_at_death = self._numbers()[0]
        self._players[number] = self._new(number)
        if "held" not in self._stage.sabotage:
            self._players[number].say("go")

    def _settle(self, number: int) -> None:
        """The counter is dead: has its last transaction been committed, or not?"""
        row = self._players[number].row
        known = row[CONFIRMED] + self._settled[number]
        doubt = row[BEGUN] - known  # 1 if it died between its two notes
        more = self._numbers()[1 + number] - known
        self._wrong += abs(more - min(max(more, 0), doubt))
        self._in_flight += doubt
        self._settled[number] += more
        # Whoever goes on in this row starts from what is settled.
        row[BEGUN] = known + more
        outcome = ("not committed", "committed")[more == 1] if doubt else "between two"
        self._stage.note(f"counter {number} killed; its last transaction: {outcome}")

    def _numbers(self) -> tuple[int, ...]:
        return NUMBERS.unpack(self._state.read())

    def lines(self) -> Sequence[Line]:
        """All counters in one."""
        rows = [player.row for player in self._players]
        note = f"total {self._numbers()[0]:,}, {self._killed} killed"
        count = sum(row[CONFIRMED] for row in rows)
        return (Line(f"{COUNTERS} counters", "add one", count, self._players, note),)

    def _shown(self) -> bool:
        """Whether those who were told to spoil something have done it."""
        sabotage, rows = self._stage.sabotage, [player.row for player in self._players]
        if "lost" in sabotage and not any(row[LOST] for row in rows):
            return False
        return not sabotage & {"twice", "sum"} or rows[0][CONFIRMED] > 0

    def finish(self) -> Iterator[None]:
        """Let each end its transaction; however short the play, one is killed."""
        limit = time.monotonic() + PATIENCE_S
        while not (self._killed and self._shown()) and time.monotonic() < limit:
            self.step()
            yield
        while not self._goes_on():
            yield
        for player in self._players:
            player.process.send_signal(signal.SIGCONT)  # whom the saboteur has stopped
        yield from leave(*self._players)

    def promises(self) -> Sequence[Promise]:
        """Not one too few, not one too many, never half."""
        rows = [player.row for player in self._players]
        total, *numbers = self._numbers()
        confirmed = [row[CONFIRMED] for row in rows]
        settled = sum(self._settled)
        # What the counters noticed themselves, what the deaths showed, and what is missing now.
        lost = sum(row[LOST] for row in rows)
        wrong = self._wrong + sum(
            abs(confirmed[i] + self._settled[i] - numbers[i]) for i in range(COUNTERS)
        )
        conflicts = sum(row[CONFLICTS] for row in rows)
        counts: dict[str, int | float] = {
            "total": total,
            "confirmed": sum(confirmed),
            "settled": settled,
            "conflicts": conflicts,
            "killed": self._killed,
        }
        return (
            Promise(
                "lost or doubled updates",
                lost + wrong,
                sum(confirmed),
                "increments",
                f"{total:,} in the state: {settled} more by the dead",
                counts,
            ),
            Promise(
                "totals that are no sum",
                sum(row[TORN] for row in rows) + (total != sum(numbers)),
                sum(confirmed) + conflicts,
                "transactions",
                f"{conflicts:,} began again after a conflict",
                {"conflicts": conflicts},
            ),
            Promise(
                "halt at a counter's death",
                self._halts,
                self._killed,
                "SIGKILLs",
                f"{self._in_flight} within a transaction; {max(0, settled)} of these committed",
                {"in_flight": self._in_flight, "committed": settled},
            ),
        )
