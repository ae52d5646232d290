"""Where the tests listen, and whom they do not ask."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any
from unittest import mock


def _own() -> str:
    pid = os.getpid()
    address = f"127.{64 + (pid >> 16) % 64}.{pid >> 8 & 255}.{pid & 255}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:  # not every system has all of 127.0.0.0/8
            return "127.0.0.1"
    return address


# An address of loopback that no other process of tests uses. A port there that was given back is
# still free when it is wanted again.
OWN = _own()
ANY_PORT = f"{OWN}:0"


@contextlib.contextmanager
def no_name_server() -> Iterator[None]:
    """Hosts below ``.invalid`` are not found, at once: a name server takes as long as it likes."""
    asked = socket.getaddrinfo

    def getaddrinfo(host: Any, *rest: Any, **more: Any) -> Any:
        if str(host).endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return asked(host, *rest, **more)

    with mock.patch.object(socket, "getaddrinfo", getaddrinfo):
        yield
