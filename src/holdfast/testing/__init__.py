"""What tests and simulations of users stand on; nothing of the library itself imports it.

==============================  ==================================================================
`World`, `explore`              a deterministic simulation of nodes, clocks, a network, services
                                and faults, from one seed: `holdfast.testing.world`
`MemoryNamespace`               states without files, threads, clocks or chance: the stand-in for
                                `holdfast.state.Namespace` inside a simulation
`holdfast.testing.conformance`  the behaviour that every implementation must show, as tests for
                                pytest (which it imports; this module does not)
==============================  ==================================================================
"""

from __future__ import annotations

from holdfast.testing.memory_namespace import MemoryNamespace, snapshot, transaction
from holdfast.testing.memory_state import MemoryState
from holdfast.testing.memory_transaction import MemoryTransaction
from holdfast.testing.memory_view import MemoryView
from holdfast.testing.world import (
    Deadlock,
    Later,
    Link,
    OutOfTime,
    SeedFailed,
    ServiceFaults,
    Sleep,
    World,
    explore,
    first_failure,
)

__all__ = [
    "Deadlock",
    "Later",
    "Link",
    "MemoryNamespace",
    "MemoryState",
    "MemoryTransaction",
    "MemoryView",
    "OutOfTime",
    "SeedFailed",
    "ServiceFaults",
    "Sleep",
    "World",
    "explore",
    "first_failure",
    "snapshot",
    "transaction",
]
