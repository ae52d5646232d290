"""Where states and sockets live, and the care that a shared directory needs.

==========  ================================================================================
states      ``$HOLDFAST_STATE_DIR``, else ``/dev/shm/holdfast-UID``
sockets     ``$HOLDFAST_RUN_DIR``, else for root ``/run/holdfast``, else
            ``$XDG_RUNTIME_DIR/holdfast``, else ``/tmp/holdfast-UID``
==========  ================================================================================

``/dev/shm`` and ``/tmp`` are writable for everybody, so that somebody else may have made our
directory before us, or put a symbolic link in its place: `secure_directory` refuses both.
"""

from __future__ import annotations

import errno
import os
import stat

from holdfast.errors import InvalidArgument, NotPermitted, OutOfSpace

__all__ = ["run_directory", "secure_directory", "state_directory"]


def state_directory() -> str:
    """The path of the default directory of states. It is not made here.

    Returns:
        An absolute path, by ``HOLDFAST_STATE_DIR`` or by the effective user.
    """
    if chosen := os.environ.get("HOLDFAST_STATE_DIR"):
        return os.path.abspath(chosen)
    return f"/dev/shm/holdfast-{os.geteuid()}"  # noqa: S108 - secure_directory guards it


def run_directory() -> str:
    """The path of the directory of sockets. It is not made here.

    Returns:
        An absolute path: by ``HOLDFAST_RUN_DIR``, by the user, or by ``XDG_RUNTIME_DIR``, which
        counts only where it names an existing directory by an absolute path, as its
        specification demands.
    """
    if chosen := os.environ.get("HOLDFAST_RUN_DIR"):
        return os.path.abspath(chosen)
    if os.geteuid() == 0:
        return "/run/holdfast"
    session = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(session) and os.path.isdir(session):
        return os.path.join(session, "holdfast")
    return f"/tmp/holdfast-{os.geteuid()}"  # noqa: S108 - secure_directory guards it


def secure_directory(
    path: str | os.PathLike[str], mode: int = 0o700, *, foreign: bool = False
) -> str:
    """Make the directory if it is missing, and check that nobody else can tamper with it.

    A directory made here gets exactly `mode`, whatever the umask; missing parents are made as
    ``mkdir -p`` would. One that exists keeps the mode that its owner gave it.

    Args:
        path: The directory; a relative path counts from the current directory.
        mode: Permission bits of a new directory; nobody but its owner may be let to write.
        foreign: Accept an existing directory of another user, as a reader of their states. They
            can then change at will what is read there.

    Returns:
        The absolute path.

    Raises:
        InvalidArgument: `mode` lets others write, or the path is no directory.
        NotPermitted: The path is a symbolic link, belongs to somebody else, can be written by
            others, or cannot be made.
        OutOfSpace: The file system has no room for a directory.
    """
    where = os.path.abspath(path)
    if mode & (stat.S_IWGRP | stat.S_IWOTH) or mode & ~0o777:
        raise InvalidArgument(
            f"mode {mode:04o} lets others write the directory",
            on=where,
            hint="use 0700, 0750 or 0755",
        )
    try:
        os.makedirs(os.path.dirname(where), exist_ok=True)
        created = _make(where)
        fd = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _explained(error, where) from error
    try:
        # From here on by descriptor: what was checked is what was opened.
        if created:
            os.fchmod(fd, mode)
        _check(os.fstat(fd), where, foreign=foreign)
    finally:
        os.close(fd)
    return where


def _make(where: str) -> bool:
    try:
        os.mkdir(where, 0o700)  # never wider than asked for, not even for an instant
    except FileExistsError:
        return False
    os.chmod(where, 0o700)  # the umask may have left us less than it takes to open it
    return True


def _check(facts: os.stat_result, where: str, *, foreign: bool) -> None:
    if facts.st_uid != os.geteuid() and not foreign:
        raise NotPermitted(
            f"the directory belongs to uid {facts.st_uid}, you are uid {os.geteuid()}",
            on=where,
            hint="have it removed, or choose another with HOLDFAST_STATE_DIR or HOLDFAST_RUN_DIR",
        )
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NotPermitted(
            f"others can write the directory (mode {stat.S_IMODE(facts.st_mode):04o})",
            on=where,
            hint=f"chmod go-w {where}, after a look at who wrote there",
        )


def _explained(error: OSError, where: str) -> Exception:
    if os.path.islink(where):
        return NotPermitted(
            "the directory is a symbolic link, which somebody else could turn elsewhere",
            on=where,
            hint="remove the link, or name the directory that it points to",
        )
    if error.errno in {errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP}:
        return InvalidArgument(
            f"the directory cannot be made ({error.strerror})",
            on=where,
            hint="choose another path",
        )
    if error.errno in {errno.ENOTDIR, errno.EEXIST}:
        return InvalidArgument(
            "there is something else where a directory is wanted",
            on=error.filename or where,
            hint="choose another path",
        )
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return OutOfSpace("no room for a directory", on=where, hint="free some, then try again")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return NotPermitted(
            f"the directory cannot be made or opened ({error.strerror})",
            on=error.filename or where,
            hint="choose one that you can write",
        )
    return error
