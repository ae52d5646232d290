"""How far a holder is: told while it holds a baton, seldom, and to be seen when it says no more."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from holdfast import wake
from holdfast.errors import Closed, InvalidArgument, SuspendAborted
from holdfast.wake import (
    Baton,
    MessageChannel,
    MessageSource,
    SequenceClient,
    SequenceRelay,
    SequenceServer,
    WakeLease,
    wire,
)
from holdfast.wake import lease as lease_room
from holdfast.wake.hops import Hops
from holdfast.wake.looking import Looking
from holdfast.wake.strategies import progress as follower
from holdfast.wake.token import Token
from tests.unit.wake.crowd import Crowd, crowd_of_a_test, line, state_of, until
from tests.unit.wake.governors import governing
from tests.unit.wake.strategies.small import until as comes
from tests.unit.wake.strategies.test_sequence_client import Channel
from tests.unit.wake.strategies.test_sequence_server import on_a_loop


class Told:
    """What the governor would hear."""

    def __init__(self) -> None:
        self.hops: list[tuple[str, int | None, int | None]] = []

    def hop(
        self,
        event: str,
        inode: int,
        *,
        pid: int | None = None,
        index: int | None = None,
        processed: int | None = None,
    ) -> None:
        self.hops.append((event, index, processed))

    @property
    def progress(self) -> list[int | None]:
        return [processed for event, _, processed in self.hops if event == "progress"]


@pytest.fixture
def token() -> Iterator[tuple[Token, int]]:
    token, writing = Token.make()
    with token:
        yield token, writing


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    with crowd_of_a_test() as one:
        yield one


def test_it_is_told_seldom_however_often_it_is_said(
    token: tuple[Token, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(lease_room, "time", SimpleNamespace(monotonic=lambda: now[0]))
    told = Told()
    with WakeLease(token[1], "baton", reporter=told, received=True) as baton:
        for count in range(1000):
            baton.progress(count)
        assert told.progress == [0]
        now[0] += lease_room.PROGRESS_S
        for count in range(1000, 2000):
            baton.progress(count)
        assert told.progress == [0, 1000]
        now[0] += 100
        baton.progress(1000)  # it is no news
        assert told.progress == [0, 1000]
        with pytest.raises(InvalidArgument):
            baton.progress(-1)
    with pytest.raises(Closed):
        baton.progress(1)


@pytest.mark.parametrize("received", [True, False])
def test_without_a_reporter_or_of_what_was_not_received_nothing_is_told(
    token: tuple[Token, int], received: bool
) -> None:
    told = Told()
    reporter = None if received else told
    with WakeLease(token[1], "baton", reporter=reporter, received=received) as baton:
        baton.progress(1)
    assert told.hops == []


@on_a_loop
async def test_a_client_tells_only_while_it_holds_and_not_for_each_message() -> None:
    """With a thousand messages: as the baton comes, and whenever the timer looks."""
    told, channel = Told(), Channel()
    token, writing = Token.make()
    client = SequenceClient(channel)
    running = client.run()
    await asyncio.to_thread(until, lambda: channel.asked)
    client.process_message(100)  # nothing is held, nothing is told
    with token:
        baton = WakeLease(writing, "baton", reporter=told, received=True)
        await channel.batons.put(Baton(baton, 2000, 1))
        await comes(lambda: client.holding)
        for _ in range(1000):
            client.process_message()
        assert told.progress == [100]
        client.process_message(900)
        assert (client.holding, told.progress) == (False, [100])
        assert told.hops[-1][0] == "released"
        assert client._progress._timer is None, "nobody looks any more"
    await channel.batons.put(None)
    await running


@on_a_loop
async def test_a_client_tells_again_when_it_is_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "PROGRESS_S", 0.001)
    told, channel = Told(), Channel()
    token, writing = Token.make()
    client = SequenceClient(channel)
    running = client.run()
    with token:
        baton = WakeLease(writing, "baton", reporter=told, received=True)
        await channel.batons.put(Baton(baton, 10, 1))
        await comes(lambda: client.holding)
        assert told.progress == [], "the count is that which it had asked with"
        for count in (3, 7):
            client.processed_through(count)
            await comes(lambda count=count: told.progress[-1:] == [count])  # type: ignore[misc]
        looked = client._progress._timer
        await comes(lambda: client._progress._timer is not looked)
        assert told.progress == [3, 7], "what has not changed is not told"
        kept = client.processed_through(12, keep=True)
        assert kept is baton
        assert told.progress == [3, 7, 12], "who keeps it for the next says that he is done"
        kept.close()
    await channel.batons.put(None)
    await running


@pytest.mark.parametrize("count", [-1, 1 << 63, 1.5, "7"])
@on_a_loop
async def test_what_is_no_count_is_refused(count: object, place: Path) -> None:
    async with governing(place) as (_, governor):
        connection = await governor.connect()
        for what in ("index", "processed"):
            said = {"event": "progress", "inode": 1, what: count}
            with pytest.raises(InvalidArgument):
                await connection.call(wire.HOP, said, wire.Nothing)


def test_of_wake_leases_that_are_gone_only_so_many_are_known() -> None:
    looking = Looking(None, Hops())  # type: ignore[arg-type]
    for number in range(1000):
        held = SimpleNamespace(number=number, token=SimpleNamespace(inode=7 * number))
        looking.gone(held)  # type: ignore[arg-type]
    assert len(looking._gone) == 256
    assert looking._gone[999] == 7 * 999


@on_a_loop
async def test_why_and_where_tell_what_a_client_waits_for_and_how_far_it_is(place: Path) -> None:
    async with governing(place) as (service, governor):
        server = SequenceServer(governor, name="packets")
        running = server.manage()[1]
        await server.ready()
        with MessageSource(str(place / "s"), server) as source:
            channel = await MessageChannel.connect(source.path, reporter=governor)
            client = SequenceClient(channel)
            asking = client.run()
            await source.wait_clients()
            for _ in range(12):
                await source.send(b"event")
            client.process_message(7)
            with pytest.raises(SuspendAborted):
                await governor.suspend(0)
            await comes(lambda: client.holding)
            await comes(lambda: bool(service.governor.attempts[-1].blockers))
            await governor.status()
            [located] = await governor.where()
            [holder] = located.holders
            assert (holder.index, holder.processed) == (12, 7)
            assert holder.processed_ns is not None
            assert located.hops[-1].processed == 7
            told = (await governor.why()).splitlines()
            assert any(
                "until it has processed message 12 (it had processed 7, " in each for each in told
            )
            [reason] = [each for each in told if each.startswith("It did not go down: wake lease")]
            assert "waiting for index 12, processed 7 (" in reason
            client.process_message(5)
            assert await asyncio.to_thread(until, lambda: not len(service.leases))
            [reason] = [
                each
                for each in (await governor.why()).splitlines()
                if each.startswith("It did not go down: wake lease")
            ]
            assert f"last with pid {os.getpid()}" in reason, "it is gone, and was the reason"
            assert "waiting for index 12, processed 7 (" in reason
            client.close()
            await channel.close()
            await asyncio.gather(asking, return_exceptions=True)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@on_a_loop
async def test_a_stage_in_the_middle_is_told_to_be_done_and_to_hold_on_for_the_next(
    place: Path,
) -> None:
    async with governing(place) as (_, governor):
        server = SequenceServer(governor, name="packets")
        running = server.manage()[1]
        await server.ready()
        with (
            SequenceRelay() as relay,
            MessageSource(str(place / "s"), server) as source,
            MessageSource(str(place / "t"), relay) as second,
        ):
            channel = await MessageChannel.connect(source.path, reporter=governor)
            client = SequenceClient(channel, pass_on=relay.pass_on)
            asking = client.run()
            # It is there, and does not ask.
            last = await MessageChannel.connect(second.path, reporter=governor)
            await source.wait_clients()
            await second.wait_clients()
            for _ in range(3):
                await source.send(b"event")
            asleep = asyncio.create_task(governor.suspend())
            await comes(lambda: client.holding)
            for _ in range(3):
                await second.send(b"event")
                client.process_message()
            await governor.status()
            told = await governor.why()
            assert "message 3 (it has, as it said " in told
            assert "and holds it for the next)" in told
            baton = await last.receive_baton(0)
            assert baton is not None
            baton.wake_lease.close()
            await asleep
            client.close()
            await channel.close()
            await last.close()
            await asyncio.gather(asking, return_exceptions=True)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


RECEIVER = """
import socket, sys
from holdfast import wake
governor = wake.connect(sys.argv[1])
sock = socket.socket(fileno=int(sys.argv[2]))
data, lease = wake.receive(sock, governor=governor)
lease.progress(790)
governor.status()  # by now it was heard
print("there", flush=True)
input()
"""


@on_a_loop
async def test_of_a_frozen_holder_and_of_a_dead_one_the_last_is_known(
    place: Path, crowd: Crowd
) -> None:
    """A program that receives by itself: what it says, and nothing after it was stopped."""
    async with governing(place) as (service, governor):
        here, there = socket.socketpair()
        with here, there:
            child = crowd.program(
                RECEIVER, service.path, str(there.fileno()), fds=(there.fileno(),)
            )
            with await governor.acquire("upload") as wake_lease:
                await asyncio.to_thread(wake.send, here, b"event", wake_lease, index=812)
                assert await asyncio.to_thread(line, child) == "there"
                os.kill(child.pid, signal.SIGSTOP)
                assert await asyncio.to_thread(until, lambda: state_of(child.pid) == "T")
                [located] = await governor.where()
                [holder] = [one for one in located.holders if one.pid == child.pid]
                assert (holder.index, holder.processed) == (812, 790)
                told = await governor.why()
                assert "message 812 (it had processed 790, as it said " in told
                assert f"before `kill -CONT {child.pid}`" in told
                child.kill()
                child.wait()
                told = await governor.why()
                assert f"pid {child.pid} (" in told
                assert "had it, waiting for index 812, processed 790 (" in told
                assert "and has it no more" in told
