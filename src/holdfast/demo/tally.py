"""Where the players keep count: a shared file of plain numbers, outside of what is tested.

Each player has a row of 64-bit words to itself, so that nobody else ever writes them, and a store
of one aligned word is whole or not at all. What a player had noted when SIGKILL hit it stays noted.
"""

from __future__ import annotations

import mmap
import os

__all__ = ["READY", "ROWS", "Row", "Tally", "note_delay", "typical_delay"]

WORDS = 64
ROWS = 128

READY = WORDS - 1  # the last word of a row: the player has set itself up
_DELAYS = 16  # the words from here count delays, by the length of their nanoseconds in bits
_DELAY_BITS = 44

Row = memoryview  # of 64-bit words


class Tally:
    """The whole sheet, made by the stage and opened by each player."""

    def __init__(self, path: str) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, ROWS * WORDS * 8)
            self._words = memoryview(mmap.mmap(fd, ROWS * WORDS * 8)).cast("Q")
        finally:
            os.close(fd)

    def row(self, index: int) -> Row:
        """The words of one player."""
        return self._words[index * WORDS : (index + 1) * WORDS]


def note_delay(row: Row, delay_ns: int) -> None:
    """Count a delay in the row."""
    row[_DELAYS + min(max(delay_ns, 0).bit_length(), _DELAY_BITS)] += 1


def typical_delay(*rows: Row) -> str:
    """Within which power of two of nanoseconds half of the delays lay, for people."""
    counts = [sum(row[_DELAYS + bits] for row in rows) for bits in range(_DELAY_BITS + 1)]
    seen = 0
    for bits, count in enumerate(counts):
        seen += count
        if seen and 2 * seen >= sum(counts):
            bound_us = 2**bits / 1000
            return f"{bound_us:.0f} µs" if bound_us < 1000 else f"{bound_us / 1000:.0f} ms"
    return "no time"
