"""What shared state takes for granted of Linux: if one of these fails, the design is on sand."""

from __future__ import annotations

import array
import errno
import fcntl
import mmap
import os
import select
import struct
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast._native import kernel
from tests.fixtures_state import MakePeer

FLOCK = struct.Struct("@hhqqi4x")
SOON_MS = 30_000
FAR = 1 << 40  # behind any data


@pytest.fixture
def file(directory: Path) -> Path:
    directory.mkdir(mode=0o700)
    path = directory / "file"
    path.write_bytes(bytes(8192))
    return path


@pytest.fixture
def inotify() -> Iterator[int]:
    fd = kernel.inotify_init1(kernel.IN_CLOEXEC | kernel.IN_NONBLOCK)
    yield fd
    os.close(fd)


def readable(fd: int, within_ms: int = 0) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return poll.poll(within_ms) != []


def queued_bytes(fd: int) -> int:
    answer = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, answer)
    return answer[0]


def lock(fd: int, command: int, kind: int) -> tuple[int, int]:
    """The type and the pid that come back."""
    answer = fcntl.fcntl(fd, command, FLOCK.pack(kind, os.SEEK_SET, FAR, 1, 0))
    fields = FLOCK.unpack(answer)
    return fields[0], fields[4]


# -- watching files -------------------------------------------------------------------------------


def test_equal_events_merge(file: Path, inotify: int) -> None:
    """Fact 1, K55d: any number of unread writes is one event in the queue."""
    kernel.inotify_add_watch(inotify, file, kernel.IN_MODIFY)
    with file.open("r+b", buffering=0) as opened:
        for _ in range(100_000):
            os.pwrite(opened.fileno(), b"x", 60)
    assert queued_bytes(inotify) == 16


def test_a_store_through_a_mapping_is_no_event(file: Path, inotify: int) -> None:
    """Fact 2, K71: not even with msync; a write(2) of one byte is."""
    with file.open("r+b", buffering=0) as opened, mmap.mmap(opened.fileno(), 8192) as memory:
        kernel.inotify_add_watch(inotify, file, kernel.IN_MODIFY | kernel.IN_CLOSE_WRITE)
        memory[:4096] = b"x" * 4096
        memory.flush()
        assert not readable(inotify)
        os.pwrite(opened.fileno(), b"y", 0)
        assert readable(inotify)


def test_a_file_in_memory_is_always_ready_and_epoll_refuses_it(file: Path) -> None:
    """Fact 2, K71: so the descriptor of a state cannot be its file."""
    with file.open("rb", buffering=0) as opened:
        assert readable(opened.fileno())
        os.lseek(opened.fileno(), 0, os.SEEK_END)
        assert readable(opened.fileno())
        with select.epoll() as poll, pytest.raises(PermissionError) as caught:
            poll.register(opened.fileno(), select.EPOLLIN)
        assert caught.value.errno == errno.EPERM


@pytest.mark.parametrize("reap", [False, True], ids=["zombie", "reaped"])
@pytest.mark.parametrize(
    "hold",
    [
        "f = os.open(path, os.O_RDWR)",
        "f = os.open(path, os.O_RDWR); m = mmap.mmap(f, 4096)",
        "f = os.open(path, os.O_RDWR); m = mmap.mmap(f, 4096); os.close(f)",
    ],
    ids=["descriptor", "descriptor and mapping", "mapping only"],
)
def test_the_death_of_a_writer_is_an_event(
    file: Path, inotify: int, peer: MakePeer, hold: str, reap: bool
) -> None:
    """Fact 3, K55a: IN_CLOSE_WRITE after SIGKILL, reaped or not, be it only mapped."""
    writer = peer()
    writer(f"import mmap; path = {str(file)!r}\n{hold}")
    kernel.inotify_add_watch(inotify, file, kernel.IN_CLOSE_WRITE)
    assert not readable(inotify)
    writer.kill(reap=reap)
    assert readable(inotify, SOON_MS)


def test_a_file_can_be_watched_by_its_descriptor(file: Path, inotify: int) -> None:
    """Fact 6: whatever has its name by now."""
    with file.open("r+b", buffering=0) as opened:
        kernel.inotify_add_watch(inotify, f"/proc/self/fd/{opened.fileno()}", kernel.IN_MODIFY)
        file.unlink()
        file.write_bytes(b"another")
        assert not readable(inotify)
        os.pwrite(opened.fileno(), b"x", 0)
        assert readable(inotify)


# -- locks ----------------------------------------------------------------------------------------

OFD = (
    "import fcntl, struct; f = os.open(path, os.O_RDWR)\n"
    f"fcntl.fcntl(f, fcntl.F_OFD_SETLK, struct.pack('@hhqqi4x', fcntl.F_WRLCK, 0, {FAR}, 1, 0))"
)
BSD = "import fcntl; f = os.open(path, os.O_RDWR)\nfcntl.flock(f, fcntl.LOCK_EX)"


