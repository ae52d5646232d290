"""Two processes wait for each other: each commit is the only one that can wake the other side.

The state holds a number. One player waits until it is even and adds one, the other waits until it
is odd and does the same. In a stream of changes a lost wake-up would be covered up by the next
one; here it would stop the rally. Now and then one of the two is killed, in the middle of whatever
it does; the other one must hear of what it had committed, and the successor goes on.
"""

from __future__ import annotations

import select
import struct
import time
from typing import TYPE_CHECKING

from holdfast.demo.acts.act import PATIENCE_S, Line, leave
from holdfast.demo.promise import Promise
from holdfast.demo.tally import note_delay, typical_delay
from holdfast.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from holdfast.demo.player import Part
    from holdfast.demo.stage import Player, Stage

__all__ = ["SABOTAGE", "Rallying", "play_rally"]

STATE = "rally"
NUMBER = struct.Struct("<Q")
SILENCE_MS = 300
GRACE_MS = round(PATIENCE_S * 1000)  # whoever has committed may be kept from ringing
ASLEEP_GRACE_MS = 1000  # who is asleep need not be waited for as long
PAUSE_S = (0.4, 1.2)  # between one death and the next
DEAF_AFTER = 50

SABOTAGE = {"asleep": "one side of the rally stops listening to its descriptor"}

HITS, WAKES, LOST = range(3)


def play_rally(part: Part) -> None:
    """Wait for one's turn, and add one."""
    state = part.namespace.subscribe(STATE, "rw", size=NUMBER.size)
    row = part.row
    to_fall_asleep = "asleep" in part.sabotage and part.number == 1
    grace_ms = ASLEEP_GRACE_MS if to_fall_asleep else GRACE_MS
    poll = select.poll()
    poll.register(state.fileno(), select.POLLIN)
    part.ready()
    part.wait_for_go()
    seen = 0
    while part.playing():
        if to_fall_asleep and row[HITS] >= DEAF_AFTER:
            poll.unregister(state.fileno())
            to_fall_asleep = False
        if state.version != 0 and not poll.poll(SILENCE_MS):
            # The other side may have died. But if it has committed, we should have heard of it.
            if state.version > seen and not poll.poll(grace_ms):
                row[LOST] += 1
                poll.register(state.fileno(), select.POLLIN)
            continue
        woken_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        row[WAKES] += 1
        snapshot = state.snapshot()
        seen = snapshot.version
        number = NUMBER.unpack(snapshot.data)[0]
        if number % 2 != part.number:
            continue
        note_delay(row, woken_ns - snapshot.time_ns)
        time.sleep(part.chance.uniform(0, 0.001))  # let the other side fall asleep
        try:
            with state.transaction() as txn:
                NUMBER.pack_into(txn.data, 0, number + 1)
        except Conflict:
            continue  # our predecessor has made this move, and died of the next
        seen = state.version
        row[HITS] += 1


class Rallying:
    """The two players and their deaths."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._state = stage.namespace.subscribe(STATE, "rw", size=NUMBER.size)
        self._rows = [stage.reserve_row(), stage.reserve_row()]
        self._players = [self._new(0), self._new(1)]
        self._killed = 0
        self._next_death_s = stage.chance.uniform(*PAUSE_S)

    def _new(self, number: int) -> Player:
        return self._stage.start("rally", row=self._rows[number], number=number)

    def players(self) -> Sequence[Player]:
        """Both sides."""
        return tuple(self._players)

    def begin(self) -> None:
        """Serve."""
        for player in self._players:
            player.say("go")

    def step(self) -> None:
        """Kill one side now and then; a new one takes its place."""
        number = self._killed % 2
        if self._stage.elapsed_s < self._next_death_s or not self._players[number].ready:
            return
        self._players[number].kill()
        self._killed += 1
        self._next_death_s = self._stage.elapsed_s + self._stage.chance.uniform(*PAUSE_S)
        self._stage.note(f"rally: side {number} killed")
        self._players[number] = self._new(number)
        self._players[number].say("go")

    def lines(self) -> Sequence[Line]:
        """Both sides in one."""
        hits = sum(row[HITS] for row in self._tallies())
        lost = sum(row[LOST] for row in self._tallies())
        note = f"{lost} wake-ups lost, {self._killed} killed"
        return (Line("rally", "wait for each other", hits, self._players, note),)

    def _tallies(self) -> list[memoryview]:
        return [player.row for player in self._players]

    def _shown(self) -> bool:
        word = LOST if "asleep" in self._stage.sabotage else HITS
        return any(row[word] for row in self._tallies())

    def finish(self) -> Iterator[None]:
        """The rally ends where it is, if it has begun; who falls asleep is not killed before."""
        limit = time.monotonic() + PATIENCE_S
        while not self._shown() and time.monotonic() < limit:
            yield
        yield from leave(*self._players)

    def promises(self) -> Sequence[Promise]:
        """No wake-up is lost where no other one would cover it."""
        rows = self._tallies()
        return (
            Promise(
                "lost wake-ups, one by one",
                sum(row[LOST] for row in rows),
                sum(row[HITS] for row in rows),
                "wake-ups",
                f"half within {typical_delay(*rows)}; {self._killed} players killed",
                {"killed": self._killed, "wakes": sum(row[WAKES] for row in rows)},
            ),
        )
