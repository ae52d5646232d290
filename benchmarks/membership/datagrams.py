"""What asyncio takes for a datagram of which nothing is made: the floor of every packet.

The clock is the thread's processor time.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import time

__all__ = ["NAME", "EmptyDatagram"]

NAME = "empty asyncio datagram"
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
    """Bursts that wait in the socket until the loop runs; sending them is not measured."""

    name = NAME
    text = "DatagramProtocol.datagram_received(data, address), which does nothing"

    def __init__(self, size: int, bursts: int) -> None:
        self._data = bytes(size)
        self._bursts = bursts

    def sample(self) -> float:
        return asyncio.run(self._sample())

    async def _sample(self) -> float:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(
            _Empty, local_addr=("127.0.0.1", 0)
        )
        address = transport.get_extra_info("sockname")
        took_ns = 0
        gc.collect()
        gc.disable()
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for _ in range(self._bursts):
                    protocol.left, protocol.done = _BURST, loop.create_future()
                    for _ in range(_BURST):
                        sender.sendto(self._data, address)
                    began_ns = time.thread_time_ns()
                    await asyncio.wait_for(protocol.done, _PATIENCE_S)
                    took_ns += time.thread_time_ns() - began_ns
        finally:
            gc.enable()
            transport.close()
        return took_ns / (_BURST * self._bursts)
