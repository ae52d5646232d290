"""What a state costs, whom it lets in, and what happens when memory runs out."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from holdfast.state import Namespace, State
from tests.fixtures_state import MakePeer, RunScript
from tests.peer import Peer, PeerRaised

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
STRANGER, GROUP = 65531, 65532


def put(state: State, number: int) -> None:
    state.transact(lambda txn: txn.write(0, bytes([number])))


# -- readers of another user -----------------------------------------------------------------------


@pytest.fixture
def shared(directory: Path) -> Path:
    """A directory whose files belong to a group, as an administrator would prepare it."""
    directory.parent.chmod(0o711)
    directory.mkdir()
    os.chown(directory, -1, GROUP)
    directory.chmod(0o2750)
    return directory


def become(peer: Peer, directory: Path, *, groups: list[int]) -> None:
    """Make the peer another user, with a namespace that it has opened as that user."""
    peer("ns.close()")
    peer(f"os.setgroups({groups}); os.setgid({STRANGER}); os.setuid({STRANGER})")
    peer(f"ns = state.Namespace({str(directory)!r}, mode=0o640)")
    assert peer("os.geteuid()") == STRANGER


MAPPINGS = "[l.split()[1] for l in open('/proc/self/maps') if 's.state' in l]"
ACCESS = (
    "[int(open(f'/proc/self/fdinfo/{fd}').read().split('flags:')[1].split()[0], 8) & os.O_ACCMODE"
    " for fd in os.listdir('/proc/self/fd')"
    " if os.path.exists(f'/proc/self/fd/{fd}') and 's.state' in os.readlink(f'/proc/self/fd/{fd}')]"
)


@AS_ROOT
def test_a_reader_of_another_user_needs_nothing_but_read_permission(
    shared: Path, peer: MakePeer
) -> None:
    """K5, K21, §5.10: it reads, watches and waits; its memory and its descriptor are read-only."""
    with Namespace(shared, mode=0o640) as namespace:
        writer = namespace.subscribe("s", "rw", size=64)
        writer.transact(lambda txn: txn.write(0, b"for all"))
        reader = peer(mode=0o640)
        become(reader, shared, groups=[GROUP])
        assert reader("(r := ns.subscribe('s')).read()[:7]") == b"for all"
        assert reader(MAPPINGS) == ["r--s"]
        assert reader(ACCESS) == [os.O_RDONLY]
        with pytest.raises(PeerRaised, match=r"^NotPermitted"):
            reader("ns.subscribe('s', 'rw')")
        with pytest.raises(PeerRaised, match=r"^NotPermitted"):
            reader("r.delete()")
        reader("r.fileno()")
        assert reader("r.info().watch") == "timer"  # the bell is not its to write
        for number in range(1, 20):
            reader.start("r.wait(30) and r.read()[0]")
            put(writer, number)
            assert reader.result() == number
        reader("r.close()")
        assert namespace.names() == ["s"]
        assert writer.read()[0] == 19


@AS_ROOT
def test_a_killed_reader_of_another_user_leaves_nothing(shared: Path, peer: MakePeer) -> None:
    """§5.10: no lock, no slot, no count that somebody would have to clear up."""
    with Namespace(shared, mode=0o640) as namespace:
        writer = namespace.subscribe("s", "rw", size=64)
        reader = peer(mode=0o640)
        become(reader, shared, groups=[GROUP])
        reader("r = ns.subscribe('s'); r.fileno(); v = r.view(); t = r.transaction()")
        assert writer.info().others
        reader.kill(reap=False)
        assert not writer.info().others
        for _ in range(20):
            writer.transact(lambda txn: txn.write(0, bytes([(txn.data[0] + 1) % 256])))
        writer.delete()


@AS_ROOT
def test_a_stranger_is_kept_out(shared: Path, peer: MakePeer) -> None:
    """§5.10: who is not of the group cannot even open the directory."""
    with Namespace(shared, mode=0o640) as namespace, namespace.subscribe("s", "rw"):
        stranger = peer(mode=0o640)
        with pytest.raises(PeerRaised, match=r"^NotPermitted"):
            become(stranger, shared, groups=[])


@AS_ROOT
def test_a_private_namespace_keeps_the_group_out(shared: Path, peer: MakePeer) -> None:
    """§5.10: mode 0600 lets only its owner read, whatever the directory allows."""
    with Namespace(shared) as namespace, namespace.subscribe("s", "rw"):
        reader = peer()
        become(reader, shared, groups=[GROUP])
        with pytest.raises(PeerRaised, match=r"^NotPermitted"):
            reader("ns.subscribe('s')")


@AS_ROOT
@pytest.mark.parametrize("create", [True, False])
def test_a_reader_of_another_user_is_told_where_only_the_dead_have_been(
    shared: Path, peer: MakePeer, create: bool
) -> None:
    """K20, K26: it can neither remove what they left nor make anew; an error of ours says so."""
    with Namespace(shared, mode=0o640) as namespace:
        writer = peer(mode=0o640)
        writer("w = ns.subscribe('s', 'rw')")
        writer.kill()
        reader = peer(mode=0o640)
        become(reader, shared, groups=[GROUP])
        with pytest.raises(PeerRaised, match=r"^NotPermitted|^NotFound"):
            reader(f"ns.subscribe('s', create={create})")
        assert namespace.names() == ["s"]


@AS_ROOT
def test_a_reader_of_another_user_makes_nothing(shared: Path, peer: MakePeer) -> None:
    """K20: NotPermitted where the state is missing; NotFound if it need not be made."""
    with Namespace(shared, mode=0o640) as namespace:
        namespace.subscribe("other").close()
        reader = peer(mode=0o640)
        become(reader, shared, groups=[GROUP])
        with pytest.raises(PeerRaised, match=r"^NotPermitted"):
            reader("ns.subscribe('s')")
        with pytest.raises(PeerRaised, match=r"^NotFound"):
            reader("ns.subscribe('s', create=False)")


# -- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "most"), [(1, 8192), (64, 8192), (256, 8192), (4096, 45056)])
def test_a_small_state_costs_little(
    namespace: Namespace, directory: Path, size: int, most: int
) -> None:
    """Issue B: 64 bytes cost at most 8 KiB of shared memory, used or not, watched or not."""
    with namespace.subscribe("s", "rw", size=size) as state, namespace.subscribe("s") as reader:
        reader.fileno()
        for number in range(20):
            put(state, number + 1)
            reader.read()
        used = sum(path.stat().st_blocks * 512 for path in directory.iterdir())
        assert used <= most
        assert state.info().memory_bytes == used


def test_growth_takes_what_it_needs(namespace: Namespace, directory: Path) -> None:
    """K25: a state that has grown to a page and been written through every slot."""
    with namespace.subscribe("s", "rw", size=64) as state:
        state.transact(lambda txn: txn.write(0, b"x"))
        state.set_size(4096)
        for number in range(20):
            put(state, number + 1)
        used = sum(path.stat().st_blocks * 512 for path in directory.iterdir())
        assert used <= 8192 + 8 * 4096 + 4096


@functools.cache
def unshare() -> tuple[str, ...]:
    """A command before a command that gives it a mount namespace of its own."""
    with tempfile.TemporaryDirectory() as where:
        mount = ("mount", "-t", "tmpfs", "none", where)  # which some forbid
        for command in (("unshare", "-m"), ("unshare", "-Urm")):
            try:
                if subprocess.run([*command, *mount], capture_output=True).returncode == 0:
                    return command
            except FileNotFoundError:
                break
    pytest.skip("no mount namespaces here (unshare)")


ON_A_FULL_DISK = """
    import os, subprocess, sys
    from holdfast.errors import OutOfSpace
    from holdfast.state import Namespace

    directory = sys.argv[1]
    os.mkdir(directory, 0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "none", directory]
    subprocess.run(mount, check=True)
    namespace = Namespace(directory)
    namespace.subscribe("first", "rw", size=1).close()

    def pages_free():
        facts = os.statvfs(directory)
        return facts.f_bavail * facts.f_frsize // 4096

    def leave(pages):
        if os.path.exists(directory + "/filler"):
            os.unlink(directory + "/filler")
        taken = pages_free() - pages
        assert taken > 0, (pages, pages_free(), os.listdir(directory))
        with open(directory + "/filler", "wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, taken * 4096)
        assert pages_free() == pages
"""


def test_where_there_is_no_room_for_a_state_none_is_made(script: RunScript) -> None:
    """Issue B: OutOfSpace, whatever is free; what is made can be used through every slot."""
    said = script(
        ON_A_FULL_DISK
        + """
    outcomes = ""
    for pages in range(12):
        leave(pages)
        try:
            with namespace.subscribe("s", "rw", size=4096) as state:
                for number in range(20):
                    state.transact(lambda txn: txn.write(0, bytes([number + 1]) * 4096))
                    assert state.read() == bytes([number + 1]) * 4096
            outcomes += "."
            del state
        except OutOfSpace as error:
            assert isinstance(error, OSError)
            outcomes += "x"
        assert namespace.names() == []
    print(outcomes)
    """,
        before=unshare(),
    )
    assert said.startswith("x" * 9)
    assert said.endswith("..")  # ten pages suffice: nine for the state, one for its bell


def test_a_state_that_could_not_be_made_leaves_no_file(script: RunScript) -> None:
    """Issue B: the room that there was is still there."""
    script(
        ON_A_FULL_DISK
        + """
    for pages in range(10):
        leave(pages)
        try:
            namespace.subscribe("s", "rw", size=4096).close()
        except OutOfSpace:
            pass
        assert sorted(os.listdir(directory)) == [".lock", "filler"], os.listdir(directory)
        assert pages_free() == pages
    """,
        before=unshare(),
    )


def test_where_there_is_no_room_to_grow_a_state_stays_as_it_is(script: RunScript) -> None:
    """Issue B, K25: OutOfSpace and never SIGBUS; it goes on, and grows once there is room."""
    script(
        ON_A_FULL_DISK
        + """
    leave(4)
    state = namespace.subscribe("s", "rw", size=64)
    reader = namespace.subscribe("s")
    state.transact(lambda txn: txn.write(0, b"kept"))
    for size in (1000, 4096):
        leave(0)
        before = state.snapshot()
        for _ in range(20):
            try:
                state.set_size(size)
            except OutOfSpace:
                continue
            raise AssertionError("it grew")
        assert state.snapshot() == before
        for number in range(20):
            state.transact(lambda txn: txn.write(4, bytes([number])))
            assert reader.read()[:5] == b"kept" + bytes([number])
    leave(11)
    state.set_size(4096)
    for number in range(20):
        state.transact(lambda txn: txn.write(0, bytes([number + 1]) * 4096))
        assert reader.read() == bytes([number + 1]) * 4096
    """,
        before=unshare(),
    )


def test_commits_that_need_a_larger_slot_fail_whole_where_there_is_no_room(
    script: RunScript,
) -> None:
    """Issue B: after growth each slot is extended when its turn comes."""
    script(
        ON_A_FULL_DISK
        + """
    leave(3)
    state = namespace.subscribe("s", "rw", size=64)
    reader = namespace.subscribe("s")
    state.set_size(4096)  # the page that was left: larger extents are page aligned
    assert pages_free() == 0
    expected = bytes(4096)
    committed = failed = 0
    for number in range(40):
        try:
            state.transact(lambda txn: txn.write(0, bytes([number + 1]) * 4096))
            expected = bytes([number + 1]) * 4096
            committed += 1
        except OutOfSpace:
            failed += 1
        assert reader.read() == expected
    assert failed
    leave(0) if pages_free() else os.unlink(directory + "/filler")
    state.transact(lambda txn: txn.write(0, b"room"))
    assert reader.read()[:4] == b"room"
    """,
        before=unshare(),
    )


UNINSTRUMENTED = pytest.mark.skipif(
    "san.so" in os.environ.get("LD_PRELOAD", ""), reason="a sanitizer makes system calls of its own"
)

# -- system calls ---------------------------------------------------------------------------------


@UNINSTRUMENTED
@pytest.mark.parametrize(
    "work",
    [
        "reader.read()",
        "reader.readinto(buffer)",
        "reader.view().check()",
        "reader.snapshot()",
        "reader.changed(), reader.version",
        "write()",
        "writer.transaction().abort()",
        "writer.transaction().commit(force=True), reader.read()",
    ],
)
def test_reading_and_committing_make_no_system_call(script: RunScript, work: str) -> None:
    """K5, K60: a thousand times in turn, traced: none."""
    said = script(
        f"""
        import gc, sys
        from holdfast.state import Namespace
        from tests import tracing

        namespace = Namespace(sys.argv[1])

        def body():
            writer = namespace.subscribe("s", "rw", size=256)
            reader = namespace.subscribe("s")
            buffer = bytearray(256)

            def write():
                with writer.transaction() as txn:
                    txn.data[0] = (txn.data[0] + 1) % 256

            gc.disable()
            for _ in range(100):  # until memory has been allocated
                {work}
            tracing.mark()
            for _ in range(1000):
                {work}
            tracing.mark()
            reader.close(), writer.close()

        print(len(tracing.between_marks(body)))
        """
    )
    assert said == "0"


@UNINSTRUMENTED
def test_a_waiting_reader_costs_a_commit_one_system_call(script: RunScript) -> None:
    """K55, K71: and an idle one, which has been told and does not look, none."""
    said = script(
        """
        import gc, sys
        from holdfast.state import Namespace
        from tests import tracing

        namespace = Namespace(sys.argv[1])

        def body():
            writer = namespace.subscribe("s", "rw", size=256)
            reader = namespace.subscribe("s")
            gc.disable()
            writer.transaction().commit(force=True)
            reader.fileno()
            reader.read()
            tracing.mark()
            for _ in range(1000):
                writer.transaction().commit(force=True)
            tracing.mark()
            reader.close(), writer.close()

        print(len(tracing.between_marks(body)))
        """
    )
    assert said == "1"
