"""Subscribing: who makes a state, what it is then, and which subscribers meet in it."""

from __future__ import annotations

import os
import pickle
import stat
import struct
from pathlib import Path

import pytest

from holdfast import state as states
from holdfast.errors import Closed, InvalidArgument, NotFound, NotPermitted
from holdfast.state import PAGE_SIZE, Namespace
from tests.fixtures_state import MakePeer, RunScript
from tests.peer import PeerRaised


def mode_of(path: str | os.PathLike[str]) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


# -- making ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("permissions", ["r", "w", "rw"])
def test_any_permission_makes_a_state_that_is_not_there(
    namespace: Namespace, permissions: str
) -> None:
    """K20, K22, K34: of one page unless told otherwise, zeros, version 0, unwritten."""
    with namespace.subscribe("s", permissions) as state:
        assert state.size == PAGE_SIZE
        assert state.version == 0
        assert not state.written
        assert state.read() == bytes(PAGE_SIZE)


def test_a_consumer_may_come_first(namespace: Namespace, peer: MakePeer) -> None:
    """K2, K20: the reader makes the state, the writer comes later, the reader sees its bytes."""
    with namespace.subscribe("s", "r", size=4) as reader:
        peer()("w = ns.subscribe('s', 'rw')\nwith w.transaction() as t: t.data[:] = b'late'")
        assert reader.read() == b"late"


def test_what_must_exist_is_not_made(namespace: Namespace, directory: Path) -> None:
    """K20: create=False raises NotFound, which is a FileNotFoundError, and makes nothing."""
    with pytest.raises(NotFound) as caught:
        namespace.subscribe("s", "rw", create=False)
    assert isinstance(caught.value, FileNotFoundError)
    assert namespace.names() == []
    with namespace.subscribe("s", "rw"), namespace.subscribe("s", create=False) as state:
        assert state.version == 0


def test_what_the_dead_left_behind_does_not_exist(namespace: Namespace, peer: MakePeer) -> None:
    """K20, K26: with create=False a state whose subscribers were all killed is not found."""
    writer = peer()
    writer("w = ns.subscribe('s', 'rw')")
    writer.kill()
    with pytest.raises(NotFound):
        namespace.subscribe("s", create=False)


def test_sixty_four_processes_at_once_meet_in_one_state(script: RunScript) -> None:
    """K20: creation is atomic; all find the same incarnation in the same inode."""
    found = script("""
        import os, sys
        from holdfast.state import Namespace
        gate_r, gate_w = os.pipe()
        hold_r, hold_w = os.pipe()
        out_r, out_w = os.pipe()
        for number in range(64):
            if os.fork() == 0:
                os.close(gate_w), os.close(hold_w)
                os.read(gate_r, 1)  # until the parent opens the gate for all
                state = Namespace(sys.argv[1]).subscribe("s", "rw" if number % 2 else "r", size=64)
                inode = os.stat(state.path).st_ino
                os.write(out_w, f"{state.incarnation} {inode} {state.version}\\n".encode())
                os.read(hold_r, 1)  # until the parent has heard of all
                os._exit(0)
        os.close(gate_w), os.close(out_w)
        with os.fdopen(out_r) as answers:
            print(*[answers.readline() for _ in range(64)], sep="", end="")
    """)
    assert len(found.splitlines()) == 64
    assert len(set(found.splitlines())) == 1


def test_two_handles_of_one_process_are_two_subscribers(namespace: Namespace) -> None:
    """K17, K19: each call gives a new handle; what one commits the other reads."""
    with namespace.subscribe("s", "rw", size=1) as a, namespace.subscribe("s", "rw") as b:
        assert a is not b
        assert a.incarnation == b.incarnation
        with a.transaction() as txn:
            txn.data[0] = 7
        assert b.read() == b"\7"
        assert a.info().others
        a.close()
        assert not b.info().others
        assert b.read() == b"\7"


def test_a_handle_tells_what_it_is(namespace: Namespace) -> None:
    """K19: repr has name, permissions and version, and survives closing and deletion."""
    state = namespace.subscribe("imu", "rw", size=1)
    assert repr(state) == "<State 'imu' rw version=0>"
    with state.transaction() as txn:
        txn.data[0] = 1
    assert repr(state) == "<State 'imu' rw version=1>"
    state.delete()
    assert "deleted" in repr(state)
    state.close()
    assert repr(state) == "<State 'imu' closed>"


