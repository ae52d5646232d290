"""`multiprocessing.shared_memory` with a `multiprocessing.Lock` around each access.

Without the lock a reader would see half of one write and half of another.
"""

from __future__ import annotations

import os
import platform
from multiprocessing.shared_memory import SharedMemory
from typing import TYPE_CHECKING

from benchmarks.measure import Statement
from benchmarks.peers import payloads

if TYPE_CHECKING:
    from benchmarks.peers import Place

_TEXTS = {
    "read": "with lock:\n    data = bytes(memory)",
    "readinto": "with lock:\n    target[:] = memory",
    "write": "with lock:\n    memory[:] = payload",
    "update": "with lock:\n    data = bytes(memory)\n    memory[:] = payload",
}


class Segment:
    def __init__(self, place: Place, *, create: bool) -> None:
        # The name is the directory's, which is unique, and the store's.
        name = f"{os.path.basename(place.directory)}-{place.name}"
        self._segment = SharedMemory(name, create=create, size=place.size)
        assert self._segment.buf is not None, "only a closed segment has none"
        self._memory = self._segment.buf[: place.size]
        self._made = create
        self._place = place
        if create:
            self._memory[:] = payloads(place.size)[1]

    def statement(self, verb: str) -> Statement | None:
        if verb not in _TEXTS:
            return None
        size = self._place.size
        names = {
            "bytes": bytes,
            "lock": self._place.lock,
            "memory": self._memory,
            "target": bytearray(size),
        }
        return Statement(_TEXTS[verb], names, payloads(size))

    def close(self) -> None:
        self._memory.release()
        self._segment.close()
        if self._made:
            self._segment.unlink()


class Shared:
    shared = True

    def version(self) -> str:
        return f"CPython {platform.python_version()}"

    def create(self, place: Place) -> Segment:
        return Segment(place, create=True)

    def attach(self, place: Place) -> Segment:
        return Segment(place, create=False)


PEER = Shared()
