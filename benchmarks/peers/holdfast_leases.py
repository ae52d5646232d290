"""Ours: `holdfast.lease`, on the store that the place names; without one, in shared memory."""

from __future__ import annotations

import contextlib
import os
from itertools import count
from typing import TYPE_CHECKING

import holdfast
from benchmarks.measure import Statement
from holdfast import lease

if TYPE_CHECKING:
    from benchmarks.peers import Place

_LONG_S = 3600  # nothing expires while something else is measured
_TEXTS = {
    "hold": "with leases.hold(name):\n    pass",
    "acquire": "hold.__enter__()",
    "release": "hold.__exit__(None, None, None)",
    "promise": "leases.hold(name, duration=1, renew=None).__enter__()",
    "claim": "record = store.claim(name, holder, duration_ns)\nstore.release(record)",
    "take": "store.claim(next(names), holder, duration_ns)",
}
_GATED = (
    "with connection.begin():\n    held.gate(connection)\n    connection.execute(update, payload)"
)


class Leases:
    """The leases of one process.

    Attributes:
        directory: Where those in shared memory lie: a state that they gate must lie there, too.
        leases: As a user has them.
    """

    def __init__(self, place: Place) -> None:
        self._exits = contextlib.ExitStack()
        self._place = place
        self.directory = os.path.join(place.directory, f"{place.name}.leases")
        self.leases = lease.open(place.url or f"local:?dir={self.directory}")
        self._exits.callback(self.leases.close)
        self._hold = self.leases.hold(place.name)
        self._gate: Statement | None = None

    def statement(self, verb: str) -> Statement | None:
        if verb == "gated":
            self._gate = self._gate or self._gated()
            return self._gate
        if verb not in _TEXTS:
            return None
        name = self._place.name
        names = {
            "leases": self.leases,
            "store": self.leases.store,
            "hold": self._hold,
            "name": name,
            "names": map("taken-{:09}".format, count()),
            "holder": "benchmark",
            "duration_ns": _LONG_S * 10**9,
        }
        return Statement(_TEXTS[verb], names)

    def _gated(self) -> Statement:
        from benchmarks.peers import bare_transaction

        database = bare_transaction.Database(self._place)
        self._exits.callback(database.close)
        held = self._exits.enter_context(self.leases.hold("gate", duration=_LONG_S))
        return Statement(_GATED, database.names | {"held": held}, database.values)

    def close(self) -> None:
        self._exits.close()


class Holdfast:
    shared = True

    def version(self) -> str:
        return holdfast.__version__

    def create(self, place: Place) -> Leases:
        return Leases(place)

    def attach(self, place: Place) -> Leases:
        return Leases(place)


PEER = Holdfast()
