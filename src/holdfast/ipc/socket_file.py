"""A Unix socket in the file system: who may make it, who may connect, and what a crash leaves.

- The file is made with its final mode (0600, or 0660 for a group), never wider for an instant: on
  Linux bind(2) takes the mode from the socket, which fchmod(2) sets before.
- **One server.** A lock (flock(2)) beside the file, ``NAME.lock``, is held as long as the server
  lives, and the kernel drops it when the server dies. Only who has the lock removes what a dead
  server left, so that two that start at once cannot both replace it.
- The directory is private, by `rundir.secure_directory`; a group, where there is one, may look in.
  One as /tmp will do where somebody names it: there nobody can replace what is ours.
- A path longer than the 107 bytes of sun_path is reached by a descriptor of its directory.

Source: unix(7).
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from holdfast.closing import Closing
from holdfast.errors import AlreadyExists, InvalidArgument, NotFound, NotPermitted, Unavailable
from holdfast.rundir import secure_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SocketFile", "address_of", "refused"]

_PATH_BYTES_MAX: Final = 107


class SocketFile(Closing):
    """A listening socket, its file and the lock on its name.

    Args:
        path: Where; missing directories are made.
        group: A group that may connect, too, by name or number.
        backlog: How many connections the kernel keeps for us.

    Raises:
        AlreadyExists: A server answers there, or something else than a socket is in the place.
        NotPermitted: The directory is not safe, or not ours; or we are not in the group.
        InvalidArgument: There is no such group, or the path cannot be one.
    """

    def __init__(self, path: str, *, group: str | int | None = None, backlog: int = 128) -> None:
        self._lock = -1
        self.path = os.path.abspath(path)
        self.gid = None if group is None else group_number(group)
        self._prepare_directory()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._take_lock()
            self._clear_the_place()
            self._bind()
            facts = os.lstat(self.path)
            self._identity = (facts.st_dev, facts.st_ino)
            self.socket.settimeout(0)
            self.socket.listen(backlog)
        except BaseException:
            self.socket.close()
            self._drop_lock()
            raise

    def _prepare_directory(self) -> None:
        directory = os.path.dirname(self.path)
        with suppress(OSError):
            facts = os.stat(directory)
            # As /tmp: others may put files there, and cannot remove or replace ours.
            if facts.st_mode & stat.S_ISVTX and facts.st_uid in {0, os.geteuid()}:
                return
        new = not os.path.isdir(directory)
        secure_directory(directory, 0o700 if self.gid is None else 0o750)
        if new and self.gid is not None:
            _change_group(directory, self.gid)

    def _take_lock(self) -> None:
        name = f"{self.path}.lock"
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._lock = os.open(name, flags, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._taken() from None
        except OSError as error:
            raise NotPermitted(f"no lock can be made ({error.strerror})", on=name) from error

    def _taken(self) -> AlreadyExists:
        return AlreadyExists(
            "another server has this socket",
            on=self.path,
            hint="use that one, or give this one another path",
        )

    def _clear_the_place(self) -> None:
        try:
            facts = os.lstat(self.path)
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(facts.st_mode):
            raise AlreadyExists(
                "there is something else where the socket is wanted",
                on=self.path,
                hint="look at it; it was left as it was",
            )
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(0)
            try:
                with address_of(self.path) as address:
                    probe.connect(address)
            except ConnectionRefusedError:
                os.unlink(self.path)  # a server died here
                return
            except BlockingIOError:
                pass  # its backlog is full: it lives
        raise self._taken()

    def _bind(self) -> None:
        mode = 0o600 if self.gid is None else 0o660
        os.fchmod(self.socket.fileno(), mode)
        try:
            with address_of(self.path) as address:
                self.socket.bind(address)
        except OSError as error:
            raise NotPermitted(
                f"the socket cannot be made ({error.strerror})",
                on=self.path,
                hint="choose a directory that you can write",
            ) from error
        if self.gid is not None:
            _change_group(self.path, self.gid)
        os.chmod(self.path, mode)  # the umask may have left less

    def close(self) -> None:
        """Stop listening and remove the file, unless it is somebody else's by now."""
        self.socket.close()
        if self._lock < 0:
            return
        with suppress(OSError):
            facts = os.lstat(self.path)
            if (facts.st_dev, facts.st_ino) == self._identity:
                os.unlink(self.path)
        self._drop_lock()

    def _drop_lock(self) -> None:
        # The file of the lock stays: were it removed, two could lock two files of one name.
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


@contextmanager
def address_of(path: str) -> Iterator[str]:
    """What to give to bind(2) or connect(2) for a path, however long it is.

    Raises:
        OSError: Its directory cannot be opened.
    """
    if len(os.fsencode(path)) <= _PATH_BYTES_MAX:
        yield path
        return
    directory, name = os.path.split(path)
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)


def refused(error: OSError, path: str, server: str) -> Exception:
    """Why a connection could not be had, in the words of this library.

    Args:
        error: What connect(2) said.
        path: Where.
        server: What was to be there, such as "governor".
    """
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return NotFound(f"no {server} has a socket here", on=path, hint=f"start one: {server}")
    if error.errno == errno.ECONNREFUSED:
        return Unavailable(f"the {server} of this socket has died", on=path, tried=(path,))
    if error.errno in {errno.EACCES, errno.EPERM}:
        return NotPermitted(
            f"the {server} lets only its user and its group connect",
            on=path,
            hint="ask its owner for the group",
        )
    if error.errno in {errno.ENAMETOOLONG, errno.EINVAL}:
        return InvalidArgument("this path cannot be a socket", on=path)
    return Unavailable(f"no connection to the {server} ({error.strerror})", on=path, tried=(path,))


def group_number(group: str | int) -> int:
    """The number of a group.

    Raises:
        InvalidArgument: There is none of that name.
    """
    import grp

    if isinstance(group, int):
        return group
    try:
        return int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise InvalidArgument("there is no such group", on=group) from None


def _change_group(path: str, gid: int) -> None:
    try:
        os.chown(path, -1, gid, follow_symlinks=False)
    except OSError as error:
        raise NotPermitted(
            f"the group cannot be set to {gid} ({error.strerror})",
            on=path,
            hint="only root may give files to a group that it is not in",
        ) from error
