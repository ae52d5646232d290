"""The suite for namespaces of states, put together from its parts."""

from __future__ import annotations

from holdfast.testing.conformance.making import Make, Stranger
from holdfast.testing.conformance.state_commits import Commits
from holdfast.testing.conformance.state_life import Life
from holdfast.testing.conformance.state_reads import Reads
from holdfast.testing.conformance.state_several import SeveralStates
from holdfast.testing.conformance.state_throttle import Throttle

__all__ = ["Make", "NamespaceConformance", "Stranger"]


class NamespaceConformance(Reads, Commits, Life, SeveralStates, Throttle):
    """Every behaviour of a namespace of states that does not need a descriptor or a real clock.

    Derive from it and override the fixture `make` with an object of the protocol `Make`.
    """
