"""Machines with a logind, and those who use it."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.logind.machine import Machine, MachineMissing, needed
from tests.logind.patience import PATIENCE_S, be_patient
from tests.logind.played import PlayedSide
from tests.logind.sides import RealSide, Side

Play = Callable[[Side], Awaitable[None]]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A logind that is slow is waited for."""
    be_patient(monkeypatch.setattr)


@pytest.fixture
def delay_s() -> float:
    """For how long logind waits for delay locks; longer than any test, if it does not say else."""
    return 60.0


@pytest.fixture
def machine(delay_s: float) -> Iterator[Machine]:
    """A machine with a real logind."""
    with contextlib.ExitStack() as exits:
        try:
            needed()
            machine = exits.enter_context(Machine(delay_s=delay_s))
        except MachineMissing as reason:
            pytest.skip(str(reason))
        yield machine


@pytest.fixture(params=["real", "played"])
def play(request: pytest.FixtureRequest, delay_s: float) -> Callable[[Play], None]:
    """What runs a coroutine function with one side after the other, in an event loop."""
    side: Side
    if request.param == "real":
        side = RealSide(request.getfixturevalue("machine"))
    else:
        side = PlayedSide()
        side.delay_s = delay_s

    async def bounded(what: Play) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await what(side)
        finally:
            if isinstance(side, PlayedSide):
                side.close()

    return lambda what: asyncio.run(bounded(what))


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="hf-") as directory:
        yield Path(directory)
