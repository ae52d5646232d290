"""Local health: how much a member trusts its own judgement of others.

A member that is slow itself, or badly connected, finds others silent. So each hint that the fault
is its own makes it more patient, and each answer in time less so::

    a probe fails, and nobody else suspects its target    worse
    it has to refute a suspicion                          worse
    its own timers fire late                              worse
    a probe succeeds                                      better

The period of the probe and the time for an answer are multiplied by the score and one. A probe that
fails says little about oneself where others suspect the same member, and counts nothing then;
otherwise a member that works would grow patient whenever many others die.

Source: Lifeguard (arXiv 1707.00788), section IV-A; the score is at most 8 there, too.
"""

from __future__ import annotations

__all__ = ["SCORE_MAX", "Health"]

SCORE_MAX = 8


class Health:
    """A score: 0 is well.

    Args:
        worst: The greatest score; 0: it never changes.

    Attributes:
        score: From 0 to `worst`.
    """

    __slots__ = ("_worst", "score")

    def __init__(self, worst: int = SCORE_MAX) -> None:
        self._worst = worst
        self.score = 0

    def better(self) -> None:
        """Others answer in time."""
        if self.score:
            self.score -= 1

    def worse(self) -> None:
        """Something hints at a fault of one's own."""
        if self.score < self._worst:
            self.score += 1

    def scaled(self, span_ns: int) -> int:
        """How long to take for what takes `span_ns` in good health."""
        return span_ns * (self.score + 1)
