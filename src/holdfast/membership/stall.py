"""Stalls: whether a member's own timers fire when they should.

Whoever fires late was stopped, or is overloaded; then the answers that it misses may wait in its
own socket, unread. What it makes of others' silence in such a time is worth nothing::

    on time                     judge as usual
    the first half was late     helpers had less time: no verdict on this probe
    the verdict is late         no verdict
    the end of a suspicion      wait once more for as long as an answer takes

A member that is late for ever accuses nobody for ever; the others still do.
"""

from __future__ import annotations

from typing import Final

__all__ = ["SLACK_PART", "StallWatch"]

# Lateness up to this part of the time for an answer is what every machine shows now and then.
SLACK_PART: Final = 4


class StallWatch:
    """Watches the two timers of the probe.

    Attributes:
        spoilt: Whether the present probe is worth no verdict.
    """

    __slots__ = ("_due", "spoilt")

    def __init__(self) -> None:
        self._due: dict[type, tuple[int, int]] = {}
        self.spoilt = False

    def expect(self, kind: type, token: int, due_ns: int) -> None:
        """A timer of that kind and token should fire then."""
        self._due[kind] = (token, due_ns)

    def fires(self, kind: type, token: int, now_ns: int, slack_ns: int) -> bool:
        """It fires now. Returns whether it is late; if it is, the present probe is spoilt."""
        expected = self._due.pop(kind, None)
        if expected is None or expected[0] != token or now_ns - expected[1] <= slack_ns:
            return False
        self.spoilt = True
        return True
