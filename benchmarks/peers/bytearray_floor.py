"""The floor: one copy of bytes inside this process, shared with nobody."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from benchmarks.measure import Statement
from benchmarks.peers import payloads

if TYPE_CHECKING:
    from benchmarks.peers import Place

_TEXTS = {
    "read": "data = bytes(buffer)",
    "readinto": "target[:] = buffer",
    "write": "buffer[:] = payload",
}


class Floor:
    def __init__(self, size: int) -> None:
        self._size = size

    def statement(self, verb: str) -> Statement | None:
        if verb not in _TEXTS:
            return None
        names = {
            "bytes": bytes,
            "buffer": bytearray(payloads(self._size)[1]),
            "target": bytearray(self._size),
        }
        return Statement(_TEXTS[verb], names, payloads(self._size))

    def close(self) -> None:
        """Nothing is held."""


class Bytearray:
    shared = False

    def version(self) -> str:
        return f"CPython {platform.python_version()}"

    def create(self, place: Place) -> Floor:
        return Floor(place.size)

    def attach(self, place: Place) -> Floor:
        return Floor(place.size)


PEER = Bytearray()
