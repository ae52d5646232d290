"""A queue of timers that knows no clock.

The pure machines of the library keep their timers here; whoever drives them (a thread, an event
loop, a simulation) asks `next_due` how long to sleep, and takes what is due with `pop_due`. Order
is total and the same everywhere: by time, then by priority (lower first), then by age.
"""

from __future__ import annotations

import heapq
from typing import Generic, NamedTuple, TypeVar

__all__ = ["TimerEntry", "TimerQueue"]

T = TypeVar("T")


class TimerEntry(NamedTuple):
    """One timer's place in the order, and the handle to cancel it by."""

    due_ns: int
    priority: int
    sequence: int


class TimerQueue(Generic[T]):
    """Payloads in the order in which they fall due.

    `add`, `cancel` and `pop_due` cost O(log n), amortised. A cancelled payload is released at
    once; its place in the heap is cleared away before such places outnumber the live ones.
    """

    def __init__(self) -> None:
        self._heap: list[TimerEntry] = []  # every live entry, and cancelled ones not yet cleared
        self._live: dict[TimerEntry, T] = {}
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._live)

    def add(self, due_ns: int, payload: T, *, priority: int = 0) -> TimerEntry:
        """Keep `payload` until `due_ns`; the entry returned cancels it."""
        entry = TimerEntry(due_ns, priority, self._sequence)
        self._sequence += 1
        self._live[entry] = payload
        heapq.heappush(self._heap, entry)
        return entry

    def cancel(self, entry: TimerEntry) -> bool:
        """Forget a timer of this queue; False if it was taken or cancelled before."""
        if self._live.pop(entry, _ABSENT) is _ABSENT:
            return False
        # Half of the heap or more is dead: rebuild it. Each rebuild is paid for by as many
        # cancellations as it clears away.
        if len(self._heap) > 2 * len(self._live):
            self._heap = list(self._live)
            heapq.heapify(self._heap)
        return True

    def next_due(self) -> int | None:
        """When the earliest timer falls due, in the caller's nanoseconds; None if there is none."""
        self._drop_cancelled_head()
        return self._heap[0].due_ns if self._heap else None

    def pop_due(self, now_ns: int) -> tuple[TimerEntry, T] | None:
        """Take the first timer with ``due_ns <= now_ns``, or return None.

        One at a time, so that handling the first may cancel the second::

            while (due := queue.pop_due(now_ns)) is not None:
                entry, payload = due
        """
        self._drop_cancelled_head()
        if not self._heap or self._heap[0].due_ns > now_ns:
            return None
        entry = heapq.heappop(self._heap)
        return entry, self._live.pop(entry)

    def entries(self) -> list[TimerEntry]:
        """Every live entry, in the order in which they fall due."""
        return sorted(self._live)

    def _drop_cancelled_head(self) -> None:
        while self._heap and self._heap[0] not in self._live:
            heapq.heappop(self._heap)


_ABSENT = object()
