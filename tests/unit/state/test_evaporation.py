"""When a state is gone: with its last subscriber, however that one ended, unless it is retained."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from holdfast.state import Namespace
from tests.fixtures_state import MakePeer, RunScript
from tests.peer import python_path

WRITE = "with s.transaction() as t: t.data[:] = b'gone'"


def written(state_of: Namespace, name: str = "s") -> str:
    """Write something that would be seen if the state survived; its incarnation."""
    state = state_of.subscribe(name, "rw", size=4)
    with state.transaction() as txn:
        txn.data[:] = b"gone"
    incarnation = state.incarnation
    state.close()
    return incarnation


def assert_new(namespace: Namespace, old: str) -> None:
    with namespace.subscribe("s", size=4) as state:
        assert state.incarnation != old
        assert (state.version, state.written, state.read()) == (0, False, bytes(4))


def test_the_last_to_close_takes_the_state_with_it(namespace: Namespace, directory: Path) -> None:
    """K26: its files go at once; the next subscriber gets a new incarnation at version 0."""
    old = written(namespace)
    assert [path.name for path in directory.iterdir()] == [".lock"]
    assert_new(namespace, old)


def test_an_unused_handle_that_is_collected_unsubscribes(
    namespace: Namespace, directory: Path
) -> None:
    """U3: as if it had been closed."""
    namespace.subscribe("s", "rw")
    assert [path.name for path in directory.iterdir()] == [".lock"]


def test_whoever_is_left_keeps_the_state(namespace: Namespace, peer: MakePeer) -> None:
    """K26: a reader in another process suffices, and the file stays the same (no split brain)."""
    reader = peer()
    with namespace.subscribe("s", "rw", size=4) as state:
        reader("r = ns.subscribe('s')")
        with state.transaction() as txn:
            txn.data[:] = b"kept"
        old = state.incarnation
    assert reader("r.read()") == b"kept"
    with namespace.subscribe("s") as again:
        assert (again.incarnation, again.read()) == (old, b"kept")


@pytest.mark.parametrize(
    "end",
    [
        "s.close(); os._exit(0)",
        "raise SystemExit(0)",
        "raise SystemExit(3)",
        "os._exit(0)",
        "os.kill(os.getpid(), signal.SIGKILL)",
        "os.kill(os.getpid(), signal.SIGTERM)",
        "os.kill(os.getpid(), signal.SIGSEGV)",
        "os.abort()",
        "os.execvp('true', ['true'])",
        "t = s.transaction(); d = t.data; os._exit(0)",
        "v = s.view().memoryview; s.close(); os._exit(0)",
    ],
)
@pytest.mark.parametrize("permissions", ["r", "rw"])
def test_however_the_last_subscriber_ends_the_state_is_gone(
    namespace: Namespace, peer: MakePeer, end: str, permissions: str
) -> None:
    """K26: clean exit, os._exit, signals, exec: the next subscriber finds version 0."""
    writer = peer()
    writer("import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))")
    writer("s = ns.subscribe('s', 'rw', size=4)\n" + WRITE)
    if permissions == "r":
        writer("r = ns.subscribe('s'); s.close(); s = r")
    old = writer("s.incarnation")
    writer.leave(end)
    assert_new(namespace, old)


def test_a_clean_exit_leaves_no_file(namespace: Namespace, directory: Path, peer: MakePeer) -> None:
    """K26: what is still open when the interpreter ends is closed."""
    writer = peer()
    writer("s = ns.subscribe('s', 'rw')")
    assert namespace.names() == ["s"]
    writer.leave("raise SystemExit(0)")
    assert [path.name for path in directory.iterdir()] == [".lock"]


def test_a_zombie_is_not_subscribed(namespace: Namespace, peer: MakePeer) -> None:
    """K26: killed and never reaped by its parent."""
    writer = peer()
    writer("s = ns.subscribe('s', 'rw', size=4)\n" + WRITE)
    old = writer("s.incarnation")
    writer.kill(reap=False)
    assert_new(namespace, old)


def test_a_stopped_process_is_subscribed(namespace: Namespace, peer: MakePeer) -> None:
    """K26: it may come back at any time."""
    writer = peer()
    writer("s = ns.subscribe('s', 'rw', size=4)\n" + WRITE)
    old = writer("s.incarnation")
    writer.start("os.kill(os.getpid(), signal.SIGSTOP)")
    os.waitid(os.P_PID, writer.pid, os.WSTOPPED | os.WNOWAIT)
    with namespace.subscribe("s") as state:
        assert (state.incarnation, state.read()) == (old, b"gone")
    os.kill(writer.pid, signal.SIGCONT)
    writer.result()
    assert writer("s.read()") == b"gone"


def test_one_of_several_being_killed_changes_nothing(namespace: Namespace, peer: MakePeer) -> None:
    """K26: the others go on, and a newcomer joins them."""
    a, b = peer(), peer()
    for one in (a, b):
        one("s = ns.subscribe('s', 'rw', size=4)")
    a(WRITE)
    a.kill()
    with namespace.subscribe("s") as state:
        assert state.read() == b"gone"
        assert state.incarnation == b("s.incarnation")


def test_a_thousand_short_lives_leave_nothing_behind(namespace: Namespace, directory: Path) -> None:
    """K26: each subscription is the first of a new incarnation."""
    seen = {written(namespace) for _ in range(300)}
    assert len(seen) == 300
    assert [path.name for path in directory.iterdir()] == [".lock"]


def test_a_consumer_that_starts_anew_has_the_newest_value_at_once(
    namespace: Namespace, peer: MakePeer
) -> None:
    """K2: each first read is of a version committed at or after its start."""
    writer = peer()
    writer("w = ns.subscribe('s', 'rw', size=8)")
    writer("import threading; go = threading.Event()")
    writer(
        "def run():\n"
        "    n = 0\n"
        "    while not go.is_set():\n"
        "        n += 1\n"
        "        with w.transaction() as t: t.data[:] = n.to_bytes(8, 'little')\n"
    )
    writer("thread = threading.Thread(target=run); thread.start()")
    try:
        with namespace.subscribe("s") as steady:
            for _ in range(50):
                floor = steady.version
                with namespace.subscribe("s") as fresh:
                    snapshot = fresh.snapshot()
                assert snapshot.version >= floor
                assert int.from_bytes(snapshot.data, "little") == snapshot.version
    finally:
        writer("go.set(); thread.join()")


def test_leaving_waits_for_nobody(namespace: Namespace, directory: Path, peer: MakePeer) -> None:
    """K26, §7: where somebody was stopped amid subscribing, the next one clears up instead."""
    stuck = peer()
    state = namespace.subscribe("s", "rw", size=4)
    old = state.incarnation
    stuck(
        "import fcntl; f = os.open(ns.path + '/.lock', os.O_RDONLY)\nfcntl.flock(f, fcntl.LOCK_EX)"
    )
    state.close()
    assert namespace.names() == ["s"]
    stuck("os.close(f)")
    assert_new(namespace, old)
    assert [path.name for path in directory.iterdir()] == [".lock"]


def test_reading_and_committing_wait_for_no_subscriber(
    namespace: Namespace, peer: MakePeer
) -> None:
    """K14, §5.1: the namespace's lock is for coming and going only."""
    stuck = peer()
    with namespace.subscribe("s", "rw", size=4) as state, namespace.subscribe("s") as reader:
        stuck(
            "import fcntl; f = os.open(ns.path + '/.lock', os.O_RDONLY)\n"
            "fcntl.flock(f, fcntl.LOCK_EX)"
        )
        reader.fileno()
        for number in range(100):
            state.transact(lambda txn: txn.write(0, bytes([txn.data[0] + 1])))
            assert reader.wait(10)
            assert reader.read()[0] == number + 1
        stuck("os.close(f)")


