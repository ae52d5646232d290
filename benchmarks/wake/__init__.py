"""Wake leases beside logind's inhibitor locks: ``python -m benchmarks.wake``.

``governor`` runs a governor in a process of its own, ``logind`` a real logind on a private bus;
``questions`` says what is measured, ``latency`` how long it takes from the last release until the
machine goes down, ``commands`` what a command costs that runs under a wake lease; ``bars`` what
must be reached; ``__main__`` runs it.
"""

from __future__ import annotations