def test_closing_ends_a_handle_and_twice_is_harmless(namespace: Namespace) -> None:
    """K26, U4: everything but close() and the fixed facts raises Closed afterwards."""
    with namespace.subscribe("s", "rw", size=1) as state:
        pass
    state.close()
    assert state.closed
    for use in (
        state.read,
        lambda: state.readinto(bytearray(1)),
        state.snapshot,
        state.view,
        state.transaction,
        lambda: state.transact(bool),
        state.changed,
        lambda: state.wait(0),
        state.fileno,
        state.info,
        lambda: state.set_size(1),
        state.delete,
        lambda: state.size,
        lambda: state.version,
        lambda: state.written,
    ):
        with pytest.raises(Closed):
            use()
    assert (state.name, state.permissions) == ("s", "rw")


def test_a_closed_handle_that_is_asked_to_delete_disturbs_nobody(
    namespace: Namespace, peer: MakePeer
) -> None:
    """K26, K31: the subscriptions of other handles of the process are still in force."""
    closed = namespace.subscribe("s", "rw", size=1)
    with namespace.subscribe("s", "rw") as alive:
        closed.close()
        with pytest.raises(Closed):
            closed.delete()
        assert peer()("ns.subscribe('s').incarnation") == alive.incarnation


def test_a_namespace_closes_with_all_its_handles(directory: Path) -> None:
    """K26: and is of no more use; closing it twice is harmless."""
    namespace = Namespace(directory)
    a, b = namespace.subscribe("a"), namespace.subscribe("b")
    namespace.close()
    namespace.close()
    assert (a.closed, b.closed, namespace.closed) == (True, True, True)
    assert [path.suffix for path in directory.iterdir() if path.name != ".lock"] == []
    with pytest.raises(Closed):
        namespace.subscribe("a")
    with pytest.raises(Closed):
        namespace.names()


def test_a_handle_travels_by_pickle_as_a_subscription_of_its_own(namespace: Namespace) -> None:
    """K17: name, permissions and type come along; nothing of the descriptor does."""
    with namespace.subscribe("s", "rw", type="<2i") as state:
        state.transact(lambda txn: txn.write(0, struct.pack("<2i", 1, 2)))
        with pickle.loads(pickle.dumps(state)) as copy:
            assert copy.value == (1, 2)
            assert copy.permissions == "rw"
            assert copy.incarnation == state.incarnation


# -- sizes at subscription -------------------------------------------------------------------------


def test_an_unwritten_state_takes_the_size_that_a_writer_asks_for(namespace: Namespace) -> None:
    """K24: in either direction, by a commit that does not count as written."""
    with namespace.subscribe("s", "rw", size=100) as first:
        for size in (10, PAGE_SIZE, 64):
            with namespace.subscribe("s", "rw", size=size) as second:
                assert (first.size, second.size) == (size, size)
                assert not second.written


def test_an_unwritten_state_is_not_resized_by_a_reader(namespace: Namespace) -> None:
    """K23, K24: that needs permission to write; without it NotPermitted, and nothing changed."""
    with namespace.subscribe("s", "rw", size=100) as first:
        with pytest.raises(NotPermitted):
            namespace.subscribe("s", "r", size=10)
        with namespace.subscribe("s", "r", size=100) as same:
            assert same.size == 100
        assert (first.size, first.version) == (100, 0)


@pytest.mark.parametrize("size", [1, 99, 101, PAGE_SIZE])
@pytest.mark.parametrize("permissions", ["r", "rw"])
def test_a_written_state_must_have_the_size_that_a_subscriber_asks_for(
    namespace: Namespace, size: int, permissions: str
) -> None:
    """K25: InvalidArgument otherwise; nothing changed, and the subscription is not left behind."""
    with namespace.subscribe("s", "rw", size=100) as first:
        with first.transaction() as txn:
            txn.data[0] = 1
        before = first.snapshot()
        with pytest.raises(InvalidArgument):
            namespace.subscribe("s", permissions, size=size)
        assert first.snapshot() == before
        assert not first.info().others
        with namespace.subscribe("s", permissions, size=100) as same:
            assert same.snapshot() == before


