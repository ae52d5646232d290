"""A head and a client as processes of their own, and the table in which they write what they did.

The table is a file that all map. Each subscription has a row of its own, so that nobody ever writes
what another one writes, and a number is never torn: eight aligned bytes, by one store. (Not by
`struct`, which makes them zero first.)

    python -m tests.e2e.wake_sequence_roles head|client DIRECTORY LIFE
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import random
import sys
from pathlib import Path

from holdfast.errors import HoldfastError
from holdfast.wake import (
    MessageChannel,
    MessageSource,
    SequenceClient,
    SequenceServer,
    connect_async,
)

LIVES = 256
SUBSCRIPTIONS = 64
ROWS = LIVES * SUBSCRIPTIONS
BURST = 60


class Table:
    """Columns of numbers: of each subscription, and of each life of a head.

    Attributes:
        sent, processed: How many messages of a subscription: those whose `send` has returned, and
            those that were dealt with.
        client: Which life of the client it is.
        totals, acquired, flushes: Of a head: messages, wake leases taken, and attempts.
    """

    COLUMNS = ("sent", "processed", "client", "totals", "acquired", "flushes")

    def __init__(self, path: Path) -> None:
        size = 8 * ROWS * len(self.COLUMNS)
        with path.open("a+b") as file:
            file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)
        self._numbers = memoryview(self._map).cast("q")

    def get(self, column: str, row: int) -> int:
        return self._numbers[self._at(column, row)]

    def set(self, column: str, row: int, number: int) -> None:
        self._numbers[self._at(column, row)] = number

    def close(self) -> None:
        self._numbers.release()
        self._map.close()

    def _at(self, column: str, row: int) -> int:
        return self.COLUMNS.index(column) * ROWS + row


def row_of(life: int, epoch: int) -> int:
    """The row of a subscription to the head of that life."""
    return life * SUBSCRIPTIONS + epoch % SUBSCRIPTIONS


async def head(place: Path, life: int) -> None:
    """Send bursts of messages until there is a file "stop"; then wait to be killed."""
    table = Table(place / "table")
    rng = random.Random(life)
    async with connect_async(place / "governor") as governor:
        server = SequenceServer(governor)
        source = MessageSource(str(place / f"head-{life}"), server)
        (place / "current.new").write_text(str(life))
        (place / "current.new").rename(place / "current")
        total = 0
        while True:
            if not (place / "stop").exists():
                for _ in range(rng.randrange(1, BURST)):
                    subscribers = source.subscribers()
                    await source.send(b"message")
                    for one in subscribers:
                        row = row_of(life, one.tracker.epoch)
                        if not one.tracker.closed:
                            table.set("sent", row, table.get("sent", row) + 1)
                            total += 1
            table.set("totals", life, total)
            # The attempts first: who is killed between the two has not taken too many.
            table.set("flushes", life, server.machine.flushes)
            table.set("acquired", life, server.machine.acquired)
            await asyncio.sleep(rng.random() * 0.004)


async def client(place: Path, life: int) -> None:
    """Process messages of whichever head is there."""
    table = Table(place / "table")
    while True:
        with contextlib.suppress(HoldfastError, OSError, ValueError):
            head_life = int((place / "current").read_text())
            channel = await MessageChannel.connect(str(place / f"head-{head_life}"))
            row = row_of(head_life, channel.epoch)
            table.set("client", row, life)
            batons = SequenceClient(channel)
            running = batons.run()
            async for _ in channel.messages():
                table.set("processed", row, batons.index + 1)
                batons.process_message()
            batons.end_of_messages()
            await asyncio.gather(running, return_exceptions=True)
            await channel.close()
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    role = {"head": head, "client": client}[sys.argv[1]]
    asyncio.run(role(Path(sys.argv[2]), int(sys.argv[3])))
