"""How often the machine went down and how long, and how long to wait before the next attempt.

The source tries again every 100 ms for ever. Here each attempt in a row that failed, or that was
spoilt by a wake lease or a listener, doubles the pause; one success takes it back to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from holdfast.wake.model import Cause

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.wake.model import Blocker, Config, Failed, Slept

__all__ = ["Sleeps"]

_SPOILT: Final = frozenset({Cause.WAKE_LEASE, Cause.LISTENER})


class Sleeps:
    """The counts of one governor's life.

    Attributes:
        next_attempt_ns: Not before then; None: the last attempt did not fail.
        last_going_down_ns: From entering to returning, less the sleep.
    """

    def __init__(self, config: Config, now_ns: int) -> None:
        self._config = config
        self._next_pause_ns = config.backoff_ns
        self._owed_ns = 0  # the pause after the attempt that goes on
        self._linger_ns = now_ns + config.linger_ns
        self.suspends = 0
        self.aborts = 0
        self.failures = 0
        self.last_failure: str | None = None
        self.last_sleep_ns: int | None = None
        self.last_going_down_ns: int | None = None
        self.total_sleep_ns = 0
        self.next_attempt_ns: int | None = None

    def slept(self, outcome: Slept, entered_ns: int, now_ns: int) -> None:
        """It went down and came back."""
        self.suspends += 1
        self.last_sleep_ns = outcome.duration_ns
        self.last_going_down_ns = max(0, now_ns - entered_ns - outcome.duration_ns)
        self.total_sleep_ns += outcome.duration_ns
        self._next_pause_ns = self._config.backoff_ns
        self._owed_ns = 0
        self.next_attempt_ns = None

    def failed(self, outcome: Failed) -> None:
        """The back-end was entered and did not go down."""
        self.failures += 1
        self.last_failure = outcome.sentence
        self._spoilt()

    def aborted(self, blockers: Iterable[Blocker]) -> None:
        """The back-end was not entered."""
        self.aborts += 1
        if any(blocker.cause in _SPOILT for blocker in blockers):
            self._spoilt()

    def _spoilt(self) -> None:
        self._owed_ns = min(self._next_pause_ns, self._config.backoff_max_ns)
        self._next_pause_ns = 2 * self._owed_ns

    def pause(self, now_ns: int) -> None:
        """The attempt is over: from now on the pause counts, and the staying awake."""
        self._linger_ns = now_ns + self._config.linger_ns
        if self._owed_ns:
            self.next_attempt_ns = now_ns + self._owed_ns
            self._owed_ns = 0

    def not_before_ns(self, *, lingering: bool) -> int:
        """The earliest time of the next attempt; `lingering` if nobody asks for one."""
        due_ns = self.next_attempt_ns or 0
        return max(due_ns, self._linger_ns) if lingering else due_ns
