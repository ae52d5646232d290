"""The conformance suite over a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfast.testing.conformance import LeaseStoreConformance, MakeStore
from tests.conformance.test_lease_store_sqlite import Make
from tests.fixtures_postgres import Postgres


class TestPostgresql(LeaseStoreConformance):
    @pytest.fixture
    def make(self, postgres: Postgres) -> Iterator[MakeStore]:
        make = Make(postgres.url)
        yield make
        for store in make.stores:
            store.close()
