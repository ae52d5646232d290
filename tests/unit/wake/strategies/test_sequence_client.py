"""The receiving end on asyncio, and stages in the middle."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.errors import Closed, InvalidArgument
from holdfast.wake.strategies.sequence_client import Baton, SequenceClient
from holdfast.wake.strategies.sequence_relay import RelayTracker, SequenceRelay
from holdfast.wake.strategies.sequence_server import SequenceServer
from tests.unit.wake.strategies.small import Memory, MemoryRequest, Small, SmallLease, until
from tests.unit.wake.strategies.test_sequence_server import awake, on_a_loop, stop


class Channel:
    """Gives what it was given."""

    def __init__(self) -> None:
        self.batons: asyncio.Queue[Any] = asyncio.Queue()
        self.asked: list[int] = []

    async def receive_baton(self, processed: int) -> Any:
        self.asked.append(processed)
        return await self.batons.get()


def lease(governor: Small) -> SmallLease:
    """One that the governor knows nothing of: only whether it is closed matters."""
    return SmallLease(governor, -1)


async def client_with(
    index: int, **settings: Any
) -> tuple[SequenceClient, SmallLease, Channel, asyncio.Task[None]]:
    channel = Channel()
    client = SequenceClient(channel, **settings)
    running = client.run()
    held = lease(Small())
    await channel.batons.put(Baton(held, index, 1))
    await until(lambda: len(channel.asked) == 2)
    return client, held, channel, running


@on_a_loop
async def test_a_baton_is_closed_when_its_messages_are_processed() -> None:
    client, held, channel, running = await client_with(4)
    assert client.holding
    client.process_message(3)
    assert not held.closed
    client.process_message()
    await until(lambda: held.closed and not client.holding)
    assert client.index == 4
    await channel.batons.put(None)
    await running


@on_a_loop
async def test_a_baton_is_given_out_to_who_wants_to_keep_it() -> None:
    client, held, _, running = await client_with(4)
    assert client.processed_through(3, keep=True) is None
    assert client.processed_through(9, keep=True) is held
    assert not held.closed
    held.close()
    client.close()
    await asyncio.gather(running, return_exceptions=True)


@on_a_loop
async def test_a_late_baton_is_closed_and_the_next_is_asked_for_with_the_count() -> None:
    channel = Channel()
    client = SequenceClient(channel)
    client.process_message(4)
    running = client.run()
    held = lease(Small())
    await channel.batons.put(Baton(held, 4, 1))
    await until(lambda: held.closed)
    await channel.batons.put(None)
    await running
    assert channel.asked == [4, 4]


@on_a_loop
async def test_a_newer_baton_closes_the_older() -> None:
    """Row 10."""
    client, held, channel, running = await client_with(4)
    newer = lease(Small())
    await channel.batons.put(Baton(newer, 9, 1))
    await until(lambda: held.closed)
    assert [one.closed for one in (held, newer)] == [True, False]
    client.close()
    assert [one.closed for one in (held, newer)] == [True, True]
    await asyncio.gather(running, return_exceptions=True)


@on_a_loop
async def test_a_baton_that_is_passed_on_replaces_the_one_that_waits() -> None:
    governor = Small()
    relay = SequenceRelay()
    output = relay.manage()
    output.message_sent()
    first, second = lease(governor), lease(governor)
    relay.pass_on(first)
    relay.pass_on(second)
    assert [one.closed for one in (first, second)] == [True, False]
    relay.close()
    assert [one.closed for one in (first, second)] == [True, True]


@on_a_loop
async def test_a_baton_that_is_passed_on_within_a_delivery_is_not_lost() -> None:
    governor = Small()
    relay = SequenceRelay()
    output = relay.manage()
    second = lease(governor)

    class Eager:
        processed = 0

        def deliver(self, wake_lease: Any, index: int, epoch: int) -> None:
            wake_lease.close()
            output.message_sent()
            relay.pass_on(second)

        def refuse(self, code: str) -> None:
            pass

    output.set_requester(Eager())
    output.message_sent()
    relay.pass_on(lease(governor))
    await until(lambda: relay.machine.holding)
    assert not second.closed
    output.set_requester(request := MemoryRequest())
    assert isinstance(request.answer.result(), Baton)
    relay.close()


@on_a_loop
async def test_at_the_end_of_the_messages_nothing_is_held() -> None:
    """Row 15."""
    client, held, _, running = await client_with(4)
    client.end_of_messages()
    assert held.closed
    client.close()
    await asyncio.gather(running, return_exceptions=True)
    with pytest.raises(Closed):
        client.run()


@on_a_loop
async def test_a_new_subscription_closes_the_baton_of_the_old() -> None:
    """Row 14."""
    client, held, _, running = await client_with(4)
    client.subscribed(2)
    assert held.closed
    assert client.index == 0
    client.close()
    await asyncio.gather(running, return_exceptions=True)


@on_a_loop
async def test_an_error_of_the_channel_ends_the_task() -> None:
    class Broken:
        async def receive_baton(self, processed: int) -> None:
            raise OSError("broken")

    client = SequenceClient(Broken())
    with pytest.raises(OSError, match="broken"):
        await client.run()
    with pytest.raises(InvalidArgument):
        client.run()
    with pytest.raises(InvalidArgument):
        client.process_message(-1)


async def pipeline(
    governor: Small,
) -> tuple[Any, SequenceClient, SequenceRelay, RelayTracker, SequenceClient, list[Any]]:
    """A head, a stage in the middle and one at the end."""
    server = SequenceServer(governor)
    tracker, running = await awake(server)
    relay = SequenceRelay()
    middle = SequenceClient(Memory(tracker.set_requester), pass_on=relay.pass_on)  # type: ignore[arg-type]
    output = relay.manage()
    last = SequenceClient(Memory(output.set_requester))  # type: ignore[arg-type]
    tasks = [running, middle.run(), last.run()]
    await asyncio.sleep(0)
    return tracker, middle, relay, output, last, tasks


@pytest.mark.parametrize("quick", [True, False])
@on_a_loop
async def test_a_baton_goes_down_the_pipeline_as_far_as_there_is_work(quick: bool) -> None:
    """If the middle is quicker than the baton, the last stage gets it all the same."""
    governor = Small()
    tracker, middle, relay, output, last, tasks = await pipeline(governor)

    def process() -> None:
        for _ in range(4):
            output.message_sent()
            middle.process_message()

    await tracker.message_sent(4)
    if quick:
        process()
    assert not await governor.attempt()
    if not quick:
        await until(lambda: middle.holding)
        process()
    await until(lambda: last.holding)
    assert not middle.holding
    assert sum(map(len, governor.copies.values())) == 1
    last.process_message(4)
    await governor.suspend()
    assert governor.acquired == 1
    relay.close()
    for one in (middle, last):
        one.close()
    await stop(tasks[0])
    await asyncio.gather(*tasks, return_exceptions=True)


@on_a_loop
async def test_a_stage_without_output_ends_the_way_of_the_baton() -> None:
    governor = Small()
    tracker, middle, relay, _, last, tasks = await pipeline(governor)
    await tracker.message_sent(4)
    middle.process_message(4)
    await governor.suspend()
    assert not last.holding
    relay.close()
    with pytest.raises(Closed):
        relay.manage()
    for one in (middle, last):
        one.close()
    await stop(tasks[0])
    await asyncio.gather(*tasks, return_exceptions=True)


@on_a_loop
async def test_the_clients_of_a_stage_come_and_go() -> None:
    governor = Small()
    relay = SequenceRelay(retain=0.01)
    output = relay.manage()
    output.sent_through(3)
    output.sent_through(2)
    assert output.sent == 3
    relay.pass_on(first := lease(governor))
    await until(lambda: first.closed)  # nobody came
    output.set_requester(request := MemoryRequest())
    relay.pass_on(second := lease(governor))
    assert isinstance(request.answer.result(), Baton)
    assert second.closed  # a copy went on
    assert output.subscribed() == 2
    output.message_sent()
    relay.pass_on(third := lease(governor))
    output.client_gone()
    assert third.closed
    output.close()
    output.set_requester(late := MemoryRequest())
    assert late.code == "ended"
    with pytest.raises(Closed):
        output.subscribed()
    relay.close()


class Telling(Channel):
    """One by which the server is told what becomes of its batons."""

    def __init__(self) -> None:
        super().__init__()
        self.held = lease(Small())
        self.told: list[tuple[int, int, bool]] = []
        self.left = 0

    def let_go(self, index: int, processed: int) -> None:
        self.told.append((index, processed, self.held.closed))

    def leave(self) -> None:
        self.left += 1


@pytest.mark.parametrize("way", ["closed", "kept", "passed on", "late"])
@on_a_loop
async def test_the_server_is_told_before_a_baton_is_let_go_of(way: str) -> None:
    """Else the governor could see its end, and ask the server, before that knows."""
    channel = Telling()
    passed_on: list[object] = []
    client = SequenceClient(channel, pass_on=passed_on.append if way == "passed on" else None)
    running = client.run()
    await until(lambda: bool(channel.asked))
    if way == "late":
        client.process_message(7)
    await channel.batons.put(Baton(channel.held, 4, 1))
    await until(lambda: len(channel.asked) == 2)
    if way != "late":
        client.process_message(3)
        assert channel.told == []
        client.process_message(4, keep=way == "kept")
    assert channel.told == [(4, 7, False)]
    assert channel.held.closed == (way in {"closed", "late"})
    assert passed_on == ([channel.held] if way == "passed on" else [])
    assert channel.left == 0
    client.end_of_messages()
    client.close()
    assert channel.left == 1, "it is said once that nobody is there any more"
    await asyncio.gather(running, return_exceptions=True)
