"""Waiting for changes: no change is lost, none is queued twice, and nobody spins."""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import select
import termios
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from holdfast.errors import Closed, Deleted, InvalidArgument
from holdfast.state import Namespace, State
from tests.fixtures_state import MakePeer, RunScript

SOON_S = 30.0  # far more than it takes: whoever is not awake by then was not woken


@pytest.fixture
def writer(namespace: Namespace) -> State:
    return namespace.subscribe("s", "rw", size=8)


@pytest.fixture
def reader(namespace: Namespace, writer: State) -> State:
    return namespace.subscribe("s", type="<q")


def put(state: State, number: int) -> None:
    with state.transaction() as txn:
        txn.data[:] = number.to_bytes(8, "little")


def ready(state: State, within_s: float = 0) -> bool:
    return select.select([state.fileno()], [], [], within_s)[0] != []


LOOKS: dict[str, Callable[[State], Any]] = {
    "read": lambda state: state.read(),
    "readinto": lambda state: state.readinto(bytearray(8)),
    "snapshot": lambda state: state.snapshot(),
    "view": lambda state: state.view(),
    "value": lambda state: state.value,
    "transaction": lambda state: state.transaction().abort(),
}


# -- changed --------------------------------------------------------------------------------------


def test_nothing_has_changed_on_a_new_state(reader: State) -> None:
    """K54: version 0 is no news."""
    assert not reader.changed()
    assert not reader.wait(0)
    assert not ready(reader)


def test_a_fresh_handle_on_a_written_state_has_news_at_once(
    namespace: Namespace, writer: State
) -> None:
    """K2, K55e: changed, wait and the descriptor say so without any further commit."""
    put(writer, 1)
    for ask in (State.changed, lambda state: state.wait(0), ready, lambda state: state.wait(None)):
        with namespace.subscribe("s") as fresh:
            assert ask(fresh)
            assert ask(fresh)


@pytest.mark.parametrize("look", LOOKS)
def test_every_look_shows_and_quiets(writer: State, reader: State, look: str) -> None:
    """K54: after it nothing is new, until the next commit."""
    assert not ready(reader)
    for number in range(1, 4):
        put(writer, number)
        assert ready(reader, SOON_S)
        assert reader.changed()
        assert ready(reader, SOON_S)  # as long as nobody has looked
        LOOKS[look](reader)
        assert not reader.changed()
        assert not ready(reader)


def test_a_look_that_was_refused_leaves_the_news(writer: State, reader: State) -> None:
    """K54, K55a: nothing was shown, so the descriptor stays readable."""
    reader.fileno()
    put(writer, 1)
    with pytest.raises(InvalidArgument):
        reader.readinto(bytearray(1))
    assert reader.version == 1
    assert ready(reader, 1)


def test_asking_about_a_state_is_no_look(writer: State, reader: State) -> None:
    """K54: version, size, written, info and repr show nothing."""
    put(writer, 1)
    for _ in range(2):
        assert reader.version == 1
        assert (reader.size, reader.written) == (8, True)
        reader.info()
        repr(reader)
        assert reader.changed()


def test_ones_own_commit_is_news_too(writer: State) -> None:
    """K54: a handle has shown the version that its transaction started from."""
    put(writer, 1)
    assert writer.changed()
    assert writer.read() == (1).to_bytes(8, "little")
    assert not writer.changed()


def test_each_handle_has_its_own_picture(
    namespace: Namespace, writer: State, reader: State
) -> None:
    """K8, K54: what one has seen is still news for another."""
    other = namespace.subscribe("s")
    ready(other), ready(reader)
    put(writer, 1)
    reader.read()
    assert not ready(reader)
    assert ready(other, SOON_S)
    assert other.changed()


# -- wait -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0, 0.0, 0.01, 1e-9, timedelta(0), timedelta(milliseconds=5)])
def test_waiting_ends_with_the_time(reader: State, timeout: float | timedelta) -> None:
    """K54: False; 0 is not at all."""
    assert reader.wait(timeout) is False


