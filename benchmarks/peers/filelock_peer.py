"""The package filelock: flock(2), and a look 20 times a second by those who wait."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Statement
from benchmarks.peers import wheel, wheel_version

if TYPE_CHECKING:
    from benchmarks.peers import Place

_TEXTS = {
    "hold": "with lock:\n    pass",
    "acquire": "lock.acquire()",
    "release": "lock.release()",
}


class File:
    def __init__(self, place: Place) -> None:
        path = os.path.join(place.directory, f"{place.name}.filelock")
        self._lock: Any = wheel("filelock").FileLock(path)

    def statement(self, verb: str) -> Statement | None:
        return Statement(_TEXTS[verb], {"lock": self._lock}) if verb in _TEXTS else None

    def close(self) -> None:
        self._lock.release(force=True)


class Filelock:
    shared = True

    def version(self) -> str:
        wheel("filelock")
        return wheel_version("filelock")

    def create(self, place: Place) -> File:
        return File(place)

    def attach(self, place: Place) -> File:
        return File(place)


PEER = Filelock()