# -- retained -------------------------------------------------------------------------------------


def test_a_retained_state_stays(directory: Path, peer: MakePeer) -> None:
    """K26: after closing, and after SIGKILL of everybody, with contents and incarnation."""
    with Namespace(directory, retain=True) as namespace:
        old = written(namespace)
        killed = peer()
        killed("s = ns.subscribe('s', 'rw')\nwith s.transaction() as t: t.data[:] = b'more'")
        killed.kill()
        with namespace.subscribe("s", size=4) as state:
            assert (state.incarnation, state.version, state.read()) == (old, 2, b"more")
            assert state.info().retained


def test_retention_is_decided_by_whoever_makes_the_state(directory: Path) -> None:
    """DESIGN §2.6: a flag of the state, set by the namespace object that creates it."""
    with Namespace(directory) as plain, Namespace(directory, retain=True) as retaining:
        with retaining.subscribe("kept", "rw"), plain.subscribe("kept") as same:
            assert same.info().retained
        with plain.subscribe("gone", "rw"), retaining.subscribe("gone") as same:
            assert not same.info().retained
        assert plain.names() == ["kept"]
        with plain.subscribe("kept", "rw") as state:
            state.delete()
        assert plain.names() == []


def test_a_retained_state_that_is_found_by_readers_only_stays(directory: Path) -> None:
    """K26: a last subscriber without permission to write takes nothing with it either."""
    with Namespace(directory, retain=True) as namespace:
        old = written(namespace)
        namespace.subscribe("s", "r").close()
        with namespace.subscribe("s", create=False) as state:
            assert state.incarnation == old


