"""Conformance suites: what every implementation of a port must show, as tests for pytest.

A suite is a class. Derive from it in a test module, and give it the one fixture that it asks for::

    class TestMine(NamespaceConformance):
        @pytest.fixture
        def make(self) -> Make:
            return MyMake()

pytest then collects every test of the suite under that name. Importing this package imports pytest.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    "holdfast.testing.conformance.lease_store",
    "holdfast.testing.conformance.state_commits",
    "holdfast.testing.conformance.state_life",
    "holdfast.testing.conformance.state_reads",
    "holdfast.testing.conformance.state_several",
    "holdfast.testing.conformance.state_throttle",
)

from holdfast.testing.conformance.lease_store import (  # noqa: E402 - the same
    LeaseStoreConformance,
    MakeStore,
)
from holdfast.testing.conformance.state import (  # noqa: E402 - after the line above
    Make,
    NamespaceConformance,
    Stranger,
)

__all__ = ["LeaseStoreConformance", "Make", "MakeStore", "NamespaceConformance", "Stranger"]
