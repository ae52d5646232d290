"""Shared state with optimistic transactions, in shared memory, without a server.

A state is a name and up to one page of bytes. Any number of processes read and write it. A read
takes no lock and makes no system call; a transaction works on a private copy and fails at commit
if somebody else has committed meanwhile; a process killed anywhere harms nobody.

The way of a read::

    State.read            handle.c      is anything out of the ordinary? no
      hf_look             look.c        head names a version and a slot
      hf_copy             look.c        copy, and see that the slot is still that version's

The way of a commit::

    with state.transaction() as txn     transaction.c   copy into private memory
        txn.data[...] = ...             your code
    Transaction.__exit__                transaction.c   was anything changed?
      hf_publish                        commit.c        take a slot, fill it, and
        compare-and-swap on head                        validate and publish in one instruction
        hf_ring                                         wake those who wait, if anybody does

`subscribe` and `Namespace` (``namespace.py``) find or make the files, ``files.py`` knows what they
look like and who has them, ``handle.py`` is what a subscriber holds, ``watch.py`` its descriptor.

Source: the Kstate note (K. Fraser's and others' optimistic methods behind it), see
``docs/design/state.md``.
"""

from __future__ import annotations

from holdfast.state.core.native import View
from holdfast.state.files import PAGE_SIZE
from holdfast.state.handle import State
from holdfast.state.namespace import Namespace, subscribe
from holdfast.state.survey import Entry
from holdfast.state.transaction import Transaction, snapshot, transaction
from holdfast.state.values import Permission, Snapshot, StateInfo

__all__ = [
    "PAGE_SIZE",
    "Entry",
    "Namespace",
    "Permission",
    "Snapshot",
    "State",
    "StateInfo",
    "Transaction",
    "View",
    "snapshot",
    "subscribe",
    "transaction",
]
