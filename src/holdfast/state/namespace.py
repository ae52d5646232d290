"""Namespaces: directories in which states live, and the act of subscribing."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

from holdfast.closing import Closing
from holdfast.errors import (
    Closed,
    Damaged,
    HoldfastError,
    InvalidArgument,
    LayoutMismatch,
    NotFound,
)
from holdfast.rundir import secure_directory, state_directory
from holdfast.state import files
from holdfast.state.core import native
from holdfast.state.handle import State
from holdfast.state.survey import Entry, survey, sweep
from holdfast.state.transaction import transaction
from holdfast.state.typed import codec_for
from holdfast.state.values import Permission, check_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.state.core.native import Transaction
    from holdfast.state.typed import Codec

__all__ = ["Namespace", "subscribe"]

_UNSUBSCRIBE_WAIT_S = 0.25  # for the lock; without it the next subscriber clears up


class Namespace(Closing):
    """A directory of states. Made if it is missing: 0700, or 0750 where `mode` lets a group read.

    Args:
        path: The directory; None for the default one: ``$HOLDFAST_STATE_DIR``, else
            ``/dev/shm/holdfast-UID``. It must lie on a local file system, best in memory.
        mode: Permission bits of the states made through this object. 0o640 lets a group read: a
            reader needs nothing but read permission, and cannot disturb anybody.
        retain: Whether states made through this object stay when their last subscriber has gone,
            until they are deleted or the machine restarts. Of an existing state nothing changes.

    Attributes:
        path: The directory's absolute path.
        identity: Its device and inode: states of one directory can commit together.

    Raises:
        InvalidArgument: `mode` is none for a state, or there is something else than a directory.
        NotPermitted: The directory is not safe, or cannot be made.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        mode: int = 0o600,
        retain: bool = False,
    ) -> None:
        self._directory_fd = -1
        if mode & 0o600 != 0o600 or mode & ~0o664:
            raise InvalidArgument(
                f"mode {mode:04o} is none for a state",
                hint="use 0o600, 0o640 (a group may read), 0o660 (and write) or 0o644",
            )
        self._mode = mode
        self._retain = retain
        readable = (mode & 0o040 and 0o050) | (mode & 0o004 and 0o005)
        where = state_directory() if path is None else os.fspath(path)
        # Only the default place is one that somebody else could have taken before us.
        self.path = secure_directory(where, 0o700 | readable, foreign=path is not None)
        self._directory_fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        status = os.fstat(self._directory_fd)
        self.identity = (status.st_dev, status.st_ino)
        self._table: native.Mapping | None = None
        self._states: weakref.WeakSet[State] = weakref.WeakSet()

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._directory_fd < 0

    def settings(self) -> dict[str, Any]:
        """The arguments that make an equal namespace, in another process too."""
        return {"path": self.path, "mode": self._mode, "retain": self._retain}

    # -- subscribing ------------------------------------------------------------------------------

    def subscribe(
        self,
        name: str,
        permissions: str | int | Permission = "r",
        *,
        size: int | None = None,
        type: Any = None,  # noqa: A002 - the word of the design
        create: bool = True,
    ) -> State:
        """A handle on the state of that name, which is made if there is none (K17, K20).

        A consumer may come first: any permission makes the state. One that nobody is subscribed to
        any more, and that is not retained, is gone: a new one takes its place.

        Args:
            name: ASCII letters and digits, with single dots between words; at most 200.
            permissions: "r", or "rw" ("w" is the same: a transaction starts from a copy).
            size: Bytes, 1 to one page; None for one page, or whatever the state has. An unwritten
                state is changed to it; a written one must have it.
            type: What `State.value` is: a dataclass or other type that msgspec knows, a
                `ctypes.Structure`, or a `struct` format such as ``"<6d"``. A type of fixed size
                gives the size of a state made here.
            create: False: it must exist.

        Raises:
            InvalidArgument: A bad name, permission, size, type; a written state of another size.
            NotFound: There is none, and `create` is false.
            NotPermitted: The kernel refuses, or an unwritten state had to be resized read-only.
            LayoutMismatch: The file is no state, or of another layout. It is left as it was.
            Damaged: It is a state that contradicts itself. It is left as it was.
            OutOfSpace: The file system is full. Nothing was made.
            Busy: Somebody has been subscribing for ten seconds.
        """
        files.check_name(name)
        allowed = Permission.parse(permissions)
        codec = None if type is None else codec_for(type)
        if size is not None:
            check_size(size)
        elif codec is not None:
            size = codec.size if codec.size is None else check_size(codec.size)
        with self.locked():
            state = self._open_or_create(name, allowed, size, (type, codec), create=create)
        try:
            _fit(state, size)
        except BaseException:
            state.close()
            raise
        self._states.add(state)
        return state

    def _open_or_create(
        self,
        name: str,
        permissions: Permission,
        size: int | None,
        codec: tuple[Any, Codec | None],
        *,
        create: bool,
    ) -> State:
        writable = Permission.WRITE in permissions
        opened = self.open_state(name, writable=writable)
        if opened is not None:
            fd, facts = opened
            if facts.deleted or (not facts.retained and not files.anybody_else(fd)):
                os.close(fd)  # what dead subscribers left behind (K26), or who died deleting it
                opened = None
        if opened is None:
            if not create:
                raise NotFound("there is no such state", on=name, hint="is its writer running?")
            files.remove(self._directory(), self.path, name)
            sweep(self)  # whoever takes memory gives some of the dead's back
            files.create(
                self._directory(),
                self.path,
                name,
                size=size or files.PAGE_SIZE,
                mode=self._mode,
                retain=self._retain,
            )
            opened = self.open_state(name, writable=writable)
            assert opened is not None, "made and linked under the namespace's lock"
        fd, facts = opened
        try:
            return State(self, name, permissions, fd, facts, codec)
        except BaseException:
            os.close(fd)
            raise

    def unsubscribe(self, name: str, fd: int, facts: files.Facts) -> None:
        """Withdraw a subscription; the last one takes a state that is not retained with it.

        If the lock cannot be had at once, the file is left for the next subscriber to clear up:
        leaving never waits for anybody.
        """
        try:
            with self.locked(_UNSUBSCRIBE_WAIT_S):
                files.withdraw(fd)
                if not facts.retained and not files.anybody_else(fd):
                    self.remove(name, facts.identity)
        except (HoldfastError, OSError):
            files.withdraw(fd)

    # -- the directory ----------------------------------------------------------------------------

    def _directory(self) -> int:
        if self._directory_fd < 0:
            raise Closed("the namespace is closed", on=self.path, hint="open a new one")
        return self._directory_fd

    @contextlib.contextmanager
    def locked(self, wait_s: float = files.LOCK_WAIT_S) -> Iterator[None]:
        """Hold the namespace's lock: nobody subscribes, unsubscribes or deletes meanwhile."""
        with files.locked(self._directory(), self.path, self._mode, wait_s):
            yield

    def open_state(self, name: str, *, writable: bool) -> tuple[int, files.Facts] | None:
        """A descriptor of a state's file and what its header says, or None if there is none."""
        filename = name + files.STATE_SUFFIX
        fd = files.open_existing(self._directory(), filename, self.path, writable=writable)
        if fd is None:
            return None
        try:
            return fd, files.Facts.of(fd, f"{self.path}/{filename}", name)
        except BaseException:
            os.close(fd)
            raise

    def bell(self, name: str) -> native.Mapping | None:
        """The state's bell, mapped; None where this process may not write it."""
        try:
            fd = files.open_existing(
                self._directory(), name + files.BELL_SUFFIX, self.path, writable=True
            )
        except PermissionError:
            return None
        if fd is None:
            return None
        try:
            if os.fstat(fd).st_size < native.BELL_SIZE:
                raise LayoutMismatch(
                    "the file is no bell",
                    on=f"{self.path}/{name}{files.BELL_SUFFIX}",
                    hint="move it away",
                )
            return native.Mapping(fd, native.BELL_SIZE, writable=True)
        finally:
            os.close(fd)

    def table(self, *, create: bool) -> native.Mapping:
        """The table of several-state commits, mapped; for writing where this process may.

        Raises:
            NotPermitted: It has to be made, and the directory is somebody else's.
            OutOfSpace: There is no room for it.
            Damaged: A commit is under way in a table that is not there.
        """
        if self._table is None:
            if create:
                files.create_table(self._directory(), self.path, self._mode)
            self._table = self._map_table()
        return self._table

    def _map_table(self) -> native.Mapping:
        for writable in (True, False):
            try:
                fd = files.open_existing(
                    self._directory(), files.TABLE_NAME, self.path, writable=writable
                )
            except PermissionError:
                if writable:
                    continue
                raise
            if fd is None:
                break
            try:
                if os.fstat(fd).st_size >= native.TABLE_SIZE:
                    return native.Mapping(fd, native.TABLE_SIZE, writable=writable)
            finally:
                os.close(fd)
        raise Damaged(
            "the table of commits is missing or too short",
            on=f"{self.path}/{files.TABLE_NAME}",
            hint="something else has been here; delete the states of this directory",
        )

    def clear_table(self) -> None:
        """Free the descriptors of committers that were killed, and that no state's head names.

        Rare: only when all of them are taken. A state that cannot be read may name any of them, so
        then nothing is freed.
        """
        table = self.table(create=True)
        noted = native.note_descriptors(table)
        named = []
        for name in self.names():
            with contextlib.suppress(LayoutMismatch, Damaged):
                opened = self.open_state(name, writable=False)
                if opened is not None:
                    fd, facts = opened
                    try:
                        mapping = native.Mapping(fd, facts.mapping_length, writable=False)
                    finally:
                        os.close(fd)
                    named.append(native.named_commit(mapping))
        native.free_descriptors(table, noted, named)

    def transaction(self, *states: State) -> Transaction:
        """A transaction on several states that commit together or not at all; see `transaction`."""
        self._directory()
        return transaction(*states)

    def remove(self, name: str, identity: tuple[int, int]) -> None:
        """Take the files of that very state away; the lock is held."""
        try:
            status = os.stat(
                name + files.STATE_SUFFIX, dir_fd=self._directory(), follow_symlinks=False
            )
        except FileNotFoundError:
            return
        if (status.st_dev, status.st_ino) == identity:
            files.remove(self._directory(), self.path, name)

    def memory(self, name: str) -> int:
        """Bytes of memory that the files of a state take."""
        return files.memory(self._directory(), name)

    def names(self) -> list[str]:
        """The names of all states that have a file here, sorted; some may be left by the dead.

        Raises:
            Closed: The namespace was closed.
        """
        suffix = files.STATE_SUFFIX
        # Not by the descriptor that we have: its position belongs to all threads that list.
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._directory())
        try:
            found = [entry for entry in os.listdir(fd) if entry.endswith(suffix)]
        finally:
            os.close(fd)
        return sorted(entry.removesuffix(suffix) for entry in found)

    def survey(self) -> list[Entry]:
        """What lies here, for whom, and what the dead have left; nothing is changed by it.

        Raises:
            Closed: The namespace was closed.
        """
        return survey(self)

    def sweep(self) -> list[str]:
        """Remove what the dead have left, without waiting for others to subscribe; their names.

        Raises:
            NotPermitted: The directory is somebody else's.
            Busy: Somebody has been subscribing for ten seconds.
        """
        with self.locked():
            return sweep(self, everything=True)

    # -- ending -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Close every handle made through this object, then the directory. Twice is harmless."""
        if self._directory_fd >= 0:
            for state in list(self._states):
                state.close()
            fd, self._directory_fd = self._directory_fd, -1
            os.close(fd)

    def __del__(self) -> None:
        # Handles hold their namespace: when it goes, none of them is left.
        if self._directory_fd >= 0:
            os.close(self._directory_fd)
            self._directory_fd = -1

    def __repr__(self) -> str:
        return f"<Namespace {self.path!r}{' closed' if self.closed else ''}>"


