"""Mayflies: states whose only subscriber lives for a moment, and ends in whatever way.

A player forks children, one after the other. Each makes a state, commits to it all the time, and
then closes it, exits without closing it, or is killed with SIGKILL, perhaps amid a commit. Whoever
subscribes to that name next must find a new state: version 0, whatever was there before.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, NoReturn

from holdfast.demo.acts.act import PATIENCE_S, Line, leave
from holdfast.demo.promise import Promise
from holdfast.supervise.launcher import PR_SET_PDEATHSIG, prctl

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from holdfast.demo.player import Part
    from holdfast.demo.stage import Player, Stage
    from holdfast.state import Namespace

__all__ = ["SABOTAGE", "Vanishing", "play_mayflies"]

NAMES = 10  # the names are used again and again
PAUSE_S = 0.02
LIFE_MAX_S = 0.003
BIRTH_LIMIT_S = 10.0

SABOTAGE = {"ghost": "whoever lets the mayflies live keeps their states to the end"}

LIVED, KILLED, STAYED, COMMITTED = range(4)
ENDS = ("close", "exit", "kill")


def play_mayflies(part: Part) -> None:
    """Let one live and die, look at what is left, and again."""
    os.nice(5)
    namespace, row = part.namespace, part.row
    ghosts = {}
    part.ready()
    part.wait_for_go()
    while part.playing():
        name = f"mayfly.{row[LIVED] % NAMES}"
        end = part.chance.choice(ENDS)
        row[COMMITTED] = 0
        if "ghost" in part.sabotage and name not in ghosts:
            ghosts[name] = namespace.subscribe(name, "rw", size=8)
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            _live(namespace, name, end, part, parent)
        if end == "kill":
            limit = time.monotonic() + BIRTH_LIMIT_S
            while not row[COMMITTED] and time.monotonic() < limit:
                time.sleep(0.0005)
            time.sleep(part.chance.uniform(0, LIFE_MAX_S))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not row[COMMITTED] or os.waitstatus_to_exitcode(status) not in {0, -signal.SIGKILL}:
            raise RuntimeError(f"a mayfly ended with status {status}, told to {end}")
        with namespace.subscribe(name, "rw", size=8) as heir:
            row[STAYED] += heir.version != 0
        row[KILLED] += end == "kill"
        row[LIVED] += 1
        time.sleep(PAUSE_S)


def _live(namespace: Namespace, name: str, end: str, part: Part, parent: int) -> NoReturn:
    try:
        # Who is left alone shall make nothing any more, amid what the stage clears away.
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)
        state = namespace.subscribe(name, "rw", size=8)
        # One that is to be killed goes on until then; but not longer than its parent lives.
        while not part.row[COMMITTED] or (end == "kill" and os.getppid() == parent):
            with state.transaction() as txn:
                txn.data[:] = (txn.version + 1).to_bytes(8, "little")
            part.row[COMMITTED] += 1
        if end == "close":
            state.close()
        os._exit(0)
    finally:
        os._exit(1)  # an error: a fork's child must not go on as its parent


class Vanishing:
    """The player that lets the mayflies live."""

    def __init__(self, stage: Stage) -> None:
        self._player = stage.start("mayflies")

    def players(self) -> Sequence[Player]:
        """The one."""
        return (self._player,)

    def begin(self) -> None:
        """Let the first live."""
        self._player.say("go")

    def step(self) -> None:
        """Nothing: they die by themselves."""

    def lines(self) -> Sequence[Line]:
        """How many so far."""
        row = self._player.row
        note = f"{row[STAYED]} have stayed, {row[KILLED]} by SIGKILL"
        return (Line("mayflies", "make states and die", row[LIVED], (self._player,), note),)

    def finish(self) -> Iterator[None]:
        """Let the last one end, and the first."""
        limit = time.monotonic() + PATIENCE_S
        while not self._player.row[LIVED] and time.monotonic() < limit:
            yield
        yield from leave(self._player)

    def promises(self) -> Sequence[Promise]:
        """Gone with its last subscriber, however that one ends."""
        row = self._player.row
        return (
            Promise(
                "states that do not vanish",
                row[STAYED],
                row[LIVED],
                "states",
                f"{row[KILLED]} had their only subscriber killed, amid its commits",
                {"killed": row[KILLED]},
            ),
        )
