"""Messages and batons by sockets, with the real service and its simulated back-end."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import Closed, GovernorGone, InvalidArgument, SuspendAborted, WakeError
from holdfast.ipc import connect
from holdfast.wake.async_client import AsyncGovernor, connect_async
from holdfast.wake.backends.simulated import Simulated
from holdfast.wake.sequence import Phase
from holdfast.wake.service import Service
from holdfast.wake.strategies.interlock import Interlock
from holdfast.wake.strategies.retained import RetainedWakeLease
from holdfast.wake.strategies.sequence_client import SequenceClient
from holdfast.wake.strategies.sequence_relay import SequenceRelay
from holdfast.wake.strategies.sequence_server import SequenceServer
from holdfast.wake.strategies.socket_channel import (
    BatonSubscription,
    MessageChannel,
    MessageSource,
)
from tests.unit.ipc.places import descriptors_now, descriptors_open
from tests.unit.wake.strategies.small import PATIENCE_S, until


class Machine:
    """One with a governor, and a directory for sockets."""

    def __init__(self, directory: Path, service: Service, governor: AsyncGovernor) -> None:
        self.directory = directory
        self.service = service
        self.governor = governor

    def path(self, name: str) -> str:
        return str(self.directory / name)

    @asynccontextmanager
    async def source(self, name: str) -> AsyncIterator[MessageSource]:
        """A source of messages whose head knows that the machine is awake."""
        server = SequenceServer(self.governor)
        _, running = server.manage()
        source = MessageSource(self.path(name), server)
        try:
            await until(lambda: server.machine.phase is Phase.AWAKE)
            yield source
        finally:
            source.close()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def machine(directory: Path) -> AsyncIterator[Machine]:
    path = str(directory / "governor")
    async with Service(path, Simulated(sleep=0.005)) as service, connect_async(path) as governor:
        yield Machine(directory, service, governor)


def with_a_governor(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine function as a test, on a machine."""

    @functools.wraps(test)
    def run(place: Path) -> None:
        async def work() -> None:
            async with machine(place) as here:
                await test(here)

        asyncio.run(asyncio.wait_for(work(), PATIENCE_S))

    del run.__wrapped__  # it has arguments of its own
    return run


def waits(subscriber: Any) -> bool:
    """Whether somebody waits until that client takes its messages."""
    return subscriber.messages._go_on is not None


@with_a_governor
async def test_messages_are_processed_before_the_machine_goes_down(here: Machine) -> None:
    async with here.source("s") as source:
        channel = await MessageChannel.connect(source.path, reporter=here.governor)
        client = SequenceClient(channel)
        running = client.run()
        await source.wait_clients()
        for number in range(20):
            await source.send(b"%d" % number)
        with pytest.raises(SuspendAborted):
            await here.governor.suspend(timeout=0.2)
        assert (await here.governor.status()).wake_leases == ("optimistic-lease-baton",)
        asked = asyncio.create_task(here.governor.suspend())
        for number in range(20):
            assert await channel.receive() == b"%d" % number
            assert not asked.done()
            client.process_message()
        await asked
        assert (await here.governor.status()).suspends == 1
        source.close()
        assert await channel.receive() is None
        await running
        await channel.close()
        with pytest.raises(Closed):
            await channel.receive()


@with_a_governor
async def test_the_governor_is_told_how_a_baton_travels(here: Machine) -> None:
    hops: list[tuple[str, int | None]] = []

    class Listening:
        def hop(
            self,
            event: str,
            inode: int,
            *,
            pid: int | None = None,
            index: int | None = None,
            processed: int | None = None,
        ) -> None:
            hops.append((event, index))

    async with here.source("s") as source:
        channel = await MessageChannel.connect(source.path, reporter=Listening())
        client = SequenceClient(channel)
        client.run()
        await source.wait_clients()
        await source.send(b"event")
        asked = asyncio.create_task(here.governor.suspend())
        await until(lambda: client.holding)
        client.process_message()
        await asked
        assert hops == [("received", 1), ("released", None)]
        client.close()
        await channel.close()


