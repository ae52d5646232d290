"""What the verbs of ``holdfast wake`` share: which governor, names, and processes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click

from holdfast.cli.output import json_option
from holdfast.errors import GovernorGone, NotFound, Unavailable
from holdfast.wake.model import NAME_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.wake import Governor

__all__ = ["connected", "governor_options", "name_of", "nobody_there", "process_ends", "socket_of"]

_SOCKET: Final = "HOLDFAST_WAKE_SOCKET"


def governor_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options ``--socket`` and ``--json``."""
    socket = click.option(
        "--socket",
        "path",
        metavar="PATH",
        envvar=_SOCKET,
        show_envvar=True,
        help="The governor's socket, if it is not at the usual place.",
    )
    return socket(json_option(command))


def socket_of(path: str | None) -> str:
    """The socket that is meant: that one, or the usual one."""
    from holdfast.wake import socket_path

    return os.path.abspath(path) if path else socket_path()


def connected(path: str | None) -> Governor:
    """The governor at that socket, or at the usual one.

    Raises:
        Unavailable: Nobody answers there.
        NotPermitted: It is not for us.
    """
    from holdfast.wake import connect

    where = socket_of(path)
    try:
        return connect(where)
    except (NotFound, GovernorGone, Unavailable) as error:
        raise nobody_there(where) from error


def nobody_there(where: str) -> Unavailable:
    """The error that says that no governor is running, and what to do about it."""
    return Unavailable(
        "no governor is running",
        on=where,
        hint=f"start one: holdfast wake serve; or name its socket: --socket, {_SOCKET}",
        tried=(where,),
    )


def name_of(text: str) -> str:
    """`text` as the name of a wake lease: printable, and cut off after 64 bytes."""
    plain = "".join(char if char.isprintable() else "?" for char in text)
    return plain.encode(errors="replace")[:NAME_BYTES_MAX].decode(errors="ignore") or "?"


def process_ends(pid: int) -> int:
    """A descriptor that becomes readable when that process ends: pidfd_open(2).

    Raises:
        NotFound: There is no such process.
        Unavailable: The kernel gives none.
    """
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError as error:
        raise NotFound("there is no such process", on=str(pid), hint="has it ended?") from error
    except OSError as error:
        raise Unavailable(
            f"this process cannot be waited for ({error.strerror})",
            on=str(pid),
            hint="give the pid of a process, not of one of its threads",
        ) from error
