"""A time-out: X holds its wake lease for a while after the last event, and hopes.

The last resort: Y never sees the wake lease, and nobody knows whether Y was done in time. It is
right only for a Y that can take no part; choose the time carefully, and short.
"""

from __future__ import annotations

import asyncio
import tempfile

from holdfast import wake
from holdfast.errors import SuspendAborted


async def main() -> None:
    """Five presses of a button, each within the time of the one before."""
    with tempfile.TemporaryDirectory() as place:
        path = f"{place}/governor"
        async with (
            wake.Service(path, wake.Simulated(sleep=0.02)),
            wake.connect_async(path) as governor,
        ):
            with wake.RetainedWakeLease(governor, "button", retain=30.0) as retained:
                for _ in range(5):
                    await retained.touch()  # it is held now: acknowledge the interrupt
                    await asyncio.sleep(0.01)
                print(f"{retained.touches} events, {retained.acquisitions} wake lease")
                try:
                    await governor.suspend(timeout=0.1)
                except SuspendAborted as error:
                    print("the machine stays up for", ", ".join(error.blockers))
                await retained.touch(0.05, shorten=True)  # one could not wait for that
                await governor.suspend()
                print("the machine was down, and still holds:", retained.held)


if __name__ == "__main__":
    asyncio.run(main())
