"""Leases that gate transactions: who may act, in a way that survives crash, partition and sleep.

Ownership is a record, not a timestamp: a lease is held as long as a record says so, whatever any
clock shows, and nobody can claim it before that record was removed. A global clock that only its
users advance decides when it may be removed.

The way of a hold::

    with leases.hold(...)      held.py        entering the block claims
      scripts.claim            scripts.py     what to ask, what to infer, whom to wait for
        Driver.run             driver.py      call the store, look at the clock, sleep
          Store.claim          stores/…       one step of its own kind: a lock, a transaction
            rules.claim        rules.py       is it vacant? then this is the record to write
      Keeper                   keeper.py      when to renew, until when to believe
    held.check()               held.py        a look at CLOCK_BOOTTIME and at the deadline
    held.gate(transaction)     stores/…       the transaction commits only while it is ours

The way of a renewal: `Renewer` (``renewer.py``), a thread with a connection of its own, asks every
`Keeper` what is due, and extends it all in batches. `Watchdog` (``watchdog.py``), a thread that
does no I/O, declares lost what was not renewed in time.

The way of a hand-over: `Updater` (``global_clock.py``) adds to the store's clock what it has
measured, `Store.expire` removes a record whose end the clock has strictly passed, and somebody
claims.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from holdfast.lease.held import Held, Hold
from holdfast.lease.leases import Change, Leases, Listed, Listing, Token
from holdfast.lease.leases import open as open  # noqa: A004 - lease.open, as os.open and gzip.open
from holdfast.lease.record import Reading, Record

if TYPE_CHECKING:
    from holdfast.lease.async_held import AsyncHeld, AsyncHold
    from holdfast.lease.async_leases import AsyncLeases, open_async

__all__ = [
    "AsyncHeld",
    "AsyncHold",
    "AsyncLeases",
    "Change",
    "Held",
    "Hold",
    "Leases",
    "Listed",
    "Listing",
    "Reading",
    "Record",
    "Token",
    "open",
    "open_async",
]

_LATE = {
    "AsyncHeld": "holdfast.lease.async_held",
    "AsyncHold": "holdfast.lease.async_held",
    "AsyncLeases": "holdfast.lease.async_leases",
    "open_async": "holdfast.lease.async_leases",
}


def __getattr__(name: str) -> object:
    # asyncio takes longer to import than all of this: only those who use it wait for it.
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
