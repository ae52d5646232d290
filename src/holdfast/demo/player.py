"""A player, from inside: ``python -m holdfast.demo.player``, started by the stage and only by it.

A player obeys its standard input: "go", "stop", and its end, which is the end of the stage: however
that process died, its players die with it. One that is stopped does not read; so the kernel is told
to kill it, too.
"""

from __future__ import annotations

import importlib
import os
import random
import signal
import sys
import threading

from holdfast.demo.acts import ROLES
from holdfast.demo.tally import READY, Row, Tally
from holdfast.state import Namespace
from holdfast.supervise.launcher import PR_SET_PDEATHSIG, prctl

__all__ = ["Part", "main"]


class Part:
    """What one player has.

    Attributes:
        directory: The private directory of the stage.
        namespace: The states of the demo.
        row: Its own row of the tally.
        number: Which of several that play the same role.
        chance: Its own source of random numbers.
        sabotage: What is to be spoilt, to show that somebody notices; mostly nothing.
    """

    def __init__(
        self,
        directory: str,
        row: int,
        number: int,
        chance: random.Random,
        sabotage: frozenset[str],
    ) -> None:
        self.directory = directory
        self.namespace = Namespace(os.path.join(directory, "states"))
        self._tally = Tally(os.path.join(directory, "tally"))
        self._place = row
        self.row: Row = self._tally.row(row)
        self.number = number
        self.chance = chance
        self.sabotage = sabotage
        self._go = threading.Event()
        self._stop = threading.Event()
        threading.Thread(target=self._obey, daemon=True).start()

    def _obey(self) -> None:
        while line := os.read(0, 64):
            if b"go" in line:
                self._go.set()
            if b"stop" in line:
                self._go.set()
                self._stop.set()
        os._exit(0)

    def row_of(self, row: int) -> Row:
        """The row of another player, to be looked at."""
        return self._tally.row(row)

    def sibling(self, number: int) -> Row:
        """The row of that player of the same role; theirs follow each other in the tally."""
        return self._tally.row(self._place - self.number + number)

    def ready(self) -> None:
        """Tell the stage that everything is set up."""
        self.row[READY] = 1

    def wait_for_go(self) -> None:
        """Stand by until the stage says so."""
        self._go.wait()

    def begun(self) -> bool:
        """Whether it has; for those who cannot stand still meanwhile."""
        return self._go.is_set()

    def playing(self) -> bool:
        """Whether to go on."""
        return not self._stop.is_set()


def main(arguments: list[str]) -> None:
    """Play one role to its end."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    directory, role, row, number, seed, sabotage = arguments
    module, _, name = ROLES[role].partition(":")
    play = getattr(importlib.import_module(f"holdfast.demo.acts.{module}"), name)
    spoilt = frozenset(filter(None, sabotage.split(",")))
    play(Part(directory, int(row), int(number), random.Random(seed), spoilt))


if __name__ == "__main__":
    main(sys.argv[1:])
