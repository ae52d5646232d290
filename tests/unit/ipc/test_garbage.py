"""Whatever comes on one connection, the others do not notice."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.ipc import Connection, Limits, connect
from tests.unit.ipc.places import descriptors_now, descriptors_open, rights, until
from tests.unit.ipc.services import SMALL, Service, Text

Spoil = Callable[[socket.socket], Awaitable[None]]


@asynccontextmanager
async def beside(place: Path, limits: Limits = SMALL) -> AsyncIterator[tuple[Service, Connection]]:
    """A service and an honest client, who is served to the end; nothing stays open."""
    before = descriptors_now()
    with Service(place / "s", limits=limits) as service:
        honest = await connect(str(place / "s"))
        await until(lambda: service.opened)
        yield service, honest
        answer, _ = await honest.call("x.Echo", Text("still"), Text)
        assert answer.text == "still"
        honest.close()
    await until(lambda: len(service.ended) == len(service.opened))
    await until(lambda: descriptors_now() <= before, "the end of its descriptors")


def rogue(place: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(0)
    sock.connect(str(place / "s"))
    return sock


async def put(sock: socket.socket, data: bytes) -> None:
    """Send it all, or as much as the service takes."""
    with suppress(BrokenPipeError, ConnectionResetError):
        await asyncio.get_running_loop().sock_sendall(sock, data)


async def answered(sock: socket.socket) -> bytes:
    """What comes until the service closes."""
    loop = asyncio.get_running_loop()
    data = b""
    try:
        while piece := await loop.sock_recv(sock, 65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


CLOSED = {
    "no JSON": b"hello\0",
    "an empty frame": b"\0",
    "binary": bytes(range(1, 256)) + b"\0",
    "a list": b"[1]\0",
    "a frame without an end": b"x" * 2000,
    "a frame that is too long": b'{"method":"' + b"x" * 1000 + b'"}\0',
    "thousands of brackets": b'{"parameters":' + b"[" * 900 + b"\0",
    "an answer to nothing, without an id": b'{"parameters":{}}\0',
    "a failure without an id": b'{"error":"x"}\0',
    "two calls with one id": b'{"method":"x.Wait","id":1,"parameters":{"text":"a"}}\0' * 2,
    "more calls than may wait": b"".join(
        b'{"method":"x.Wait","id":%d,"parameters":{"text":"a"}}\0' % number for number in range(9)
    ),
    "more calls in a row than may wait": b'{"method":"x.Wait","parameters":{"text":"a"}}\0' * 9,
    "a wrong cancellation": b'{"method":"org.holdfast.ipc.Cancel","parameters":{"id":"x"}}\0',
}


@pytest.mark.parametrize("what", CLOSED)
def test_garbage_costs_its_sender_the_connection(place: Path, what: str) -> None:
    async def main() -> None:
        async with beside(place) as (service, _):
            with rogue(place) as sock:
                await put(sock, CLOSED[what])
                await answered(sock)
                await until(lambda: service.ended)

    asyncio.run(main())


ANSWERED = {
    "an unknown method": (b'{"method":"x.No","id":1}\0', b"org.holdfast.Unsupported"),
    "no interface": (b'{"method":"","id":1}\0', b"org.holdfast.Unsupported"),
    "wrong types": (
        b'{"method":"x.Echo","id":1,"parameters":{"text":[]}}\0',
        b"org.holdfast.InvalidArgument",
    ),
    "no parameters": (b'{"method":"x.Echo","id":1}\0', b"org.holdfast.InvalidArgument"),
    "null": (b'{"method":"x.Echo","id":1,"parameters":null}\0', b"org.holdfast.InvalidArgument"),
    "deep ones": (
        b'{"method":"x.Echo","id":1,"parameters":{"text":' + b"[" * 400 + b"]" * 400 + b"}}\0",
        b"org.holdfast.InvalidArgument",
    ),
}


@pytest.mark.parametrize("what", ANSWERED)
def test_a_wrong_call_is_answered_and_the_connection_stays(place: Path, what: str) -> None:
    call, error = ANSWERED[what]

    async def main() -> None:
        async with beside(place) as (service, _):
            with rogue(place) as sock:
                await put(sock, call + b'{"method":"x.Echo","id":2,"parameters":{"text":"on"}}\0')
                data = b""
                while b'"on"' not in data:
                    data += await asyncio.get_running_loop().sock_recv(sock, 65536)
                assert error in data
                assert not service.ended

    asyncio.run(main())


def test_an_answer_to_a_question_that_nobody_asked_is_ignored(place: Path) -> None:
    async def main() -> None:
        async with beside(place) as (_service, _):
            with rogue(place) as sock:
                await put(sock, b'{"parameters":{},"id":7}\0{"method":"x.No","id":1}\0')
                assert b"Unsupported" in await asyncio.get_running_loop().sock_recv(sock, 65536)

    asyncio.run(main())


def test_more_descriptors_than_are_taken_are_closed_with_the_connection(place: Path) -> None:
    async def main() -> None:
        async with beside(place) as (service, _):
            for number in (3, 50, 253):
                with rogue(place) as sock:
                    sock.sendmsg([b'{"method":"x.Leave","id":1}\0'], rights(*[0] * number))
                    await until(lambda: service.ended)
                    await answered(sock)
                    assert "descriptors" in service.ended.pop()
                    service.opened.pop()

    asyncio.run(main())


def test_descriptors_of_a_frame_that_never_ends_are_closed(place: Path) -> None:
    async def main() -> None:
        async with beside(place) as (service, _):
            with rogue(place) as sock:
                sock.sendmsg([b"half"], rights(0, 0))
                await until(lambda: len(service.opened) == 2)
            await until(lambda: service.ended)
            assert "in the middle" in service.ended[0]

    asyncio.run(main())


def test_who_drips_descriptors_into_one_frame_is_stopped(place: Path) -> None:
    async def main() -> None:
        async with beside(place) as (service, _):
            with rogue(place) as sock:
                for _ in range(3):
                    try:
                        sock.sendmsg([b"x"], rights(0))
                    except BrokenPipeError:
                        break
                await until(lambda: service.ended)
                assert "2 descriptors" in service.ended[0]

    asyncio.run(main())


def test_who_does_not_read_is_dropped_and_stalls_nobody(place: Path) -> None:
    async def main() -> None:
        async with beside(place) as (service, honest):
            with rogue(place) as sock:
                flood = asyncio.create_task(
                    put(sock, b'{"method":"x.Large","id":1}\0{"method":"x.Large","id":2}\0')
                )
                answer, _ = await honest.call("x.Echo", Text("meanwhile"), Text)
                assert answer.text == "meanwhile"
                await until(lambda: service.ended)
                assert "does not read" in service.ended[0]
                await flood

    asyncio.run(main())


def test_who_leaves_at_once_is_no_trouble(place: Path) -> None:
    async def main() -> None:
        async with beside(place) as (service, _):
            for _ in range(50):
                rogue(place).close()
            await until(lambda: len(service.ended) == 50)

    asyncio.run(main())


def test_a_service_without_descriptors_left_accepts_again_when_there_are_some(place: Path) -> None:
    async def main() -> None:
        async with beside(place) as (service, honest):
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            descriptors_open()  # what the collector closes meanwhile would be room
            waiting = rogue(place)
            await until(lambda: len(service.opened) == 2)
            late = socket.socket(socket.AF_UNIX)
            late.settimeout(0)
            resource.setrlimit(resource.RLIMIT_NOFILE, (late.fileno() + 1, hard))
            spare = []
            try:
                while True:
                    spare.append(os.dup(0))
            except OSError:
                pass
            try:
                late.connect(str(place / "s"))
                for _ in range(3):  # rounds of the loop, served all the while
                    answer, _ = await honest.call("x.Echo", Text("served"), Text)
                    assert answer.text == "served"
                assert len(service.opened) == 2
            finally:
                for fd in spare:
                    os.close(fd)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await until(lambda: len(service.opened) == 3)
            waiting.close()
            late.close()

    asyncio.run(main())


pieces = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b"\0", b'{"method":"x.Echo","id":1,"parameters":{"text":"a"}}\0']),
    st.sampled_from([b'{"method":"x.Wait","parameters":{"text":"a"}}\0', b'{"method":"x.Give"}\0']),
    st.sampled_from([b'{"method":"x.Fault","id":3}\0', b'{"method":"x.Take","more":true}\0']),
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(pieces, st.integers(0, 2)), max_size=8), st.integers(0, 2**32))
def test_any_bytes_with_any_descriptors_harm_nobody(
    place: Path, sent: list[tuple[bytes, int]], seed: int
) -> None:
    rng = random.Random(seed)

    async def main() -> None:
        async with beside(place) as (service, _):
            with rogue(place) as sock:
                for data, descriptors in sent:
                    if not data:
                        continue
                    try:
                        sock.sendmsg([data], rights(*[0] * descriptors) if descriptors else [])
                    except (BrokenPipeError, ConnectionResetError):
                        break
                    for _ in range(rng.randint(0, 3)):
                        await asyncio.sleep(0)
                await until(lambda: len(service.opened) == 2)

    asyncio.run(main())
