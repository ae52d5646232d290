"""What wake leases must reach (the number is that of the design)."""

from __future__ import annotations

from benchmarks.results import Bar, Needed
from benchmarks.wake.logind import NAME

__all__ = ["BARS"]

BARS: tuple[Needed, ...] = (
    Bar(13, "wake lease: acquire and release ≥ 4x faster than Inhibit and close", "hold", NAME, 4),
)