# -- where, and for whom ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "umask",
    [
        0o000,
        0o022,
        0o077,
        pytest.param(
            0o777,
        ),
    ],
)
@pytest.mark.parametrize(
    ("mode", "of_directory"), [(0o600, 0o700), (0o640, 0o750), (0o660, 0o750), (0o644, 0o755)]
)
def test_modes_are_exact_under_any_umask(
    directory: Path, mode: int, of_directory: int, umask: int
) -> None:
    """§5.10: directory and files have what the namespace says, no more and no less."""
    before = os.umask(umask)
    try:
        with Namespace(directory, mode=mode) as namespace, namespace.subscribe("s") as state:
            assert mode_of(directory) == of_directory
            assert mode_of(state.path) == mode
            assert mode_of(directory / ".lock") == mode
            assert not mode_of(directory / "s.bell") & ~0o664
    finally:
        os.umask(before)


def test_states_are_private_unless_told_otherwise(namespace: Namespace, directory: Path) -> None:
    """§5.10: 0700 and 0600."""
    with namespace.subscribe("s"):
        assert mode_of(directory) == 0o700
        assert {mode_of(path) for path in directory.iterdir()} == {0o600}


@pytest.mark.parametrize("mode", [0, 0o400, 0o200, 0o607, 0o602, 0o700, 0o666, 0o1600, -1, 1 << 20])
def test_other_modes_are_refused(directory: Path, mode: int) -> None:
    """§5.10: the owner can read and write, nobody can execute, not everybody can write."""
    with pytest.raises(InvalidArgument):
        Namespace(directory, mode=mode)
    assert not directory.exists()


def test_the_default_directory_is_the_one_that_the_environment_names(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K14: HOLDFAST_STATE_DIR, made 0700 when it is needed."""
    monkeypatch.setenv("HOLDFAST_STATE_DIR", str(directory))
    with states.subscribe("s", "rw", size=1) as state:
        assert state.path == f"{directory}/s.state"
        assert mode_of(directory) == 0o700
    with Namespace() as namespace:
        assert namespace.path == str(directory)


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777])
def test_a_default_directory_that_others_can_write_is_refused(
    directory: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    """§5.10: they could put anything in the place of a state."""
    directory.mkdir()
    directory.chmod(mode)
    monkeypatch.setenv("HOLDFAST_STATE_DIR", str(directory))
    with pytest.raises(NotPermitted):
        states.subscribe("s", "rw")
    assert list(directory.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_default_directory_of_somebody_else_is_refused(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """§5.10: whoever was first at a name that everybody can guess."""
    directory.mkdir(mode=0o700)
    os.chown(directory, 65533, 65533)
    monkeypatch.setenv("HOLDFAST_STATE_DIR", str(directory))
    with pytest.raises(NotPermitted):
        states.subscribe("s", "rw")
    assert list(directory.iterdir()) == []


def test_a_default_directory_that_is_a_link_or_a_file_is_refused(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """§5.10: a link could be turned elsewhere."""
    (directory.parent / "real").mkdir(mode=0o700)
    directory.symlink_to(directory.parent / "real")
    monkeypatch.setenv("HOLDFAST_STATE_DIR", str(directory))
    with pytest.raises(NotPermitted):
        states.subscribe("s", "rw")
    directory.unlink()
    directory.write_bytes(b"mine")
    with pytest.raises(InvalidArgument):
        states.subscribe("s", "rw")
    assert directory.read_bytes() == b"mine"


def test_many_states_live_side_by_side(namespace: Namespace) -> None:
    """K14: each is a file of its own."""
    handles = [namespace.subscribe(f"s{i}", "rw", size=8) for i in range(200)]
    for i, handle in enumerate(handles):
        with handle.transaction() as txn:
            txn.data[:] = i.to_bytes(8, "little")
    assert [int.from_bytes(h.read(), "little") for h in handles] == list(range(200))
    assert len(namespace.names()) == 200
    for handle in handles:
        handle.close()
    assert namespace.names() == []


def test_an_error_in_another_process_has_its_name(namespace: Namespace, peer: MakePeer) -> None:
    """K20: NotFound there as here."""
    with pytest.raises(PeerRaised, match=r"^NotFound"):
        peer()("ns.subscribe('s', create=False)")
