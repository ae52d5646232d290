"""Where the governor's socket is, and what a program inherits from the one that started it.

======================  ===========================================================================
HOLDFAST_WAKE_SOCKET    the governor's socket; else ``wake.sock`` in the directory of sockets
HOLDFAST_WAKE_LEASE     an inherited wake lease: descriptor, inode and name, as ``7:48121:upload``
======================  ===========================================================================

The inode tells an inherited descriptor from another that has got its number since: many programs
close what they inherit, and open files of their own.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Final

from holdfast.errors import InvalidArgument
from holdfast.rundir import run_directory
from holdfast.wake.lease import WakeLease
from holdfast.wake.token import pipe_inode

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LEASE", "SOCKET", "from_environment", "socket_path", "to_environment"]

SOCKET: Final = "HOLDFAST_WAKE_SOCKET"
LEASE: Final = "HOLDFAST_WAKE_LEASE"


def socket_path() -> str:
    """The path of the governor's socket, by ``HOLDFAST_WAKE_SOCKET`` or the usual one."""
    if chosen := os.environ.get(SOCKET):
        return os.path.abspath(chosen)
    return os.path.join(run_directory(), "wake.sock")


def to_environment(wake_lease: WakeLease, path: str | None = None) -> dict[str, str]:
    """What to add to a child's environment, so that it finds the wake lease and the governor.

    The child must inherit the descriptor: ``Popen(…, pass_fds=[wake_lease.fileno()])``. The
    governor is told that what this process starts holds it on purpose: `why` calls it no leak.

    Args:
        wake_lease: What it inherits.
        path: The governor's socket; None: the one that we would use.
    """
    if wake_lease.reporter is not None:
        wake_lease.reporter.hop("shared", wake_lease.inode)
    told = f"{wake_lease.fileno()}:{wake_lease.inode}:{wake_lease.name}"
    return {LEASE: told, SOCKET: path or socket_path()}


def from_environment(environ: Mapping[str, str] | None = None) -> WakeLease | None:
    """The wake lease that this process has inherited, or None.

    It is the caller's from now on, and closes on exec: what this process starts does not inherit
    it further, and a second call finds none.

    Args:
        environ: Where to look; None: the process's own environment, from which it is removed.
    """
    told = os.environ.pop(LEASE, "") if environ is None else environ.get(LEASE, "")
    number, _, rest = told.partition(":")
    inode, _, name = rest.partition(":")
    if not (number.isdecimal() and inode.isdecimal() and name):
        return None
    try:
        fd = int(number)
        if pipe_inode(fd, os.O_WRONLY) != int(inode):
            return None
    except (InvalidArgument, OverflowError, ValueError):
        return None
    fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    return WakeLease(fd, name)
