"""A head and a client of each strategy as processes of their own, and the table they write in.

The head does what it is ordered to: so many events, as fast as they go. The client deals with as
many as it is allowed to. Both orders are in the table, which is a file that all map. Each
connection of a client to a head has a row of its own, so that nobody ever writes what another one
writes, and a number is never torn: eight aligned bytes, by one store.

    python -m tests.logind.strategy_roles STRATEGY head|client DIRECTORY LIFE
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import random
import select
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.seams import StateChannel, StateSource
from holdfast.state import Namespace, Transaction
from holdfast.wake import (
    AsyncGovernor,
    Interlock,
    MessageChannel,
    MessageSource,
    RetainedWakeLease,
    SequenceClient,
    SequenceServer,
    connect_async,
    receive_async,
    send_async,
)

LIVES = 8
ROWS_OF_A_LIFE = 64
ENDLESS = 1 << 40
RETAIN_S = 0.2
BURST = 20


class Table:
    """Columns of numbers; row 0 is of nobody, and has what the test orders.

    Attributes:
        sent, processed: How many events of a row were acknowledged to whoever raised them, and how
            many were dealt with. Of a state: the newest version.
        client: Which life of the client it is; 0: it has not come so far.
        orders, allowed: How many events the head shall make, and the client may deal with.
        begun: How many the head has begun with, in whatever life.
        ready: 1 when the head is, and has a client.
        downs: How often the machine has gone down.
        touched_ns: CLOCK_MONOTONIC when a retained wake lease was last touched.
    """

    COLUMNS = (
        *("sent", "processed", "client"),
        *("orders", "allowed", "begun", "ready", "downs", "touched_ns"),
    )
    ROWS = LIVES * ROWS_OF_A_LIFE

    def __init__(self, path: Path) -> None:
        size = 8 * self.ROWS * len(self.COLUMNS)
        with path.open("a+b") as file:
            file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)
        self._numbers = memoryview(self._map).cast("q")

    def get(self, column: str, row: int = 0) -> int:
        return self._numbers[self._at(column, row)]

    def set(self, column: str, number: int, row: int = 0) -> None:
        self._numbers[self._at(column, row)] = number

    def count(self, column: str, row: int) -> None:
        """One more."""
        self.set(column, self.get(column, row) + 1, row)

    def close(self) -> None:
        self._numbers.release()
        self._map.close()

    def _at(self, column: str, row: int) -> int:
        return self.COLUMNS.index(column) * self.ROWS + row


def row_of(life: int, number: int) -> int:
    """The row of a connection to the head of that life."""
    assert 0 < life < LIVES, life
    assert 0 <= number < ROWS_OF_A_LIFE, number
    return life * ROWS_OF_A_LIFE + number


class Role:
    """What head and client have in common."""

    def __init__(self, place: Path, life: int) -> None:
        self.place = place
        self.life = life
        self.table = Table(place / "table")
        self.rng = random.Random(life)

    async def order(self, settled: Callable[[], bool]) -> None:
        """Wait until one more event is wanted.

        Where there is no end of them, now and then until all are dealt with, and at times until the
        machine was down: a head that never rests never lets it.
        """
        begun = self.table.get("begun")
        if self.table.get("orders") == ENDLESS and self.rng.random() * BURST < 1:
            downs = self.table.get("downs")
            while not settled():  # noqa: ASYNC110 - another process does it
                await asyncio.sleep(0.002)
            if self.rng.random() < 0.5:
                await asyncio.sleep(self.rng.random() * 0.02)
            else:
                while self.table.get("downs") == downs:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.002)
        while self.table.get("orders") <= begun:  # noqa: ASYNC110 - another process orders
            await asyncio.sleep(0.002)
        self.table.set("begun", begun + 1)

    def settled(self, row: int) -> bool:
        return self.table.get("processed", row) >= self.table.get("sent", row)

    def ready(self) -> None:
        self.table.set("ready", 1)

    async def permission(self, processed: int) -> None:
        """Wait until one more may be dealt with, and take some time for it."""
        while self.table.get("allowed") <= processed:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.002)
        await asyncio.sleep(self.rng.random() * 0.001)

    def socket_of(self, life: int) -> str:
        return str(self.place / f"head-{life}")

    def announce(self) -> None:
        """From now on clients find this head."""
        (self.place / "current.new").write_text(str(self.life))
        (self.place / "current.new").rename(self.place / "current")

    def current(self) -> int:
        return int((self.place / "current").read_text())

    def governor(self) -> contextlib.AbstractAsyncContextManager[AsyncGovernor]:
        return connect_async(self.place / "g")


Event = Callable[[socket.socket, int], Awaitable[None]]


# -- over a socket between the two: baton passing, interlock, time-out -----------------------------


async def serve_events(role: Role, event: Event) -> None:
    """Hand events to one client after the other, each with a row of its own."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(role.socket_of(role.life))
        server.listen()
        server.settimeout(0)
        role.announce()
        for number in range(1, ROWS_OF_A_LIFE):
            sock, _ = await loop.sock_accept(server)
            with sock, contextlib.suppress(HoldfastError, OSError, EOFError):
                sock.settimeout(0)
                await serve_client(role, event, sock, row_of(role.life, number))


async def serve_client(role: Role, event: Event, sock: socket.socket, row: int) -> None:
    await send_async(sock, b"%d" % row)
    role.ready()
    while True:
        await role.order(lambda: role.settled(row) or _hung_up(sock))
        await event(sock, row)


def _hung_up(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(0))