@pytest.mark.parametrize("timeout", [-1, -1e-9, float("nan"), timedelta(seconds=-1)])
def test_a_negative_wait_is_refused(reader: State, timeout: float | timedelta) -> None:
    """K54: InvalidArgument."""
    with pytest.raises(InvalidArgument):
        reader.wait(timeout)


@pytest.mark.parametrize("timeout", ["None", "10"])
def test_a_waiting_process_is_woken(writer: State, peer: MakePeer, timeout: str) -> None:
    """K6, K54: each commit ends one wait, and the look that follows sees it."""
    other = peer()
    other("r = ns.subscribe('s')")
    for number in range(1, 30):
        other.start(f"(r.wait({timeout}), int.from_bytes(r.read(), 'little'))")
        put(writer, number)
        assert other.result() == (True, number)


@pytest.mark.parametrize(
    "timeout",
    [
        "None",
        "datetime.timedelta(days=1)",
        pytest.param("datetime.timedelta(days=30)"),
        pytest.param("float('inf')"),
    ],
)
def test_one_may_wait_as_long_as_one_likes(writer: State, peer: MakePeer, timeout: str) -> None:
    """K54: and is woken by the next commit."""
    other = peer()
    other("import datetime; r = ns.subscribe('s')")
    other.start(f"r.wait({timeout})")
    while not other.answered():
        if polling(f"/proc/{other.pid}"):
            break
    put(writer, 1)
    assert other.result() is True


def test_two_processes_hand_a_number_to_and_fro(writer: State, peer: MakePeer) -> None:
    """K6, K55a: a thousand times without one lost wake-up."""
    other = peer()
    other("s = ns.subscribe('s', 'rw')")
    other.start(
        "for _ in range(1000):\n"
        "    while (n := int.from_bytes(s.read(), 'little')) % 2 == 0:\n"
        "        assert s.wait(30)\n"
        "    with s.transaction() as t: t.data[:] = (n + 1).to_bytes(8, 'little')\n"
    )
    for turn in range(1000):
        put(writer, 2 * turn + 1)
        while int.from_bytes(writer.read(), "little") != 2 * turn + 2:
            assert writer.wait(SOON_S)
    other.result()


def test_waiting_on_what_is_closed_or_deleted_is_refused(
    namespace: Namespace, writer: State, reader: State
) -> None:
    """K32, K54: Closed and Deleted, without waiting."""
    closed = namespace.subscribe("s")
    closed.fileno()
    closed.close()
    writer.delete()
    for state, error in ((closed, Closed), (reader, Deleted)):
        for use in (lambda s=state: s.wait(None), state.fileno, state.changed):
            with pytest.raises(error):
                use()


def test_deletion_ends_a_wait(writer: State, peer: MakePeer, namespace: Namespace) -> None:
    """K32, K55f: with Deleted."""
    raised: list[BaseException] = []
    waiting = namespace.subscribe("s")
    thread = threading.Thread(target=waits_for_ever, args=(waiting, raised), daemon=True)
    thread.start()
    until_polling(thread)
    writer.delete()
    thread.join(SOON_S)
    assert [type(error) for error in raised] == [Deleted]


def test_closing_ends_a_wait(reader: State) -> None:
    """K54: Closed where the handle is closed meanwhile, by another thread."""
    raised: list[BaseException] = []
    thread = threading.Thread(target=waits_for_ever, args=(reader, raised), daemon=True)
    thread.start()
    until_polling(thread)
    reader.close()
    thread.join(SOON_S)
    assert [type(error) for error in raised] == [Closed]


def waits_for_ever(state: State, raised: list[BaseException]) -> None:
    try:
        state.wait(None)
    except (Closed, Deleted, OSError) as error:
        raised.append(error)


def until_polling(thread: threading.Thread) -> None:
    while not polling(f"/proc/self/task/{thread.native_id}"):
        pass


def polling(process: str) -> bool:
    """Whether it is inside poll(2) or ppoll(2), by their numbers on either machine."""
    polls = {"7", "271"} if os.uname().machine == "x86_64" else {"73"}
    with open(f"{process}/syscall") as call:
        return call.read().split()[0] in polls


