"""Baton passing: the wake lease travels with the event.

X takes a wake lease, acknowledges its interrupt, and sends event and wake lease to Y. From the
moment on that X closes its own copy, the machine stays up because of Y's.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile

from holdfast import wake


async def x(governor: wake.AsyncGovernor, to_y: socket.socket) -> None:
    """The one that gets the interrupt."""
    with await governor.acquire("button") as wake_lease:
        print("X holds a wake lease, and acknowledges the interrupt")
        await wake.send_async(to_y, b"pressed", wake_lease)
    print("X has let go")


async def y(governor: wake.AsyncGovernor, from_x: socket.socket) -> None:
    """The one that knows what the event means."""
    event, baton = await wake.receive_async(from_x, governor=governor)
    assert baton is not None
    with baton:
        await asyncio.sleep(0.05)
        status = await governor.status()
        print(f"Y works on {event.decode()!r} while {', '.join(status.wake_leases)} is held")
    print("Y has let go")


async def main() -> None:
    """Both in one process; they could be anywhere on this machine."""
    near, far = socket.socketpair()
    near.settimeout(0)
    far.settimeout(0)
    with tempfile.TemporaryDirectory() as place, near, far:
        path = f"{place}/governor"
        async with (
            wake.Service(path, wake.Simulated(sleep=0.02)),
            wake.connect_async(path) as governor,
        ):
            working = asyncio.create_task(y(governor, far))
            await x(governor, near)
            await governor.suspend()
            print("the machine was down, after Y was done:", working.done())
            await working


if __name__ == "__main__":
    asyncio.run(main())
