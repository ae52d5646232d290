"""`Cluster` with real sockets on loopback, several nodes in one process."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import time
from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from holdfast.clock import SystemClock
from holdfast.errors import (
    Closed,
    Unavailable,
)
from holdfast.membership import (
    Cluster,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberUpdated,
    look,
    talk,
)
from holdfast.membership.cluster import node as node_module
from holdfast.membership.cluster.node import BATCH
from holdfast.membership.cluster.udp import Udp
from tests.addresses import no_name_server
from tests.unit.membership.nodes import (
    ANY,
    MS,
    PATIENCE_S,
    QUICK,
    cut_of,
    names,
    node,
    run,
    stranger,
    the_next,
    together,
    until,
)

# -- coming and going -----------------------------------------------------------------------------


def test_nodes_find_each_other_with_names_and_tags() -> None:
    async def main() -> None:
        async with node("a", tags={"role": "db"}) as a, node("b", a) as b, node("c", a) as c:
            assert await b.wait_joined(PATIENCE_S)
            await until(lambda: names(a) == names(b) == names(c) == ["a", "b", "c"])
            by_name = {member.name: member for member in c.members()}
            assert by_name["a"].tags == {"role": "db"}
            assert by_name["a"].address == a.address
            assert [by_name[name].me for name in "abc"] == [False, False, True]
            assert c.members()[0].me

    run(main)


def ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    "bind",
    [
        pytest.param("[::1]:0", marks=pytest.mark.skipif(not ipv6(), reason="no IPv6 here")),
        "localhost:0",
    ],
)
def test_a_node_binds_to_what_it_is_told(bind: str) -> None:
    async def main() -> None:
        async with node("a", bind=bind) as a, node("b", a, bind=bind) as b:
            await until(lambda: names(a) == names(b) == ["a", "b"])
            found = await asyncio.to_thread(look, a.address, timeout=PATIENCE_S)
            assert [one.name for one in found if one.me] == ["a"]

    run(main)


def test_a_node_that_is_silent_has_failed_and_one_that_says_so_has_left() -> None:
    async def main() -> None:
        async with together(4) as (a, b, c, d):
            changes = a.changes()
            b.close()
            failed = await the_next(changes, MemberFailed)
            assert (failed.member.name, failed.member.state) == ("n1", "failed")
            await c.leave()
            left = await the_next(changes, MemberLeft)
            assert (left.member.name, left.member.state) == ("n2", "left")
            await until(lambda: names(a) == names(d) == ["n0", "n3"])

    run(main)


def test_a_node_that_comes_back_has_a_higher_generation() -> None:
    async def main() -> None:
        async with together(3) as (a, b, c):
            address, before = b.address, b.members()[0].node
            changes = a.changes()
            b.close()
            async with node("n1", c, bind=address, tags={"life": "2"}) as again:
                after = again.members()[0].node
                assert after.win_addr_conflict(before)
                updated = await the_next(changes, MemberUpdated)
                while updated.member.tags != {"life": "2"}:
                    updated = await the_next(changes, MemberUpdated)
                assert updated.member.node == after
                await until(lambda: names(a) == names(c) == ["n0", "n1", "n2"])

    run(main)


def test_leaving_ends_the_changes_and_frees_the_port() -> None:
    async def main() -> None:
        a = node("a")
        async with a:
            address = a.address
            changes = a.changes()
            reading = asyncio.ensure_future(anext(changes, None))
            await asyncio.sleep(0)
        assert await reading is None
        assert a.closed
        await a.leave()
        a.close()
        async with node("b", bind=address) as b:
            assert b.address == address
        for call in (a.members, a.changes, lambda: a.address, lambda: a.why("a")):
            with pytest.raises(Closed):
                call()
        with pytest.raises(Closed):
            await a.start()
        with pytest.raises(Closed):
            await a.wait_joined(0)

    run(main)


def test_a_block_that_is_cancelled_leaves_in_good_order() -> None:
    async def main() -> None:
        async with node("a") as a:
            changes = a.changes()

            async def life() -> None:
                async with node("b", a):
                    await asyncio.sleep(1000)

            task = asyncio.ensure_future(life())
            await the_next(changes, MemberJoined)
            task.cancel()
            assert (await the_next(changes, MemberLeft)).member.name == "b"
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main)


def test_leaving_that_is_cancelled_closes_all_the_same() -> None:
    async def main() -> None:
        async with together(2) as (_, b):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await b.leave(linger=1000)
            assert b.closed

    run(main)


def test_what_falls_due_sooner_is_not_late_for_what_was_there_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody looks at the clocks meanwhile, and who has no seeds calls none."""
    monkeypatch.setattr(node_module, "LOOK_S", 1000.0)

    async def main() -> None:
        seldom = replace(
            QUICK,
            probe_period_ns=1000 * 1000 * MS,
            periodic_gossip=None,
            periodic_announce=None,
            periodic_announce_to_down_members=None,
        )
        async with together(2, config=seldom) as (a, _):
            now = asyncio.get_running_loop().time
            await until(lambda: a._timer is not None and a._timer.when() > now() + 100)
            async with asyncio.timeout(PATIENCE_S):
                await a.leave()

    run(main)