async def take_events(role: Role, event: Event) -> None:
    """Take events of whichever head is there."""
    loop = asyncio.get_running_loop()
    while True:
        with (
            contextlib.suppress(HoldfastError, OSError, EOFError, ValueError),
            socket.socket(socket.AF_UNIX) as sock,
        ):
            sock.settimeout(0)
            await loop.sock_connect(sock, role.socket_of(role.current()))
            data, _ = await receive_async(sock)
            row = int(data)
            role.table.set("client", role.life, row)
            while True:
                await event(sock, row)
        await asyncio.sleep(0.01)


async def work(role: Role, row: int) -> None:
    await role.permission(role.table.get("processed", row))
    role.table.count("processed", row)


async def baton_head(role: Role) -> None:
    async with role.governor() as governor:

        async def event(sock: socket.socket, row: int) -> None:
            with await governor.acquire("event") as wake_lease:
                role.table.count("sent", row)
                await send_async(sock, b"event", wake_lease)

        await serve_events(role, event)


async def baton_client(role: Role) -> None:
    async def event(sock: socket.socket, row: int) -> None:
        _, baton = await receive_async(sock)
        assert baton is not None
        with baton:
            await work(role, row)

    await take_events(role, event)


async def interlock_head(role: Role) -> None:
    async with role.governor() as governor:
        interlock = Interlock(governor, "X's", retain=0.002)

        async def event(sock: socket.socket, row: int) -> None:
            async with interlock.hand_over() as handing:
                role.table.count("sent", row)
                await send_async(sock, b"event")
                await handing.acknowledged(receive_async(sock))

        await serve_events(role, event)


async def interlock_client(role: Role) -> None:
    async with role.governor() as governor:
        interlock = Interlock(governor, "Y's")

        async def event(sock: socket.socket, row: int) -> None:
            await receive_async(sock)
            async with interlock.take_over(lambda: send_async(sock, b"taken")):
                await work(role, row)

        await take_events(role, event)


async def retained_head(role: Role) -> None:
    async with role.governor() as governor:
        retained = RetainedWakeLease(governor, "for a while", RETAIN_S)

        async def event(sock: socket.socket, row: int) -> None:
            role.table.set("touched_ns", time.monotonic_ns())
            await retained.touch()
            role.table.count("sent", row)
            await send_async(sock, b"event")

        await serve_events(role, event)


async def retained_client(role: Role) -> None:
    async def event(sock: socket.socket, row: int) -> None:
        await receive_async(sock)
        await work(role, row)

    await take_events(role, event)


# -- optimistic ------------------------------------------------------------------------------------


async def sequence_head(role: Role) -> None:
    async with role.governor() as governor:
        server = SequenceServer(governor)
        with MessageSource(role.socket_of(role.life), server) as source:
            role.announce()
            await source.wait_clients()
            await server.ready()
            role.ready()

            def rows() -> list[int]:
                trackers = [one.tracker for one in source.subscribers() if not one.tracker.closed]
                return [row_of(role.life, tracker.epoch) for tracker in trackers]

            while True:
                await role.order(lambda: all(map(role.settled, rows())))
                before = rows()
                await source.send(b"message")
                for row in set(before).intersection(rows()):
                    role.table.count("sent", row)


async def sequence_client(role: Role) -> None:
    while True:
        with contextlib.suppress(HoldfastError, OSError, ValueError):
            head_life = role.current()
            channel = await MessageChannel.connect(role.socket_of(head_life))
            row = row_of(head_life, channel.epoch)
            role.table.set("client", role.life, row)
            batons = SequenceClient(channel)
            running = batons.run()
            async for _ in channel.messages():
                await work(role, row)
                batons.process_message()
            batons.end_of_messages()
            await asyncio.gather(running, return_exceptions=True)
            await channel.close()
        await asyncio.sleep(0.01)


async def state_head(role: Role) -> None:
    """A version is for every client, so it is sent in every row of a client of this head."""
    async with role.governor() as governor:
        with Namespace(role.place / "states") as namespace:
            state = namespace.subscribe("values", "rw", size=8)
            server = SequenceServer(governor)
            with StateSource(state, server, role.socket_of(role.life)) as source:
                role.announce()
                await source.wait_clients()
                await server.ready()
                role.ready()
                while True:
                    await role.order(lambda: True)  # versions do not queue up
                    await source.publish(_write)
                    for life in range(1, LIVES):
                        role.table.set("sent", state.version, row_of(role.life, life))


def _write(txn: Transaction) -> None:
    txn.data[:] = time.monotonic_ns().to_bytes(8)


async def state_client(role: Role) -> None:
    """Deals with versions, and not with events: so many are allowed."""
    while True:
        with (
            contextlib.suppress(HoldfastError, OSError, ValueError),
            Namespace(role.place / "states") as namespace,
        ):
            head_life = role.current()
            state = namespace.subscribe("values", "r")
            channel = await StateChannel.connect(state, role.socket_of(head_life))
            row = row_of(head_life, role.life)
            role.table.set("processed", state.version, row)
            role.table.set("client", role.life, row)
            working = asyncio.create_task(_deal_with(role, channel, row))
            # Work that waits for a permission is left, too, when there is another head.
            while role.current() == head_life and not working.done():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            await channel.aclose()
        await asyncio.sleep(0.01)


async def _deal_with(role: Role, channel: StateChannel, row: int) -> None:
    async for snapshot in channel.changes():
        await role.permission(snapshot.version - 1)
        role.table.set("processed", snapshot.version, row)


ROLES: dict[str, dict[str, Callable[[Role], Awaitable[None]]]] = {
    "baton": {"head": baton_head, "client": baton_client},
    "interlock": {"head": interlock_head, "client": interlock_client},
    "retained": {"head": retained_head, "client": retained_client},
    "sequence": {"head": sequence_head, "client": sequence_client},
    "state": {"head": state_head, "client": state_client},
}


async def main(strategy: str, name: str, place: str, life: str) -> None:
    await ROLES[strategy][name](Role(Path(place), int(life)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
