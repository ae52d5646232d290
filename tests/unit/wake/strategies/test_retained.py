"""A wake lease that outlives its event for a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from holdfast.errors import Closed, InvalidArgument, OutOfSpace, WakeError
from holdfast.wake.strategies.retained import RetainedWakeLease
from tests.unit.wake.strategies.small import Small, SmallLease, until
from tests.unit.wake.strategies.test_sequence_server import on_a_loop

LONG = 1000.0


class Hands:
    """A clock that the test moves, and a timer that it lets fire."""

    def __init__(self, retained: RetainedWakeLease) -> None:
        self.retained = retained
        self.ns = 0
        retained._now_ns = lambda: self.ns

    def move(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)
        self.retained._expire()


@pytest.fixture
def governor() -> Small:
    return Small()


@on_a_loop
async def test_events_share_a_lease_until_some_time_after_the_last(governor: Small) -> None:
    retained = RetainedWakeLease(governor, "button", 1.0)
    hands = Hands(retained)
    for _ in range(10):
        await retained.touch()
        hands.move(0.9)
        assert retained.held
    hands.move(0.09)
    assert retained.remaining() == pytest.approx(0.01)
    hands.move(0.01)
    assert not retained.held
    assert (retained.acquisitions, retained.touches) == (1, 10)
    assert governor.copies == {}
    assert retained.remaining() == 0


@on_a_loop
async def test_it_ends_by_itself(governor: Small) -> None:
    retained = RetainedWakeLease(governor, "button", 0.01)
    await retained.touch()
    await until(lambda: not retained.held)
    await governor.suspend()
    await retained.touch()
    assert retained.acquisitions == 2
    retained.close()


@on_a_loop
async def test_a_touch_never_makes_the_time_shorter_unless_it_is_told_to(governor: Small) -> None:
    retained = RetainedWakeLease(governor, "button", LONG)
    Hands(retained)
    await retained.touch()
    await retained.touch(1.0)
    assert retained.remaining() == LONG
    await retained.touch(1.0, shorten=True)
    assert retained.remaining() == 1.0
    await retained.touch(3.0)
    assert retained.remaining() == 3.0
    retained.close()


@on_a_loop
async def test_the_time_of_an_earlier_holding_is_over(governor: Small) -> None:
    retained = RetainedWakeLease(governor, "button", LONG)
    Hands(retained)
    await retained.touch()
    retained.take().close()
    await retained.touch(1.0)
    assert retained.remaining() == 1.0
    retained.close()


@on_a_loop
async def test_many_at_once_take_one_lease(governor: Small) -> None:
    retained = RetainedWakeLease(governor, "button", LONG)
    await asyncio.gather(*(retained.touch() for _ in range(50)))
    assert governor.acquired == 1
    retained.close()


@on_a_loop
async def test_a_failure_is_an_error_each_time_and_not_for_ever(governor: Small) -> None:
    retained = RetainedWakeLease(governor, "button", LONG)
    governor.failing = OutOfSpace("no descriptor is left")
    for _ in range(2):
        with pytest.raises(OutOfSpace):
            await retained.touch()
    governor.failing = None
    await retained.touch()
    assert retained.held
    retained.close()


@on_a_loop
async def test_what_is_held_can_be_taken_and_copied(governor: Small) -> None:
    retained = RetainedWakeLease(governor, "button", LONG)
    for use in (retained.take, retained.copy):
        with pytest.raises(WakeError):
            use()
    await retained.touch()
    copy = retained.copy()
    taken = retained.take()
    assert not retained.held
    assert sum(map(len, governor.copies.values())) == 2
    copy.close()
    taken.close()


@pytest.mark.parametrize(("retain", "replaces"), [(0.5, False), (2.0, True)])
@on_a_loop
async def test_of_two_that_are_deposited_the_one_that_lasts_longer_is_held(
    retain: float, replaces: bool, governor: Small
) -> None:
    retained = RetainedWakeLease(governor, "button", 1.0)
    Hands(retained)
    first, second = SmallLease(governor, -1), SmallLease(governor, -2)
    retained.deposit(first)
    assert retained.remaining() == 1.0
    retained.deposit(second, retain)
    assert (first.closed, second.closed) == (replaces, not replaces)
    assert retained.remaining() == (retain if replaces else 1.0)
    governor.copies.clear()
    retained._wake_lease = None
    retained.close()


@on_a_loop
async def test_after_the_end_nothing_is_held(governor: Small) -> None:
    retained = RetainedWakeLease(governor, "button", LONG)
    await retained.touch()
    retained.close()
    retained.close()
    assert governor.copies == {}
    with pytest.raises(Closed):
        await retained.touch()
    late = SmallLease(governor, -1)
    governor.copies[-1].append(late)  # so that closing it is no news for the machine
    with pytest.raises(Closed):
        retained.deposit(late)
    assert late.closed


@on_a_loop
async def test_a_lease_that_comes_after_the_end_is_closed(governor: Small) -> None:
    is_down, wake = governor.stay_down()
    governor.ask()
    await is_down.wait()
    retained = RetainedWakeLease(governor, "button", LONG)
    touching = asyncio.create_task(retained.touch())
    await until(lambda: "acquire" in governor.log)
    retained.close()
    wake.set()
    with pytest.raises(Closed):
        await touching
    assert governor.copies == {}


@pytest.mark.parametrize(("retain", "said"), [(0.5, False), (30.0, True)])
def test_a_long_time_is_said_to_be_long(
    retain: float, said: bool, governor: Small, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="holdfast.wake"):
        RetainedWakeLease(governor, "button", retain)
    assert ("keeps the machine up for 30 s" in caplog.text) == said


@pytest.mark.parametrize(
    "make",
    [
        lambda governor: RetainedWakeLease(governor, "", 1.0),
        lambda governor: RetainedWakeLease(governor, "button", 0),
        lambda governor: RetainedWakeLease(governor, "button", float("inf")),
    ],
)
def test_names_and_times_are_checked(make: Callable[[Small], object], governor: Small) -> None:
    with pytest.raises(InvalidArgument):
        make(governor)
