"""The simulated machine sleeps for its time, unless somebody wakes it."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.errors import InvalidArgument
from holdfast.wake.backends import Backend
from holdfast.wake.backends.simulated import Simulated
from holdfast.wake.model import Failed, Slept

LONG = 10_000.0


def test_it_is_a_back_end_that_works_everywhere() -> None:
    backend: Backend = Simulated()
    assert backend.name == "simulated"
    assert backend.available() is None


def test_it_wakes_by_itself_after_its_time() -> None:
    slept = asyncio.run(Simulated(sleep=0.02).suspend(1))
    assert isinstance(slept, Slept)
    assert slept.duration_ns >= 15_000_000
    assert slept.reason == "its timer"


def test_one_who_asks_for_a_lease_wakes_it() -> None:
    async def cycle() -> Slept | Failed:
        backend = Simulated(sleep=LONG)
        down = asyncio.ensure_future(backend.suspend(1))
        await asyncio.sleep(0)
        backend.wake(1)
        return await down

    slept = asyncio.run(cycle())
    assert isinstance(slept, Slept)
    assert "wake lease" in slept.reason


def test_it_can_be_woken_before_it_sleeps() -> None:
    """An acquire may come between the decision and the first step of `suspend`."""

    async def cycle() -> Slept | Failed:
        backend = Simulated(sleep=LONG)
        backend.wake(3)
        return await backend.suspend(3)

    assert isinstance(asyncio.run(cycle()), Slept)


def test_a_wake_of_another_attempt_does_not_wake_it() -> None:
    async def cycle() -> bool:
        backend = Simulated(sleep=LONG)
        backend.wake(1)
        down = asyncio.ensure_future(backend.suspend(2))
        await asyncio.sleep(0)
        backend.wake(1)
        for _ in range(10):
            await asyncio.sleep(0)
        asleep = not down.done()
        backend.wake(2)
        await down
        return asleep

    assert asyncio.run(cycle())


def test_closed_it_wakes_and_does_not_sleep_again() -> None:
    async def cycle() -> tuple[Slept | Failed, Slept | Failed]:
        backend = Simulated(sleep=LONG)
        down = asyncio.ensure_future(backend.suspend(1))
        await asyncio.sleep(0)
        await backend.close()
        await backend.close()
        return await down, await backend.suspend(2)

    first, second = asyncio.run(cycle())
    assert isinstance(first, Slept)
    assert isinstance(second, Failed)


@pytest.mark.parametrize("sleep", [0, -1, float("nan"), float("inf"), "1"])
def test_a_sleep_must_be_a_time(sleep: float) -> None:
    with pytest.raises(InvalidArgument):
        Simulated(sleep=sleep)
