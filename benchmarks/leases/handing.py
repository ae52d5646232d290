"""How long it takes from one holder to the next, in another process.

A hand-over is waited for: from just before the release to the first instruction of whoever waited.
Those who look again and again, instead of being woken, take half of their pause on average; so what
we let them wait for before we release is by chance, longer and shorter than that pause.

A take-over is not: the holder was killed, and its successor waits for the end of what was promised.
What is measured is how late it comes after that end; it must never come before.
"""

from __future__ import annotations

import contextlib
import random
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.crowd import SPAWN
from benchmarks.measure import Loop, Measurement, by_turns
from benchmarks.peers import LEASES

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from benchmarks.company import Company
    from benchmarks.peers import Place, Store

__all__ = ["handovers", "takeovers"]

_PROMISED_NS = 1_000_000_000  # by the statements for "promise"
_ASLEEP_S = (0.005, 0.11)
_PATIENCE_S = 60.0


def _once(store: Store, verb: str) -> Callable[[], object]:
    statement = store.statement(verb)
    assert statement is not None, f"no statement for {verb}"
    return partial(Loop(statement, copies=1), 1)


def _received(pipe: Connection) -> float:
    if not pipe.poll(_PATIENCE_S):
        raise TimeoutError("the other process has not answered")
    return float(pipe.recv())


def _rival(name: str, place: Place, pipe: Connection) -> None:
    store = peers.peer(name, LEASES).attach(place)
    acquire, release = _once(store, "acquire"), _once(store, "release")
    pipe.send(0)
    while pipe.recv():
        pipe.send(0)
        acquire()
        now_ns = time.monotonic_ns()
        release()
        pipe.send(now_ns)
    store.close()


class _Contest:
    """A process that waits for what we have."""

    text = "acquire, in another process, once released in this one"

    def __init__(self, name: str, place: Place, store: Store) -> None:
        self.name = name
        self._acquire, self._release = _once(store, "acquire"), _once(store, "release")
        self._pipe, theirs = SPAWN.Pipe()
        self._rival = SPAWN.Process(target=_rival, args=(name, place, theirs), daemon=True)
        self._rival.start()
        theirs.close()

    def sample(self) -> float:
        self._acquire()
        self._pipe.send(1)
        _received(self._pipe)
        time.sleep(random.uniform(*_ASLEEP_S))
        before_ns = time.monotonic_ns()
        self._release()
        return _received(self._pipe) - before_ns

    def await_ready(self) -> None:
        _received(self._pipe)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._pipe.send(0)
        self._rival.join(10)
        if self._rival.is_alive():
            self._rival.kill()
            self._rival.join()
        self._rival.close()
        self._pipe.close()


def handovers(company: Company, rounds: int, turn: int) -> list[Measurement]:
    """Of everybody in this company."""
    with contextlib.ExitStack() as exits:
        contests = []
        for name, store in company.stores.items():
            contests.append(_Contest(name, company.place, store))
            exits.callback(contests[-1].close)
        for contest in contests:
            contest.await_ready()
        return by_turns(contests, rounds=rounds, turn=turn)


def _victim(name: str, place: Place, pipe: Connection) -> None:
    store = peers.peer(name, LEASES).attach(place)
    promise = _once(store, "promise")
    before_ns = time.monotonic_ns()
    promise()
    pipe.send(before_ns)
    time.sleep(_PATIENCE_S)


class _Succession:
    """A process that is killed as soon as it was promised something for a second."""

    text = "acquire, in this process; from the end of what was promised to one that was killed"

    def __init__(self, name: str, place: Place, store: Store) -> None:
        self.name = name
        self._place = place
        self._acquire, self._release = _once(store, "acquire"), _once(store, "release")

    def sample(self) -> float:
        ours, theirs = SPAWN.Pipe()
        victim = SPAWN.Process(target=_victim, args=(self.name, self._place, theirs), daemon=True)
        victim.start()
        theirs.close()
        try:
            promised_ns = _received(ours) + _PROMISED_NS
        finally:
            victim.kill()
            victim.join()
            ours.close()
        self._acquire()
        now_ns = time.monotonic_ns()
        self._release()
        assert now_ns > promised_ns, f"{self.name} has broken a promise"
        return now_ns - promised_ns


def takeovers(company: Company, samples: int) -> list[Measurement]:
    """Of those in this company that promise something for a time."""
    successions = [
        _Succession(name, company.place, store)
        for name, store in company.stores.items()
        if store.statement("promise") is not None
    ]
    return by_turns(successions, rounds=samples, turn=1)
