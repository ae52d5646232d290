"""Reigns: what those who act one at a time note, so that two at once can be seen.

Whoever has just made sure that it may act notes when it asked. If one with an older token has made
sure of the same since the newer one began, then two could have acted at once::

    token 6   began ──✓──✓──✓──────────────────✗        a look after the other one began
    token 7                       began ──✓──✓──✓        sees that note, and counts it

Both note it in the tally, so it is seen whatever the lease itself believes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.demo.tally import Row

__all__ = ["BELIEVED_NS", "SINCE_NS", "TOKEN", "WORDS", "begin", "overlaps"]

# The first words of the row of each who may reign; its own begin at `WORDS`.
TOKEN, SINCE_NS, BELIEVED_NS, WORDS = range(4)


def begin(row: Row, token: int, now_ns: int) -> None:
    """The reign with that fencing token begins."""
    row[SINCE_NS] = now_ns
    row[TOKEN] = token


def overlaps(row: Row, others: Iterable[Row], asked_ns: int) -> int:
    """It has made sure that it may act, and asked at `asked_ns`. How many others did so, too."""
    row[BELIEVED_NS] = asked_ns
    return sum(
        other[TOKEN] <= row[TOKEN] and other[BELIEVED_NS] > row[SINCE_NS] for other in others
    )
