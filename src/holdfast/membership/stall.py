"""Stalls: whether a member's own timers fire when they should.

Whoever fires late was stopped, or is overloaded; then the answers that it misses may wait in its
own socket, unread. What it makes of others' silence in such a time is worth nothing::

    on time                     judge as usual
    the first half was late     helpers had less time: no verdict on this probe
    the verdict is late         no verdict
    the end of a suspicion      wait once more for as long as an answer takes

Who is late all the time, where everybody may be, must find out about the dead all the same. So
what counts as late grows with the time that one takes oneself (`health`), not more than `IN_A_ROW`
probes in a row go without a verdict, and a suspicion ends after `POSTPONED_MAX` more waits.
"""

from __future__ import annotations

from typing import Final

__all__ = ["IN_A_ROW", "POSTPONED_MAX", "SLACK_PART", "StallWatch"]

# Lateness up to this part of the time for an answer is what every machine shows now and then.
SLACK_PART: Final = 4
IN_A_ROW: Final = 8
POSTPONED_MAX: Final = 3


class StallWatch:
    """Watches the two timers of the probe."""

    __slots__ = ("_due", "_in_a_row", "_spoilt")

    def __init__(self) -> None:
        self._due: dict[type, tuple[int, int]] = {}
        self._spoilt = False
        self._in_a_row = 0

    def expect(self, kind: type, token: int, due_ns: int) -> None:
        """A timer of that kind and token should fire then."""
        self._due[kind] = (token, due_ns)

    def fires(self, kind: type, token: int, now_ns: int, slack_ns: int) -> bool:
        """It fires now. Returns whether it is late; if it is, the present probe is spoilt."""
        expected = self._due.pop(kind, None)
        if expected is None or expected[0] != token or now_ns - expected[1] <= slack_ns:
            return False
        self._spoilt = True
        return True

    def ends(self) -> bool:
        """The probe is over. Returns whether it is worth no verdict."""
        spoilt, self._spoilt = self._spoilt, False
        self._in_a_row = self._in_a_row + 1 if spoilt else 0
        if self._in_a_row > IN_A_ROW:
            self._in_a_row = 0
            return False
        return spoilt
