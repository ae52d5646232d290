"""`Cluster` on a machine that sleeps, with real sockets on loopback."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.clock import SystemClock
from holdfast.errors import Closed, InvalidArgument
from holdfast.membership import Changes, Cluster, MemberFailed
from holdfast.membership.cluster import node as node_module
from tests.unit.membership.nodes import (
    ANY,
    MS,
    PATIENCE_S,
    Cut,
    cut_of,
    names,
    node,
    run,
    the_next,
    together,
    until,
)


class Sleeper(SystemClock):
    """A clock whose machine has slept for so long."""

    slept_ns = 0

    def boottime_ns(self) -> int:
        return super().boottime_ns() + self.slept_ns


class Laptop:
    """The machine of a node: while it sleeps nothing of it runs, and what is sent to it is lost."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.cut: Cut = cut_of(cluster)
        self.clock = Sleeper()
        cluster._clock = self.clock

    def sleeps(self) -> None:
        self.cut.on = True
        assert self.cluster._loop is not None
        self.cluster._loop.remove_reader(self.cut.fileno())
        if self.cluster._timer is not None:
            self.cluster._timer.cancel()
            self.cluster._timer = None

    def wakes(self) -> None:
        self.cut.receive()  # all of it, and away with it
        self.cut.on = False
        self.clock.slept_ns += 3600 * 1000 * MS
        assert self.cluster._loop is not None
        self.cluster._loop.add_reader(self.cut.fileno(), self.cluster._readable)
        self.cluster._carry_out()  # the timer that had stood still


def failures(changes: Changes) -> list[str]:
    seen = []
    while (change := changes._reader.take()) is not None:
        if isinstance(change, MemberFailed):
            seen.append(change.member.name)
    return seen


async def kin(nodes: list[Cluster]) -> None:
    """Each knows that all others understand what it has to say."""
    engines = [one._session.engine for one in nodes if one._session is not None]
    await until(lambda: all(len(engine._local.kin) == len(nodes) - 1 for engine in engines))


def test_of_two_that_sleep_the_one_that_has_said_so_is_not_missed() -> None:
    async def main() -> None:
        async with together(4) as nodes:
            a, b, c, _ = nodes
            await kin(nodes)
            life = b.members()[0].node
            said, unsaid = Laptop(b), Laptop(c)
            changes, all_changes = a.changes(), a.changes()
            assert await b.prepare_sleep()
            assert b._session is not None
            assert not b._session.telling
            said.sleeps()
            unsaid.sleeps()
            assert (await the_next(changes, MemberFailed)).member.name == "n2"
            assert names(a) == ["n0", "n1", "n3"]
            said.wakes()
            unsaid.wakes()
            await b.resumed()
            await until(lambda: all(names(one) == ["n0", "n1", "n2", "n3"] for one in nodes))
            assert b.members()[0].node == life, "nobody had declared it down"
            assert failures(all_changes) == ["n2"]

    run(main)


def test_a_sleep_that_was_said_is_over_though_nobody_says_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("holdfast.membership.rest.LOOK_NS", 50 * MS)

    async def main() -> None:
        async with together(3) as nodes:
            b = nodes[1]
            await kin(nodes)
            laptop = Laptop(b)
            assert await b.prepare_sleep(at_most=3600, linger=0)
            laptop.sleeps()
            sent = b.counts["sent"]
            laptop.wakes()
            await until(lambda: b.counts.get("resumed") == 1)
            await until(lambda: b.counts["sent"] > sent)
            await until(lambda: all(names(one) == ["n0", "n1", "n2"] for one in nodes))

    run(main)


def test_a_sleep_of_which_nobody_says_anything_is_found_and_told() -> None:
    async def main() -> None:
        async with together(3) as nodes:
            b = nodes[1]
            await kin(nodes)
            laptop = Laptop(b)
            laptop.wakes()
            await until(lambda: b.counts.get("resumed") == 1)

            def told(cluster: Cluster) -> bool:
                [known] = [one for one in cluster.members() if one.name == "n1"]
                return known.incarnation > 0

            await until(lambda: told(nodes[0]) and told(nodes[2]))

    run(main)


def test_whoever_is_alone_tells_nobody_and_goes_on() -> None:
    async def main() -> None:
        async with node("a") as a:
            assert not await a.prepare_sleep()
            await a.resumed()
            assert a.counts["resumed"] == 1
            with pytest.raises(InvalidArgument):
                await a.prepare_sleep(0)
        for call in (a.prepare_sleep, a.resumed):
            with pytest.raises(Closed):
                await call()

    run(main)


def test_preparing_ends_with_the_node() -> None:
    async def main() -> None:
        async with together(2) as nodes:
            await kin(nodes)
            preparing = asyncio.ensure_future(nodes[1].prepare_sleep(linger=1000))
            await asyncio.sleep(0)
            nodes[1].close()
            async with asyncio.timeout(PATIENCE_S):
                assert await preparing

    run(main)


def test_the_loop_wakes_often_enough_to_see_that_the_clocks_have_parted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next thing that is due is far away, and the loop's timers slept with the machine."""
    monkeypatch.setattr(node_module, "LOOK_S", 0.05)

    async def main() -> None:
        async with Cluster("a", bind=ANY, join=["127.0.0.1:9"]) as a:
            session = a._session
            assert session is not None
            session._seeds._calls = 16
            await until(lambda: (session.next_due() or 0) - a._clock.boottime_ns() > 10_000 * MS)
            laptop = Laptop(a)
            laptop.clock.slept_ns = 1000 * MS
            await until(lambda: a.counts.get("resumed") == 1)

    run(main)
