"""The node of the crate foca, for whoever asks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.building import CannotBuild, build
from tests.interop.driver import Driver


@pytest.fixture(scope="session")
def foca_node(project: Path) -> Path:
    """The program; skips where this machine cannot build it."""
    try:
        return build(project)
    except CannotBuild as reason:
        pytest.skip(str(reason))


@pytest.fixture
def driver(foca_node: Path) -> Iterator[Driver]:
    """Real engines, without sockets and clocks."""
    made = Driver(foca_node)
    yield made
    made.close()
