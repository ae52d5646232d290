"""A member on a real network: an asyncio loop, one socket of UDP, one timer.

The way of a datagram::

    the loop: readable             node.py
      Udp.receive                  udp.py       up to `BATCH` of them
        Session.handle_data        ../session   counted if it is none; else to the engine
      Cluster.carry_out            node.py
        Udp.send                   udp.py       at once; what the system refuses is counted
        Changes.put                reading.py   to every reader
        loop.call_at               node.py      the one timer, for `Session.next_due`

`look` asks a member who is there, without being one.
"""

from __future__ import annotations

from holdfast.membership.cluster.node import Cluster
from holdfast.membership.cluster.question import look
from holdfast.membership.cluster.reading import Changes

__all__ = ["Changes", "Cluster", "look"]
