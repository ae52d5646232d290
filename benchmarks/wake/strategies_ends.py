"""The two ends of each strategy: what sends, here, and what receives, in a process of its own.

All send the same messages. "none" takes no wake lease at all: it is the way of `MessageSource` with
a tracker that does nothing, and shows what the transport costs; the time-out is that way, too, with
a touch for each message. Batons and acknowledgements need ways of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any, Final, Protocol

from benchmarks.peers import OURS
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
from holdfast.wake.strategies.send_tracker import COVERED

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

__all__ = [
    "BATON",
    "INTERLOCK",
    "NONE",
    "RETAINED",
    "STRATEGIES",
    "End",
    "Optimistic",
    "receive",
    "sender",
]

NONE: Final = "none"
BATON: Final = "baton passing"
INTERLOCK: Final = "interlock"
RETAINED: Final = "time-out"
STRATEGIES: Final = (OURS, NONE, RETAINED, BATON, INTERLOCK)

_MESSAGE: Final = b"x" * 64
_RETAIN_S: Final = 0.01


class End(Protocol):
    """The sending end."""

    @property
    def acquired(self) -> int: ...  # wake leases, of both ends
    async def open(self, path: str) -> None: ...
    async def ready(self) -> None: ...
    async def send(self) -> None: ...
    async def close(self) -> None: ...


class _NoServer:
    """In place of a `SequenceServer`: there are no batons."""

    closed = False
    epoch = 0

    def manage(self) -> _NoServer:
        return self

    def check(self) -> None: ...

    def message_sent(self) -> object:
        return COVERED

    def set_requester(self, request: object) -> None: ...

    def close(self) -> None: ...


class _Plain(MessageSource):
    """A source that counts nothing."""

    def __init__(self, path: str) -> None:
        nobody: Any = _NoServer()
        super().__init__(path, nobody)


class Optimistic:
    """Our own."""

    def __init__(self, governor: AsyncGovernor) -> None:
        self.server = SequenceServer(governor)

    @property
    def acquired(self) -> int:
        return self.server.machine.acquired

    async def open(self, path: str) -> None:
        _, self.running = self.server.manage()
        self.source = MessageSource(path, self.server)

    async def ready(self) -> None:
        await self.source.wait_clients()
        await self.server.ready()

    async def send(self) -> None:
        await self.source.send(_MESSAGE)

    async def close(self) -> None:
        self.source.close()
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


class Nothing:
    """The same without."""

    acquired = 0

    def __init__(self, governor: AsyncGovernor) -> None:
        self.governor = governor

    async def open(self, path: str) -> None:
        self.source = _Plain(path)

    async def ready(self) -> None:
        await self.source.wait_clients()

    async def send(self) -> None:
        await self.source.send(_MESSAGE)

    async def close(self) -> None:
        self.source.close()


class Retained(Nothing):
    """A wake lease for some time after each message."""

    def __init__(self, governor: AsyncGovernor) -> None:
        super().__init__(governor)
        self.retained = RetainedWakeLease(governor, "retained", _RETAIN_S)

    async def send(self) -> None:
        await self.retained.touch()
        self.acquired = self.retained.acquisitions
        await self.source.send(_MESSAGE)

    async def close(self) -> None:
        self.retained.close()
        await super().close()


class _Stream:
    """A stream socket to one client."""

    def __init__(self, governor: AsyncGovernor) -> None:
        self.governor = governor
        self.acquired = 0

    async def open(self, path: str) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(path)
        self._listening.listen()
        self._listening.settimeout(0)

    async def ready(self) -> None:
        self.stream, _ = await asyncio.get_running_loop().sock_accept(self._listening)
        self.stream.settimeout(0)

    async def close(self) -> None:
        self._listening.close()
        self.stream.close()


class Baton(_Stream):
    """A wake lease with each message."""

    async def send(self) -> None:
        with await self.governor.acquire("baton") as wake_lease:
            self.acquired += 1
            await send_async(self.stream, _MESSAGE, wake_lease)


class Interlocked(_Stream):
    """A wake lease at each end, for each message."""

    def __init__(self, governor: AsyncGovernor) -> None:
        super().__init__(governor)
        self.interlock = Interlock(governor, "interlock")

    async def send(self) -> None:
        loop = asyncio.get_running_loop()
        async with self.interlock.hand_over() as handing:
            await loop.sock_sendall(self.stream, _MESSAGE)
            await handing.acknowledged(loop.sock_recv(self.stream, 1))
        self.acquired += 2


ENDS: Final[dict[str, Callable[[AsyncGovernor], End]]] = {
    OURS: Optimistic,
    NONE: Nothing,
    RETAINED: Retained,
    BATON: Baton,
    INTERLOCK: Interlocked,
}


def sender(name: str, governor: AsyncGovernor) -> End:
    """The sending end of a strategy."""
    return ENDS[name](governor)


# -- the receiving end ----------------------------------------------------------------------------


class _Counter:
    """Tells the other process when as many messages were processed as it has said."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._wanted = 0
        asyncio.get_running_loop().add_reader(pipe.fileno(), self._read)

    def _read(self) -> None:
        try:
            self._wanted += self._pipe.recv()
        except EOFError:
            os._exit(0)  # the benchmark has ended

    def processed(self) -> None:
        self._wanted -= 1
        if self._wanted == 0:
            self._pipe.send(0)


async def _messages(path: str, counter: _Counter, *, sequence: bool) -> None:
    channel = await MessageChannel.connect(path)
    client = SequenceClient(channel)
    if sequence:
        client.run()
    while await channel.receive() is not None:
        if sequence:
            client.process_message()
        counter.processed()


async def _batons(path: str, counter: _Counter) -> None:
    with _connected(path) as stream, contextlib.suppress(EOFError):
        while True:
            _, baton = await receive_async(stream)
            counter.processed()
            if baton is not None:
                baton.close()


async def _interlocked(path: str, counter: _Counter, governor_path: str) -> None:
    loop = asyncio.get_running_loop()
    async with connect_async(governor_path) as governor:
        interlock = Interlock(governor, "interlock")
        with _connected(path) as stream:

            async def acknowledge() -> None:
                await loop.sock_sendall(stream, b"y")

            while await loop.sock_recv(stream, len(_MESSAGE)):
                async with interlock.take_over(acknowledge):
                    counter.processed()


def _connected(path: str) -> socket.socket:
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(path)
    stream.settimeout(0)
    return stream


async def _receive(name: str, path: str, governor_path: str, pipe: Connection) -> None:
    counter = _Counter(pipe)
    if name == BATON:
        await _batons(path, counter)
    elif name == INTERLOCK:
        await _interlocked(path, counter, governor_path)
    else:
        await _messages(path, counter, sequence=name == OURS)


def receive(name: str, path: str, governor_path: str, pipe: Connection) -> None:
    """Process messages until the other end has closed: the body of a process."""
    asyncio.run(_receive(name, path, governor_path, pipe))