@with_a_governor
async def test_a_pipeline_of_three_takes_one_lease_for_a_suspend(here: Machine) -> None:
    relay = SequenceRelay()
    async with here.source("s") as source:
        second = MessageSource(here.path("t"), relay)
        middle_channel = await MessageChannel.connect(source.path)
        last_channel = await MessageChannel.connect(second.path)
        middle = SequenceClient(middle_channel, pass_on=relay.pass_on)
        last = SequenceClient(last_channel)
        tasks = [middle.run(), last.run()]
        await source.wait_clients()
        await second.wait_clients()
        for _ in range(10):
            await source.send(b"event")
        asked = asyncio.create_task(here.governor.suspend())
        for _ in range(10):
            message = await middle_channel.receive()
            assert message == b"event"
            await second.send(message)
            middle.process_message()
        await until(lambda: last.holding)
        assert not asked.done()
        for _ in range(10):
            await last_channel.receive()
            last.process_message()
        await asked
        for one in (middle, last):
            one.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        for channel in (middle_channel, last_channel):
            await channel.close()
        second.close()
        relay.close()


@with_a_governor
async def test_a_client_that_goes_keeps_nobody_awake(here: Machine) -> None:
    async with here.source("s") as source:
        channel = await MessageChannel.connect(source.path)
        await source.wait_clients()
        await source.send(b"event")
        await channel.close()
        await until(lambda: source.clients == 0)
        await here.governor.suspend()
        await source.send(b"to nobody")


@with_a_governor
async def test_a_client_that_hears_no_messages_any_more_is_none(here: Machine) -> None:
    async with here.source("s") as source:
        channel = await MessageChannel.connect(source.path)
        channel._messages.close()
        await source.send(b"event")
        await until(lambda: source.clients == 0)
        await here.governor.suspend()
        await channel.close()


@with_a_governor
async def test_a_client_that_comes_anew_is_counted_from_nothing(here: Machine) -> None:
    async with here.source("s") as source:
        epochs = []
        for _ in range(3):
            channel = await MessageChannel.connect(source.path)
            client = SequenceClient(channel)
            client.run()
            await source.wait_clients()
            for _ in range(5):
                await source.send(b"event")
            asked = asyncio.create_task(here.governor.suspend())
            await until(lambda client=client: client.holding)  # type: ignore[misc]
            for _ in range(5):
                await channel.receive()
                client.process_message()
            await asked
            epochs.append(channel.epoch)
            client.close()
            await channel.close()
            await until(lambda: source.clients == 0)
        assert epochs == sorted(set(epochs))


@with_a_governor
async def test_a_slow_client_slows_the_sender_and_loses_nothing(here: Machine) -> None:
    async with here.source("s") as source:
        channel = await MessageChannel.connect(source.path)
        await source.wait_clients()
        big = b"x" * 60_000

        async def send() -> None:
            for _ in range(100):
                await source.send(big)

        sending = asyncio.create_task(send())
        await asyncio.sleep(0.01)
        assert not sending.done()
        for _ in range(100):
            assert await channel.receive() == big
        await sending
        await channel.close()


async def left_while_it_is_slow(here: Machine, leave: Callable[..., object]) -> None:
    """A client does not read, the source waits for it, and then they part."""
    async with here.source("s") as source:
        channel = await MessageChannel.connect(source.path)
        await source.wait_clients()

        async def send() -> None:
            while source.clients:
                await source.send(b"x" * 60_000)

        sending = asyncio.create_task(send())
        await until(lambda: waits(*source.subscribers()))
        leave(source, channel)
        await sending
        await channel.close()
        near, far = socket.socketpair()
        with near, far:  # which may have the numbers of those that were closed
            for end in (near, far):
                end.settimeout(0)
                asyncio.get_running_loop().add_reader(end, lambda: None)
                asyncio.get_running_loop().remove_reader(end)


@with_a_governor
async def test_nobody_waits_for_a_slow_client_that_has_gone(here: Machine) -> None:
    """Also if its connection ends before its end of the pair of sockets."""
    await left_while_it_is_slow(here, lambda _, channel: channel._connection.close())


@with_a_governor
async def test_nobody_waits_for_a_slow_client_when_the_source_ends(here: Machine) -> None:
    await left_while_it_is_slow(here, lambda source, _: source.close())