def _fit(state: State, size: int | None) -> None:
    """Make the state the size that its subscriber asked for, if that may still be done (K24)."""
    if size is None or state.size == size:
        return
    if state.written:
        raise InvalidArgument(
            f"the state was written with {state.size} bytes, not {size}",
            on=state.name,
            hint="subscribe without size=, or grow it with set_size()",
        )
    if state.permissions == "r":
        state.refuse("read_only")
    state.set_size(size)


# -- the default namespace ------------------------------------------------------------------------

_defaults: dict[str, Namespace] = {}
_defaults_lock = threading.Lock()


def default_namespace() -> Namespace:
    """The namespace of this user, or the one that ``HOLDFAST_STATE_DIR`` names now."""
    path = state_directory()
    with _defaults_lock:
        namespace = _defaults.get(path)
        if namespace is None or namespace.closed or not os.path.isdir(path):
            namespace = _defaults[path] = Namespace()
        return namespace


def subscribe(
    name: str,
    permissions: str | int | Permission = "r",
    *,
    size: int | None = None,
    type: Any = None,  # noqa: A002 - the word of the design
    create: bool = True,
) -> State:
    """A handle on a state of the default namespace; see `Namespace.subscribe`."""
    return default_namespace().subscribe(name, permissions, size=size, type=type, create=create)


def _renew_lock() -> None:
    global _defaults_lock  # noqa: PLW0603 - another thread may have held it at the fork
    _defaults_lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
