"""`Cluster` and processes of the crate, on the loopback interface."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from holdfast.membership import (
    Changes,
    Cluster,
    Config,
    Header,
    Member,
    MemberFailed,
    MemberJoined,
    Node,
    Periodic,
    Ping,
    Repair,
    State,
)
from tests.interop.building import PATIENCE_S
from tests.interop.driver import Driver
from tests.interop.loopback import LOOP_PATIENCE_S, Loopback
from tests.interop.words import CODECS, Settings

pytestmark = pytest.mark.timeout(PATIENCE_S)

MS = 1_000_000
QUICK = replace(
    Config.local(),
    probe_period_ns=300 * MS,
    probe_rtt_ns=150 * MS,
    suspect_to_down_after_ns=800 * MS,
    notify_down_members=False,
    periodic_gossip=Periodic(60 * MS, 3),
)
Wire = Literal["holdfast", "foca"]


@pytest.fixture
def loop(foca_node: Path) -> Iterator[Loopback]:
    """Nothing of ours is in it but what the tests add."""
    with Loopback(foca_node, "postcard", Settings(QUICK), frozenset[Repair]()) as made:
        yield made


async def until(loop: Loopback, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LOOP_PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it does not come true"
        loop.turn(0)
        await asyncio.sleep(0.005)


def members(cluster: Cluster) -> set[Node]:
    return {member.node for member in cluster.members()}


async def the_next(loop: Loopback, changes: Changes, kind: type[Any], whose: Node) -> None:
    """The change of that kind comes; the process of the crate goes on meanwhile."""

    async def read() -> None:
        async for change in changes:
            if isinstance(change, kind) and change.member.node == whose:
                return

    reader = asyncio.ensure_future(read())
    await until(loop, reader.done)
    await reader


@pytest.mark.parametrize("wire", ["foca", "holdfast"])
def test_a_cluster_of_both_kinds(loop: Loopback, wire: Wire) -> None:
    """On either wire the crate gets nothing that it has no word for: it would call it a fault."""

    async def play() -> None:
        seed, dying = loop.theirs(), loop.theirs()
        join = [f"127.0.0.1:{seed.identity.port}"]
        options: dict[str, Any] = {"bind": "127.0.0.1:0", "config": QUICK, "wire": wire}
        async with (
            Cluster("one", join=join, **options) as one,
            Cluster("two", join=join, **options) as two,
        ):
            changes = one.changes()
            dying.join(seed.identity)
            await the_next(loop, changes, MemberJoined, dying.identity)
            everybody = {dying.identity, seed.identity, *members(one), *members(two)}
            await until(loop, lambda: members(one) == members(two) == everybody)
            await until(loop, lambda: len(seed.active()) == 3)
            if wire == "holdfast":
                one.broadcast("news", b"for those who have a word for it")

            dying.kill()
            await the_next(loop, changes, MemberFailed, dying.identity)
            await until(loop, lambda: f"down {dying.identity}" in seed.told)

            [gone] = [member.node for member in two.members() if member.me]
            await two.leave()
            await until(loop, lambda: f"down {gone}" in seed.told)

            later = Node(seed.identity.ip, seed.identity.port, seed.identity.generation + 1)
            before = seed.identity
            seed.change(later)
            await until(loop, lambda: later in members(one) and before not in members(one))
            seed.leave()
            await the_next(loop, changes, MemberFailed, later)
        assert seed.faults == []

    asyncio.run(play())


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_an_introduction_is_nothing_to_the_crate(driver: Driver, codec: str) -> None:
    """Our members know each other by an update about the sender; the crate must not mind it."""
    made = CODECS[codec]
    own, peer = Node("127.0.0.1", 1, 1), Node("127.0.0.1", 2, 1)
    for incarnation in (0, 300):
        header = made.encode_header(Header(peer, incarnation, own, Ping(7)))
        itself = made.encode_member(Member(peer, incarnation, State.ALIVE))
        plain, introduced = driver.node(str(own), codec), driver.node(str(own), codec)
        for _ in range(2):  # at first sight, and when it is known
            expected = plain.hand(header + b"\x00\x00")
            assert introduced.hand(header + b"\x00\x01" + itself) == expected
