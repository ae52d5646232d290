"""Several states in one commit: between processes, threads and forks, and in the table's file.

What one process can see by itself is in the conformance suite, the deaths are in tests/kill.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import struct
import threading
from itertools import product
from pathlib import Path

import pytest

from holdfast import state
from holdfast.errors import Conflict, Damaged, InvalidArgument
from holdfast.state import Namespace, State
from tests.fixtures_state import MakePeer, RunScript

NAMES = ["a", "b", "c", "d", "e"]
TABLE = ".txn"
DESCRIPTORS = 64
UNDECIDED, COMMITTED, ABORTED = 1, 2, 3


@pytest.fixture
def states(namespace: Namespace) -> list[State]:
    return [namespace.subscribe(name, "rw", size=8) for name in NAMES]


def put(one: State, value: int) -> None:
    with one.transaction() as txn:
        txn.data[:] = value.to_bytes(8, "little")


def number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def numbers(states: list[State]) -> list[int]:
    return [number(snapshot.data) for snapshot in state.snapshot(*states)]


def put_all(states: list[State], value: int) -> None:
    with state.transaction(*states) as txn:
        for one in states:
            txn[one].data[:] = value.to_bytes(8, "little")


# -- independence ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("inner", "outer"), list(product(["commit", "abort"], repeat=2)))
@pytest.mark.parametrize("shared", [0, 1, 2])
def test_overlapping_transactions_are_independent(
    states: list[State], inner: str, outer: str, shared: int
) -> None:
    """K11, K52, K68: the first commit wins where they share a member, both where they do not."""
    first = state.transaction(*states[:2])
    second = state.transaction(*[states[:2], [states[1], states[2]], states[2:4]][2 - shared])
    first.data[0], second.data[0] = 1, 2
    assert numbers(states) == [0] * 5
    getattr(second, inner)()
    if shared and inner == outer == "commit":
        with pytest.raises(Conflict):
            first.commit()
    else:
        getattr(first, outer)()
    lost = bool(shared) and inner == "commit"
    assert (states[0].read()[0] == 1) == (outer == "commit" and not lost)


@pytest.mark.parametrize("inside", range(3))
def test_a_single_commit_inside_is_a_commit_like_any_other(
    states: list[State], inside: int
) -> None:
    """K11, K68: a joint transaction of a and b conflicts with a commit on either, not on c."""
    txn = state.transaction(states[0], states[1])
    txn.data[0] = 1
    put(states[inside], 7)
    assert number(bytes(txn[states[1]].data)) == 0
    if inside < 2:
        with pytest.raises(Conflict):
            txn.commit()
    else:
        txn.commit()


def test_open_transactions_hold_nobody_up(states: list[State], peer: MakePeer) -> None:
    """K10, K69: a thousand of them in a stopped process; others commit on."""
    other = peer()
    other(f"members = [ns.subscribe(n, 'rw') for n in {NAMES}]")
    other("kept = [state.transaction(*members) for _ in range(1000)]")
    other("for txn in kept: txn.data[0] = 1")
    os.kill(other.pid, signal.SIGSTOP)
    for value in range(1, 101):
        put_all(states, value)
    os.kill(other.pid, signal.SIGCONT)
    assert numbers(states) == [100] * 5
    other(
        "def attempt(txn):\n"
        "    try: txn.commit()\n"
        "    except errors.Conflict: return 1\n"
        "    return 0\n"
    )
    assert other("sum(attempt(txn) for txn in kept)") == 1000


# -- several processes, threads, a fork -----------------------------------------------------------

ADDS = """
import random
members = [ns.subscribe(n, 'rw') for n in {order}]
def add(txn):
    for m in members:
        part = txn[m]
        part.write(0, (int.from_bytes(part.data, 'little') + 1).to_bytes(8, 'little'))
"""


@pytest.mark.parametrize("orders", [("ab", "ba"), ("abcde", "edcba"), ("abc", "cde", "ea")])
def test_processes_that_share_members_lose_nothing(
    states: list[State], peer: MakePeer, orders: tuple[str, ...]
) -> None:
    """K68: in whatever order they name them: every commit counts once, in each of its members."""
    times = 1000
    others = [peer() for _ in orders]
    for other, order in zip(others, orders, strict=True):
        other(ADDS.format(order=list(order)))
        other.start(f"for _ in range({times}): members[0].transact(add, *members[1:])")
    for other in others:
        other.result()
    expected = [times * sum(name in order for order in orders) for name in NAMES]
    assert numbers(states) == expected


def test_a_snapshot_in_another_process_never_shows_half(
    states: list[State], peer: MakePeer
) -> None:
    """K68: five states that always hold the same number, whoever looks."""
    readers = [peer(), peer()]
    for reader in readers:
        reader(f"members = [ns.subscribe(n) for n in {NAMES}]")
        reader(
            "def watch(until):\n"
            "    seen, shown = 0, {0}\n"
            "    while seen < until:\n"
            "        found = {(s.version, s.data) for s in state.snapshot(*members)}\n"
            "        assert len(found) == 1, found\n"
            "        now = int.from_bytes(found.pop()[1], 'little')\n"
            "        assert now >= seen\n"
            "        seen = now; shown.add(now)\n"
            "    return len(shown)\n"
        )
        reader.start("watch(20000)")
    for value in range(1, 20_001):
        put_all(states, value)
    assert all(reader.result() > 1 for reader in readers)


def test_threads_that_share_members_lose_nothing(states: list[State]) -> None:
    """K68: each with a transaction of its own on the same handles."""
    a, b = states[:2]

    def work() -> None:
        for _ in range(500):
            a.transact(both, b)

    def both(txn: state.Transaction) -> None:
        for one in (a, b):
            txn[one].write(0, (number(bytes(txn[one].data)) + 1).to_bytes(8, "little"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert numbers([a, b]) == [2000, 2000]


def test_a_forks_child_commits_the_copy_of_a_transaction(script: RunScript) -> None:
    """K57, §5.8: under its own subscriptions; the parent's copy then conflicts."""
    script("""
        import os, sys
        from holdfast import state
        from holdfast.errors import Conflict
        from holdfast.state import Namespace

        namespace = Namespace(sys.argv[1])
        a, b = (namespace.subscribe(name, "rw", size=8) for name in "ab")
        txn = state.transaction(a, b)
        txn[a].data[0] = txn[b].data[0] = 1
        pid = os.fork()
        if pid == 0:
            txn.commit()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert [one.data[0] for one in state.snapshot(a, b)] == [1, 1]
        try:
            txn.commit()
        except Conflict:
            pass
        else:
            raise AssertionError("no conflict")
    """)


