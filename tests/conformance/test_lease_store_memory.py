"""The conformance suite over the store in memory: with the global clock, and with a given one."""

from __future__ import annotations

import pytest

from holdfast.errors import InvalidArgument, StaleRecord, Unsupported
from holdfast.lease.global_clock import STEP_NS_MAX
from holdfast.lease.stores import Store
from holdfast.lease.stores.memory import MemoryDatabase, MemoryStore
from holdfast.testing.conformance import LeaseStoreConformance, MakeStore


class Hands:
    """A clock that is moved by hand."""

    now_ns = 5_000

    def boottime_ns(self) -> int:
        return self.now_ns

    monotonic_ns = realtime_ns = boottime_ns


class Make:
    def __init__(self, clock: Hands | None) -> None:
        self.clock = clock
        self.database = MemoryDatabase(clock)

    def __call__(self, *, namespace: str = "default", writer: str | None = None) -> Store:
        return MemoryStore(self.database, namespace=namespace, writer=writer)

    def elapse(self, elapsed_ns: int) -> None:
        if self.clock is not None:
            self.clock.now_ns += elapsed_ns
            return
        store = self()
        while elapsed_ns:
            step = min(elapsed_ns, STEP_NS_MAX)
            store.advance(step, since=store.clock())
            elapsed_ns -= step


class TestMemoryWithGlobalClock(LeaseStoreConformance):
    @pytest.fixture
    def make(self) -> MakeStore:
        return Make(None)


class TestMemoryWithItsOwnClock(LeaseStoreConformance):
    @pytest.fixture
    def make(self) -> MakeStore:
        return Make(Hands())


def test_the_global_clock_is_swapped_and_by_a_step_at_most() -> None:
    store = MemoryStore()
    seen = store.clock()
    assert store.advance(5, since=seen).now_ns == 5
    with pytest.raises(StaleRecord):
        store.advance(5, since=seen)
    with pytest.raises(InvalidArgument):
        store.advance(-1, since=store.clock())
    assert store.advance(10**12, since=store.clock()).now_ns == 5 + STEP_NS_MAX


def test_a_clock_that_runs_by_itself_is_not_advanced() -> None:
    store = MemoryStore(MemoryDatabase(Hands()))
    with pytest.raises(Unsupported):
        store.advance(5, since=store.clock())
