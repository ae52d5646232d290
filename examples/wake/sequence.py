"""The example of optimistic lease management that the seed describes, with its own numbers.

The client takes 100 ms for a message. The server sends one every 67 ms, later one every 200 ms, and
after the first suspend one every 500 ms. Somebody holds a wake lease at first and lets go of it at
a moment that nobody knows; from then on the machine suspends whenever it may. What happens is
printed in the words of the seed's diagram. A second here lasts a tenth of one.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable

from holdfast import wake

SECOND = 0.1
CLIENT_S = 0.1 * SECOND
FASTER_S = 0.1 / 1.5 * SECOND
SLOWER_S = 0.2 * SECOND
AFTER_SUSPEND_S = 0.5 * SECOND
Say = Callable[[str], object]
Callback = Callable[[], Awaitable[object]]


class Machine(wake.Simulated):
    """Counts what is stranded whenever it goes down."""

    def __init__(self) -> None:
        super().__init__(sleep=0.02)
        self.sent = 0
        self.processed = 0
        self.entries = 0
        self.stranded = 0

    async def suspend(self, attempt: int) -> wake.Slept | wake.Failed:
        """Go down."""
        self.entries += 1
        self.stranded += self.sent - self.processed
        return await super().suspend(attempt)


class Server:
    """Sends messages, fast, then slowly; none while the machine is going down."""

    def __init__(self, machine: Machine, governor: wake.AsyncGovernor, path: str, say: Say) -> None:
        self.machine = machine
        self.governor = governor
        self.say = say
        self.sequence = wake.SequenceServer(Spoken(governor, say))
        self.source = wake.MessageSource(path, self.sequence)
        self.awake = asyncio.Event()
        self.awake.set()
        self.suspended = False

    async def run(self, seconds: float) -> None:
        """Send for so long; the rate changes at half time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        listening = await self.governor.listen(self.suspending, self.resumed, name="server's own")
        while (now := loop.time() - began) < seconds * SECOND:
            await self.awake.wait()
            self.machine.sent += 1
            self.say(f"server->>client: SendMsg{{{self.machine.sent}}}")
            await self.source.send(b"%d" % self.machine.sent)
            if self.suspended:
                pause = AFTER_SUSPEND_S
            else:
                pause = FASTER_S if now < seconds * SECOND / 2 else SLOWER_S
            await asyncio.sleep(pause)
        listening.close()

    async def suspending(self) -> None:
        """Nothing is sent from here on."""
        self.awake.clear()

    async def resumed(self) -> None:
        """It goes on."""
        self.suspended = True
        self.awake.set()


class Spoken:
    """The governor, as the head of the pipeline sees it; each exchange is said aloud."""

    def __init__(self, governor: wake.AsyncGovernor, say: Say) -> None:
        self.governor = governor
        self.say = say
        self.status = governor.status

    async def acquire(self, name: str) -> wake.WakeLease:
        """Say that one is asked for, and that it has come."""
        self.say("server->>SAG: AcquireWakeLease")
        wake_lease = await self.governor.acquire(name)
        self.say("SAG->>server: wake lease")
        return wake_lease

    async def listen(
        self,
        before: Callback,
        after: Callback,
        *,
        name: str,
        on_sleep: Callable[[bool], object] | None = None,
    ) -> wake.Listener:
        """Say what the governor calls, and when it is answered."""

        async def before_suspend() -> None:
            self.say("SAG->>server: SuspendStarted")
            await before()
            self.say("server->>SAG: <ACK>{SuspendStarted}")

        async def after_resume() -> None:
            self.say("SAG->>server: Resume")
            await after()
            self.say("server->>SAG: <ACK>{Resume}")

        return await self.governor.listen(
            before_suspend, after_resume, name=name, on_sleep=on_sleep
        )


class Heard:
    """A channel; each baton that comes by it is said aloud."""

    def __init__(self, channel: wake.MessageChannel, say: Say) -> None:
        self.channel = channel
        self.say = say

    async def receive_baton(self, processed: int) -> wake.Baton | None:
        """Say which one it is."""
        baton = await self.channel.receive_baton(processed)
        if baton is not None:
            self.say(f"server->>client: SendBaton{{idx: {baton.index}}}")
        return baton


async def client(machine: Machine, path: str, say: Say) -> None:
    """Takes its time for each message, and knows nothing of suspends."""
    channel = await wake.MessageChannel.connect(path)
    batons = wake.SequenceClient(Heard(channel, say))
    running = batons.run()
    async for message in channel.messages():
        await asyncio.sleep(CLIENT_S)
        machine.processed += 1
        say(f"client->>client: processMsg{{{message.decode()}}}")
        baton = batons.process_message(keep=True)
        if baton is not None:
            baton.close()
            say("client->>client: dropBaton")
    batons.end_of_messages()
    await running
    await channel.close()


async def main(say: Say = print, seconds: float = 10.0) -> bool:
    """Run it; whether nothing was stranded."""
    machine = Machine()
    with tempfile.TemporaryDirectory() as place:
        governor_path, path = f"{place}/governor", f"{place}/messages"
        async with (
            wake.Service(governor_path, machine, config=wake.Config(auto=True)),
            wake.connect_async(governor_path) as governor,
        ):
            initial = await governor.acquire("initial")
            server = Server(machine, governor, path, say)
            working = asyncio.create_task(client(machine, path, say))
            await server.source.wait_clients()
            await server.sequence.ready()
            dropped_after = random.uniform(0.5, seconds) * SECOND
            asyncio.get_running_loop().call_later(dropped_after, initial.close)
            await server.run(seconds)
            initial.close()
            await governor.suspend()
            server.source.close()
            await working
    say(f"sent {machine.sent}, processed {machine.processed}")
    say(f"went down {machine.entries} times, stranded {machine.stranded} messages")
    return machine.stranded == 0


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main()) else 1)
