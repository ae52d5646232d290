"""The back-end "command" under a real service: drain, then run or end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from holdfast.errors import Unavailable
from holdfast.wake import AsyncGovernor, Command, Failed, Service, Slept, connect_async
from tests.unit.ipc.places import until

PATIENCE_S = 50.0


class Ending:
    """A governor without a command, and what happened."""

    def __init__(self, place: Path) -> None:
        self.path = str(place / "g")
        self.ended = asyncio.Event()
        self.lines: list[str] = []

    @contextlib.asynccontextmanager
    async def serving(self, backend: Command | None = None) -> AsyncIterator[AsyncGovernor]:
        service = Service(self.path, backend or Command(end=self.ended.set))
        self.status = service.governor.status
        async with (
            asyncio.timeout(PATIENCE_S),
            service,
            connect_async(self.path) as governor,
        ):
            yield governor

    async def before(self) -> None:
        self.lines.append("stop")

    async def after(self) -> None:
        self.lines.append("go on")


def test_it_ends_when_the_last_wake_lease_is_released(place: Path) -> None:
    async def main() -> None:
        ending = Ending(place)
        async with ending.serving() as governor:
            wake_lease = await governor.acquire("upload")
            draining = asyncio.create_task(governor.suspend())
            await until(lambda: ending.status().requests == 1)
            assert not draining.done()
            assert not ending.ended.is_set()
            wake_lease.close()
            assert await draining == 0
            await ending.ended.wait()

    asyncio.run(main())


def test_listeners_that_have_stopped_stay_stopped(place: Path) -> None:
    async def main() -> None:
        ending = Ending(place)
        async with ending.serving() as governor:
            await governor.listen(ending.before, ending.after)
            await governor.suspend()
            await ending.ended.wait()
            assert (await governor.status()).state == "stopping"
            assert ending.lines == ["stop"]

    asyncio.run(main())


def test_a_listener_that_has_work_left_is_waited_for_and_asked_again(place: Path) -> None:
    async def main() -> None:
        ending = Ending(place)
        async with ending.serving() as governor:

            async def before() -> None:
                ending.lines.append("asked")
                if len(ending.lines) == 1:
                    wake_lease = await governor.acquire("the rest")
                    asyncio.get_running_loop().call_later(0.01, wake_lease.close)

            await governor.listen(before)
            await governor.suspend()
            assert ending.lines == ["asked", "asked"]
            await ending.ended.wait()

    asyncio.run(main())


class Hesitant(Command):
    """Goes down when it is told to."""

    def __init__(self, end: Callable[[], object]) -> None:
        super().__init__(end=end)
        self.entered = asyncio.Event()
        self.go = asyncio.Event()

    async def suspend(self, attempt: int) -> Slept | Failed:
        self.entered.set()
        await self.go.wait()
        return await super().suspend(attempt)


def test_a_wake_lease_asked_for_while_it_is_drained_holds_the_end_up(place: Path) -> None:
    async def main() -> None:
        ending = Ending(place)
        backend = Hesitant(ending.ended.set)
        async with ending.serving(backend) as governor:
            draining = asyncio.create_task(governor.suspend())
            await backend.entered.wait()
            acquiring = asyncio.create_task(governor.acquire("late"))
            await until(lambda: len(ending.status().wake_leases) == 1)
            assert not acquiring.done()
            backend.go.set()
            await draining
            with await acquiring:
                assert (await governor.status()).state == "stopping"
                assert not ending.ended.is_set()
            await ending.ended.wait()

    asyncio.run(main())


def test_who_asks_after_the_end_gets_no_promise(place: Path) -> None:
    async def main() -> None:
        ending = Ending(place)
        async with ending.serving() as governor:
            await governor.suspend()
            await ending.ended.wait()
        with pytest.raises(Unavailable):
            await connect_async(ending.path)

    asyncio.run(main())
