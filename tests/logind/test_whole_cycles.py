"""Whole cycles: clients, the governor's service, the back-end, and logind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from holdfast.wake import AsyncGovernor, Config, Service, WakeLease, connect_async
from tests.logind.conftest import Play
from tests.logind.sides import (
    Side,
    until,
    until_locked,
    until_nobody_blocks,
    until_said,
)
from tests.peer import python_path

Player = Callable[[Play], None]
DOWN, UP = "StartUnit suspend.target", "PrepareForSleep False"


@contextlib.asynccontextmanager
async def governing(side: Side, place: Path) -> AsyncIterator[tuple[Service, AsyncGovernor]]:
    """A governor, and a client; failed attempts are repeated soon."""
    config = Config(backoff_max_ns=20_000_000)
    path = str(place / "g")
    async with (
        Service(path, side.backend(), config=config) as service,
        connect_async(path) as governor,
    ):
        await until_locked(side, "delay")
        yield service, governor


class Listening:
    """Someone who is asked before a suspend, and answers when `go` is set."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.go = asyncio.Event()

    async def before(self) -> None:
        self.side.transcript.say("asked")
        await self.go.wait()
        self.side.transcript.say("answered")

    async def after(self) -> None:
        self.side.transcript.say("told")


def in_order(side: Side, *lines: str) -> None:
    """Each of these was said, the first time, after the one before it."""
    at = [side.transcript.lines.index(line) for line in lines]
    assert at == sorted(at), side.transcript.lines


def test_a_suspend_through_logind(play: Player, place: Path) -> None:
    async def main(side: Side) -> None:
        async with governing(side, place) as (_, governor):
            listening = Listening(side)
            listening.go.set()
            await governor.listen(listening.before, listening.after)
            assert await governor.suspend() == pytest.approx(1, rel=0.2)
            in_order(side, "asked", "answered", "PrepareForSleep True", DOWN, "told")
            status = await governor.status()
            assert (status.suspends, status.failures, status.backend) == (1, 0, "logind")
            await until_locked(side, "delay")

    play(main)


def test_others_suspend_waits_for_our_listeners(play: Player, place: Path) -> None:
    async def main(side: Side) -> None:
        async with governing(side, place) as (_, governor):
            listening = Listening(side)
            await governor.listen(listening.before, listening.after)
            await side.suspend()
            await until_said(side, "asked")
            await until_locked(side, "delay")  # logind has answered since, and waits
            assert DOWN not in side.transcript.lines
            listening.go.set()
            await until_said(side, "told")
            in_order(side, "PrepareForSleep True", "answered", DOWN, "told")
            assert (await governor.status()).suspends == 1

    play(main)


def test_a_wake_lease_taken_by_a_listener_delays_others_suspend(play: Player, place: Path) -> None:
    async def main(side: Side) -> None:
        taken: list[WakeLease] = []
        async with governing(side, place) as (_, governor):

            async def before() -> None:
                taken.append(await governor.acquire("the last words"))
                side.transcript.say("taken")

            await governor.listen(before)
            await side.suspend()
            await until_said(side, "taken")
            await governor.status()
            await until_locked(side, "delay")
            assert DOWN not in side.transcript.lines
            side.transcript.say("closed")
            taken[0].close()
            await until_said(side, UP)
            in_order(side, "taken", "closed", DOWN)

    play(main)


@pytest.mark.parametrize("delay_s", [0.3])
def test_a_listener_that_takes_too_long_is_named(play: Player, place: Path) -> None:
    async def main(side: Side) -> None:
        async with governing(side, place) as (_, governor):
            listening = Listening(side)
            await governor.listen(listening.before, listening.after, name="dawdler")
            side.stay_down()  # until it was asked: logind's patience may be over before
            await side.suspend()
            await until_said(side, "asked")
            await until_said(side, DOWN)
            side.come_up()
            await until_said(side, UP)
            assert "answered" not in side.transcript.lines
            listening.go.set()
            await until_said(side, "told")
            assert "dawdler" in await governor.why()
            await until_locked(side, "delay")
            assert await governor.suspend() > 0  # all is well again

    play(main)


