"""One lock of logind's, with an answer that comes when the test says so."""

from __future__ import annotations

import asyncio
import os
import select
from typing import Any

from holdfast.wake.backends.bus import Called
from holdfast.wake.backends.logind_locks import Lock


class SlowBus:
    """Gives out the ends of pipes."""

    name = ":1.7"

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked: list[tuple[object, ...]] = []
        self.pipes: list[int] = []

    async def call(
        self, whom: Called, member: str, signature: str = "", body: tuple[object, ...] = ()
    ) -> tuple[Any, ...]:
        assert (member, signature) == ("Inhibit", "ssss")
        self.asked.append(body)
        await self.go.wait()
        ours, theirs = os.pipe()
        self.pipes.append(ours)
        return (theirs,)

    async def watch(self, rule: str) -> None: ...

    def close(self) -> None: ...

    def held(self) -> list[bool]:
        """Which of those given out are held."""
        poll = select.poll()
        for fd in self.pipes:
            poll.register(fd, 0)
        gone = {fd for fd, _ in poll.poll(0)}
        return [fd not in gone for fd in self.pipes]

    def end(self) -> None:
        for fd in self.pipes:
            os.close(fd)


def made() -> Lock:
    return Lock("sleep", "holdfast", "why", "block")


def test_a_lock_that_comes_when_nobody_wants_it_any_more_is_let_go() -> None:
    async def main() -> None:
        bus, lock = SlowBus(), made()
        lock.wanted = True
        taking = asyncio.create_task(lock.take(bus))
        await asyncio.sleep(0)
        lock.wanted = False
        lock.drop()
        bus.go.set()
        await taking
        assert not lock.held
        assert bus.held() == [False]
        bus.end()

    asyncio.run(main())


def test_two_who_take_it_at_once_ask_once() -> None:
    async def main() -> None:
        bus, lock = SlowBus(), made()
        lock.wanted = True
        taking = asyncio.gather(lock.take(bus), lock.take(bus))
        await asyncio.sleep(0)
        bus.go.set()
        await taking
        assert bus.asked == [("sleep", "holdfast", "why", "block")]
        assert bus.held() == [True]
        lock.drop()
        bus.end()

    asyncio.run(main())


def test_a_doubtful_lock_is_held_until_the_new_one_has_come() -> None:
    async def main() -> None:
        bus, lock = SlowBus(), made()
        lock.wanted = True
        bus.go.set()
        await lock.take(bus)
        settled = [lock.settled]
        lock.doubtful = True
        settled.append(lock.settled)
        bus.go.clear()
        taking = asyncio.create_task(lock.take(bus))
        await asyncio.sleep(0)
        assert bus.held() == [True]
        bus.go.set()
        await taking
        assert bus.held() == [False, True]
        assert [*settled, lock.settled] == [True, False, True]
        lock.drop()
        lock.drop()
        assert bus.held() == [False, False]
        bus.end()

    asyncio.run(main())
