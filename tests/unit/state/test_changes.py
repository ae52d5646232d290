"""`State.changes`: an event loop that watches states, one or a thousand."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from holdfast.errors import Closed, Deleted
from holdfast.state import Namespace, Snapshot, State
from holdfast.state.loopwatch import LoopWatch
from tests.fixtures_state import MakePeer

SOON_S = 30.0  # a bound for liveness, never a measure
QUIET_S = 0.1  # how long nothing is watched for


@pytest.fixture
def writer(namespace: Namespace) -> State:
    return namespace.subscribe("s", "rw", size=8)


@pytest.fixture
def reader(namespace: Namespace, writer: State) -> State:
    return namespace.subscribe("s")


def put(state: State, value: int) -> None:
    with state.transaction() as txn:
        txn.data[:] = value.to_bytes(8, "little")


async def upcoming(changes: AsyncIterator[Snapshot]) -> int:
    """The number in the next change, soon."""
    snapshot = await asyncio.wait_for(anext(changes), SOON_S)
    return int.from_bytes(snapshot.data, "little")


@pytest.fixture
def instances() -> Callable[[], int]:
    """How many inotify instances this process has more than before the test."""

    def all_of_them() -> int:
        found = 0
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):
                found += os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:inotify"
        return found

    gc.collect()  # of what tests before this one have left
    before = all_of_them()
    return lambda: all_of_them() - before


class Counted:
    """A state that notes when it is looked at, and how often it is asked for changes."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.asked = 0
        self.looks_ns: list[tuple[int, int]] = []  # before and after each

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    def changed(self) -> bool:
        self.asked += 1
        return self._state.changed()

    def snapshot(self) -> Snapshot:
        before_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        snapshot = self._state.snapshot()
        self.looks_ns.append((before_ns, time.clock_gettime_ns(time.CLOCK_BOOTTIME)))
        return snapshot

    def changes(self) -> AsyncIterator[Snapshot]:
        # The method of the class, on this object in place of the state.
        return State.changes(self)  # type: ignore[arg-type]


# -- one consumer ---------------------------------------------------------------------------------


def test_the_newest_comes_at_once(writer: State, reader: State) -> None:
    """K54, K55e: for a handle that has shown nothing; version 0 is no change."""

    async def main() -> None:
        changes = reader.changes()
        pending = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0.01)
        assert not pending.done()
        put(writer, 1)
        assert (await asyncio.wait_for(pending, SOON_S)).version == 1
        for value in (2, 3):
            put(writer, value)
        assert await upcoming(changes) == 3
        reader.read()

    asyncio.run(main())


def test_what_a_look_has_shown_does_not_come(writer: State, reader: State) -> None:
    """K54: changes() takes up where the handle is."""
    put(writer, 1)
    reader.read()

    async def main() -> None:
        changes = reader.changes()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(changes), QUIET_S)

    asyncio.run(main())


def test_each_change_comes_while_the_consumer_keeps_up(writer: State, reader: State) -> None:
    """K55a: two hundred of them, one after the other."""

    async def main() -> None:
        changes = reader.changes()
        for value in range(1, 201):
            put(writer, value)
            assert await upcoming(changes) == value

    asyncio.run(main())


def test_changes_of_another_process_come_in_order_and_merged(reader: State, peer: MakePeer) -> None:
    """K6, K55a, K55c: versions rise, and the last one always comes."""
    other = peer()
    other("w = ns.subscribe('s', 'rw')")

    async def main() -> list[int]:
        seen: list[int] = []
        changes = reader.changes()
        for first in (1, 25_001):  # in two halves: who is slow sees two changes at least
            other.start(
                f"for n in range({first}, {first + 25_000}):\n"
                "    with w.transaction() as t: t.data[:] = n.to_bytes(8, 'little')\n"
            )
            while not seen or seen[-1] < first + 24_999:
                seen.append(await upcoming(changes))
            other.result()
        return seen

    seen = asyncio.run(main())
    assert all(one < two for one, two in itertools.pairwise(seen))
    assert len(seen) > 1


def test_deletion_ends_the_changes(
    writer: State, reader: State, instances: Callable[[], int]
) -> None:
    """K32: with Deleted, for whoever waits and for whoever comes later."""

    async def main() -> None:
        waiting = [asyncio.ensure_future(anext(one.changes())) for one in (reader, writer)]
        await asyncio.sleep(0.01)
        writer.delete()
        for task in waiting:
            with pytest.raises(Deleted):
                await asyncio.wait_for(task, SOON_S)
        with pytest.raises(Deleted):
            await anext(reader.changes())

    asyncio.run(main())
    assert instances() == 0


def test_a_closed_handle_has_no_changes(reader: State) -> None:
    """K54: Closed at the first step; while it waits, see the conformance suite."""
    reader.close()
    with pytest.raises(Closed):
        asyncio.run(anext(reader.changes()))


# -- nothing is left, nothing spins ---------------------------------------------------------------