# -- the descriptor -------------------------------------------------------------------------------


def test_the_descriptor_is_one_and_closed_with_the_handle(reader: State) -> None:
    """K70: each handle has one, made when it is asked for."""
    fd = reader.fileno()
    assert reader.fileno() == fd
    assert not os.get_inheritable(fd)
    reader.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def waiters() -> dict[str, Callable[[int], bool]]:
    def by_poll(fd: int) -> bool:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return poll.poll(0) != []

    def by_epoll(fd: int) -> bool:
        with select.epoll() as poll:
            poll.register(fd, select.EPOLLIN)
            return poll.poll(0) != []

    return {
        "select": lambda fd: select.select([fd], [], [], 0)[0] != [],
        "poll": by_poll,
        "epoll": by_epoll,
    }


@pytest.mark.parametrize("how", waiters())
def test_the_descriptor_can_be_polled(writer: State, reader: State, how: str) -> None:
    """K55: by select, poll and epoll."""
    readable = waiters()[how]
    fd = reader.fileno()
    for number in range(1, 20):
        assert not readable(fd)
        put(writer, number)
        assert readable(fd)
        reader.read()


def test_an_event_loop_is_called_for_news_and_only_then(writer: State, reader: State) -> None:
    """K55: asyncio's add_reader; when nothing happens the loop does not spin."""
    seen: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        news = asyncio.Event()

        def look() -> None:
            seen.append(int.from_bytes(reader.read(), "little"))
            news.set()

        loop.add_reader(reader.fileno(), look)
        for number in range(1, 50):
            news.clear()
            put(writer, number)
            await asyncio.wait_for(news.wait(), SOON_S)
            assert seen[-1] == number
        calls = len(seen)
        for _ in range(100):  # a hundred rounds of the loop with nothing new
            await asyncio.sleep(0)
        assert len(seen) == calls
        loop.remove_reader(reader.fileno())

    asyncio.run(main())
    assert sorted(set(seen)) == list(range(1, 50))
    assert len(seen) <= 2 * 49


def queued_bytes(fd: int) -> int:
    answer = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, answer)
    return answer[0]


def test_a_hundred_thousand_unread_commits_are_one_notice(
    namespace: Namespace, writer: State, reader: State
) -> None:
    """K6, K55c, K55d: the queue stays tiny, and the look sees the newest version."""
    fd = reader.fileno()
    assert reader._watch is not None
    inotify = reader._watch._inotify_fd
    for number in range(1, 100_001):
        put(writer, number)
    for _ in range(50):  # each closing of a writable descriptor is an event, too
        namespace.subscribe("s", "rw").close()
    assert select.select([fd], [], [], 0)[0] == [fd]
    assert 0 < queued_bytes(inotify) <= 64
    assert reader.snapshot().version == 100_000
    assert reader.value == (100_000,)
    assert not ready(reader)
    put(writer, 7)
    assert ready(reader, SOON_S)


def test_a_slow_reader_of_a_fast_writer_sees_the_last_version(
    reader: State, peer: MakePeer
) -> None:
    """K6, K55a: looking whenever the descriptor says so; versions only rise."""
    other = peer()
    other("w = ns.subscribe('s', 'rw')")
    other.start(
        "for n in range(1, 50001):\n"
        "    with w.transaction() as t: t.data[:] = n.to_bytes(8, 'little')\n"
    )
    seen = 0
    while seen < 50_000:
        assert ready(reader, SOON_S)
        (now,) = reader.value or (0,)
        assert now >= seen
        seen = now
    other.result()
    if ready(reader):  # the last ring may come after the look that has shown its version
        assert not reader.changed()
    assert not ready(reader)


# -- death between publication and notice ----------------------------------------------------------


