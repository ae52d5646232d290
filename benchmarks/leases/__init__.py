"""Leases beside their peers: ``python -m benchmarks.leases``.

``questions`` says what is measured and where the leases are kept; ``handing`` how long a hand-over
and a take-over last, ``renewing`` what renewals cost by the thousand; ``bars`` what must be
reached; ``__main__`` runs it.
"""

from __future__ import annotations
