"""A service and its clients on one loop: answers, orders, both ways, and the end."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from holdfast.errors import (
    GovernorGone,
    HoldfastError,
    InvalidArgument,
    NotFound,
    SuspendAborted,
    Unavailable,
    Unsupported,
)
from holdfast.ipc import Connection, Descriptors, Message, Request, connect
from tests.unit.ipc.places import descriptors_open, until
from tests.unit.ipc.services import Service, Text


@asynccontextmanager
async def talking(place: Path, **settings: object) -> AsyncIterator[tuple[Service, Connection]]:
    with Service(place / "s") as service:
        connection = await connect(str(place / "s"), **settings)  # type: ignore[arg-type]
        with connection:
            await until(lambda: service.opened)
            yield service, connection
    await until(lambda: len(service.ended) == len(service.opened))


async def echo(connection: Connection, text: str) -> str:
    answer, _ = await connection.call("org.example.Echo", {"text": text}, Text)
    return answer.text


def test_an_answer_comes_to_its_call(place: Path) -> None:
    async def main() -> None:
        async with talking(place) as (_, connection):
            texts = [str(number) for number in range(100)]
            assert await asyncio.gather(*(echo(connection, text) for text in texts)) == texts
            assert await echo(connection, "a\0b\N{SNOWMAN}") == "a\0b\N{SNOWMAN}"

    asyncio.run(main())


def test_a_call_that_waits_keeps_no_other_from_its_answer(place: Path) -> None:
    async def main() -> None:
        async with talking(place) as (service, connection):
            waits = asyncio.create_task(connection.call("org.example.Wait", Text("w"), Text))
            assert await echo(connection, "meanwhile") == "meanwhile"
            assert not waits.done()
            service.waiting[0].answer(Text("now"))
            assert (await waits)[0] == Text("now")

    asyncio.run(main())


def test_an_error_arrives_as_the_same_error(place: Path) -> None:
    async def main() -> None:
        async with talking(place) as (_, connection):
            with pytest.raises(SuspendAborted) as caught:
                await connection.call("org.example.Fail", {}, Text)
            assert caught.value.blockers == ("a", "b")
            assert str(caught.value) == "it did not: x; wait"
            with pytest.raises(Unsupported, match=r"org\.example\.Nothing"):
                await connection.call("org.example.Nothing", {}, Text)
            with pytest.raises(InvalidArgument, match="text"):
                await connection.call("org.example.Echo", {"text": 7}, Text)
            with pytest.raises(HoldfastError, match="fault"):
                await connection.call("org.example.Fault", {}, Text)
            assert await echo(connection, "still there") == "still there"

    asyncio.run(main())


def test_only_the_first_answer_counts_and_nothing_leaks(place: Path) -> None:
    async def main() -> None:
        async with talking(place) as (_, connection):
            before = descriptors_open()
            answer, _ = await connection.call("org.example.Twice", {}, Text)
            assert answer == Text("first")
            assert await echo(connection, "x") == "x"
            assert descriptors_open() <= before

    asyncio.run(main())


def test_descriptors_go_both_ways(place: Path) -> None:
    async def main() -> None:
        async with talking(place) as (_, connection):
            before = descriptors_open()
            _, came = await connection.call("org.example.Give", {}, Text)
            assert len(came) == 1
            came.close()
            fd = os.dup(0)
            number = os.fstat(fd).st_ino
            answer, _ = await connection.call("org.example.Take", {}, Text, descriptors=[fd])
            assert answer.text == str(number)
            # Those that the service leaves are closed there; what was to come and did not is said.
            spare = [os.dup(0), os.dup(0)]
            answer, _ = await connection.call("org.example.Leave", {}, Text, descriptors=spare)
            assert answer.text == "2"
            with pytest.raises(InvalidArgument, match="none did"):
                await connection.call("org.example.Take", {}, Text)
            assert descriptors_open() <= before

    asyncio.run(main())


def test_the_service_may_call_its_client(place: Path) -> None:
    def on_call(request: Request) -> None:
        assert request.parameters(Text) == Text("?")
        request.answer(Text("!"))

    async def main() -> None:
        async with talking(place, on_call=on_call) as (_, connection):
            answer, _ = await connection.call("org.example.Back", {}, Text)
            assert answer == Text("!")
        async with talking(place) as (_, connection):
            with pytest.raises(Unsupported, match="nothing can be called"):
                await connection.call("org.example.Back", {}, Text)

    asyncio.run(main())


def test_a_stream_ends_with_its_last_answer(place: Path) -> None:
    async def main() -> None:
        async with talking(place) as (_, connection):
            got: list[Message | HoldfastError] = []

            def keep(answer: Message | HoldfastError, came: Descriptors) -> None:
                got.append(answer)

            connection.start_call("org.example.Count", {}, keep, more=True)
            await until(lambda: len(got) == 3)
            texts = [msgspec.json.decode(m.parameters, type=Text).text for m in got]  # type: ignore[union-attr]
            assert texts == ["0", "1", "2"]

    asyncio.run(main())


def test_who_tells_waits_for_nothing(place: Path) -> None:
    async def main() -> None:
        async with talking(place) as (service, connection):
            connection.tell("org.example.Tell", Text("news"))
            assert await echo(connection, "x") == "x"
            assert service.told == ["news"]
            # Nor is there an answer, whatever the method does.
            connection.tell("org.example.Fail", {})
            connection.tell("org.example.Give", {})
            assert await echo(connection, "y") == "y"

    asyncio.run(main())


def test_a_task_that_is_cancelled_withdraws_its_call(place: Path) -> None:
    async def main() -> None:
        async with talking(place) as (service, connection):
            task = asyncio.create_task(connection.call("org.example.Wait", Text("w"), Text))
            await until(lambda: service.waiting)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: service.withdrawn == ["w"])
            before = descriptors_open()
            service.waiting[0].answer(Text("too late"), [os.dup(0)])
            assert await echo(connection, "x") == "x"
            assert descriptors_open() <= before

    asyncio.run(main())


def test_an_answer_that_crosses_the_cancel_is_closed(place: Path) -> None:
    async def main() -> None:
        async with talking(place) as (_, connection):
            before = descriptors_open()
            for turns in range(8):
                task = asyncio.create_task(connection.call("org.example.Give", {}, Text))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    (await task)[1].close()
            assert await echo(connection, "x") == "x"
            assert descriptors_open() <= before

    asyncio.run(main())


def test_the_end_of_the_service_ends_every_call(place: Path) -> None:
    async def main() -> None:
        reasons: list[str] = []
        async with talking(
            place, gone=GovernorGone, on_closed=lambda _, reason: reasons.append(reason)
        ) as (service, connection):
            waits = asyncio.create_task(connection.call("org.example.Wait", Text("w"), Text))
            await until(lambda: service.waiting)
            service.close()
            with pytest.raises(GovernorGone, match="closed"):
                await waits
            assert service.withdrawn == ["w"]
            with pytest.raises(GovernorGone):
                await echo(connection, "x")
            await until(lambda: reasons)
            assert connection.closed

    asyncio.run(main())


def test_what_a_client_asked_for_is_withdrawn_when_it_goes(place: Path) -> None:
    async def main() -> None:
        async with talking(place) as (service, connection):
            task = asyncio.create_task(connection.call("org.example.Wait", Text("w"), Text))
            await until(lambda: service.waiting)
            connection.close()
            await until(lambda: service.withdrawn == ["w"])
            assert "closed" in service.ended[0]
            with pytest.raises(Unavailable):
                await task

    asyncio.run(main())


def test_calls_without_an_id_are_answered_in_their_order(place: Path) -> None:
    async def main() -> None:
        with Service(place / "s") as service, socket.socket(socket.AF_UNIX) as plain:
            plain.settimeout(0)
            plain.connect(str(place / "s"))
            loop = asyncio.get_running_loop()
            wait = b'{"method":"x.Wait","parameters":{"text":"w"}}\0'
            later = b'{"method":"x.Echo","parameters":{"text":"e"}}\0'
            await loop.sock_sendall(plain, wait + later + later)
            await until(lambda: service.waiting)
            service.waiting[0].answer(Text("w"))
            data = b""
            while data.count(b"\0") < 3:
                data += await loop.sock_recv(plain, 1000)
            texts = [
                msgspec.json.decode(frame)["parameters"]["text"] for frame in data.split(b"\0")[:3]
            ]
            assert texts == ["w", "e", "e"]

    asyncio.run(main())


def test_a_large_answer_goes_through_in_pieces(place: Path) -> None:
    async def main() -> None:
        async with talking(place) as (_, connection):
            answer, _ = await connection.call("org.example.Large", {}, Text)
            assert len(answer.text) == 2_000_000

    asyncio.run(main())


def test_nobody_there_is_said_at_once(place: Path) -> None:
    async def main() -> None:
        before = descriptors_open()
        with pytest.raises(NotFound, match="no governor"):
            await connect(str(place / "s"), service="governor")
        assert descriptors_open() <= before

    asyncio.run(main())


def test_a_full_backlog_is_waited_for(place: Path) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(place / "s"))
            listener.listen(0)
            listener.settimeout(0)
            loop = asyncio.get_running_loop()
            first = await connect(str(place / "s"))
            second = asyncio.create_task(connect(str(place / "s")))
            third = asyncio.create_task(connect(str(place / "s")))
            await asyncio.sleep(0)
            assert not third.done()  # the kernel takes one more than the backlog
            for _ in range(3):
                accepted, _ = await loop.sock_accept(listener)
                accepted.close()
            for connection in (first, await second, await third):
                connection.close()

    asyncio.run(main())
