"""The acts that are cut off, and what must hold afterwards."""

from __future__ import annotations

import select
from collections.abc import Callable
from functools import partial

from holdfast import state
from holdfast.errors import Conflict
from holdfast.state import Namespace, State
from tests.kill.sweep import WAKE_LIMIT_MS, Scenario
from tests.kill.tracer import pack, unpack

CONFLICT = 7  # the victim's exit code when it found that it came too late
SIZE = 256


class Waiter:
    """Somebody who waits for a state through its descriptor."""

    def __init__(self, namespace: Namespace, name: str) -> None:
        self.state = namespace.subscribe(name)
        self.state.read()
        self.poll = select.poll()
        self.poll.register(self.state.fileno(), select.POLLIN)

    def wakes(self) -> bool:
        return bool(self.poll.poll(WAKE_LIMIT_MS))

    def sees(self, value: int) -> bool:
        """Whether there is news, and the news is the value."""
        return self.state.changed() and unpack(self.state.read()) == value


def whole(data: bytes) -> int:
    try:
        return unpack(data)
    except ValueError as torn:
        raise AssertionError(torn) from torn


class Commit:
    """One commit to `count` states, with readers, those who wait, and a next writer."""

    system_calls = False

    def __init__(self, directory: str, count: int = 1) -> None:
        self.name = "commit" if count == 1 else f"commit of {count}"
        self.namespace = Namespace(directory)
        self.names = [f"cut{i}" for i in range(count)]
        self.writers = [self.namespace.subscribe(name, "rw", size=SIZE) for name in self.names]
        self.readers = [self.namespace.subscribe(name) for name in self.names]
        self.value = 0
        self.write(self.value)
        self.version = self.writers[0].version
        # The first and the last: between their rings lies everything else.
        self.waiters = [Waiter(self.namespace, name) for name in {self.names[0], self.names[-1]}]

    def write(self, value: int) -> None:
        with state.transaction(*self.writers) as txn:
            for writer in self.writers:
                txn[writer].data[:] = pack(value, SIZE)
            txn.commit(force=True)

    def victim(self, pause: Callable[[], None]) -> int | None:
        # Subscriptions of its own, made here: the parent's would be renewed in the middle.
        mine = [self.namespace.subscribe(name, "rw") for name in self.names]
        txn = state.transaction(*mine)
        for one in mine:
            txn[one].data[:] = pack(self.value + 1, SIZE)
        for one in mine if len(mine) > 1 else ():
            one._need_table()  # now, and not in the middle
        commit = txn.commit
        pause()
        try:
            commit()
        except Conflict:
            return CONFLICT
        pause()
        for one in mine:
            one.close()
        return 0

    def check(self, cause: str) -> str:
        # Each by itself, without any care for the others: what was decided, was decided for all.
        alone = {(reader.version, whole(reader.read())) for reader in self.readers}
        assert len(alone) == 1, f"half a commit: {alone}"
        snapshots = state.snapshot(*self.readers)
        assert {(one.version, whole(one.data)) for one in snapshots} == alone
        version, value = alone.pop()
        moved = version - self.version
        assert moved in {0, 1}, f"version {version} after {self.version}"
        assert value == self.value + moved, f"version {version} holds {value}"
        if moved and cause != "stopped":
            assert all(waiter.wakes() for waiter in self.waiters), "nobody woke the waiter"
        # Nobody has cleaned up, and the next writer is not held up.  It writes what no victim does.
        self.value = value + 1000
        self.write(self.value)
        self.version = version + 1
        for reader in self.readers:
            assert reader.version == self.version
            assert whole(reader.read()) == self.value
        assert all(waiter.wakes() for waiter in self.waiters), (
            "the next commit did not wake the waiter"
        )
        assert all(waiter.sees(self.value) for waiter in self.waiters)
        return "new" if moved else "old"

    def settle(self, seen: str, exit_code: int) -> None:
        for waiter in self.waiters:
            waiter.state.read()  # the victim's end was an event too, and shall not pass for a ring
        expected = 0 if seen == "new" else CONFLICT
        assert exit_code == expected, f"{seen}, yet it ended with {exit_code}"
        for reader in self.readers:
            assert reader.version == self.version, "one that came too late has committed"
            assert whole(reader.read()) == self.value, "one that came too late has overwritten"

    def close(self) -> None:
        self.namespace.close()


