"""What an act is to the stage."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from holdfast.demo.promise import Promise
    from holdfast.demo.stage import Player

__all__ = ["PATIENCE_S", "Act", "Line", "leave"]

STOP_LIMIT_S = 30.0  # an interpreter that has just been started, on a busy machine

# A machine may keep a process from its processors for seconds, and a play may last one. So whoever
# should go on is waited for that long, and so is whatever the play must show, however short it is.
PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the picture that is shown meanwhile.

    Attributes:
        who: The player, or several that do the same.
        doing: What, in a few words.
        count: How much of it so far; the screen makes a rate of it.
        lives: The processes that do it now.
        note: What else is to be told.
        group: Where there is no picture, all lines of one group are told as one.
    """

    who: str
    doing: str
    count: int
    lives: Sequence[Player]
    note: str = ""
    group: str = ""


class Act(Protocol):
    """A part of the play; made with the stage, on which it puts its players."""

    def players(self) -> Sequence[Player]:
        """Who must be ready before the play begins."""
        ...

    def begin(self) -> None:
        """Everybody is ready: let them play."""
        ...

    def step(self) -> None:
        """Called a hundred times a second: kill, replace, look."""
        ...

    def lines(self) -> Sequence[Line]:
        """What is going on."""
        ...

    def finish(self) -> Iterator[None]:
        """Bring the players to rest; yields while that takes, since all acts end together.

        First wait until everything had its chance, also what is spoilt: however short the play.
        """
        ...

    def promises(self) -> Sequence[Promise]:
        """What was promised and what was seen; everybody rests."""
        ...


def leave(*players: Player) -> Iterator[None]:
    """Let them end by themselves, and yield until they have; who does not is killed."""
    for player in players:
        player.say("stop")
    limit = time.monotonic() + STOP_LIMIT_S
    while any(player.process.poll() is None for player in players):
        if time.monotonic() > limit:
            for player in players:
                player.process.kill()
        yield
