"""The connection to the bus: what is lost, late, cut off or no message at all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from holdfast.errors import Unavailable, Unsupported
from holdfast.wake.backends import bus as bus_module
from holdfast.wake.backends import logind_permission
from holdfast.wake.backends.bus import Bus, Called, Refused
from holdfast.wake.backends.logind import Logind
from tests.unit.wake.backends.bus_server import BusServer

PATIENCE_S = 50.0
WHOM = Called("test.Name", "/test", "test.Name.Interface")


@pytest.fixture
def server(place: Path) -> Iterator[BusServer]:
    server = BusServer(place)
    yield server
    server.close()


@pytest.fixture
def descriptor() -> Iterator[int]:
    """One end of a pipe whose other end tells when its last copy is closed."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    yield theirs
    os.close(ours)


class Connected:
    """A connection, and what it told."""

    def __init__(self, bus: Bus, lost: list[str]) -> None:
        self.bus = bus
        self.lost = lost

    async def until_lost(self) -> str:
        while not self.lost:  # noqa: ASYNC110 - the loop's reader does it
            await asyncio.sleep(0.001)
        (why,) = self.lost
        return why


def play(server: BusServer, main: Callable[[Connected], Awaitable[None]]) -> None:
    async def bounded() -> None:
        lost: list[str] = []
        async with asyncio.timeout(PATIENCE_S):
            bus = await Bus.connect(server.address, lambda _: None, lost.append)
            try:
                await main(Connected(bus, lost))
            finally:
                bus.close()

    asyncio.run(bounded())


def copies(descriptor: int) -> int:
    """How many descriptors of this process are of that pipe."""
    pipe = os.readlink(f"/proc/self/fd/{descriptor}")
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found += os.readlink(f"/proc/self/fd/{name}") == pipe
    return found


def test_a_call_and_its_answer(server: BusServer, descriptor: int) -> None:
    async def main(connected: Connected) -> None:
        asking = asyncio.create_task(connected.bus.call(WHOM, "Ask"))
        await asyncio.sleep(0)
        server.answer(await asyncio.to_thread(server.question), descriptor)
        assert connected.bus.name == ":1.7"
        (fd,) = await asking
        assert os.fstat(fd).st_ino == os.fstat(descriptor).st_ino
        os.close(fd)

    play(server, main)
    os.close(descriptor)


def test_descriptors_that_were_cut_off_end_the_connection(
    server: BusServer, descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "_DESCRIPTORS_MAX", 1)

    async def main(connected: Connected) -> None:
        asking = asyncio.create_task(connected.bus.call(WHOM, "Ask"))
        await asyncio.sleep(0)
        server.answer(await asyncio.to_thread(server.question), *[descriptor] * 5)
        with pytest.raises(Unavailable):
            await asking
        assert connected.lost == ["descriptors of a message were cut off"]

    play(server, main)
    assert copies(descriptor) == 2  # both ends, which are the test's
    os.close(descriptor)


def test_an_answer_that_comes_as_its_caller_goes_leaves_no_descriptor(
    server: BusServer, descriptor: int
) -> None:
    async def main(connected: Connected) -> None:
        asking = asyncio.create_task(connected.bus.call(WHOM, "Ask"))
        await asyncio.sleep(0)
        serial = server.question()  # blocks the loop: nothing is read meanwhile
        server.answer(serial, descriptor)
        connected.bus._readable()
        assert copies(descriptor) == 3
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert copies(descriptor) == 2  # both ends, which are the test's

    play(server, main)
    os.close(descriptor)


