"""The blocking driver: what it does for a script, beyond calling the store."""

from __future__ import annotations

import threading

from holdfast.lease.driver import Driver
from holdfast.lease.scripts import Wait
from holdfast.lease.stores.memory import MemoryDatabase, MemoryStore


class Counted(MemoryStore):
    """Counts the waits that it is asked for."""

    waits = 0

    def wait_changed(self, timeout: float | None = None, *, name: str | None = None) -> bool:
        self.waits += 1
        return False


def test_what_has_changed_already_is_not_waited_for() -> None:
    """Another thread may have brought the picture up to date since the script has looked."""
    database = MemoryDatabase()
    store, other = Counted(database), MemoryStore(database)
    driver = Driver(store, lambda: 0, threading.Event())
    seen = other.claim("n", "a", 10**9)
    store.look("n")
    driver.perform(Wait("n", 10**9, seen), None)
    assert store.waits == 1
    other.release(seen)
    store.look("n")
    driver.perform(Wait("n", 10**9, seen), None)
    assert store.waits == 1
