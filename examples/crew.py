# crew.py
"""One of a crew works, and the others stand by: run it in several terminals, and kill who works."""

from __future__ import annotations

import asyncio
import sys

from holdfast import lease
from holdfast.errors import ClaimDenied, LeaseLost
from holdfast.membership import Cluster, MemberFailed, MemberJoined, MemberLeft

PORTS = {"ann": 7961, "bob": 7962, "cid": 7963}
TERM = 6  # seconds; whoever dies has the lease for as long as that, at most
LOOK = 60  # seconds from one look at the lease to the next, as long as nobody is gone


async def follow(cluster, gone):
    async for change in cluster.changes():
        match change:
            case MemberJoined(member):
                print(member.name, "is here", flush=True)
            case MemberLeft(member) | MemberFailed(member):
                print(member.name, "is gone", flush=True)
                gone.set()


async def stand_by(name, leases, gone, seconds):
    wait = 0
    while True:
        try:
            async with leases.hold("crew", duration=TERM, wait=wait) as held:
                return await work(name, held, seconds)
        except ClaimDenied:
            pass  # somebody else works
        except LeaseLost:
            print(name, "was away for too long, and works no more", flush=True)
        try:
            await asyncio.wait_for(gone.wait(), LOOK)
            wait = 2 * TERM  # a hint, and no more: if the lease is not free yet, wait until it is
        except TimeoutError:
            wait = 0
        gone.clear()


async def work(name, held, seconds):
    print(name, "works", flush=True)
    for _ in range(10 * seconds):
        held.check()  # raises LeaseLost; what must not happen twice is gated, or fenced
        await asyncio.sleep(0.1)
    print(name, "is done", flush=True)


async def main(name, seconds):
    gone = asyncio.Event()
    crew = [f"127.0.0.1:{port}" for port in PORTS.values()]
    async with (
        lease.open_async("local:") as leases,
        Cluster(name, bind=f"127.0.0.1:{PORTS[name]}", join=crew) as cluster,
    ):
        following = asyncio.create_task(follow(cluster, gone))
        await stand_by(name, leases, gone, seconds)
        following.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
