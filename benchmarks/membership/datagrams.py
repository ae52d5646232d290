"""What asyncio takes for a datagram of which nothing is made: the floor of every packet.

The clock is the thread's processor time. Each sample is taken in a process of its own: asyncio
receives into a new block of 256 KiB each time, which glibc maps and unmaps, two thirds of the
figure, until the process has freed a larger block once. `warm` is a process that has.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
import time

__all__ = ["NAME", "WARM", "EmptyDatagram"]

NAME = "empty asyncio datagram"
WARM = "the same, warm heap"
_LARGE = 1 << 24
_BURST = 50  # fits into a receive buffer of the usual size
_PATIENCE_S = 10.0


class _Empty(asyncio.DatagramProtocol):
    """Counts, and does nothing else."""

    def __init__(self) -> None:
        self.left = 0
        self.done: asyncio.Future[None]

    def datagram_received(self, _: bytes, __: object) -> None:
        self.left -= 1
        if not self.left:
            self.done.set_result(None)


class EmptyDatagram:
    """Bursts that wait in the socket until the loop runs; sending them is not measured.

    Args:
        size: Of a datagram, in bytes.
        bursts: How many, in one sample.
        warm: See above.
    """

    text = "DatagramProtocol.datagram_received(data, address), which does nothing"

    def __init__(self, size: int, bursts: int, *, warm: bool = False) -> None:
        self.name = WARM if warm else NAME
        self._words = [str(size), str(bursts), str(int(warm))]

    def sample(self) -> float:
        command = [sys.executable, __file__, *self._words]
        done = subprocess.run(command, check=True, capture_output=True, timeout=60)
        return float(done.stdout)


async def _sample(size: int, bursts: int) -> float:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(_Empty, local_addr=("127.0.0.1", 0))
    address = transport.get_extra_info("sockname")
    data = bytes(size)
    took_ns = 0
    gc.disable()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(bursts):
            protocol.left, protocol.done = _BURST, loop.create_future()
            for _ in range(_BURST):
                sender.sendto(data, address)
            began_ns = time.thread_time_ns()
            await asyncio.wait_for(protocol.done, _PATIENCE_S)
            took_ns += time.thread_time_ns() - began_ns
    transport.close()
    return took_ns / (_BURST * bursts)


if __name__ == "__main__":
    _size, _bursts, _warm = map(int, sys.argv[1:])
    if _warm:
        bytes(_LARGE)
    sys.stdout.write(f"{asyncio.run(_sample(_size, _bursts))}\n")