class Grow:
    """A state of 64 bytes is made one of 512: each time a fresh one."""

    name = "growth"
    system_calls = False
    value = 7

    def __init__(self, directory: str) -> None:
        self.namespace = Namespace(directory)
        self.turn = 0
        self.begin()

    def begin(self) -> None:
        self.turn += 1
        self.writer = self.namespace.subscribe(f"grow{self.turn}", "rw", size=64)
        self.writer.transact(lambda txn: txn.write(0, pack(self.value, 64)))
        self.reader = self.namespace.subscribe(f"grow{self.turn}")

    def victim(self, pause: Callable[[], None]) -> int | None:
        mine = self.namespace.subscribe(self.writer.name, "rw")
        resize = mine._resize
        pause()
        resize(512)
        pause()
        return 0

    def check(self, cause: str) -> str:
        data = self.reader.read()
        assert len(data) in {64, 512}, f"{len(data)} bytes"
        grown = len(data) == 512
        assert whole(data[:64]) == self.value, "what was written is lost"
        assert not any(data[64:]), "what was added is not zero"
        assert self.reader.version == 1 + grown
        self.writer.set_size(512)
        self.writer.transact(lambda txn: txn.write(0, pack(9, 512)))
        assert whole(self.reader.read()) == 9
        assert self.reader.version == 3
        if cause != "stopped":
            self.renew()
        return "new" if grown else "old"

    def settle(self, seen: str, exit_code: int) -> None:
        # Too late or in time, the state has the size that it wanted: it succeeds.
        assert exit_code == 0, f"{seen}, yet it ended with {exit_code}"
        assert self.reader.version == 3, "one that came too late has committed"
        assert whole(self.reader.read()) == 9
        self.renew()

    def renew(self) -> None:
        self.writer.close()
        self.reader.close()
        self.begin()

    def close(self) -> None:
        self.namespace.close()


class Door:
    """Somebody subscribes, or deletes, and is cut off at a system call.

    Those who are inside go on reading and committing, even while he stands in the door.
    """

    system_calls = True

    def __init__(self, directory: str, name: str) -> None:
        self.name = name
        self.namespace = Namespace(directory, retain=True)
        self.inside = self.namespace.subscribe("inside", "rw", size=8)
        self.turn = 0
        self.begin()

    def begin(self) -> None:
        self.turn += 1
        self.subject = f"subject{self.turn}"
        if self.name == "delete":
            with self.namespace.subscribe(self.subject, "rw", size=64) as one:
                one.transact(lambda txn: txn.write(0, pack(self.turn, 64)))

    def victim(self, pause: Callable[[], None]) -> int | None:
        act: Callable[[], State | None]
        if self.name == "delete":
            act = self.namespace.subscribe(self.subject, "rw").delete
        else:
            act = partial(self.namespace.subscribe, self.subject, "rw", size=64)
        pause()
        act()
        pause()
        return 0

    def check(self, cause: str) -> str:
        version = self.inside.version
        self.inside.transact(lambda txn: txn.write(0, (version + 1).to_bytes(8, "little")))
        assert int.from_bytes(self.inside.read(), "little") == version + 1
        if cause == "stopped":
            return "waited"
        return self.enter()

    def enter(self) -> str:
        with self.namespace.subscribe(self.subject, "rw", size=64) as one:
            fresh = one.version == 0
            if self.name == "delete":
                assert fresh or whole(one.read()) == self.turn, "what was written is lost"
            else:
                assert fresh
            assert fresh == (not one.written)
            one.transact(lambda txn: txn.write(0, pack(5, 64)))
            assert whole(one.read()) == 5
            one.delete()
        self.begin()
        return "new" if fresh else "old"

    def settle(self, seen: str, exit_code: int) -> None:
        assert exit_code == 0, f"{seen}, yet it ended with {exit_code}"
        self.enter()

    def close(self) -> None:
        self.namespace.close()


SCENARIOS: dict[str, Callable[[str], Scenario]] = {
    "commit": Commit,
    "pair": partial(Commit, count=2),
    "five": partial(Commit, count=5),
    "grow": Grow,
    "subscribe": partial(Door, name="subscribe"),
    "delete": partial(Door, name="delete"),
}