def test_others_are_refused_while_a_wake_lease_is_held(play: Player, place: Path) -> None:
    async def main(side: Side) -> None:
        async with governing(side, place) as (_, governor):
            with await governor.acquire("upload"), pytest.raises(RuntimeError):
                await side.suspend_unprivileged()
            await until_nobody_blocks(side)
            await side.suspend_unprivileged()
            await until_said(side, UP)
            assert side.transcript.count(DOWN) == 1

    play(main)


def test_who_asks_while_the_machine_is_down_gets_it_after_the_resume(
    play: Player, place: Path
) -> None:
    async def main(side: Side) -> None:
        side.stay_down()
        async with governing(side, place) as (service, governor):
            going = asyncio.create_task(governor.suspend())
            await until_said(side, DOWN)
            asking = asyncio.create_task(governor.acquire("late"))
            await until(lambda: len(service.governor.status().wake_leases) == 1, "the question")
            assert not asking.done()
            side.come_up()
            with await asking:
                assert await going > 0
                await until_locked(side, "block", "delay")
            await until_locked(side, "delay")

    play(main)


def test_a_suspend_waits_for_others_block_locks_and_says_whose(play: Player, place: Path) -> None:
    async def main(side: Side) -> None:
        async with governing(side, place) as (service, governor):
            async with side.blocking():
                going = asyncio.create_task(governor.suspend())
                await until(lambda: service.governor.status().failures >= 1, "an attempt")
                assert "blocked in logind by backup" in str((await governor.status()).last_failure)
                assert not going.done()
            assert await going > 0
            assert side.transcript.count(DOWN) == 1

    play(main)


def test_a_shutdown_waits_for_the_last_wake_lease(play: Player, place: Path) -> None:
    async def main(side: Side) -> None:
        async with governing(side, place) as (service, governor):
            with await governor.acquire("upload"):
                await side.power_off()
                await until(lambda: service.governor.status().state.value == "stopping", "the end")
                await until_locked(side, "block", "delay")
                assert "StartUnit poweroff.target" not in side.transcript.lines
                side.transcript.say("closed")
            await until_said(side, "StartUnit poweroff.target")
            in_order(side, "PrepareForShutdown True", "closed", "StartUnit poweroff.target")

    play(main)


def test_a_wake_lease_outlives_a_logind(play: Player, place: Path) -> None:
    async def main(side: Side) -> None:
        async with governing(side, place) as (_, governor):
            with await governor.acquire("upload"):
                await side.end_logind()
                await side.begin_logind()
                await until_locked(side, "block", "delay")
                with pytest.raises(RuntimeError):
                    await side.suspend_unprivileged()
            await until_nobody_blocks(side)
            assert await governor.suspend() > 0

    play(main)


HOLDER = """
import sys, time
from holdfast.wake import connect
held = connect(sys.argv[1]).acquire("upload")
print("held", flush=True)
time.sleep(60)
"""


def test_a_holder_that_is_killed_blocks_nobody(play: Player, place: Path) -> None:
    async def main(side: Side) -> None:
        async with governing(side, place) as (service, _):
            holder = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", HOLDER, service.path),
                stdout=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": python_path()},
            )
            try:
                assert holder.stdout is not None
                assert await holder.stdout.readline() == b"held\n"
                with pytest.raises(RuntimeError):
                    await side.suspend_unprivileged()
            finally:
                holder.kill()
                await holder.wait()
            await until_nobody_blocks(side)
            await side.suspend_unprivileged()
            await until_said(side, UP)

    play(main)


def test_many_cycles_with_leases_between(play: Player, place: Path) -> None:
    cycles = 10

    async def main(side: Side) -> None:
        async with governing(side, place) as (_, governor):
            listening = Listening(side)
            listening.go.set()
            await governor.listen(listening.before, listening.after)
            for _ in range(cycles):
                with await governor.acquire("upload"):
                    going = asyncio.create_task(governor.suspend())
                    await governor.status()
                    assert not going.done()
                assert await going > 0
            await until_said(side, UP, cycles)
            seen = [line for line in side.transcript.lines if line in {"answered", DOWN, "told"}]
            assert seen == cycles * ["answered", DOWN, "told"]

    play(main)
