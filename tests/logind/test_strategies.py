"""The strategies in real processes, on a machine that goes down through a real logind.

Whenever logind starts ``suspend.target``, which is when a real machine would go down, the table of
the processes is looked at: an event that was acknowledged must have been dealt with, if both its
head and its client are alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from holdfast.wake import AsyncGovernor, Config, Service, connect_async
from holdfast.wake.model import Cause
from tests.logind.machine import Machine
from tests.logind.sides import RealSide, until, until_locked, until_nobody_blocks, until_said
from tests.logind.strategy_roles import ENDLESS, RETAIN_S, ROWS_OF_A_LIFE, Table, row_of
from tests.peer import python_path

pytestmark = pytest.mark.timeout(180)

PATIENCE_S = 150.0
DOWN, UP = "StartUnit suspend.target", "PrepareForSleep False"
BATON = "optimistic-lease-baton"
ROW = row_of(1, 1)  # of the first client of the first head


class Process:
    """A head or a client, life after life."""

    def __init__(self, strategy: str, name: str, place: Path) -> None:
        self.life = 0
        self.alive = False
        self._name = name
        self._place = place
        self._words = [sys.executable, "-W", "error", "-m", "tests.logind.strategy_roles"]
        self._words += [strategy, name, str(place)]
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.life += 1
        environment = os.environ | {"PYTHONPATH": python_path()}
        with self._errors.open("ab") as errors:
            self._child = subprocess.Popen(
                [*self._words, str(self.life)], stderr=errors, env=environment
            )
        self.alive = True

    def kill(self) -> None:
        self.alive = False
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            assert child.wait() == -signal.SIGKILL, self._errors.read_text()

    @property
    def complaints(self) -> str:
        return self._errors.read_text()

    @property
    def _errors(self) -> Path:
        return self._place / f"{self._name}.err"


class Pipeline:
    """A head, its client, and what was in flight whenever the machine went down."""

    def __init__(self, place: Path, strategy: str) -> None:
        self.table = Table(place / "table")
        self.head = Process(strategy, "head", place)
        self.client = Process(strategy, "client", place)
        self.looked = 0  # how often it went down after something was sent
        self.stranded: list[str] = []
        self.processed_at: list[int] = []  # by the first client, each time it went down
        self._turn = threading.Lock()  # logind's units are started in another thread

    def start(self) -> None:
        self.head.start()
        self.client.start()

    def close(self) -> None:
        for process in (self.head, self.client):
            process.kill()
        self.table.close()

    def replace(self, process: Process) -> None:
        """Kill it, and have another one take its place."""
        with self._turn:
            process.kill()
        process.start()

    def look(self, unit: str) -> None:
        if unit != "suspend.target":
            return
        with self._turn:
            self.table.count("downs", 0)
            self.processed_at.append(self.table.get("processed", ROW))
            if not (self.head.alive and self.client.alive):
                return
            rows = [row_of(self.head.life, number) for number in range(ROWS_OF_A_LIFE)]
            for row in rows:
                sent = self.table.get("sent", row)
                if sent and self.table.get("client", row) == self.client.life:
                    self.looked += 1
                    processed = self.table.get("processed", row)
                    if processed < sent:
                        self.stranded.append(f"{sent - processed} of {sent}")

    def allow(self, number: int) -> None:
        self.table.set("allowed", number)

    def order(self, number: int) -> None:
        self.table.set("orders", number)

    async def until_ready(self) -> None:
        await until(
            lambda: self.table.get("ready") == 1 and self.table.get("client", ROW) == 1,
            "a head with a client",
        )

    async def until_sent(self, number: int) -> None:
        """Wait until so many were sent, and acknowledged to whoever raised them."""
        await until(lambda: self.table.get("sent", ROW) >= number, f"{number} were sent")

    async def until_processed(self, number: int) -> None:
        await until(lambda: self.table.get("processed", ROW) >= number, f"{number} were processed")


@pytest.fixture
def side(machine: Machine) -> RealSide:
    return RealSide(machine)


Piped = tuple[Service, AsyncGovernor, Pipeline]


@contextlib.asynccontextmanager
async def piped(
    machine: Machine, side: RealSide, place: Path, strategy: str
) -> AsyncIterator[Piped]:
    """A governor over logind, and a pipeline; in the end nobody complains, and nothing is left."""
    pipeline = Pipeline(place, strategy)
    machine.systemd.on_start = pipeline.look
    config = Config(backoff_max_ns=20_000_000)
    path = str(place / "g")
    try:
        async with Service(path, side.backend(), config=config) as service:
            async with connect_async(path) as governor:
                await until_locked(side, "delay")
                pipeline.start()
                yield service, governor, pipeline
            await until(lambda: not service.governor.status().wake_leases, "the last release")
            await until_locked(side, "delay")
        await until_locked(side)
    finally:
        machine.systemd.on_start = lambda _: None
        pipeline.close()
    assert pipeline.head.complaints == pipeline.client.complaints == ""


def play(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await work()

    asyncio.run(bounded())


OPTIMISTIC = pytest.mark.parametrize("strategy", ["sequence", "state"])
OURS = pytest.mark.parametrize("strategy", ["baton", "interlock", "sequence", "state"])


async def go_down(governor: AsyncGovernor, side: RealSide) -> None:
    """Have the machine go down without a pause: by us, and by somebody who does not ask us."""
    while True:
        await governor.suspend()
        with contextlib.suppress(RuntimeError):  # from systemd 257 on root is blocked, too
            await side.suspend()


@OURS
def test_nothing_is_stranded_whoever_dies(
    machine: Machine, side: RealSide, place: Path, strategy: str
) -> None:
    async def work() -> None:
        async with piped(machine, side, place, strategy) as (_, governor, pipeline):

            async def some_cycles() -> None:
                looked = pipeline.looked
                await until(lambda: pipeline.looked >= looked + 3, "cycles with something sent")

            pipeline.allow(ENDLESS)
            pipeline.order(ENDLESS)
            going = asyncio.create_task(go_down(governor, side))
            try:
                await some_cycles()
                for victim in (pipeline.client, pipeline.head):
                    pipeline.replace(victim)
                    await some_cycles()
            finally:
                pipeline.order(0)
                going.cancel()
                await asyncio.gather(going, return_exceptions=True)
        assert pipeline.stranded == []

    play(work)


class Bystander:
    """A listener that keeps logind waiting until it is told not to."""

    def __init__(self, side: RealSide) -> None:
        self._side = side
        self.go = asyncio.Event()

    async def before(self) -> None:
        self._side.transcript.say("asked")
        await self.go.wait()
        self._side.transcript.say("answered")


@OURS
def test_what_is_sent_while_logind_waits_for_us_is_dealt_with_first(
    machine: Machine, side: RealSide, place: Path, strategy: str
) -> None:
    """It gives no block lock any more, but a wake lease keeps us from letting the delay go."""

    async def work() -> None:
        async with piped(machine, side, place, strategy) as (service, governor, pipeline):
            await pipeline.until_ready()
            bystander = Bystander(side)
            await governor.listen(bystander.before, name="bystander")
            await side.suspend()
            await until_said(side, "asked")
            pipeline.order(1)
            await until(lambda: len(service.governor.status().wake_leases) > 0, "a wake lease")
            if strategy != "state":  # its "sent" is for every client, so it may come late
                await pipeline.until_sent(1)
            await until_locked(side, "delay")
            bystander.go.set()
            await until_said(side, "answered")
            assert (await governor.status()).state == "suspending"
            assert DOWN not in side.transcript.lines
            pipeline.allow(1)
            await pipeline.until_processed(1)
            await until_said(side, UP)
            assert pipeline.processed_at == [1]
            last = service.governor.attempts[-1]
            assert [each for each in last.blockers if each.cause is Cause.OVERRUN] == []

    play(work)


@OPTIMISTIC
def test_what_is_sent_after_logind_was_let_go_is_not_acknowledged_before_the_resume(
    machine: Machine, side: RealSide, place: Path, strategy: str
) -> None:
    async def work() -> None:
        side.stay_down()
        async with piped(machine, side, place, strategy) as (service, governor, pipeline):
            await pipeline.until_ready()
            await side.suspend()
            await until_said(side, DOWN)
            pipeline.order(1)
            await until(lambda: len(service.governor.status().wake_leases) > 0, "the question")
            assert (await governor.status()).state == "suspended"
            assert pipeline.table.get("sent", ROW) == 0
            side.come_up()
            await pipeline.until_sent(1)
            await until_locked(side, "block", "delay")  # that late, but before it is let go
            pipeline.allow(1)
            await pipeline.until_processed(1)

    play(work)


@pytest.mark.parametrize("delay_s", [0.3])
def test_a_client_slower_than_loginds_patience_is_cut_named_and_goes_on(
    machine: Machine, side: RealSide, place: Path
) -> None:
    async def work() -> None:
        async with piped(machine, side, place, "sequence") as (service, governor, pipeline):
            await pipeline.until_ready()
            pipeline.order(1)
            await pipeline.until_sent(1)  # without a wake lease: the machine is awake
            await until_nobody_blocks(side)
            side.stay_down()  # until it has a wake lease: logind's patience may be over before
            await side.suspend()
            await until(lambda: any(one.leases for one in service.governor.attempts), "a lease")
            await until_said(side, DOWN)
            side.come_up()
            await until_said(side, UP)
            assert pipeline.stranded == ["1 of 1"]
            await until_locked(side, "block", "delay")
            await until(lambda: service.governor.attempts[-1].ended_ns is not None, "its end")
            (cut,) = service.governor.attempts[-1].blockers
            assert (cut.cause, cut.name) == (Cause.OVERRUN, BATON)
            assert BATON in await governor.why()
            pipeline.allow(1)
            await pipeline.until_processed(1)

    play(work)


def test_a_time_out_keeps_the_machine_up_for_its_time_and_no_longer(
    machine: Machine, side: RealSide, place: Path
) -> None:
    """If the client is not done by then, it is cut, and nobody is told: the last resort."""

    async def work() -> None:
        async with piped(machine, side, place, "retained") as (_, governor, pipeline):
            await pipeline.until_ready()
            pipeline.order(1)
            await pipeline.until_sent(1)
            await governor.suspend()
            kept_ns = machine.systemd.started_ns - pipeline.table.get("touched_ns")
            assert kept_ns >= RETAIN_S * 1e9
            assert pipeline.stranded == ["1 of 1"]
            pipeline.allow(1)
            await pipeline.until_processed(1)

    play(work)
