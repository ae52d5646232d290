"""What shared state must reach (the numbers are those of the design)."""

from __future__ import annotations

from benchmarks.results import Bar

__all__ = ["BARS"]

BARS = (
    Bar(1, "read 256 B ≥ 10x faster than LMDB's read transaction", "read.256", "lmdb", 10.0),
    Bar(1, "read 256 B ≥ 20x faster than iceoryx2's blackboard", "read.256", "iceoryx2", 20.0),
    Bar(1, "read 256 B no slower than bytes(bytearray)", "read.256", "bytearray", 1.0),
    Bar(2, "transaction ≥ 3x faster than LMDB's", "transaction.256", "lmdb", 3.0),
    Bar(3, "two states in ≤ 4x the time of one", "several.256", "one state", 1 / 4),
    Bar(4, "wake-up on another CPU ≤ 1.5x eventfd", "wake.other-cpu", "eventfd", 1 / 1.5),
    Bar(4, "the same, if all had slept", "wake.other-cpu.rested", "eventfd", 1 / 1.5),
)
