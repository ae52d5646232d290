"""What the members of a `Cluster` say to each other and to others, and what they are told."""

from __future__ import annotations

import asyncio
import gc
import socket
from typing import Any

import pytest

from holdfast.errors import (
    InvalidArgument,
    NotFound,
    NotPermitted,
    Unavailable,
    Unsupported,
)
from holdfast.membership import (
    Bincode,
    Cluster,
    ClusterEvent,
    MemberJoined,
    Missed,
    Node,
    look,
)
from holdfast.membership.cluster.udp import is_loopback, is_wildcard, outgoing, resolve
from holdfast.membership.stages import Stage
from tests.unit.membership.nodes import (
    ANY,
    PATIENCE_S,
    names,
    node,
    run,
    the_next,
    together,
    until,
)

# -- what is said and asked -----------------------------------------------------------------------


def test_events_reach_all_others() -> None:
    async def main() -> None:
        async with together(4) as nodes:
            readers = [one.changes() for one in nodes]
            nodes[1].broadcast("deploy", b"v7")
            for at in (0, 2, 3):
                event = await the_next(readers[at], ClusterEvent)
                assert (event.member.name, event.name, event.payload) == ("n1", "deploy", b"v7")

    run(main)


def test_a_reader_is_told_of_those_who_are_there_first() -> None:
    async def main() -> None:
        async with together(3) as (a, _, _):
            changes = a.changes()
            present = {(await the_next(changes, MemberJoined)).member.name for _ in range(2)}
            assert present == {"n1", "n2"}

    run(main)


def test_a_reader_that_is_forgotten_costs_nothing() -> None:
    async def main() -> None:
        async with node("a") as a:
            for _ in range(10):
                a.changes()
            gc.collect()
            assert len(a._readers) == 0

    run(main)


def test_a_slow_reader_hears_how_much_it_missed() -> None:
    async def main() -> None:
        async with node("a") as a:
            changes = a.changes()
            for _ in range(1030):
                changes.put(MemberJoined(a.members()[0]))
            assert await anext(changes) == Missed(6)
            a.close()
            assert len([change async for change in changes]) == 1024

    run(main)


def test_why_tells_the_history_of_a_member() -> None:
    async def main() -> None:
        async with together(2) as (a, b):
            address = b.address
            [account] = a.why("n1")
            assert account.address == a.why(address)[0].address == address
            assert account.state in ("alive", "suspect")
            assert account.heard_s is not None
            assert "has joined as n1" in str(account)
            await b.leave()
            await until(lambda: a.why("n1")[0].state == "down")
            assert "has left" in str(a.why("n1")[0])
            with pytest.raises(NotFound):
                a.why("nobody")

    run(main)


def test_a_look_shows_the_members_and_disturbs_nobody() -> None:
    async def main() -> None:
        async with together(3, tags={"about": "x" * 400}) as nodes:
            found = await asyncio.to_thread(look, nodes[1].address, timeout=PATIENCE_S)
            assert sorted(member.name for member in found) == ["n0", "n1", "n2"]
            assert [member.name for member in found if member.me] == ["n1"]
            assert all(member.tags for member in found)
            assert all(names(one) == ["n0", "n1", "n2"] for one in nodes)

    run(main)


def test_a_look_where_nobody_is_says_so() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        with pytest.raises(Unavailable, match="no answer"):
            look(f"127.0.0.1:{port}", timeout=0.1)
    with pytest.raises(Unavailable, match="nobody listens"):
        look(f"127.0.0.1:{port}", timeout=0.4)
    with pytest.raises(Unavailable):
        look("no-such-host.invalid:1", timeout=0.1)
    with pytest.raises(InvalidArgument):
        look("nowhere")


# -- the wire of the crate ------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [None, Bincode(Node)])
def test_on_the_wire_of_the_crate_members_have_addresses_only(codec: Any) -> None:
    async def main() -> None:
        async with (
            node("a", wire="foca", codec=codec) as a,
            node("b", a, wire="foca", codec=codec) as b,
        ):
            await until(lambda: names(b) == sorted(["b", a.address]))
            await until(lambda: names(a) == sorted(["a", b.address]))
            with pytest.raises(Unsupported):
                a.broadcast("x")

    run(main)


# -- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"join": "127.0.0.1:1"},
        {"wire": "http"},
        {"wire": "foca", "tags": {"a": "b"}},
        {"tags": {"a": 1}},
        {"tags": {"a": "b" * 600}},
        {"node_name": ""},
    ],
)
def test_arguments_without_a_meaning_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        Cluster(**({"node_name": "a", "bind": ANY} | wrong))


def test_sealing_is_not_there_yet() -> None:
    with pytest.raises(Unsupported):
        Cluster("a", bind=ANY, keys=object())


@pytest.mark.parametrize("wrong", ["127.0.0.1", "nowhere", "192.0.2.77:0", "127.0.0.1:x"])
def test_an_address_that_is_none_is_refused(wrong: str) -> None:
    async def main() -> None:
        with pytest.raises(InvalidArgument):
            await node("a", bind=wrong, unsealed=True).start()

    run(main)


def test_nothing_listens_beyond_loopback_unless_it_is_told_to() -> None:
    async def main() -> None:
        for bind in ("0.0.0.0:0", "[::]:0", "192.0.2.77:0"):
            with pytest.raises(NotPermitted):
                await node("a", bind=bind).start()
        async with (
            node("a", bind="0.0.0.0:0", unsealed=True, advertise="127.0.0.1:0") as a,
            node("b", a) as b,
        ):
            await until(lambda: names(a) == names(b) == ["a", "b"])
            with pytest.raises(InvalidArgument):
                await a.start()

    run(main)


def test_a_seed_that_is_no_address_leaves_no_socket_open() -> None:
    async def main() -> None:
        a = node("a")
        a._join = ("nowhere",)
        with pytest.raises(InvalidArgument):
            await a.start()
        assert a._stage is Stage.NEW

    run(main)


def test_where_a_wildcard_is_reached() -> None:
    assert is_wildcard("0.0.0.0")
    assert is_wildcard("::")
    assert not is_wildcard("127.0.0.1")
    assert is_loopback("127.8.8.8")
    assert outgoing("0.0.0.0", [("127.0.0.1", 9)]) == "127.0.0.1"


def test_names_are_looked_up_in_the_family_that_is_bound() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert ("127.0.0.1", 7) in await resolve(loop, "localhost:7", like="127.0.0.1")
        assert await resolve(loop, "no-such-host.invalid:7") == []
        assert await resolve(loop, "[::1]:7", like="127.0.0.1") == []

    run(main)
