"""Leases that gate transactions: so far the strict layer, on which the rest will stand.

Ownership is a record, not a timestamp: a lease is held as long as a record says so, whatever any
clock shows, and nobody can claim it before that record was removed. A global clock that only its
users advance decides when it may be removed.

The way of a claim::

    Store.claim          stores/memory.py    one step of its own kind: a lock, a transaction
      Request.of         rules.py            are name, holder and duration well-formed?
      the record, the clock, a new epoch     read in that step, not before it
      rules.claim        rules.py            is it vacant? then this is the record to write
      Change             rules.py            compare all of what was read, and write

The way of a hand-over: `Updater` (``global_clock.py``) adds to the store's clock what it has
measured, `Store.expire` removes a record whose end the clock has strictly passed, and somebody
claims.

Not here yet: the layer that people use (``lease.open``, hold, wait, renew, check, gate) and the
command.
"""

from __future__ import annotations

from holdfast.lease.record import Reading, Record

__all__ = ["Reading", "Record"]
