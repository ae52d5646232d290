"""The back-end "logind": the same behaviours beside a real logind and beside a played one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

import pytest

from holdfast.wake.backends import logind as logind_module
from holdfast.wake.backends.logind import Logind
from holdfast.wake.model import Failed, Slept
from tests.logind.conftest import Play
from tests.logind.sides import (
    SLEEP_NS,
    Host,
    Side,
    until,
    until_locked,
    until_nobody_blocks,
    until_said,
)

Player = Callable[[Play], None]


@contextlib.asynccontextmanager
async def opened(side: Side) -> AsyncIterator[tuple[Logind, Host]]:
    backend, host = side.backend(), Host(side.transcript)
    await backend.open(host)
    try:
        yield backend, host
    finally:
        await backend.close()
        await backend.close()  # twice is harmless


def order(side: Side, *lines: str) -> list[int]:
    """Where each of these lines was said first."""
    return [side.transcript.lines.index(line) for line in lines]


def test_our_own_suspend_is_measured_and_nobody_is_told(play: Player) -> None:
    async def main(side: Side) -> None:
        async with opened(side) as (backend, host):
            await until_locked(side, "delay")
            outcome = await backend.suspend(1)
            assert isinstance(outcome, Slept)
            assert outcome.duration_ns == pytest.approx(SLEEP_NS, rel=0.2)
            assert "host: sleep begins" not in side.transcript.lines
            assert host.outcomes == []
            await until_locked(side, "delay")  # it is taken again
        await until_locked(side)

    play(main)


def test_our_own_suspend_does_not_wait_for_our_own_delay_lock(play: Player) -> None:
    async def main(side: Side) -> None:
        async with opened(side) as (backend, _):
            for number in range(3):
                await until_locked(side, "delay")
                assert isinstance(await backend.suspend(number), Slept)
        started = side.transcript.count("StartUnit suspend.target")
        assert started == side.transcript.count("PrepareForSleep True") == 3

    play(main)  # within its patience, which three times the delay would exceed


def test_logind_says_yes_and_the_machine_does_not_sleep(play: Player) -> None:
    async def main(side: Side) -> None:
        side.refuse_to_sleep()
        async with opened(side) as (backend, _):
            outcome = await backend.suspend(1)
            assert isinstance(outcome, Failed)
            assert "did not sleep" in outcome.sentence
            await until_locked(side, "delay")

    play(main)


def test_others_suspend_waits_until_the_host_is_ready(play: Player) -> None:
    async def main(side: Side) -> None:
        async with opened(side) as (backend, host):
            await until_locked(side, "delay")
            await side.suspend()
            await until_said(side, "host: sleep begins")
            await until_locked(side, "delay")  # logind has answered since, and waits
            assert "StartUnit suspend.target" not in side.transcript.lines
            side.transcript.say("ready")
            backend.ready_for_sleep()
            await until_said(side, "host: sleep ended")
            assert isinstance(host.outcomes[0], Slept)
            ready, start = order(side, "ready", "StartUnit suspend.target")
            assert ready < start
            await until_locked(side, "delay")

    play(main)


@pytest.mark.parametrize("delay_s", [0.3])
def test_when_loginds_patience_is_over_the_machine_sleeps_and_that_is_said(
    play: Player, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(side: Side) -> None:
        async with opened(side) as (backend, host):
            assert backend.delay_budget_ns == 300_000_000
            await until_locked(side, "delay")
            side.stay_down()  # until we have heard: logind's patience may be over before
            await side.suspend()
            await until_said(side, "host: sleep begins")
            await until_said(side, "StartUnit suspend.target")
            side.come_up()
            await until_said(side, "host: sleep ended")
            assert isinstance(host.outcomes[0], Slept)
            backend.ready_for_sleep()  # too late, and harmless
            await until_locked(side, "delay")

    with caplog.at_level(logging.WARNING, "holdfast.wake"):
        play(main)
    (said,) = caplog.messages
    assert "before the governor was ready" in said
    assert "0.3 s (InhibitDelayMaxSec)" in said


def test_a_failed_sleep_of_others_is_told_as_one(play: Player) -> None:
    async def main(side: Side) -> None:
        side.refuse_to_sleep()
        async with opened(side) as (backend, host):
            await until_locked(side, "delay")
            await side.suspend()
            await until_said(side, "host: sleep begins")
            backend.ready_for_sleep()
            await until_said(side, "host: sleep ended")
            assert isinstance(host.outcomes[0], Failed)

    play(main)


def test_a_block_lock_is_held_while_a_wake_lease_is(play: Player) -> None:
    async def main(side: Side) -> None:
        async with opened(side) as (backend, _):
            await backend.block(held=True)
            assert ("sleep", "holdfast", "block") in await side.locks()  # not: soon
            await backend.block(held=False)
            await until_locked(side, "delay")

    play(main)


def test_others_are_refused_while_a_wake_lease_is_held(play: Player) -> None:
    async def main(side: Side) -> None:
        async with opened(side) as (backend, _):
            await backend.block(held=True)
            with pytest.raises(RuntimeError):
                await side.suspend_unprivileged()
            assert "PrepareForSleep True" not in side.transcript.lines
            await backend.block(held=False)
            await until_nobody_blocks(side)
            await side.suspend_unprivileged()
            await until_said(side, "host: sleep begins")
            backend.ready_for_sleep()
            await until_said(side, "host: sleep ended")

    play(main)


def test_our_own_suspend_does_not_stumble_over_the_block_lock_just_let_go(play: Player) -> None:
    async def main(side: Side) -> None:
        async with opened(side) as (backend, _):
            for number in range(3):
                await backend.block(held=True)
                await backend.block(held=False)
                assert isinstance(await backend.suspend(number), Slept)

    play(main)


def test_others_block_locks_forbid_our_suspend_and_are_named(play: Player) -> None:
    async def main(side: Side) -> None:
        async with opened(side) as (backend, _):
            async with side.blocking():
                outcome = await backend.suspend(1)
            assert isinstance(outcome, Failed)
            assert outcome.sentence.startswith("blocked in logind by backup (pid ")
            assert "tape" in outcome.sentence
            assert "PrepareForSleep True" not in side.transcript.lines
            await until_nobody_blocks(side)
            assert isinstance(await backend.suspend(2), Slept)

    play(main)


def test_a_block_lock_wanted_during_a_sleep_is_taken_after_it(play: Player) -> None:
    async def main(side: Side) -> None:
        side.stay_down()
        async with opened(side) as (backend, _):
            await until_locked(side, "delay")
            await side.suspend()
            await until_said(side, "host: sleep begins")
            backend.ready_for_sleep()
            await until_said(side, "StartUnit suspend.target")
            await backend.block(held=True)  # returns, though logind gives none now
            await until_locked(side, "shutdown")
            side.come_up()
            await until_locked(side, "block", "delay")

    play(main)


def test_a_sleep_that_is_under_way_at_the_beginning(play: Player) -> None:
    async def main(side: Side) -> None:
        side.stay_down()
        await side.suspend()
        await until_said(side, "StartUnit suspend.target")
        async with opened(side) as (backend, host):
            assert side.transcript.count("host: sleep begins") == 1
            outcome = await backend.suspend(1)
            assert isinstance(outcome, Failed)
            assert "already on its way down" in outcome.sentence
            side.come_up()
            await until_said(side, "host: sleep ended")
            assert isinstance(host.outcomes[0], Slept)
            await until_locked(side, "delay")

    play(main)


def test_a_shutdown_waits_until_the_host_is_ready(play: Player) -> None:
    async def main(side: Side) -> None:
        async with opened(side) as (backend, _):
            await until_locked(side, "delay")
            await side.power_off()
            await until_said(side, "host: shutdown begins")
            outcome = await backend.suspend(1)
            assert isinstance(outcome, Failed)
            await until_locked(side, "delay")
            assert "StartUnit poweroff.target" not in side.transcript.lines
            side.transcript.say("ready")
            backend.ready_for_shutdown()
            await until_said(side, "StartUnit poweroff.target")
            ready, start = order(side, "ready", "StartUnit poweroff.target")
            assert ready < start

    play(main)


def test_a_logind_that_is_restarted_gets_the_locks_anew(
    play: Player, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(side: Side) -> None:
        async with opened(side) as (backend, _):
            await backend.block(held=True)
            await side.end_logind()
            await until(lambda: backend.trouble is not None, "trouble")
            assert "logind has ended" in str(backend.trouble)
            await side.begin_logind()
            await until(lambda: backend.trouble is None, "the end of the trouble")
            await until_locked(side, "block", "delay")
            await backend.block(held=False)
            assert isinstance(await backend.suspend(1), Slept)

    with caplog.at_level(logging.WARNING, "holdfast.wake"):
        play(main)
    assert any("logind has ended" in said for said in caplog.messages)


def test_a_logind_that_hangs_is_not_waited_for_and_gives_its_lock_later(
    play: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logind_module, "_BLOCK_S", 0.1)

    async def main(side: Side) -> None:
        async with opened(side) as (backend, _):
            await until_locked(side, "delay")
            side.freeze_logind()
            try:
                await backend.block(held=True)
                assert "has not given a block lock" in str(backend.trouble)
            finally:
                side.thaw_logind()
            await until_locked(side, "block", "delay")
            await until(lambda: backend.trouble is None, "the end of the trouble")

    play(main)


def test_logind_ends_during_our_own_sleep(play: Player) -> None:
    async def main(side: Side) -> None:
        side.stay_down()
        async with opened(side) as (backend, _):
            going = asyncio.create_task(backend.suspend(1))
            await until_said(side, "StartUnit suspend.target")
            await side.end_logind()
            outcome = await going
            assert isinstance(outcome, Failed)
            assert "logind has ended" in outcome.sentence
            assert isinstance(await backend.suspend(2), Failed)  # there is none to ask
            await side.begin_logind()
            await until_locked(side, "delay")
            side.come_up()

    play(main)


def test_logind_ends_during_others_sleep(play: Player) -> None:
    async def main(side: Side) -> None:
        side.stay_down()
        async with opened(side) as (backend, host):
            await until_locked(side, "delay")
            await side.suspend()
            await until_said(side, "host: sleep begins")
            backend.ready_for_sleep()
            await until_said(side, "StartUnit suspend.target")
            await side.end_logind()
            await until_said(side, "host: sleep ended")
            assert isinstance(host.outcomes[0], Failed)
            await side.begin_logind()
            await until_locked(side, "delay")
            side.come_up()

    play(main)


def test_the_bus_is_restarted(play: Player) -> None:
    async def main(side: Side) -> None:
        async with opened(side) as (backend, _):
            await until_locked(side, "delay")
            await side.end_bus()
            await until(lambda: backend.trouble is not None, "trouble")
            outcome = await backend.suspend(1)
            assert isinstance(outcome, Failed)
            await backend.block(held=True)  # returns: there is nobody to ask
            await side.begin_bus()
            await until(lambda: backend.trouble is None, "the end of the trouble")
            await until_locked(side, "block", "delay")
            await backend.block(held=False)
            assert isinstance(await backend.suspend(2), Slept)

    play(main)


def test_signals_of_others_in_the_name_of_logind_do_not_count(play: Player) -> None:
    async def main(side: Side) -> None:
        async with opened(side) as (backend, _):
            await until_locked(side, "delay")
            await side.forge("PrepareForSleep")
            await side.forge("PrepareForShutdown")
            await backend.block(held=True)  # what was sent before this was answered has come
            await backend.block(held=False)
            assert isinstance(await backend.suspend(1), Slept)
            assert not [line for line in side.transcript.lines if line.startswith("host:")]

    play(main)
