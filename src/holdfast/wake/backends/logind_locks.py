"""One lock of logind's: a descriptor, and whether it is wanted."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from holdfast.wake.backends.logind_permission import MANAGER, NAME

if TYPE_CHECKING:
    from holdfast.wake.backends.bus import Connection

__all__ = ["Lock"]


class Lock:
    """An inhibitor lock: held until every copy of its descriptor is closed.

    Attributes:
        wanted: Whether it is to be held; `drop` does not wait for anybody, `take` does.
        doubtful: It is held, by the word of a logind that has ended.
        refused: It was when we last asked, and not only because a sleep is under way.
        action: What polkit calls it.

    Args:
        what: ``sleep`` or ``shutdown``. Not both: before systemd 257 polkit is then asked about the
            switch of the lid, of all things, which fewer are permitted (systemd issue 33834).
        who: In whose name.
        why: In words; ``systemd-inhibit --list`` shows them.
        mode: ``delay`` or ``block``.
    """

    def __init__(self, what: str, who: str, why: str, mode: str) -> None:
        self.wanted = False
        self.doubtful = False
        self.refused = False
        self.action = f"{NAME}.inhibit-{mode}-{what}"
        self._name = f"{mode} lock on {what}"
        self._asked = (what, who, why, mode)
        self._fd = -1
        self._taking = asyncio.Lock()

    def __str__(self) -> str:
        return self._name

    @property
    def held(self) -> bool:
        """Whether we have it."""
        return self._fd >= 0

    @property
    def settled(self) -> bool:
        """Whether there is nothing to ask logind for."""
        return not self.wanted or (self.held and not self.doubtful)

    async def take(self, bus: Connection) -> None:
        """Have it. An old one is let go after the new one came; one that came too late, at once.

        Raises:
            Refused: logind does not give it, for instance while a sleep is under way.
            Unavailable: The bus has ended.
        """
        async with self._taking:
            if self.settled:
                return
            (fd,) = await bus.call(MANAGER, "Inhibit", "ssss", self._asked)
            old, self._fd, self.doubtful = self._fd, fd, False
            self.refused = False
            if old >= 0:
                os.close(old)
            if not self.wanted:
                self.drop()

    def drop(self) -> None:
        """Let it go, if we have it."""
        fd, self._fd, self.doubtful = self._fd, -1, False
        if fd >= 0:
            os.close(fd)
