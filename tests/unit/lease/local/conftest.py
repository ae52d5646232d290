"""Fixtures: a directory of leases, stores in it, a clock that is moved by hand, a state beside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast import state
from holdfast.lease.stores.local import LocalStore
from tests.unit.lease.local.shared import Hands, MakeStore


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def make(directory: Path, clock: Hands) -> Iterator[MakeStore]:
    made: list[LocalStore] = []

    def one(**settings: Any) -> LocalStore:
        made.append(LocalStore(directory, **({"clock": clock} | settings)))
        return made[-1]

    yield one
    for store in made:
        store.close()


@pytest.fixture
def store(make: MakeStore) -> LocalStore:
    return make()


@pytest.fixture
def other(make: MakeStore, store: LocalStore) -> LocalStore:
    return make()


@pytest.fixture
def place(directory: Path, store: LocalStore) -> Iterator[state.Namespace]:
    with state.Namespace(directory) as opened:
        yield opened


@pytest.fixture
def counter(place: state.Namespace) -> state.State:
    return place.subscribe("counter", "rw", type="<q")
