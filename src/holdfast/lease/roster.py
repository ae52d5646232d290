"""The leases that one `Leases` holds, and the lock under which their keepers move."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.lease.held import Held

__all__ = ["Roster"]


class Roster:
    """Who is to be renewed and watched. The renewer, the watchdog and the holders share it.

    Attributes:
        lock: Every transition of a keeper happens under it; it is never held during I/O.
        changed: Of that lock; notified when a lease is lost or released.
    """

    def __init__(self) -> None:
        self.renew_lock()
        self._live: dict[int, Held] = {}

    def renew_lock(self) -> None:
        """A lock that nobody holds; the other may be held by a thread that a fork left behind."""
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Held]:
        return iter(list(self._live.values()))

    def add(self, held: Held) -> None:
        """A lease that was claimed. Call it under the lock."""
        self._live[id(held)] = held

    def discard(self, held: Held) -> None:
        """It is lost, or was released. Call it under the lock."""
        self._live.pop(id(held), None)
