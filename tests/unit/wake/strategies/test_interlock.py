"""The nine steps of an interlock, in their order."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.errors import OutOfSpace, WakeError
from holdfast.wake.strategies.interlock import Interlock
from tests.unit.wake.strategies.small import Small, SmallLease, until
from tests.unit.wake.strategies.test_sequence_server import on_a_loop


class Noting(Small):
    """Writes down who takes and drops."""

    def __init__(self, who: str, governor: Small | None = None) -> None:
        super().__init__()
        self.who = who
        self.steps: list[str] = [] if governor is None else governor.steps  # type: ignore[attr-defined]

    async def acquire(self, name: str) -> SmallLease:
        steps, who = self.steps, self.who
        lease = await super().acquire(name)
        steps.append(f"{who} takes")
        close = lease.close

        def noting() -> None:
            if not lease.closed:
                steps.append(f"{who} drops")
            close()

        lease.close = noting  # type: ignore[method-assign]
        return lease


@on_a_loop
async def test_the_nine_steps_come_in_the_order_of_the_seed() -> None:
    events: asyncio.Queue[str] = asyncio.Queue()
    answers: asyncio.Queue[str] = asyncio.Queue()
    for_x = Noting("X")
    for_y = Noting("Y", for_x)
    steps = for_x.steps

    async def x() -> None:
        async with Interlock(for_x, "touch").hand_over() as handing:
            steps.append("X acknowledges the interrupt")
            steps.append("X processes")
            steps.append("X passes the event")
            await events.put("event")
            assert await handing.acknowledged(answers.get()) == "taken"

    async def y() -> None:
        assert await events.get() == "event"

        async def acknowledge() -> None:
            steps.append("Y acknowledges the event")
            await answers.put("taken")
            await until(lambda: "X drops" in steps)

        async with Interlock(for_y, "touch").take_over(acknowledge):
            steps.append("Y processes")

    await asyncio.gather(x(), y())
    assert steps == [
        "X takes",
        "X acknowledges the interrupt",
        "X processes",
        "X passes the event",
        "Y takes",
        "Y acknowledges the event",
        "X drops",
        "Y processes",
        "Y drops",
    ]


@on_a_loop
async def test_x_may_not_drop_before_the_acknowledgement() -> None:
    governor = Small()
    with pytest.raises(WakeError, match="before the event was acknowledged"):
        async with Interlock(governor, "touch").hand_over():
            pass
    assert governor.copies == {}


@on_a_loop
async def test_while_y_has_not_answered_x_has_its_lease_and_may_ask_another() -> None:
    governor = Small()

    async def dies() -> None:
        raise ConnectionResetError

    async def answers() -> str:
        return "taken"

    async with Interlock(governor, "touch").hand_over() as handing:
        with pytest.raises(ConnectionResetError):
            await handing.acknowledged(dies())
        assert not handing.done
        assert len(governor.copies) == 1
        await handing.acknowledged(answers())


@on_a_loop
async def test_y_acknowledges_nothing_without_a_lease() -> None:
    governor = Small()
    governor.failing = OutOfSpace("no descriptor is left")
    said: list[str] = []

    async def acknowledge() -> None:
        said.append("taken")

    with pytest.raises(OutOfSpace):
        async with Interlock(governor, "touch").take_over(acknowledge):
            said.append("worked")
    assert said == []


@on_a_loop
async def test_a_failed_acknowledgement_leaves_nothing_behind() -> None:
    governor = Small()

    async def acknowledge() -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        async with Interlock(governor, "touch").take_over(acknowledge):
            raise AssertionError("nothing was taken over")
    assert governor.copies == {}


@on_a_loop
async def test_with_a_retention_many_events_share_a_lease() -> None:
    governor = Small()
    interlock = Interlock(governor, "touch", retain=1000.0)

    async def acknowledge() -> None:
        pass

    for _ in range(20):
        async with interlock.take_over(acknowledge):
            assert sum(map(len, governor.copies.values())) == 2
    assert governor.acquired == 1
    interlock.close()
    assert governor.copies == {}
