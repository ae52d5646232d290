"""How far a client is that holds a baton: told to the governor while it holds it, and never else.

Who asks the governor why the machine does not go down wants to know how far its holder is. He may
ask when the holder is frozen, and cannot be asked; so it is told beforehand, and what was told last
is what is known. Nothing is done for a message: a timer looks at the count, twice a second at most,
and only while a baton is held. Most batons are gone before it looks for the first time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.wake.lease import PROGRESS_S, WakeLease

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.wake.strategies.surroundings import WakeLeaseLike

__all__ = ["Progress"]


class Progress:
    """Follows the baton that is held.

    Args:
        count: How many messages are processed.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._baton: WakeLease | None = None
        self._index = 0
        self._told = -1
        self._timer: asyncio.TimerHandle | None = None

    def began(self, baton: WakeLeaseLike, index: int, told: int) -> None:
        """From now on that one is held.

        Args:
            baton: One that nobody is told of is not followed.
            index: How many messages it covers.
            told: How many are known to be processed.
        """
        self.ended()
        if isinstance(baton, WakeLease) and baton.reporter is not None:
            self._baton, self._index, self._told = baton, index, told
            self._look()

    def done(self, baton: WakeLeaseLike, index: int) -> None:
        """All that it covers is processed here, and somebody else gets it, or may keep it."""
        self.ended(baton)
        if isinstance(baton, WakeLease) and baton.reporter is not None and not baton.closed:
            baton.reporter.hop("progress", baton.inode, processed=index)

    def ended(self, baton: WakeLeaseLike | None = None) -> None:
        """It is held no more; if another one is followed, that goes on."""
        if baton is not None and baton is not self._baton:
            return
        self._baton = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        baton = self._baton
        if baton is None or baton.closed or baton.reporter is None:
            self.ended()
            return
        count = self._count()
        if count != self._told:
            self._told = count
            baton.reporter.hop("progress", baton.inode, index=self._index, processed=count)
        self._timer = asyncio.get_running_loop().call_later(PROGRESS_S, self._look)