def test_a_killed_delete_leaves_a_name_that_can_be_used(directory: Path, peer: MakePeer) -> None:
    """K32: killed between marking and unlinking a retained state; the next one is new."""
    with Namespace(directory, retain=True) as namespace:
        old = written(namespace)
        deleter = peer()
        deleter("s = ns.subscribe('s', 'rw')")
        deleter("s._mark_deleted()")
        deleter.kill()
        assert_new(namespace, old)


# -- creation, killed anywhere --------------------------------------------------------------------


def test_a_subscriber_killed_before_any_of_its_system_calls_harms_nobody(
    script: RunScript,
) -> None:
    """K20, K26: nothing half-made is ever visible, and the next subscriber has a sound state."""
    kills = int(
        script("""
        import sys
        from holdfast.state import Namespace
        from tests import tracing

        directory = sys.argv[1]
        Namespace(directory).close()  # the directory itself

        def make():
            Namespace(directory).subscribe("s", "rw", size=64).close()

        total = sum(1 for _ in tracing.calls(tracing.fork_traced(make)))
        assert total > 20, total
        for point in range(total):
            pid = tracing.fork_traced(make)
            for number, _ in enumerate(tracing.calls(pid)):
                if number == point:
                    tracing.kill(pid)
                    break
            with Namespace(directory) as namespace:
                assert namespace.names() in ([], ["s"])
                with namespace.subscribe("s", "rw", size=64) as state:
                    assert (state.version, state.written, state.read()) == (0, False, bytes(64))
                    with state.transaction() as txn:
                        txn.data[0] = 1
                assert namespace.names() == [], point
        print(total)
        """)
    )
    assert kills > 20


IN_A_CONTAINER = """
import os, sys
from holdfast.state import Namespace

assert os.getpid() == 1, "not the first process of its own PID namespace"
state = Namespace(sys.argv[1]).subscribe("s", "rw", size=4)
state.transact(lambda txn: txn.write(0, b"gone"))
print(state.incarnation, flush=True)
sys.stdin.read()
"""


def contained(directory: Path) -> tuple[subprocess.Popen[str], str]:
    """A process that is the first of a PID namespace of its own, and the state's incarnation."""
    for command in (["unshare", "-pf"], ["unshare", "-Urpf"]):
        process = subprocess.Popen(
            [*command, "--kill-child", sys.executable, "-c", IN_A_CONTAINER, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"PYTHONPATH": python_path()},
        )
        assert process.stdout
        if line := process.stdout.readline():
            return process, line.strip()
        process.communicate()
    pytest.skip("no PID namespaces here (unshare)")


def until_left_over(namespace: Namespace) -> None:
    """Wait until the kernel has closed all the files of one who dies, not only those we know of."""
    give_up_s = time.monotonic() + 30
    while [entry.condition for entry in namespace.survey()] != ["left over"]:
        assert time.monotonic() < give_up_s, "it is still subscribed"
        time.sleep(0.001)


def test_a_container_keeps_a_state_and_its_restart_begins_anew(directory: Path) -> None:
    """K26, U8: both call themselves process 1; the kernel's locks know one from the other."""
    with Namespace(directory) as namespace:
        first, old = contained(directory)
        with namespace.subscribe("s", size=4) as ours:
            assert ours.incarnation == old
            assert ours.read() == b"gone"
            assert ours.info().others
            assert ours.snapshot().pid == 1  # as it calls itself, and so no proof of life
        assert [entry.condition for entry in namespace.survey()] == ["subscribed"]
        first.kill()
        assert first.stdout
        assert first.stdout.read() == ""  # until the last of the container has gone
        first.communicate()
        until_left_over(namespace)
        second, new = contained(directory)
        assert new != old
        second.kill()
        second.communicate()
