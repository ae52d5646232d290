"""A machine with a state, its head, and a governor, for the tests of pipelines of newest values."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from holdfast.seams import StateChannel, StateSource
from holdfast.state import Namespace, State, Transaction
from holdfast.wake import AsyncGovernor, SequenceServer, Service, Simulated, connect_async
from holdfast.wake.sequence import Phase
from tests.unit.wake.strategies.small import PATIENCE_S, until


class Place:
    """A machine with a state, a head that commits to it, and a governor."""

    def __init__(
        self,
        namespace: Namespace,
        governor: AsyncGovernor,
        server: SequenceServer,
        source: StateSource,
        path: str,
    ) -> None:
        self.namespace = namespace
        self.governor = governor
        self.server = server
        self.source = source
        self.path = path
        self.state = namespace.subscribe("values", "rw", size=8)

    def commit(self, number: int) -> None:
        self.state.transact(write(number))

    async def client(self) -> tuple[StateChannel, State]:
        state = self.namespace.subscribe("values", "r")
        channel = await StateChannel.connect(state, self.path, reporter=self.governor)
        await self.source.wait_clients()
        return channel, state


def write(number: int) -> Callable[[Transaction], None]:
    def fn(txn: Transaction) -> None:
        txn.data[:] = number.to_bytes(8)

    return fn


@asynccontextmanager
async def place(directory: Path, namespace: Namespace) -> AsyncIterator[Place]:
    path, batons = str(directory / "governor"), str(directory / "batons")
    async with Service(path, Simulated(sleep=0.005)), connect_async(path) as governor:
        server = SequenceServer(governor)
        _, running = server.manage()
        with (
            namespace.subscribe("values", "rw", size=8) as state,
            StateSource(state, server, batons) as source,
        ):
            await until(lambda: server.machine.phase is Phase.AWAKE)
            here = Place(namespace, governor, server, source, batons)
            yield here
            here.state.close()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def in_a_place(test: Callable[[Place], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(tmp_path: Path, namespace: Namespace) -> None:
        async def work() -> None:
            async with place(tmp_path, namespace) as here:
                await test(here)

        asyncio.run(asyncio.wait_for(work(), PATIENCE_S))

    del run.__wrapped__
    return run
