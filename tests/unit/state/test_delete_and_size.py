"""Deleting a state, and changing how many bytes it holds."""

from __future__ import annotations

import select
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.errors import Busy, Conflict, Deleted, InvalidArgument, NotPermitted
from holdfast.state import PAGE_SIZE, Namespace, State
from tests.fixtures_state import MakePeer, RunScript
from tests.peer import PeerRaised


@pytest.fixture
def state(namespace: Namespace) -> State:
    return namespace.subscribe("s", "rw", size=100)


def put(state: State, data: bytes) -> None:
    state.transact(lambda txn: txn.write(0, data))


# -- size, unwritten ------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(50, 200), (1, PAGE_SIZE), (PAGE_SIZE, 1, 64), (101, 99, 100)])
def test_before_the_first_write_any_size_will_do(state: State, sizes: tuple[int, ...]) -> None:
    """K24: in either direction; each is a commit, and none counts as written (K23)."""
    for number, size in enumerate(sizes, 1):
        state.set_size(size)
        assert (state.size, state.version, state.written) == (size, number, False)
        assert state.read() == bytes(size)
        assert len(state.transaction().data) == size


def test_the_same_size_is_no_change(state: State) -> None:
    """K25: success, and no version."""
    state.set_size(100)
    assert state.version == 0
    put(state, b"x")
    state.set_size(100)
    assert state.version == 1


# -- size, written --------------------------------------------------------------------------------


def test_a_written_state_never_shrinks(state: State) -> None:
    """K25: InvalidArgument, and nothing changes."""
    put(state, b"x" * 100)
    before = state.snapshot()
    for size in (1, 64, 99):
        with pytest.raises(InvalidArgument):
            state.set_size(size)
    assert state.snapshot() == before


def test_a_written_state_grows_with_zeros(state: State) -> None:
    """K25: old bytes stay, new ones are zeros, in every step up to a page."""
    put(state, b"x" * 100)
    for number, size in enumerate([101, 128, 129, 1000, PAGE_SIZE], 2):
        state.set_size(size)
        assert (state.size, state.version) == (size, number)
        assert state.read() == b"x" * 100 + bytes(size - 100)
        assert state.written
    put(state, b"y" * PAGE_SIZE)
    assert state.read() == b"y" * PAGE_SIZE


def test_growth_is_seen_by_those_who_subscribed_before(
    state: State, namespace: Namespace, peer: MakePeer
) -> None:
    """K25: by readers here and elsewhere, which map nothing again."""
    reader = namespace.subscribe("s")
    elsewhere = peer()
    elsewhere("r = ns.subscribe('s', 'rw')")
    put(state, b"abc")
    for size in (200, 500, PAGE_SIZE):
        state.set_size(size)
        for number in range(20):  # through every slot
            put(state, b"%d" % number)
        assert elsewhere("(r.size, len(r.read()), r.read()[:2])") == (size, size, b"19")
        assert (reader.size, reader.read()) == (size, state.read())
    elsewhere("r.transact(lambda t: t.write(4000, b'far'))")
    assert reader.read()[4000:4003] == b"far"


def test_a_change_of_size_conflicts_with_open_transactions(state: State) -> None:
    """K23: it is a commit; watchers are woken by it."""
    watcher = state
    txn = state.transaction()
    state.set_size(200)
    assert watcher.wait(10)
    txn.data[0] = 1
    with pytest.raises(Conflict):
        txn.commit()


def test_a_change_of_size_keeps_what_an_older_transaction_has(state: State) -> None:
    """K39: its private copy has the size of its start."""
    txn = state.transaction()
    state.set_size(10)
    assert len(txn.data) == 100
    txn.abort()


def test_a_written_state_is_never_shrunk_in_a_race(script: RunScript) -> None:
    """K25: set_size against the first write from two processes, again and again."""
    script("""
        import os, sys
        from holdfast.errors import Conflict, InvalidArgument
        from holdfast.state import Namespace

        def shrink(state):
            try:
                state.set_size(10)
                return 1
            except InvalidArgument:
                return 0

        def write(state):
            state.transact(lambda txn: txn.write(0, b"x" * len(txn.data)))

        shrunk = 0
        namespace = Namespace(sys.argv[1])
        ping_r, ping_w = os.pipe()
        pong_r, pong_w = os.pipe()
        if os.fork() == 0:
            while True:
                name = os.read(ping_r, 8).decode()
                if name == "stop":
                    os._exit(0)
                with namespace.subscribe(name, "rw") as state:
                    os.write(pong_w, b".")
                    os.read(ping_r, 1)
                    os.write(pong_w, b"1" if shrink(state) else b"0")
                    os.read(ping_r, 1)
                    assert state.read() == b"x" * state.size
        for number in range(1000):
            with namespace.subscribe(f"s{number}", "rw", size=20) as state:
                os.write(ping_w, state.name.encode())
                os.read(pong_r, 1)
                os.write(ping_w, b"g")
                write(state)
                was_shrunk = os.read(pong_r, 1) == b"1"
                shrunk += was_shrunk
                assert state.size == (10 if was_shrunk else 20)
                assert state.read() == b"x" * state.size, state.read()
                os.write(ping_w, b"g")
        os.write(ping_w, b"stop")
        print(shrunk)
    """)


