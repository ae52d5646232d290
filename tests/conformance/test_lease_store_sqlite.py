"""The conformance suite over SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.lease.global_clock import STEP_NS_MAX
from holdfast.lease.stores import Store
from holdfast.lease.stores.sql import SqlStore
from holdfast.testing.conformance import LeaseStoreConformance, MakeStore


class Make:
    def __init__(self, url: str) -> None:
        self.url = url
        self.stores: list[Store] = []

    def __call__(self, *, namespace: str = "default", writer: str | None = None) -> Store:
        store = SqlStore(self.url, namespace=namespace, writer=writer)
        self.stores.append(store)
        return store

    def elapse(self, elapsed_ns: int) -> None:
        store = self()
        while elapsed_ns:
            step = min(elapsed_ns, STEP_NS_MAX)
            store.advance(step, since=store.clock())
            elapsed_ns -= step


class TestSqlite(LeaseStoreConformance):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Iterator[MakeStore]:
        make = Make(f"sqlite:///{tmp_path}/leases.db")
        yield make
        for store in make.stores:
            store.close()
