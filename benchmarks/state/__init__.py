"""Shared state beside its peers: ``python -m benchmarks.state``.

``questions`` says what is measured and in what company, ``waking`` how long a waiter takes to wake,
``bars`` what must be reached, ``__main__`` runs it.
"""

from __future__ import annotations
