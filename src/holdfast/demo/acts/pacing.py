"""A display that is drawn at its own pace, and a writer who never asks about it.

The *gauge* is written in bursts: up to some hundred commits, then silence until the last of them
is on the display. The *display* has two throttled handles. With the one it looks when the
descriptor wakes it, with the other whenever it likes, which is too often. Now and then the writer
is killed in the middle of a burst; what it had committed last must be shown as well.

What must be true: no handle shows two versions with less than the interval between them, and each
shows the last version of each burst. A look takes time, and the handle decides somewhere within it.
So two looks were certainly too close if from the beginning of the one to the end of the other it
took less than the interval.
"""

from __future__ import annotations

import select
import struct
import time
from typing import TYPE_CHECKING

from holdfast.demo.acts.act import PATIENCE_S, Line, leave
from holdfast.demo.promise import Promise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from holdfast.demo.player import Part
    from holdfast.demo.stage import Player, Stage
    from holdfast.demo.tally import Row
    from holdfast.state import State

__all__ = ["SABOTAGE", "Pacing", "play_display", "play_gauge"]

STATE = "gauge"
NUMBER = struct.Struct("<Q")
INTERVAL_S = 0.05
INTERVAL_NS = round(INTERVAL_S * 1e9)
BURST_MAX = 200
PAUSE_MAX_S = 0.001  # between two commits of a burst
DOZING_LIMIT_S = 2.0  # who dozes is not waited for as long
DEATHS_S = (0.8, 1.6)  # between one death and the next
DOZES_AFTER = 2

SABOTAGE = {
    "hasty": "the display forgets to throttle its handles",
    "dozing": "the display stops to listen to its descriptor",
}

# Words of the writer's row, and of the display's.
COMMITS, BURSTS, UNSHOWN = range(3)
SHOWN, TOO_SOON, WAKES, NEWEST = range(4)


def _grace_s(sabotage: frozenset[str]) -> float:
    """So much later than it was committed the last version may be shown, on a busy machine."""
    return INTERVAL_S + (DOZING_LIMIT_S if "dozing" in sabotage else PATIENCE_S)


# -- the players, from inside ---------------------------------------------------------------------


def play_gauge(part: Part) -> None:
    """Write a burst, wait until its last version is on the display, and again."""
    state = part.namespace.subscribe(STATE, "rw", size=NUMBER.size)
    row, display = part.row, part.row_of(part.number)
    grace_s = _grace_s(part.sabotage)
    part.ready()
    part.wait_for_go()
    while part.playing():
        for _ in range(part.chance.randint(1, BURST_MAX)):
            with state.transaction() as txn:
                NUMBER.pack_into(txn.data, 0, txn.version + 1)
            row[COMMITS] += 1
            time.sleep(part.chance.uniform(0, PAUSE_MAX_S))
        last, limit = state.version, time.monotonic() + grace_s
        while part.playing() and display[NEWEST] < last and time.monotonic() < limit:
            time.sleep(0.002)
        if part.playing():
            row[BURSTS] += 1
            row[UNSHOWN] += display[NEWEST] < last


class Screen:
    """One throttled handle, and what it has shown, and when."""

    def __init__(self, state: State, row: Row) -> None:
        self.state = state
        self.version = -1  # nothing yet
        self._row = row
        self._looked_ns = 0

    def look(self) -> None:
        """Look; if another version is shown, it may not be too soon."""
        before_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        version = self.state.snapshot().version
        after_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if version != self.version:
            self._row[SHOWN] += 1
            self._row[TOO_SOON] += after_ns - self._looked_ns < INTERVAL_NS
            self.version, self._looked_ns = version, before_ns


def play_display(part: Part) -> None:
    """Look when woken through the one handle, and all the time through the other."""
    row = part.row
    woken, restless = (Screen(part.namespace.subscribe(STATE), row) for _ in range(2))
    if "hasty" not in part.sabotage:
        woken.state.throttle(INTERVAL_S)
        restless.state.throttle(INTERVAL_S)
    woken.look()
    poll = select.poll()
    poll.register(woken.state.fileno(), select.POLLIN)
    part.ready()
    while part.playing():
        if poll.poll(part.chance.randint(1, 10)):
            row[WAKES] += 1
            woken.look()
            if "dozing" in part.sabotage and row[WAKES] == DOZES_AFTER:
                poll.unregister(woken.state.fileno())
        restless.look()
        row[NEWEST] = min(woken.version, restless.version)