@with_a_governor
async def test_who_waits_for_a_message_of_a_channel_that_is_closed_is_told(here: Machine) -> None:
    async with here.source("s") as source:
        channel = await MessageChannel.connect(source.path)
        receiving = asyncio.create_task(channel.receive())
        await until(lambda: channel._messages._go_on is not None)
        await channel.close()
        with pytest.raises(Closed):
            await receiving


@with_a_governor
async def test_what_is_no_message_is_refused(here: Machine) -> None:
    async with here.source("s") as source:
        for data in (b"", b"x" * 65_537):
            with pytest.raises(InvalidArgument):
                await source.send(data)
        with pytest.raises(InvalidArgument):
            await BatonSubscription.connect(source.path)
        channel = await MessageChannel.connect(source.path)
        with pytest.raises(InvalidArgument, match="subscribed already"):
            await channel.subscribe(None)
        await channel.close()
        line = await connect(source.path)
        with pytest.raises(InvalidArgument):
            await line.call("org.holdfast.wake.sequence.ReceiveBaton", {"processed": 0}, dict)
        line.close()


@with_a_governor
async def test_a_second_request_of_a_client_takes_the_place_of_the_first(here: Machine) -> None:
    async with here.source("s") as source:
        channel = await MessageChannel.connect(source.path)
        first = asyncio.create_task(channel.receive_baton(0))
        await asyncio.sleep(0)
        second = asyncio.create_task(channel.receive_baton(0))
        with pytest.raises(WakeError):
            await first
        await source.send(b"event")
        asked = asyncio.create_task(here.governor.suspend())
        baton = await second
        assert baton is not None
        assert baton.index == 1
        baton.wake_lease.close()
        await asked
        await channel.close()


@with_a_governor
async def test_a_request_that_is_withdrawn_loses_no_baton(here: Machine) -> None:
    async with here.source("s") as source:
        channel = await MessageChannel.connect(source.path)
        for _ in range(3):
            asking = asyncio.create_task(channel.receive_baton(0))
            await asyncio.sleep(0.001)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        await source.send(b"event")
        asked = asyncio.create_task(here.governor.suspend())
        baton = await channel.receive_baton(0)
        assert baton is not None
        baton.wake_lease.close()
        await asked
        await channel.close()


@with_a_governor
async def test_when_the_governor_goes_the_head_ends_and_so_do_its_clients(here: Machine) -> None:
    server = SequenceServer(here.governor)
    tracker, running = server.manage()
    source = MessageSource(here.path("s"), server)
    channel = await MessageChannel.connect(source.path)
    client = SequenceClient(channel)
    asking = client.run()
    await until(lambda: server.machine.phase is Phase.AWAKE)
    await here.service.close()
    with pytest.raises(GovernorGone):
        await running
    await asking
    with pytest.raises(GovernorGone):
        await source.send(b"event")
    assert tracker.closed
    source.close()
    await channel.close()


@with_a_governor
async def test_an_interlock_and_a_retained_lease_hold_the_real_machine_up(here: Machine) -> None:
    retained = RetainedWakeLease(here.governor, "retained", 1000.0)
    await retained.touch()
    with pytest.raises(SuspendAborted, match="retained"):
        await here.governor.suspend(timeout=0.05)
    retained.close()
    answered = asyncio.Event()
    interlock = Interlock(here.governor, "interlock")
    async with interlock.hand_over() as handing:
        asyncio.get_running_loop().call_soon(answered.set)
        with pytest.raises(SuspendAborted):
            await here.governor.suspend(timeout=0.05)
        await handing.acknowledged(answered.wait())
    await here.governor.suspend()


@with_a_governor
async def test_nothing_stays_open(here: Machine) -> None:
    async with here.source("warm up"):
        pass
    before = descriptors_open()
    async with here.source("s") as source:
        channel = await MessageChannel.connect(source.path)
        client = SequenceClient(channel)
        client.run()
        await source.send(b"event")
        asked = asyncio.create_task(here.governor.suspend())
        await until(lambda: client.holding)
        client.process_message()
        await asked
        client.close()
        await channel.close()
    await until(lambda: descriptors_now() <= before)
