"""Our way to wake a process: a commit, and `State.wait` in the other."""

from __future__ import annotations

import struct
from itertools import count
from typing import TYPE_CHECKING

from benchmarks.peers import OURS
from holdfast.state import Namespace

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Change"]

_NUMBER = struct.Struct("<Q")


class Change:
    """A commit of eight bytes; the waiter waits for a change, and reads it."""

    name = OURS
    text = "with state.transaction() as txn: txn.data[:] = … → state.wait()"

    def __init__(self, directory: str, name: str) -> None:
        self._directory = directory
        self._name = name
        self._namespace: Namespace | None = None

    def _open(self) -> Namespace:
        self._namespace = Namespace(self._directory)
        return self._namespace

    def open_waker(self) -> Callable[[], object]:
        state = self._open().subscribe(self._name, "rw", size=_NUMBER.size)
        numbers = count(1)

        def wake() -> None:
            with state.transaction() as txn:
                txn.data[:] = _NUMBER.pack(next(numbers))

        return wake

    def open_waiter(self) -> tuple[Callable[[], object], Callable[[], object]]:
        state = self._open().subscribe(self._name, "r", size=_NUMBER.size)
        state.read(None)
        return state.wait, state.read

    def close(self) -> None:
        if self._namespace is not None:
            self._namespace.close()
