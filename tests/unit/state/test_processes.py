"""Threads, forks, spawned processes and fork servers: exact counters, and nobody kept alive."""

from __future__ import annotations

import multiprocessing
import select
import threading
from pathlib import Path

import pytest

from holdfast.state import Namespace, State
from tests.fixtures_state import MakePeer, RunScript
from tests.unit.state import workers


@pytest.fixture
def state(namespace: Namespace) -> State:
    return namespace.subscribe("s", "rw", size=8)


def number(state: State) -> int:
    return int.from_bytes(state.read(), "little")


# -- threads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("handles", ["one handle", "own handles"])
def test_threads_count_exactly(namespace: Namespace, state: State, handles: str) -> None:
    """K46, K63: eight threads, one handle for all or one for each."""
    own = [state if handles == "one handle" else namespace.subscribe("s", "rw") for _ in range(8)]
    threads = [threading.Thread(target=workers.count, args=(handle, 500)) for handle in own]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (number(state), state.version) == (4000, 4000)


def test_threads_subscribe_and_close_at_once(namespace: Namespace, directory: Path) -> None:
    """K20, K26: in any order, without an error, and nothing stays."""
    failed: list[BaseException] = []
    start = threading.Barrier(8)

    def come_and_go(permissions: str) -> None:
        try:
            start.wait()
            for _ in range(50):
                with namespace.subscribe("s", permissions, size=8) as state:
                    state.read()
        except BaseException as error:  # noqa: BLE001 - the test wants to know of any
            failed.append(error)

    threads = [threading.Thread(target=come_and_go, args=(p,)) for p in ["r", "rw"] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [path.name for path in directory.iterdir()] == [".lock"]


# -- fork -----------------------------------------------------------------------------------------


def test_a_forked_child_uses_the_handles_that_it_inherits(script: RunScript) -> None:
    """§5.8: as a subscriber of its own, with its own descriptor; each sees the other."""
    script("""
        import os, sys
        from holdfast.state import Namespace

        state = Namespace(sys.argv[1]).subscribe("s", "rw", size=8)
        state.transact(lambda txn: txn.write(0, b"parent"))
        assert not state.info().others
        to_child, to_parent = os.pipe(), os.pipe()
        if os.fork() == 0:
            assert state.read()[:6] == b"parent"
            assert state.info().others
            state.transact(lambda txn: txn.write(0, b"child!"))
            assert state.snapshot().pid == os.getpid()
            os.write(to_parent[1], b".")
            os.read(to_child[0], 1)
            assert state.read()[:6] == b"again!"
            os._exit(0)
        os.read(to_parent[0], 1)
        assert state.read()[:6] == b"child!"
        assert state.info().others
        state.transact(lambda txn: txn.write(0, b"again!"))
        os.write(to_child[1], b".")
        assert os.wait()[1] == 0
        assert not state.info().others
    """)


def test_a_child_that_closes_or_ends_takes_nothing_from_its_parent(script: RunScript) -> None:
    """§5.8, K26: before its first use, after it, by any way out."""
    script("""
        import os, sys
        from holdfast.state import Namespace

        namespace = Namespace(sys.argv[1])
        state = namespace.subscribe("s", "rw", size=8)
        state.transact(lambda txn: txn.write(0, b"kept"))
        ends = [
            lambda: os._exit(0),
            lambda: sys.exit(0),
            lambda: (state.close(), os._exit(0)),
            lambda: (state.read(), state.close(), os._exit(0)),
            lambda: (state.read(), sys.exit(0)),
            lambda: (namespace.close(), sys.exit(0)),
            lambda: (state.fileno(), os.fork(), state.read(), os._exit(0)),
        ]
        for end in ends:
            pid = os.fork()
            if pid == 0:
                end()
            assert os.waitpid(pid, 0)[1] == 0
            assert state.read()[:4] == b"kept"
            assert namespace.names() == ["s"]
            with Namespace(sys.argv[1]).subscribe("s") as newcomer:
                assert newcomer.read()[:4] == b"kept"
    """)


def test_an_open_transaction_is_committed_in_the_child(script: RunScript) -> None:
    """§5.8, K46: under the child's own number; the parent's copy of it then conflicts."""
    script("""
        import os, sys
        from holdfast.errors import Conflict
        from holdfast.state import Namespace

        state = Namespace(sys.argv[1]).subscribe("s", "rw", size=8)
        txn = state.transaction()
        txn.data[:] = b"twins..."
        if os.fork() == 0:
            txn.data[:] = b"younger."
            assert txn.commit() == 1
            assert state.snapshot().pid == os.getpid()
            os._exit(0)
        assert os.wait()[1] == 0
        assert state.read() == b"younger."
        try:
            txn.commit()
        except Conflict as conflict:
            assert (conflict.started, conflict.current) == (0, 1)
        else:
            raise AssertionError("no conflict")
    """)


def test_a_view_from_before_the_fork_is_no_fault(script: RunScript) -> None:
    """K37, §5.8: it reads zeros or, once the child has subscribed, the state."""
    script("""
        import os, sys
        from holdfast.state import Namespace

        state = Namespace(sys.argv[1]).subscribe("s", "rw", size=8)
        state.transact(lambda txn: txn.write(0, b"abcdefgh"))
        view = state.view()
        if os.fork() == 0:
            assert bytes(view) == bytes(8)
            assert not view.check()
            state.read()
            assert bytes(view) == b"abcdefgh"
            os._exit(0)
        assert os.wait()[1] == 0
        assert bytes(view) == b"abcdefgh"
    """)


def test_parent_and_child_wait_each_on_a_descriptor_of_its_own(script: RunScript) -> None:
    """K55, §5.8: both are woken by a third, and neither steals from the other."""
    script("""
        import os, select, sys
        from holdfast.state import Namespace

        namespace = Namespace(sys.argv[1])
        writer = namespace.subscribe("s", "rw", size=8)
        reader = namespace.subscribe("s")
        inherited = reader.fileno()
        ready_r, ready_w = os.pipe()
        if os.fork() == 0:
            for number in range(1, 20):
                os.write(ready_w, b".")
                assert reader.wait(30)
                assert reader.read()[0] == number
            os._exit(0)
        for number in range(1, 20):
            os.read(ready_r, 1)
            writer.transact(lambda txn: txn.write(0, bytes([number])))
            assert select.select([inherited], [], [], 30)[0]
            assert reader.read()[0] == number
            assert not select.select([inherited], [], [], 0)[0]
        assert os.wait()[1] == 0
    """)


@pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
def test_a_killed_parent_is_gone_although_its_child_lives(
    namespace: Namespace, peer: MakePeer, used: bool
) -> None:
    """§5.8, K26, K55a: what the child inherited keeps neither the state nor the watchers asleep."""
    parent = peer()
    parent("s = ns.subscribe('s', 'rw', size=8); v = s.view()")
    parent("s.transact(lambda t: t.write(0, b'old'))")
    old = parent("s.incarnation")
    # The child lives until our end of its standard input is closed. Used: it becomes a subscriber
    # of its own, and gives that up again.
    use = "s.read(), s.close()" if used else "None"
    parent("done_r, done_w = os.pipe()")
    parent(
        "if os.fork() == 0:\n"
        f"    {use}\n"
        "    os.write(done_w, b'.')\n"
        "    os.read(0, 1)\n"
        "    os._exit(0)\n"
        "os.read(done_r, 1)"
    )
    with namespace.subscribe("s") as watcher:
        watcher.read()
        fd = watcher.fileno()
        assert select.select([fd], [], [], 0)[0] == []
        parent.kill()
        assert select.select([fd], [], [], 30)[0] == [fd]  # the writer's end is an event
        assert not watcher.info().others
    with namespace.subscribe("s") as fresh:
        assert fresh.incarnation != old


def test_a_killed_parent_is_gone_although_its_child_has_its_transaction(
    namespace: Namespace, peer: MakePeer
) -> None:
    """§5.8, U2, K26: of a handle that was closed while a transaction was open, too."""
    parent = peer()
    parent("s = ns.subscribe('s', 'rw', size=8); t = s.transaction(); s.close()")
    old = parent("s.incarnation")
    # The child lives until its input is closed; when it writes, it has let go of the files.
    parent(
        "r, w = os.pipe()\n"
        "os.fork() or (os.write(w, b'x'), os.read(0, 1), os._exit(0))\n"
        "os.read(r, 1)\n"
    )
    parent.kill()
    with namespace.subscribe("s") as fresh:
        assert fresh.incarnation != old


def test_a_child_finds_a_state_that_is_gone_deleted(script: RunScript) -> None:
    """§5.8, K26: the parent closed before the child had ever used its handle."""
    script("""
        import os, sys
        from holdfast.errors import Deleted
        from holdfast.state import Namespace

        namespace = Namespace(sys.argv[1])
        state = namespace.subscribe("s", "rw", size=8)
        go_r, go_w = os.pipe()
        if os.fork() == 0:
            os.read(go_r, 1)
            for use in (state.read, state.transaction, state.fileno, state.view):
                try:
                    use()
                except Deleted:
                    continue
                os._exit(1)
            os._exit(0)
        state.close()
        new = namespace.subscribe("s", "rw", size=8)  # another state of that name
        os.write(go_w, b".")
        assert os.wait()[1] == 0
    """)


def test_a_child_may_begin_by_deleting(script: RunScript) -> None:
    """§5.8, K31: Busy because its parent is subscribed, not because it is in its own way."""
    said = script("""
        import os, sys
        from holdfast.errors import Busy
        from holdfast.state import Namespace

        Namespace.locked.__wrapped__.__defaults__ = (0.5,)  # not ten seconds, to be refused
        state = Namespace(sys.argv[1]).subscribe("s", "rw", size=8)
        if os.fork() == 0:
            try:
                state.delete()
            except Busy as error:
                print(error.what, flush=True)
            os._exit(0)
        os.wait()
    """)
    assert said == "another process is subscribed"


def test_a_fork_amid_threads_that_subscribe_harms_nobody(script: RunScript) -> None:
    """§5.8: the child does not keep the lock that another thread held at that instant."""
    script("""
        import os, sys, threading
        from holdfast.state import Namespace

        # Longer than ten seconds: they all want it, and only one who keeps it shall be found.
        Namespace.locked.__wrapped__.__defaults__ = (25.0,)
        namespace = Namespace(sys.argv[1])
        stop = threading.Event()

        def come_and_go():
            while not stop.is_set():
                namespace.subscribe("s", "rw", size=8).close()

        thread = threading.Thread(target=come_and_go)
        thread.start()
        hold_r, hold_w = os.pipe()
        children = []
        for _ in range(40):
            pid = os.fork()
            if pid == 0:
                os.close(hold_w)
                namespace.subscribe("t", "rw", size=8).close()
                os.read(hold_r, 1)  # lives on, with whatever it has inherited
                os._exit(0)
            children.append(pid)
            namespace.subscribe("u", "rw", size=8).close()
        stop.set()
        thread.join()
        namespace.sweep()  # of those who did not get the lock in time to clear up when they left
        assert namespace.names() in ([], ["t"])
        os.close(hold_w)
        assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
        namespace.sweep()
        assert namespace.names() == []
    """)


# -- counters -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_count_exactly(script: RunScript, method: str) -> None:
    """K46, K63: P processes x N committed increments give P x N; the handle is an argument."""
    said = script(
        """
        import multiprocessing, sys
        from holdfast.state import Namespace
        from tests.unit.state import workers

        context = multiprocessing.get_context(sys.argv[2])
        state = Namespace(sys.argv[1]).subscribe("s", "rw", size=8)
        started = [context.Process(target=workers.count, args=(state, 500)) for _ in range(4)]
        for process in started:
            process.start()
        for process in started:
            process.join()
        assert [process.exitcode for process in started] == [0] * 4
        print(int.from_bytes(state.read(), "little"), state.version)
        """,
        method,
    )
    assert said == "2000 2000"


@pytest.mark.parametrize("permissions", ["r", "rw"])
def test_a_handle_is_an_argument_of_a_spawned_process(state: State, permissions: str) -> None:
    """K17, §5.8: it arrives as a subscription of its own, of the same state."""
    state.transact(lambda txn: txn.write(0, b"sent"))
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    with state._namespace.subscribe("s", permissions) as sent:
        process = context.Process(target=workers.introduce, args=(sent, there))
        process.start()
        assert here.recv() == (state.incarnation, permissions, b"sent\0\0\0\0", True)
        process.join()
    assert process.exitcode == 0


def test_killed_counters_lose_nothing_that_was_committed(script: RunScript) -> None:
    """K46, K48: writers killed at random; the sum is what was committed, the rest goes on."""
    script("""
        import os, signal, sys
        from holdfast.state import Namespace
        from tests.unit.state.workers import add_one, count

        namespace = Namespace(sys.argv[1])
        state = namespace.subscribe("s", "rw", size=8)
        for round in range(30):
            children = []
            said_r, said_w = os.pipe()
            for _ in range(3):
                pid = os.fork()
                if pid == 0:
                    while True:
                        state.transact(add_one)
                        os.write(said_w, b".")
                children.append(pid)
            for _ in range(50 + round):
                os.read(said_r, 1)
            for pid in children:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            os.close(said_r), os.close(said_w)
            snapshot = state.snapshot()
            assert int.from_bytes(snapshot.data, "little") == snapshot.version
            count(state, 20)
        assert int.from_bytes(state.read(), "little") == state.version
    """)
