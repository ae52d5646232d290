"""Other processes that read or write a store while it is measured.

The members of a crowd attach to the store when the crowd is made, and then do nothing until they
are called: they are what "idle subscribers" means. `busy(n)` sets the first n of them to repeating
their statement, on the processors that the measured process does not use.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from typing import TYPE_CHECKING

from benchmarks import processors
from benchmarks.measure import Loop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.synchronize import Event, Semaphore

    from benchmarks.peers import Peer, Place

__all__ = ["SPAWN", "Crowd"]

SPAWN = multiprocessing.get_context("spawn")

_BATCH_NS = 500_000  # between two looks at whether to go on
_START_S = 60.0
_SETTLE_S = 0.01


def _member(
    peer: Peer, place: Place, verb: str, processor: int, go: Event, stop: Event, up: Semaphore
) -> None:
    os.sched_setaffinity(0, {processor})
    store = peer.attach(place)
    statement = store.statement(verb)
    assert statement is not None, f"no statement for {verb}"
    loop = Loop(statement, copies=2)
    loop(1)
    up.release()
    passes = 0
    while True:
        go.wait()
        if stop.is_set():
            break
        passes = passes or loop.passes(_BATCH_NS)
        loop(passes)
    store.close()


class Crowd:
    """So many processes, each with a store of its own on the same bytes."""

    def __init__(self, peer: Peer, place: Place, verb: str, number: int) -> None:
        self._stop = SPAWN.Event()
        self._up = SPAWN.Semaphore(0)
        self._go = [SPAWN.Event() for _ in range(number)]
        where = processors.others()
        self._members = [
            SPAWN.Process(
                target=_member,
                args=(peer, place, verb, where[i % len(where)], go, self._stop, self._up),
                daemon=True,
            )
            for i, go in enumerate(self._go)
        ]
        for member in self._members:
            member.start()

    def await_ready(self) -> None:
        """Wait until every member is attached."""
        for _ in self._members:
            if not self._up.acquire(timeout=_START_S):
                self.close()
                raise TimeoutError("a process of the crowd has not started")

    @contextlib.contextmanager
    def busy(self, number: int) -> Iterator[None]:
        """Let the first `number` repeat their statement meanwhile."""
        for go in self._go[:number]:
            go.set()
        time.sleep(_SETTLE_S)
        try:
            yield
        finally:
            for go in self._go[:number]:
                go.clear()
            time.sleep(_SETTLE_S)

    def close(self) -> None:
        """End them: first by asking, so that none of them dies with a lock of its peer's."""
        self._stop.set()
        for go in self._go:
            go.set()
        for member in self._members:
            member.join(10)
            if member.is_alive():
                member.kill()
                member.join()
            member.close()
