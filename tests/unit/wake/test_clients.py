"""What programs have in their hands: clients, wake leases, and what they inherit."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from holdfast.errors import (
    AlreadyExists,
    Closed,
    GovernorGone,
    InvalidArgument,
    NotFound,
    NotPermitted,
    SuspendAborted,
    Unavailable,
)
from holdfast.wake import (
    Governor,
    Service,
    Simulated,
    WakeLease,
    connect,
    connect_async,
    from_environment,
    socket_path,
    to_environment,
)
from holdfast.wake.token import Token
from tests.unit.ipc.places import PATIENCE_S, answer_of, descriptors_open, in_a_child, until_now
from tests.unit.wake.governors import GovernorThread, governing


@pytest.fixture
def thread(place: Path) -> Iterator[GovernorThread]:
    with GovernorThread(place) as thread:
        yield thread


@pytest.fixture
def governor(thread: GovernorThread) -> Iterator[Governor]:
    with connect(thread.path) as governor:
        yield governor


def released(governor: Governor) -> None:
    until_now(lambda: governor.status().wake_lease_count == 0, "the release")


def test_a_program_that_blocks_can_do_it_all(governor: Governor) -> None:
    with governor.acquire("upload") as wake_lease:
        assert governor.status().wake_leases == ("upload",)
        assert [lease.inode for lease in governor.leases()] == [wake_lease.inode]
        assert "upload" in governor.why()
        with pytest.raises(SuspendAborted) as caught:
            governor.suspend(timeout=0.01)
        assert caught.value.blockers == ("upload",)
    released(governor)
    assert governor.suspend() > 0
    status = governor.status()
    assert (status.state, status.suspends) == ("awake", 1)
    events = governor.watch(since=0)
    assert next(events).number == 0
    assert [next(events).number for _ in range(3)] == [1, 2, 3]
    events.close()  # type: ignore[attr-defined]
    with pytest.raises(InvalidArgument):
        governor.acquire("")
    with pytest.raises(InvalidArgument):
        governor.suspend(timeout=-1)


def test_a_suspend_in_one_thread_waits_for_a_lease_of_another(governor: Governor) -> None:
    with ThreadPoolExecutor() as threads:
        wake_lease = governor.acquire("upload")
        suspend = threads.submit(governor.suspend)
        until_now(lambda: governor.status().requests == 1)
        with governor.acquire("while it waits"):
            assert not suspend.done()
        wake_lease.close()
        assert suspend.result(PATIENCE_S) > 0


def test_the_governor_that_has_gone_is_said_once_and_then_a_new_one_is_found(place: Path) -> None:
    with GovernorThread(place) as first:
        governor = connect(first.path)
        wake_lease = governor.acquire("upload")
    with GovernorThread(place):
        with pytest.raises(GovernorGone):
            governor.status()
        assert governor.status().wake_lease_count == 0
        assert wake_lease.orphaned
    wake_lease.close()
    governor.close()
    with pytest.raises(Closed):
        governor.status()


def test_coroutines_find_a_new_governor_as_well(place: Path) -> None:
    async def main() -> None:
        path = str(place / "g")
        async with Service(path, Simulated(0.01)):
            governor = await connect_async(path)
        with pytest.raises((GovernorGone, Unavailable)):
            await governor.status()
        async with Service(path, Simulated(0.01)):
            assert (await governor.status()).state == "awake"
            await governor.close()
        with pytest.raises(Closed):
            await governor.status()

    asyncio.run(main())


def test_nobody_there_is_said_by_both(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with pytest.raises(NotFound, match="no governor"):
            await connect_async(place / "g")

    asyncio.run(main())
    with pytest.raises(NotFound, match="no governor"):
        connect(place / "g")
    monkeypatch.setenv("HOLDFAST_WAKE_SOCKET", str(place / "elsewhere"))
    with pytest.raises(NotFound, match="elsewhere"):
        connect()
    monkeypatch.delenv("HOLDFAST_WAKE_SOCKET")
    monkeypatch.setenv("HOLDFAST_RUN_DIR", str(place))
    assert socket_path() == str(place / "wake.sock")


# -- who may connect ------------------------------------------------------------------------------


def test_the_socket_is_its_owners(thread: GovernorThread) -> None:
    assert stat.S_IMODE(os.stat(thread.path).st_mode) == 0o600


def become_somebody(group: int) -> str:
    os.setgroups([group])
    os.setgid(65534)
    os.setuid(65534)
    return "somebody"


def as_somebody(path: str, group: int) -> str:
    """What another user gets to hear, who is in that group."""

    def ask() -> str:
        become_somebody(group)
        return Governor(path).status().state

    return answer_of(*in_a_child(ask))


def test_another_user_is_refused_by_the_service_also_where_the_file_lets_him_in(
    place: Path,
) -> None:
    became = answer_of(*in_a_child(lambda: become_somebody(65534)))
    if became != "somebody":
        pytest.skip(f"only root can become somebody else: {became}")
    with GovernorThread(place) as thread:
        place.chmod(0o755)
        assert "NotPermitted: the governor lets only" in as_somebody(thread.path, 65534)
        os.chmod(thread.path, 0o666)
        assert "uid 65534 may not use this socket" in as_somebody(thread.path, 65534)
    with GovernorThread(place, group=4242) as thread:
        assert stat.S_IMODE(os.stat(thread.path).st_mode) == 0o660
        assert "NotPermitted" in as_somebody(thread.path, 65534)
        assert as_somebody(thread.path, 4242) == "awake"


def test_a_second_governor_is_refused(thread: GovernorThread) -> None:
    async def main() -> None:
        async with Service(thread.path, Simulated(0.01)):
            raise AssertionError("there are two")

    with pytest.raises(AlreadyExists, match="another server"):
        asyncio.run(main())
    with connect(thread.path) as governor:
        assert governor.status().state == "awake"


def test_a_place_that_everybody_writes_is_refused(place: Path) -> None:
    place.chmod(0o777)

    async def main() -> None:
        async with Service(str(place / "g"), Simulated(0.01)):
            pass

    with pytest.raises(NotPermitted):
        asyncio.run(main())
    place.chmod(0o700)


# -- wake leases ----------------------------------------------------------------------------------


def test_a_lease_that_is_not_closed_is_closed_with_a_warning() -> None:
    token, writing = Token.make()
    wake_lease: WakeLease | None = WakeLease(writing, "upload")
    with token:
        with pytest.warns(ResourceWarning, match="'upload' was not closed"):
            wake_lease = None
        assert wake_lease is None
        assert token.hung_up()


def test_a_closed_lease_says_so() -> None:
    token, writing = Token.make()
    with token:
        wake_lease = WakeLease(writing, "upload")
        assert "fd=" in repr(wake_lease)
        with wake_lease.dup() as copy:
            assert not os.get_inheritable(copy.fileno())
        wake_lease.close()
        assert wake_lease.closed
        for call in (wake_lease.fileno, wake_lease.dup, wake_lease.holders):
            with pytest.raises(Closed):
                call()
        with pytest.raises(Closed):
            wake_lease.wait_orphaned(0)
        with pytest.raises(InvalidArgument):
            wake_lease.wait_orphaned(-1)


def test_its_holders_are_found() -> None:
    token, writing = Token.make()
    with token, WakeLease(writing, "upload") as wake_lease:
        (holder,) = wake_lease.holders()
        assert holder.pid == os.getpid()
        assert holder.fds == (writing,)


def test_what_is_no_write_end_is_no_lease() -> None:
    with pytest.raises(InvalidArgument, match="write end"):
        WakeLease(0, "standard input")


# -- what is inherited ----------------------------------------------------------------------------

INHERIT = """
import os
from holdfast import wake
before = os.environ["HOLDFAST_WAKE_LEASE"]
with wake.from_environment() as wake_lease:
    print(wake_lease.name, os.get_inheritable(wake_lease.fileno()), wake.from_environment())
    with wake.connect() as governor:
        print(*governor.status().wake_leases)
