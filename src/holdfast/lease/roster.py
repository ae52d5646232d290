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
        self._given_back: dict[str, int] = {}  # the last epoch of each name that had sharers

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
        """It is lost. Call it under the lock."""
        self._live.pop(id(held), None)

    def leave(self, held: Held) -> bool:
        """It was released; whether nobody here shares the holding. Call it under the lock."""
        self._live.pop(id(held), None)
        if not held.shared:
            return True
        epoch = held.fencing_token
        for other in self._live.values():
            if other.fencing_token == epoch and not other.keeper.over:
                return False
        self._given_back[held.name] = max(epoch, self._given_back.get(held.name, 0))
        return True

    def was_given_back(self, held: Held) -> bool:
        """Whether the last who shared the holding is about to give it back, or has done so.

        Whoever has extended it just before must not believe in it. Call it under the lock.
        """
        return held.shared and held.fencing_token <= self._given_back.get(held.name, 0)
