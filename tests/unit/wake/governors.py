"""Governors for tests: in this loop or in a thread, over a back-end that does as it is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from holdfast.closing import Closing
from holdfast.wake import AsyncGovernor, Service, Simulated, connect_async
from holdfast.wake.backends import Backend, BackendHost
from holdfast.wake.model import Failed, Slept
from tests.unit.ipc.places import PATIENCE_S


class Rig:
    """Goes down when it is told to and comes back when the test says so."""

    name = "rig"

    def __init__(self, *, why_not: str | None = None) -> None:
        self.why_not = why_not
        self.trouble: str | None = None
        self.delay_budget_ns: int | None = None
        self.host: BackendHost | None = None
        self.entered: list[int] = []
        self.woken: list[int] = []
        self.blocks: list[bool] = []
        self.said: list[str] = []
        self.closed = 0
        self.returns: asyncio.Future[Slept | Failed] | None = None
        self.hold_block: asyncio.Event | None = None
        self.faults = 0  # so many of the next attempts end in an error

    def available(self) -> str | None:
        return self.why_not

    async def open(self, host: BackendHost) -> None:
        self.host = host

    async def suspend(self, attempt: int) -> Slept | Failed:
        self.entered.append(attempt)
        if self.faults:
            self.faults -= 1
            raise ZeroDivisionError("rig")
        self.returns = asyncio.get_running_loop().create_future()
        return await self.returns

    def back(self, outcome: Slept | Failed | None = None) -> None:
        assert self.returns is not None
        self.returns.set_result(outcome or Slept(5_000_000, "the test"))

    def wake(self, attempt: int) -> None:
        self.woken.append(attempt)

    async def block(self, held: bool) -> None:
        if self.hold_block is not None:
            await self.hold_block.wait()
        self.blocks.append(held)

    def ready_for_sleep(self) -> None:
        self.said.append("ready for sleep")

    def ready_for_shutdown(self) -> None:
        self.said.append("ready for shutdown")

    async def close(self) -> None:
        self.closed += 1
        if self.returns is not None and not self.returns.done():
            self.returns.set_result(Failed("closed"))


@asynccontextmanager
async def governing(
    place: Path, backend: Backend | None = None, **settings: Any
) -> AsyncIterator[tuple[Service, AsyncGovernor]]:
    """A governor and one client, both in this loop."""
    path = str(place / "g")
    async with (
        Service(path, backend or Simulated(0.01), **settings) as service,
        connect_async(path) as governor,
    ):
        yield service, governor


class GovernorThread(Closing):
    """A governor on an event loop in a thread of its own, for clients that block."""

    def __init__(self, place: Path, backend: Backend | None = None, **settings: Any) -> None:
        self.path = str(place / "g")
        self._backend = backend or Simulated(0.01)
        self._settings = settings
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))
        self._thread.start()
        assert self._up.wait(PATIENCE_S)

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        async with Service(self.path, self._backend, **self._settings) as self.service:
            self._up.set()
            await self._over.wait()

    def soon(self, function: Callable[..., object], *given: Any) -> None:
        self.loop.call_soon_threadsafe(function, *given)

    def close(self) -> None:
        if self._thread.is_alive():
            self.soon(self._over.set)
            self._thread.join(PATIENCE_S)
