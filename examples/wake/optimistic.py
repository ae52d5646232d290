"""Optimistic lease management: no wake lease is taken before the machine suspends.

A hundred messages, and one wake lease: the head takes it when the governor asks, and the client
holds its copy until it has processed as many messages as the head had sent by then.
"""

from __future__ import annotations

import asyncio
import tempfile

from holdfast import wake


async def client(path: str) -> int:
    """Processes messages; knows nothing of suspends."""
    channel = await wake.MessageChannel.connect(path)
    batons = wake.SequenceClient(channel)
    running = batons.run()
    async for _ in channel.messages():
        await asyncio.sleep(0.001)  # the work
        batons.process_message()
    batons.end_of_messages()
    await running
    await channel.close()
    return batons.index


async def main() -> None:
    """A governor, a head and a client; they could be three processes."""
    with tempfile.TemporaryDirectory() as place:
        path = f"{place}/governor"
        async with (
            wake.Service(path, wake.Simulated(sleep=0.02)),
            wake.connect_async(path) as governor,
        ):
            server = wake.SequenceServer(governor)
            with wake.MessageSource(f"{place}/messages", server) as source:
                working = asyncio.create_task(client(source.path))
                await source.wait_clients()
                await server.ready()
                for number in range(100):
                    await source.send(b"message %d" % number)
                await governor.suspend()
                print("the machine was down;", server.machine.acquired, "wake lease was taken,")
                print("for", server.machine.saved, "messages that would have been stranded")
            print("processed:", await working)
            status = await governor.status()
            print("wake leases left:", status.wake_lease_count)


if __name__ == "__main__":
    asyncio.run(main())