# -- the act --------------------------------------------------------------------------------------


class Pacing:
    """The writer, its deaths, and what is on the display afterwards."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._state = stage.namespace.subscribe(STATE, "rw", size=NUMBER.size)
        self._display_row, self._gauge_row = stage.reserve_row(), stage.reserve_row()
        self._display = stage.start("display", row=self._display_row)
        self._gauge = self._new_gauge()
        self._next_death_s = stage.chance.uniform(*DEATHS_S)
        self._awaited: int | None = (
            None  # the version that a dead writer has left, until it is shown
        )
        self._limit_s = 0.0
        self._killed = 0
        self._unshown = 0

    def _new_gauge(self) -> Player:
        return self._stage.start("gauge", row=self._gauge_row, number=self._display_row)

    def players(self) -> Sequence[Player]:
        """Both."""
        return (self._display, self._gauge)

    def begin(self) -> None:
        """Let the first burst begin."""
        self._gauge.say("go")

    def step(self) -> None:
        """Kill the writer now and then; when what it has left is shown, a new one begins."""
        if self._awaited is not None:
            self._see_the_last(self._awaited)
        elif self._stage.elapsed_s >= self._next_death_s and self._gauge.ready:
            self._gauge.kill()
            self._killed += 1
            self._await()

    def _await(self) -> int:
        self._awaited = version = self._state.version
        self._limit_s = self._stage.elapsed_s + _grace_s(self._stage.sabotage)
        return version

    def _see_the_last(self, awaited: int) -> None:
        shown = self._display.row[NEWEST] >= awaited
        if shown or self._stage.elapsed_s > self._limit_s:
            outcome = "is shown" if shown else "is not shown"
            self._stage.note(f"gauge: writer killed; its version {awaited:,} {outcome}")
            self._unshown += not shown
            self._awaited = None
            self._next_death_s = self._stage.elapsed_s + self._stage.chance.uniform(*DEATHS_S)
            self._gauge = self._new_gauge()
            self._gauge.say("go")

    def lines(self) -> Sequence[Line]:
        """The display."""
        row = self._display.row
        note = f"of {self._state.version:,}; {row[TOO_SOON]} too soon, {self._killed} killed"
        return (Line("display", "is throttled", row[SHOWN], (self._display,), note),)

    def _shown(self) -> bool:
        """Whether those who were told to spoil something have done it."""
        sabotage = self._stage.sabotage
        if "hasty" in sabotage and not self._display.row[TOO_SOON]:
            return False
        return "dozing" not in sabotage or self._gauge.row[UNSHOWN] + self._unshown > 0

    def finish(self) -> Iterator[None]:
        """First the writer; the display must show its last version before it stops."""
        limit = time.monotonic() + PATIENCE_S
        while self._awaited is not None or (not self._shown() and time.monotonic() < limit):
            self.step()
            yield
        yield from leave(self._gauge)
        last = self._await()
        while self._display.row[NEWEST] < last and self._stage.elapsed_s < self._limit_s:
            yield
        self._unshown += self._display.row[NEWEST] < last
        yield from leave(self._display)

    def promises(self) -> Sequence[Promise]:
        """Never too soon, and never not at all."""
        display, gauge = self._display.row, self._gauge.row
        commits = self._state.version
        return (
            Promise(
                "versions shown too soon",
                display[TOO_SOON],
                display[SHOWN],
                "versions",
                f"{INTERVAL_S * 1000:.0f} ms apart, on two handles; of {commits:,} committed",
                {"commits": commits, "wakes": display[WAKES], "interval_s": INTERVAL_S},
            ),
            Promise(
                "last of a burst not shown",
                gauge[UNSHOWN] + self._unshown,
                gauge[BURSTS] + self._killed + 1,
                "bursts",
                f"{self._killed} ended by SIGKILL; {display[WAKES]:,} wake-ups in all",
                {"killed": self._killed},
            ),
        )
