"""What a client of a pipeline of newest values is told when nothing covers its work any more."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from holdfast.errors import Closed
from holdfast.seams import StateChannel
from holdfast.state import Namespace, Snapshot
from holdfast.wake import Service, Simulated, connect_async
from tests.peer import python_path
from tests.unit.ipc.places import descriptors_now
from tests.unit.seams.state_place import Place, in_a_place
from tests.unit.wake.strategies.small import PATIENCE_S, until


def number(snapshot: Snapshot | None) -> int:
    assert snapshot is not None
    return int.from_bytes(snapshot.data)


def nobody_asks_for_batons() -> bool:
    return "sequence-client" not in {task.get_name() for task in asyncio.all_tasks()}


class Head:
    """The head as a real process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def said(self) -> str:
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().strip()

    async def publish(self, number: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"%d\n" % number)
        assert await self.said() == str(number)

    async def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        assert await self._process.wait() == -signal.SIGKILL


@asynccontextmanager
async def a_head(*arguments: str | Path) -> AsyncIterator[Head]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "error", "-m", "tests.unit.seams.state_head", *map(str, arguments)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": python_path()},
    )
    head = Head(process)
    try:
        assert await head.said() == "ready"
        yield head
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_a_head_that_is_killed_ends_the_changes_and_another_one_begins_anew(
    tmp_path: Path, directory: Path, namespace: Namespace
) -> None:
    path, batons = str(tmp_path / "governor"), str(tmp_path / "batons")

    async def main() -> None:
        async with (
            Service(path, Simulated(sleep=0.005)) as service,
            connect_async(path) as governor,
        ):
            with namespace.subscribe("values", "rw", size=8) as state:
                await governor.status()  # now the governor has its end of the connection, too
                before = descriptors_now(), len(asyncio.all_tasks())

                # It dies while its newest value is in work, under a baton.
                async with a_head(path, directory, batons) as head:
                    channel = await StateChannel.connect(state, batons, reporter=governor)
                    changes = channel.changes()
                    await head.publish(1)
                    asked = asyncio.create_task(governor.suspend())
                    await until(lambda: channel.holding)
                    assert number(await anext(changes)) == 1
                    await head.kill()
                await until(lambda: service.connections == 1)
                await until(nobody_asks_for_batons)
                assert channel.holding
                assert (await governor.status()).wake_lease_count == 1
                assert not asked.done()
                assert await anext(changes, None) is None
                await asked
                await channel.aclose()

                # It dies while the client waits for a change.
                async with a_head(path, directory, batons) as head:
                    channel = await StateChannel.connect(state, batons, reporter=governor)
                    changes = channel.changes()
                    await head.publish(2)
                    assert number(await anext(changes)) == 2
                    waiting = asyncio.ensure_future(anext(changes, None))
                    await governor.suspend()  # with all dealt with, or it would not go down
                    assert not waiting.done()
                    await head.kill()
                assert await waiting is None
                assert not channel.holding
                await governor.suspend()
                await channel.aclose()
                await until(lambda: descriptors_now() <= before[0])
                await until(lambda: len(asyncio.all_tasks()) <= before[1])

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))


@in_a_place
async def test_the_newest_value_is_given_before_the_end_and_its_baton_held_until_then(
    here: Place,
) -> None:
    channel, state = await here.client()
    changes = channel.changes()
    here.commit(1)
    assert number(await anext(changes)) == 1
    here.commit(2)
    asked = asyncio.create_task(here.governor.suspend())
    await until(lambda: channel.holding)
    here.source.close()
    await until(nobody_asks_for_batons)
    assert number(await anext(changes)) == 2
    holds = [channel.holding]
    assert not asked.done()
    assert await anext(changes, None) is None
    holds.append(channel.holding)
    assert holds == [True, False]
    # The copy of a head that lives is its own, until all have resumed: it has nothing to wait for.
    await asked
    await channel.aclose()
    state.close()


@in_a_place
async def test_it_ends_also_if_others_commit_on_and_on(here: Place) -> None:
    channel, state = await here.client()
    here.commit(1)
    here.source.close()
    await until(nobody_asks_for_batons)
    given = []
    async for snapshot in channel.changes():
        given.append(number(snapshot))
        here.commit(1 + len(given))
        assert len(given) < 10
    assert given == [1]
    await channel.aclose()
    state.close()


@in_a_place
async def test_a_head_whose_governor_has_gone_covers_nothing_and_that_is_told(here: Place) -> None:
    channel, state = await here.client()
    waiting = asyncio.ensure_future(anext(channel.changes(), None))
    await here.governor.close()
    assert await waiting is None
    await channel.aclose()
    with pytest.raises(Closed):
        await StateChannel.connect(state, here.path)
    state.close()


@in_a_place
async def test_who_waits_in_a_channel_that_is_closed_hears_of_it(here: Place) -> None:
    channel, state = await here.client()
    waiting = asyncio.ensure_future(anext(channel.changes()))
    await asyncio.sleep(0)
    channel.close()
    with pytest.raises(Closed):
        await waiting
    await channel.aclose()
    state.close()


@in_a_place
async def test_a_channel_that_is_closed_gives_nothing(here: Place) -> None:
    channel, state = await here.client()
    here.commit(1)
    channel.close()
    with pytest.raises(Closed):
        await anext(channel.changes())
    await channel.aclose()
    state.close()


@in_a_place
async def test_who_is_told_to_wait_no_longer_in_the_turn_of_the_end_meets_no_fault(
    here: Place,
) -> None:
    channel, state = await here.client()
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    waiting = asyncio.ensure_future(anext(channel.changes()))
    await asyncio.sleep(0)
    channel.close()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await until(nobody_asks_for_batons)
    await channel.aclose()
    assert faults == []
    state.close()


@in_a_place
async def test_a_time_out_of_the_callers_is_no_end_and_leaves_nothing_behind(here: Place) -> None:
    channel, state = await here.client()
    before = descriptors_now()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await anext(channel.changes())
    assert descriptors_now() <= before
    await until(nobody_asks_for_batons)
    with pytest.raises(Closed):  # it has left: nothing would be covered
        await anext(channel.changes())
    await channel.aclose()
    state.close()


@in_a_place
async def test_who_leaves_the_loop_leaves_no_descriptor(here: Place) -> None:
    channel, state = await here.client()
    before = descriptors_now()
    changes = channel.changes()
    here.commit(1)
    assert number(await anext(changes)) == 1
    await changes.aclose()
    assert descriptors_now() <= before
    await channel.aclose()
    state.close()