def test_nobody_comes_and_the_wait_is_over() -> None:
    async def main() -> None:
        async with Cluster("a", bind=ANY, join=["127.0.0.1:9"], config=QUICK) as a:
            assert not await a.wait_joined(0.05)
            assert not await a.wait_joined(0)

    run(main)


# -- partitions and lateness ----------------------------------------------------------------------


def test_two_nodes_that_were_cut_apart_are_one_cluster_again() -> None:
    async def main() -> None:
        async with together(2) as (a, b):
            cuts = [cut_of(a), cut_of(b)]
            for cut in cuts:
                cut.on = True
            await until(lambda: names(a) == ["n0"] and names(b) == ["n1"])
            for cut in cuts:
                cut.on = False
            await until(lambda: names(a) == names(b) == ["n0", "n1"])
            await until(lambda: a.joined and b.joined)

    run(main)


class Sleeper(SystemClock):
    """A clock whose machine has slept for so long."""

    slept_ns = 0

    def boottime_ns(self) -> int:
        return super().boottime_ns() + self.slept_ns


def test_a_machine_that_has_slept_accuses_nobody() -> None:
    async def main() -> None:
        async with together(3) as (a, b, c):
            clock = Sleeper()
            a._clock = clock
            changes = a.changes()
            for sleeps in range(1, 4):
                clock.slept_ns += 3600 * 1000 * MS
                await until(lambda sleeps=sleeps: a.counts.get("resumed") == sleeps)  # type: ignore[misc]
                await asyncio.sleep(0.7)
            await until(lambda: names(a) == names(b) == names(c) == ["n0", "n1", "n2"])
            assert a.counts["resumed"] == 3
            seen = []
            while (change := changes._reader.take()) is not None:
                seen.append(change)
            assert not [change for change in seen if isinstance(change, MemberFailed)]

    run(main)