def is_locked(path: Path, kind: str) -> bool:
    with path.open("r+b", buffering=0) as opened:
        if kind == OFD:
            return lock(opened.fileno(), fcntl.F_OFD_GETLK, fcntl.F_WRLCK)[0] != fcntl.F_UNLCK
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@pytest.mark.parametrize("kind", [OFD, BSD], ids=["fcntl", "flock"])
def test_locks_go_with_their_holder_before_it_is_reaped(
    file: Path, peer: MakePeer, kind: str
) -> None:
    """Fact 4, K26: a zombie holds nothing."""
    holder = peer()
    holder(f"path = {str(file)!r}\n{kind}")
    assert is_locked(file, kind)
    holder.kill(reap=False)
    assert not is_locked(file, kind)


@pytest.mark.parametrize("kind", [OFD, BSD], ids=["fcntl", "flock"])
def test_locks_survive_in_a_forked_child(file: Path, peer: MakePeer, kind: str) -> None:
    """Fact 4, §5.8: that is why a child must let go of what it has inherited."""
    holder = peer()
    holder(f"path = {str(file)!r}\n{kind}")
    # The child lives until our end of its standard input is closed.
    child = holder("(pid := os.fork()) or (os.read(0, 1), os._exit(0))")
    holder.kill()
    assert os.path.exists(f"/proc/{child}")
    assert is_locked(file, kind)


def test_a_reader_may_lock_and_ask_but_not_lock_for_writing(file: Path) -> None:
    """Fact 5, §5.10: a descriptor for reading suffices for all that a reader does."""
    with file.open("rb", buffering=0) as reader, file.open("r+b", buffering=0) as writer:
        lock(reader.fileno(), fcntl.F_OFD_SETLK, fcntl.F_RDLCK)
        fcntl.flock(reader, fcntl.LOCK_EX)
        fcntl.flock(reader, fcntl.LOCK_SH)
        # Somebody is there, but the kernel does not say who: there is no process to be compared.
        assert lock(writer.fileno(), fcntl.F_OFD_GETLK, fcntl.F_WRLCK) == (fcntl.F_RDLCK, -1)
        assert lock(reader.fileno(), fcntl.F_OFD_GETLK, fcntl.F_WRLCK)[0] == fcntl.F_UNLCK
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            lock(reader.fileno(), fcntl.F_OFD_SETLK, fcntl.F_WRLCK)
        assert caught.value.errno == errno.EBADF


def test_two_descriptors_of_one_process_see_each_others_locks(file: Path) -> None:
    """§5.8: open-file-description locks belong to the description, not to the process."""
    with file.open("r+b", buffering=0) as a, file.open("r+b", buffering=0) as b:
        lock(a.fileno(), fcntl.F_OFD_SETLK, fcntl.F_WRLCK)
        assert lock(b.fileno(), fcntl.F_OFD_GETLK, fcntl.F_WRLCK)[0] == fcntl.F_WRLCK
        with pytest.raises(BlockingIOError):
            lock(b.fileno(), fcntl.F_OFD_SETLK, fcntl.F_RDLCK)
        with file.open("rb"):
            pass  # closing another descriptor of the file releases nothing
        assert lock(b.fileno(), fcntl.F_OFD_GETLK, fcntl.F_WRLCK)[0] == fcntl.F_WRLCK


# -- memory ---------------------------------------------------------------------------------------


def test_a_private_mapping_is_no_frozen_view(file: Path) -> None:
    """Fact 7, K62: an untouched private page shows what others store later."""
    with (
        file.open("r+b", buffering=0) as opened,
        mmap.mmap(opened.fileno(), 4096, flags=mmap.MAP_PRIVATE) as private,
        mmap.mmap(opened.fileno(), 4096) as shared,
    ):
        assert private[:5] == bytes(5)
        shared[:5] = b"later"
        assert private[:5] == b"later"


def test_a_mapping_may_reach_beyond_the_end_and_shows_what_grows_there(file: Path) -> None:
    """layout.h: a state that grows is not mapped again."""
    with file.open("r+b", buffering=0) as opened:
        os.truncate(file, 4096 * 16)
        with mmap.mmap(opened.fileno(), 4096 * 16) as memory:
            os.truncate(file, 4096)
            os.posix_fallocate(opened.fileno(), 4096 * 8, 4096)
            os.pwrite(opened.fileno(), b"grown", 4096 * 8)
            assert memory[4096 * 8 : 4096 * 8 + 5] == b"grown"


def test_a_file_without_a_name_can_get_one_once(directory: Path) -> None:
    """K20: filled first, linked afterwards, and never over another."""
    directory.mkdir(mode=0o700)
    where = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    fd = os.open(directory, os.O_TMPFILE | os.O_RDWR, 0o600)
    try:
        os.pwrite(fd, b"whole", 0)
        assert list(directory.iterdir()) == []
        os.link(f"/proc/self/fd/{fd}", "name", dst_dir_fd=where)
        assert (directory / "name").read_bytes() == b"whole"
        (directory / "other").touch()
        with pytest.raises(FileExistsError):
            os.link(f"/proc/self/fd/{fd}", "other", dst_dir_fd=where)
    finally:
        os.close(fd)
        os.close(where)
