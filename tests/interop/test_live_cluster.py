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
from tests.addresses import ANY_PORT
from tests.interop.building import PATIENCE_S
from tests.interop.driver import Driver
from tests.interop.loopback import LOOP_PATIENCE_S, Loopback, Theirs
from tests.interop.words import CODECS, Settings

pytestmark = pytest.mark.timeout(PATIENCE_S)

MS = 1_000_000
QUICK = replace(
    Config.local(),
    probe_period_ns=300 * MS,
    probe_rtt_ns=150 * MS,
    suspect_to_down_after_ns=800 * MS,
    notify_down_members=True,  # whoever stalls, and is taken for dead, comes back
    periodic_announce_to_down_members=Periodic(500 * MS, 2),
    periodic_gossip=Periodic(60 * MS, 3),
)
# However long anybody stalls, nobody is declared dead.
PATIENT = replace(QUICK, suspect_to_down_after_ns=600_000 * MS, notify_down_members=False)
Wire = Literal["holdfast", "foca"]


@pytest.fixture
def loop(foca_node: Path) -> Iterator[Loopback]:
    """Nothing of ours is in it but what the tests add."""
    with Loopback(foca_node, "postcard", Settings(PATIENT), frozenset[Repair]()) as made:
        yield made


async def until(loop: Loopback, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LOOP_PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it does not come true"
        loop.turn(0)
        await asyncio.sleep(0.005)


def members(cluster: Cluster) -> set[Node]:
    return {member.node for member in cluster.members()}


async def go_on(loop: Loopback, config: Config, ours: list[Cluster], *theirs: Theirs) -> None:
    """Give all of these other settings, and wait until they know each other and suspect nobody."""
    for one in ours:
        assert one._session is not None
        one._session.engine.set_config(config)
    for process in theirs:
        process.configure(Settings(config))

    def calm() -> bool:
        them = {process.identity for process in theirs}
        them |= {me.node for one in ours for me in one.members() if me.me}
        names = {str(identity) for identity in them}
        return all(
            members(one) == them and all(known.state == "alive" for known in one.members())
            for one in ours
        ) and all(
            {known.partition("/")[0] for known in process.state() if known.endswith("/a")}
            == names - {str(process.identity)}
            for process in theirs
        )

    await until(loop, calm)


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
        join = [f"{seed.identity.ip}:{seed.identity.port}"]
        options: dict[str, Any] = {"bind": ANY_PORT, "config": PATIENT, "wire": wire}
        async with (
            Cluster("one", join=join, **options) as one,
            Cluster("two", join=join, **options) as two,
        ):
            changes = one.changes()
            dying.join(seed.identity)
            await the_next(loop, changes, MemberJoined, dying.identity)
            await go_on(loop, QUICK, [one, two], seed, dying)
            if wire == "holdfast":
                one.broadcast("news", b"for those who have a word for it")

            dying.kill()
            await the_next(loop, changes, MemberFailed, dying.identity)
            await until(loop, lambda: f"down {dying.identity}" in seed.told)

            await go_on(loop, PATIENT, [one, two], seed)
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
