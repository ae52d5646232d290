"""A protocol interlock: Y has its own wake lease before X lets go of its.

Nothing but the acknowledgement passes from Y to X, so that a protocol which has one stays as it is.
"""

from __future__ import annotations

import asyncio
import tempfile
from functools import partial

from holdfast import wake

Queue = asyncio.Queue[str]


async def x(governor: wake.AsyncGovernor, events: Queue, answers: Queue) -> None:
    """The one that gets the interrupt."""
    interlock = wake.Interlock(governor, "X's")
    async with interlock.hand_over() as handing:
        print("1 X has a wake lease")
        print("2 X acknowledges the interrupt")
        print("3 X processes the event")
        print("4 X passes it to Y")
        await events.put("pressed")
        await handing.acknowledged(answers.get())
    print("7 X has dropped its wake lease")


async def y(governor: wake.AsyncGovernor, events: Queue, answers: Queue) -> None:
    """The one that knows what the event means."""
    await events.get()
    interlock = wake.Interlock(governor, "Y's")
    async with interlock.take_over(partial(acknowledge, answers)):
        await asyncio.sleep(0.05)
        print("8 Y processes the event")
    print("9 Y has dropped its wake lease")


async def acknowledge(answers: Queue) -> None:
    """Tell X, when the wake lease is held."""
    print("5 Y has a wake lease")
    print("6 Y acknowledges the event")
    await answers.put("taken")


async def main() -> None:
    """Both in one process; they could be anywhere on this machine."""
    with tempfile.TemporaryDirectory() as place:
        path = f"{place}/governor"
        async with (
            wake.Service(path, wake.Simulated(sleep=0.02)),
            wake.connect_async(path) as governor,
        ):
            events, answers = Queue(), Queue()
            async with asyncio.TaskGroup() as both:
                both.create_task(y(governor, events, answers))
                both.create_task(x(governor, events, answers))
            await governor.suspend()
            print("the machine was down")


if __name__ == "__main__":
    asyncio.run(main())
