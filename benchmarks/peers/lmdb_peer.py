"""LMDB through py-lmdb, on memory, with everything off that costs durability."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Statement
from benchmarks.peers import payloads, wheel

if TYPE_CHECKING:
    from benchmarks.peers import Place

_TEXTS = {
    "read": "with environment.begin() as txn:\n    data = txn.get(key)",
    "write": "with environment.begin(write=True) as txn:\n    txn.put(key, payload)",
    "commit": "txn = environment.begin(write=True)\ntxn.put(key, payload)\ntxn.commit()",
    "update": (
        "with environment.begin(write=True) as txn:\n"
        "    data = txn.get(key)\n"
        "    txn.put(key, payload)"
    ),
}


class Environment:
    def __init__(self, place: Place) -> None:
        lmdb = wheel("lmdb")
        self._environment: Any = lmdb.open(
            os.path.join(place.directory, f"{place.name}.lmdb"),
            map_size=1 << 29,  # a reader that sleeps keeps old pages from being used again
            writemap=True,
            sync=False,
            metasync=False,
        )
        self._key = place.name.encode()
        self._size = place.size

    def fill(self) -> None:
        with self._environment.begin(write=True) as txn:
            txn.put(self._key, payloads(self._size)[1])

    def statement(self, verb: str) -> Statement | None:
        if verb not in _TEXTS:
            return None
        names = {"environment": self._environment, "key": self._key}
        return Statement(_TEXTS[verb], names, payloads(self._size))

    def close(self) -> None:
        self._environment.close()


class Lmdb:
    shared = True

    def version(self) -> str:
        lmdb = wheel("lmdb")
        return f"{lmdb.__version__} (LMDB {'.'.join(map(str, lmdb.version()))})"

    def create(self, place: Place) -> Environment:
        store = Environment(place)
        store.fill()
        return store

    def attach(self, place: Place) -> Environment:
        return Environment(place)


PEER = Lmdb()