def test_a_committer_killed_before_it_could_ring_wakes_the_watchers(script: RunScript) -> None:
    """K55a: SIGKILL before the write(2) that rings: the kernel rings in its place."""
    script("""
        import select, sys
        from holdfast.state import Namespace
        from tests import tracing

        namespace = Namespace(sys.argv[1])
        keeper = namespace.subscribe("s", "rw", size=8)

        def commit():
            with Namespace(sys.argv[1]).subscribe("s", "rw") as state:
                txn = state.transaction()
                txn.data[:] = (state.version + 1).to_bytes(8, "little")
                tracing.mark()
                txn.commit()
                tracing.mark()

        for round in range(1, 21):
            reader = namespace.subscribe("s")
            reader.read()
            fd = reader.fileno()
            assert select.select([fd], [], [], 0)[0] == []
            pid = tracing.fork_traced(commit)
            marked = False
            for call in tracing.calls(pid):
                if marked:
                    break  # stopped before the first system call of the commit: the ring
                marked = call.first == tracing.MARK
            assert call.first != tracing.MARK, "nobody rang"
            assert reader.version == round, "published before it is rung"
            tracing.kill(pid)
            assert select.select([fd], [], [], 30)[0] == [fd], "lost"
            assert int.from_bytes(reader.read(), "little") == round
            reader.close()
            keeper.transact(lambda txn: None)
    """)


def test_a_killed_writer_leaves_no_version_unheard(script: RunScript) -> None:
    """K55a, K55b: whenever it is killed, a version that was not shown keeps the watcher awake."""
    script("""
        import os, select, signal, sys
        from holdfast.state import Namespace

        namespace = Namespace(sys.argv[1])
        with namespace.subscribe("s", "rw", size=8) as keeper, namespace.subscribe("s") as reader:
            fd = reader.fileno()
            for round in range(60):
                pid = os.fork()
                if pid == 0:
                    number = 0
                    while True:
                        number += 1
                        keeper.transact(lambda txn: txn.write(0, number.to_bytes(8, "little")))
                shown = 0
                for _ in range(round % 7 + 1):
                    assert select.select([fd], [], [], 30)[0] == [fd]
                    shown = reader.snapshot().version
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                while reader.version != shown:
                    assert select.select([fd], [], [], 30)[0] == [fd], "lost"
                    shown = reader.snapshot().version
    """)


# -- without inotify -------------------------------------------------------------------------------

LIMITED = """
    import ctypes, os, resource, select, sys
    from holdfast.state import Namespace

    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(0x10000000):  # CLONE_NEWUSER: a limit of our own, nobody else is disturbed
        print("skip: no user namespaces here")
        raise SystemExit
    try:
        open("/proc/self/setgroups", "w").write("deny")
        open("/proc/self/uid_map", "w").write(f"{uid} {uid} 1")
        open("/proc/self/gid_map", "w").write(f"{gid} {gid} 1")
        open("/proc/sys/user/max_inotify_instances", "w").write(sys.argv[2])
    except OSError as error:
        print(f"skip: {error}")
        raise SystemExit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))

    namespace = Namespace(sys.argv[1])
    writer = namespace.subscribe("s", "rw", size=8)
    watchers = [namespace.subscribe("s") for _ in range(int(sys.argv[3]))]
    for watcher in watchers:
        watcher.fileno()
    methods = [watcher.info().watch for watcher in watchers]
    for number in range(1, 4):
        writer.transact(lambda txn: txn.write(0, number.to_bytes(8, "little")))
        for watcher in watchers:
            assert watcher.wait(30)
            assert select.select([watcher.fileno()], [], [], 30)[0]
            assert int.from_bytes(watcher.read(), "little") == number
            assert not watcher.changed()
            assert watcher.wait(0.001) is False
    writer.delete()
    for watcher in watchers:
        assert select.select([watcher.fileno()], [], [], 10)[0]
    print(methods.count("inotify"), methods.count("timer"))
"""


@pytest.mark.parametrize(("instances", "watchers"), [(0, 5), (10, 300)])
def test_where_inotify_instances_run_out_a_timer_looks(
    script: RunScript, instances: int, watchers: int
) -> None:
    """K55, §5.6: silently; all of 300 watchers wake, for commits and for deletion."""
    said = script(LIMITED, str(instances), str(watchers))
    if said.startswith("skip"):
        pytest.skip(said)
    assert said == f"{instances} {watchers - instances}"
