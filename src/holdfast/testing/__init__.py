"""What tests and simulations of users stand on; nothing of the library itself imports it.

==============================  ==================================================================
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

__all__ = [
    "MemoryNamespace",
    "MemoryState",
    "MemoryTransaction",
    "MemoryView",
    "snapshot",
    "transaction",
]
