"""Several processes commit two states together; some are killed between the one and the other.

Each state holds a number, and whoever commits adds one to both, in one transaction. So at every
instant the two are equal, for everybody: also while a commit is under way, and after its author was
killed in the middle. Half of the writers take the states in the one order, half in the other, so
that they meet.

*By snapshot* the two numbers, and the versions, must be equal. *One by one*, left, right and left
again, they cannot be asked to be; but the numbers only grow, so left <= right <= left again, or
somebody has seen half a commit.
"""

from __future__ import annotations

import os
import signal
import struct
import time
from typing import TYPE_CHECKING

from holdfast.demo.acts.act import PATIENCE_S, Line, leave
from holdfast.demo.promise import Promise
from holdfast.state import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from holdfast.demo.player import Part
    from holdfast.demo.stage import Player, Stage
    from holdfast.state import State, Transaction

__all__ = ["SABOTAGE", "Pairing", "play_pair_reader", "play_pair_writer"]

STATES = ("pair.left", "pair.right")
NUMBER = struct.Struct("<Q")
WRITERS = 3
PAUSE_S = (0.15, 0.45)  # between one death and the next
STUCK_LIMIT_S = 2.0  # who are stopped by a saboteur are not waited for as long
COMMITS_AT_ONCE = 1000  # before a short rest: others want to run as well
LOOKS_AT_ONCE = 200
REST_S = 0.001

SABOTAGE = {
    "half": "one writer now and then commits the two states one after the other",
    "stuck": "when one who commits two states is killed, the others are stopped",
}

# Words of a writer's row, in which its successor goes on, and of the reader's.
BEGUN, CONFIRMED, UNEQUAL = range(3)
SNAPSHOTS, ONE_BY_ONE, HALF = range(3)


# -- the players, from inside ---------------------------------------------------------------------


def _subscribe(part: Part, permissions: str) -> list[State]:
    return [part.namespace.subscribe(name, permissions, size=NUMBER.size) for name in STATES]


def _number(data: bytes | memoryview) -> int:
    return int(NUMBER.unpack(data)[0])


def play_pair_writer(part: Part) -> None:
    """Add one to both, again and again."""
    os.nice(5)
    states = _subscribe(part, "rw")
    if part.number % 2:
        states.reverse()
    one, other = states
    row = part.row

    def add_one(txn: Transaction) -> None:
        numbers = [_number(txn[state].data) for state in states]
        row[UNEQUAL] += numbers[0] != numbers[1]
        for state in states:
            NUMBER.pack_into(txn[state].data, 0, numbers[0] + 1)

    def add_alone(txn: Transaction) -> None:
        NUMBER.pack_into(txn.data, 0, _number(txn.data) + 1)

    part.ready()
    part.wait_for_go()
    while part.playing():
        row[BEGUN] += 1
        if "half" in part.sabotage and part.number == 0 and not row[BEGUN] % 100:
            one.transact(add_alone)
            time.sleep(0.001)
            other.transact(add_alone)
        else:
            one.transact(add_one, other)
        row[CONFIRMED] += 1
        if not row[CONFIRMED] % COMMITS_AT_ONCE:
            time.sleep(REST_S)


def play_pair_reader(part: Part) -> None:
    """Look at both, by snapshot and one by one."""
    os.nice(5)
    left, right = _subscribe(part, "r")
    row = part.row
    part.ready()
    while part.playing():
        for _ in range(LOOKS_AT_ONCE):
            one, other = snapshot(left, right)
            row[HALF] += (one.version, one.data) != (other.version, other.data)
            numbers = [_number(state.read()) for state in (left, right, left)]
            row[HALF] += numbers != sorted(numbers)
        row[SNAPSHOTS] += LOOKS_AT_ONCE
        row[ONE_BY_ONE] += LOOKS_AT_ONCE
        time.sleep(REST_S)


# -- the act --------------------------------------------------------------------------------------


