"""What the governor's service says of who holds what: real pipes, real processes, real messages."""

from __future__ import annotations

import array
import asyncio
import functools
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from holdfast import wake
from holdfast.errors import Unsupported
from holdfast.wake import looking
from holdfast.wake.holders import scan
from holdfast.wake.wire import Located
from tests.unit.wake.crowd import Crowd, crowd_of_a_test, line, until
from tests.unit.wake.governors import Rig, governing


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*given: Any, **named: Any) -> None:
        asyncio.run(test(*given, **named))

    return run


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    with crowd_of_a_test() as one:
        yield one


def only(leases: Sequence[Located]) -> Located:
    [one] = leases
    return one


@on_a_loop
async def test_who_asks_is_told_who_holds_it(place: Path) -> None:
    async with governing(place) as (_, governor):
        assert await governor.where() == []
        with await governor.acquire("upload") as wake_lease:
            one = only(await governor.where())
            assert (one.lease.name, one.lease.inode) == ("upload", wake_lease.inode)
            assert one.place == "held"
            [holder] = one.holders
            assert (holder.pid, holder.fds) == (os.getpid(), (wake_lease.fileno(),))
            assert (holder.state, holder.announced) == ("holding", True)
            [_, told] = (await governor.why()).splitlines()
            assert told.startswith('Wake lease "upload" was acquired ')
            assert told.endswith("which still holds it.")


@on_a_loop
async def test_a_child_that_inherited_it_is_a_leak_unless_it_was_meant_to(
    place: Path, crowd: Crowd
) -> None:
    async with governing(place) as (_, governor):
        with await governor.acquire("upload") as wake_lease:
            child = crowd.sleeper(wake_lease.fileno())
            inode = wake_lease.inode
        one = only(await governor.where())
        [holder] = one.holders
        assert (holder.pid, holder.state, holder.announced) == (child.pid, "leaked", False)
        assert holder.heir_of == os.getpid()
        assert (
            f"now held by pid {child.pid} (sleep), which never announced that it took it over: "
            f"probably leaked into a child of pid {os.getpid()}"
        ) in await governor.why()
        governor.hop("shared", inode)
        await governor.status()  # told by the same connection, so it is known by now
        [holder] = only(await governor.where()).holders
        assert (holder.state, holder.announced) == ("holding", True)
        assert "leaked" not in await governor.why()


@on_a_loop
async def test_a_child_that_was_given_it_by_its_environment_is_no_leak(
    place: Path, crowd: Crowd
) -> None:
    async with governing(place) as (service, governor):
        with await governor.acquire("upload") as wake_lease:
            assert wake.to_environment(wake_lease, service.path)
            child = crowd.sleeper(wake_lease.fileno())
        [holder] = only(await governor.where()).holders
        assert (holder.pid, holder.state, holder.heir_of) == (child.pid, "holding", os.getpid())


@on_a_loop
async def test_a_baton_is_announced_by_both(place: Path, crowd: Crowd) -> None:
    source = (
        "import socket, sys\n"
        "from holdfast import wake\n"
        "governor = wake.connect(sys.argv[1])\n"
        "sock = socket.socket(fileno=int(sys.argv[2]))\n"
        "data, lease = wake.receive(sock, governor=governor)\n"
        "print(data, flush=True)\n"
        "input()\n"
    )
    async with governing(place) as (service, governor):
        here, there = socket.socketpair()
        with here, there:
            child = crowd.program(source, service.path, str(there.fileno()), fds=(there.fileno(),))
            with await governor.acquire("upload") as wake_lease:
                await asyncio.to_thread(wake.send, here, b"event", wake_lease)
            assert await asyncio.to_thread(line, child) == "b'event'"
            one = only(await governor.where())
            [holder] = one.holders
            assert (holder.pid, holder.announced, holder.heir_of) == (child.pid, True, None)
            [hop] = one.hops
            assert (hop.sender, hop.receiver, hop.released_ns) == (os.getpid(), child.pid, None)
            assert hop.sent_ns is not None
            assert hop.received_ns is not None
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
            assert await asyncio.to_thread(until, lambda: not len(service.leases))


@on_a_loop
async def test_a_copy_in_an_unread_message_is_in_flight(place: Path) -> None:
    async with governing(place) as (_, governor):
        here, there = socket.socketpair()
        with here, there:
            with await governor.acquire("upload") as wake_lease:
                rights = array.array("i", [wake_lease.fileno()])
                here.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            one = only(await governor.where())
            assert (one.place, one.holders) == ("in flight", ())
            assert "message" in one.hiding
            assert "nobody was found to hold it now" in await governor.why()


@on_a_loop
async def test_what_is_not_granted_is_held_by_nobody(place: Path) -> None:
    rig = Rig()
    async with governing(place, rig) as (service, governor):
        asleep = asyncio.create_task(governor.suspend())
        assert await asyncio.to_thread(until, lambda: rig.entered)
        waiting = asyncio.create_task(governor.acquire("upload"))
        assert await asyncio.to_thread(until, lambda: len(service.leases))
        one = only(await governor.where())
        assert (one.place, one.holders, one.lease.granted_ns) == ("waiting", (), None)
        assert "asked for by" in await governor.why()
        rig.back()
        (await waiting).close()
        await asleep


@on_a_loop
async def test_whoever_asks_while_a_look_is_under_way_gets_the_next(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first has passed by already what the second wants to know of."""
    begun, go_on = threading.Event(), threading.Event()
    looks: list[list[int]] = []
    real = scan

    def slow(inodes: list[int], **more: Any) -> Any:
        looks.append(list(inodes))
        begun.set()
        assert go_on.wait(40)
        return real(inodes, **more)

    monkeypatch.setattr(looking, "scan", slow)
    async with governing(place) as (_, governor):
        early = asyncio.create_task(governor.where())
        assert await asyncio.to_thread(begun.wait, 40)
        with await governor.acquire("late") as late:
            told = [asyncio.create_task(ask()) for ask in (governor.where, governor.why)]
            await asyncio.sleep(0)  # they ask
            await governor.status()  # and what was asked before is with the service by now
            go_on.set()
            assert [one.place for one in await early] in ([], ["unknown"])
            one = only(await told[0])  # type: ignore[arg-type]
            assert [holder.pid for holder in one.holders] == [os.getpid()]
            assert "which still holds it" in str(await told[1])
            assert looks == [[], [late.inode]], "one more look was enough for both"


@on_a_loop
async def test_a_look_that_fails_is_an_answer_and_not_the_end(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(inodes: list[int], **more: Any) -> None:
        raise ZeroDivisionError("eyes")

    async with governing(place) as (_, governor):
        with monkeypatch.context() as patch:
            patch.setattr(looking, "scan", broken)
            with pytest.raises(Unsupported, match="ZeroDivisionError"):
                await governor.where()
        assert await governor.where() == []


@on_a_loop
async def test_a_lease_that_ends_while_we_look_is_not_told(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    real = scan

    def slow(inodes: list[int], **more: Any) -> Any:
        begun.set()
        assert go_on.wait(40)
        return real(inodes, **more)

    monkeypatch.setattr(looking, "scan", slow)
    async with governing(place) as (service, governor):
        with await governor.acquire("short"):
            asked = asyncio.create_task(governor.where())
            assert await asyncio.to_thread(begun.wait, 40)
        assert await asyncio.to_thread(until, lambda: not len(service.leases))
        go_on.set()
        assert await asked == []
