"""Measurements beside peers: ``python -m benchmarks.state``, ``.leases``, ``.membership``.

Each part that is measured has a package here, with its questions and its bars; they stand on

* ``program``: the arguments, and the way through the questions; ``questions``: what those are;
* ``measure``: statements timed in rounds, ours and the peers' by turns, and what becomes of the
  samples; ``wakeup``: how long a waiter takes to wake;
* ``company``: the stores of all peers, and ``crowd``: processes that use them meanwhile;
* ``peers``: one file for each thing that we are measured beside; ``postgresql``: a server;
* ``results``, ``report``, ``picture``, ``markdown``: what is told afterwards, and whether bars were
  reached; ``environment``, ``directories``: where it was measured.
"""

from __future__ import annotations
