"""The head of a pipeline of newest values, as a process of its own.

It publishes each number that it reads, and writes it back when no suspend can strand it.

    python -m tests.unit.seams.state_head GOVERNOR STATES BATONS
"""

from __future__ import annotations

import asyncio
import sys

from holdfast.seams import StateSource
from holdfast.state import Namespace
from holdfast.wake import SequenceServer, connect_async
from tests.unit.seams.state_place import write


async def main(governor_path: str, states: str, batons: str) -> None:
    async with connect_async(governor_path) as governor:
        server = SequenceServer(governor)
        with (
            Namespace(states) as namespace,
            namespace.subscribe("values", "rw", size=8) as state,
            StateSource(state, server, batons) as source,
        ):
            print("ready", flush=True)
            while line := await asyncio.to_thread(sys.stdin.readline):
                await source.publish(write(int(line)))
                print(line, end="", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
