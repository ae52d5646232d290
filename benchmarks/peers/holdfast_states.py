"""Ours: `holdfast.state`."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import holdfast
from benchmarks.measure import Statement
from benchmarks.peers import payloads
from holdfast.state import Namespace, Transaction

if TYPE_CHECKING:
    from benchmarks.peers import Place

_TEXTS = {
    "read": "data = state.read()",
    "readinto": "state.readinto(buffer)",
    "view": "view = state.view()\nfirst = view.memoryview[0]\nview.check()",
    "check": "state.changed()",
    "snapshot": "snapshot = state.snapshot()",
    "write": "with state.transaction() as txn:\n    txn.data[:] = payload",
    "commit": "txn = state.transaction()\ntxn.data[:] = payload\ntxn.commit()",
    "abort": "state.transaction().abort()",
    "update": "state.transact(change)",
    "wait": "state.wait(0.05)\nstate.read()",
}


class States:
    """One handle."""

    def __init__(self, place: Place) -> None:
        self._namespace = Namespace(place.directory)
        self.state = self._namespace.subscribe(place.name, "rw", size=place.size)
        self._size = place.size

    def statement(self, verb: str) -> Statement | None:
        if verb not in _TEXTS:
            return None
        fresh = cycle(payloads(self._size))

        def change(txn: Transaction) -> None:
            data = txn.data
            bytes(data)
            data[:] = next(fresh)

        names = {"state": self.state, "buffer": bytearray(self._size), "change": change}
        return Statement(_TEXTS[verb], names, payloads(self._size))

    def close(self) -> None:
        self._namespace.close()


class Holdfast:
    shared = True

    def version(self) -> str:
        return holdfast.__version__

    def create(self, place: Place) -> States:
        store = States(place)
        store.state.transact(lambda txn: txn.write(0, payloads(place.size)[1]))
        return store

    def attach(self, place: Place) -> States:
        return States(place)


PEER = Holdfast()