@pytest.mark.parametrize("how", ["cancelled", "broken off", "closed by hand", "timed out"])
def test_a_consumer_that_leaves_leaves_nothing(
    writer: State, reader: State, instances: Callable[[], int], how: str
) -> None:
    """K54, K70: no descriptor, no watch, no callback of the loop."""
    before = len(os.listdir("/proc/self/fd"))

    async def consume(count: int) -> None:
        async for snapshot in reader.changes():
            if snapshot.version >= count:
                break

    async def main() -> None:
        loop = asyncio.get_running_loop()
        if how == "cancelled":
            task = asyncio.create_task(consume(1000))
            await asyncio.sleep(0.01)
            assert instances() == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        elif how == "broken off":
            put(writer, 1)
            await asyncio.wait_for(consume(1), SOON_S)
        elif how == "closed by hand":
            changes: Any = reader.changes()
            put(writer, 1)
            await anext(changes)
            await changes.aclose()
        else:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(consume(1000), 0.01)
        gc.collect()
        for _ in range(3):
            await asyncio.sleep(0)
        assert instances() == 0
        watch = LoopWatch.of_running_loop()
        assert (watch._rung, watch._polled, watch._timer) == ({}, set(), None)
        put(writer, 5)
        assert await upcoming(reader.changes()) == 5  # and it can begin again
        del loop

    asyncio.run(main())
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_loop_that_has_nothing_to_do_does_nothing(writer: State, reader: State) -> None:
    """K55b: a change is one or two looks, and silence is none; the loop does not turn."""
    counted = Counted(reader)

    async def main() -> tuple[int, int]:
        turns = count_turns(asyncio.get_running_loop())
        changes = counted.changes()
        for value in range(1, 101):
            put(writer, value)
            await upcoming(changes)
        busy = counted.asked
        pending = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0.01)
        before = counted.asked
        turns.clear()
        await asyncio.sleep(2 * QUIET_S)
        assert len(turns) < 10  # to sleep and to wake takes two or three
        pending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pending
        return busy, counted.asked - before

    busy, idle = asyncio.run(main())
    assert 100 <= busy <= 301
    assert idle == 0


def count_turns(loop: Any) -> list[None]:
    """Note each turn of an event loop from now on."""
    turns: list[None] = []
    select = loop._selector.select

    def noted(timeout: float | None) -> Any:
        turns.append(None)
        return select(timeout)

    loop._selector.select = noted
    return turns


def test_two_consumers_of_one_state_see_every_change(
    namespace: Namespace, writer: State, reader: State, instances: Callable[[], int]
) -> None:
    """K8, K54: on two handles, through one watch; one that leaves does not disturb the other."""
    other = namespace.subscribe("s")

    async def main() -> None:
        ours, theirs = reader.changes(), other.changes()
        for value in range(1, 51):
            put(writer, value)
            assert [await upcoming(ours), await upcoming(theirs)] == [value, value]
        assert instances() == 1
        await theirs.aclose()
        for value in range(51, 101):
            put(writer, value)
            assert await upcoming(ours) == value

    asyncio.run(main())


def test_two_loops_do_not_know_of_each_other(
    writer: State, reader: State, instances: Callable[[], int]
) -> None:
    """K54: the same handle may be watched by one loop after another."""

    async def one(value: int) -> None:
        put(writer, value)
        assert await upcoming(reader.changes()) == value

    for value in range(1, 6):
        asyncio.run(one(value))
    assert instances() == 0


# -- throttled ------------------------------------------------------------------------------------


def test_throttled_changes_come_at_their_pace(reader: State, writer: State, peer: MakePeer) -> None:
    """K56, P1, P5: never closer than R, the last one always, and one or two looks for each."""
    interval_ns, count = 20_000_000, 2000
    reader.throttle(interval_ns / 1e9)
    counted = Counted(reader)
    other = peer()
    other("import time; w = ns.subscribe('s', 'rw')")
    other.start(
        f"for n in range(1, {count + 1}):\n"
        "    with w.transaction() as t: t.data[:] = n.to_bytes(8, 'little')\n"
        "    time.sleep(0.0002)\n"
    )

    async def main() -> list[int]:
        seen: list[int] = []
        changes = counted.changes()
        while not seen or seen[-1] < count:
            seen.append(await upcoming(changes))
        return seen

    seen = asyncio.run(main())
    other.result()
    assert all(one < two for one, two in itertools.pairwise(seen))
    assert len(counted.looks_ns) == len(seen)
    # A version is shown within its look, nobody outside knows when.
    for (before_ns, _), (_, after_ns) in itertools.pairwise(counted.looks_ns):
        assert after_ns - before_ns >= interval_ns
    assert counted.asked <= 4 * len(seen) + 10


def test_a_throttled_consumer_hears_of_deletion(writer: State, reader: State) -> None:
    """K32, K56: when its interval is over, at the latest."""
    reader.throttle(0.05)

    async def main() -> None:
        changes = reader.changes()
        put(writer, 1)
        assert await upcoming(changes) == 1
        writer.delete()
        with pytest.raises(Deleted):
            await upcoming(changes)

    asyncio.run(main())
