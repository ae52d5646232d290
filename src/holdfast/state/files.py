"""The files of a namespace, and the locks that say who has them.

============  ====================================================================================
NAME.state    the state: header and slots (``core/layout.h``)
NAME.bell     who waits for it; those who may only read the state may not write this either
.txn          the table of several-state commits; made when the first of them is
.lock         flock by whoever subscribes, unsubscribes or deletes; not to read or commit
============  ====================================================================================

Whether anybody is subscribed is a question to the kernel: each subscription holds an
open-file-description lock (fcntl(2), F_OFD_SETLK), which goes away with its holder, however it
died, reaped or not, in whatever PID namespace. No process number is ever compared.

A new file is made without a name (O_TMPFILE), filled, given its memory, and only then linked: one
that is killed half-way leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import re
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.errors import (
    Busy,
    Damaged,
    InvalidArgument,
    LayoutMismatch,
    NotPermitted,
    OutOfSpace,
    Unsupported,
)
from holdfast.state.core import native

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PAGE_SIZE", "Facts"]

PAGE_SIZE = os.sysconf("SC_PAGESIZE")
STATE_SUFFIX = ".state"
BELL_SUFFIX = ".bell"
LOCK_NAME = ".lock"
TABLE_NAME = ".txn"

LOCK_WAIT_S = 10.0  # for another process' subscribe, which takes some 100 microseconds

_NAME = re.compile(r"[A-Za-z0-9]+(\.[A-Za-z0-9]+)*", re.ASCII)
_FLOCK = struct.Struct("@hhqqi4x")  # struct flock of a 64-bit Linux: type, whence, start, len, pid


def check_name(name: str) -> str:
    """The name itself, if it can be a state's: KBUS's rule, so that it can be sent there (K16).

    Raises:
        InvalidArgument: It is empty, too long, or not words of ASCII letters and digits with
            single dots between them.
    """
    if not isinstance(name, str):
        raise InvalidArgument(f"a state's name is a str, not {type(name).__name__}")
    if len(name) > native.NAME_MAX:
        raise InvalidArgument(
            f"the name has {len(name)} characters, at most {native.NAME_MAX} are allowed",
            on=repr(name[:40] + "…"),
            hint="choose a shorter name",
        )
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            "not a name for a state",
            on=repr(name),
            hint="use ASCII letters and digits, with single dots between words: imu.raw.2",
        )
    return name


# -- one subscriber at a time ---------------------------------------------------------------------

# Of this process, one thread at a time, and never while it forks: a child would inherit descriptors
# that the parent has locked, or is about to give to a handle that could let go of them.
_quiescent = threading.RLock()
_holding: Counter[tuple[int, int]] = Counter()  # directories that this thread has locked already

os.register_at_fork(
    before=_quiescent.acquire,
    after_in_parent=_quiescent.release,
    after_in_child=_quiescent.release,
)


@contextlib.contextmanager
def locked(directory_fd: int, where: str, mode: int, wait_s: float) -> Iterator[None]:
    """Hold the namespace's lock; a thread that has it may take it again.

    Raises:
        Busy: Somebody has held it for `wait_s` seconds: a stopped process, most likely.
        NotPermitted: The directory is somebody else's and has never been used.
    """
    status = os.fstat(directory_fd)
    which = (status.st_dev, status.st_ino)
    deadline = time.monotonic() + wait_s
    pause = 0.0001
    while True:
        with _quiescent, _try_lock(directory_fd, where, mode, again=_holding[which] > 0) as taken:
            if taken:
                _holding[which] += 1
                try:
                    yield
                finally:
                    _holding[which] -= 1
                return
        if time.monotonic() > deadline:
            raise Busy(
                f"another process has been subscribing or deleting here for {wait_s:g} s",
                on=where,
                hint=f"see who it is with: fuser -v {where}/{LOCK_NAME} (stopped, perhaps?)",
            )
        time.sleep(random.uniform(0, pause))
        pause = min(0.01, pause * 2)


@contextlib.contextmanager
def _try_lock(directory_fd: int, where: str, mode: int, *, again: bool) -> Iterator[bool]:
    if again:
        yield True
        return
    fd = _open_lock(directory_fd, where, mode)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # not by closing: a child may have a copy
    finally:
        os.close(fd)


def _open_lock(directory_fd: int, where: str, mode: int) -> int:
    try:
        # flock(2) is content with a descriptor for reading: readers of a group can lock too.
        return os.open(LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory_fd)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise explained(error, where) from error
    try:
        fd = os.open(
            LOCK_NAME, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, mode & 0o600, dir_fd=directory_fd
        )
        os.fchmod(fd, mode)
    except OSError as error:
        raise explained(error, where) from error
    return fd


# -- who is subscribed ----------------------------------------------------------------------------


def _lock(fd: int, command: int, kind: int, start: int, length: int) -> int:
    answer = fcntl.fcntl(fd, command, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
    return int(_FLOCK.unpack(answer)[0])


def announce_reader(fd: int) -> None:
    """Say to the kernel that a reader is subscribed through this descriptor."""
    _lock(fd, fcntl.F_OFD_SETLK, fcntl.F_RDLCK, native.LOCK_READERS, 1)


def announce_writer(fd: int, number: int) -> None:
    """Say to the kernel that writer `number` is subscribed through this descriptor."""
    _lock(fd, fcntl.F_OFD_SETLK, fcntl.F_WRLCK, native.LOCK_WRITERS + number, 1)


def withdraw(fd: int) -> None:
    """Take back what was announced. Closing does not suffice: a view keeps the mapping alive."""
    _lock(fd, fcntl.F_OFD_SETLK, fcntl.F_UNLCK, native.LOCK_READERS, native.LOCK_LENGTH)


def anybody_else(fd: int) -> bool:
    """Whether anybody is subscribed through any other descriptor, in this process or another."""
    kind = _lock(fd, fcntl.F_OFD_GETLK, fcntl.F_WRLCK, native.LOCK_READERS, native.LOCK_LENGTH)
    return kind != fcntl.F_UNLCK


# -- looking at a file ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Facts:
    """What the header of a state's file says of it, and which file it is."""

    incarnation: str
    created_ns: int
    retained: bool
    mapping_length: int
    deleted: bool
    identity: tuple[int, int]  # device and inode

    @classmethod
    def of(cls, fd: int, path: str, name: str) -> Facts:
        """Read them, touching nothing.

        Raises:
            LayoutMismatch: The file is no state, or one of another layout or machine.
            Damaged: It is a state whose constants contradict themselves.
        """
        status = os.fstat(fd)
        problem, layout, stored, incarnation, created_ns, flags, length, deleted = native.examine(
            fd, PAGE_SIZE
        )
        if problem is not None:
            raise _misfit(problem, layout, path)
        if stored.decode("ascii", "replace") != name:
            raise Damaged(
                f"the file says that it is the state {stored.decode('ascii', 'replace')!r}",
                on=path,
                hint="give the file its name back, or move it away",
            )
        return cls(
            incarnation=incarnation.hex(),
            created_ns=created_ns,
            retained=bool(flags & native.RETAIN),
            mapping_length=length,
            deleted=deleted,
            identity=(status.st_dev, status.st_ino),
        )