"""


def test_a_program_inherits_the_lease_of_the_one_that_started_it(
    governor: Governor, thread: GovernorThread
) -> None:
    with governor.acquire("a job: of two") as wake_lease:
        told = to_environment(wake_lease, thread.path)
        fds = [wake_lease.fileno()]
        child = subprocess.Popen(
            [sys.executable, "-c", INHERIT],
            env=os.environ | told,
            pass_fds=fds,
            stdout=subprocess.PIPE,
            text=True,
        )
    out, _ = child.communicate(timeout=60)
    assert out == "a job: of two False None\na job: of two\n"
    released(governor)


def test_a_number_that_is_another_descriptor_by_now_is_none() -> None:
    token, writing = Token.make()
    with token, WakeLease(writing, "upload") as wake_lease:
        told = to_environment(wake_lease, "x")["HOLDFAST_WAKE_LEASE"]
        assert told == f"{writing}:{wake_lease.inode}:upload"
        before = descriptors_open()
        near, far = socket.socketpair()
        for wrong in (
            "",
            "upload",
            f"{writing}",
            f"{writing}:{wake_lease.inode}:",
            f"{writing}:{wake_lease.inode + 1}:upload",
            f"{token.fileno()}:{token.inode}:upload",
            f"{near.fileno()}:{wake_lease.inode}:upload",
            f"99999:{wake_lease.inode}:upload",
            f"{2**80}:{wake_lease.inode}:upload",
            "-1:5:upload",
        ):
            assert from_environment({"HOLDFAST_WAKE_LEASE": wrong}) is None
        near.close()
        far.close()
        assert descriptors_open() <= before
    assert from_environment({}) is None


def test_governing_is_over_when_the_block_is(place: Path) -> None:
    before = descriptors_open()

    async def main() -> None:
        async with governing(place) as (_, governor):
            await governor.status()

    asyncio.run(main())
    assert descriptors_open() <= before
    assert not (place / "g").exists()
