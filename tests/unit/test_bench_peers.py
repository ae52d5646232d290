"""What the benchmarks compare us with does what its statements say."""

from __future__ import annotations

from multiprocessing import get_context
from pathlib import Path

import pytest

from benchmarks import peers
from benchmarks.measure import Loop

SIZE = 64
SHARED = [name for name in peers.NAMES if peers.peer(name).shared]


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> peers.Place:
    # Short: a Unix socket's path has 108 bytes.
    directory: Path = tmp_path_factory.mktemp("p")
    return peers.Place(str(directory), "store", SIZE, get_context("spawn").Lock())


def create(name: str, place: peers.Place) -> peers.Store:
    try:
        return peers.peer(name).create(place)
    except peers.Missing as error:
        pytest.skip(str(error))


def value(store: peers.Store) -> object:
    statement = store.statement("read")
    assert statement is not None
    names = dict(statement.names)
    exec(statement.text, names)
    return names["data"]


@pytest.mark.parametrize("name", SHARED)
def test_what_is_written_is_read(name: str, place: peers.Place) -> None:
    first, second = peers.payloads(SIZE)
    store = create(name, place)
    try:
        assert value(store) == second
        for verb in ("write", "commit", "update"):
            statement = store.statement(verb)
            if statement is None:
                assert verb != "write", "the one that everybody has"
                continue
            Loop(statement, copies=2)(1)
            assert value(store) == second
            Loop(statement, copies=1)(1)
            assert value(store) == first
    finally:
        store.close()
