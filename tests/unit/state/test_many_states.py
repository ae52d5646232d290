"""Two thousand states at once: no lock and no list is shared by them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from holdfast.state import Namespace
from tests.fixtures_state import RunScript

pytestmark = pytest.mark.timeout(300)  # for machines that have much else to do

# The soft limit of descriptors is for programs that use select(2); a child raises its own.
BEGIN = """
    import os, resource, subprocess, sys, time
    from holdfast import state
    from holdfast.errors import Conflict
    from holdfast.state import Namespace

    COUNT = 2000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < COUNT + 100:
        print("skip: too few descriptors allowed")
        raise SystemExit
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 3 * COUNT + 100), hard))
    directory = sys.argv[1]
    room = os.statvfs(os.path.dirname(directory))
    if room.f_bavail * room.f_frsize < 100 << 20:  # others of this kind may run beside us
        print("skip: too little room for so many states")
        raise SystemExit
    namespace = Namespace(directory)
    names = [f"s.{i:04}" for i in range(COUNT)]
    states = [namespace.subscribe(name, "rw", size=8) for name in names]

    def put(one, value):
        with one.transaction() as txn:
            txn.data[:] = value.to_bytes(8, "little")

    def number(one):
        return int.from_bytes(one.read(), "little")

    def files():
        return {entry for entry in os.listdir(directory) if not entry.startswith(".")}
"""


def run(script: RunScript, source: str, *arguments: str) -> None:
    said = script(BEGIN + source, *arguments)
    if said.startswith("skip"):
        pytest.skip(said)
    assert said == "done"


def test_two_thousand_states_in_one_process(script: RunScript) -> None:
    """K14: one descriptor each; each has its own contents and version."""
    run(
        script,
        """
    before = len(os.listdir("/proc/self/fd"))
    assert before <= COUNT + 20
    assert namespace.names() == names
    for i, one in enumerate(states):
        for value in range(i % 3):
            put(one, i + value)
    for i, one in enumerate(states):
        assert one.version == i % 3
        assert number(one) == (i + i % 3 - 1 if i % 3 else 0)
    assert len({one.incarnation for one in states}) == COUNT
    assert len(os.listdir("/proc/self/fd")) == before
    print("done")
    """,
    )


def test_commits_on_one_do_not_disturb_the_others(script: RunScript) -> None:
    """K14: open transactions of the others go through, their readers see no news."""
    run(
        script,
        """
    readers = [namespace.subscribe(name) for name in names[:500]]
    views = [reader.view() for reader in readers]
    open_ones = [one.transaction() for one in states]
    for value in range(1, 5001):
        put(states[0], value)
    assert not any(reader.changed() for reader in readers[1:])
    assert all(view.check() for view in views[1:])
    assert readers[0].changed() and not views[0].check()
    for txn in open_ones:
        txn.data[0] = 1
    outcomes = []
    for txn in open_ones:
        try:
            outcomes.append(txn.commit())
        except Conflict:
            outcomes.append("conflict")
    assert outcomes == ["conflict"] + [1] * (COUNT - 1)
    assert states[0].info().overtaken == 0
    print("done")
    """,
    )


def test_many_at_once_in_commits_of_sixty_four(script: RunScript) -> None:
    """K14, K68: and snapshots of as many."""
    run(
        script,
        """
    for start in range(0, COUNT, 64):
        members = states[start:start + 64]
        with state.transaction(*members) as txn:
            for i, one in enumerate(members, start):
                txn[one].data[:] = i.to_bytes(8, "little")
            txn.commit(force=True)
        assert {one.version for one in state.snapshot(*members)} == {1}
    assert [number(one) for one in states] == list(range(COUNT))
    print("done")
    """,
    )


def test_all_of_them_vanish_with_their_process(script: RunScript) -> None:
    """K26: closed one by one, with the namespace, or at exit; no file is left."""
    run(
        script,
        """
    for one in states[::2]:
        one.close()
    assert namespace.names() == names[1::2]
    namespace.close()
    assert files() == set()
    source = (
        "import sys\\n"
        "from holdfast.state import Namespace\\n"
        "namespace = Namespace(sys.argv[1])\\n"
        "kept = [namespace.subscribe(f's.{i}', 'rw', size=8) for i in range(500)]\\n"
        "print(len(namespace.names()))\\n"
    )
    done = subprocess.run([sys.executable, "-c", source, directory], capture_output=True, text=True)
    assert done.stdout == "500\\n", done.stderr
    assert files() == set()
    print("done")
    """,
    )


def test_all_that_a_killed_process_left_are_new_to_the_next(script: RunScript) -> None:
    """K26: two thousand files without a subscriber: each subscription makes a fresh state."""
    run(
        script,
        """
    pid = os.fork()
    if pid == 0:
        for one in states:
            put(one, 7)  # which subscribes again, as the child
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    assert {number(one) for one in states} == {7}
    old = {one.incarnation for one in states}
    namespace.close()
    assert files() == set()

    pid = os.fork()
    if pid == 0:
        mine = Namespace(directory)
        kept = [mine.subscribe(name, "rw", size=8) for name in names]
        for one in kept:
            put(one, 9)
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    after = Namespace(directory)
    assert after.names() == names
    fresh = [after.subscribe(name) for name in names]
    assert {(one.version, one.written) for one in fresh} == {(0, False)}
    assert not old & {one.incarnation for one in fresh}
    after.close()
    assert files() == set()
    print("done")
    """,
    )


def test_threads_that_list_at_once_see_all_names(namespace: Namespace) -> None:
    """A descriptor of a directory has one position, and it is shared by all threads."""
    names = sorted(f"s{i:03}" for i in range(300))
    states = [namespace.subscribe(name, "rw", size=8) for name in names]
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda _: namespace.names(), range(400)))
    assert all(one == names for one in seen)
    del states
