"""What the members of a `Cluster` say to each other and to others, and what they are told."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Callable
from typing import Any, Self

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
    ClusterMember,
    MemberJoined,
    Missed,
    Node,
    look,
    talk,
)
from holdfast.membership.cluster import question
from holdfast.membership.cluster.udp import is_loopback, is_wildcard, outgoing, resolve
from holdfast.membership.stages import Stage
from tests.addresses import OWN, no_name_server
from tests.played_time import PlayedTime
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


def test_a_look_where_nobody_is_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((OWN, 0))
        address = f"{OWN}:{silent.getsockname()[1]}"
        with pytest.raises(Unavailable, match="no answer"):
            look(address, timeout=0.1)
        # The port stays ours, and what comes from anybody else is refused.
        silent.connect((OWN, 9))
        monkeypatch.setattr(question, "time", PlayedTime())
        with pytest.raises(Unavailable, match="nobody listens"):
            look(address, timeout=0.4)
    with pytest.raises(Unavailable), no_name_server():
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

    with no_name_server():
        run(main)


class Liar(threading.Thread):
    """Answers one question after the other with what it is told to."""

    def __init__(self, answers: Callable[[talk.Look], list[bytes]]) -> None:
        super().__init__(daemon=True)
        self._answers = answers
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def run(self) -> None:
        while True:
            data, source = self._socket.recvfrom(1 << 16)
            if not data:
                break
            for answer in self._answers(talk.read_question(data)):
                self._socket.sendto(answer, source)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        host, _colon, port = self.address.rpartition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.sendto(b"", (host, int(port)))
        self.join(PATIENCE_S)
        self._socket.close()


def page(nonce: int, name: str) -> bytes:
    member = ClusterMember(name, "127.0.0.1:7", Node("127.0.0.1", 7))
    return talk.page(talk.Look(nonce, "", b""), [member], 1000)


def test_an_answer_to_another_question_is_not_taken() -> None:
    def answers(asked: talk.Look) -> list[bytes]:
        return [page(asked.nonce ^ 1, "liar"), b"garbage", page(asked.nonce, "honest")]

    with Liar(answers) as liar:
        assert [member.name for member in look(liar.address, timeout=PATIENCE_S)] == ["honest"]


def test_a_list_that_does_not_end_is_not_followed() -> None:
    def answers(asked: talk.Look) -> list[bytes]:
        return [page(asked.nonce, "again").removesuffix(b"\xc2") + b"\xc3"]

    with Liar(answers) as liar, pytest.raises(Unavailable, match="no sense"):
        look(liar.address, timeout=PATIENCE_S)


def test_a_question_that_is_lost_is_asked_again() -> None:
    asked: list[int] = []

    def answers(look_: talk.Look) -> list[bytes]:
        asked.append(look_.nonce)
        return [page(look_.nonce, "late")] if len(asked) > 1 else []

    with Liar(answers) as liar:
        assert len(look(liar.address, timeout=PATIENCE_S)) == 1
    assert len(asked) >= 2  # more often where the answer is late
    assert len(set(asked)) == 1
