"""The conformance suite over the store in shared memory: in a directory, in the default place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.lease.stores import Store
from holdfast.lease.stores.local import LocalStore
from holdfast.testing.conformance import LeaseStoreConformance, MakeStore


class Hands:
    """A clock that is moved by hand."""

    now_ns = 5_000

    def boottime_ns(self) -> int:
        return self.now_ns

    monotonic_ns = realtime_ns = boottime_ns


class Make:
    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        self.clock = Hands()
        self.stores: list[Store] = []

    def __call__(self, *, namespace: str = "default", writer: str | None = None) -> Store:
        store = LocalStore(self.directory, namespace=namespace, writer=writer, clock=self.clock)
        self.stores.append(store)
        return store

    def elapse(self, elapsed_ns: int) -> None:
        self.clock.now_ns += elapsed_ns


class TestLocal(LeaseStoreConformance):
    @pytest.fixture
    def make(self, directory: Path) -> Iterator[MakeStore]:
        make = Make(directory)
        yield make
        for store in make.stores:
            store.close()


class TestLocalInTheDefaultPlace(LeaseStoreConformance):
    @pytest.fixture
    def make(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeStore]:
        monkeypatch.setenv("HOLDFAST_STATE_DIR", str(directory))
        make = Make(None)
        yield make
        for store in make.stores:
            store.close()
