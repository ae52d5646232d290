"""Measurements beside peers: ``python -m benchmarks.state``.

Each part that is measured has a package here, with its questions; they stand on

* ``measure``: statements timed in rounds, ours and the peers' by turns, and what becomes of the
  samples; ``bars`` says what must be reached;
* ``crowd``: processes that read or write meanwhile; ``wakeup``: how long a waiter takes to wake;
* ``peers``: one file for each thing that we are measured beside;
* ``report``, ``picture``: what is told afterwards; ``environment``: where it was measured.
"""

from __future__ import annotations
