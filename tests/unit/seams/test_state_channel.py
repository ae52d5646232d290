"""A pipeline of newest values on a machine that suspends."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.errors import Deleted, SuspendAborted
from tests.unit.seams.state_place import Place, in_a_place, write
from tests.unit.wake.strategies.small import until


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