def test_what_has_come_is_read_before_a_timer_fires(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with together(2) as (a, _):
            order: list[str] = []
            session = a._session
            assert session is not None
            assert a._loop is not None
            a._loop.remove_reader(a._udp.fileno())  # type: ignore[union-attr]
            handle_data, handle_timers = session.handle_data, session.handle_timers

            def data(given: bytes, source: tuple[str, int], now_ns: int) -> None:
                order.append("data")
                handle_data(given, source, now_ns)

            def timers(now_ns: int) -> None:
                order.append("timers")
                handle_timers(now_ns)

            monkeypatch.setattr(session, "handle_data", data)
            monkeypatch.setattr(session, "handle_timers", timers)
            with stranger(a) as out:
                out.send(b"there")
                assert select.select([a._udp], [], [], PATIENCE_S)[0]
                a._ring()
            assert order[0] == "data"
            assert "timers" in order

    run(main)


# -- what strangers send --------------------------------------------------------------------------


def test_garbage_is_counted_and_nothing_else() -> None:
    async def main() -> None:
        async with together(2) as (a, b):
            rng = Random(3)
            with stranger(a) as out:
                for length in (0, 1, 2, 3, 10, 50, 500, 1400):
                    out.send(rng.randbytes(length))
                out.send(b"\0" * 60)
                out.send(b"x" * 5000)
                out.send(talk.QUESTION + b"\xff")
            await until(
                lambda: a.counts.get("malformed_packet", 0) + a.counts.get("data_too_big", 0) == 10
            )
            await asyncio.sleep(2 * QUICK.probe_period_ns / 1e9)
            assert names(a) == names(b) == ["n0", "n1"]

    run(main)


def test_a_flood_starves_neither_the_loop_nor_the_member() -> None:
    """Amid it the loop has its turns, and the two go on to ask and to answer each other."""
    # Where the buffer is full the kernel drops questions, too: suspected is not dead.
    patient = replace(QUICK, suspect_to_down_after_ns=60_000 * MS)

    async def main() -> None:
        async with together(2, config=patient) as (a, b):
            changes = b.changes()
            turns = 0

            def good() -> tuple[int, int]:
                """What a has understood, and what b has, who hears from nobody else."""
                ours, theirs = Counter(a.counts), Counter(b.counts)
                return ours["received"] - ours["malformed_packet"], theirs["received"]

            before = good()
            end = time.monotonic() + PATIENCE_S
            with stranger(a) as out:
                while (
                    turns <= 10
                    or a.counts.get("malformed_packet", 0) <= 1000
                    or any(now < then + 8 for now, then in zip(good(), before, strict=True))
                ):
                    assert time.monotonic() < end, "it has been starved"
                    for _ in range(2 * BATCH):
                        out.send(b"\x48" * 100)
                    await asyncio.sleep(0)
                    turns += 1
            assert names(b) == ["n0", "n1"]
            while (change := changes._reader.take()) is not None:
                assert not isinstance(change, MemberFailed), change

    run(main)


def test_a_batch_ends_though_there_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with node("a") as a:
            assert a._udp is not None
            monkeypatch.setattr(a._udp, "receive", lambda: (b"?", ("127.0.0.1", 9)))
            a._read()
            assert a.counts["received"] == BATCH

    run(main)


# -- errors of the socket -------------------------------------------------------------------------


def test_what_the_system_refuses_is_counted() -> None:
    counts: Counter[str] = Counter()
    udp = Udp(("127.0.0.1", 0), counts)
    udp.send(b"x" * 70_000, ("127.0.0.1", 9))
    udp.send(b"x", ("240.0.0.1", 9))
    udp.send(b"x", ("127.0.0.1", 70_000))
    udp.send(b"x", ("127.0.0.1", 0))
    assert counts["send_EMSGSIZE"] == 1
    assert counts["send_EINVAL"] >= 2
    assert sum(counts.values()) == 4
    assert udp.receive() is None
    udp.close()
    udp.close()
    udp.send(b"x", ("127.0.0.1", 9))
    assert udp.receive() is None
    assert counts["send_EBADF"] == counts["receive_EBADF"] == 1


def test_a_port_that_is_taken_is_unavailable() -> None:
    async def main() -> None:
        async with node("a") as a:
            with pytest.raises(Unavailable):
                await node("b", bind=a.address).start()

    run(main)


def test_a_node_calls_whom_it_cannot_reach_and_survives() -> None:
    async def main() -> None:
        seeds = ["127.0.0.1:9", "240.0.0.1:9", "127.0.0.1:0", "no-such-host.invalid:9"]
        async with Cluster("a", bind=ANY, join=seeds, config=QUICK) as a:
            await until(lambda: a.counts.get("calls", 0) > 6 and a.counts.get("unresolved", 0) > 0)
            assert not a.joined

    with no_name_server():
        run(main)
