"""The conformance suite over the C core."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.testing.conformance import Make, NamespaceConformance
from tests.fixtures_state import MakePeer
from tests.makes import MakeCore


class TestCore(NamespaceConformance):
    @pytest.fixture
    def make(self, directory: Path, peer: MakePeer) -> Iterator[Make]:
        make = MakeCore(directory, peer)
        yield make
        make.close()
