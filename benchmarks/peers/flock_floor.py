"""The kernel's own: flock(2) on a file that is open. It has no holder, no end and no token."""

from __future__ import annotations

import fcntl
import os
import platform
from typing import TYPE_CHECKING

from benchmarks.measure import Statement

if TYPE_CHECKING:
    from benchmarks.peers import Place

_ACQUIRE, _RELEASE = "flock(fd, LOCK_EX)", "flock(fd, LOCK_UN)"
_TEXTS = {"hold": f"{_ACQUIRE}\n{_RELEASE}", "acquire": _ACQUIRE, "release": _RELEASE}


class File:
    def __init__(self, place: Place) -> None:
        path = os.path.join(place.directory, f"{place.name}.flock")
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def statement(self, verb: str) -> Statement | None:
        names = {
            "flock": fcntl.flock,
            "LOCK_EX": fcntl.LOCK_EX,
            "LOCK_UN": fcntl.LOCK_UN,
            "fd": self._fd,
        }
        return Statement(_TEXTS[verb], names) if verb in _TEXTS else None

    def close(self) -> None:
        os.close(self._fd)


class Flock:
    shared = True

    def version(self) -> str:
        return f"CPython {platform.python_version()}"

    def create(self, place: Place) -> File:
        return File(place)

    def attach(self, place: Place) -> File:
        return File(place)


PEER = Flock()