# -- deletion -------------------------------------------------------------------------------------


def uses(state: State) -> list[Callable[[], object]]:
    return [
        state.read,
        lambda: state.readinto(bytearray(PAGE_SIZE)),
        state.snapshot,
        state.view,
        state.transaction,
        lambda: state.size,
        lambda: state.version,
        lambda: state.written,
        state.changed,
        state.info,
        lambda: state.wait(0),
        lambda: state.wait(None),
    ]


def test_every_use_of_a_deleted_state_fails(state: State, namespace: Namespace) -> None:
    """K32: with Deleted, through every handle of the process; closing is still harmless."""
    reader = namespace.subscribe("s")
    txn = state.transaction()
    txn.data[0] = 1
    state.delete()
    for handle in (state, reader):
        for use in uses(handle):
            with pytest.raises(Deleted):
                use()
    with pytest.raises(Deleted):
        txn.commit()
    with pytest.raises(Deleted):
        state.delete()
    with pytest.raises(Deleted):
        state.set_size(200)
    state.close()
    reader.close()


def test_a_new_subscription_makes_a_new_state(
    state: State, namespace: Namespace, directory: Path
) -> None:
    """K32: at version 0; the files of the old one are gone at once."""
    put(state, b"old")
    state.delete()
    assert [path.name for path in directory.iterdir()] == [".lock"]
    with namespace.subscribe("s", "rw", size=3) as fresh:
        assert (fresh.version, fresh.read()) == (0, bytes(3))
        assert fresh.incarnation != state.incarnation
        put(fresh, b"new")
        state.close()  # the old one takes nothing of the new one with it
        assert namespace.names() == ["s"]
        with namespace.subscribe("s") as same:
            assert same.read() == b"new"


def test_deleting_needs_permission_to_write(state: State, namespace: Namespace) -> None:
    """K30: NotPermitted; the state is as it was."""
    with namespace.subscribe("s") as reader, pytest.raises(NotPermitted):
        reader.delete()
    assert state.version == 0


@pytest.mark.parametrize("permissions", ["r", "rw"])
def test_another_process_keeps_a_state_from_being_deleted(
    state: State, namespace: Namespace, peer: MakePeer, permissions: str
) -> None:
    """K31: Busy and nothing changed, until it has been killed, even before it is reaped."""
    put(state, b"kept")
    mine = namespace.subscribe("s")
    other = peer()
    other(f"s = ns.subscribe('s', {permissions!r})")
    with pytest.raises(Busy):
        state.delete()
    assert other("s.read()[:4]") == b"kept"
    assert (state.read()[:4], mine.read()[:4]) == (b"kept", b"kept")
    with pytest.raises(PeerRaised, match=r"^Busy|^NotPermitted"):
        other("s.delete()")  # we are still subscribed, too
    other.kill(reap=False)
    state.delete()
    with pytest.raises(Deleted):
        mine.read()


def test_another_process_that_has_closed_is_in_nobodys_way(state: State, peer: MakePeer) -> None:
    """K31: it is subscriptions that count, not processes."""
    other = peer()
    other("s = ns.subscribe('s', 'rw'); s.close()")
    state.delete()


def test_an_open_transaction_of_a_closed_handle_is_our_own(
    state: State, namespace: Namespace
) -> None:
    """K31: only other processes keep a state from being deleted."""
    txn = state.transaction()
    state.close()
    with namespace.subscribe("s", "rw") as mine:
        mine.delete()
    txn.abort()


def test_a_busy_delete_leaves_all_subscriptions_in_force(
    state: State, namespace: Namespace, peer: MakePeer
) -> None:
    """K26, K31: the question whether anybody else is there costs nobody his own."""
    put(state, b"kept")
    mine = [namespace.subscribe("s", p) for p in ("r", "rw", "r")]
    other = peer()
    other("s = ns.subscribe('s')")
    with pytest.raises(Busy):
        state.delete()
    other("s.close()")
    for handle in [state, *mine]:
        assert other("ns.subscribe('s').read()[:4]") == b"kept"
        handle.close()
    assert namespace.names() == []


def test_a_watcher_is_woken_by_deletion(state: State, namespace: Namespace) -> None:
    """K32, K55f: its descriptor is readable, and the look says Deleted."""
    watcher = namespace.subscribe("s")
    fd = watcher.fileno()
    assert select.select([fd], [], [], 0) == ([], [], [])
    state.delete()
    assert select.select([fd], [], [], 10)[0] == [fd]
    with pytest.raises(Deleted):
        watcher.changed()
