"""The head on asyncio, against the real governor's machine."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from holdfast.clock import NS_PER_S
from holdfast.errors import Closed, GovernorGone, InvalidArgument, OutOfSpace
from holdfast.wake.sequence import Lost, Phase, Unclaimed
from holdfast.wake.strategies.send_tracker import MessageSendTracker
from holdfast.wake.strategies.sequence_client import Baton, SequenceClient
from holdfast.wake.strategies.sequence_server import SequenceServer
from tests.unit.wake.strategies.small import PATIENCE_S, Memory, MemoryRequest, Small, until


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine function as a test."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), PATIENCE_S))

    return run


async def awake(server: SequenceServer) -> tuple[MessageSendTracker, asyncio.Task[None]]:
    """A tracker of a server that knows that the machine is awake."""
    tracker, running = server.manage()
    await until(lambda: server.machine.phase is Phase.AWAKE)
    return tracker, running


async def stop(running: asyncio.Task[None]) -> None:
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@on_a_loop
async def test_awake_a_message_takes_no_lease() -> None:
    governor = Small()
    tracker, running = await awake(SequenceServer(governor))
    tracker.set_requester(MemoryRequest())
    for _ in range(1000):
        await tracker.message_sent()
    assert tracker.sent == 1000
    assert governor.acquired == 0
    await stop(running)


@on_a_loop
async def test_a_suspend_waits_for_the_client_and_costs_one_lease() -> None:
    governor = Small()
    server = SequenceServer(governor)
    tracker, running = await awake(server)
    client = SequenceClient(Memory(tracker.set_requester))  # type: ignore[arg-type]
    client.run()
    await asyncio.sleep(0)
    await tracker.message_sent(4)
    assert not await governor.attempt()
    await until(lambda: client.holding)
    seen: list[int] = []
    governor.entering = lambda: seen.append(client.index)
    asked = asyncio.create_task(governor.suspend())
    for _ in range(4):
        await asyncio.sleep(0.001)
        assert governor.entries == 0
        client.process_message()
    await asked
    assert seen == [4]
    assert governor.acquired == 1
    assert governor.copies == {}
    assert server.machine.saved == 4
    client.close()
    await stop(running)


@on_a_loop
async def test_the_order_of_a_suspend_is_that_of_the_seed() -> None:
    """But for two: Resume comes after the answer, and the baton before it; see the design page."""
    governor = Small()
    tracker, running = await awake(SequenceServer(governor))
    tracker.set_requester(request := MemoryRequest())
    request.answer.add_done_callback(lambda _: governor.log.append("baton"))
    await tracker.message_sent(4)
    await governor.attempt()
    assert governor.log == [
        *("before_suspend", "acquire", "granted", "baton", "ack before_suspend"),
        *("after_resume", "ack after_resume"),
    ]
    baton = request.answer.result()
    assert isinstance(baton, Baton)
    assert (baton.index, baton.epoch) == (4, 1)
    await stop(running)


@on_a_loop
async def test_a_message_during_a_suspend_returns_when_the_lease_is_held() -> None:
    """Row 16: only then may its interrupt be acknowledged."""
    governor = Small()
    tracker, running = await awake(SequenceServer(governor))
    tracker.set_requester(MemoryRequest())
    is_down, wake = governor.stay_down()
    asked = asyncio.create_task(governor.suspend())
    await is_down.wait()
    sent = [asyncio.ensure_future(tracker.message_sent()) for _ in range(3)]
    await until(lambda: "acquire" in governor.log)
    assert not any(one.done() for one in sent)
    wake.set()
    await asyncio.gather(asked, *sent)
    assert governor.acquired == 1
    await stop(running)


@on_a_loop
async def test_one_who_stops_waiting_does_not_stop_the_others() -> None:
    governor = Small()
    tracker, running = await awake(SequenceServer(governor))
    tracker.set_requester(MemoryRequest())
    is_down, wake = governor.stay_down()
    asked = asyncio.create_task(governor.suspend())
    await is_down.wait()
    one, two = (asyncio.ensure_future(tracker.message_sent()) for _ in range(2))
    await until(lambda: "acquire" in governor.log)
    one.cancel()
    await asyncio.sleep(0)
    wake.set()
    await asyncio.gather(asked, two)
    assert one.cancelled()
    await stop(running)


@on_a_loop
async def test_without_a_lease_the_governor_gets_no_answer_and_the_sender_an_error() -> None:
    """Row 16."""
    governor = Small()
    tracker, running = await awake(SequenceServer(governor))
    tracker.set_requester(MemoryRequest())
    await tracker.message_sent()
    governor.failing = OutOfSpace("no descriptor is left")
    governor.ask()
    await until(lambda: "before_suspend" in governor.log)
    with pytest.raises(OutOfSpace):
        await tracker.message_sent()
    assert "ack before_suspend" not in governor.log
    governor.failing = None
    await tracker.sent_through(2)  # counted by the call that failed: this tries again
    await until(lambda: "ack before_suspend" in governor.log)
    assert tracker.sent == 2
    assert governor.entries == 0
    await stop(running)


@on_a_loop
async def test_an_index_counts_from_the_first_message() -> None:
    governor = Small()
    tracker, running = await awake(SequenceServer(governor))
    await tracker.sent_through(5)
    await tracker.sent_through(3)
    await tracker.message_sent(0)
    await tracker.message_sent(-1)
    assert tracker.sent == 5
    await stop(running)


@on_a_loop
async def test_registered_in_the_middle_of_an_attempt_it_does_not_believe_to_be_awake() -> None:
    """Row 1."""
    governor = Small()
    slow = asyncio.Event()
    await governor.listen(slow.wait, asyncio.Event().wait, name="slow")
    governor.ask()
    await until(lambda: "before_suspend" in governor.log)
    server = SequenceServer(governor)
    tracker, running = server.manage()
    tracker.set_requester(MemoryRequest())
    await until(lambda: len(governor.listeners) == 2)
    await tracker.message_sent()
    assert server.machine.phase is Phase.UNKNOWN
    assert governor.acquired == 1
    slow.set()
    await until(lambda: governor.pure.status().aborts == 1 or governor.entries > 0)
    assert governor.entries == 0
    await stop(running)


@on_a_loop
async def test_each_client_has_a_tracker_and_all_share_one_lease() -> None:
    """Row 8."""
    governor = Small()
    server = SequenceServer(governor)
    first, running = await awake(server)
    second, same = server.manage()
    assert same is running
    requests = [MemoryRequest(), MemoryRequest()]
    for tracker, request in zip((first, second), requests, strict=True):
        tracker.set_requester(request)
    await first.message_sent(2)
    await second.message_sent(3)
    assert not await governor.attempt()
    batons = [request.answer.result() for request in requests]
    assert [(baton.index, baton.epoch) for baton in batons if isinstance(baton, Baton)] == [
        (2, 1),
        (3, 2),
    ]
    assert governor.acquired == 1
    assert sum(map(len, governor.copies.values())) == 2
    await stop(running)


@on_a_loop
async def test_a_replaced_request_is_answered() -> None:
    """Row 7."""
    governor = Small()
    tracker, running = await awake(SequenceServer(governor))
    first, second = MemoryRequest(), MemoryRequest()
    tracker.set_requester(first)
    tracker.set_requester(second)
    assert first.code == "superseded"
    await stop(running)
    assert second.code == "ended"
    tracker.set_requester(third := MemoryRequest())
    assert third.code == "ended"


@on_a_loop
async def test_what_a_dead_client_may_not_have_processed_is_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Row 12."""
    reports: list[object] = []
    governor = Small()
    tracker, running = await awake(SequenceServer(governor, on_report=reports.append))
    tracker.set_requester(MemoryRequest(processed=0))
    await tracker.message_sent(5)
    tracker.set_requester(MemoryRequest(processed=2))
    with caplog.at_level(logging.WARNING, logger="holdfast.wake"):
        tracker.client_gone()
    assert reports == [Lost(1, 1, 3)]
    assert "3 messages may be lost with a client" in caplog.text
    await tracker.message_sent(5)
    assert await governor.attempt()  # nobody is there to wait for
    assert tracker.subscribed() == 2
    assert tracker.sent == 0
    await stop(running)


