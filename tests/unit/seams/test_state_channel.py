"""A pipeline of newest values on a machine that suspends."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import Deleted, SuspendAborted
from holdfast.seams import StateChannel, StateSource
from holdfast.state import Namespace, State, Transaction
from holdfast.wake import AsyncGovernor, SequenceServer, Service, Simulated, connect_async
from holdfast.wake.sequence import Phase
from tests.unit.wake.strategies.small import PATIENCE_S, until


class Place:
    """A machine with a state, a head that commits to it, and a governor."""

    def __init__(
        self,
        namespace: Namespace,
        governor: AsyncGovernor,
        server: SequenceServer,
        source: StateSource,
        path: str,
    ) -> None:
        self.namespace = namespace
        self.governor = governor
        self.server = server
        self.source = source
        self.path = path
        self.state = namespace.subscribe("values", "rw", size=8)

    def commit(self, number: int) -> None:
        self.state.transact(write(number))

    async def client(self) -> tuple[StateChannel, State]:
        state = self.namespace.subscribe("values", "r")
        channel = await StateChannel.connect(state, self.path, reporter=self.governor)
        await self.source.wait_clients()
        return channel, state


def write(number: int) -> Callable[[Transaction], None]:
    def fn(txn: Transaction) -> None:
        txn.data[:] = number.to_bytes(8)

    return fn


@asynccontextmanager
async def place(directory: Path, namespace: Namespace) -> AsyncIterator[Place]:
    path, batons = str(directory / "governor"), str(directory / "batons")
    async with Service(path, Simulated(sleep=0.005)), connect_async(path) as governor:
        server = SequenceServer(governor)
        _, running = server.manage()
        with (
            namespace.subscribe("values", "rw", size=8) as state,
            StateSource(state, server, batons) as source,
        ):
            await until(lambda: server.machine.phase is Phase.AWAKE)
            here = Place(namespace, governor, server, source, batons)
            yield here
            here.state.close()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def in_a_place(test: Callable[[Place], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(tmp_path: Path, namespace: Namespace) -> None:
        async def work() -> None:
            async with place(tmp_path, namespace) as here:
                await test(here)

        asyncio.run(asyncio.wait_for(work(), PATIENCE_S))

    del run.__wrapped__
    return run


@in_a_place
async def test_the_machine_stays_up_until_the_newest_version_was_dealt_with(here: Place) -> None:
    channel, state = await here.client()
    for number in range(100):
        here.commit(number)  # and nobody is told
    with pytest.raises(SuspendAborted):
        await here.governor.suspend(timeout=0.1)
    await until(lambda: channel.holding)
    asked = asyncio.create_task(here.governor.suspend())
    changes = channel.changes()
    snapshot = await anext(changes)
    assert int.from_bytes(snapshot.data) == 99
    assert not asked.done()
    waiting = asyncio.ensure_future(anext(changes))  # so that one is dealt with
    await asked
    here.commit(100)
    assert int.from_bytes((await waiting).data) == 100
    await changes.aclose()
    await channel.aclose()
    state.close()


@in_a_place
async def test_nothing_new_costs_no_lease(here: Place) -> None:
    here.commit(1)
    channel, state = await here.client()
    for _ in range(3):
        await here.governor.suspend()
    assert here.server.machine.flushes == 3
    assert here.server.machine.acquired == 0
    await channel.aclose()
    state.close()


@in_a_place
async def test_what_is_published_is_covered_when_that_returns(here: Place) -> None:
    channel, state = await here.client()
    worked: list[int] = []

    async def work() -> None:
        async for snapshot in channel.changes():
            worked.append(int.from_bytes(snapshot.data))

    working = asyncio.create_task(work())
    for number in range(1, 30):
        suspending = asyncio.create_task(here.governor.suspend())
        await here.source.publish(write(number))
        await suspending
    await until(lambda: worked[-1:] == [29])
    await here.governor.suspend()
    assert worked == sorted(worked)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    await channel.aclose()
    state.close()


@in_a_place
async def test_a_state_that_is_deleted_keeps_nobody_awake(here: Place) -> None:
    channel, state = await here.client()
    here.commit(1)
    asked = asyncio.create_task(here.governor.suspend())
    await until(lambda: channel.holding)
    here.state.delete()
    with pytest.raises(Deleted):
        async for _ in channel.changes():
            pass
    await asked
    await here.governor.suspend()
    await channel.aclose()
    state.close()


@in_a_place
async def test_a_client_that_leaves_keeps_nobody_awake(here: Place) -> None:
    channel, state = await here.client()
    here.commit(1)
    await channel.aclose()
    await until(lambda: here.source.clients == 0)
    await here.governor.suspend()
    await here.source.publish(write(2))
    state.close()


@in_a_place
async def test_how_far_a_client_is_can_be_seen_and_nothing_of_it_is_stranded(here: Place) -> None:
    channel, state = await here.client()
    for number in (1, 2, 3):
        here.commit(number)
    channel.processed(state.snapshot())
    for number in (4, 5, 6, 7):
        here.commit(number)
    with pytest.raises(SuspendAborted):
        await here.governor.suspend(timeout=0.2)
    await until(lambda: channel.holding)
    await here.governor.status()  # by the same connection: what was told before is known
    [located] = await here.governor.where()
    [(index, processed)] = {
        (holder.index, holder.processed) for holder in located.holders if holder.index is not None
    }
    assert (index, processed) == (7, 3), "versions, counted from when the client came"
    told = ""
    while "waiting for index 7, processed 3 (" not in told:  # as soon as the attempt is over
        told = await here.governor.why()
    channel.processed(state.snapshot())
    await here.governor.suspend()
    status = await here.governor.status()
    assert (status.stranded, status.saved_by) == (0, 1)
    assert "Nothing of 1 pipeline was stranded, of 7 messages" in await here.governor.why()
    await channel.aclose()
    state.close()