class Pairing:
    """Writers of two states, their deaths, and one who looks."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._states = [stage.namespace.subscribe(name, "rw", size=NUMBER.size) for name in STATES]
        self._rows = [stage.reserve_row() for _ in range(WRITERS)]
        self._writers = [self._new(number) for number in range(WRITERS)]
        self._reader = stage.start("pair reader")
        self._killed = 0
        self._within = 0
        self._halts = 0
        self._number_at_death = -1  # as long as nobody is seen to have gone on
        self._killed_s = 0.0
        self._next_death_s = stage.chance.uniform(*PAUSE_S)
        self._go_on_limit_s = STUCK_LIMIT_S if "stuck" in stage.sabotage else PATIENCE_S

    def _new(self, number: int) -> Player:
        return self._stage.start("pair writer", row=self._rows[number], number=number)

    def players(self) -> Sequence[Player]:
        """The writers and the reader."""
        return (*self._writers, self._reader)

    def begin(self) -> None:
        """Let them write."""
        for writer in self._writers:
            writer.say("go")

    def step(self) -> None:
        """Kill one of the writers now and then; a new one takes its place."""
        if self._goes_on() and self._stage.elapsed_s >= self._next_death_s:
            number = self._stage.chance.randrange(WRITERS)
            others = self._writers[:number] + self._writers[number + 1 :]
            # Somebody must be left to go on: a new one takes its time to come.
            if self._writers[number].ready and any(other.ready for other in others):
                self._kill(number)

    def _goes_on(self) -> bool:
        """Whether the others have committed since the last death."""
        if self._number_at_death >= 0:
            went_on = self._states[0].version > self._number_at_death  # this may be called late
            if went_on or self._stage.elapsed_s > self._killed_s + self._go_on_limit_s:
                self._halts += not went_on
                self._number_at_death = -1
        return self._number_at_death < 0

    def _kill(self, number: int) -> None:
        victim = self._writers[number]
        victim.kill()
        self._killed += 1
        self._killed_s = self._stage.elapsed_s
        self._next_death_s = self._killed_s + self._stage.chance.uniform(*PAUSE_S)
        within = victim.row[BEGUN] > victim.row[CONFIRMED]
        self._within += within
        victim.row[BEGUN] = victim.row[CONFIRMED]  # what became of it is for the readers to see
        self._stage.note(f"pair writer {number} killed" + " within a transaction" * within)
        if "stuck" in self._stage.sabotage:
            for writer in self._writers:
                writer.stop()
        self._number_at_death = self._states[0].version
        self._writers[number] = self._new(number)
        if "stuck" not in self._stage.sabotage:
            self._writers[number].say("go")

    def lines(self) -> Sequence[Line]:
        """All writers in one, and the reader."""
        commits = sum(writer.row[CONFIRMED] for writer in self._writers)
        reader = self._reader.row
        looks = reader[SNAPSHOTS] + reader[ONE_BY_ONE]
        return (
            Line(
                f"{WRITERS} pairers",
                "commit two states",
                commits,
                self._writers,
                f"{self._killed} killed, {self._within} within a transaction",
            ),
            Line("pair reader", "looks at both", looks, (self._reader,), f"{reader[HALF]} half"),
        )

    def _shown(self) -> bool:
        """Whether somebody has looked, and has seen what was spoilt."""
        reader = self._reader.row
        unequal = any(writer.row[UNEQUAL] for writer in self._writers)
        return reader[SNAPSHOTS] > 0 and (
            "half" not in self._stage.sabotage or reader[HALF] > 0 or unequal
        )

    def finish(self) -> Iterator[None]:
        """Let each end its transaction; however short the play, one is killed."""
        limit = time.monotonic() + PATIENCE_S
        while not (self._killed and self._shown()) and time.monotonic() < limit:
            self.step()
            yield
        while not self._goes_on():
            yield
        for writer in self._writers:
            writer.process.send_signal(signal.SIGCONT)  # whom the saboteur has stopped
        yield from leave(*self._writers)
        yield from leave(self._reader)

    def promises(self) -> Sequence[Promise]:
        """Both or neither, for everybody, always."""
        reader = self._reader.row
        left, right = (_number(state.read()) for state in self._states)
        unequal = sum(writer.row[UNEQUAL] for writer in self._writers) + (left != right)
        snapshots, one_by_one = reader[SNAPSHOTS], reader[ONE_BY_ONE]
        return (
            Promise(
                "half a commit",
                reader[HALF] + unequal,
                snapshots + one_by_one,
                "looks",
                f"{left:,} commits of two states; {snapshots:,} looks by snapshot",
                {"commits": left, "snapshots": snapshots, "one_by_one": one_by_one},
            ),
            Promise(
                "halt at a pairer's death",
                self._halts,
                self._killed,
                "SIGKILLs",
                f"{self._within} within a transaction of two states",
                {"within": self._within},
            ),
        )