def test_a_stopped_committer_holds_nobody_up(states: list[State], peer: MakePeer) -> None:
    """K68, §5.4: whoever meets its undecided commit aborts it and goes on; nothing is half done."""
    a, b = states[:2]
    other = peer()
    other(ADDS.format(order=["a", "b"]))
    other("stop = False; signal.signal(signal.SIGUSR1, lambda *_: globals().update(stop=True))")
    other.start("while not stop: members[0].transact(add, *members[1:])")
    mine = 0
    while mine < 300:
        os.kill(other.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, other.pid, os.WSTOPPED)
        for one in (a, b):  # each by itself, in turn
            one.transact(
                lambda txn: txn.write(0, (number(bytes(txn.data)) + 1).to_bytes(8, "little"))
            )
        mine += 1
        found = numbers([a, b])
        assert found[0] == found[1]
        os.kill(other.pid, signal.SIGCONT)
    os.kill(other.pid, signal.SIGUSR1)
    other.result()
    found = numbers([a, b])
    assert found[0] == found[1]


# -- who is told ----------------------------------------------------------------------------------


def test_watchers_of_what_was_changed_are_woken(namespace: Namespace, states: list[State]) -> None:
    """K55, K68: those of a member that was only required are not."""
    readers = [namespace.subscribe(name) for name in NAMES[:3]]
    fds = [reader.fileno() for reader in readers]
    with state.transaction(*states[:3]) as txn:
        txn[states[0]].data[0] = txn[states[2]].data[0] = 1
    assert set(select.select(fds, [], [], 0)[0]) == {fds[0], fds[2]}
    for _ in range(3):
        txn = state.transaction(*states[:3])
        txn.data[0] = 9
        put(states[1], 5 + states[1].version)
        with pytest.raises(Conflict):
            txn.commit()
    readers[0].read(), readers[2].read()
    assert select.select(fds, [], [], 0)[0] == [fds[1]]


def test_a_snapshot_spans_directories(namespace: Namespace, directory: Path) -> None:
    """K68: a transaction does not."""
    with Namespace(f"{directory}.2") as second:
        here, there = (one.subscribe("s", "rw", size=8) for one in (namespace, second))
        put(here, 1)
        put(there, 2)
        assert numbers([here, there]) == [1, 2]
        with pytest.raises(InvalidArgument):
            state.transaction(here, there)


# -- the table ------------------------------------------------------------------------------------


def test_the_table_is_made_by_the_first_who_needs_it(states: list[State], directory: Path) -> None:
    """§5.1: with the permissions of the namespace; single commits do without."""
    put(states[0], 1)
    assert not (directory / TABLE).exists()
    put_all(states, 2)
    status = (directory / TABLE).stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert status.st_size == 64 * DESCRIPTORS


@pytest.mark.parametrize("left", [UNDECIDED, COMMITTED, ABORTED])
def test_what_dead_committers_left_in_the_table_is_cleared(
    states: list[State], directory: Path, left: int
) -> None:
    """K68, §5.4: when all 64 descriptors are taken and no state names them."""
    put_all(states, 1)
    with open(directory / TABLE, "r+b") as table:
        for index in range(DESCRIPTORS):
            table.seek(64 * index)
            (word,) = struct.unpack("<Q", table.read(8))
            table.seek(64 * index)
            table.write(struct.pack("<Q", (word >> 16) + 1 << 16 | left))
    put_all(states, 2)
    assert numbers(states) == [2] * 5
    words = struct.unpack("<" + "Q56x" * DESCRIPTORS, (directory / TABLE).read_bytes())
    assert {word & 3 for word in words} == {0}


def test_a_table_that_is_too_short_is_refused(states: list[State], directory: Path) -> None:
    """§5.2: Damaged, instead of a fault at the first look into it; single commits go on."""
    (directory / TABLE).write_bytes(b"")
    with pytest.raises(Damaged), state.transaction(*states) as txn:
        txn.data[0] = 1
    put(states[0], 3)
    assert numbers(states) == [3, 0, 0, 0, 0]


def test_descriptors_are_used_again(states: list[State], directory: Path) -> None:
    """K68: ten thousand commits leave none of them taken, and as many conflicts."""
    for value in range(1, 5001):
        put_all(states[:2], value)
        txn = state.transaction(*states[:2])
        txn.data[0] ^= 1
        put(states[1], value + 1)
        with pytest.raises(Conflict):
            txn.commit()
    words = struct.unpack("<" + "Q56x" * DESCRIPTORS, (directory / TABLE).read_bytes())
    assert {word & 3 for word in words} == {0}
    assert sum(word >> 16 for word in words) == 10_000
