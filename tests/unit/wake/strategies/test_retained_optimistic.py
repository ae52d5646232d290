"""A time that is covered by a wake lease only if the machine suspends while it runs; and counts."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import Closed, OutOfSpace, WakeError
from holdfast.wake.strategies.retained import RetainedWakeLease
from tests.unit.wake.governors import governing
from tests.unit.wake.strategies.small import Small, SmallLease, until
from tests.unit.wake.strategies.test_retained import Hands
from tests.unit.wake.strategies.test_sequence_server import on_a_loop

LONG = 1000.0


@pytest.fixture
def governor() -> Small:
    return Small()


async def touched(governor: Small, retain: float = 1.0) -> tuple[RetainedWakeLease, Hands]:
    """One whose time runs; the machine is known to be awake."""
    retained = RetainedWakeLease(governor, "button", retain, optimistic=True)
    hands = Hands(retained)
    await retained.touch()
    return retained, hands


@on_a_loop
async def test_while_the_machine_is_awake_an_event_takes_nothing(governor: Small) -> None:
    retained, hands = await touched(governor)
    for _ in range(100):
        await retained.touch()
    assert (retained.held, governor.acquired, len(governor.listeners)) == (False, 0, 1)
    assert (retained.touches, retained.remaining()) == (101, 1.0)
    hands.move(1.0)
    assert retained.remaining() == 0.0
    assert await governor.attempt(), "the time is over: nothing is taken"
    assert governor.acquired == 0
    retained.close()
    assert governor.listeners == {}


@on_a_loop
async def test_a_suspend_while_the_time_runs_is_stopped_until_the_time_is_over(
    governor: Small,
) -> None:
    retained, hands = await touched(governor)
    hands.move(0.4)
    assert not await governor.attempt()
    assert (retained.held, retained.acquisitions) == (True, 1)
    assert governor.log.index("granted") < governor.log.index("ack before_suspend")
    await retained.touch()  # the machine is awake: it extends what is held, and that is all
    assert (retained.acquisitions, retained.remaining()) == (1, 1.0)
    hands.move(0.9)
    assert (retained.held, retained.acquisitions) == (True, 1), "it is closed by the time alone"
    hands.move(0.1)
    assert not retained.held
    assert await governor.attempt()
    retained.close()


@on_a_loop
async def test_an_event_while_the_machine_suspends_takes_a_lease_at_once(governor: Small) -> None:
    retained, hands = await touched(governor)
    hands.move(1.0)
    is_down, wake = governor.stay_down()
    governor.ask()
    await is_down.wait()
    touching = asyncio.create_task(retained.touch())
    await until(lambda: "acquire" in governor.log)
    assert not touching.done(), "who acknowledges its event before that would lose it"
    wake.set()
    await touching
    assert retained.held
    retained.close()


@on_a_loop
async def test_registered_in_the_middle_of_an_attempt_it_does_not_believe_to_be_awake(
    governor: Small,
) -> None:
    is_down, wake = governor.stay_down()
    governor.ask()
    await is_down.wait()
    retained = RetainedWakeLease(governor, "button", LONG, optimistic=True)
    touching = asyncio.create_task(retained.touch())
    await until(lambda: "acquire" in governor.log)
    wake.set()
    await touching
    assert retained.held
    retained.close()


@on_a_loop
async def test_a_time_that_ends_while_its_lease_is_asked_for_leaves_none_behind(
    governor: Small,
) -> None:
    retained, hands = await touched(governor)
    real, gate = governor.acquire, asyncio.Event()

    async def slow(name: str) -> SmallLease:
        granted = await real(name)
        await gate.wait()
        return granted

    governor.acquire = slow  # type: ignore[method-assign]
    attempt = asyncio.create_task(governor.attempt())
    await until(lambda: "granted" in governor.log)
    hands.move(1.0)
    gate.set()
    await attempt
    assert (retained.held, governor.copies) == (False, {})
    retained.close()


@on_a_loop
async def test_who_is_called_no_more_covers_the_time_and_takes_leases_at_once(
    governor: Small, caplog: pytest.LogCaptureFixture
) -> None:
    retained, hands = await touched(governor)
    [listening] = governor.listeners.values()
    listening.close()  # it was evicted
    await until(lambda: retained.held)
    hands.move(1.0)
    governor.failing = OutOfSpace("no descriptor is left")
    with pytest.raises(OutOfSpace):
        # It listens again, and knows; but at_once is at once.
        await retained.touch(at_once=True)
    await retained.touch()
    [listening] = governor.listeners.values()
    with caplog.at_level(logging.WARNING, logger="holdfast.wake"):
        listening.close()
        await until(lambda: "no wake lease for button" in caplog.text)
    retained.close()


@on_a_loop
async def test_at_once_there_is_something_to_hand_on(governor: Small) -> None:
    retained, _ = await touched(governor)
    with pytest.raises(WakeError, match="no wake lease is held") as caught:
        retained.copy()
    assert "at_once" in str(caught.value.hint)
    await retained.touch(at_once=True)
    copy = retained.copy()
    retained.take().close()
    assert retained.remaining() == 0
    copy.close()
    retained.close()


@on_a_loop
async def test_what_is_deposited_is_kept_only_if_it_lasts_longer_than_the_time(
    governor: Small,
) -> None:
    retained, _ = await touched(governor)
    shorter, longer = SmallLease(governor, -1), SmallLease(governor, -2)
    retained.deposit(shorter, 0.5)
    assert (shorter.closed, retained.held) == (True, False)
    retained.deposit(longer, 2.0)
    assert (longer.closed, retained.held, retained.remaining()) == (False, True, 2.0)
    retained.close()


@pytest.mark.parametrize("waits_for", ["listen", "status"])
@on_a_loop
async def test_after_the_end_nobody_listens(
    waits_for: str, governor: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, gate = asyncio.Event(), asyncio.Event()
    real = getattr(governor, waits_for)

    async def slow(*given: Any, **named: Any) -> Any:
        asked.set()
        await gate.wait()
        return await real(*given, **named)

    monkeypatch.setattr(governor, waits_for, slow)
    retained = RetainedWakeLease(governor, "button", LONG, optimistic=True)
    touching = asyncio.create_task(retained.touch())
    await asked.wait()
    retained.close()
    gate.set()
    with pytest.raises(Closed):
        await touching
    assert (governor.listeners, governor.copies, retained.remaining()) == ({}, {}, 0.0)
    with pytest.raises(Closed):
        await retained.touch()


@pytest.mark.parametrize("optimistic", [True, False])
@on_a_loop
async def test_long_times_and_long_leases_are_counted(optimistic: bool, governor: Small) -> None:
    """With the optimistic one a long time need not be a long lease."""
    retained = RetainedWakeLease(governor, "button", 1.0, optimistic=optimistic, long=2.0)
    hands = Hands(retained)

    def counted() -> tuple[int, int]:
        return retained.requested_long, retained.held_long

    for _ in range(5):  # 5 times 0.5, and 1
        await retained.touch()
        hands.move(0.5)
    assert counted() == (1, 0 if optimistic else 1), "the one that still runs counts, too"
    hands.move(0.5)
    assert counted() == (1, 0 if optimistic else 1)
    await retained.touch()
    hands.move(1.0)
    assert counted() == (1, 0 if optimistic else 1), "a short one"
    for _ in range(5):
        await retained.touch(at_once=True)
        hands.move(0.5)
    retained.take().close()
    assert counted() == (2, 1 if optimistic else 2)
    retained.close()
    assert counted() == (2, 1 if optimistic else 2)


@on_a_loop
async def test_with_a_real_governor_it_costs_one_lease_for_a_suspend(place: Path) -> None:
    async with governing(place) as (service, governor):
        with RetainedWakeLease(governor, "button", LONG, optimistic=True) as retained:
            for _ in range(100):
                await retained.touch()
            assert (len(service.leases), retained.acquisitions) == (0, 0)
            asleep = asyncio.create_task(governor.suspend())
            await until(lambda: retained.held)
            assert (len(service.leases), retained.acquisitions) == (1, 1)
            assert (await governor.status()).wake_leases == ("button",)
            assert not asleep.done()
            await retained.touch(0.001, shorten=True)
            assert await asleep > 0
            assert (len(service.leases), retained.acquisitions, retained.held) == (0, 1, False)
        await governor.status()
        assert (await governor.status()).listeners == ()
