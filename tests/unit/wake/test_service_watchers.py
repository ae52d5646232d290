"""Who watches a real service: what was, what comes, and who reads slowly or not at all."""

from __future__ import annotations

import asyncio
import gc
import itertools
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.errors import InvalidArgument, OutOfSpace
from holdfast.ipc import Client, Descriptors
from holdfast.wake import Config, wire
from holdfast.wake.watchers import WATCHERS_MAX
from tests.unit.ipc.places import until
from tests.unit.wake.governors import governing

LONG = "n" * 64


def test_who_watches_sees_what_was_and_what_comes(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (service, governor):
            (await governor.acquire("early")).close()
            await until(lambda: len(service.leases) == 0)
            seen: list[wire.WakeEvent] = []

            async def watch() -> None:
                async for event in governor.watch(since=0):
                    seen.append(event)

            task = asyncio.create_task(watch())
            await until(lambda: service.watchers)
            (await governor.acquire("late")).close()
            await until(lambda: [e.name for e in seen if e.kind == "lease-closed"][-1:] == ["late"])
            assert [event.number for event in seen] == list(range(len(seen)))
            granted = [event.name for event in seen if event.kind == "lease-granted"]
            assert granted == ["early", "late"]
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            del task
            gc.collect()
            await until(lambda: not service.watchers)
            connection = await governor.connect()
            with pytest.raises(InvalidArgument, match="more"):
                await connection.call(wire.WATCH, {}, wire.WakeEvent)

    asyncio.run(main())


def test_a_watcher_that_does_not_read_is_dropped_and_stalls_nobody(place: Path) -> None:
    async def main() -> None:
        async with governing(place, config=Config(events_max=10)) as (service, governor):
            await governor.status()
            slow = Client(service.path)
            stream = slow.stream(wire.WATCH, wire.Watch(), wire.WakeEvent)
            first = asyncio.create_task(asyncio.to_thread(next, stream))
            await until(lambda: service.watchers)
            for _ in range(20_000):
                (await governor.acquire("x" * 64)).close()
                if not service.watchers:
                    break
            assert not service.watchers, "it was never dropped"
            await first
            stream.close()  # type: ignore[attr-defined]
            slow.close()

    asyncio.run(main())


def test_what_is_remembered_is_told_no_faster_than_it_is_read(place: Path) -> None:
    """All of it together is more than may be queued, and nothing is left out."""

    async def main() -> None:
        config = Config(events_max=12_000)
        async with governing(place, config=config) as (service, governor):
            while len(service.governor.events) < config.events_max:
                (await governor.acquire(LONG)).close()
            assert len(service.governor.events) == config.events_max
            with closing(Client(service.path)) as slow:
                stream = slow.stream(wire.WATCH, wire.Watch(since=0), wire.WakeEvent)
                seen = [await asyncio.to_thread(next, stream)]
                (await governor.acquire("late")).close()

                def read_on() -> None:
                    seen.extend(itertools.takewhile(lambda event: event.name != "late", stream))

                await asyncio.to_thread(read_on)
                numbers = [event.number for event in seen]
                assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
                assert len(numbers) >= config.events_max
                assert len(service.watchers) == 1  # it hears of what comes
                (await governor.acquire("later")).close()
                await asyncio.to_thread(lambda: any(event.name == "later" for event in stream))
                stream.close()  # type: ignore[attr-defined]

    asyncio.run(main())


def test_there_are_no_more_watchers_than_may_be(place: Path) -> None:
    async def main() -> None:
        async with governing(place) as (service, governor):
            connection = await governor.connect()
            refused: list[object] = []

            def on_answer(answer: object, _: Descriptors) -> None:
                if isinstance(answer, OutOfSpace):
                    refused.append(answer)

            calls = [
                connection.start_call(wire.WATCH, wire.Watch(), on_answer, more=True)
                for _ in range(WATCHERS_MAX + 1)
            ]
            await until(lambda: refused)
            assert (len(refused), len(service.watchers)) == (1, WATCHERS_MAX)
            for number in calls:
                connection.cancel_call(number)
            await until(lambda: len(service.watchers) == 0)

    asyncio.run(main())
