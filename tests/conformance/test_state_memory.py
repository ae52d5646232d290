"""The conformance suite over the stand-in for simulations."""

from __future__ import annotations

import pytest

from holdfast.testing.conformance import Make, NamespaceConformance
from tests.makes import MakeMemory


class TestMemory(NamespaceConformance):
    @pytest.fixture
    def make(self) -> Make:
        return MakeMemory()