_MISFITS = {
    "foreign": "the file is not a state",
    "endian": "the state was made on a machine of the other byte order",
    "page_size": f"the state was made for another page size than {PAGE_SIZE}",
    "slots": f"the state has another number of slots than {native.SLOTS}",
}


def _misfit(problem: str, layout: int, path: str) -> LayoutMismatch | Damaged:
    if problem == "damaged":
        return Damaged(
            "the header's checksum is wrong",
            on=path,
            hint="something else has written there; move the file away",
        )
    if problem == "layout":
        what = f"the state has layout {layout}, this version knows layout {native.LAYOUT}"
        return LayoutMismatch(what, on=path, hint="use the version of holdfast that made it")
    hint = "move it away, or choose another directory with HOLDFAST_STATE_DIR"
    return LayoutMismatch(_MISFITS[problem], on=path, hint=hint)


def open_existing(directory_fd: int, filename: str, where: str, *, writable: bool) -> int | None:
    """A descriptor of a file of the namespace, or None if there is none of that name.

    Raises:
        NotPermitted: The kernel refuses, or the name is a symbolic link.
        LayoutMismatch: It is no regular file.
    """
    access = os.O_RDWR if writable else os.O_RDONLY
    # O_NONBLOCK: opening a FIFO that somebody put there must not wait for its other end.
    flags = access | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        fd = os.open(filename, flags, dir_fd=directory_fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in {errno.EISDIR, errno.ENXIO}:  # a directory; a socket or a FIFO
            raise _something_else(f"{where}/{filename}") from error
        raise explained(error, f"{where}/{filename}") from error
    if not _regular(fd):
        os.close(fd)
        raise _something_else(f"{where}/{filename}")
    return fd


def _something_else(path: str) -> LayoutMismatch:
    return LayoutMismatch(
        "there is something else than a file where a state is wanted", on=path, hint="move it away"
    )


def _regular(fd: int) -> bool:
    return os.fstat(fd).st_mode & 0o170000 == 0o100000


# -- making one -----------------------------------------------------------------------------------


def create(directory_fd: int, where: str, name: str, *, size: int, mode: int, retain: bool) -> None:
    """Make a state and its bell; the namespace's lock is held.

    The bell has the state's own mode. A reader who might write it could truncate it too, and the
    next committer, who has it mapped, would die of SIGBUS; so those who may only read look every
    5 ms instead of being rung for.

    Raises:
        OutOfSpace: The file system has no room; nothing was made.
        NotPermitted: The directory cannot be written.
        Unsupported: The file system cannot do what states need.
    """
    header = native.header(
        name=name.encode("ascii"),
        size=size,
        page_size=PAGE_SIZE,
        flags=native.RETAIN if retain else 0,
        incarnation=os.urandom(16),
        created_ns=time.time_ns(),
    )
    bell = name + BELL_SUFFIX
    _link_new(directory_fd, where, bell, mode, native.BELL_SIZE, b"")
    try:
        size_on_disk = native.file_size(size)
        _link_new(directory_fd, where, name + STATE_SUFFIX, mode, size_on_disk, header)
    except BaseException:
        os.unlink(bell, dir_fd=directory_fd)
        raise


def create_table(directory_fd: int, where: str, mode: int) -> None:
    """Make the table of several-state commits, if it is missing. Needs no lock.

    Raises:
        OutOfSpace, NotPermitted, Unsupported: As for a state.
    """
    with contextlib.suppress(FileExistsError):
        _link_new(directory_fd, where, TABLE_NAME, mode, native.TABLE_SIZE, b"")


def _link_new(
    directory_fd: int, where: str, filename: str, mode: int, length: int, content: bytes
) -> None:
    try:
        # The descriptor is closed for writing before anybody can watch the file.
        flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
        fd = os.open(".", flags, 0o600, dir_fd=directory_fd)
        try:
            # All memory now: a full file system is an error here, not SIGBUS at some later store.
            os.posix_fallocate(fd, 0, length)
            if content:
                os.pwrite(fd, content, 0)
            os.fchmod(fd, mode)
            if filename.endswith(BELL_SUFFIX):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(filename, dir_fd=directory_fd)  # its state was never made
            # By way of /proc, because linkat(2) of the descriptor itself needs a capability.
            os.link(f"/proc/self/fd/{fd}", filename, dst_dir_fd=directory_fd)
        finally:
            os.close(fd)
    except FileExistsError:
        raise
    except OSError as error:
        raise explained(error, f"{where}/{filename}") from error


def remove(directory_fd: int, where: str, name: str) -> None:
    """Take a state's files away; the namespace's lock is held. Missing ones are no error.

    Raises:
        NotPermitted: The directory is somebody else's.
    """
    for filename in (name + STATE_SUFFIX, name + BELL_SUFFIX):
        try:
            os.unlink(filename, dir_fd=directory_fd)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise explained(error, f"{where}/{filename}") from error


def memory(directory_fd: int, name: str) -> int:
    """Bytes of memory that a state's files take."""
    total = 0
    for filename in (name + STATE_SUFFIX, name + BELL_SUFFIX):
        with contextlib.suppress(FileNotFoundError):
            total += os.stat(filename, dir_fd=directory_fd, follow_symlinks=False).st_blocks * 512
    return total


def explained(error: OSError, where: str) -> Exception:
    """What an error of the kernel means for the user of a state."""
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return NotPermitted(
            f"access denied ({error.strerror})",
            on=where,
            hint="subscribe read-only, or ask the owner for a namespace with mode=0o640",
        )
    if error.errno == errno.ELOOP:
        return NotPermitted(
            "the name is a symbolic link, which somebody else could turn elsewhere",
            on=where,
            hint="remove the link",
        )
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.ENOMEM}:
        return OutOfSpace(
            "no room for a state",
            on=where,
            hint="free some, or choose HOLDFAST_STATE_DIR elsewhere",
        )
    if error.errno in {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS}:
        return Unsupported(
            f"this file system cannot hold states ({error.strerror})",
            on=where,
            hint="use a local one: tmpfs, ext4, xfs, btrfs",
        )
    return error