@on_a_loop
async def test_a_client_that_never_comes_keeps_the_machine_up_for_a_time_only() -> None:
    """Row 6."""
    reports: list[object] = []
    governor = Small()
    server = SequenceServer(governor, retain=1000.0, on_report=reports.append)
    tracker, running = await awake(server)
    await tracker.message_sent(5)
    assert not await governor.attempt()
    assert reports == []
    clock_ns = server._now_ns
    server._now_ns = lambda: clock_ns() + round(999.99 * NS_PER_S)
    server._arm()
    await governor.suspend()
    assert reports == [Unclaimed(1, 1, 5)]
    assert governor.acquired == 1
    await stop(running)


@on_a_loop
async def test_a_baton_that_cannot_be_delivered_is_closed_and_counts_for_nothing() -> None:
    governor = Small()
    tracker, running = await awake(SequenceServer(governor))
    dead = MemoryRequest()
    dead.answer.cancel()
    tracker.set_requester(dead)
    await tracker.message_sent()
    assert not await governor.attempt()
    assert sum(map(len, governor.copies.values())) == 1  # ours: it waits for the next request
    tracker.set_requester(request := MemoryRequest())
    assert isinstance(request.answer.result(), Baton)
    await stop(running)


@on_a_loop
async def test_a_request_may_be_followed_by_the_next_within_its_delivery() -> None:
    governor = Small()
    server = SequenceServer(governor)
    tracker, running = await awake(server)
    other, _ = server.manage()
    delivered: list[int] = []

    class Eager:
        processed = 0

        def deliver(self, wake_lease: Any, index: int, epoch: int) -> None:
            wake_lease.close()
            delivered.append(index)
            if len(delivered) < 10:
                tracker.set_requester(Eager())

        def refuse(self, code: str) -> None:
            pass

    tracker.set_requester(Eager())
    other.set_requester(request := MemoryRequest())
    for one in (tracker, other):
        await one.message_sent()
    await governor.attempt()
    assert delivered == [1]
    assert isinstance(request.answer.result(), Baton)
    await stop(running)


