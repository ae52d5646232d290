"""A life that is refused, because an earlier one at its address seems to be a later one.

A generation is the time of the start, so that a new life wins against the last. But a wall clock
can go back: a machine without a battery starts in the past, somebody corrects the date. Then all
others have the last life under a higher generation, refuse the present one, and say that it is
down; the engine takes the next generation, a millisecond more, and is refused again, round trip for
round trip, for as many milliseconds as the clock went back.

So whoever is refused again within `SOON_NS` leaps, and four times as far each time::

    refused   1st      2nd   3rd   4th    …   8th     …   16th
    leap      (1 ms)   1 s   4 s   16 s       1.1 h       8.5 years

Where the first refusal was a wrong verdict, as usual, no leap is needed, and none is done. To leap
too far costs nothing: the next life does the same.
"""

from __future__ import annotations

from typing import Final

from holdfast.membership.identity import Node
from holdfast.membership.talk import MARK, MARK_BITS, is_ours

__all__ = ["LEAP_FIRST_MS", "SOON_NS", "Lives"]

SOON_NS: Final = 60_000_000_000
LEAP_FIRST_MS: Final = 1_000
# No leap of 64 bits takes more.
_REFUSALS_MAX: Final = 32
_U64_MAX: Final = 2**64 - 1


class Lives:
    """Counts how often the present life was refused."""

    __slots__ = ("_last_ns", "_refusals")

    def __init__(self) -> None:
        self._refusals = 0
        self._last_ns = 0

    def refused(self, renewed: Node, now_ns: int) -> Node | None:
        """The engine had to renew its identity. Returns one that is better still; None: no need."""
        soon = self._refusals and now_ns - self._last_ns <= SOON_NS
        self._refusals = min(self._refusals + 1, _REFUSALS_MAX) if soon else 1
        self._last_ns = now_ns
        if not soon:
            return None
        leap_ms = LEAP_FIRST_MS << 2 * (self._refusals - 2)
        higher = Node(*renewed.addr, min(renewed.generation + leap_ms, _U64_MAX))
        if is_ours(higher) and not is_ours(renewed):
            # It would be taken for a member that speaks with its kind.
            return Node(*renewed.addr, (MARK + 1) << MARK_BITS)
        return higher if higher != renewed else None
