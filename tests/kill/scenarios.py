"""The acts that are cut off, and what must hold afterwards."""

from __future__ import annotations

import select
from collections.abc import Callable

from holdfast.errors import Conflict
from holdfast.state import Namespace
from tests.kill.sweep import WAKE_LIMIT_MS, Scenario
from tests.kill.tracer import pack, unpack

CONFLICT = 7  # the victim's exit code when it found that it came too late


class Commit:
    """One commit to one state, with a reader, somebody who waits, and a next writer."""

    name = "commit"
    size = 256

    def __init__(self, directory: str) -> None:
        self.namespace = Namespace(directory)
        self.writer = self.namespace.subscribe("cut", "rw", size=self.size)
        self.reader = self.namespace.subscribe("cut")
        self.waiter = self.namespace.subscribe("cut")
        self.value = 0
        self._commit(self.value)
        self.version = self.writer.version
        self.waiter.read()
        self.poll = select.poll()
        self.poll.register(self.waiter.fileno(), select.POLLIN)

    def _commit(self, value: int) -> None:
        with self.writer.transaction() as txn:
            txn.data[:] = pack(value, self.size)
            txn.commit(force=True)

    def victim(self, pause: Callable[[], None]) -> int | None:
        # A subscription of its own, made here: the parent's would be renewed in the middle.
        with self.namespace.subscribe("cut", "rw") as mine:
            txn = mine.transaction()
            txn.data[:] = pack(self.value + 1, self.size)
            commit = txn.commit
            pause()
            try:
                commit()
            except Conflict:
                return CONFLICT
            pause()
        return 0

    def check(self, cause: str) -> str:
        snapshot = self.reader.snapshot()
        moved = snapshot.version - self.version
        assert moved in {0, 1}, f"version {snapshot.version} after {self.version}"
        try:
            value = unpack(snapshot.data)
        except ValueError as torn:
            raise AssertionError(torn) from torn
        assert value == self.value + moved, f"version {snapshot.version} holds {value}"
        if moved and cause != "stopped":
            assert self.poll.poll(WAKE_LIMIT_MS), "nobody woke the waiter"
        # Nobody has cleaned up, and the next writer is not held up.  It writes what no victim does.
        self.value = value + 1000
        self._commit(self.value)
        self.version = snapshot.version + 1
        assert self.reader.snapshot().version == self.version
        assert unpack(self.reader.read()) == self.value
        assert self.poll.poll(WAKE_LIMIT_MS), "the next commit did not wake the waiter"
        assert self.waiter.changed()
        assert unpack(self.waiter.read()) == self.value
        return "new" if moved else "old"

    def settle(self, seen: str, exit_code: int) -> None:
        self.waiter.read()  # the victim's end was an event too, and shall not pass for a ring
        assert exit_code == (0 if seen == "new" else CONFLICT), (
            f"{seen}, yet it ended with {exit_code}"
        )
        assert self.reader.version == self.version, "one that came too late has committed"
        assert unpack(self.reader.read()) == self.value, "one that came too late has overwritten"

    def close(self) -> None:
        self.namespace.close()


SCENARIOS: dict[str, Callable[[str], Scenario]] = {"commit": Commit}