@on_a_loop
async def test_what_a_delivery_brings_about_waits_until_all_are_served() -> None:
    governor = Small()
    signal: asyncio.Queue[str] = asyncio.Queue()

    async def flush() -> AsyncIterator[str]:
        while True:
            yield await signal.get()

    server = SequenceServer(governor, flush=flush())
    first, running = await awake(server)
    second, third = server.manage()[0], server.manage()[0]
    asked = [MemoryRequest(), MemoryRequest()]

    class Eager:
        """When it is served, the third one asks, and gets the last copy."""

        processed = 0

        def deliver(self, wake_lease: Any, index: int, epoch: int) -> None:
            wake_lease.close()
            third.set_requester(asked[1])

        def refuse(self, code: str) -> None:
            pass

    first.set_requester(Eager())
    second.set_requester(asked[0])
    for tracker in (first, second, third):
        await tracker.message_sent()
    await signal.put("now")
    for one in asked:
        assert isinstance(await one.answer, Baton)
    await stop(running)


@on_a_loop
async def test_a_flush_of_ones_own_gives_batons_while_the_machine_is_awake() -> None:
    governor = Small()
    signal: asyncio.Queue[str] = asyncio.Queue()

    async def flush() -> AsyncIterator[str]:
        while True:
            yield await signal.get()

    tracker, running = await awake(SequenceServer(governor, flush=flush()))
    tracker.set_requester(request := MemoryRequest())
    await tracker.message_sent(3)
    await signal.put("now")
    await request.answer
    baton = request.answer.result()
    assert isinstance(baton, Baton)
    assert baton.index == 3
    assert "before_suspend" not in governor.log
    await stop(running)


@pytest.mark.parametrize("how", ["cancelled", "cancelled at once"])
@on_a_loop
async def test_whoever_stops_the_server_ends_its_trackers(how: str) -> None:
    """Row 22."""
    governor = Small()
    server = SequenceServer(governor)
    tracker, running = server.manage()
    if how == "cancelled":
        await until(lambda: server.machine.phase is Phase.AWAKE)
    await stop(running)
    assert tracker.closed
    with pytest.raises(Closed):
        await tracker.message_sent()
    with pytest.raises(Closed):
        server.manage()
    assert governor.listeners == {}
    assert governor.copies == {}


@on_a_loop
async def test_when_the_governor_is_gone_everybody_hears_of_it() -> None:
    governor = Small()
    tracker, running = await awake(SequenceServer(governor))
    tracker.set_requester(request := MemoryRequest())
    governor.end()
    with pytest.raises(GovernorGone):
        await running
    with pytest.raises(GovernorGone):
        await tracker.message_sent()
    assert request.code == "ended"


@on_a_loop
async def test_when_the_governor_goes_during_an_acquisition_the_sender_hears_of_it() -> None:
    governor = Small()
    tracker, running = await awake(SequenceServer(governor))
    tracker.set_requester(MemoryRequest())
    is_down, _ = governor.stay_down()
    governor.ask()
    await is_down.wait()
    sent = asyncio.ensure_future(tracker.message_sent())
    await until(lambda: "acquire" in governor.log)
    governor.end()
    (error,) = await asyncio.gather(sent, return_exceptions=True)
    assert isinstance(error, GovernorGone)
    with pytest.raises(GovernorGone):
        await running


@on_a_loop
async def test_who_cannot_acquire_because_the_governor_is_gone_has_ended() -> None:
    """Though nobody has told the listener yet."""
    governor = Small()
    tracker, running = await awake(SequenceServer(governor))
    tracker.set_requester(MemoryRequest())
    await tracker.message_sent()
    governor.failing = GovernorGone("the governor is gone")
    governor.ask()
    with pytest.raises(GovernorGone):
        await running


@on_a_loop
async def test_whoever_ends_leaves_no_call_of_the_governor_without_an_answer() -> None:
    governor = Small()
    tracker, running = await awake(SequenceServer(governor))
    tracker.set_requester(MemoryRequest())
    await tracker.message_sent()
    governor.failing = OutOfSpace("no descriptor is left")
    governor.ask()
    await until(lambda: "before_suspend" in governor.log)
    assert "ack before_suspend" not in governor.log
    await stop(running)
    await until(lambda: "ack before_suspend" in governor.log)


@on_a_loop
async def test_a_tracker_that_is_closed_takes_no_more() -> None:
    governor = Small()
    tracker, running = await awake(SequenceServer(governor))
    await tracker.message_sent(3)
    tracker.close()
    tracker.close()
    assert tracker.closed
    with pytest.raises(Closed):
        await tracker.message_sent()
    with pytest.raises(Closed):
        await tracker.sent_through(9)
    with pytest.raises(Closed):
        tracker.subscribed()
    tracker.set_requester(request := MemoryRequest())
    assert request.code == "ended"
    assert await governor.attempt()
    await stop(running)


def test_a_retention_is_a_duration() -> None:
    with pytest.raises(InvalidArgument):
        SequenceServer(Small(), retain=-1)