def test_an_answer_that_comes_too_late_leaves_no_descriptor(
    server: BusServer, descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(connected: Connected) -> None:
        monkeypatch.setattr(bus_module, "_REPLY_S", 0.02)
        with pytest.raises(Refused, match="NoReply"):
            await connected.bus.call(WHOM, "Ask")
        server.answer(server.question(), descriptor)
        connected.bus._readable()
        assert copies(descriptor) == 2  # both ends, which are the test's

    play(server, main)
    os.close(descriptor)


@pytest.mark.parametrize(
    "garbage",
    [b"\0" * 64, b"garbage!" * 8, b"l" + b"\xff" * 63],
    ids=["nothing", "words", "endless"],
)
def test_what_is_no_message_ends_the_connection(server: BusServer, garbage: bytes) -> None:
    async def main(connected: Connected) -> None:
        asking = asyncio.create_task(connected.bus.call(WHOM, "Ask"))
        await asyncio.sleep(0)
        server.client.sendall(garbage)  # and it does not hang up
        assert "no message" in await connected.until_lost()
        with pytest.raises(Unavailable):
            await asking

    play(server, main)


def test_the_end_of_the_bus_is_told_once(server: BusServer) -> None:
    async def main(connected: Connected) -> None:
        server.client.close()
        assert "the bus" in await connected.until_lost()
        with pytest.raises(Unavailable):
            await connected.bus.call(WHOM, "Ask")
        assert len(connected.lost) == 1

    play(server, main)


def test_closing_is_not_told_as_a_loss(server: BusServer) -> None:
    async def main(connected: Connected) -> None:
        asking = asyncio.create_task(connected.bus.call(WHOM, "Ask"))
        await asyncio.sleep(0)
        connected.bus.close()
        with pytest.raises(Unavailable):
            await asking
        assert connected.lost == []

    play(server, main)


def test_a_question_that_is_larger_than_the_socket_takes(server: BusServer) -> None:
    async def main(connected: Connected) -> None:
        words = ("x" * 3_000_000,)
        asking = [
            asyncio.create_task(connected.bus.call(WHOM, "Ask", "s", words)) for _ in range(2)
        ]
        await asyncio.sleep(0)
        for _ in asking:
            server.answer(await asyncio.to_thread(server.question))
        assert await asyncio.gather(*asking) == [(), ()]

    play(server, main)


def test_a_bus_that_does_not_want_us(place: Path) -> None:
    server = BusServer(place, welcome=b"REJECTED ANONYMOUS\r\n")
    with pytest.raises(Unavailable, match="REJECTED"):
        asyncio.run(Bus.connect(server.address, lambda _: None, lambda _: None))
    server.close()


@pytest.mark.parametrize("address", ["unix:path=/nowhere/at/all", "tcp:host=localhost", "nonsense"])
def test_no_bus_there(address: str) -> None:
    with pytest.raises(Unavailable):
        asyncio.run(Bus.connect(address, lambda _: None, lambda _: None))
    assert Logind(address=address).available()


def test_a_bus_that_does_not_answer_cannot_be_worked_with(
    server: BusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where an event loop runs, as a service's does when it looks."""
    monkeypatch.setattr(logind_permission, "_LOOK_S", 0.05)

    async def main() -> str | None:
        return Logind(address=server.address).available()

    assert "it does not answer" in str(asyncio.run(main()))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("yes", None),
        ("inhibited", None),
        ("inhibitor-blocked", None),
        ("na", "cannot be suspended"),
        ("challenge", "would ask user"),
        ("challenge-inhibitor-blocked", "would ask user"),
        ("something new", "does not let user"),
    ],
)
def test_all_that_logind_may_answer(
    server: BusServer, monkeypatch: pytest.MonkeyPatch, answer: str, said: str | None
) -> None:
    """That it is blocked just now (systemd 257 and later say so) is no reason not to begin."""
    monkeypatch.setattr(logind_permission, "_LOOK_S", PATIENCE_S)
    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(Logind(address=server.address).available)
        server.answer(server.question(), name=answer)
        found = asking.result(PATIENCE_S)
    assert found is None if said is None else said in str(found)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jeepney", None)
    backend = Logind(address="unix:path=/nowhere")
    assert "pip install 'holdfast[dbus]'" in str(backend.available())
    with pytest.raises(Unsupported, match=r"holdfast\[dbus\]"):
        asyncio.run(Bus.connect("unix:path=/nowhere", lambda _: None, lambda _: None))
